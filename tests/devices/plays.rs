//! HSMs of other makers, played: SoftHSM behind the fault module, with the gaps and the numbers that they have. Each is set up as
//! it is, and keeps the suite's promises; what is sealed on one comes onto every other.

use strongroom::device::{self, Device, Intent, Key, NoPin, PinSource, Protection, Root, Seal};
use strongroom::secret::Kek;
use strongroom::wrap::{WrapAlgorithm, WrappedSecret};

use crate::common::faulty::Faulty;
use crate::common::isolate::this_test;
use crate::common::softhsm::{SoftHsm, in_own_process};
use crate::common::swtpm::Swtpm;
use crate::pins::Typed;
use crate::suite;

/// A maker's HSM, as the fault module's rules have it.
pub struct Play {
    pub name: &'static str,
    rules: &'static [&'static str],
    pin: &'static str,
    /// How the self-test finds that secrets pass: part of what the ring records.
    ways: &'static str,
    exports: bool,
}

const PIN: &str = "1234-user";

/// CKM_AES_KEY_WRAP_KWP and nothing else.
pub const KWP: Play = Play {
    name: "a token that knows RFC 5649 alone",
    rules: &["without 0x2109", "renamed 0x210a 0x210b"],
    pin: PIN,
    ways: r#""kept":{"how":"wrapped","mechanism":"CKM_AES_KEY_WRAP_KWP"},"enters":{"how":"under-kek","mechanism":"CKM_AES_KEY_WRAP_KWP","algorithm":"A256KWP"},"leaves":{"how":"under-kek","mechanism":"CKM_AES_KEY_WRAP_KWP","algorithm":"A256KWP"}"#,
    exports: true,
};

/// The deprecated number, which is RFC 5649 on this one.
pub const PAD: Play = Play {
    name: "a token with CKM_AES_KEY_WRAP_PAD",
    rules: &["without 0x2109"],
    pin: PIN,
    ways: r#""enters":{"how":"under-kek","mechanism":"CKM_AES_KEY_WRAP_PAD","algorithm":"A256KWP"}"#,
    exports: true,
};

pub const CLOUDHSM: Play = Play {
    name: "CloudHSM",
    rules: &[
        "renamed 0x2109 0x80002109",
        "renamed 0x210a 0x8000216f",
        "without read-only-sessions",
        "without unwrap-templates",
        "user admin",
    ],
    pin: "admin:1234-user",
    ways: r#""enters":{"how":"under-kek","mechanism":"CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD","algorithm":"A256KW"}"#,
    exports: true,
};

/// In the mode that exports keys.
pub const LUNA: Play = Play {
    name: "Luna",
    rules: &["renamed 0x2109 0x80000170", "renamed 0x210a 0x80000171"],
    pin: PIN,
    ways: r#""enters":{"how":"under-kek","mechanism":"CKM_AES_KW","algorithm":"A256KW"}"#,
    exports: true,
};

/// In the mode that clones keys: none leaves by wrapping.
pub const LUNA_CLONING: Play = Play {
    name: "Luna, cloning",
    rules: &["renamed 0x2109 0x80000170", "renamed 0x210a 0x80000171", "without wrapping"],
    pin: PIN,
    ways: r#""kept":{"how":"objects"},"enters":{"how":"under-kek","mechanism":"CKM_AES_KW","algorithm":"A256KW"},"leaves":{"how":"not-at-all"}"#,
    exports: false,
};

/// No key comes in as it is: so no KEK either.
pub const NSHIELD: Play = Play {
    name: "nShield",
    rules: &["without secret-import", "without 0x210a"],
    pin: PIN,
    ways: r#""kept":{"how":"wrapped","mechanism":"CKM_AES_KEY_WRAP"},"enters":{"how":"encrypted","mechanism":"CKM_RSA_PKCS_OAEP/SHA-1"},"leaves":{"how":"encrypted","mechanism":"CKM_RSA_PKCS_OAEP/SHA-1"}"#,
    exports: true,
};

/// No session objects, keys of HMAC are of a kind of their own, and wrapping is its maker's alone.
pub const YUBIHSM: Play = Play {
    name: "YubiHSM 2",
    rules: &[
        "without 0x2109",
        "without 0x210a",
        "without 0x9",
        "without session-objects",
        "without generic-secrets",
        "without wrapping",
        "without unwrapping",
    ],
    pin: PIN,
    ways: r#""kept":{"how":"objects"},"enters":{"how":"plain"},"leaves":{"how":"not-at-all"},"key":"sha256-hmac","only_token_objects":true"#,
    exports: false,
};

/// Nothing that wraps and authenticates but RSA-OAEP, and templates that nobody heeds: as opencryptoki's.
pub const OAEP: Play = Play {
    name: "a token with RSA-OAEP alone",
    rules: &["without 0x2109", "without 0x210a", "without unwrap-templates"],
    pin: PIN,
    ways: r#""kept":{"how":"encrypted","mechanism":"CKM_RSA_PKCS_OAEP/SHA-1"}"#,
    exports: true,
};

const ALL: [&Play; 8] = [&KWP, &PAD, &CLOUDHSM, &LUNA, &LUNA_CLONING, &NSHIELD, &YUBIHSM, &OAEP];

/// A promise of the suite, by its name.
type Promise = (&'static str, fn(&mut dyn Device));

/// What only a device can promise which lets secrets out.
const PROMISES: [Promise; 7] = [
    ("describes itself", suite::describes_itself),
    ("keeps its secret", suite::keeps_its_secret),
    ("keeps secrets apart", suite::keeps_secrets_apart),
    ("imports what it exported", suite::imports_what_it_exported),
    ("refuses to export a use part", suite::refuses_to_export_a_use_part),
    ("refuses a tampered seal", suite::refuses_a_tampered_seal),
    ("proves what it loads", suite::proves_what_it_loads),
];

/// What every device promises.
const OF_ALL: [Promise; 4] = [
    ("gives the RFC 4231 vectors", suite::gives_the_rfc_4231_vectors),
    ("gives the RFC 5869 vectors", suite::gives_the_rfc_5869_vectors),
    ("takes long messages", suite::takes_long_messages),
    ("refuses a tampered backup", suite::refuses_a_tampered_backup),
];

fn open<'p>(faulty: &Faulty, pinned: Option<&Root>, pins: &'p dyn PinSource) -> Box<dyn Device + 'p> {
    device::open(&faulty.uri("payroll").parse().unwrap(), pinned, pins).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs the suite on a play.
fn keeps_the_promises(test: &str, play: &Play) {
    in_own_process(
        test,
        || SoftHsm::new("payroll"),
        |hsm| {
            let faulty = Faulty::before(hsm);
            faulty.set(play.rules);
            let pins = Typed(play.pin);
            let intent = Intent::random();
            let mut device = open(&faulty, None, &pins);
            let root = device.provision(&intent).unwrap_or_else(|error| panic!("{error}: {:?}", error.code));
            let recorded = serde_json::to_string(&root).unwrap();
            println!("{}: {recorded}", play.name);
            assert!(recorded.contains(play.ways), "{recorded}");
            assert_eq!(root.lets_out(), play.exports);
            suite::provisions_once(device.as_mut(), &intent);
            let promises: &[_] = if play.exports { &PROMISES } else { &[] };
            for (what, promise) in promises.iter().chain(&OF_ALL) {
                println!("{what}");
                promise(device.as_mut());
            }
            if !play.exports {
                uses_what_it_can_not_let_out(device.as_mut());
            }
            drop(device);

            // What was recorded is used, and nothing is tried again.
            let (wrapped, kek) = brought();
            let mut device = open(&faulty, Some(&root), &pins);
            let seal = device.import(&wrapped, &kek, Protection::NONE).expect("it takes a secret in");
            let expected = suite::answers(device.as_mut(), &seal.use_part);
            drop(device);
            faulty.forget();
            let mut device = open(&faulty, Some(&root), &pins);
            assert_eq!(suite::answers(device.as_mut(), &seal.use_part), expected);
            drop(device);
            for name in ["C_WrapKey", "C_GenerateKey", "C_GenerateKeyPair", "C_CreateObject", "C_GetMechanismInfo"] {
                assert_eq!(faulty.count(name), 0, "{name}");
            }

            // It says what it is before anybody logs in, and destroys what was made for the ring.
            let described = open(&faulty, Some(&root), &NoPin).describe().expect("it describes itself");
            assert_eq!((described.exports, described.lacks.len()), (play.exports, 0), "{described:?}");
            assert!(described.ways.is_some());
            let mut device = open(&faulty, Some(&root), &pins);
            assert!(device.retire(&intent).unwrap());
            assert!(!device.retire(&intent).unwrap());
            drop(device);
            let listed = hsm.pkcs11_tool_ok(&["--login", "--pin", PIN, "--list-objects"]);
            assert!(!listed.contains("strongroom"), "nothing is left behind: {listed}");
        },
    );
}

/// A secret out of a backup, and what it is wrapped under.
fn brought() -> (WrappedSecret, Kek) {
    use strongroom::secret::{MasterSecret, SecretBytes};
    let kek = Kek::random();
    (WrappedSecret::wrap(&MasterSecret::new(SecretBytes::random(32)), &kek), kek)
}

fn uses_what_it_can_not_let_out(device: &mut dyn Device) {
    let made = device.generate(Protection::NONE, &[7; 32]);
    assert!(made.is_err(), "a secret that can't be backed up is not made");
    let (wrapped, kek) = brought();
    let seal = device.import(&wrapped, &kek, Protection::NONE).expect("it takes a secret in");
    assert!(seal.export_part.is_empty() && seal.birth.is_none());
    assert!(device.export(&seal.export_part, &kek).is_err());
    assert_eq!(
        suite::id_of(device, Key::Sealed(&seal.use_part)),
        suite::id_of(device, Key::Wrapped(&wrapped, &kek)),
        "what stays and what is taken in for the moment are the same"
    );
    let other = device.import(&brought().0, &kek, Protection::NONE);
    assert!(other.is_err(), "under another KEK");
    let mut changed = seal.use_part.clone();
    changed.0.blob.0[3] ^= 1;
    assert!(device.hmac(Key::Sealed(&changed), b"message").is_err());
}

macro_rules! plays {
    ($($test:ident: $play:ident),* $(,)?) => {
        $(#[test]
        fn $test() {
            keeps_the_promises(this_test!(), &$play);
        })*
    };
}

plays! {
    kwp_alone: KWP,
    the_deprecated_pad: PAD,
    cloudhsm: CLOUDHSM,
    luna: LUNA,
    luna_that_clones: LUNA_CLONING,
    nshield: NSHIELD,
    yubihsm: YUBIHSM,
    oaep_alone: OAEP,
}

/// A place where secrets are kept: a play, SoftHSM as it is, or a TPM.
struct Kept {
    name: &'static str,
    root: Root,
    made: Option<(Seal, WrappedSecret, Kek, [String; 3])>,
}

/// Every secret that can leave a place comes onto every other, and gives the same answers there; from where it can leave again,
/// it does, as the very same secret.
#[test]
fn backups_cross_between_all_of_them() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let faulty = Faulty::before(hsm);
            let swtpm = Swtpm::start();
            const PLAIN: Play = Play { name: "SoftHSM", rules: &[], pin: PIN, ways: "", exports: true };
            let plays: Vec<&Play> = ALL.into_iter().chain([&PLAIN]).collect();
            let on = |at: usize, root: Option<&Root>, work: &mut dyn FnMut(&mut dyn Device)| match plays.get(at) {
                Some(play) => {
                    faulty.set(play.rules);
                    let pins = Typed(play.pin);
                    work(open(&faulty, root, &pins).as_mut());
                }
                None => work(device::open(&swtpm.uri().parse().unwrap(), root, &NoPin).unwrap().as_mut()),
            };
            let mut places = Vec::new();
            for at in 0..=plays.len() {
                on(at, None, &mut |device| {
                    let root = device.provision(&Intent::random()).expect("it is provisioned");
                    let made = root.lets_out().then(|| {
                        let (seal, kek) = (suite::generate(device), Kek::random());
                        let wrapped = device.export(&seal.export_part, &kek).expect("it exports");
                        let answers = suite::answers(device, &seal.use_part);
                        (seal, wrapped, kek, answers)
                    });
                    places.push(Kept { name: plays.get(at).map_or("swtpm", |play| play.name), root, made });
                });
            }
            for (at, to) in places.iter().enumerate() {
                on(at, Some(&to.root), &mut |device| {
                    for Kept { name, made, .. } in &places {
                        let Some((_, wrapped, kek, answers)) = made else { continue };
                        let seal = device.import(wrapped, kek, Protection::NONE).unwrap_or_else(|error| {
                            panic!("from {name} to {}: {error}", to.name);
                        });
                        assert_eq!(suite::answers(device, &seal.use_part), *answers, "from {name} to {}", to.name);
                        if to.root.lets_out() {
                            let again = device.export(&seal.export_part, kek).expect("it leaves again");
                            let secrets = [wrapped, &again].map(|one| one.unwrap(kek).expect("it unwraps"));
                            assert_eq!(secrets[0].expose_secret(), secrets[1].expose_secret());
                        }
                    }
                });
            }
            let padded = places.iter().filter_map(|place| place.made.as_ref());
            let padded = padded.filter(|(_, wrapped, _, _)| wrapped.algorithm == WrapAlgorithm::A256Kwp).count();
            assert_eq!((places.len(), padded), (10, 2));
        },
    );
}
