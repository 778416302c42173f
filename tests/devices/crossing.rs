//! The same secret on both kinds of device: same id, same keys, there and back.

use strongroom::device::{self, Device, DeviceError, Intent, NoPin, PinRequest, PinSource};
use strongroom::secret::{Pin, SecretBytes};

use crate::common::isolate::this_test;
use crate::common::softhsm::{SoftHsm, USER_PIN, in_own_process};
use crate::common::swtpm::Swtpm;
use crate::suite;

struct TokenPin;

impl PinSource for TokenPin {
    fn pin(&self, _: &PinRequest) -> Result<Pin, DeviceError> {
        Ok(Pin::new(SecretBytes::copy_of(USER_PIN.as_bytes())))
    }

    fn may_use_last_try(&self) -> bool {
        false
    }
}

fn ready<'p>(uri: &str, pins: &'p dyn PinSource) -> Box<dyn Device + 'p> {
    let mut device = device::open(&uri.parse().unwrap(), None, pins).unwrap();
    device.provision(&Intent::random()).unwrap();
    device
}

#[test]
fn from_a_tpm_to_a_token_and_back() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let swtpm = Swtpm::start();
            suite::move_between(ready(&swtpm.uri(), &NoPin).as_mut(), ready(&hsm.uri(), &TokenPin).as_mut());
        },
    );
}

#[test]
fn from_a_token_to_a_tpm_and_back() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let swtpm = Swtpm::start();
            suite::move_between(ready(&hsm.uri(), &TokenPin).as_mut(), ready(&swtpm.uri(), &NoPin).as_mut());
        },
    );
}
