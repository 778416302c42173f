//! Verify: a drill. Opens a backup and shows what it is worth: against the device, where this server holds the same
//! generations; by itself, where not.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::crew::{Crew, look_for_one};
use super::wanted::PinsOf;
use super::{Error, Place, Plan, Step, Tell, absolute, generate, now, open_backup, proof, record, record_of};
use crate::backup::{BackupError, Contents, Preamble};
use crate::derive::GenerationId;
use crate::device::PinSources;
use crate::durable::FileError;
use crate::ring::{BackupRecord, Ring, State};
use crate::secret::Passphrase;
use crate::store::{Locked, Store, StoreError};

/// A backup file that was looked at.
pub struct Verify {
    pub preamble: Preamble,
    pub plan: Plan,
    place: Place,
    path: PathBuf,
    ring: Option<Ring>,
}

/// What a drill found.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Verdict {
    pub system: String,
    /// Generations that the device was shown to use.
    pub proved: Vec<u32>,
    /// Generations whose ids were recomputed, and which no device of this server holds.
    pub whole: Vec<u32>,
    /// Those of them whose number is another secret's here: the backup and this server's ring grew apart.
    pub apart: Vec<u32>,
    /// Why nothing could be proved against a device; none where it was.
    pub unproved_because: Option<String>,
}

impl Verify {
    /// Looks at the file and at this server: before anybody is asked for a passphrase.
    pub fn new(place: &Place, path: &Path) -> Result<Self, Error> {
        let file = crate::durable::read(path, crate::backup::MAX_FILE)?;
        let preamble = crate::backup::look(&file).map_err(Error::backup(path))?;
        let ring = readable(place)?.ok();
        let mut plan = Plan::new("verify", ring.as_ref().map_or("", |ring| &ring.system.name));
        match &ring {
            Some(ring) => {
                let looks = look_for_one(ring)?;
                let text =
                    format!("the drill of {} is written down, where it proves every generation in it", path.display());
                plan.change("drill-recorded", text);
                if let Some(pending) = ring.pending() {
                    let text = format!("generation {} becomes active, if this is its backup", pending.number);
                    plan.change("pending-finished", text);
                }
                plan.wants_pins(PinsOf::none(ring, &looks).of_each(ring.generations.iter()));
            }
            None => plan.change("nothing-changes", "nothing: no ring here can be read, to prove it against"),
        }
        plan.wants_passphrase();
        Ok(Self { preamble, plan, place: place.clone(), path: path.to_owned(), ring })
    }

    /// The ring whose devices the backup is proved against, where this server has one.
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// Opens it and proves what can be proved; finishes a generation that a crash left pending.
    pub fn execute(
        self,
        passphrase: &Passphrase,
        pins: &dyn PinSources,
        tell: &mut Tell<'_>,
    ) -> Result<Verdict, Error> {
        tell(Step::Working { what: "opening the backup" });
        let (contents, agrees, file) = open_backup(&self.path, passphrase)?;
        tell(Step::BackupReopened { path: absolute(&self.path) });
        if !agrees {
            tell(Step::PreambleDiffers {});
        }
        let ring = match readable(&self.place)? {
            Ok(ring) => ring,
            Err(because) => return self.alone(&contents, because.to_owned(), tell),
        };
        if ring.system.id != contents.system.id {
            let because = format!("this server's ring is of system {}", ring.system.name);
            return self.alone(&contents, because, tell);
        }
        let store = Store::open(&self.place.directory)?;
        let locked = store.lock()?;
        let mut ring = current(&store)?.ok_or_else(|| StoreError::NoRing(self.place.directory.clone()))?;
        record::begin(&self.place, &locked, Some(&ring), tell)?;
        let mut crew = Crew::of(&ring, pins);
        let anywhere = ring.active().or(ring.pending()).cloned().ok_or(Error::NobodyLeft)?;
        let (mut proved, mut whole, mut apart) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &contents.generations {
            match ring.by_id(entry.id) {
                Some(generation) => {
                    crew.each(generation, tell, |opened, seal, tell| {
                        proof::prove(generation, seal, &contents, opened, tell)
                    })?;
                    proved.push(entry.number);
                }
                None => {
                    crew.any(&anywhere, tell, |opened, _, _| proof::check_id(entry, &contents, opened))?;
                    whole.push(entry.number);
                    apart.extend(ring.may_admit(entry.number, entry.id).is_err().then_some(entry.number));
                    tell(Step::GenerationWhole { number: entry.number, id: entry.id });
                }
            }
        }
        let mut drill = record_of(&self.path, &file, &contents, self.preamble.work_factor);
        drill.proved = whole.is_empty().then(now);
        self.conclude(&mut ring, drill, &contents, &locked, &mut crew, tell)?;
        Ok(Verdict { system: contents.system.name, proved, whole, apart, unproved_because: None })
    }

    /// Writes the drill down. A pending generation that this backup was made for becomes active: it is what the run that
    /// was cut off would have done next.
    fn conclude(
        &self,
        ring: &mut Ring,
        drill: BackupRecord,
        contents: &Contents,
        locked: &Locked<'_>,
        crew: &mut Crew<'_>,
        tell: &mut Tell<'_>,
    ) -> Result<(), Error> {
        super::secure(&self.path, tell)?;
        let path = drill.path.clone();
        let pending = ring.pending().filter(|pending| {
            contents.active == pending.number
                && ring
                    .generations
                    .iter()
                    .all(|generation| contents.generations.iter().any(|entry| entry.id == generation.id))
        });
        match pending.map(|pending| pending.number) {
            Some(number) => drop(generate::activate(ring, number, drill, locked, crew, &self.place, tell)?),
            None => {
                ring.note_backup(drill);
                locked.commit(ring)?;
                let generations: Vec<GenerationId> = contents.generations.iter().map(|entry| entry.id).collect();
                record::done(&self.place, locked.store(), ring, &generations, crew, tell)?;
            }
        }
        tell(Step::BackupRecorded { path });
        Ok(())
    }

    /// What a backup is worth without a device: every id is recomputed from its secret, in host memory.
    fn alone(&self, contents: &Contents, because: String, tell: &mut Tell<'_>) -> Result<Verdict, Error> {
        contents
            .check_ids_on_host()
            .map_err(|source: BackupError| Error::Backup { path: self.path.clone(), source })?;
        for entry in &contents.generations {
            tell(Step::GenerationWhole { number: entry.number, id: entry.id });
        }
        self.place.record.noted(contents.generations.iter().map(|entry| entry.id).collect());
        Ok(Verdict {
            system: contents.system.name.clone(),
            proved: Vec::new(),
            whole: contents.numbers(),
            apart: Vec::new(),
            unproved_because: Some(because),
        })
    }
}

/// The ring that a drill is about: the one that serves, or one whose founding was cut off after its generation was made.
fn current(store: &Store) -> Result<Option<Ring>, Error> {
    if let Some(ring) = store.read()? {
        return Ok(Some(ring));
    }
    let founding = store.founding()?;
    Ok(founding.filter(|ring| ring.generations.iter().any(|generation| generation.state == State::Pending)))
}

/// As [`current`], for anybody anywhere: a backup can be checked by whoever has its passphrase. Where there is no ring to
/// be had, why.
fn readable(place: &Place) -> Result<Result<Ring, &'static str>, Error> {
    const NONE: &str = "this server has no ring";
    match Store::check_place(&place.directory) {
        Ok(Some(store)) => Ok(current(&store)?.ok_or(NONE)),
        // A disk that fails does not say that there is none: a drill would pass without any device.
        Err(StoreError::File(FileError::Io { doing, path, source }))
            if source.kind() != ErrorKind::PermissionDenied =>
        {
            Err(FileError::Io { doing, path, source }.into())
        }
        Ok(None) | Err(StoreError::File(_)) => Ok(Err(NONE)),
        Err(StoreError::NotAdministrator(_)) => Ok(Err("only an administrator can use this server's ring")),
        Err(error) => Err(error.into()),
    }
}
