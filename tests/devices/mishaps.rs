//! What may befall a module in the middle of its work, on each real one: somebody else in the process logs out, or
//! ends it. What each answers then differs, and the device goes on, without asking for a PIN again.

use cryptoki::context::Pkcs11;
use strongroom::device::Intent;
use strongroom::secret::Kek;

use crate::common::isolate::this_test;
use crate::common::rack;
use crate::pkcs11::{open, pin};
use crate::suite;

/// The same secret, in use and for export, after what `befalls` the module.
fn survived(test: &str, names: &'static [&str], befalls: fn(&Pkcs11)) {
    rack::in_own_process(test, rack::full, || {
        for name in names {
            let pins = pin(rack::pin(name));
            let mut device = open(&rack::uri(name), None, &pins);
            device.provision(&Intent::random()).unwrap();
            let seal = suite::generate(&mut *device);
            let before = suite::answers(&mut *device, &seal.use_part);
            let module = Pkcs11::new(rack::module(name)).unwrap();
            befalls(&module);
            assert_eq!(suite::answers(&mut *device, &seal.use_part), before, "{name}");
            befalls(&module);
            device.export(&seal.export_part, &Kek::random()).unwrap_or_else(|error| panic!("{name}: {error}"));
            befalls(&module);
            suite::generate(&mut *device);
            assert_eq!(pins.asked.get(), 1, "{name}");
        }
    });
}

/// A login is the process's, and so is its end (PKCS#11 3.1, section 5.6.9): private session objects go with it.
#[test]
fn who_was_logged_out_logs_in_again() {
    survived(this_test!(), &rack::NAMES, |module| {
        for slot in module.get_slots_with_token().unwrap() {
            // An error where nobody is logged in, as on a blank token, or any more: NSS goes on with what was unwrapped, and wants no login for it.
            let _ = module.open_ro_session(slot).map(|session| session.logout());
        }
    });
}

/// All but NSS, which then shows no slots, as if all tokens had been pulled out, and opencryptoki, which locks and closes what is
/// not its own when it is initialised again (docs/devices.md).
#[test]
fn a_module_that_somebody_ended_is_started_again() {
    survived(this_test!(), &["softhsm2", "kryoptic"], |module| module.clone().finalize().unwrap());
}
