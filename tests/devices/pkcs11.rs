//! PKCS#11 tokens, on SoftHSM: each test in a process of its own, with a token of its own.

use std::cell::Cell;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use strongroom::bytes::{Base64, Hex};
use strongroom::derive::{GenerationId, Label, Length, Source};
use strongroom::device::{
    self, Birth, Description, Device, DeviceError, ExportPart, Fault, Guard, Intent, Key, NoPin, PinRequest, PinSource,
    Protection, Root, Seal, WrappingKey,
};
use strongroom::secret::{Kek, Pin, SecretBytes};
use strongroom::wrap::WrappedSecret;

use crate::common::isolate::{self, this_test};
use crate::common::softhsm::{SoftHsm, USER_PIN, in_own_process};
use crate::suite;

const NO_QUALIFIER: [u8; 32] = [0; 32];

/// A source with one PIN, which counts how often it is asked.
pub struct OnePin {
    pin: &'static str,
    pub asked: Cell<usize>,
}

impl PinSource for OnePin {
    fn pin(&self, request: &PinRequest) -> Result<Pin, DeviceError> {
        assert!(request.device.contains("token"), "{request:?}");
        self.asked.set(self.asked.get() + 1);
        Ok(Pin::new(SecretBytes::copy_of(self.pin.as_bytes())))
    }

    fn call_to_the_pad(&self, _: &str, _: &str) -> Result<(), DeviceError> {
        Ok(())
    }

    fn may_use_last_try(&self) -> bool {
        false
    }
}

pub fn pin(pin: &'static str) -> OnePin {
    OnePin { pin, asked: Cell::new(0) }
}

pub fn right() -> OnePin {
    pin(USER_PIN)
}

pub fn open<'p>(uri: &str, pinned: Option<&Root>, pins: &'p dyn PinSource) -> Box<dyn Device + 'p> {
    device::open(&uri.parse().unwrap(), pinned, pins).unwrap_or_else(|error| panic!("{uri}: {error}"))
}

pub fn fault<T>(result: Result<T, DeviceError>) -> Fault {
    result.err().expect("it is refused").fault
}

fn id(device: &mut dyn Device, seal: &Seal) -> GenerationId {
    Source::unproved(device, Key::Sealed(&seal.use_part)).id().unwrap()
}

/// A token with a secret: what the ring would pin, and the seal.
pub fn set_up(uri: &str) -> (Root, Seal) {
    let pins = right();
    let mut device = open(uri, None, &pins);
    let root = device.provision(&Intent::random()).unwrap();
    let seal = device.generate(Protection::NONE, &NO_QUALIFIER).unwrap();
    (root, seal)
}

pub fn keys(root: &Root) -> (&WrappingKey, &WrappingKey) {
    let Root::Pkcs11 { use_key, export_key, .. } = root else { panic!("{root:?}") };
    (use_key, export_key)
}

pub fn describe(uri: &str, pinned: Option<&Root>) -> Description {
    open(uri, pinned, &NoPin).describe().unwrap()
}

/// The module is initialised, here or by a device that was open before.
pub fn initialised(module: &Pkcs11) {
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// A program of its own: the module through the crate alone, logged in with the PIN.
fn program_with_the_pin(hsm: &SoftHsm) -> (Pkcs11, Session) {
    let module = Pkcs11::new(hsm.module()).unwrap();
    initialised(&module);
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::from(USER_PIN))).unwrap();
    (module, session)
}

fn object(session: &Session, id: Hex<16>) -> ObjectHandle {
    let found = session.find_objects(&[Attribute::Id(id.0.to_vec())]).unwrap();
    assert_eq!(found.len(), 1);
    found[0]
}

fn unwrap_template(sensitive: bool, extractable: bool) -> [Attribute; 8] {
    [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sign(true),
        Attribute::Derive(false),
        Attribute::Sensitive(sensitive),
        Attribute::Extractable(extractable),
    ]
}

/// Runs a promise of the suite on a fresh token, provisioned.
fn on_a_token(test: &str, promise: fn(&mut dyn Device)) {
    in_own_process(
        test,
        || SoftHsm::new("payroll"),
        |hsm| {
            let pins = right();
            let mut device = open(&hsm.uri(), None, &pins);
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
        || {
            let hsm = SoftHsm::new("payroll");
            hsm.add_token("second");
            hsm
        },
        |hsm| {
            let pins = right();
            let (mut one, mut other) = (open(&hsm.uri(), None, &pins), open(&hsm.uri_of("second"), None, &pins));
            one.provision(&Intent::random()).unwrap();
            other.provision(&Intent::random()).unwrap();
            promise(&mut *one, &mut *other);
        },
    );
}

/// A test for each of the suite's promises, run by a function that takes the test's name and the promise.
macro_rules! promises {
    ($run:ident: $($promise:ident),* $(,)?) => {
        $(#[test]
        fn $promise() {
            $run(this_test!(), suite::$promise);
        })*
    };
}
pub(crate) use promises;

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

#[test]
fn provisions_once() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (pins, intent) = (right(), Intent::random());
            let mut device = open(&hsm.uri(), None, &pins);
            device.provision(&intent).unwrap();
            suite::provisions_once(&mut *device, &intent);
        },
    );
}

/// What was made for the ring goes, with every seal under it; what others have on the token stays, and so does a key that
/// is not as the ring's keys are.
#[test]
fn retiring_destroys_the_rings_keys_and_nothing_else() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let pins = right();
            let (mine, theirs) = (Intent::random(), Intent::random());
            let mut other = open(&hsm.uri(), None, &pins);
            other.provision(&theirs).unwrap();
            let kept = other.generate(Protection::NONE, &NO_QUALIFIER).unwrap();
            drop(other);
            let mut device = open(&hsm.uri(), None, &pins);
            let root = device.provision(&mine).unwrap();
            let seal = device.generate(Protection::NONE, &NO_QUALIFIER).unwrap();
            assert!(device.retire(&mine).unwrap());
            assert!(!device.retire(&mine).unwrap(), "nothing is left to destroy");
            drop(device);
            let mut device = open(&hsm.uri(), Some(&root), &pins);
            assert!(matches!(fault(device.hmac(Key::Sealed(&seal.use_part), b"x")), Fault::NotThisDevice(_)));
            drop(device);
            let mut other = open(&hsm.uri(), None, &pins);
            other.provision(&theirs).unwrap();
            other.hmac(Key::Sealed(&kept.use_part), b"x").unwrap();
            drop(other);

            let (_module, session) = program_with_the_pin(hsm);
            let foreign = Intent::random();
            let id = Attribute::Id(foreign.use_key.0.to_vec());
            let template = [Attribute::Token(true), Attribute::ValueLen(32.into()), Attribute::Decrypt(true), id];
            session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
            drop(session);
            let mut device = open(&hsm.uri(), None, &pins);
            assert!(matches!(fault(device.retire(&foreign)), Fault::Untrusted(_)));
            drop(device);
            let (_module, session) = program_with_the_pin(hsm);
            object(&session, foreign.use_key);
        },
    );
}

#[test]
fn a_secret_is_born_used_exported_and_taken_in() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (root, seal) = set_up(&hsm.uri());
            let birth = seal.birth.clone().unwrap();
            let made = "CKM_GENERIC_SECRET_KEY_GEN".to_owned();
            let expected = Birth::Pkcs11 {
                local: true,
                always_sensitive: true,
                never_extractable: false,
                key_gen_mechanism: made,
            };
            assert_eq!(birth, expected);
            assert_eq!(seal.use_part.0.guard, Guard::TokenPin {});
            assert_ne!(seal.use_part.0.blob, seal.export_part.0.blob);

            let pins = right();
            let mut device = open(&hsm.uri(), Some(&root), &pins);
            let born = id(&mut *device, &seal);
            let kek = Kek::random();
            let wrapped = device.export(&seal.export_part, &kek).unwrap();
            let secret = wrapped.unwrap(&kek).expect("the host opens what the token wrapped");
            assert_eq!(Source::on_host(&secret).id().unwrap(), born);
            assert_eq!(Source::unproved(&mut *device, Key::Wrapped(&wrapped, &kek)).id().unwrap(), born);

            let again = device.import(&wrapped, &kek, Protection::NONE).unwrap();
            assert_eq!(again.birth, None);
            let label = Label::new("disk").unwrap();
            let length = Length::new(64).unwrap();
            let key = Source::sealed(&mut *device, &again.use_part, born).unwrap().key(&label, length).unwrap();
            let on_host = Source::on_host(&secret).key(&label, length).unwrap();
            assert_eq!(key.expose_secret(), on_host.expose_secret());

            let other = device.generate(Protection::NONE, &NO_QUALIFIER).unwrap();
            assert_ne!(id(&mut *device, &other), born);
            assert_eq!(id(&mut *device, &seal), born);
            assert_eq!(pins.asked.get(), 1, "one login serves them all");
        },
    );
}

#[test]
fn provisioning_again_changes_nothing() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let intent = Intent::random();
            let pins = right();
            let first = open(&hsm.uri(), None, &pins).provision(&intent).unwrap();
            let (use_key, export_key) = keys(&first);
            assert!(use_key.locks_use && !export_key.locks_use);
            assert_eq!((use_key.id, export_key.id), (intent.use_key, intent.export_key));
            assert_eq!(open(&hsm.uri(), None, &pins).provision(&intent).unwrap(), first);
            assert_eq!(open(&hsm.uri(), Some(&first), &pins).provision(&intent).unwrap(), first);
            let listed = hsm.pkcs11_tool_ok(&["--login", "--pin", USER_PIN, "--list-objects"]);
            assert_eq!(listed.matches("Secret Key Object").count(), 2, "no object is left behind: {listed}");
            assert!(listed.contains(&intent.use_key.to_string()), "{listed}");

            let json = serde_json::to_string(&first).unwrap();
            assert_eq!(serde_json::from_str::<Root>(&json).unwrap(), first);
            let described = describe(&hsm.uri(), Some(&first));
            assert_eq!((described.lacks, described.notes), (vec![], vec![]));
            assert!(described.needs_pin && described.root.is_some());
        },
    );
}

#[test]
fn pkcs11_tool_shows_the_wrapping_keys() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (root, _) = set_up(&hsm.uri());
            let (use_key, export_key) = keys(&root);
            let listed = hsm.pkcs11_tool_ok(&["--login", "--pin", USER_PIN, "--list-objects"]);
            for (role, key) in [("use", use_key), ("export", export_key)] {
                let hex = key.id.to_string();
                assert!(listed.contains(&format!("label:      strongroom {role} {}", &hex[..8])), "{listed}");
                assert!(listed.contains(&format!("ID:         {hex}")), "{listed}");
            }
            assert_eq!(listed.matches("Secret Key Object; AES length 32").count(), 2, "{listed}");
            assert_eq!(listed.matches("Usage:      wrap, unwrap\n").count(), 2, "{listed}");
            let access = "Access:     sensitive, always sensitive, never extractable, local";
            assert_eq!(listed.matches(access).count(), 2, "{listed}");
        },
    );
}

#[test]
fn a_use_part_can_not_be_exported() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (root, seal) = set_up(&hsm.uri());
            let pins = right();
            let mut device = open(&hsm.uri(), Some(&root), &pins);
            let passed_off = ExportPart(seal.use_part.0.clone());
            assert!(matches!(fault(device.export(&passed_off, &Kek::random())), Fault::Damaged(_)));
            drop(device);

            // Nor by a program of its own that has the PIN, the blob and the use key.
            let (_module, session) = program_with_the_pin(hsm);
            let use_key = object(&session, keys(&root).0.id);
            let blob = &seal.use_part.0.blob.0;
            let unwrap = |sensitive, extractable| {
                session.unwrap_key(&Mechanism::AesKeyWrap, use_key, blob, &unwrap_template(sensitive, extractable))
            };
            for (sensitive, extractable) in [(true, true), (false, true), (false, false)] {
                unwrap(sensitive, extractable).expect_err("the use key locks what it unwraps");
            }
            let secret = unwrap(true, false).expect("that is what it is for");
            session.wrap_key(&Mechanism::AesKeyWrap, use_key, secret).expect_err("not extractable");
            session.update_attributes(secret, &[Attribute::Extractable(true)]).expect_err("for ever");
            session.copy_object(secret, &[Attribute::Extractable(true)]).expect_err("a copy neither");
            session.update_attributes(use_key, &[Attribute::Decrypt(true)]).expect_err("not modifiable");
            session.copy_object(use_key, &[Attribute::Token(false), Attribute::Decrypt(true)]).expect_err("nor a copy");
            session.decrypt(&Mechanism::AesEcb, use_key, &[0; 16]).expect_err("wrap and unwrap only");

            // The same tries on the export part open it: so they can succeed.
            let export_key = object(&session, keys(&root).1.id);
            let blob = &seal.export_part.0.blob.0;
            let template = unwrap_template(true, true);
            let secret = session.unwrap_key(&Mechanism::AesKeyWrap, export_key, blob, &template).unwrap();
            session.wrap_key(&Mechanism::AesKeyWrap, export_key, secret).expect("extractable");
            drop(session);
        },
    );
}

#[test]
fn a_pin_is_asked_for_once_and_only_when_needed() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (root, seal) = set_up(&hsm.uri());
            let message = b"message";
            let missing = Fault::PinMissing { device: "the token `payroll`".to_owned() };
            let mut device = open(&hsm.uri(), Some(&root), &NoPin);
            assert!(device.describe().unwrap().needs_pin);
            assert_eq!(fault(device.hmac(Key::Sealed(&seal.use_part), message)), missing);
            drop(device);

            let wrong = pin("0000-wrong");
            let mut device = open(&hsm.uri(), Some(&root), &wrong);
            let error = device.hmac(Key::Sealed(&seal.use_part), message).err().unwrap();
            assert_eq!(error.fault, Fault::WrongPin { tries_left: None });
            assert_eq!(error.code.unwrap().to_string(), "CKR_PIN_INCORRECT (0xa0)");
            assert_eq!(fault(device.hmac(Key::Sealed(&seal.use_part), message)), error.fault);
            assert_eq!(wrong.asked.get(), 1, "a refused PIN is not tried again");
            assert!(device.describe().unwrap().tries.unwrap().low, "some tokens tell that a PIN was refused");
            drop(device);

            let right = right();
            let mut device = open(&hsm.uri(), Some(&root), &right);
            device.hmac(Key::Sealed(&seal.use_part), message).unwrap();
            assert!(!device.describe().unwrap().tries.unwrap().low);
        },
    );
}

#[test]
fn a_seal_has_no_pin_of_its_own() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (root, seal) = set_up(&hsm.uri());
            let pins = right();
            let mut device = open(&hsm.uri(), Some(&root), &pins);
            let own = Pin::new(SecretBytes::copy_of(b"1234"));
            let refused = fault(device.generate(Protection::pin(&own), &NO_QUALIFIER));
            assert!(refused.to_string().contains("no PIN of its own"), "{refused}");
            let kek = Kek::random();
            let wrapped = device.export(&seal.export_part, &kek).unwrap();
            assert_eq!(fault(device.import(&wrapped, &kek, Protection::pin(&own))), refused);
        },
    );
}

#[test]
fn a_wiped_token_is_not_this_device() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (root, seal) = set_up(&hsm.uri());
            hsm.wipe();
            let pins = right();
            match device::open(&hsm.uri().parse().unwrap(), Some(&root), &pins) {
                // The same serial number: only the missing key tells.
                Ok(mut device) => {
                    let refused = fault(device.hmac(Key::Sealed(&seal.use_part), b"m"));
                    assert!(matches!(refused, Fault::NotThisDevice(_)), "{refused}");
                    let (use_key, export_key) = keys(&root);
                    let intent = Intent { use_key: use_key.id, export_key: export_key.id };
                    let refused = fault(device.provision(&intent));
                    assert!(matches!(refused, Fault::NotThisDevice(_)), "pinned keys are never made again: {refused}");
                }
                Err(error) => assert!(matches!(error.fault, Fault::NotThisDevice(_)), "{error}"),
            }
        },
    );
}

#[test]
fn no_pin_goes_to_another_token() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (mut root, _) = set_up(&hsm.uri());
            let Root::Pkcs11 { token, .. } = &mut root else { unreachable!() };
            token.serial = "0123456789abcdef".to_owned();
            let pins = right();
            let refused = fault(device::open(&hsm.uri().parse().unwrap(), Some(&root), &pins));
            assert!(matches!(&refused, Fault::NotThisDevice(what) if what.contains("0123456789abcdef")), "{refused}");
            let tpm =
                Root::Tpm { handle: 0x8100_0001, public: Base64(vec![]), name: Base64(vec![]), endorsement: None };
            let refused = fault(device::open(&hsm.uri().parse().unwrap(), Some(&tpm), &pins));
            assert!(matches!(refused, Fault::NotThisDevice(_)), "{refused}");
            assert_eq!(pins.asked.get(), 0);
        },
    );
}

#[test]
fn a_seal_of_another_token_does_not_open() {
    in_own_process(
        this_test!(),
        || {
            let hsm = SoftHsm::new("payroll");
            hsm.add_token("other");
            hsm
        },
        |hsm| {
            let (root, seal) = set_up(&hsm.uri());
            let (_, foreign) = set_up(&hsm.uri_of("other"));
            let pins = right();
            let mut device = open(&hsm.uri(), Some(&root), &pins);
            let error = device.hmac(Key::Sealed(&foreign.use_part), b"m").err().unwrap();
            assert!(matches!(error.fault, Fault::Damaged(_)), "{error}");
            assert!(error.code.unwrap().name.starts_with("CKR_"));
            assert!(matches!(fault(device.export(&foreign.export_part, &Kek::random())), Fault::Damaged(_)));
            let mut changed = seal.clone();
            changed.use_part.0.blob.0[20] ^= 1;
            assert!(matches!(fault(device.hmac(Key::Sealed(&changed.use_part), b"m")), Fault::Damaged(_)));
            device.hmac(Key::Sealed(&seal.use_part), b"m").expect("the session is still good");

            let kek = Kek::random();
            let wrapped = device.export(&seal.export_part, &kek).unwrap();
            assert!(matches!(fault(device.hmac(Key::Wrapped(&wrapped, &Kek::random()), b"m")), Fault::Damaged(_)));
            assert!(matches!(fault(device.import(&wrapped, &Kek::random(), Protection::NONE)), Fault::Damaged(_)));
            let short = WrappedSecret { wrapped: Base64(vec![0; 39]), ..wrapped };
            assert!(matches!(fault(device.import(&short, &kek, Protection::NONE)), Fault::Damaged(_)));
        },
    );
}

#[test]
fn several_tokens_that_match_are_listed() {
    in_own_process(
        this_test!(),
        || {
            let hsm = SoftHsm::new("payroll");
            hsm.add_token("second");
            hsm
        },
        |hsm| {
            let module = hsm.module().display();
            let refused = |uri: String| fault(device::open(&uri.parse().unwrap(), None, &NoPin)).to_string();
            let several = refused(format!("pkcs11:model=SoftHSM%20v2?module-path={module}"));
            assert!(
                several.contains("`payroll` (model SoftHSM v2, serial") && several.contains("`second`"),
                "{several}"
            );
            assert!(!several.contains("blank"), "{several}");
            let none = refused(format!("pkcs11:token=third?module-path={module}"));
            assert!(none.contains("no token in") && none.contains("`payroll`") && none.contains("blank"), "{none}");

            // Every attribute that a URI can name tells tokens apart, blanks at the end aside.
            let Description { serial, .. } = describe(&hsm.uri_of("second"), None);
            let serial = serial.unwrap();
            for uri in [
                format!("pkcs11:serial={serial}?module-path={module}"),
                format!("pkcs11:token=second%20%20;manufacturer=SoftHSM%20project?module-path={module}"),
                format!("pkcs11:library-manufacturer=SoftHSM;library-version=2.6;token=second?module-path={module}"),
            ] {
                assert_eq!(describe(&uri, None).label.as_deref(), Some("second"), "{uri}");
            }
            assert!(
                refused(format!("pkcs11:token=second;slot-id=7777777777?module-path={module}")).contains("no token")
            );
        },
    );
}

#[test]
fn a_blank_token_is_told_as_one() {
    in_own_process(this_test!(), SoftHsm::uninitialised, |hsm| {
        let pins = right();
        let mut device = open(&hsm.uri(), None, &pins);
        assert_eq!(
            device.describe().unwrap().lacks,
            ["an initialisation (the token is blank: `strongroom device init`)"]
        );
        let refused = fault(device.provision(&Intent::random()));
        assert!(matches!(&refused, Fault::Missing(what) if what.contains("blank")), "{refused}");
        assert_eq!(pins.asked.get(), 0);
    });
}

#[test]
fn a_module_that_is_none_is_unreachable() {
    let refused = |uri: &str| fault(device::open(&uri.parse().unwrap(), None, &NoPin));
    for uri in ["pkcs11:?module-path=/nowhere/x.so", "pkcs11:?module-path=/etc/passwd", "pkcs11:?module-name=nowhere"] {
        let refused = refused(uri);
        assert!(matches!(refused, Fault::Unreachable(_)), "{uri}: {refused}");
    }
}

#[test]
fn a_module_without_its_configuration_says_so() {
    isolate::run(
        this_test!(),
        |child| {
            child.env("SOFTHSM2_CONF", "/nowhere/softhsm2.conf");
        },
        || {
            let error = device::open(&SoftHsmModule::uri().parse().unwrap(), None, &NoPin).err().unwrap();
            assert!(matches!(&error.fault, Fault::Unreachable(what) if what.contains("initialised")), "{error}");
            assert_eq!(error.code.unwrap().to_string(), "CKR_GENERAL_ERROR (0x5)");
        },
    );
}

/// The module without a token of ours behind it.
struct SoftHsmModule;

impl SoftHsmModule {
    fn uri() -> String {
        format!("pkcs11:?module-path={}", SoftHsm::uninitialised().module().display())
    }
}

/// A wrapping key with our label and id that somebody brought along, and so knows.
fn plant(hsm: &SoftHsm, id: Hex<16>, role: &str, change: impl FnOnce(&mut Vec<Attribute>), generate: bool) {
    let label = format!("strongroom {role} {}", &id.to_string()[..8]);
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(label.into_bytes()),
        Attribute::Id(id.0.to_vec()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Derive(false),
        Attribute::Modifiable(false),
    ];
    template.push(if generate { Attribute::ValueLen(32.into()) } else { Attribute::Value(vec![7; 32]) });
    change(&mut template);
    let (_module, session) = program_with_the_pin(hsm);
    if generate {
        session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
    } else {
        session.create_object(&template).unwrap();
    }
    drop(session);
}

fn set(template: &mut Vec<Attribute>, attribute: Attribute) {
    template.retain(|other| other.attribute_type() != attribute.attribute_type());
    template.push(attribute);
}

#[test]
fn a_wrapping_key_of_somebody_else_is_refused() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let refused = |intent: &Intent| {
                let pins = right();
                let refused = fault(open(&hsm.uri(), None, &pins).provision(intent));
                let Fault::Untrusted(what) = refused else { panic!("{refused}") };
                what
            };
            let imported = Intent::random();
            plant(hsm, imported.use_key, "use", |_| {}, false);
            assert!(
                refused(&imported).contains("use key on the token `payroll` was not made by strongroom: CKA_LOCAL")
            );

            let exported = Intent::random();
            plant(hsm, exported.export_key, "export", |t| set(t, Attribute::Extractable(true)), true);
            let what = refused(&exported);
            assert!(what.contains("export key") && what.contains("CKA_NEVER_EXTRACTABLE"), "{what}");

            type Change = fn(&mut Vec<Attribute>);
            let changes: [(Change, &str); 5] = [
                (|t| set(t, Attribute::Decrypt(true)), "CKA_DECRYPT"),
                (|t| set(t, Attribute::Encrypt(true)), "CKA_ENCRYPT"),
                (|t| set(t, Attribute::Modifiable(true)), "CKA_MODIFIABLE"),
                (|t| set(t, Attribute::Sensitive(false)), "CKA_ALWAYS_SENSITIVE"),
                (|t| set(t, Attribute::ValueLen(16.into())), "CKA_VALUE_LEN"),
            ];
            for (change, name) in changes {
                let intent = Intent::random();
                plant(hsm, intent.use_key, "use", change, true);
                let what = refused(&intent);
                assert!(what.contains(name), "{name}: {what}");
            }

            let twice = Intent::random();
            plant(hsm, twice.use_key, "use", |_| {}, true);
            plant(hsm, twice.use_key, "use", |_| {}, true);
            assert!(refused(&twice).contains("has 2 keys"));
        },
    );
}

/// A key with our label and another id is somebody else's: left alone, and in nobody's way.
#[test]
fn a_key_that_only_has_our_label_is_left_alone() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (intent, other) = (Intent::random(), Intent::random());
            let label = format!("strongroom use {}", &intent.use_key.to_string()[..8]);
            let relabel = |t: &mut Vec<Attribute>| set(t, Attribute::Label(label.into_bytes()));
            plant(hsm, other.use_key, "use", relabel, false);
            let pins = right();
            let root = open(&hsm.uri(), None, &pins).provision(&intent).unwrap();
            assert_eq!(keys(&root).0.id, intent.use_key);
            let listed = hsm.pkcs11_tool_ok(&["--login", "--pin", USER_PIN, "--list-objects"]);
            assert!(listed.contains(&other.use_key.to_string()), "{listed}");
        },
    );
}

/// A use key without a CKA_UNWRAP_TEMPLATE, as a token makes it that knows none: it works, and the ring knows it.
#[test]
fn a_use_key_that_does_not_lock_is_noted() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let intent = Intent::random();
            plant(hsm, intent.use_key, "use", |_| {}, true);
            let pins = right();
            let root = open(&hsm.uri(), None, &pins).provision(&intent).unwrap();
            assert!(!keys(&root).0.locks_use);
            let notes = describe(&hsm.uri(), Some(&root)).notes;
            assert!(notes[0].starts_with("use implies export"), "{notes:?}");
        },
    );
}

/// What a token can't do is told before anybody logs in, and by name: CKM_AES_CBC_PAD, which opens what was changed, is no way.
#[test]
fn a_token_that_lets_nothing_out_says_so() {
    /// SoftHSM 2.6.1 takes no mechanism off its list (`-CKM_AES_KEY_WRAP`): so all that it has.
    const WITHOUT_WRAP: &str = "CKM_AES_KEY_GEN,CKM_GENERIC_SECRET_KEY_GEN,CKM_SHA256_HMAC,CKM_AES_CBC_PAD";
    in_own_process(
        this_test!(),
        || {
            let hsm = SoftHsm::new("payroll");
            let conf = std::fs::read_to_string(hsm.conf()).unwrap();
            std::fs::write(hsm.conf(), format!("{conf}slots.mechanisms = {WITHOUT_WRAP}\n")).unwrap();
            hsm
        },
        |hsm| {
            let pins = right();
            let mut device = open(&hsm.uri(), None, &pins);
            let Description { exports, lacks, notes, .. } = device.describe().unwrap();
            assert_eq!((exports, lacks, notes.len(), pins.asked.get()), (false, vec![], 1, 0));
            for name in
                ["CKM_AES_KEY_WRAP (0x2109)", "CKM_RSA_PKCS_OAEP (0x9)", "CKM_AES_CBC_PAD (0x1085), which it has"]
            {
                assert!(notes[0].contains(name), "{notes:?}");
            }
            // It can use all the same.
            let root = device.provision(&Intent::random()).unwrap();
            assert!(!root.lets_out());
            assert!(matches!(fault(device.generate(Protection::NONE, &NO_QUALIFIER)), Fault::Missing(_)));
        },
    );
}

#[test]
fn tokens_of_a_module_are_found() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let found = device::probe_module(hsm.module().to_str().unwrap());
            let json = serde_json::to_string(&found).unwrap();
            assert_eq!(serde_json::from_str::<Vec<device::Candidate>>(&json).unwrap(), found);
            let [token, blank] = &found[..] else { panic!("{found:?}") };
            let described = token.description.as_ref().unwrap();
            assert_eq!((described.label.as_deref(), &described.lacks[..]), (Some("payroll"), &[][..]));
            assert!(token.uri.starts_with("pkcs11:token=payroll;serial="), "{}", token.uri);
            assert_eq!(describe(&token.uri, None), *described);
            assert_eq!(
                blank.description.as_ref().unwrap().lacks,
                ["an initialisation (the token is blank: `strongroom device init`)"]
            );
            assert!(matches!(device::probe_module("nowhere")[..], [device::Candidate { description: Err(_), .. }]));
        },
    );
}

/// A crash after the first key was made: the next run makes the other.
#[test]
fn provisioning_goes_on_where_it_stopped() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let intent = Intent::random();
            let pins = right();
            open(&hsm.uri(), None, &pins).provision(&intent).unwrap();
            let id = intent.export_key.to_string();
            let login = ["--login", "--pin", USER_PIN, "--type", "secrkey"];
            hsm.pkcs11_tool_ok(&[&login[..], &["--delete-object", "--id", &id]].concat());
            let root = open(&hsm.uri(), None, &pins).provision(&intent).unwrap();
            let mut device = open(&hsm.uri(), Some(&root), &pins);
            suite::keeps_its_secret(&mut *device);
        },
    );
}

/// Two names of one library are one module: the first to close does not end the other's sessions.
#[test]
fn a_module_is_initialised_once_under_all_its_names() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (root, seal) = set_up(&hsm.uri());
            let link = hsm.tokens_dir().with_file_name("link.so");
            std::os::unix::fs::symlink(hsm.module(), &link).unwrap();
            let pins = right();
            let mut one = open(&hsm.uri(), Some(&root), &pins);
            let uri = format!("pkcs11:token=payroll?module-path={}", link.display());
            let mut other = open(&uri, Some(&root), &pins);
            let born = id(&mut *one, &seal);
            drop(one);
            assert_eq!(id(&mut *other, &seal), born);
        },
    );
}

/// p11-kit's proxy and its module by name lead to the same token, with the same identity.
#[test]
fn a_token_is_reached_through_p11_kit() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            let (root, seal) = set_up("pkcs11:token=payroll");
            assert!(keys(&root).0.locks_use);
            let pins = right();
            let born = id(&mut *open(&hsm.uri(), Some(&root), &pins), &seal);
            for uri in ["pkcs11:token=payroll", "pkcs11:token=payroll?module-name=softhsm2"] {
                assert_eq!(id(&mut *open(uri, Some(&root), &pins), &seal), born, "{uri}");
            }
        },
    );
}

#[test]
fn tokens_of_p11_kits_modules_are_discovered() {
    in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |_| {
            let program = env!("CARGO_BIN_EXE_strongroom").into();
            let mut found = device::discover(&device::Probe { program, args: vec!["probe-module".into()] });
            // p11-kit's trust store is no token for keys: it is not listed.
            assert!(found.iter().all(|candidate| !candidate.uri.contains("p11-kit-trust")), "{found:?}");
            // What other modules are on the machine, and whether they can be initialised, is not this test's.
            found.retain(|candidate| candidate.uri.ends_with("module-name=softhsm2"));
            let uris: Vec<&str> = found.iter().map(|candidate| candidate.uri.as_str()).collect();
            assert!(
                matches!(uris[..], [token, blank] if token.starts_with("pkcs11:token=payroll;serial=")
                    && blank.contains("slot-id")),
                "{found:?}"
            );
            assert_eq!(found[0].description.as_ref().unwrap().lacks, Vec::<String>::new());
        },
    );
}

/// The calls of a one-shot use, counted by OpenSC's pkcs11-spy: at most 24.
#[test]
fn a_one_shot_use_takes_few_calls() {
    const SPY: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/pkcs11-spy.so";
    isolate::run(
        this_test!(),
        |child: &mut Command| {
            let hsm = SoftHsm::new("payroll");
            let log = hsm.tokens_dir().with_file_name("spy.log");
            child.env("SOFTHSM2_CONF", hsm.conf()).env("PKCS11SPY", hsm.module()).env("PKCS11SPY_OUTPUT", log);
            hsm
        },
        || {
            let uri = |module: &str| format!("pkcs11:token=payroll?module-path={module}");
            let direct = uri(&std::env::var("PKCS11SPY").unwrap());
            let (root, seal) = set_up(&direct);
            let pins = right();
            let born = id(&mut *open(&direct, Some(&root), &pins), &seal);

            let mut device = open(&uri(SPY), Some(&root), &pins);
            let mut source = Source::sealed(&mut *device, &seal.use_part, born).unwrap();
            source.key(&Label::new("disk").unwrap(), Length::new(32).unwrap()).unwrap();
            drop(source);
            drop(device);
            let calls = calls(&std::env::var("PKCS11SPY_OUTPUT").unwrap());
            println!("{} calls: {}", calls.len(), calls.join(" "));
            assert!(calls.len() <= 24, "{calls:?}");
            assert_eq!(calls.last().map(String::as_str), Some("C_CloseSession"));
        },
    );
}

/// The calls in a spy's log: lines such as `12: C_OpenSession`.
fn calls(log: &str) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let call = |line: &str| line.split_once(": ").map(|(_, call)| call.trim().to_owned());
    text.lines().filter_map(call).filter(|call| call.starts_with("C_") && !call.contains(' ')).collect()
}
