//! Device remove: a device that serves no more. What it held is held, and proved, elsewhere first.

use super::crew::{Crew, Looks, look_at};
use super::wanted::PinsOf;
use super::{Error, Opened, Place, Plan, Step, Tell, ids, record};
use crate::device::{Kind, PinSources, Root};
use crate::ring::{DeviceRecord, Ring};
use crate::store::Store;
use crate::text::generations;

/// A device to be removed.
#[derive(Debug)]
pub struct DeviceRemovePlan {
    pub plan: Plan,
    place: Place,
    ring: Ring,
    record: DeviceRecord,
    /// Whether what was made for the ring on the device is destroyed.
    destroys: bool,
}

impl DeviceRemovePlan {
    /// Looks whether the ring can do without the device, and says what can be erased and what can't. `leaves_keys`: what a token
    /// keeps for the ring is not destroyed, which would ask for its PIN.
    pub fn new(place: &Place, id: &str, leaves_keys: bool) -> Result<Self, Error> {
        let store = Store::open(&place.directory)?;
        let ring = store.ring()?;
        let record = ring.device(id).cloned().ok_or_else(|| Error::NoSuchDevice(id.to_owned()))?;
        let held: Vec<u32> =
            ring.usable().filter(|held| held.seal_on(id).is_some()).map(|generation| generation.number).collect();
        if ring.in_service().all(|other| other.id == id) {
            return Err(Error::LastDevice(id.to_owned()));
        }
        let only: Vec<u32> = ring.only_on(id).map(|generation| generation.number).collect();
        if !only.is_empty() {
            return Err(Error::OnlyThere { device: id.to_owned(), numbers: only });
        }

        let mut plan = Plan::new("device-remove", &ring.system.name);
        match held.as_slice() {
            [] => plan.change("device-removed", format!("{id}, whose adding was cut off, is dropped")),
            held => {
                let text = format!("{id} serves no more; what it held stays elsewhere: {}", generations(held));
                plan.change("device-removed", text);
            }
        }
        let others_let_out = {
            let mut others = ring.in_service().filter(|other| other.id != id).filter_map(DeviceRecord::root);
            others.any(Root::lets_out)
        };
        if record.root().is_some_and(Root::lets_out) && !others_let_out {
            let text = format!(
                "{id} is the last device that lets secrets out: without it no backup and no new generation can be made here"
            );
            plan.warning("nothing-lets-out", text);
        }
        let reached = look_at(&ring, &record);
        let looks = reached.as_ref().map_or_else(|_| Looks::default(), |found| Looks::at(id, found.clone()));
        let destroys = record.uri.kind() == Kind::Pkcs11 && reached.is_ok() && !leaves_keys;
        match (record.uri.kind(), reached) {
            (Kind::Tpm, _) if held.is_empty() => {}
            (Kind::Tpm, _) => {
                let text = format!(
                    "a TPM can't revoke a seal: who has a copy of this server's old state can still use it with {id}; \
                     `strongroom generate` ends that for what comes after"
                );
                plan.warning("seals-stay", text);
            }
            (Kind::Pkcs11, Ok(_)) if leaves_keys => {
                let text = format!(
                    "the ring's wrapping keys stay on {id}: who has its PIN and a copy of this server's old state can still \
                     use them; `strongroom generate` ends that for what comes after"
                );
                plan.warning("keys-stay", text);
            }
            (Kind::Pkcs11, Ok(_)) => {
                let text = format!("the ring's wrapping keys on {id} are destroyed: copies of its seals open no more");
                plan.change("keys-destroyed", text);
                let lost = lost_aside(&store.replaced()?, &ring, &record);
                if !lost.is_empty() {
                    let text = format!(
                        "rings that were put aside open no more with it, and this ring has none of these: {}",
                        lost.join(", ")
                    );
                    plan.warning("aside-lost", text);
                }
            }
            (Kind::Pkcs11, Err(error)) => {
                let text = format!("the ring's wrapping keys stay on {id}, which can't be reached: {error}");
                plan.warning("keys-stay", text);
            }
        }
        let pins = PinsOf::none(&ring, &looks).of_any(ring.usable(), Some(id));
        plan.wants_pins(if destroys { pins.of(id) } else { pins });
        plan.question = Some("Remove the device?");
        Ok(Self { plan, place: place.clone(), ring, record, destroys })
    }

    /// The ring that it is removed from.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Removes it, after every generation was shown to be served by another device.
    pub fn execute(self, pins: &dyn PinSources, tell: &mut Tell<'_>) -> Result<Ring, Error> {
        let store = Store::open(&self.place.directory)?;
        let locked = store.lock()?;
        let found = store.ring_of(&self.ring)?;
        record::begin(&self.place, &locked, Some(&found), tell)?;
        let id = self.record.id.as_str();
        let held = found.usable().any(|generation| generation.seal_on(id).is_some());
        let mut ring = found;
        ring.remove_device(id)?;
        Crew::of(&ring, pins).prove_service(&ring, tell)?;
        // Keys first: a crash in between leaves a record of a device that is of no use any more, and is removed by the next
        // run. The other way round would leave keys that nobody knows of.
        if let (true, Some(intent)) = (self.destroys, self.record.anchor.intent()) {
            let mut opened = Opened::recorded(&self.record, pins.of(id))?;
            if opened.device.retire(&intent).map_err(opened.failed())? {
                tell(Step::KeysDestroyed { device: id.to_owned() });
            }
        }
        locked.commit(&mut ring)?;
        record::done(&self.place, &store, &ring, &ids(&ring), &mut Crew::of(&ring, pins), tell)?;
        if held && !self.destroys {
            tell(Step::SealsKept { device: id.to_owned() });
        }
        tell(Step::DeviceRemoved { device: id.to_owned() });
        Ok(ring)
    }
}

/// What rings that were put aside have sealed with the device's wrapping keys, and this one does not have: a ring that takes
/// another's place on the same token goes on with its keys.
fn lost_aside(replaced: &[Ring], ring: &Ring, record: &DeviceRecord) -> Vec<String> {
    let mut lost = Vec::new();
    for former in replaced {
        let same = former.devices.iter().filter(|device| device.root().is_some() && device.root() == record.root());
        for device in same {
            let held =
                former.usable().filter(|held| held.seal_on(&device.id).is_some() && ring.by_id(held.id).is_none());
            lost.extend(held.map(|generation| format!("{generation} of system {}", former.system.name)));
        }
    }
    lost
}
