//! The same secret on every kind of device: same id, same keys, there and back; and a backup of each restores onto each.

use strongroom::device::{self, Device, Intent, NoPin, PinSource};
use tempfile::NamedTempFile;

use crate::common::isolate::this_test;
use crate::common::outside::Server;
use crate::common::rack;
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
    rack::in_own_process(this_test!(), rack::full, || {
        let swtpm = Swtpm::start();
        let pins = rack::NAMES.map(|name| {
            let file = NamedTempFile::new().expect("a temporary file");
            std::fs::write(file.path(), rack::pin(name)).expect("a file of ours");
            file
        });
        let tokens = rack::NAMES.into_iter().zip(&pins);
        let token =
            |(name, pin): (&str, &NamedTempFile)| format!("{}&pin-source={}", rack::uri(name), pin.path().display());
        let devices: Vec<String> = [swtpm.uri()].into_iter().chain(tokens.map(token)).collect();
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
