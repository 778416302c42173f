//! The devices of a ring: which of them serve, what each lacks, and how one comes and goes.

use super::{Anchor, DeviceRecord, DeviceSeal, Generation, Ring, RingError};
use crate::device::{Bound, BoundTo, Intent, Kind, Root, Seal};

impl Ring {
    pub fn device(&self, id: &str) -> Option<&DeviceRecord> {
        self.devices.iter().find(|device| device.id == id)
    }

    /// The devices that hold something of this ring, in their order: the first that answers serves. One that is still
    /// being added is not among them.
    pub fn in_service(&self) -> impl Iterator<Item = &DeviceRecord> {
        self.devices.iter().filter(|device| self.generations.iter().any(|held| held.seal_on(&device.id).is_some()))
    }

    /// The devices whose adding was cut off: known, and nothing is sealed on them. (A ring that is being founded has
    /// nothing but such.)
    pub fn being_added(&self) -> impl Iterator<Item = &DeviceRecord> {
        self.devices.iter().filter(|device| self.generations.iter().all(|held| held.seal_on(&device.id).is_none()))
    }

    /// The generations that are, or were, active and have no seal on a device.
    pub fn lacking<'r>(&'r self, device: &'r str) -> impl Iterator<Item = &'r Generation> {
        self.usable().filter(move |generation| generation.seal_on(device).is_none())
    }

    /// The generations that are, or were, active and are sealed on no other device.
    pub fn only_on<'r>(&'r self, device: &'r str) -> impl Iterator<Item = &'r Generation> {
        self.usable().filter(move |generation| generation.seals.iter().all(|seal| seal.device == device))
    }

    /// Whether what a device keeps of this ring asks for a PIN.
    pub fn asks_for_pin(&self, device: &str) -> bool {
        let mut seals = self.generations.iter().filter_map(|generation| generation.seal_on(device));
        seals.any(|seal| seal.use_part.0.guard.asks_for_pin())
    }

    /// Whether a PIN of their own guards the ring's seals on a device.
    pub fn has_own_pin(&self, device: &str) -> bool {
        let mut seals = self.generations.iter().filter_map(|generation| generation.seal_on(device));
        seals.any(|seal| seal.use_part.0.guard.has_own_pin())
    }

    /// What new seals on a device are bound to: as its newest that is, or was, active.
    pub fn bound(&self, device: &str) -> Option<BoundTo> {
        let active = self.active().and_then(|generation| generation.seal_on(device));
        let newest = active.or_else(|| self.usable().filter_map(|generation| generation.seal_on(device)).last());
        newest.and_then(|seal| seal.use_part.0.guard.bound()).map(Bound::to)
    }

    /// All that seals on a device ask of its PCRs, each once.
    pub fn bounds(&self, device: &str) -> Vec<Bound<'_>> {
        let mut bounds = Vec::new();
        for seal in self.usable().filter_map(|generation| generation.seal_on(device)) {
            bounds.extend(seal.use_part.0.guard.bound().filter(|bound| !bounds.contains(bound)));
        }
        bounds
    }

    /// Notes that a device's seals were bound to PCRs until now, or, with none, that they are again.
    pub fn note_unbound(&mut self, device: &str, bound: Option<BoundTo>) {
        for record in self.devices.iter_mut().filter(|record| record.id == device) {
            record.unbound.clone_from(&bound);
        }
    }

    /// A name for one more device: the first of `tpm1`, `tpm2` ... or `hsm1` ... that is free.
    pub fn device_name(kind: Kind, taken: &[DeviceRecord]) -> String {
        let stem = match kind {
            Kind::Tpm => "tpm",
            Kind::Pkcs11 => "hsm",
        };
        (1..)
            .map(|number| format!("{stem}{number}"))
            .find(|name| taken.iter().all(|device| device.id != *name))
            .expect("there are fewer devices than numbers")
    }

    /// Takes in a device that is about to be set up.
    pub fn add_device(&mut self, record: DeviceRecord) -> Result<(), RingError> {
        self.devices.push(record);
        self.check()
    }

    /// Pins what was made on a device that is being added.
    pub fn pin_device(&mut self, id: &str, root: Root) -> Result<(), RingError> {
        let record = self.devices.iter_mut().find(|device| device.id == id);
        record.ok_or_else(|| RingError::Broken(format!("there is no device {id}")))?.anchor = Anchor::Pinned(root);
        self.check()
    }

    /// Takes out a device and all that is sealed on it.
    ///
    /// Errors where a generation would be left without a seal: then it would be lost to this server.
    pub fn remove_device(&mut self, id: &str) -> Result<DeviceRecord, RingError> {
        if let Some(generation) = self.only_on(id).next() {
            return Err(RingError::Broken(format!("{generation} is sealed on {id} alone")));
        }
        let index = self.devices.iter().position(|device| device.id == id);
        let index = index.ok_or_else(|| RingError::Broken(format!("there is no device {id}")))?;
        let record = self.devices.remove(index);
        for generation in &mut self.generations {
            generation.seals.retain(|seal| seal.device != id);
        }
        // What is pending on that device alone goes with it; its number stays burnt.
        self.generations.retain(|generation| !generation.seals.is_empty());
        self.check()?;
        Ok(record)
    }

    /// Puts a generation's seal on a device in its place.
    pub fn put_seal(&mut self, number: u32, device: &str, seal: Seal) -> Result<(), RingError> {
        let generation = self.generations.iter_mut().find(|generation| generation.number == number);
        let generation = generation.ok_or_else(|| RingError::Broken(format!("there is no generation {number}")))?;
        generation.seals.retain(|old| old.device != device);
        generation.seals.push(DeviceSeal { device: device.to_owned(), seal });
        self.check()
    }
}

impl Anchor {
    /// The wrapping keys that are meant to be, or are, on the token; none for a TPM that is pinned.
    pub fn intent(&self) -> Option<Intent> {
        match self {
            Anchor::Intended(intent) => Some(intent.clone()),
            Anchor::Pinned(Root::Pkcs11 { use_key, export_key, .. }) => {
                Some(Intent { use_key: use_key.id, export_key: export_key.id })
            }
            Anchor::Pinned(Root::Tpm { .. }) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::State;
    use crate::ring::tests::{founded, founding, generation, now};

    fn second() -> DeviceRecord {
        let anchor = Anchor::Intended(Intent::random());
        DeviceRecord {
            id: "hsm1".to_owned(),
            uri: "pkcs11:token=x".parse().unwrap(),
            added: now(),
            anchor,
            unbound: None,
        }
    }

    /// Generations 1 and 2 on `tpm1`, generation 1 on `tpm2` too.
    fn two_devices() -> Ring {
        let mut ring = founded(2);
        let record = DeviceRecord { id: "tpm2".to_owned(), ..ring.devices[0].clone() };
        ring.add_device(record).unwrap();
        let seal = ring.generations[0].seals[0].seal.clone();
        ring.put_seal(1, "tpm2", seal).unwrap();
        ring
    }

    fn names<'r>(devices: impl Iterator<Item = &'r DeviceRecord>) -> Vec<&'r str> {
        devices.map(|device| device.id.as_str()).collect()
    }

    fn numbers<'r>(generations: impl Iterator<Item = &'r Generation>) -> Vec<u32> {
        generations.map(|generation| generation.number).collect()
    }

    #[test]
    fn devices_get_the_first_free_name() {
        let ring = founding();
        assert_eq!(Ring::device_name(Kind::Tpm, &ring.devices), "tpm2");
        assert_eq!(Ring::device_name(Kind::Pkcs11, &ring.devices), "hsm1");
    }

    #[test]
    fn a_device_serves_once_something_is_sealed_on_it() {
        let mut ring = founded(1);
        ring.add_device(second()).unwrap();
        assert_eq!(names(ring.in_service()), ["tpm1"]);
        assert_eq!(names(ring.being_added()), ["hsm1"]);
        assert!(ring.add_device(second()).is_err(), "one name, one device");
        let ring = two_devices();
        assert_eq!(names(ring.in_service()), ["tpm1", "tpm2"]);
        assert_eq!((numbers(ring.lacking("tpm2")), numbers(ring.lacking("tpm1"))), (vec![2], vec![]));
    }

    #[test]
    fn nothing_is_sealed_on_a_device_that_is_not_pinned() {
        let mut ring = founded(1);
        ring.add_device(second()).unwrap();
        let seal = ring.generations[0].seals[0].seal.clone();
        assert!(ring.put_seal(1, "hsm1", seal).is_err());
    }

    #[test]
    fn what_holds_a_generation_alone_stays() {
        let mut ring = two_devices();
        assert_eq!(numbers(ring.only_on("tpm1")), [2]);
        assert!(ring.clone().remove_device("tpm1").is_err());
        assert!(ring.clone().remove_device("tpm3").is_err());
        let seal = ring.generations[0].seals[0].seal.clone();
        ring.put_seal(2, "tpm2", seal).unwrap();
        ring.remove_device("tpm1").unwrap();
        assert_eq!(names(ring.in_service()), ["tpm2"]);
        assert!(ring.remove_device("tpm2").is_err(), "the last one");
    }

    #[test]
    fn what_was_pending_on_a_removed_device_goes_with_it() {
        let mut ring = two_devices();
        ring.drop_pending();
        let mut pending = generation(3, State::Pending);
        pending.seals[0].device = "tpm2".to_owned();
        ring.pend(pending).unwrap();
        ring.remove_device("tpm2").unwrap();
        assert_eq!((ring.pending(), ring.next_number()), (None, Ok(4)));
    }
}
