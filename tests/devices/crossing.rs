//! The same secret on every kind of device: same id, same keys, there and back; and a backup of each restores onto each.

use strongroom::device::{self, Device, Intent, NoPin, PinSource};

use crate::common::isolate::this_test;
use crate::common::outside::Server;
use crate::common::rack::{self, Rack};
use crate::common::softhsm::{SoftHsm, USER_PIN, in_own_process};
use crate::common::swtpm::Swtpm;
use crate::pins::Typed;
use crate::suite;

const TOKEN_PIN: Typed = Typed(USER_PIN);

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
            suite::move_between(ready(&swtpm.uri(), &NoPin).as_mut(), ready(&hsm.uri(), &TOKEN_PIN).as_mut());
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
            suite::move_between(ready(&hsm.uri(), &TOKEN_PIN).as_mut(), ready(&swtpm.uri(), &NoPin).as_mut());
        },
    );
}

/// Made on a server with the one, restored onto another server with the other, by the program itself.
#[test]
fn backups_cross_between_every_pair() {
    let rack =
        || Rack::new().softhsm(&["softhsm2"]).kryoptic(&["kryoptic"]).nss(&["nss"]).opencryptoki(&["opencryptoki"]);
    rack::in_own_process(this_test!(), rack, || {
        let swtpm = Swtpm::start();
        let pin = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(pin.path(), USER_PIN).expect("a file of ours");
        let token = |name| format!("pkcs11:token={name}?module-name={name}&pin-source={}", pin.path().display());
        let tokens = ["softhsm2", "kryoptic", "nss"].map(token);
        let devices = [&[swtpm.uri()], &tokens[..]].concat();
        let mut crossed = 0;
        for from in &devices {
            let one = Server::new(from.clone(), None);
            one.init("one.backup", &[]);
            let key = one.derive("disk", 40, &[]);
            for to in &devices {
                let other = Server::new(to.clone(), None);
                other.restore(&one.path("one.backup"), &[]);
                assert_eq!(other.derive("disk", 40, &[]), key, "from {from} to {to}");
                crossed += 1;
            }
        }
        assert_eq!(crossed, devices.len() * devices.len());
    });
}
