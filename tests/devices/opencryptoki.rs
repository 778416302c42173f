//! opencryptoki's soft token, with its daemon.

use strongroom::device::{self, Fault, Intent, NoPin};

use crate::common::isolate::this_test;
use crate::common::rack::{Rack, SHORT_PIN, in_own_process};
use crate::pkcs11::{describe, fault, open, pin, right};
use crate::suite;

const URI: &str = "pkcs11:token=payroll?module-name=opencryptoki";

fn rack() -> Rack {
    Rack::new().opencryptoki(&["payroll", "second"])
}

/// It tells a time that is none, beside what it says of itself, and both its tokens have one serial number.
#[test]
fn a_clock_that_is_none_is_left_out() {
    in_own_process(this_test!(), rack, || {
        for uri in [URI, "pkcs11:token=payroll"] {
            let token = describe(uri, None);
            assert_eq!((token.label.as_deref(), token.serial.as_deref()), (Some("payroll"), Some("123")), "{uri}");
            assert_eq!((token.manufacturer.as_str(), token.model.as_str()), ("IBM Corp.", "IBM SoftTok"), "{uri}");
        }
        let several = fault(device::open(&"pkcs11:serial=123?module-name=opencryptoki".parse().unwrap(), None, &NoPin));
        assert!(matches!(&several, Fault::Ambiguous(what) if what.contains("`second`")), "{several}");
    });
}

/// RSA-OAEP is all it has that authenticates what it wraps, and what is unwrapped it locks only afterwards.
#[test]
fn it_keeps_secrets_by_oaep() {
    in_own_process(this_test!(), rack, || {
        let pins = pin(SHORT_PIN);
        let mut device = open(URI, None, &pins);
        let root = device.provision(&Intent::random()).unwrap();
        let recorded = serde_json::to_string(&root).unwrap();
        println!("{recorded}");
        for part in [r#""kept":{"how":"encrypted","#, r#""locks_afterwards":true"#, r#""locks_use":false"#] {
            assert!(recorded.contains(part), "{part}: {recorded}");
        }
        for promise in suite::ALL {
            promise(&mut *device);
        }
        assert_eq!(pins.asked.get(), 1);
    });
}

/// Its secrets come onto SoftHSM, and back.
#[test]
fn its_backups_cross() {
    in_own_process(
        this_test!(),
        || rack().softhsm(&["other"]),
        || {
            let (short, long) = (pin(SHORT_PIN), right());
            let (mut one, mut other) =
                (open(URI, None, &short), open("pkcs11:token=other?module-name=softhsm2", None, &long));
            one.provision(&Intent::random()).unwrap();
            other.provision(&Intent::random()).unwrap();
            suite::move_between(&mut *one, &mut *other);
            suite::refuses_anothers_seal(&mut *one, &mut *other);
        },
    );
}
