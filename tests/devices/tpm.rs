//! The suite on a TPM, a fresh simulator for each test, and what only a TPM does.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use sha2::{Digest, Sha256};
use strongroom::device::{
    Birth, Device, DeviceError, DeviceUri, Fault, Guard, Intent, Key, NoPin, PinRequest, PinSource, Protection, Root,
    Seal, UsePart, open,
};
use strongroom::secret::{Kek, Pin, SecretBytes};

use crate::common::proxy::Proxy;
use crate::common::swtpm::{PortPair, Swtpm};
use crate::suite;

pub const READ_PUBLIC: u32 = 0x173;
pub const START_AUTH_SESSION: u32 = 0x176;
pub const GET_CAPABILITY: u32 = 0x17a;
pub const LOAD: u32 = 0x157;
pub const HMAC: u32 = 0x155;
pub const FLUSH_CONTEXT: u32 = 0x165;
pub const CREATE_PRIMARY: u32 = 0x131;

/// A PIN source that counts how often it is asked.
#[derive(Default)]
pub struct Pins {
    pub pin: RefCell<String>,
    last_try: bool,
    pub asked: Cell<u32>,
    told: Cell<Option<u32>>,
}

impl Pins {
    pub fn with(pin: &str) -> Self {
        Self { pin: RefCell::new(pin.to_owned()), ..Self::default() }
    }
}

impl PinSource for Pins {
    fn pin(&self, request: &PinRequest) -> Result<Pin, DeviceError> {
        assert_eq!(request.device, "the TPM");
        self.asked.set(self.asked.get() + 1);
        self.told.set(request.tries_left);
        Ok(pin(&self.pin.borrow()))
    }

    fn call_to_the_pad(&self, _: &str, _: &str) -> Result<(), DeviceError> {
        Ok(())
    }

    fn may_use_last_try(&self) -> bool {
        self.last_try
    }
}

pub fn pin(text: &str) -> Pin {
    Pin::new(SecretBytes::copy_of(text.as_bytes()))
}

pub fn uri(text: &str) -> DeviceUri {
    text.parse().expect("a device URI")
}

/// Opened, and provisioned by itself: the first time that a ring sees this TPM.
pub fn fresh<'p>(swtpm: &Swtpm, pins: &'p dyn PinSource) -> (Box<dyn Device + 'p>, Root) {
    let mut device = open(&uri(&swtpm.uri()), None, pins).expect("it opens");
    let root = device.provision(&Intent::random()).expect("it is provisioned");
    (device, root)
}

/// Opened as a ring opens it later: with what it pinned.
pub fn again<'p>(uri_text: &str, root: &Root, pins: &'p dyn PinSource) -> Box<dyn Device + 'p> {
    open(&uri(uri_text), Some(root), pins).expect("it opens")
}

/// A TPM with a root, and a seal in it that `pin` guards (none: nothing).
fn with_seal(guard: Option<&str>) -> (Swtpm, Root, Seal) {
    let swtpm = Swtpm::start();
    let (mut device, root) = fresh(&swtpm, &NoPin);
    let guard = guard.map(pin);
    let protection = guard.as_ref().map_or(Protection::NONE, Protection::pin);
    let seal = device.generate(protection, &[7; 32]).expect("it makes a secret");
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
    (swtpm, root, seal)
}

pub fn hmac(device: &mut dyn Device, part: &UsePart) -> Result<String, DeviceError> {
    device.hmac(Key::Sealed(part), b"message").map(|mac| hex::encode(mac.expose_secret()))
}

pub fn fault<T>(result: Result<T, DeviceError>) -> Fault {
    result.err().expect("it fails").fault
}

fn code<T>(result: Result<T, DeviceError>) -> (u64, String) {
    let code = result.err().expect("it fails").code.expect("the TPM said why");
    (code.value, code.name)
}

/// How many failures the TPM has counted.
pub fn failures(swtpm: &Swtpm) -> String {
    let listing = swtpm.tool_ok(&["tpm2_getcap", "properties-variable"]);
    let listing = String::from_utf8(listing).unwrap();
    let line = listing.lines().find(|line| line.contains("LOCKOUT_COUNTER")).expect("the counter is there");
    line.rsplit_once("0x").unwrap().1.to_owned()
}

/// Runs promises of the suite, each on a TPM of its own, and looks for what they left loaded.
macro_rules! keeps {
    ($($promise:ident),* $(,)?) => {$(
        #[test]
        fn $promise() {
            let swtpm = Swtpm::start();
            suite::$promise(fresh(&swtpm, &NoPin).0.as_mut());
            assert_eq!(swtpm.loaded(), Vec::<String>::new());
        }
    )*};
}

keeps![
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
];

/// A storage root key is others' as well: nothing in the TPM is the ring's alone.
#[test]
fn retiring_leaves_the_tpm_as_it_is() {
    let swtpm = Swtpm::start();
    let (mut device, _) = fresh(&swtpm, &NoPin);
    let seal = suite::generate(device.as_mut());
    assert!(!device.retire(&Intent::random()).expect("there is nothing to do"));
    suite::answers(device.as_mut(), &seal.use_part);
    drop(device);
    assert_eq!(swtpm.persistent(), ["0x81000001"]);
}

#[test]
fn provisions_once() {
    let swtpm = Swtpm::start();
    let (mut device, root) = fresh(&swtpm, &NoPin);
    suite::provisions_once(device.as_mut(), &Intent::random());
    drop(device);
    let mut device = open(&uri(&swtpm.uri()), None, &NoPin).expect("it opens");
    assert_eq!(device.provision(&Intent::random()).expect("it is there"), root);
}

#[test]
fn moves_between_two_tpms() {
    let (one, other) = (Swtpm::start(), Swtpm::start());
    suite::move_between(fresh(&one, &NoPin).0.as_mut(), fresh(&other, &NoPin).0.as_mut());
}

#[test]
fn refuses_another_tpms_seal() {
    let (one, other) = (Swtpm::start(), Swtpm::start());
    let (mut device, _) = fresh(&one, &NoPin);
    suite::refuses_anothers_seal(device.as_mut(), fresh(&other, &NoPin).0.as_mut());
    drop(device);
    assert_eq!(one.loaded(), Vec::<String>::new());
}

#[test]
fn says_who_made_it_and_that_no_root_is_there_yet() {
    let swtpm = Swtpm::start();
    let mut device = open(&uri(&swtpm.uri()), None, &NoPin).expect("it opens");
    let described = device.describe().expect("it describes itself");
    assert_eq!((described.manufacturer.as_str(), described.root.clone()), ("IBM", None), "{described:?}");
    assert!(described.model.starts_with("SW") && described.firmware.split('.').count() == 4, "{described:?}");
    let tries = described.tries.expect("a TPM tells its counters");
    assert_eq!((tries.left, tries.max, tries.recovery_seconds), (Some(3), Some(3), Some(1000)));
    drop(device);
    assert_eq!(swtpm.persistent(), Vec::<String>::new(), "asking made nothing");
}

// What it costs.

#[test]
fn a_cold_hmac_is_six_commands_and_the_next_is_one() {
    let (swtpm, root, seal) = with_seal(None);
    let proxy = Proxy::start(&swtpm);
    let mut device = again(&proxy.uri(), &root, &NoPin);
    hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    drop(device);
    let cold = [READ_PUBLIC, START_AUTH_SESSION, LOAD, HMAC, FLUSH_CONTEXT, FLUSH_CONTEXT];
    assert_eq!(proxy.commands(), cold);
    proxy.forget();

    let mut device = again(&proxy.uri(), &root, &NoPin);
    for _ in 0..3 {
        hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    }
    drop(device);
    assert_eq!(proxy.commands().len(), cold.len() + 2);
}

#[test]
fn with_a_pin_it_is_seven() {
    let (swtpm, root, seal) = with_seal(Some("1234"));
    let proxy = Proxy::start(&swtpm);
    let pins = Pins::with("1234");
    let mut device = again(&proxy.uri(), &root, &pins);
    hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    drop(device);
    let cold = [READ_PUBLIC, GET_CAPABILITY, START_AUTH_SESSION, LOAD, HMAC, FLUSH_CONTEXT, FLUSH_CONTEXT];
    assert_eq!(proxy.commands(), cold);
}

#[test]
fn a_bare_open_sends_nothing() {
    let (swtpm, root, _) = with_seal(None);
    let proxy = Proxy::start(&swtpm);
    drop(again(&proxy.uri(), &root, &NoPin));
    assert_eq!(proxy.commands(), Vec::<u32>::new());
}

// PINs.

#[test]
fn the_right_pin_is_asked_for_once() {
    let (swtpm, root, seal) = with_seal(Some("1234"));
    assert!(
        matches!((&seal.use_part.0.guard, &seal.export_part.0.guard), (Guard::Pin { salt: one }, Guard::Pin { salt: other }) if one != other)
    );
    let pins = Pins::with("1234");
    let mut device = again(&swtpm.uri(), &root, &pins);
    let mac = hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("an HMAC"), mac);
    let kek = Kek::random();
    let wrapped = device.export(&seal.export_part, &kek).expect("it exports");
    let again = device.hmac(Key::Wrapped(&wrapped, &kek), b"message").expect("an HMAC");
    assert_eq!(hex::encode(again.expose_secret()), mac);
    assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("an HMAC"), mac);
    assert_eq!((pins.asked.get(), pins.told.get()), (1, Some(3)));
    drop(device);
    assert_eq!((swtpm.loaded(), failures(&swtpm)), (Vec::new(), "0".to_owned()));
}

#[test]
fn a_secret_from_elsewhere_can_get_a_pin() {
    let (swtpm, root, seal) = with_seal(None);
    let pins = Pins::with("1234");
    let mut device = again(&swtpm.uri(), &root, &pins);
    let kek = Kek::random();
    let wrapped = device.export(&seal.export_part, &kek).expect("it exports");
    let guarded = device.import(&wrapped, &kek, Protection::pin(&pin("1234"))).expect("it takes it in");
    assert_eq!(suite::answers(device.as_mut(), &guarded.use_part), suite::answers(device.as_mut(), &seal.use_part));
    device.export(&guarded.export_part, &kek).expect("it exports");
    *pins.pin.borrow_mut() = "4321".to_owned();
    drop(device);
    let mut device = again(&swtpm.uri(), &root, &pins);
    assert_eq!(fault(device.export(&guarded.export_part, &kek)), Fault::WrongPin { tries_left: Some(2) });
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
}

#[test]
fn a_wrong_pin_is_told_and_forgotten() {
    let (swtpm, root, seal) = with_seal(Some("1234"));
    let pins = Pins::with("4321");
    let mut device = again(&swtpm.uri(), &root, &pins);
    let error = hmac(device.as_mut(), &seal.use_part).expect_err("it is refused");
    assert_eq!(error.fault, Fault::WrongPin { tries_left: Some(2) });
    assert_eq!(code::<()>(Err(error)), (0x98e, "TPM_RC_AUTH_FAIL".to_owned()));
    *pins.pin.borrow_mut() = "1234".to_owned();
    hmac(device.as_mut(), &seal.use_part).expect("the right one, asked for anew");
    assert_eq!((pins.asked.get(), pins.told.get()), (2, Some(2)));
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
}

#[test]
fn a_missing_pin_burns_no_try() {
    let (swtpm, root, seal) = with_seal(Some("1234"));
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    let missing = Fault::PinMissing { device: "the TPM".to_owned() };
    assert_eq!(fault(hmac(device.as_mut(), &seal.use_part)), missing);
    assert_eq!(fault(device.export(&seal.export_part, &Kek::random())), missing);
    drop(device);
    assert_eq!((swtpm.loaded(), failures(&swtpm)), (Vec::new(), "0".to_owned()));
}

#[test]
fn the_last_try_is_kept_until_it_is_asked_for() {
    let (swtpm, root, seal) = with_seal(Some("1234"));
    let pins = Pins::with("4321");
    let mut device = again(&swtpm.uri(), &root, &pins);
    for left in [2, 1] {
        assert_eq!(fault(hmac(device.as_mut(), &seal.use_part)), Fault::WrongPin { tries_left: Some(left) });
    }
    let last = Fault::LastTry { device: "the TPM".to_owned() };
    assert_eq!(fault(hmac(device.as_mut(), &seal.use_part)), last);
    assert_eq!(fault(device.export(&seal.export_part, &Kek::random())), last);
    assert_eq!(pins.asked.get(), 2, "nobody types a PIN for nothing");
    drop(device);
    assert_eq!(failures(&swtpm), "2");

    let pins = Pins { last_try: true, ..Pins::with("1234") };
    let mut device = again(&swtpm.uri(), &root, &pins);
    hmac(device.as_mut(), &seal.use_part).expect("the right PIN on the last try");
}

#[test]
fn locked_out_is_told_before_a_pin_is_asked_for() {
    let (swtpm, root, seal) = with_seal(Some("1234"));
    let pins = Pins { last_try: true, ..Pins::with("4321") };
    let mut device = again(&swtpm.uri(), &root, &pins);
    for left in [2, 1, 0] {
        assert_eq!(fault(hmac(device.as_mut(), &seal.use_part)), Fault::WrongPin { tries_left: Some(left) });
    }
    let locked = Fault::LockedOut { device: "the TPM".to_owned(), wait_seconds: Some(1000) };
    assert_eq!(fault(hmac(device.as_mut(), &seal.use_part)), locked);
    assert_eq!(pins.asked.get(), 3);
    // The TPM's own answer, where the PIN is known already.
    let generated = device.generate(Protection::pin(&pin("1234")), &[7; 32]);
    assert_eq!(generated.as_ref().err().map(|error| error.fault.clone()), Some(locked));
    assert_eq!(code(generated), (0x921, "TPM_RC_LOCKOUT".to_owned()));
    // What no PIN guards is not locked.
    let seal = suite::generate(device.as_mut());
    hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
}

// Which TPM it is.

#[test]
fn another_tpm_gets_no_session_and_no_pin() {
    let (_one, root, seal) = with_seal(Some("1234"));
    let other = Swtpm::start();
    let pins = Pins::with("1234");
    let proxy = Proxy::start(&other);
    let mut device = again(&proxy.uri(), &root, &pins);
    let another =
        "this is another TPM: neither its storage root key nor its endorsement key is the one that the ring pinned";
    assert_eq!(fault(hmac(device.as_mut(), &seal.use_part)), Fault::NotThisDevice(another.to_owned()));
    assert_eq!(code(device.provision(&Intent::random())), (0x18b, "TPM_RC_HANDLE".to_owned()));
    assert!(matches!(fault(device.generate(Protection::NONE, &[7; 32])), Fault::NotThisDevice(_)));
    drop(device);
    // Why it is not the one, and nothing else: no session, no blob.
    let asked = proxy.commands();
    let may_be = [READ_PUBLIC, GET_CAPABILITY, CREATE_PRIMARY, FLUSH_CONTEXT];
    assert!(asked.iter().all(|command| may_be.contains(command)), "{asked:x?}");

    fresh(&other, &NoPin);
    let mut device = again(&proxy.uri(), &root, &pins);
    assert_eq!(fault(hmac(device.as_mut(), &seal.use_part)), Fault::NotThisDevice(another.to_owned()));
    assert_eq!(pins.asked.get(), 0);
    assert_eq!(other.loaded(), Vec::<String>::new());
}

/// Without it, what was pinned before this version knew of endorsement keys, or on a TPM that gives none.
#[test]
fn without_an_endorsement_key_it_may_have_been_cleared() {
    let (_one, root, seal) = with_seal(None);
    let Root::Tpm { handle, public, name, endorsement: Some(_) } = root else { panic!("a TPM's root") };
    let root = Root::Tpm { handle, public, name, endorsement: None };
    let other = Swtpm::start();
    let told = || fault(hmac(again(&other.uri(), &root, &NoPin).as_mut(), &seal.use_part));
    let absent = "this TPM has no storage root key at 0x81000001: it was cleared, or it is another TPM";
    assert_eq!(told(), Fault::NotThisDevice(absent.to_owned()));
    fresh(&other, &NoPin);
    assert!(matches!(told(), Fault::NotThisDevice(text) if text.ends_with("or it was cleared and set up again")));
}

#[test]
fn a_tpm_that_tells_no_endorsement_key_is_used_all_the_same() {
    let swtpm = Swtpm::start();
    swtpm.tool_ok(&["tpm2_changeauth", "-Q", "-c", "endorsement", "a-password"]);
    let (mut device, root) = fresh(&swtpm, &NoPin);
    suite::keeps_its_secret(device.as_mut());
    assert!(matches!(root, Root::Tpm { endorsement: None, .. }));
}

#[test]
fn a_cleared_tpm_is_told_from_another_one() {
    let (swtpm, root, seal) = with_seal(None);
    swtpm.clear();
    let told = || fault(hmac(again(&swtpm.uri(), &root, &NoPin).as_mut(), &seal.use_part));
    assert!(matches!(told(), Fault::Cleared(_)), "{}", told());
    let (_, new) = fresh(&swtpm, &NoPin);
    assert!(!new.is_same_tpm(&root));
    assert!(matches!(told(), Fault::Cleared(_)), "{}", told());
    let foreign = hmac(again(&swtpm.uri(), &new, &NoPin).as_mut(), &seal.use_part);
    assert_eq!(code(foreign), (0x1df, "TPM_RC_INTEGRITY".to_owned()));
}

#[test]
fn a_forged_public_area_with_the_right_name_is_noticed() {
    let (swtpm, root, seal) = with_seal(None);
    let forger = forge_read_public(&swtpm);
    let mut device = again(&format!("tpm:{}", forger.tcti()), &root, &NoPin);
    let forged = fault(hmac(device.as_mut(), &seal.use_part));
    // The TPM itself gives the very key, so it is not the TPM that is another.
    assert!(matches!(&forged, Fault::RootRemoved(text) if text.starts_with("another key")), "{forged}");
}

/// Changes a bit of the public area in each answer to TPM2_ReadPublic; the Name in it stays as it is.
fn forge_read_public(swtpm: &Swtpm) -> PortPair {
    forge(swtpm, |command, answer| {
        if command[6..10] == READ_PUBLIC.to_be_bytes() {
            // Header (10), length (2), type (2), nameAlg (2), attributes (4): NODA is bit 10.
            answer[18] ^= 0x04;
        }
    })
}

#[test]
fn a_tpm_without_hmac_is_refused_before_anything_is_made() {
    let swtpm = Swtpm::start();
    let forger = forge(&swtpm, |command, answer| {
        // TPM2_GetCapability(TPM_CAP_COMMANDS, TPM2_HMAC): it names the next command that it has.
        if command[6..10] == GET_CAPABILITY.to_be_bytes() && command[10..18] == [0, 0, 0, 2, 0, 0, 1, 0x55] {
            answer[22] = 0x57;
        }
    });
    let mut device = open(&uri(&format!("tpm:{}", forger.tcti())), None, &NoPin).expect("it opens");
    let missing = fault(device.provision(&Intent::random()));
    assert_eq!(missing, Fault::Missing("the TPM lacks TPM2_HMAC (0x155)".to_owned()));
    assert_eq!(device.describe().expect("it is described all the same").lacks, ["TPM2_HMAC (0x155)"]);
    drop(device);
    assert_eq!((swtpm.loaded(), swtpm.persistent()), (Vec::new(), Vec::<String>::new()));
}

/// Somebody on the bus: passes everything, but lets `change` at each command and its answer.
pub fn forge(swtpm: &Swtpm, change: fn(&[u8], &mut [u8])) -> PortPair {
    let ports = PortPair::reserve();
    for (from, to, is_command) in [(ports.command, swtpm.port(), true), (ports.control, swtpm.port() + 1, false)] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, from)).expect("a reserved port");
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.expect("a client");
                let mut tpm = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).expect("the TPM answers");
                let (mut asked, mut answered) = ([0; 4096], [0; 4096]);
                while let Ok(length @ 1..) = client.read(&mut asked) {
                    tpm.write_all(&asked[..length]).expect("it takes the command");
                    let answer = tpm.read(&mut answered).expect("it answers");
                    if is_command {
                        change(&asked[..length], &mut answered[..answer]);
                    }
                    client.write_all(&answered[..answer]).expect("the client listens");
                }
            }
        });
    }
    ports
}

#[test]
fn a_power_cycle_in_between_changes_nothing() {
    let (mut swtpm, root, seal) = with_seal(None);
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    let mac = hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    swtpm.power_cycle();
    assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("as before"), mac);
    drop(device);
    swtpm.power_cycle();
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("as before"), mac);
    device.export(&seal.export_part, &Kek::random()).expect("it exports");
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
}

#[test]
fn a_tpm_that_is_off_is_unreachable() {
    let (mut swtpm, root, seal) = with_seal(None);
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    swtpm.power_off();
    assert!(matches!(fault(hmac(device.as_mut(), &seal.use_part)), Fault::Unreachable(_)));
    drop(device);
    assert!(matches!(fault(open(&uri(&swtpm.uri()), Some(&root), &NoPin).map(drop)), Fault::Unreachable(_)));
}

// The storage root key.

#[test]
fn the_pinned_root_is_what_the_tools_read() {
    let (swtpm, root, _) = with_seal(None);
    swtpm.tool_ok(&["tpm2_readpublic", "-c", "0x81000001", "-o", "public", "-n", "name"]);
    let Root::Tpm { handle, public, name, endorsement } = root else { panic!("a TPM's root") };
    assert_eq!(handle, 0x8100_0001);
    assert_eq!(std::fs::read(swtpm.work_dir().join("public")).unwrap(), public.0);
    assert_eq!(std::fs::read(swtpm.work_dir().join("name")).unwrap(), name.0);
    swtpm.tool_ok(&["tpm2_createek", "-Q", "-G", "ecc", "-c", "ek.ctx"]);
    swtpm.tool_ok(&["tpm2_readpublic", "-c", "ek.ctx", "-n", "ek.name"]);
    assert_eq!(std::fs::read(swtpm.work_dir().join("ek.name")).unwrap(), endorsement.expect("swtpm has one").0);
}

#[test]
fn a_root_that_was_removed_can_be_made_again() {
    let (swtpm, root, seal) = with_seal(None);
    let told = || fault(hmac(again(&swtpm.uri(), &root, &NoPin).as_mut(), &seal.use_part));
    swtpm.tool_ok(&["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "0x81000001"]);
    assert!(matches!(told(), Fault::RootRemoved(text) if text.contains("was removed")));
    swtpm.tool_ok(&["tpm2_createprimary", "-Q", "-C", "o", "-G", "rsa", "-c", "other"]);
    swtpm.tool_ok(&["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "other", "0x81000001"]);
    swtpm.flush();
    assert!(matches!(told(), Fault::RootRemoved(text) if text.contains("another key")));
}

#[test]
fn an_owner_hierarchy_that_is_off_is_not_a_cleared_tpm() {
    let (mut swtpm, root, seal) = with_seal(None);
    swtpm.tool_ok(&["tpm2_hierarchycontrol", "-C", "platform", "shEnable", "clear"]);
    let told = fault(hmac(again(&swtpm.uri(), &root, &NoPin).as_mut(), &seal.use_part));
    assert!(matches!(told, Fault::SwitchedOff(_)), "{told}");
    swtpm.power_cycle();
    hmac(again(&swtpm.uri(), &root, &NoPin).as_mut(), &seal.use_part).expect("it is on again");
}

#[test]
fn a_root_that_others_made_is_used_where_it_is() {
    for kind in ["rsa", "ecc", "ecc384"] {
        let swtpm = Swtpm::start();
        swtpm.tool_ok(&["tpm2_createprimary", "-Q", "-C", "o", "-G", kind, "-c", "primary"]);
        swtpm.tool_ok(&["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "primary", "0x81000001"]);
        swtpm.flush();
        let (mut device, _) = fresh(&swtpm, &NoPin);
        suite::keeps_its_secret(device.as_mut());
        suite::describes_itself(device.as_mut());
        drop(device);
        assert_eq!((swtpm.loaded(), swtpm.persistent().len()), (Vec::new(), 1), "{kind}");
    }
}

#[test]
fn a_root_that_was_imported_is_refused() {
    let swtpm = Swtpm::start();
    swtpm.tool_ok(&["tpm2_createprimary", "-Q", "-C", "o", "-c", "primary"]);
    let key = swtpm.work_dir().join("key.pem");
    let made = std::process::Command::new("openssl")
        .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"])
        .arg(&key)
        .output()
        .expect("openssl runs");
    assert!(made.status.success());
    let attributes = "restricted|decrypt|userwithauth|noda";
    swtpm.tool_ok(&[
        "tpm2_import",
        "-Q",
        "-C",
        "primary",
        "-G",
        "ecc256:null:aes128cfb",
        "-i",
        "key.pem",
        "-u",
        "u",
        "-r",
        "r",
        "-a",
        attributes,
    ]);
    swtpm.flush();
    swtpm.tool_ok(&["tpm2_load", "-Q", "-C", "primary", "-u", "u", "-r", "r", "-c", "known"]);
    swtpm.flush();
    swtpm.tool_ok(&["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "known", "0x81000001"]);
    swtpm.flush();
    let mut device = open(&uri(&swtpm.uri()), None, &NoPin).expect("it opens");
    let refused = fault(device.provision(&Intent::random()));
    assert!(matches!(&refused, Fault::Untrusted(text) if text.contains("imported")), "{refused}");
    let lacks = device.describe().expect("it is described all the same").lacks;
    assert!(matches!(&lacks[..], [lacking] if lacking.contains(&refused.to_string())), "{lacks:?}");
    assert!(device.generate(Protection::NONE, &[7; 32]).is_err());
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
}

#[test]
fn a_root_with_an_auth_value_is_refused() {
    let swtpm = Swtpm::start();
    let attributes = "restricted|decrypt|userwithauth|noda|fixedtpm|fixedparent|sensitivedataorigin";
    swtpm.tool_ok(&[
        "tpm2_createprimary",
        "-Q",
        "-C",
        "o",
        "-G",
        "ecc",
        "-p",
        "theirs",
        "-a",
        attributes,
        "-c",
        "primary",
    ]);
    swtpm.tool_ok(&["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "primary", "0x81000001"]);
    swtpm.flush();
    let (mut device, _) = fresh(&swtpm, &NoPin);
    assert!(matches!(fault(device.generate(Protection::NONE, &[7; 32])), Fault::Untrusted(_)));
    drop(device);
    assert_eq!((swtpm.loaded(), failures(&swtpm)), (Vec::new(), "0".to_owned()));
}

#[test]
fn an_owner_with_a_password_is_told_apart() {
    let swtpm = Swtpm::start();
    swtpm.tool_ok(&["tpm2_changeauth", "-c", "o", "theirs"]);
    let mut device = open(&uri(&swtpm.uri()), None, &NoPin).expect("it opens");
    let refused = fault(device.provision(&Intent::random()));
    assert!(matches!(&refused, Fault::Failed(text) if text.contains("owner hierarchy has a password")), "{refused}");
}

// Evidence and hygiene.

#[test]
fn the_evidence_of_birth_convinces_the_tpm() {
    let (swtpm, _, seal) = with_seal(None);
    let Some(Birth::Tpm { data, hash, ticket }) = &seal.birth else { panic!("it was born here") };
    assert!(data.0.ends_with(&[7; 32]), "the qualifier is the last field");
    assert_eq!(hash.0[2..], Sha256::digest(&data.0[2..])[..]);
    let blob = &seal.export_part.0.blob.0;
    let cut = 2 + usize::from(u16::from_be_bytes([blob[0], blob[1]]));
    let files: [(&str, &[u8]); 4] =
        [("u", &blob[..cut]), ("r", &blob[cut..]), ("hash", &hash.0), ("ticket", &ticket.0)];
    for (name, bytes) in files {
        std::fs::write(swtpm.work_dir().join(name), bytes).unwrap();
    }
    swtpm.tool_ok(&[
        "tpm2_createprimary",
        "-Q",
        "-C",
        "e",
        "-G",
        "ecc256:ecdsa-sha256:null",
        "-a",
        "sign|restricted|fixedtpm|fixedparent|sensitivedataorigin|userwithauth",
        "-c",
        "ak",
    ]);
    swtpm.flush();
    swtpm.tool_ok(&["tpm2_load", "-Q", "-C", "0x81000001", "-u", "u", "-r", "r", "-c", "born"]);
    swtpm.flush();
    let certify = |hash: &str| {
        let output = swtpm.tool(&[
            "tpm2_certifycreation",
            "-C",
            "ak",
            "-c",
            "born",
            "-d",
            hash,
            "-t",
            "ticket",
            "-g",
            "sha256",
            "-o",
            "signature",
            "--attestation",
            "attest",
            "-s",
            "ecdsa",
            "-f",
            "plain",
        ]);
        swtpm.flush();
        output.status.success()
    };
    assert!(certify("hash"));
    std::fs::write(swtpm.work_dir().join("other"), [&[0, 32][..], &[9; 32]].concat()).unwrap();
    assert!(!certify("other"), "the test can fail");
}

#[test]
fn nothing_secret_is_on_the_bus() {
    let swtpm = Swtpm::start();
    let proxy = Proxy::start(&swtpm);
    let pins = Pins::with("a PIN of some length");
    let mut device = open(&uri(&proxy.uri()), None, &pins).expect("it opens");
    device.provision(&Intent::random()).expect("it is provisioned");
    let guard = pin(&pins.pin.borrow());
    let born = device.generate(Protection::pin(&guard), &[7; 32]).expect("it makes a secret");
    let kek = Kek::random();
    let wrapped = device.export(&born.export_part, &kek).expect("it exports");
    let taken_in = device.import(&wrapped, &kek, Protection::pin(&guard)).expect("it takes it in");
    let macs = [Key::Sealed(&born.use_part), Key::Sealed(&taken_in.use_part), Key::Wrapped(&wrapped, &kek)]
        .map(|key| device.hmac(key, b"the message, a label").expect("an HMAC"));
    drop(device);
    let secret = wrapped.unwrap(&kek).expect("it unwraps");
    for (secret, what) in [
        (secret.expose_secret(), "the secret"),
        (guard.expose_secret(), "the PIN"),
        (macs[0].expose_secret(), "the HMAC"),
        (b"the message, a label", "the message"),
    ] {
        assert!(!proxy.contains(secret), "{what} was on the bus");
    }
    // What is public was: the proxy sees what there is to see.
    let blob = &born.use_part.0.blob.0;
    let public = 2 + usize::from(u16::from_be_bytes([blob[0], blob[1]]));
    assert!(proxy.contains(&blob[..public]), "the public area");
    // And not even what only this TPM can open.
    assert!(!proxy.contains(&blob[public..]), "the private area");
}

#[test]
fn leftovers_of_dead_clients_make_room() {
    let (swtpm, root, seal) = with_seal(None);
    for _ in 0..3 {
        swtpm.tool_ok(&["tpm2_createprimary", "-Q", "-C", "n"]);
    }
    assert_eq!(swtpm.loaded().len(), 3);
    hmac(again(&swtpm.uri(), &root, &NoPin).as_mut(), &seal.use_part).expect("objects made room");
    assert_eq!(swtpm.loaded(), Vec::<String>::new());

    for kind in [0, 1, 0] {
        start_session(&swtpm, kind);
    }
    assert_eq!(swtpm.loaded().len(), 3);
    hmac(again(&swtpm.uri(), &root, &NoPin).as_mut(), &seal.use_part).expect("sessions made room");
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
}

/// TPM2_StartAuthSession by a client that goes away without a word; `kind` is TPM_SE_HMAC (0) or TPM_SE_POLICY (1).
fn start_session(swtpm: &Swtpm, kind: u8) {
    let mut command = hex::decode("80010000002b000001764000000740000007").unwrap();
    command.extend([&[0, 16][..], &[1; 16], &[0, 0, kind], &[0, 0x10, 0, 0x0b]].concat());
    let mut tpm = TcpStream::connect((Ipv4Addr::LOCALHOST, swtpm.port())).unwrap();
    tpm.write_all(&command).unwrap();
    let mut answer = [0; 10];
    tpm.read_exact(&mut answer).unwrap();
    assert_eq!(answer[6..], [0; 4], "a session was started");
}
