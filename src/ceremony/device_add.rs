//! Device add: one more device that holds every generation, so that any of them can serve.

use super::crew::{Crew, look_for_one};
use super::guards::{Guards, SealOptions, foresee, may_open};
use super::init::{nothing_was_made, pinning, tell_pinned};
use super::wanted::PinsOf;
use super::{Error, Opened, Place, Plan, Step, Tell, ids, look_at_new, now, record, sealing};
use crate::device::{BoundTo, DeviceUri, Intent, Kind, PinSources};
use crate::ring::{Anchor, DeviceRecord, Generation, MAX_DEVICES, Ring, RingError};
use crate::secret::Pin;
use crate::store::{Locked, Store};
use crate::text::generations;

/// A device to be added.
#[derive(Debug)]
pub struct DeviceAddPlan {
    pub plan: Plan,
    place: Place,
    ring: Ring,
    id: String,
    uri: DeviceUri,
    needs_pin: bool,
    bound: Option<BoundTo>,
}

impl DeviceAddPlan {
    /// Looks whether the device can do the job and is new to the ring, and whether one of the ring's devices answers, which
    /// it gets the generations from.
    pub fn new(place: &Place, uri: &DeviceUri, options: &SealOptions) -> Result<Self, Error> {
        let ring = Store::open(&place.directory)?.ring()?;
        options.fit(uri.kind())?;
        if let Some(known) = ring.in_service().find(|record| record.uri == *uri) {
            return Err(Error::DeviceKnown { device: known.id.clone(), asked: uri.to_string() });
        }
        let begun = ring.being_added().find(|record| record.uri == *uri);
        if begun.is_none() && ring.devices.len() >= MAX_DEVICES {
            return Err(RingError::FullOfDevices.into());
        }
        let id = begun.map_or_else(|| Ring::device_name(uri.kind(), &ring.devices), |record| record.id.clone());
        let device = look_at_new(&id, uri)?;
        if let Some(known) = ring.in_service().find(|record| record.root().is_some_and(|root| root.is_of(&device))) {
            return Err(Error::DeviceKnown { device: known.id.clone(), asked: uri.to_string() });
        }
        let looks = look_for_one(&ring)?;
        may_open(place, &ring)?;

        let mut plan = Plan::new("device-add", &ring.system.name);
        plan.change("device-pinned", pinning(&id, uri, &device));
        let numbers: Vec<u32> = ring.usable().map(|generation| generation.number).collect();
        plan.change("generations-sealed", format!("sealed on {id} too: {}", generations(&numbers)));
        if !device.exports {
            let text = format!("{id} lets no secret out: it serves; new generations and backups come from the others");
            plan.warning("lets-nothing-out", text);
        }
        if uri.kind() == Kind::Tpm && !options.with_pin && ring.usable().any(Generation::has_pin) {
            let text = format!("a PIN guards the secret elsewhere, and would not on {id}: see --with-pin");
            plan.warning("pin-dropped", text);
        }
        let elsewhere = ring.in_service().find_map(|record| ring.bound(&record.id));
        if let (Some(elsewhere), Kind::Tpm, None) = (elsewhere, uri.kind(), &options.bound) {
            let text = format!(
                "seals elsewhere are bound to {elsewhere}, and would not be on {id}: see --pcrs and --pcr-public-key"
            );
            plan.warning("pcrs-dropped", text);
        }
        if let Some(pending) = ring.pending() {
            let text = format!("generation {} is pending and not part of it", pending.number);
            plan.warning("pending", text);
        }
        plan.wants_pins(PinsOf::none(&ring, &looks).of_any(ring.usable(), None));
        plan.wants_pin_of_new(&id, uri, &device);
        if let Some(bound) = &options.bound {
            foresee(place, (&id, uri, None), &device, bound)?;
            plan.binds(place, &id, bound);
        }
        if options.with_pin {
            plan.wants_new_pin(&id);
        }
        plan.question = Some("Add the device?");
        Ok(Self {
            plan,
            place: place.clone(),
            id,
            uri: uri.clone(),
            needs_pin: device.needs_pin,
            bound: options.bound.clone(),
            ring,
        })
    }

    /// The ring that it is added to.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// What the device will be called, its URI, and whether it asks for a PIN before it does anything.
    pub fn device(&self) -> (String, DeviceUri, bool) {
        (self.id.clone(), self.uri.clone(), self.needs_pin)
    }

    /// Adds it: it serves from the last commit on, when every generation is proved on it. `new_pin`, if there is one,
    /// guards the seals on it.
    pub fn execute(self, new_pin: Option<&Pin>, pins: &dyn PinSources, tell: &mut Tell<'_>) -> Result<Ring, Error> {
        let store = Store::open(&self.place.directory)?;
        let locked = store.lock()?;
        let mut ring = store.ring_of(&self.ring)?;
        record::begin(&self.place, &locked, Some(&ring), tell)?;
        let opened = self.pin_down(&mut ring, &locked, pins, tell)?;
        let mut crew = Crew::joined_by(&ring, opened, pins);
        let guards = Guards::chosen(new_pin, self.bound.as_ref());
        let mut seals = Vec::new();
        for generation in ring.usable() {
            let seal = sealing::bring(&mut crew, generation, &self.id, guards.protection(), tell)?;
            let (number, id) = (generation.number, generation.id);
            tell(Step::GenerationSealed { number, id, device: self.id.clone() });
            seals.push((number, seal));
        }
        for (number, seal) in seals {
            ring.put_seal(number, &self.id, seal)?;
        }
        locked.commit(&mut ring)?;
        record::done(&self.place, &store, &ring, &ids(&ring), &mut crew, tell)?;
        tell(Step::DeviceAdded { device: self.id });
        Ok(ring)
    }

    /// Records what is about to be made on the device, makes it, and pins it. Gives the device, open.
    fn pin_down<'p>(
        &self,
        ring: &mut Ring,
        locked: &Locked<'_>,
        pins: &'p dyn PinSources,
        tell: &mut Tell<'_>,
    ) -> Result<Opened<'p>, Error> {
        let begun = ring.device(&self.id).cloned();
        let is_first = begun.is_none();
        let record = match begun {
            Some(record) => record,
            None => {
                let anchor = Anchor::Intended(Intent::random());
                let record =
                    DeviceRecord { id: self.id.clone(), uri: self.uri.clone(), added: now(), anchor, unbound: None };
                ring.add_device(record.clone())?;
                locked.commit(ring)?;
                record
            }
        };
        let Anchor::Intended(intent) = &record.anchor else {
            return Opened::recorded(&record, pins.of(&self.id));
        };
        let provisioned = Opened::recorded(&record, pins.of(&self.id)).and_then(|mut opened| {
            let root = opened.device.provision(intent).map_err(opened.failed())?;
            // The same device by another name: the storage root key is its own. (A token's keys are this record's alone.)
            match ring.devices.iter().find(|other| other.root().is_some_and(|other| other.is_same_tpm(&root))) {
                Some(known) => Err(Error::DeviceKnown { device: known.id.clone(), asked: self.uri.to_string() }),
                None => Ok((opened, root)),
            }
        });
        let (opened, root) = match provisioned {
            Ok(provisioned) => provisioned,
            Err(error) => {
                if is_first && (nothing_was_made(&error) || matches!(error, Error::DeviceKnown { .. })) {
                    ring.remove_device(&self.id)?;
                    locked.commit(ring)?;
                }
                return Err(error);
            }
        };
        tell_pinned(&self.id, &root, tell);
        ring.pin_device(&self.id, root)?;
        locked.commit(ring)?;
        Ok(opened)
    }
}
