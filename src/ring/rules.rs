//! The rules that every ring keeps: looked at after reading and before writing.

use super::{Anchor, Generation, MAX_DEVICES, MAX_GENERATIONS, MAX_NAME, Ring, RingError, SUITE, State};
use crate::device::{Kind, Root};
use crate::text::{escaped, is_invisible};

impl Ring {
    /// Looks at every rule.
    pub fn check(&self) -> Result<(), RingError> {
        let broken = |what: String| Err(RingError::Broken(what));
        if self.suite != SUITE {
            return Err(RingError::Suite(escaped(&self.suite)));
        }
        if self.commit == u64::MAX {
            return broken("the ring's commits can't be counted on".to_owned());
        }
        check_name(&self.system.name).map_err(RingError::Broken)?;
        if self.devices.is_empty() || self.devices.len() > MAX_DEVICES {
            return broken(format!("the ring has {} devices, not 1 to {MAX_DEVICES}", self.devices.len()));
        }
        if self.generations.len() > MAX_GENERATIONS {
            return Err(RingError::Full);
        }
        for (index, device) in self.devices.iter().enumerate() {
            if self.devices[..index].iter().any(|other| other.id == device.id) {
                return broken(format!("two devices are called {}", escaped(&device.id)));
            }
            let kind = match &device.anchor {
                Anchor::Pinned(Root::Tpm { .. }) => Kind::Tpm,
                Anchor::Pinned(Root::Pkcs11 { .. }) => Kind::Pkcs11,
                Anchor::Intended(_) => device.uri.kind(),
            };
            if kind != device.uri.kind() {
                return broken(format!("device {} is pinned as another kind of device", escaped(&device.id)));
            }
        }
        for pair in self.generations.windows(2) {
            if pair[0].number >= pair[1].number {
                return broken(format!("generation {} stands before {}", pair[0].number, pair[1].number));
            }
        }
        for (index, generation) in self.generations.iter().enumerate() {
            self.check_generation(generation)?;
            if self.generations[..index].iter().any(|other| other.id == generation.id) {
                return broken(format!("generation {} is in the ring twice", generation.id));
            }
        }
        for (state, name) in [(State::Active, "active"), (State::Pending, "pending")] {
            if self.generations.iter().filter(|generation| generation.state == state).count() > 1 {
                return broken(format!("more than one generation is {name}"));
            }
        }
        Ok(())
    }

    fn check_generation(&self, generation: &Generation) -> Result<(), RingError> {
        let number = generation.number;
        let broken = |what: &str| Err(RingError::Broken(format!("generation {number} {what}")));
        if number == 0 || number > self.last_number {
            return broken("has a number that was never given");
        }
        if generation.state == State::Pending && number != self.last_number {
            return broken("is pending, and not the newest");
        }
        if generation.seals.is_empty() {
            return broken("has no seal");
        }
        for (index, seal) in generation.seals.iter().enumerate() {
            let Some(device) = self.device(&seal.device) else {
                return broken("has a seal of a device that is not in the ring");
            };
            if device.root().is_none() {
                return broken("has a seal of a device that is not set up");
            }
            if generation.seals[..index].iter().any(|other| other.device == seal.device) {
                return broken("has two seals of one device");
            }
        }
        Ok(())
    }
}

/// A system's name: 1 to 64 printable characters, no blank at either end.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err(format!("the system's name must have 1 to {MAX_NAME} characters"));
    }
    if name.trim() != name || name.chars().any(|c| c.is_control() || is_invisible(c)) {
        return Err("the system's name must be printable, with no blank at either end".to_owned());
    }
    Ok(())
}
