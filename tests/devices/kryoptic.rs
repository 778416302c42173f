//! Kryoptic: the suite, and what it does that SoftHSM does not. It answers otherwise where a blob does not open, and it locks PINs.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use strongroom::device::{Device, Intent};

use crate::common::isolate::this_test;
use crate::common::kryoptic::{Kryoptic, in_own_process};
use crate::common::softhsm::USER_PIN;
use crate::pkcs11::{initialised, keys, open, promises, right, set_up};
use crate::suite;

/// Runs a promise of the suite on a fresh token, provisioned.
fn on_a_token(test: &str, promise: fn(&mut dyn Device)) {
    in_own_process(
        test,
        || Kryoptic::new(&["payroll"]),
        |kryoptic| {
            let pins = right();
            let mut device = open(&kryoptic.uri("payroll"), None, &pins);
            device.provision(&Intent::random()).unwrap();
            promise(&mut *device);
            assert_eq!(pins.asked.get(), 1);
        },
    );
}

/// The same with two tokens of one module, both open.
fn on_two_tokens(test: &str, promise: fn(&mut dyn Device, &mut dyn Device)) {
    in_own_process(
        test,
        || Kryoptic::new(&["payroll", "second"]),
        |kryoptic| {
            let pins = right();
            let [mut one, mut other] = ["payroll", "second"].map(|label| open(&kryoptic.uri(label), None, &pins));
            one.provision(&Intent::random()).unwrap();
            other.provision(&Intent::random()).unwrap();
            promise(&mut *one, &mut *other);
        },
    );
}

promises! { on_a_token:
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

/// Runs a promise on a token that lacks the mechanisms of these names, and looks at how it is set up.
fn on_a_poorer_one(test: &str, without: &[&str], ways: &str) {
    in_own_process(
        test,
        || Kryoptic::without("payroll", without),
        |kryoptic| {
            let pins = right();
            let mut device = open(&kryoptic.uri("payroll"), None, &pins);
            let root = device.provision(&Intent::random()).unwrap();
            let recorded = serde_json::to_string(&root).unwrap();
            assert!(recorded.contains(ways), "{recorded}");
            for promise in suite::ALL {
                promise(&mut *device);
            }
        },
    );
}

/// The number that the `cryptoki` crate does not know.
#[test]
fn wraps_by_rfc_5649() {
    let ways = r#""how":"under-kek","mechanism":"CKM_AES_KEY_WRAP_KWP","algorithm":"A256KWP""#;
    on_a_poorer_one(this_test!(), &["CKM_AES_KEY_WRAP"], ways);
}

#[test]
fn lets_secrets_pass_by_oaep() {
    let without = ["CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_KWP"];
    let ways = r#""how":"encrypted","mechanism":"CKM_RSA_PKCS_OAEP/SHA-256""#;
    on_a_poorer_one(this_test!(), &without, ways);
}

/// It lets a copy of what is not modifiable do what the original may not: so what opens the seals can't be copied.
#[test]
fn what_opens_the_seals_can_not_be_copied() {
    in_own_process(
        this_test!(),
        || Kryoptic::new(&["payroll"]),
        |kryoptic| {
            let (root, _) = set_up(&kryoptic.uri("payroll"));
            let (use_key, export_key) = keys(&root);
            assert!(use_key.locks_use);
            let module = Pkcs11::new(kryoptic.module()).unwrap();
            initialised(&module);
            let slot = module.get_slots_with_initialized_token().unwrap()[0];
            let session = module.open_rw_session(slot).unwrap();
            session.login(UserType::User, Some(&AuthPin::from(USER_PIN))).unwrap();
            let decrypts = [Attribute::Token(false), Attribute::Decrypt(true)];
            for key in [use_key, export_key] {
                let [object] = session.find_objects(&[Attribute::Id(key.id.0.to_vec())]).unwrap()[..] else { panic!() };
                session.copy_object(object, &decrypts).expect_err("it can't be copied");
            }
            // Another one can, and then decrypts.
            let plain = [Attribute::Token(false), Attribute::ValueLen(32.into()), Attribute::Modifiable(false)];
            let other = session.generate_key(&Mechanism::AesKeyGen, &plain).unwrap();
            let copy = session.copy_object(other, &decrypts).unwrap();
            session.decrypt(&Mechanism::AesEcb, copy, &[0; 16]).unwrap();
        },
    );
}
