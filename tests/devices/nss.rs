//! NSS softokn, which must be told where its database is: as p11-kit is configured with it.

use strongroom::device::{self, Fault, Intent, NoPin, Probe};

use crate::common::isolate::this_test;
use crate::common::rack::{NSS, Rack, in_own_process};
use crate::pkcs11::{describe, open, right};
use crate::suite;

const URIS: [&str; 2] = ["pkcs11:token=payroll?module-name=nss", "pkcs11:token=second?module-name=nss"];

fn rack() -> Rack {
    Rack::new().nss(&["payroll", "second"])
}

#[test]
fn it_is_initialised_as_p11_kit_is_told() {
    in_own_process(this_test!(), rack, || {
        // Nobody tells it.
        let alone = format!("pkcs11:token=payroll?module-path={NSS}");
        let error = device::open(&alone.parse().unwrap(), None, &NoPin).err().unwrap();
        assert!(matches!(&error.fault, Fault::Unreachable(what) if what.contains("initialised")), "{error}");
        assert_eq!(error.code.unwrap().to_string(), "CKR_ARGUMENTS_BAD (0x7)");
        for (uri, label) in URIS.into_iter().zip(["payroll", "second"]) {
            for uri in [uri, uri.split_once('?').unwrap().0] {
                let token = describe(uri, None);
                assert_eq!((token.label.as_deref(), &token.lacks[..]), (Some(label), &[][..]), "{uri}");
            }
        }
    });
}

#[test]
fn its_tokens_are_discovered() {
    in_own_process(this_test!(), rack, || {
        let program = env!("CARGO_BIN_EXE_strongroom").into();
        let found = device::discover(&Probe { program, args: vec!["probe-module".into()] });
        let uris: Vec<&str> = found.iter().map(|candidate| candidate.uri.as_str()).collect();
        let named = |label| format!("pkcs11:token={label};serial=0000000000000000?module-name=nss");
        assert_eq!(uris, [named("payroll"), named("second")]);
    });
}

/// It wraps even what is not extractable: use implies export, and is said to.
#[test]
fn it_keeps_its_promises_but_one() {
    in_own_process(this_test!(), rack, || {
        let pins = right();
        let [mut device, mut other] = URIS.map(|uri| open(uri, None, &pins));
        let root = device.provision(&Intent::random()).unwrap();
        let recorded = serde_json::to_string(&root).unwrap();
        println!("{recorded}");
        assert!(recorded.contains(r#""locks_use":false"#), "{recorded}");
        for promise in suite::ALL {
            promise(&mut *device);
        }
        other.provision(&Intent::random()).unwrap();
        suite::move_between(&mut *device, &mut *other);
        suite::refuses_anothers_seal(&mut *device, &mut *other);
    });
}

/// It says of no key that it made it, and so not of those that a run has left which was cut off before it recorded them.
#[test]
fn provisioning_goes_on_where_it_stopped() {
    in_own_process(this_test!(), rack, || {
        let (pins, intent) = (right(), Intent::random());
        let first = open(URIS[0], None, &pins).provision(&intent).unwrap();
        assert!(serde_json::to_string(&first).unwrap().contains(r#""local":false"#));
        let mut device = open(URIS[0], None, &pins);
        assert_eq!(device.provision(&intent).unwrap(), first);
        suite::keeps_its_secret(&mut *device);
        drop(device);
        let mut device = open(URIS[0], Some(&first), &pins);
        assert!(device.retire(&intent).unwrap() && !device.retire(&intent).unwrap());
    });
}
