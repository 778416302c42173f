//! The key pairs that wrap where a token has RSA-OAEP alone: made whole or not at all, able to do nothing else, and trusted no
//! further than the token vouches for them.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use strongroom::device::{Fault, Intent, Protection, Root};

use crate::common::faulty::Faulty;
use crate::common::isolate::this_test;
use crate::common::softhsm::{SoftHsm, USER_PIN, in_own_process};
use crate::pkcs11::{fault, initialised, open, pin};
use crate::suite;

const RULES: [&str; 2] = ["without 0x2109", "without 0x210a"];

/// SoftHSM without AES to wrap with, and a set-up ring's token.
fn on_pairs(test: &str, work: fn(&SoftHsm, &Faulty, &Intent, &Root)) {
    in_own_process(
        test,
        || SoftHsm::new("payroll"),
        |hsm| {
            let faulty = Faulty::before(hsm);
            faulty.set(&RULES);
            let (intent, pins) = (Intent::random(), pin(USER_PIN));
            let root = open(&faulty.uri("payroll"), None, &pins).provision(&intent).unwrap();
            work(hsm, &faulty, &intent, &root);
        },
    );
}

/// What a program of its own does with the PIN.
fn with_the_pin<T>(hsm: &SoftHsm, work: impl FnOnce(&Session) -> T) -> T {
    let module = Pkcs11::new(hsm.module()).unwrap();
    initialised(&module);
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::from(USER_PIN))).unwrap();
    work(&session)
}

/// The use key's halves of that class.
fn halves(session: &Session, intent: &Intent, class: ObjectClass) -> Vec<ObjectHandle> {
    session.find_objects(&[Attribute::Class(class), Attribute::Id(intent.use_key.0.to_vec())]).unwrap()
}

/// How many objects of ours are on the token.
fn count(hsm: &SoftHsm) -> usize {
    let ours = |session: &Session, object: &ObjectHandle| {
        let label = session.get_attributes(*object, &[AttributeType::Label]).unwrap();
        matches!(&label[..], [Attribute::Label(label)] if label.starts_with(b"strongroom"))
    };
    with_the_pin(hsm, |session| {
        session.find_objects(&[]).unwrap().iter().filter(|object| ours(session, object)).count()
    })
}

/// Soft tokens write a pair one half after the other, and it is destroyed so. Whichever run was cut off in between, the next one
/// makes the pair anew, and a removal leaves nothing.
#[test]
fn half_a_pair_that_a_cut_off_run_has_left_goes() {
    on_pairs(this_test!(), |hsm, faulty, intent, _| {
        let lose_the_private_half = || {
            with_the_pin(hsm, |session| {
                let [private] = halves(session, intent, ObjectClass::PRIVATE_KEY)[..] else { panic!("one") };
                session.destroy_object(private).unwrap();
            });
            assert_eq!(count(hsm), 3);
        };
        assert_eq!(count(hsm), 4);
        lose_the_private_half();
        let pins = pin(USER_PIN);
        let mut device = open(&faulty.uri("payroll"), None, &pins);
        device.provision(intent).unwrap();
        suite::keeps_its_secret(&mut *device);
        drop(device);
        assert_eq!(count(hsm), 4);
        lose_the_private_half();
        assert!(open(&faulty.uri("payroll"), None, &pins).retire(intent).unwrap());
        assert_eq!(count(hsm), 0);
    });
}

/// Everybody who reaches a token may change what is public on it.
#[test]
fn a_public_half_of_somebody_elses_is_refused() {
    on_pairs(this_test!(), |hsm, faulty, intent, root| {
        let refused = |exponent: &[u8], modulus: &dyn Fn(Vec<u8>) -> Vec<u8>| {
            with_the_pin(hsm, |session| {
                let [public] = halves(session, intent, ObjectClass::PUBLIC_KEY)[..] else { panic!("one") };
                let told = session.get_attributes(public, &[AttributeType::Label, AttributeType::Modulus]).unwrap();
                let [label, Attribute::Modulus(before)] = &told[..] else { panic!("{told:?}") };
                let theirs = [
                    Attribute::Class(ObjectClass::PUBLIC_KEY),
                    Attribute::KeyType(KeyType::RSA),
                    Attribute::Token(true),
                    Attribute::Wrap(true),
                    label.clone(),
                    Attribute::Id(intent.use_key.0.to_vec()),
                    Attribute::Modulus(modulus(before.clone())),
                    Attribute::PublicExponent(exponent.to_vec()),
                ];
                session.destroy_object(public).unwrap();
                session.create_object(&theirs).unwrap();
            });
            let pins = pin(USER_PIN);
            let mut device = open(&faulty.uri("payroll"), Some(root), &pins);
            let refused = fault(device.generate(Protection::NONE, &[7; 32]));
            assert!(
                matches!(&refused, Fault::Untrusted(what) if what.contains("the public half of another")),
                "{refused}"
            );
        };
        refused(&[1], &|modulus| modulus);
        refused(&[3], &|modulus| modulus);
        refused(&[1, 0, 1], &|mut modulus| {
            modulus[17] ^= 1;
            modulus
        });
    });
}

/// A private key that may sign with recovery decrypts what it is asked to, whatever CKA_DECRYPT says.
#[test]
fn the_private_half_can_unwrap_and_nothing_else() {
    on_pairs(this_test!(), |hsm, faulty, intent, root| {
        let may = [
            Attribute::Unwrap(true),
            Attribute::Decrypt(false),
            Attribute::Sign(false),
            Attribute::SignRecover(false),
            Attribute::Derive(false),
        ];
        with_the_pin(hsm, |session| {
            let [private] = halves(session, intent, ObjectClass::PRIVATE_KEY)[..] else { panic!("one") };
            let kinds: Vec<AttributeType> = may.iter().map(Attribute::attribute_type).collect();
            assert_eq!(session.get_attributes(private, &kinds).unwrap(), may);

            let [public] = halves(session, intent, ObjectClass::PUBLIC_KEY)[..] else { panic!("one") };
            let label = session.get_attributes(private, &[AttributeType::Label]).unwrap();
            for half in [private, public] {
                session.destroy_object(half).unwrap();
            }
            let both = [Attribute::Token(true), label[0].clone(), Attribute::Id(intent.use_key.0.to_vec())];
            let public = [
                Attribute::ModulusBits(3072.into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
                Attribute::Wrap(true),
                Attribute::Encrypt(false),
            ];
            let private = [
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Modifiable(false),
                Attribute::SignRecover(true),
            ];
            let may = may.iter().filter(|attribute| **attribute != Attribute::SignRecover(false)).cloned();
            let private: Vec<Attribute> = private.into_iter().chain(may).chain(both.clone()).collect();
            session
                .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &[&public[..], &both[..]].concat(), &private)
                .unwrap();
        });
        let pins = pin(USER_PIN);
        let refused = fault(open(&faulty.uri("payroll"), Some(root), &pins).generate(Protection::NONE, &[7; 32]));
        assert!(matches!(&refused, Fault::Untrusted(what) if what.contains("CKA_SIGN_RECOVER")), "{refused}");
    });
}
