//! Generate: a new generation, active once its backup is proved.

use std::path::{Path, PathBuf};

use super::{Answers, Error, Opened, Place, Plan, Step, Tell, look_at, now, only_master, proof, sealed, serving};
use crate::derive::Source;
use crate::device::{Guard, Key, Kind, PinRequest, PinSource, Protection};
use crate::ring::{DeviceRecord, DeviceSeal, Generation, Origin, Ring, State};
use crate::secret::Pin;
use crate::store::{Locked, Store, StoreError};

/// A generation to be made.
pub struct GeneratePlan {
    pub plan: Plan,
    place: Place,
    device: DeviceRecord,
    target: PathBuf,
    work_factor: u8,
    commit: u64,
    number: u32,
}

impl GeneratePlan {
    /// Looks whether this server may and can make a generation, and whether its backup can be written.
    pub fn new(place: &Place, target: &Path, work_factor: u8) -> Result<Self, Error> {
        let store = Store::open(&place.directory)?;
        let ring = store.ring()?;
        only_master(&ring)?;
        let number = ring.next_number()?;
        crate::durable::check_new(target)?;
        crate::backup::check_memory(work_factor).map_err(Error::backup(target))?;
        let device = serving(&ring).clone();
        let description = look_at(&ring)?;
        if !description.lacks.is_empty() {
            return Err(Error::Unfit { device: device.id.clone(), lacks: description.lacks });
        }

        let mut plan = Plan::new("generate", &ring.system.name);
        if let Some(pending) = ring.pending() {
            let text = format!("generation {}, left pending by an earlier run, is dropped", pending.number);
            plan.change("pending-dropped", text);
        }
        let id = &device.id;
        plan.change("generation-made", format!("generation {number} is made inside {id} and becomes active"));
        plan.change("backup-written", format!("its backup is written to {}", target.display()));
        if let Some(active) = ring.active() {
            let text = format!(
                "{active} stays, to read what it protects; `derive --generation {}` gives its keys",
                active.number
            );
            plan.change("generation-kept", text);
        }
        plan.warning("derive-changes", "from then on, `derive` without --generation gives other keys");
        plan.question = Some("Make the new generation?");
        Ok(Self {
            plan,
            place: place.clone(),
            device,
            target: target.to_owned(),
            work_factor,
            commit: ring.commit,
            number,
        })
    }

    /// The device that it is made in.
    pub fn device(&self) -> &DeviceRecord {
        &self.device
    }

    /// Makes it. Until the last step, nothing that is in use changes.
    pub fn execute(self, answers: &Answers, pins: &dyn PinSource, tell: &mut Tell<'_>) -> Result<Generation, Error> {
        let store = Store::open(&self.place.directory)?;
        let locked = store.lock()?;
        let mut ring = store.ring()?;
        if ring.commit != self.commit {
            return Err(StoreError::Changed.into());
        }
        if let Some(number) = ring.drop_pending() {
            locked.commit(&mut ring)?;
            tell(Step::Dropped { number });
        }
        let record = serving(&ring).clone();
        let mut opened = Opened::recorded(&record, pins)?;
        let pin = pin_in_use(&ring, &mut opened, pins)?;
        let protection = pin.as_ref().map_or(Protection::None, Protection::Pin);
        pend(&mut ring, self.number, protection, &mut opened, &self.place, tell)?;
        locked.commit(&mut ring)?;

        let contents = proof::export(&ring, self.number, &mut opened, answers, &self.place);
        let proved = contents.and_then(|contents| {
            proof::write_and_prove(contents, &self.target, self.work_factor, &ring, &mut opened, answers, tell)
        });
        match proved {
            Ok(record) => activate(&mut ring, self.number, record, &locked, tell),
            Err(error) => Err(undo(&mut ring, &locked, error)),
        }
    }
}

/// Takes a generation back that was not proved. The error that is reported is the first one; a ring that can't be written
/// keeps the generation pending, which the next run says and drops.
pub(super) fn undo(ring: &mut Ring, locked: &Locked<'_>, error: Error) -> Error {
    if ring.drop_pending().is_some() {
        let _ = locked.commit(ring);
    }
    error
}

/// The PIN that guards the active generation's seal, proved on it before it is set on a new one; none where none does.
pub(super) fn pin_in_use(ring: &Ring, opened: &mut Opened<'_>, pins: &dyn PinSource) -> Result<Option<Pin>, Error> {
    let Some(active) = ring.active() else { return Ok(None) };
    let part = &sealed(active, &opened.name)?.use_part;
    Source::sealed(opened.device.as_mut(), part, active.id)
        .and_then(|mut source| source.id())
        .map_err(opened.failed())?;
    if !matches!(part.0.guard, Guard::Pin { .. }) {
        return Ok(None);
    }
    // The source has just given it to the device, and gives the same again.
    let request = PinRequest { device: opened.name.clone(), kind: Kind::Tpm, tries_left: None };
    pins.pin(&request).map(Some).map_err(opened.failed())
}

/// Makes a generation inside the device, and takes it into the ring as pending.
pub(super) fn pend(
    ring: &mut Ring,
    number: u32,
    protection: Protection<'_>,
    opened: &mut Opened<'_>,
    place: &Place,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    let record = serving(ring);
    let kind = record.uri.kind();
    let origin = Origin {
        host: place.host.clone(),
        kind,
        device: record.root().map(crate::device::Root::fingerprint).unwrap_or_default(),
    };
    let qualifier = qualifier(ring, number);
    let seal = opened.device.generate(protection, &qualifier).map_err(opened.failed())?;
    let id = opened.id_of(Key::Sealed(&seal.use_part))?;
    tell(Step::GenerationMade { number, id, device: opened.name.clone() });
    ring.pend(Generation {
        number,
        id,
        created: now(),
        origin,
        restored: None,
        state: State::Pending,
        seals: vec![DeviceSeal { device: opened.name.clone(), seal }],
    })?;
    Ok(())
}

/// Records the proved backup and makes the generation the active one: one commit.
pub(super) fn activate(
    ring: &mut Ring,
    number: u32,
    record: crate::ring::BackupRecord,
    locked: &Locked<'_>,
    tell: &mut Tell<'_>,
) -> Result<Generation, Error> {
    let mut next = ring.clone();
    next.note_backup(record);
    next.activate(number)?;
    locked.commit(&mut next)?;
    *ring = next;
    let generation = ring.generation(number).cloned().ok_or(Error::NoGeneration(number))?;
    tell(Step::GenerationActive { number, id: generation.id });
    Ok(generation)
}

/// What ties birth evidence to this system and number: SHA-256 of the system's id (16 bytes) and the number (u32, big-endian).
fn qualifier(ring: &Ring, number: u32) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::new().chain_update(ring.system.id.as_bytes()).chain_update(number.to_be_bytes()).finalize().into()
}
