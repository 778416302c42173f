//! Restoring: what was stated, done.

use super::super::crew::Crew;
use super::super::guards::Guards;
use super::super::init::{intend, pin_down};
use super::super::sealing::take_in;
use super::super::{Error, Step, Tell, now, proof, record, secure};
use super::{Onto, RestorePlan, found_here, missing, not_in};
use crate::backup::{Contents, Entry};
use crate::derive::GenerationId;
use crate::device::{DeviceUri, PinSources};
use crate::ring::{Anchor, DeviceRecord, DeviceSeal, Generation, Ring, Role, State};
use crate::secret::Pin;
use crate::store::{Locked, Store, StoreError};

impl RestorePlan {
    /// Whether the new seals get a PIN of their own, which the front end has to ask for.
    pub fn wants_new_pin(&self) -> bool {
        self.from.options.seal.with_pin
    }

    /// The devices that are restored onto, with what they are or will be called, and whether they may ask for a PIN.
    pub fn devices(&self) -> Vec<(String, DeviceUri, bool)> {
        match (&self.from.onto, &self.from.ring) {
            (Onto::Founded { uri, device }, _) => {
                vec![(Ring::device_name(uri.kind(), &[]), uri.clone(), device.needs_pin)]
            }
            (Onto::Ring { devices, .. }, ring) => {
                let asks = |id: &str| ring.as_ref().is_some_and(|ring| ring.asks_for_pin(id));
                devices.iter().map(|one| (one.id.clone(), one.uri.clone(), asks(&one.id))).collect()
            }
        }
    }

    /// Restores; `new_pin`, if there is one, guards the seals on a device that is new here.
    pub fn execute(self, new_pin: Option<&Pin>, pins: &dyn PinSources, tell: &mut Tell<'_>) -> Result<Ring, Error> {
        let store = Store::create(&self.from.place.directory)?;
        let locked = store.lock()?;
        let (found, ruin) = found_here(&store)?;
        let was_damaged = self.from.ruin.as_ref().map(|ruin| ruin.damaged);
        if ruin.as_ref().map(|ruin| ruin.damaged) != was_damaged {
            return Err(StoreError::Changed.into());
        }
        if found.as_ref().map(|ring| ring.commit) != self.from.ring.as_ref().map(|ring| ring.commit) {
            return Err(StoreError::Changed.into());
        }
        record::begin(&self.from.place, &locked, found.as_ref(), tell)?;
        match (found, &self.from.onto) {
            (Some(ring), Onto::Ring { devices, .. }) => {
                let devices = devices.iter().map(|record| record.id.clone()).collect();
                self.add(ring, devices, &locked, pins, tell)
            }
            (None, Onto::Ring { .. }) => Err(StoreError::Changed.into()),
            (former, Onto::Founded { uri, .. }) => {
                let uri = uri.clone();
                self.found(former, uri, &locked, new_pin, pins, tell)
            }
        }
    }

    /// Adds what is missing to a ring of the same system: one commit, when all of it is proved.
    fn add(
        mut self,
        mut ring: Ring,
        devices: Vec<String>,
        locked: &Locked<'_>,
        pins: &dyn PinSources,
        tell: &mut Tell<'_>,
    ) -> Result<Ring, Error> {
        let mut crew = Crew::of(&ring, pins);
        crew.leave(&self.from.options.leave);
        let mut team = Vec::new();
        for id in devices {
            let guards = crew.guards_in_use(&ring, &id)?;
            team.push((id, guards));
        }
        if let Some(number) = ring.drop_pending() {
            tell(Step::Dropped { number });
        }
        for entry in missing(&ring.clone(), &self.contents) {
            let generation = import(entry, &self.contents, &team, &mut crew, tell)?;
            ring.admit(generation)?;
        }
        for entry in &self.contents.generations {
            let generation = ring.by_id(entry.id).ok_or(Error::NoGeneration(entry.number))?;
            crew.each(generation, tell, |opened, seal, tell| {
                proof::prove(generation, seal, &self.contents, opened, tell)
            })?;
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
        secure(&self.from.path, tell)?;
        self.record.proved = Some(now());
        ring.note_backup(self.record);
        locked.commit(&mut ring)?;
        record::done(&self.from.place, locked.store(), &ring, &restored(&self.contents), &mut crew, tell)?;
        if let Some(active) = ring.active() {
            tell(Step::GenerationActive { number: active.number, id: active.id });
        }
        Ok(ring)
    }

    /// Founds a ring from the backup; one that was there gives way in the same rename.
    fn found(
        mut self,
        former: Option<Ring>,
        uri: DeviceUri,
        locked: &Locked<'_>,
        new_pin: Option<&Pin>,
        pins: &dyn PinSources,
        tell: &mut Tell<'_>,
    ) -> Result<Ring, Error> {
        let store = locked.store();
        self.from.place.record.found();
        let is_first = store.founding()?.is_none();
        let last_good = self.from.ruin.as_ref().and_then(|ruin| ruin.last_good.as_ref());
        let intent = intend(store, &uri, former.as_ref().or(last_good), tell)?;
        let device = DeviceRecord {
            id: Ring::device_name(uri.kind(), &[]),
            uri,
            added: now(),
            anchor: Anchor::Intended(intent),
            unbound: None,
        };
        let (role, master) = match self.from.options.member {
            true => (Role::Member, self.contents.master.clone()),
            false => (Role::Master, self.from.place.host.clone()),
        };
        let system = self.contents.system.clone();
        let mut ring = Ring::founding(system, self.from.term_after(&self.contents), role, master, device);
        ring.last_number = self.contents.last_number;
        // Of a ring that was damaged or lost, the history knows best where it had got to.
        if let Some(former) = former.as_ref().or(last_good) {
            ring.succeed(former);
        }
        locked.commit(&mut ring)?;
        let id = ring.devices[0].id.clone();
        let opened = pin_down(&mut ring, locked, is_first, pins.of(&id), tell)?;
        let mut crew = Crew::joined_by(&ring, opened, pins);
        let team = [(id, Guards::chosen(new_pin, self.from.options.seal.bound.as_ref()))];
        for entry in &self.contents.generations {
            let generation = import(entry, &self.contents, &team, &mut crew, tell)?;
            ring.admit(generation)?;
        }
        for generation in &ring.generations {
            proof::prove_everywhere(generation, &self.contents, &mut crew, tell)?;
        }
        ring.activate(self.contents.active)?;
        secure(&self.from.path, tell)?;
        self.record.proved = Some(now());
        ring.note_backup(self.record);

        let kept = match &former {
            Some(former) if former.system.id != ring.system.id || not_in(former, &self.contents).next().is_some() => {
                Some(locked.put_aside(former)?)
            }
            _ => None,
        };
        let damaged = match &self.from.ruin {
            Some(ruin) if ruin.damaged => Some(locked.put_damaged_aside()?),
            _ => None,
        };
        locked.commit(&mut ring)?;
        if former.is_some() {
            // What it held is in the new ring, or kept aside: its seals are not left lying about.
            locked.forget_history(&ring)?;
        }
        record::done(&self.from.place, store, &ring, &restored(&self.contents), &mut crew, tell)?;
        if let Some(path) = kept.or(damaged) {
            tell(Step::RingReplaced { path: path.display().to_string() });
        }
        if let Some(active) = ring.active() {
            tell(Step::GenerationActive { number: active.number, id: active.id });
        }
        Ok(ring)
    }
}

/// What the log names: every generation of the backup.
fn restored(contents: &Contents) -> Vec<GenerationId> {
    contents.generations.iter().map(|entry| entry.id).collect()
}

/// Takes a generation of the backup into each device of the team, with what shall guard its seal there.
fn import(
    entry: &Entry,
    contents: &Contents,
    team: &[(String, Guards)],
    crew: &mut Crew<'_>,
    tell: &mut Tell<'_>,
) -> Result<Generation, Error> {
    let (number, id) = (entry.number, entry.id);
    let mut seals = Vec::new();
    for (device, guards) in team {
        let seal = take_in(crew.device(device)?, &entry.secret(), &contents.kek, number, id, guards.protection())?;
        tell(Step::GenerationRestored { number, id, device: device.clone() });
        seals.push(DeviceSeal { device: device.clone(), seal });
    }
    Ok(Generation {
        number,
        id,
        created: entry.created,
        origin: entry.origin.clone(),
        restored: Some(now()),
        state: State::Kept,
        seals,
    })
}
