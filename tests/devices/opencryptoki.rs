//! opencryptoki's soft token, with its daemon.

use strongroom::device::{self, Fault, Intent, NoPin};

use crate::common::isolate::this_test;
use crate::common::rack::{Rack, SHORT_PIN, in_own_process};
use crate::pkcs11::{describe, fault, open, pin};

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

#[test]
fn what_it_lacks_is_told_before_anything_is_made() {
    in_own_process(this_test!(), rack, || {
        let pins = pin(SHORT_PIN);
        let mut device = open(URI, None, &pins);
        assert_eq!(device.describe().unwrap().lacks, ["CKM_AES_KEY_WRAP (0x2109)"]);
        let refused = fault(device.provision(&Intent::random()));
        assert_eq!(refused, Fault::Missing("the token `payroll` lacks CKM_AES_KEY_WRAP (0x2109)".to_owned()));
        assert_eq!(pins.asked.get(), 0, "refused before any login");
    });
}
