//! Bind and unbind: every seal on a TPM made anew, behind what PCRs hold now, or behind them no more.
//!
//! The secret comes out of the seal that is there; where that does not open any more, since the PCRs have changed, out of
//! another device of the ring or out of a backup.

use std::path::{Path, PathBuf};

use super::crew::{Crew, Looks, look_at};
use super::guards::{Guards, foresee, may_open};
use super::sealing::{bring, take_in};
use super::wanted::PinsOf;
use super::{Error, Place, Plan, Step, Tell, open_backup, record};
use crate::backup::{Contents, Preamble};
use crate::derive::GenerationId;
use crate::device::{BoundTo, Kind, PinSources};
use crate::ring::{DeviceRecord, Generation, Ring};
use crate::secret::{Passphrase, Pin};
use crate::store::Store;
use crate::text::generations;

/// What the seals of a device shall be bound to.
#[derive(Debug, Clone)]
pub enum Binding {
    /// This; none: what they are bound to, or were until [`Binding::Nothing`].
    To(Option<BoundTo>),
    Nothing,
}

/// Seals to be made anew.
#[derive(Debug)]
pub struct BindPlan {
    pub plan: Plan,
    place: Place,
    ring: Ring,
    targets: Vec<(String, Option<BoundTo>)>,
    from: Option<PathBuf>,
    /// What the backup says of itself, where one is used.
    pub preamble: Option<Preamble>,
}

/// What was asked for, once the plan was agreed to.
#[derive(Default)]
pub struct BindAnswers {
    /// Of the backup, where one is used.
    pub passphrase: Option<Passphrase>,
    /// See [`BindPlan::wants_new_pin`].
    pub new_pin: Option<Pin>,
}

impl BindPlan {
    /// Looks at the TPMs, all of the ring's or those of `ids`, and at the backup.
    pub fn new(place: &Place, binding: &Binding, ids: &[String], from: Option<&Path>) -> Result<Self, Error> {
        let ring = Store::open(&place.directory)?.ring()?;
        let preamble = from.map(look).transpose()?;
        let mut plan = Plan::new(name(binding), &ring.system.name);
        let mut targets = Vec::new();
        let mut looks = Looks::default();
        for record in chosen(&ring, ids)? {
            let id = record.id.as_str();
            let device = look_at(&ring, record)?;
            let bound = wanted(binding, &ring, record)?;
            let held: Vec<u32> =
                ring.usable().filter(|it| it.seal_on(id).is_some()).map(|generation| generation.number).collect();
            plan.change("seals-anew", format!("sealed on {id} anew: {}", generations(&held)));
            match (&bound, ring.bound(id)) {
                (Some(bound), _) => {
                    foresee(place, (id, &record.uri, record.root()), &device, bound)?;
                    plan.binds(place, id, bound);
                }
                (None, Some(before)) => {
                    let pcrs = before.pcrs();
                    plan.change("unbound", format!("{id} serves whatever {pcrs} holds, until `strongroom bind`"));
                }
                (None, None) => {}
            }
            looks.add(id, device);
            targets.push((id.to_owned(), bound));
        }
        if from.is_none() {
            may_open(place, &ring)?;
        }
        if let Some(path) = from {
            plan.change("from-backup", format!("the secret comes out of {}", path.display()));
        }
        if let Some(pending) = ring.pending() {
            plan.warning("pending", format!("generation {} is pending and not part of it", pending.number));
        }
        if matches!(binding, Binding::To(_)) {
            let text = "copies of ring.json made before, in backups of this disk, open without it: `strongroom generate` ends that";
            plan.warning("seals-kept", text);
        }
        let plan = Self { plan, place: place.clone(), ring, targets, from: from.map(Path::to_owned), preamble };
        Ok(plan.with_wanted(&looks, binding))
    }

    fn with_wanted(mut self, looks: &Looks, binding: &Binding) -> Self {
        match &self.from {
            Some(_) => {
                for (id, _) in self.targets.iter().filter(|(id, _)| self.ring.has_own_pin(id)) {
                    self.plan.wants_new_pin(id);
                }
                self.plan.wants_passphrase();
            }
            None => {
                // What does not open any more comes out of another device.
                let pins = self.targets.iter().fold(PinsOf::none(&self.ring, looks), |pins, (id, _)| {
                    pins.of(id).of_any_perhaps(self.ring.usable(), Some(id))
                });
                self.plan.wants_pins(pins);
            }
        }
        self.plan.question = Some(match binding {
            Binding::To(_) => "Bind?",
            Binding::Nothing => "Unbind?",
        });
        self
    }

    /// The ring whose seals they are.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Whether the new seals' PIN has to be chosen anew: from a backup, no seal is opened that could show that a PIN is the one
    /// in use.
    pub fn wants_new_pin(&self) -> Option<&str> {
        let mut targets = self.targets.iter().map(|(id, _)| id.as_str());
        targets.find(|id| self.from.is_some() && self.ring.has_own_pin(id))
    }

    /// Seals anew: one commit, when all of it is proved. The seals before leave the ring and its history with it.
    pub fn execute(self, answers: &BindAnswers, pins: &dyn PinSources, tell: &mut Tell<'_>) -> Result<Ring, Error> {
        let store = Store::open(&self.place.directory)?;
        let locked = store.lock()?;
        let mut ring = store.ring_of(&self.ring)?;
        let contents = self.contents(answers, tell)?;
        record::begin(&self.place, &locked, Some(&ring), tell)?;
        let mut crew = Crew::of(&ring, pins);
        let mut next = ring.clone();
        let mut sealed: Vec<GenerationId> = Vec::new();
        for (id, bound) in &self.targets {
            let pin = match &self.from {
                Some(_) if self.ring.has_own_pin(id) => answers.new_pin.as_ref().map(Pin::duplicate),
                Some(_) => None,
                None if self.ring.has_own_pin(id) => crew.pin_in_use(&ring, id)?,
                None => None,
            };
            let guards = Guards { pin, bound: bound.clone() };
            for generation in ring.usable().filter(|generation| generation.seal_on(id).is_some()) {
                let seal = anew(generation, id, contents.as_ref(), &guards, &mut crew, tell);
                let seal = seal.map_err(|error| self.not_there(error, contents.as_ref(), generation))?;
                tell(Step::GenerationSealed { number: generation.number, id: generation.id, device: id.clone() });
                next.put_seal(generation.number, id, seal)?;
                sealed.push(generation.id);
            }
            // A second `unbind` forgets nothing.
            match (bound, ring.bound(id)) {
                (Some(_), _) => next.note_unbound(id, None),
                (None, Some(before)) => next.note_unbound(id, Some(before)),
                (None, None) => {}
            }
        }
        locked.commit(&mut next)?;
        ring = next;
        record::done(&self.place, &store, &ring, &sealed, &mut crew, tell)?;
        for (device, bound) in self.targets {
            tell(match bound {
                Some(bound) => Step::Bound {
                    device,
                    pcrs: bound.pcrs().to_string(),
                    signed_by: bound.key().map(|key| hex::encode(key.fingerprint())),
                },
                None => Step::Unbound { device },
            });
        }
        Ok(ring)
    }

    /// Where a backup is used since the seals don't open, and it lacks a generation, that is what is in the way.
    fn not_there(&self, error: Error, contents: Option<&Contents>, generation: &Generation) -> Error {
        let lacks = contents.is_some_and(|it| it.generations.iter().all(|entry| entry.id != generation.id));
        match (&self.from, error) {
            (Some(path), error @ (Error::Device { .. } | Error::NowhereToBeHad(_) | Error::NothingLetsOut(_)))
                if lacks =>
            {
                Error::NotInBackup { path: path.clone(), number: generation.number, source: Box::new(error) }
            }
            (_, error) => error,
        }
    }

    /// The backup, opened, if one is used: of this system.
    fn contents(&self, answers: &BindAnswers, tell: &mut Tell<'_>) -> Result<Option<Contents>, Error> {
        let (Some(path), Some(passphrase)) = (&self.from, &answers.passphrase) else { return Ok(None) };
        tell(Step::Working { what: "opening the backup" });
        let (contents, agrees, _) = open_backup(path, passphrase)?;
        if contents.system.id != self.ring.system.id {
            return Err(Error::OthersBackup {
                path: path.clone(),
                ours: format!("{} ({})", self.ring.system.name, self.ring.system.id),
                theirs: format!("{} ({})", contents.system.name, contents.system.id),
            });
        }
        tell(Step::BackupReopened { path: path.display().to_string() });
        if !agrees {
            tell(Step::PreambleDiffers {});
        }
        Ok(Some(contents))
    }
}

/// A generation's seal on a device, made anew: out of the backup where that has it, else out of whichever device opens it.
fn anew(
    generation: &Generation,
    id: &str,
    contents: Option<&Contents>,
    guards: &Guards,
    crew: &mut Crew<'_>,
    tell: &mut Tell<'_>,
) -> Result<crate::device::Seal, Error> {
    let entry = contents.and_then(|it| it.generations.iter().find(|entry| entry.id == generation.id).map(|e| (it, e)));
    match entry {
        Some((contents, entry)) => {
            let opened = crew.device(id)?;
            take_in(opened, &entry.secret(), &contents.kek, generation.number, generation.id, guards.protection())
        }
        None => bring(crew, generation, id, guards.protection(), tell),
    }
}

fn name(binding: &Binding) -> &'static str {
    match binding {
        Binding::To(_) => "bind",
        Binding::Nothing => "unbind",
    }
}

fn look(path: &Path) -> Result<Preamble, Error> {
    let file = crate::durable::read(path, crate::backup::MAX_FILE)?;
    crate::backup::look(&file).map_err(Error::backup(path))
}

/// The ring's TPMs, or those that were named.
fn chosen<'r>(ring: &'r Ring, ids: &[String]) -> Result<Vec<&'r DeviceRecord>, Error> {
    let mut records = Vec::new();
    for id in ids {
        let record = ring.in_service().find(|record| record.id == *id);
        let record = record.ok_or_else(|| Error::NoSuchDevice(id.clone()))?;
        if record.uri.kind() == Kind::Pkcs11 {
            return Err(Error::PcrsOnToken);
        }
        records.push(record);
    }
    if ids.is_empty() {
        records.extend(ring.in_service().filter(|record| record.uri.kind() == Kind::Tpm));
    }
    if records.is_empty() { Err(Error::PcrsOnToken) } else { Ok(records) }
}

/// What a device is bound to from then on.
fn wanted(binding: &Binding, ring: &Ring, record: &DeviceRecord) -> Result<Option<BoundTo>, Error> {
    let known = || ring.bound(&record.id).or_else(|| record.unbound.clone());
    match binding {
        Binding::Nothing => Ok(None),
        Binding::To(Some(bound)) => Ok(Some(bound.clone())),
        Binding::To(None) => match known() {
            Some(bound) => Ok(Some(bound)),
            None => Err(Error::NoPcrs(record.id.clone())),
        },
    }
}
