//! p11-kit's proxy over all modules at once: the suite, on a token of each, and what is found through it.

use strongroom::device::{Device, Intent};

use crate::common::isolate::this_test;
use crate::common::rack;
use crate::pkcs11::{open, pin, promises, right};
use crate::suite;

/// Tokens whose labels say which module is behind them.
const TOKENS: [&str; 2] = ["softhsm2", "kryoptic"];

fn uri(label: &str) -> String {
    format!("pkcs11:token={label}")
}

/// Runs a promise of the suite on a fresh token of each module, provisioned.
fn on_each_token(test: &str, promise: fn(&mut dyn Device)) {
    rack::in_own_process(test, rack::full, || {
        for label in TOKENS {
            let pins = right();
            let mut device = open(&uri(label), None, &pins);
            device.provision(&Intent::random()).unwrap();
            promise(&mut *device);
            assert_eq!(pins.asked.get(), 1, "{label}");
        }
    });
}

/// The same with two tokens, both open: of two modules, and of one.
fn on_two_tokens(test: &str, promise: fn(&mut dyn Device, &mut dyn Device)) {
    rack::in_own_process(test, rack::full, || {
        let pins = right();
        let [mut one, mut other] = TOKENS.map(|label| open(&uri(label), None, &pins));
        one.provision(&Intent::random()).unwrap();
        other.provision(&Intent::random()).unwrap();
        promise(&mut *one, &mut *other);
        promise(&mut *other, &mut *one);
    });
}

promises! { on_each_token:
    describes_itself,
    gives_the_rfc_4231_vectors,
    gives_the_rfc_5869_vectors,
    takes_long_messages,
    keeps_its_secret,
    keeps_secrets_apart,
    imports_what_it_exported,
    refuses_to_export_a_use_part,
    refuses_a_tampered_seal,
    refuses_a_tampered_backup,
    proves_what_it_loads,
}
promises! { on_two_tokens: move_between, refuses_anothers_seal }

/// The ways that they have are found through it too: raw numbers, key pairs, and what is locked afterwards.
#[test]
fn tokens_of_other_kinds_keep_the_promises() {
    rack::in_own_process(this_test!(), rack::full, || {
        for label in ["nss", "opencryptoki"] {
            let pins = pin(rack::pin(label));
            let mut device = open(&uri(label), None, &pins);
            device.provision(&Intent::random()).unwrap();
            for promise in suite::ALL {
                promise(&mut *device);
            }
        }
    });
}
