//! A TPM that is busy, forgets, locks, fails, or is not heard; and a bus that changes what passes.

use std::sync::{Arc, Mutex};

use strongroom::device::{
    BoundTo, Device, DeviceError, Fault, Intent, Key, NoPin, PinSource, Pinless, PolicyKey, Protection, Root, Seal,
    Signatures, open,
};
use strongroom::secret::Kek;

use crate::common::meddler::{Act, Command, FAILURE, LOCKOUT, Meddler, RETRY, TESTING, YIELDED};
use crate::common::signer::{self, Signer};
use crate::common::swtpm::Swtpm;
use crate::{Pins, code, hmac, pin, pinned};

const READ_PUBLIC: u32 = 0x173;
const START_AUTH_SESSION: u32 = 0x176;
pub const LOAD: u32 = 0x157;
pub const HMAC: u32 = 0x155;
const FLUSH_CONTEXT: u32 = 0x165;

/// What a cold HMAC sends.
const COLD: [u32; 6] = [READ_PUBLIC, START_AUTH_SESSION, LOAD, HMAC, FLUSH_CONTEXT, FLUSH_CONTEXT];
/// How often the library sends a command that is answered by RETRY and the like, all in all.
pub const BY_THE_LIBRARY: usize = 5;

/// A TPM with a root, and a seal in it that `guard` guards (none: nothing).
fn with_seal(guard: Option<&str>) -> (Swtpm, Root, Seal) {
    let swtpm = Swtpm::start();
    let mut device = new(&swtpm.uri());
    let root = device.provision(&Intent::random()).expect("it is provisioned");
    let guard = guard.map(pin);
    let protection = guard.as_ref().map_or(Protection::NONE, Protection::pin);
    let seal = device.generate(protection, &[7; 32]).expect("it makes a secret");
    drop(device);
    (swtpm, root, seal)
}

fn new(uri: &str) -> Box<dyn Device> {
    strongroom::device::open(&uri.parse().expect("a device URI"), None, &NoPin).expect("it opens")
}

/// The HMAC of a fresh connection, which is closed.
fn cold(uri: &str, root: &Root, seal: &Seal, pins: &dyn PinSource) -> Result<String, DeviceError> {
    hmac(pinned(uri, root, pins).as_mut(), &seal.use_part)
}

fn nothing_loaded(swtpm: &Swtpm) {
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
}

/// How many failures the TPM has counted.
fn failures(swtpm: &Swtpm) -> String {
    let listing = String::from_utf8(swtpm.tool_ok(&["tpm2_getcap", "properties-variable"])).expect("text");
    let line = listing.lines().find(|line| line.contains("LOCKOUT_COUNTER")).expect("the counter is there");
    line.rsplit_once("0x").expect("a number").1.to_owned()
}

/// Answers `code` to the first `times` commands that are `which`.
pub fn busy(which: u32, code: u32, times: usize) -> impl FnMut(&Command<'_>) -> Act + Send + 'static {
    move |command| match command.code == which && command.nth_of_code <= times {
        true => Act::Answer(code),
        false => Act::Pass,
    }
}

// Busy with itself.

/// The library sends a command again by itself, without a pause: this is how often.
#[test]
fn a_short_moment_is_not_even_seen() {
    let (swtpm, root, seal) = with_seal(None);
    let bus = Meddler::start(&swtpm, |_| Act::Pass);
    for code in [RETRY, YIELDED, TESTING] {
        bus.decide(busy(LOAD, code, BY_THE_LIBRARY - 1));
        cold(&bus.uri(), &root, &seal, &NoPin).expect("an HMAC");
        assert_eq!(bus.commands().len(), COLD.len() + BY_THE_LIBRARY - 1, "{code:#x}");
    }
    nothing_loaded(&swtpm);
}

/// Longer than that: the work is begun again, and what is loaded stays so.
#[test]
fn a_longer_moment_is_waited_for() {
    let (swtpm, root, seal) = with_seal(None);
    let bus = Meddler::start(&swtpm, |_| Act::Pass);
    let times = 2 * BY_THE_LIBRARY + 1;
    for code in [RETRY, YIELDED, TESTING] {
        for which in COLD {
            bus.decide(busy(which, code, times));
            cold(&bus.uri(), &root, &seal, &NoPin).expect("an HMAC");
            let sent = bus.commands();
            // A flush has two seconds only, which a busy machine may take for itself; then another one does its work.
            assert!(which == FLUSH_CONTEXT || sent.len() == COLD.len() + times, "{which:#x}: {sent:x?}");
            nothing_loaded(&swtpm);
        }
    }
}

/// It was not begun, so no try was counted: it is sent again with a PIN too, and nobody is asked twice.
#[test]
fn a_moment_costs_no_try() {
    let (swtpm, root, seal) = with_seal(Some("1234"));
    let bus = Meddler::start(&swtpm, busy(HMAC, RETRY, BY_THE_LIBRARY + 1));
    let pins = Pins::with("1234");
    cold(&bus.uri(), &root, &seal, &pins).expect("an HMAC");
    assert_eq!((pins.asked.get(), bus.count(HMAC), bus.count(LOAD)), (1, BY_THE_LIBRARY + 2, 1));
    nothing_loaded(&swtpm);
    assert_eq!(failures(&swtpm), "0");
}

/// Bound to PCRs, too: what was asserted for the use that did not come off is not asserted on top of itself.
#[test]
fn a_moment_leaves_no_half_of_a_policy() {
    const POLICY_RESTART: u32 = 0x180;
    let swtpm = Swtpm::start();
    let mut device = new(&swtpm.uri());
    let root = device.provision(&Intent::random()).expect("it is provisioned");
    let pcrs = BoundTo::State("7".parse().expect("PCRs"));
    let protection = Protection { pin: None, bound: Some(&pcrs) };
    let seal = device.generate(protection, &[7; 32]).expect("it makes a secret");
    drop(device);
    let bus = Meddler::start(&swtpm, busy(HMAC, RETRY, BY_THE_LIBRARY + 1));
    cold(&bus.uri(), &root, &seal, &NoPin).expect("an HMAC");
    assert_eq!((bus.count(HMAC), bus.count(LOAD), bus.count(POLICY_RESTART)), (BY_THE_LIBRARY + 2, 1, 1));
    nothing_loaded(&swtpm);
}

/// So with a signature to be verified, at whichever command.
#[test]
fn a_moment_while_a_signature_is_verified() {
    let swtpm = Swtpm::start();
    let signer = Signer::ecdsa("P-256");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("signatures.json");
    std::fs::write(&path, signer::file("sha256", &[signer.sign(&swtpm, "sha256:11")])).expect("a file of ours");
    // Without a place for tickets, each run verifies.
    let pins = Pinless(Signatures { file: Some(path), tickets: None });
    let bound = BoundTo::asked(None, Some(PolicyKey::read(&signer.public()).expect("a key"))).expect("something");
    let mut device = open(&swtpm.uri().parse().expect("a URI"), None, &pins).expect("it opens");
    let root = device.provision(&Intent::random()).expect("it is provisioned");
    let seal = device.generate(Protection { pin: None, bound: Some(&bound) }, &[7; 32]).expect("it makes a secret");
    drop(device);
    let right = cold(&swtpm.uri(), &root, &seal, &pins).expect("an HMAC");
    let bus = Meddler::start(&swtpm, |_| Act::Pass);
    for (which, name) in [
        (0x17f, "PolicyPCR"),
        (0x189, "PolicyGetDigest"),
        (0x167, "LoadExternal"),
        (0x177, "VerifySignature"),
        (0x16a, "PolicyAuthorize"),
        (HMAC, "HMAC"),
    ] {
        bus.decide(busy(which, RETRY, BY_THE_LIBRARY + 1));
        assert_eq!(cold(&bus.uri(), &root, &seal, &pins).expect(name), right);
        nothing_loaded(&swtpm);
        // And a TPM that fails there for good leaves nothing behind.
        bus.decide(busy(which, FAILURE, usize::MAX));
        cold(&bus.uri(), &root, &seal, &pins).expect_err(name);
        bus.decide(|_| Act::Pass);
        nothing_loaded(&swtpm);
    }
}

// No.

#[test]
fn a_lockout_is_told_and_nothing_sent_again() {
    let (swtpm, root, seal) = with_seal(Some("1234"));
    let bus = Meddler::start(&swtpm, busy(HMAC, LOCKOUT, usize::MAX));
    let error = cold(&bus.uri(), &root, &seal, &Pins::with("1234")).expect_err("it is locked");
    assert!(matches!(error.fault, Fault::LockedOut { wait_seconds: Some(1000), .. }), "{error}");
    assert_eq!((code(&error), bus.count(HMAC)), ("TPM_RC_LOCKOUT", 1));
    nothing_loaded(&swtpm);
}

#[test]
fn a_wrong_pin_is_sent_once() {
    let (swtpm, root, seal) = with_seal(Some("1234"));
    let bus = Meddler::start(&swtpm, |_| Act::Pass);
    let error = cold(&bus.uri(), &root, &seal, &Pins::with("4321")).expect_err("it is refused");
    assert_eq!(error.fault, Fault::WrongPin { tries_left: Some(2) });
    assert_eq!((bus.count(HMAC), failures(&swtpm).as_str()), (1, "1"));
    nothing_loaded(&swtpm);
}

#[test]
fn failure_mode_is_told_and_nothing_sent_again() {
    let (swtpm, root, seal) = with_seal(None);
    let bus = Meddler::start(&swtpm, |_| Act::Pass);
    for which in &COLD[..4] {
        bus.decide(busy(*which, FAILURE, usize::MAX));
        let error = cold(&bus.uri(), &root, &seal, &NoPin).expect_err("it fails");
        assert_eq!(error.fault, Fault::Failed("the TPM is in failure mode: restart the machine".to_owned()));
        assert_eq!((code(&error), bus.count(*which)), ("TPM_RC_FAILURE", 1));
    }
    nothing_loaded(&swtpm);
}

/// The real one: the TPM's own memory can't be written.
#[test]
fn a_tpm_that_can_not_write_fails_until_it_is_restarted() {
    let mut swtpm = Swtpm::start();
    // swtpm writes its memory under this name, and then renames it.
    let in_the_way = swtpm.state_dir().join("TMP2-00.permall");
    std::fs::create_dir(&in_the_way).expect("no such name yet");
    let mut device = new(&swtpm.uri());
    let failed = Fault::Failed("the TPM is in failure mode: restart the machine".to_owned());
    for _ in 0..2 {
        let error = device.provision(&Intent::random()).expect_err("it fails");
        assert_eq!((&error.fault, code(&error)), (&failed, "TPM_RC_FAILURE"));
    }
    drop(device);

    swtpm.power_off();
    std::fs::remove_dir(&in_the_way).expect("it is empty");
    swtpm.power_on();
    new(&swtpm.uri()).provision(&Intent::random()).expect("it works again");
    nothing_loaded(&swtpm);
}

// Not heard, or heard wrongly.

/// Whatever is flipped, cut or lost, at whatever command: an error or the right HMAC, never another; nothing stays loaded;
/// and the next one works.
#[test]
fn a_bad_bus_never_gives_a_wrong_answer() {
    let (swtpm, root, seal) = with_seal(None);
    let right = cold(&swtpm.uri(), &root, &seal, &NoPin).expect("an HMAC");
    let bus = Meddler::start(&swtpm, |_| Act::Pass);
    type Make = fn() -> Act;
    let acts: [(&str, Make); 9] = [
        ("a flipped command code", || Act::Command(|bytes| bytes[9] ^= 1)),
        ("a flipped command", || Act::Command(|bytes| *bytes.last_mut().unwrap() ^= 1)),
        ("a flipped response code", || Act::Response(|bytes| bytes[9] ^= 1)),
        ("a flipped response", || Act::Response(|bytes| *bytes.last_mut().unwrap() ^= 0x80)),
        ("a longer response", || Act::Response(lengthen)),
        ("half a header", || Act::Cut(5)),
        ("a header alone", || Act::Cut(10)),
        ("an end before", || Act::HangUp),
        ("an end after", || Act::HangUpAfter),
    ];
    for (what, act) in acts {
        for nth in 1..=COLD.len() {
            bus.decide(move |command| if command.nth == nth { act() } else { Act::Pass });
            let given = cold(&bus.uri(), &root, &seal, &NoPin);
            let sent = bus.commands();
            match given {
                Ok(given) => assert_eq!(given, right, "{what} at {nth}"),
                Err(error) => println!("{what} at {nth}: {error} ({:?}), {sent:x?}", error.code),
            }
            assert!(sent.len() <= 3 * COLD.len(), "{what} at {nth}: {sent:x?}");
            assert_eq!(swtpm.loaded(), Vec::<String>::new(), "{what} at {nth}: {sent:x?}");
        }
    }
    assert_eq!(cold(&swtpm.uri(), &root, &seal, &NoPin).expect("an HMAC"), right);
}

/// One byte more, and the header says so.
fn lengthen(bytes: &mut Vec<u8>) {
    bytes.push(0);
    let length = u32::try_from(bytes.len()).expect("a short message").to_be_bytes();
    bytes[2..6].copy_from_slice(&length);
}

#[test]
fn a_changed_answer_is_told_and_not_asked_for_again() {
    let (swtpm, root, seal) = with_seal(None);
    let bus = Meddler::start(&swtpm, |command| match command.code {
        HMAC => Act::Response(|bytes| bytes[20] ^= 1),
        _ => Act::Pass,
    });
    let error = cold(&bus.uri(), &root, &seal, &NoPin).expect_err("it is noticed");
    assert_eq!(error.fault, Fault::Failed("the TPM's answer was changed on its way".to_owned()));
    assert_eq!((code(&error), bus.count(HMAC)), ("TSS2_ESYS_RC_RSP_AUTH_FAILED", 1));
    nothing_loaded(&swtpm);
}

/// A connection that ends is made anew, once, and the work begun again.
#[test]
fn a_connection_that_ends_is_made_anew_once() {
    let (swtpm, root, seal) = with_seal(None);
    let bus = Meddler::start(&swtpm, |command| match (command.code, command.nth_of_code) {
        (HMAC, 1) => Act::HangUp,
        _ => Act::Pass,
    });
    cold(&bus.uri(), &root, &seal, &NoPin).expect("an HMAC");
    assert_eq!(bus.count(HMAC), 2);
    bus.decide(|command| if command.code == HMAC { Act::HangUp } else { Act::Pass });
    let error = cold(&bus.uri(), &root, &seal, &NoPin).expect_err("it ends again");
    assert!(matches!(error.fault, Fault::Unreachable(_)), "{error}");
    assert_eq!(bus.count(HMAC), 2);
    nothing_loaded(&swtpm);
}

/// A PIN that may be wrong may have been counted before the connection ended: it is not sent again by itself.
#[test]
fn a_pin_that_was_never_taken_is_not_sent_twice() {
    let (swtpm, root, seal) = with_seal(Some("1234"));
    let bus = Meddler::start(&swtpm, |command| match (command.code, command.nth_of_code) {
        (HMAC, 1) => Act::HangUpAfter,
        _ => Act::Pass,
    });
    let pins = Pins::with("1234");
    let mut device = pinned(&bus.uri(), &root, &pins);
    let error = hmac(device.as_mut(), &seal.use_part).expect_err("nobody knows what the TPM said");
    assert!(matches!(error.fault, Fault::Unreachable(_)), "{error}");
    assert_eq!(bus.count(HMAC), 1);
    // Asked for again, it is sent again; and once it was taken, it may be sent by itself.
    let right = hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    bus.decide(|command| match (command.code, command.nth_of_code) {
        (HMAC, 1) => Act::HangUp,
        _ => Act::Pass,
    });
    assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("an HMAC"), right);
    assert_eq!((bus.count(HMAC), pins.asked.get()), (2, 1));
    drop(device);
    nothing_loaded(&swtpm);
}

// The power goes.

/// kill -9 and a new start of the TPM between any two commands: the work is begun again, and gives the same.
#[test]
fn a_power_cycle_between_two_commands_changes_nothing() {
    let (swtpm, root, seal) = with_seal(None);
    let right = cold(&swtpm.uri(), &root, &seal, &NoPin).expect("an HMAC");
    let bus = Meddler::start(&swtpm, |_| Act::Pass);
    let swtpm = Arc::new(Mutex::new(swtpm));
    let kek = Kek::random();
    let mut cycles = 0;
    for is_heard in [true, false] {
        for nth in 1.. {
            let tpm = Arc::clone(&swtpm);
            bus.decide(move |command| {
                if command.nth != nth {
                    return Act::Pass;
                }
                tpm.lock().unwrap().power_cycle();
                // The connection to the driver outlives the TPM's reset, or ends as a socket does.
                if is_heard { Act::PassAnew } else { Act::HangUp }
            });
            let mut device = pinned(&bus.uri(), &root, &NoPin);
            assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("an HMAC"), right, "at {nth}");
            let wrapped = device.export(&seal.export_part, &kek).expect("it exports");
            let again = device.hmac(Key::Wrapped(&wrapped, &kek), b"message").expect("an HMAC");
            assert_eq!(hex::encode(again.expose_secret()), right, "at {nth}");
            let other = device.import(&wrapped, &kek, Protection::NONE).expect("it takes it in");
            assert_eq!(hmac(device.as_mut(), &other.use_part).expect("an HMAC"), right, "at {nth}");
            device.generate(Protection::NONE, &[7; 32]).expect("it makes a secret");
            drop(device);
            nothing_loaded(&swtpm.lock().unwrap());
            if bus.commands().len() < nth {
                break;
            }
            cycles += 1;
        }
    }
    println!("{cycles} power cycles");
    assert!(cycles > 40, "{cycles}");
}
