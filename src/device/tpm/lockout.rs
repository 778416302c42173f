//! The TPM's protection against guessing: read before a PIN is asked for, so that no try is burnt for nothing.
//!
//! TPM 2.0 Part 1, section 19.11. The TPM counts failures over all its objects together, and forgets one in each
//! lockout interval; when the count reaches the maximum, everything that is not NODA is refused.

use tss_esapi::Context;
use tss_esapi::constants::{CapabilityType, PropertyTag};
use tss_esapi::structures::CapabilityData;

use super::DEVICE;
use super::error::told;
use crate::device::{DeviceError, Fault, PinSource, Tries};

/// TPM_PT_LOCKOUT_COUNTER, and the three after it: MAX_AUTH_FAIL, LOCKOUT_INTERVAL, LOCKOUT_RECOVERY.
const FIRST: u32 = 0x20e;
const COUNT: u32 = 4;

/// The counters, in one TPM2_GetCapability. (The crate's `get_tpm_property` would answer from a cache.)
pub fn read(context: &mut Context) -> Result<Tries, DeviceError> {
    let (data, _) = context.get_capability(CapabilityType::TpmProperties, FIRST, COUNT).map_err(told)?;
    let CapabilityData::TpmProperties(properties) = data else {
        return Err(Fault::Failed("the TPM answered another question than that for its counters".to_owned()).into());
    };
    let value = |tag| properties.find(tag).map(|property| property.value());
    Ok(tries(value(PropertyTag::LockoutCounter), value(PropertyTag::MaxAuthFail), value(PropertyTag::LockoutInterval)))
}

fn tries(counter: Option<u32>, max: Option<u32>, interval: Option<u32>) -> Tries {
    let left = max.zip(counter).map(|(max, counter)| max.saturating_sub(counter));
    // An interval of zero means that failures are not counted at all (Part 3, section 25.3).
    Tries { left, max, recovery_seconds: interval.filter(|seconds| *seconds > 0), low: false }
}

/// Whether a PIN may be tried now: not when the TPM is locked, and the last try only when the admin said so.
pub fn admit(tries: &Tries, pins: &dyn PinSource) -> Result<(), Fault> {
    match tries.left {
        Some(0) => Err(locked(tries)),
        Some(1) if !pins.may_use_last_try() => Err(Fault::LastTry { device: DEVICE.to_owned() }),
        _ => Ok(()),
    }
}

/// The TPM refuses even the right PIN until an interval has passed.
pub fn locked(tries: &Tries) -> Fault {
    Fault::LockedOut { device: DEVICE.to_owned(), wait_seconds: tries.recovery_seconds.map(u64::from) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::NoPin;

    #[test]
    fn counts_down_and_stops_before_the_last() {
        let at = |counter| tries(Some(counter), Some(3), Some(1000));
        assert_eq!(at(0).left, Some(3));
        assert_eq!(admit(&at(1), &NoPin), Ok(()));
        assert_eq!(admit(&at(2), &NoPin), Err(Fault::LastTry { device: "the TPM".to_owned() }));
        let locked = Fault::LockedOut { device: "the TPM".to_owned(), wait_seconds: Some(1000) };
        assert_eq!(admit(&at(3), &NoPin), Err(locked.clone()));
        assert_eq!(admit(&at(4), &NoPin), Err(locked));
    }

    #[test]
    fn a_tpm_that_does_not_count_has_no_wait() {
        assert_eq!(tries(Some(0), Some(3), Some(0)).recovery_seconds, None);
        assert_eq!(admit(&tries(None, None, None), &NoPin), Ok(()));
    }
}
