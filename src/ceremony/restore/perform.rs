//! Restoring: what was stated, done.

use super::super::init::{intend, pin_down};
use super::super::{Answers, Error, Opened, Step, Tell, generate, now, proof, serving};
use super::{RestorePlan, missing, not_in};
use crate::backup::{Contents, Entry};
use crate::device::{DeviceUri, Key, PinSource, Protection};
use crate::ring::{Anchor, DeviceRecord, DeviceSeal, Generation, Ring, Role, State};
use crate::store::{Locked, Store, StoreError};

impl RestorePlan {
    /// Whether the new seals get a PIN of their own, which the front end has to ask for.
    pub fn wants_new_pin(&self) -> bool {
        self.from.options.with_pin
    }

    /// The device that is restored onto, and what it is or will be called.
    pub fn device(&self) -> (DeviceUri, String) {
        let known = self.from.ring.as_ref().filter(|_| !self.from.options.replace);
        let id = known.map(|ring| serving(ring).id.clone());
        (self.from.uri.clone(), id.unwrap_or_else(|| Ring::device_name(self.from.uri.kind(), &[])))
    }

    /// Restores. Of the answers only the new PIN counts.
    pub fn execute(self, answers: &Answers, pins: &dyn PinSource, tell: &mut Tell<'_>) -> Result<Ring, Error> {
        let store = Store::create(&self.from.place.directory)?;
        let locked = store.lock()?;
        let found = store.read()?;
        if found.as_ref().map(|ring| ring.commit) != self.from.ring.as_ref().map(|ring| ring.commit) {
            return Err(StoreError::Changed.into());
        }
        match found {
            Some(ring) if !self.from.options.replace => self.add(ring, &locked, pins, tell),
            former => self.found(former, &store, &locked, answers, pins, tell),
        }
    }

    /// Adds what is missing to a ring of the same system: one commit, when all of it is proved.
    fn add(
        mut self,
        mut ring: Ring,
        locked: &Locked<'_>,
        pins: &dyn PinSource,
        tell: &mut Tell<'_>,
    ) -> Result<Ring, Error> {
        let mut opened = Opened::recorded(serving(&ring), pins)?;
        let pin = generate::pin_in_use(&ring, &mut opened, pins)?;
        let protection = pin.as_ref().map_or(Protection::None, Protection::Pin);
        if let Some(number) = ring.drop_pending() {
            tell(Step::Dropped { number });
        }
        for entry in missing(&ring.clone(), &self.contents) {
            let generation = import(entry, &self.contents, protection, &mut opened, tell)?;
            ring.admit(generation)?;
        }
        for entry in &self.contents.generations {
            let generation = ring.by_id(entry.id).ok_or(Error::NoGeneration(entry.number))?;
            proof::prove(generation, &self.contents, &mut opened)?;
            tell(Step::GenerationProved { number: generation.number, id: entry.id, device: opened.name.clone() });
        }
        if self.from.options.activate
            && let Some(number) = self
                .contents
                .entry(self.contents.active)
                .and_then(|entry| ring.by_id(entry.id))
                .map(|found| found.number)
        {
            ring.activate(number)?;
        }
        if self.from.options.member {
            ring.role = Role::Member;
            ring.master = self.contents.master.clone();
            ring.term = ring.term.max(self.contents.term);
        }
        ring.last_number = ring.last_number.max(self.contents.last_number);
        self.record.proved = Some(now());
        ring.note_backup(self.record);
        locked.commit(&mut ring)?;
        if let Some(active) = ring.active() {
            tell(Step::GenerationActive { number: active.number, id: active.id });
        }
        Ok(ring)
    }

    /// Founds a ring from the backup; one that was there gives way in the same rename.
    fn found(
        mut self,
        former: Option<Ring>,
        store: &Store,
        locked: &Locked<'_>,
        answers: &Answers,
        pins: &dyn PinSource,
        tell: &mut Tell<'_>,
    ) -> Result<Ring, Error> {
        let is_first = store.founding()?.is_none();
        let intent = intend(store, &self.from.uri, former.as_ref(), tell)?;
        let device = DeviceRecord {
            id: Ring::device_name(self.from.uri.kind(), &[]),
            uri: self.from.uri.clone(),
            added: now(),
            anchor: Anchor::Intended(intent),
        };
        let (role, master) = match self.from.options.member {
            true => (Role::Member, self.contents.master.clone()),
            false => (Role::Master, self.from.place.host.clone()),
        };
        let system = self.contents.system.clone();
        let mut ring = Ring::founding(system, self.from.term_after(&self.contents), role, master, device);
        ring.last_number = self.contents.last_number;
        if let Some(former) = &former {
            ring.succeed(former);
        }
        locked.commit(&mut ring)?;
        let mut opened = pin_down(&mut ring, locked, is_first, pins, tell)?;
        for entry in &self.contents.generations {
            let generation = import(entry, &self.contents, answers.protection(), &mut opened, tell)?;
            ring.admit(generation)?;
        }
        for generation in &ring.generations {
            proof::prove(generation, &self.contents, &mut opened)?;
            tell(Step::GenerationProved { number: generation.number, id: generation.id, device: opened.name.clone() });
        }
        ring.activate(self.contents.active)?;
        self.record.proved = Some(now());
        ring.note_backup(self.record);

        let kept = match &former {
            Some(former) if former.system.id != ring.system.id || not_in(former, &self.contents).next().is_some() => {
                Some(locked.put_aside(former)?)
            }
            _ => None,
        };
        locked.commit(&mut ring)?;
        if former.is_some() {
            // What it held is in the new ring, or kept aside: its seals are not left lying about.
            locked.forget_history()?;
        }
        if let Some(path) = kept {
            tell(Step::RingReplaced { path: path.display().to_string() });
        }
        if let Some(active) = ring.active() {
            tell(Step::GenerationActive { number: active.number, id: active.id });
        }
        Ok(ring)
    }
}

/// Takes a generation into the device and shows that it is the one that the backup names.
fn import(
    entry: &Entry,
    contents: &Contents,
    protection: Protection<'_>,
    opened: &mut Opened<'_>,
    tell: &mut Tell<'_>,
) -> Result<Generation, Error> {
    let seal = opened.device.import(&entry.secret(), &contents.kek, protection).map_err(opened.failed())?;
    let found = opened.id_of(Key::Sealed(&seal.use_part))?;
    let failed = |place: &str| {
        let generation = format!("generation {} ({})", entry.number, entry.id);
        Error::ProofFailed { generation, place: place.to_owned() }
    };
    if found != entry.id {
        return Err(failed("the backup's secret has another id"));
    }
    // The part that the next backup will be made from: key wrap gives the same for the same secret and KEK.
    let exported = opened.device.export(&seal.export_part, &contents.kek).map_err(opened.failed())?;
    if exported != entry.secret() {
        return Err(failed("the device exports another secret than it took in"));
    }
    tell(Step::GenerationRestored { number: entry.number, id: entry.id, device: opened.name.clone() });
    Ok(Generation {
        number: entry.number,
        id: entry.id,
        created: entry.created,
        origin: entry.origin.clone(),
        restored: Some(now()),
        state: State::Kept,
        seals: vec![DeviceSeal { device: opened.name.clone(), seal }],
    })
}
