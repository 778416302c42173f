//! Generate: a new generation, active once its backup is proved.

use std::path::Path;

use super::crew::{Crew, muster};
use super::guards::{Guards, foresee, may_open};
use super::proof::Target;
use super::sealing::take_in;
use super::wanted::PinsOf;
use super::{Answers, Error, Place, Plan, Step, Tell, now, only_master, proof, record};
use crate::device::{BoundTo, Key, Kind, PinSources, Root};
use crate::ring::{BackupRecord, DeviceRecord, DeviceSeal, Generation, Origin, Ring, State};
use crate::secret::Kek;
use crate::store::{Locked, Store};

/// A generation to be made.
pub struct GeneratePlan {
    pub plan: Plan,
    place: Place,
    devices: Vec<DeviceRecord>,
    leave: Vec<String>,
    bound: Option<BoundTo>,
    target: Target,
    ring: Ring,
    number: u32,
}

impl GeneratePlan {
    /// Looks whether this server may and can make a generation, and whether its backup can be written. The devices of
    /// `leave` get no seal of it. With `bound`, it is bound to that on TPMs; without, as the seals are which are there.
    pub fn new(
        place: &Place,
        target: &Path,
        leave: &[String],
        bound: Option<BoundTo>,
        work_factor: u8,
    ) -> Result<Self, Error> {
        let store = Store::open(&place.directory)?;
        let ring = store.ring()?;
        only_master(&ring)?;
        let number = ring.next_number()?;
        let target = Target::check(target, work_factor)?;
        let (devices, looks) = muster(&ring, leave)?;

        let mut plan = Plan::new("generate", &ring.system.name);
        if let Some(pending) = ring.pending() {
            let text = format!("generation {}, left pending by an earlier run, is dropped", pending.number);
            plan.change("pending-dropped", text);
        }
        let devices = makers_first(devices)?;
        let (maker, others) = devices.split_first().ok_or(Error::NobodyLeft)?;
        let also = match others {
            [] => String::new(),
            others => {
                let names: Vec<&str> = others.iter().map(|record| record.id.as_str()).collect();
                format!(", sealed on {} too,", names.join(", "))
            }
        };
        let text = format!("generation {number} is made inside {}{also} and becomes active", maker.id);
        plan.change("generation-made", text);
        let tpms = || devices.iter().filter(|record| record.uri.kind() == Kind::Tpm);
        if bound.is_some() && tpms().next().is_none() {
            return Err(Error::PcrsOnToken);
        }
        for record in tpms() {
            let bound = bound.clone().or_else(|| ring.bound(&record.id));
            if let (Some(bound), Some(device)) = (bound, looks.of(&record.id)) {
                foresee(place, (&record.id, &record.uri, record.root()), device, &bound)?;
                plan.binds(place, &record.id, &bound);
            }
        }
        may_open(place, &ring)?;
        for id in leave {
            let text = format!("{id} is left behind: it can't serve generation {number} until `device repair {id}`");
            plan.warning("left-behind", text);
        }
        plan.change("backup-written", format!("its backup is written to {}", target.path.display()));
        if let Some(active) = ring.active() {
            let text = format!(
                "{active} stays, to read what it protects; `derive --generation {}` gives its keys",
                active.number
            );
            plan.change("generation-kept", text);
        }
        plan.warning("derive-changes", "from then on, `derive` without --generation gives other keys");
        let pins = devices.iter().fold(PinsOf::none(&ring, &looks), |pins, record| pins.of(&record.id));
        plan.wants_pins(pins);
        plan.wants_new_passphrase();
        plan.question = Some("Make the new generation?");
        Ok(Self { plan, place: place.clone(), devices, leave: leave.to_vec(), bound, target, number, ring })
    }

    /// The ring that it is made for.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Makes it. Until the last step, nothing that is in use changes.
    pub fn execute(self, answers: &Answers, pins: &dyn PinSources, tell: &mut Tell<'_>) -> Result<Generation, Error> {
        let store = Store::open(&self.place.directory)?;
        let locked = store.lock()?;
        let mut ring = store.ring_of(&self.ring)?;
        record::begin(&self.place, &locked, Some(&ring), tell)?;
        if let Some(number) = ring.drop_pending() {
            locked.commit(&mut ring)?;
            tell(Step::Dropped { number });
        }
        let mut crew = Crew::of(&ring, pins);
        crew.leave(&self.leave);
        let mut team = Vec::new();
        for record in &self.devices {
            let mut guards = crew.guards_in_use(&ring, &record.id)?;
            if record.uri.kind() == Kind::Tpm && self.bound.is_some() {
                guards.bound.clone_from(&self.bound);
            }
            team.push((record.clone(), guards));
        }
        pend(&mut ring, self.number, &team, &mut crew, &self.place, tell)?;
        locked.commit(&mut ring)?;

        let number = self.number;
        let contents = proof::export(&ring, number, &mut crew, answers, &self.place, tell);
        let proved = contents.and_then(|contents| {
            proof::write_and_prove(contents, &self.target, &ring, Some(number), &mut crew, answers, tell)
        });
        match proved {
            Ok(proved) => activate(&mut ring, self.number, proved, &locked, &mut crew, &self.place, tell),
            Err(error) => Err(undo(&mut ring, &locked, error)),
        }
    }
}

/// The devices in another order, where the first can't make a generation: what it makes has to leave, for the backup and for
/// the others.
fn makers_first(devices: Vec<DeviceRecord>) -> Result<Vec<DeviceRecord>, Error> {
    let lets_out = |record: &DeviceRecord| record.root().is_none_or(Root::lets_out);
    let (mut makers, others): (Vec<_>, Vec<_>) = devices.into_iter().partition(lets_out);
    match (makers.is_empty(), others.first()) {
        (true, Some(first)) => {
            let why = "it lets none out, as its self-test has shown".to_owned();
            Err(Error::LetsNothingOut { device: first.id.clone(), why })
        }
        _ => {
            makers.extend(others);
            Ok(makers)
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

/// Makes a generation inside the first device of the team, brings it to the others, and takes it into the ring as
/// pending. Each device comes with what shall guard its seal.
pub(super) fn pend(
    ring: &mut Ring,
    number: u32,
    team: &[(DeviceRecord, Guards)],
    crew: &mut Crew<'_>,
    place: &Place,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    let ((maker, guards), others) = team.split_first().ok_or(Error::NobodyLeft)?;
    let origin = Origin {
        host: place.host.clone(),
        kind: maker.uri.kind(),
        device: maker.root().map(Root::fingerprint).unwrap_or_default(),
    };
    let opened = crew.device(&maker.id)?;
    let seal = opened.device.generate(guards.protection(), &qualifier(ring, number)).map_err(opened.failed())?;
    let id = opened.id_of(Key::Sealed(&seal.use_part))?;
    tell(Step::GenerationMade { number, id, device: maker.id.clone() });
    let mut seals = Vec::new();
    for (record, guards) in others {
        let kek = Kek::random();
        let opened = crew.device(&maker.id)?;
        let wrapped = opened.device.export(&seal.export_part, &kek).map_err(opened.failed())?;
        let seal = take_in(crew.device(&record.id)?, &wrapped, &kek, number, id, guards.protection())?;
        tell(Step::GenerationSealed { number, id, device: record.id.clone() });
        seals.push(DeviceSeal { device: record.id.clone(), seal });
    }
    seals.insert(0, DeviceSeal { device: maker.id.clone(), seal });
    ring.pend(Generation { number, id, created: now(), origin, restored: None, state: State::Pending, seals })?;
    Ok(())
}

/// Notes the proved backup and makes the generation the active one: one commit.
pub(super) fn activate(
    ring: &mut Ring,
    number: u32,
    proved: BackupRecord,
    locked: &Locked<'_>,
    crew: &mut Crew<'_>,
    place: &Place,
    tell: &mut Tell<'_>,
) -> Result<Generation, Error> {
    let mut next = ring.clone();
    next.note_backup(proved);
    next.activate(number)?;
    locked.commit(&mut next)?;
    *ring = next;
    let generation = ring.generation(number).cloned().ok_or(Error::NoGeneration(number))?;
    record::done(place, locked.store(), ring, &[generation.id], crew, tell)?;
    tell(Step::GenerationActive { number, id: generation.id });
    Ok(generation)
}

/// What ties birth evidence to this system and number: SHA-256 of the system's id (16 bytes) and the number (u32, big-endian).
fn qualifier(ring: &Ring, number: u32) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::new().chain_update(ring.system.id.as_bytes()).chain_update(number.to_be_bytes()).finalize().into()
}
