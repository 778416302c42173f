//! A token that goes away, forgets sessions, locks its PIN, or answers with errors.

use std::thread;
use std::time::Duration;

use strongroom::device::{Device, DeviceError, Fault, Intent, Key, NoPin, Protection, Root, Seal, open};
use strongroom::secret::Kek;

use crate::common::faulty::{Call, Faulty};
use crate::common::isolate::this_test;
use crate::common::softhsm::{SoftHsm, USER_PIN, in_own_process};
use crate::{Pins, code, hmac, pinned};

/// A token behind the fault module, with a secret in it that a ring has pinned.
struct Bench<'h> {
    hsm: &'h SoftHsm,
    faulty: Faulty,
    root: Root,
    seal: Seal,
    /// The HMAC that is right.
    right: String,
}

impl Bench<'_> {
    fn open<'p>(&self, pins: &'p Pins) -> Box<dyn Device + 'p> {
        pinned(&self.faulty.uri("payroll"), &self.root, pins)
    }

    fn hmac(&self, device: &mut dyn Device) -> Result<String, DeviceError> {
        hmac(device, &self.seal.use_part)
    }

    /// Opened, and used once: logged in, with the secret loaded.
    fn warm<'p>(&self, pins: &'p Pins) -> Box<dyn Device + 'p> {
        self.faulty.set(&[]);
        let mut device = self.open(pins);
        assert_eq!(self.hmac(device.as_mut()).expect("an HMAC"), self.right);
        device
    }

    /// Goes wrong as `rules` say from now on; what was called before is forgotten.
    fn now(&self, rules: &[&str]) {
        self.faulty.forget();
        self.faulty.set(rules);
    }

    fn counts<const N: usize>(&self, names: [&str; N]) -> [usize; N] {
        names.map(|name| self.faulty.count(name))
    }
}

/// Runs `test` on a fresh token.
fn on_a_token(name: &str, test: impl FnOnce(&Bench<'_>)) {
    in_own_process(
        name,
        || SoftHsm::new("payroll"),
        |hsm| {
            let faulty = Faulty::before(hsm);
            let pins = Pins::with(USER_PIN);
            let mut device = open(&faulty.uri("payroll").parse().unwrap(), None, &pins).expect("it opens");
            let root = device.provision(&Intent::random()).expect("it is provisioned");
            let seal = device.generate(Protection::NONE, &[7; 32]).expect("it makes a secret");
            let right = hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
            drop(device);
            faulty.forget();
            test(&Bench { hsm, faulty, root, seal, right });
        },
    );
}

const SESSION_CLASS: [&str; 7] = ["0xb3", "0xb0", "0x101", "0x90", "0x91", "0x60", "0x82"];
const DEVICE_CLASS: [&str; 8] = ["0x32", "0xe0", "0xe1", "0x3", "0x30", "0x31", "0xb1", "0x6"];
const LIBRARY_CLASS: [&str; 4] = ["0x190", "0x5", "0x2", "0xf0"];
/// What shows how a call was saved: a session, a login, the secret unwrapped, the library started.
const STEPS: [&str; 4] = ["C_OpenSession", "C_Login", "C_UnwrapKey", "C_Initialize"];

/// Its rules work, and its counts are right: the other tests here stand on it.
#[test]
fn the_fault_module_does_as_it_is_told() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        bench.now(&["C_Login 1 return 0xa4"]);
        let error = bench.hmac(bench.open(&pins).as_mut()).expect_err("locked");
        assert!(matches!(error.fault, Fault::LockedOut { .. }), "{error}");
        let login = bench.faulty.calls().into_iter().find(|call| call.name == "C_Login").expect("it was called");
        assert_eq!((login.pid, login.rv, login.forged), (std::process::id(), 0xa4, true));

        bench.now(&[]);
        assert_eq!(bench.hmac(bench.open(&pins).as_mut()).expect("an HMAC"), bench.right);
        let calls = bench.faulty.names();
        assert_eq!(calls.last().map(String::as_str), Some("C_CloseSession"));
        assert_eq!(calls.len(), 15, "{calls:?}");
        assert!(bench.faulty.calls().iter().all(|call| !call.forged));
        assert_eq!(bench.counts(["C_Initialize", "C_Login", "C_UnwrapKey", "C_Sign"]), [0, 1, 1, 2]);

        let mut killed = std::process::Command::new("pkcs11-tool");
        killed.arg("--module").arg(crate::common::faulty::module()).arg("--list-slots");
        let mut run = |rules: &[&str]| {
            bench.now(rules);
            std::os::unix::process::ExitStatusExt::signal(&killed.output().expect("pkcs11-tool runs").status)
        };
        assert_eq!(run(&[]), None);
        assert_eq!((run(&["* 2 kill-before"]), bench.faulty.names().len()), (Some(9), 1));
        assert_eq!((run(&["* 2 kill-after"]), bench.faulty.names().len()), (Some(9), 2));
    });
}

// What heals.

#[test]
fn a_lost_session_is_opened_anew_once() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        let mut device = bench.warm(&pins);
        // For real, and by every code of the class.
        let mut rules = vec!["C_SignInit 1 drop-sessions".to_owned(), "C_SignInit 1 logout".to_owned()];
        rules.extend(SESSION_CLASS.map(|code| format!("C_SignInit 1 return {code}")));
        rules.extend(SESSION_CLASS.map(|code| format!("C_Sign 1 return {code}")));
        for rule in &rules {
            bench.now(&[rule]);
            assert_eq!(bench.hmac(device.as_mut()).expect(rule), bench.right, "{rule}");
            assert_eq!(bench.counts(STEPS), [1, 1, 1, 0], "{rule}");
        }
        assert_eq!(pins.asked.get(), 1, "the token took it before: nobody is asked again");

        for code_sent in SESSION_CLASS {
            bench.now(&[&format!("C_SignInit * return {code_sent}")]);
            let error = bench.hmac(device.as_mut()).expect_err(code_sent);
            let ended = Fault::Unreachable("the session with the token has ended (C_SignInit)".to_owned());
            assert_eq!(error.fault, ended, "{code_sent}");
            assert_eq!(number(&error), code_sent);
            assert_eq!(bench.counts(["C_SignInit", "C_Finalize"]), [2, 0], "{code_sent}");
        }
        bench.now(&[]);
        assert_eq!(bench.hmac(device.as_mut()).expect("it is over"), bench.right);
    });
}

fn number(error: &DeviceError) -> String {
    format!("{:#x}", error.code.as_ref().expect("the token said why").value)
}

#[test]
fn a_token_that_was_gone_for_a_moment_is_found_again() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        let mut device = bench.warm(&pins);
        let mut rules = vec!["C_SignInit 1 vanish".to_owned() + " 5"];
        rules.extend(DEVICE_CLASS.map(|code| format!("C_SignInit 1 return {code}")));
        rules.extend(DEVICE_CLASS.map(|code| format!("C_SignInit 1-3 return {code}")));
        for rule in &rules {
            bench.now(&[rule]);
            assert_eq!(bench.hmac(device.as_mut()).expect(rule), bench.right, "{rule}");
            assert_eq!(bench.counts(["C_Initialize", "C_Finalize"]), [0, 0], "{rule}");
        }
        assert_eq!(pins.asked.get(), 1);

        for code_sent in DEVICE_CLASS {
            bench.now(&[&format!("C_SignInit * return {code_sent}")]);
            let error = bench.hmac(device.as_mut()).expect_err(code_sent);
            let is_busy = ["0x31", "0xb1"].contains(&code_sent);
            assert_eq!(matches!(error.fault, Fault::Busy(_)), is_busy, "{error}");
            assert_eq!(matches!(error.fault, Fault::Unreachable(_)), !is_busy, "{error}");
            assert_eq!(number(&error), code_sent);
            assert_eq!(bench.counts(["C_SignInit", "C_Finalize"]), [4, 0], "{code_sent}");
        }
    });
}

#[test]
fn a_token_that_is_plugged_in_elsewhere_is_found_there() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        let mut device = bench.warm(&pins);
        // While it is used, and again.
        for _ in 0..2 {
            bench.now(&["C_SignInit 1 move 7"]);
            assert_eq!(bench.hmac(device.as_mut()).expect("it is found again"), bench.right);
            assert_eq!(bench.counts(["C_Login", "C_Initialize"]), [1, 0]);
        }
        assert_eq!(pins.asked.get(), 1, "the token took it before: nobody is asked again");
        drop(device);
        // Between two runs.
        bench.now(&["C_Initialize 1 move 7"]);
        assert_eq!(bench.hmac(bench.open(&pins).as_mut()).expect("an HMAC"), bench.right);
    });
}

#[test]
fn a_library_that_is_lost_is_started_anew_twice_at_most() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        let mut device = bench.warm(&pins);
        for code_sent in LIBRARY_CLASS {
            bench.now(&[]);
            assert_eq!(bench.hmac(device.as_mut()).expect("logged in, and loaded"), bench.right);
            bench.now(&[&format!("C_SignInit 1 return {code_sent}")]);
            assert_eq!(bench.hmac(device.as_mut()).expect(code_sent), bench.right, "{code_sent}");
            assert_eq!(bench.counts(STEPS), [1; 4], "{code_sent}");

            bench.now(&[&format!("C_SignInit * return {code_sent}")]);
            let error = bench.hmac(device.as_mut()).expect_err(code_sent);
            let lost = Fault::Unreachable("the PKCS#11 module or its token is out of order (C_SignInit)".to_owned());
            assert_eq!((&error.fault, number(&error).as_str()), (&lost, code_sent));
            assert_eq!(bench.counts(["C_SignInit", "C_Finalize", "C_Initialize"]), [3, 2, 2], "{code_sent}");
        }
        // It may not even start at once.
        bench.now(&["C_SignInit 1 return 0x190", "C_Initialize 1 return 0x5"]);
        assert_eq!(bench.hmac(device.as_mut()).expect("the second time"), bench.right);
        bench.now(&["C_SignInit 1 return 0x190", "C_Initialize 1-2 return 0x5"]);
        let error = bench.hmac(device.as_mut()).expect_err("not by the third");
        assert_eq!((code(&error), bench.faulty.count("C_Initialize")), ("CKR_CRYPTOKI_NOT_INITIALIZED", 2));
        bench.now(&[]);
        assert_eq!(bench.hmac(device.as_mut()).expect("a later call"), bench.right);
        assert_eq!(pins.asked.get(), 1);
    });
}

/// What SoftHSM really does when its directory was away for a moment: what is loaded works, what is not gives 0xf0.
#[test]
fn a_token_directory_that_was_away_costs_nothing() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        let mut device = bench.warm(&pins);
        let other = device.generate(Protection::NONE, &[8; 32]).expect("it makes a secret");
        let away = bench.hsm.tokens_dir().with_file_name("away");
        std::fs::rename(bench.hsm.tokens_dir(), &away).expect("our directory");
        assert_eq!(bench.hmac(device.as_mut()).expect("what is loaded works"), bench.right);
        bench.now(&[]);
        let error = hmac(device.as_mut(), &other.use_part).expect_err("what is not does not");
        assert!(matches!(error.fault, Fault::Unreachable(_)), "{error}");

        std::fs::rename(&away, bench.hsm.tokens_dir()).expect("our directory");
        assert_eq!(bench.hmac(device.as_mut()).expect("it heals"), bench.right);
        hmac(device.as_mut(), &other.use_part).expect("this one too");
        assert_eq!(pins.asked.get(), 1);
    });
}

/// Two tokens of one module: one that is in trouble does not end the other's sessions.
#[test]
fn a_library_that_others_use_is_not_started_anew() {
    in_own_process(
        this_test!(),
        || {
            let hsm = SoftHsm::new("payroll");
            hsm.add_token("second");
            hsm
        },
        |hsm| {
            let faulty = Faulty::before(hsm);
            let pins = Pins::with(USER_PIN);
            let new = |label: &str| {
                let mut device = open(&faulty.uri(label).parse().unwrap(), None, &pins).expect("it opens");
                device.provision(&Intent::random()).expect("it is provisioned");
                let seal = device.generate(Protection::NONE, &[7; 32]).expect("it makes a secret");
                let right = hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
                (device, seal, right)
            };
            let (mut one, one_seal, _) = new("payroll");
            let (mut other, other_seal, right) = new("second");
            faulty.forget();
            faulty.set(&["C_SignInit 1 return 0x5"]);
            hmac(one.as_mut(), &one_seal.use_part).expect("another session helps");
            assert_eq!(hmac(other.as_mut(), &other_seal.use_part).expect("an HMAC"), right);
            assert_eq!(["C_Finalize", "C_OpenSession"].map(|name| faulty.count(name)), [0, 1]);
        },
    );
}

// PINs.

#[test]
fn a_wrong_pin_is_sent_once() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with("4321-user");
        let mut device = bench.open(&pins);
        let error = bench.hmac(device.as_mut()).expect_err("it is refused");
        assert_eq!((&error.fault, code(&error)), (&Fault::WrongPin { tries_left: None }, "CKR_PIN_INCORRECT"));
        bench.hmac(device.as_mut()).expect_err("refused again, without the token");
        device.export(&bench.seal.export_part, &Kek::random()).expect_err("this too");
        assert_eq!((bench.faulty.count("C_Login"), pins.asked.get()), (1, 1));
    });
}

/// Whatever a login is answered by: the PIN may have been counted, so it is not sent again.
#[test]
fn no_answer_makes_a_pin_go_out_twice() {
    type Is = fn(&Fault) -> bool;
    const UNREACHABLE: Is = |fault| matches!(fault, Fault::Unreachable(_));
    const WRONG: Is = |fault| matches!(fault, Fault::WrongPin { .. });
    let cases: [(&str, Is); 14] = [
        ("0xa0", WRONG),
        ("0xa1", WRONG),
        ("0xa2", WRONG),
        ("0xa3", |fault| matches!(fault, Fault::Failed(what) if what.contains("expired"))),
        ("0xa4", |fault| matches!(fault, Fault::LockedOut { .. })),
        ("0x102", |fault| matches!(fault, Fault::Missing(_))),
        ("0x104", |fault| matches!(fault, Fault::Busy(_))),
        ("0xb3", UNREACHABLE),
        ("0x101", UNREACHABLE),
        ("0x30", UNREACHABLE),
        ("0x32", UNREACHABLE),
        ("0xe0", UNREACHABLE),
        ("0x5", UNREACHABLE),
        ("0x190", UNREACHABLE),
    ];
    on_a_token(this_test!(), |bench| {
        for (code_sent, is) in cases {
            bench.now(&[&format!("C_Login * return {code_sent}")]);
            let pins = Pins::with(USER_PIN);
            let mut device = bench.open(&pins);
            let error = bench.hmac(device.as_mut()).expect_err(code_sent);
            assert!(is(&error.fault), "{code_sent}: {error}");
            assert_eq!(number(&error), code_sent);
            bench.hmac(device.as_mut()).expect_err("refused again, without the token");
            assert_eq!((bench.faulty.count("C_Login"), pins.asked.get()), (1, 1), "{code_sent}");
        }
    });
}

/// A PIN that the token took may be sent again when a session was lost: until the token says no.
#[test]
fn a_pin_that_was_changed_meanwhile_is_sent_once_more() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        let mut device = bench.warm(&pins);
        // A login that the token was not up to says nothing about the PIN.
        bench.now(&["C_SignInit 1 drop-sessions", "C_Login 1 return 0x30"]);
        assert_eq!(bench.hmac(device.as_mut()).expect("the second login"), bench.right);
        assert_eq!(bench.faulty.count("C_Login"), 2);

        bench.now(&["C_SignInit 1 drop-sessions", "C_Login 1 return 0xa0"]);
        for _ in 0..2 {
            let error = bench.hmac(device.as_mut()).expect_err("it was changed");
            assert!(matches!(error.fault, Fault::WrongPin { .. }), "{error}");
        }
        assert_eq!((bench.faulty.count("C_Login"), pins.asked.get()), (1, 1));
    });
}

/// A login that another program part made says nothing about our PIN: it is not sent by itself later.
#[test]
fn a_pin_that_nobody_looked_at_is_not_sent_by_itself() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        let mut device = bench.open(&pins);
        bench.now(&["C_Login 1 answer 0x100"]);
        assert_eq!(bench.hmac(device.as_mut()).expect("it is logged in"), bench.right);
        bench.now(&["C_SignInit 1 return 0xb3"]);
        let error = bench.hmac(device.as_mut()).expect_err("the session is lost");
        assert_eq!((code(&error), bench.faulty.count("C_Login")), ("CKR_SESSION_HANDLE_INVALID", 0));
        // Asked for again, it is.
        assert_eq!(bench.hmac(device.as_mut()).expect("an HMAC"), bench.right);
        assert_eq!((bench.faulty.count("C_Login"), pins.asked.get()), (1, 2));
    });
}

#[test]
fn the_flags_are_looked_at_before_a_pin_is_asked_for() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        let device = || "the token `payroll`".to_owned();
        let cases = [
            ("C_GetTokenInfo * flags COUNT_LOW,FINAL_TRY", Fault::LastTry { device: device() }),
            ("C_GetTokenInfo * flags LOCKED", Fault::LockedOut { device: device(), wait_seconds: None }),
        ];
        for (rule, expected) in cases {
            bench.now(&[rule]);
            assert_eq!(bench.hmac(bench.open(&pins).as_mut()).expect_err(rule).fault, expected);
            assert_eq!((bench.faulty.count("C_Login"), pins.asked.get()), (0, 0));
        }
        bench.now(&["C_GetTokenInfo * flags COUNT_LOW,FINAL_TRY"]);
        let told = pinned(&bench.faulty.uri("payroll"), &bench.root, &NoPin).describe().expect("it is described");
        let tries = told.tries.expect("flags are told");
        assert_eq!((tries.left, tries.low), (Some(1), true));
        let may = Pins { last_try: true, ..Pins::with(USER_PIN) };
        assert_eq!(bench.hmac(bench.open(&may).as_mut()).expect("it was allowed"), bench.right);
        bench.now(&["C_GetTokenInfo * flags COUNT_LOW"]);
        assert_eq!(bench.hmac(bench.open(&pins).as_mut()).expect("low is not last"), bench.right);

        // Also when the session was lost, and others have used the tries up meanwhile.
        let mut device = bench.warm(&pins);
        thread::sleep(Duration::from_millis(250));
        bench.now(&["C_SignInit 1 drop-sessions", "C_GetTokenInfo * flags FINAL_TRY"]);
        let error = bench.hmac(device.as_mut()).expect_err("the last try is kept");
        assert!(matches!(error.fault, Fault::LastTry { .. }), "{error}");
        assert_eq!(bench.faulty.count("C_Login"), 0);
    });
}

// What does not heal.

#[test]
fn c_unwrapkeys_errors_are_a_class_of_their_own() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        for code_sent in ["0x5", "0x6", "0x30"] {
            bench.now(&[&format!("C_UnwrapKey 1 return {code_sent}")]);
            assert_eq!(bench.hmac(bench.open(&pins).as_mut()).expect("it was broken"), bench.right, "{code_sent}");
            assert_eq!(bench.counts(STEPS), [2, 2, 2, 0], "{code_sent}");
            bench.now(&[&format!("C_UnwrapKey * return {code_sent}")]);
            let error = bench.hmac(bench.open(&pins).as_mut()).expect_err("the blob does not open");
            assert!(matches!(error.fault, Fault::Damaged(_)), "{error}");
            assert_eq!(number(&error), code_sent);
            assert_eq!(bench.counts(STEPS), [2, 2, 2, 0], "{code_sent}");
        }
        for code_sent in ["0x110", "0x112", "0x40"] {
            bench.now(&[&format!("C_UnwrapKey * return {code_sent}")]);
            let error = bench.hmac(bench.open(&pins).as_mut()).expect_err("the blob does not open");
            assert!(matches!(error.fault, Fault::Damaged(_)), "{error}");
            assert_eq!((number(&error).as_str(), bench.faulty.count("C_UnwrapKey")), (code_sent, 1));
        }
    });
}

#[test]
fn after_an_error_in_c_sign_the_session_is_dropped() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        let mut device = bench.warm(&pins);
        // The second C_Sign is the one that signs: an error there leaves SoftHSM's operation active.
        bench.now(&["C_Sign 2 return 0x20"]);
        let error = bench.hmac(device.as_mut()).expect_err("it is refused");
        assert_eq!(
            (&error.fault, code(&error)),
            (&Fault::Failed("the token refused C_Sign".to_owned()), "CKR_DATA_INVALID")
        );
        assert_eq!(bench.counts(["C_Sign", "C_CloseSession", "C_OpenSession"]), [2, 1, 0]);
        assert_eq!(bench.hmac(device.as_mut()).expect("in another session"), bench.right);
        assert_eq!((bench.faulty.count("C_OpenSession"), pins.asked.get()), (1, 1));
    });
}

#[test]
fn hidden_mechanisms_are_named() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        bench.now(&["C_GetMechanismList * hide 0x251"]);
        let mut device = open(&bench.faulty.uri("payroll").parse().unwrap(), None, &pins).expect("it opens");
        let refused = device.provision(&Intent::random()).expect_err("it can't do the job");
        assert_eq!(refused.fault, Fault::Missing("the token `payroll` lacks CKM_SHA256_HMAC (0x251)".to_owned()));
        assert_eq!((bench.faulty.count("C_Login"), bench.faulty.count("C_GenerateKey")), (0, 0));
        // The ring recorded that the token wraps by it: no other way is looked for.
        bench.now(&["C_GetMechanismList * hide 0x2109"]);
        assert_eq!(bench.hmac(bench.open(&pins).as_mut()).expect("an HMAC"), bench.right);
        // Listed, and refused all the same.
        bench.now(&["C_UnwrapKey * return 0x70"]);
        let error = bench.hmac(bench.open(&pins).as_mut()).expect_err("it does not unwrap");
        assert!(matches!(error.fault, Fault::Missing(_)), "{error}");
        assert_eq!((code(&error), bench.faulty.count("C_UnwrapKey")), ("CKR_MECHANISM_INVALID", 1));
    });
}

#[test]
fn a_token_that_was_exchanged_gets_no_pin() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        let mut device = bench.warm(&pins);
        // Longer than what a token said is taken for what it says now.
        thread::sleep(Duration::from_millis(250));
        bench.now(&["C_SignInit 1 drop-sessions", "C_GetTokenInfo * serial 0000"]);
        let error = bench.hmac(device.as_mut()).expect_err("it is another");
        assert!(matches!(error.fault, Fault::NotThisDevice(_)), "{error}");
        assert_eq!(bench.faulty.count("C_Login"), 0);
    });
}

// Anything, anywhere.

/// Everything that a ring does with a token.
fn work(bench: &Bench<'_>, pins: &Pins) -> Result<(), DeviceError> {
    let uri = bench.faulty.uri("payroll").parse().unwrap();
    let mut device = open(&uri, Some(&bench.root), pins)?;
    let is_right = |given: String| assert_eq!(given, bench.right);
    is_right(bench.hmac(device.as_mut())?);
    let kek = Kek::random();
    let wrapped = device.export(&bench.seal.export_part, &kek)?;
    is_right(device.hmac(Key::Wrapped(&wrapped, &kek), b"message").map(|mac| hex::encode(mac.expose_secret()))?);
    let again = device.import(&wrapped, &kek, Protection::NONE)?;
    is_right(hmac(device.as_mut(), &again.use_part)?);
    let other = device.generate(Protection::NONE, &[8; 32])?;
    hmac(device.as_mut(), &other.use_part).map(drop)
}

/// Whatever goes wrong, at whatever call: it heals, where the table in `src/device/pkcs11/recovery.rs` says so. What does
/// not heal is the library's start, and the login, since nobody knows whether the PIN was counted.
#[test]
fn whatever_happens_at_whatever_call_nothing_is_wrong() {
    on_a_token(this_test!(), |bench| {
        bench.now(&[]);
        work(bench, &Pins::with(USER_PIN)).expect("nothing is wrong yet");
        let calls = bench.faulty.names();
        let login = calls.iter().position(|name| name == "C_Login").expect("it logs in");
        for what in ["drop-sessions", "return 0xb3", "return 0x30", "return 0x5", "return 0x70", "vanish 2"] {
            for (index, name) in calls.iter().enumerate() {
                // A session that could not be closed stays, with its login, as long as this process.
                if name == "C_CloseSession" && what.starts_with("return") {
                    continue;
                }
                let pins = Pins::with(USER_PIN);
                bench.now(&[&format!("* {} {what}", index + 1)]);
                let heals = match what {
                    // No token, or one that says no.
                    "vanish 2" => index > login || name == "C_OpenSession",
                    "return 0x70" => false,
                    "drop-sessions" => name != "C_Login",
                    _ => name != "C_Login" && name != "C_Initialize",
                };
                match work(bench, &pins) {
                    Ok(()) => {}
                    Err(error) => assert!(!heals, "{what} at {name}, call {}: {error} ({:?})", index + 1, error.code),
                }
                let login = |call: &&Call| call.name == "C_Login";
                let taken = bench.faulty.calls().iter().filter(login).take_while(|call| call.rv == 0).count();
                let sent = bench.faulty.calls().iter().filter(login).count();
                assert!(sent <= taken + 1 && pins.asked.get() <= 1, "{what} at {name}: {sent} logins");
            }
        }
        bench.faulty.set(&[]);
        let listed = bench.hsm.pkcs11_tool_ok(&["--login", "--pin", USER_PIN, "--list-objects"]);
        assert_eq!(listed.matches("Secret Key Object").count(), 2, "no object is left behind: {listed}");
    });
}

/// The same while the wrapping keys are made: there are two in the end, made once.
#[test]
fn a_session_lost_while_the_keys_are_made_costs_nothing() {
    on_a_token(this_test!(), |bench| {
        let uri = bench.faulty.uri("payroll").parse().unwrap();
        let provision = |intent: &Intent| {
            let pins = Pins::with(USER_PIN);
            open(&uri, None, &pins).expect("it opens").provision(intent)
        };
        bench.now(&[]);
        let intent = Intent::random();
        let root = provision(&intent).expect("nothing is wrong yet");
        assert_eq!(provision(&intent).expect("again"), root);
        // Two keys, and a secret for each self-test.
        assert_eq!(bench.faulty.count("C_GenerateKey"), 4);
        let mut keys = 4;
        for rule in [
            "C_GenerateKey 1 drop-sessions",
            "C_GenerateKey 1 answer 0x30",
            "C_GenerateKey 2 answer 0x5",
            "C_UnwrapKey 3 drop-sessions",
            "C_WrapKey 2 return 0xb3",
            "C_SignInit 2 return 0x101",
        ] {
            bench.now(&[rule]);
            let intent = Intent::random();
            let root = provision(&intent).expect(rule);
            bench.now(&[]);
            assert_eq!(provision(&intent).expect("again"), root, "{rule}");
            keys += 2;
            let listed = bench.hsm.pkcs11_tool_ok(&["--login", "--pin", USER_PIN, "--list-objects"]);
            assert_eq!(listed.matches("Secret Key Object").count(), keys, "{rule}: {listed}");
        }
    });
}

/// Destroying is done once, whatever is lost on the way; and a token that can't is told from one that is not there.
#[test]
fn the_rings_keys_are_destroyed_or_it_is_said_that_they_are_not() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with(USER_PIN);
        for rule in ["C_DestroyObject 1 answer 0x5", "C_DestroyObject 2 drop-sessions", "C_DestroyObject 2 answer 0xb3"]
        {
            bench.now(&[]);
            let intent = Intent::random();
            let mut device = open(&bench.faulty.uri("payroll").parse().unwrap(), None, &pins).expect("it opens");
            device.provision(&intent).expect("it is provisioned");
            bench.now(&[rule]);
            assert!(device.retire(&intent).expect(rule), "{rule}");
            assert!(!device.retire(&intent).expect("nothing is left"), "{rule}");
        }
        let Root::Pkcs11 { use_key, export_key, .. } = &bench.root else { panic!("a token's root") };
        let intent = Intent { use_key: use_key.id, export_key: export_key.id };
        let mut device = bench.warm(&pins);
        bench.now(&["C_DestroyObject * return 0x5"]);
        let error = device.retire(&intent).expect_err("they are not destroyed");
        assert!(matches!(&error.fault, Fault::WriteProtected(what) if what.contains("let its keys go")), "{error}");
        assert_eq!(code(&error), "CKR_GENERAL_ERROR");
        bench.now(&[]);
        assert_eq!(bench.hmac(device.as_mut()).expect("they are there"), bench.right);
    });
}

#[test]
fn a_token_that_takes_no_key_is_told_from_one_that_is_not_there() {
    on_a_token(this_test!(), |bench| {
        let provision = |rule: &str| {
            bench.now(&[rule]);
            let pins = Pins::with(USER_PIN);
            let mut device = open(&bench.faulty.uri("payroll").parse().unwrap(), None, &pins).expect("it opens");
            device.provision(&Intent::random()).expect_err(rule)
        };
        for code_sent in ["0x5", "0x6", "0x30", "0x31", "0xe2", "0xb5"] {
            let error = provision(&format!("C_GenerateKey * return {code_sent}"));
            assert!(matches!(error.fault, Fault::WriteProtected(_)), "{code_sent}: {error}");
            assert_eq!(number(&error), code_sent);
        }
        let error = provision("C_GenerateKey * return 0xe0");
        assert!(matches!(error.fault, Fault::Unreachable(_)), "{error}");
    });
}

/// What a person types on the token's own keys is not kept: after a lost session nobody is made to type it again by itself.
#[test]
fn a_pin_pad_is_asked_again_by_the_caller_only() {
    on_a_token(this_test!(), |bench| {
        let pins = Pins::with("nobody asks for this one");
        const PAD: &str = "C_GetTokenInfo * flags PAD";
        let typed = format!("C_Login 1 type {USER_PIN}");
        bench.now(&[PAD, &typed]);
        let mut device = bench.open(&pins);
        assert!(!device.describe().expect("it is described").needs_pin);
        assert_eq!(bench.hmac(device.as_mut()).expect("an HMAC"), bench.right);

        bench.now(&[PAD, "C_SignInit 1 drop-sessions"]);
        let error = bench.hmac(device.as_mut()).expect_err("the session is lost");
        assert_eq!((code(&error), bench.faulty.count("C_Login")), ("CKR_SESSION_HANDLE_INVALID", 0));
        bench.now(&[PAD, &typed]);
        assert_eq!(bench.hmac(device.as_mut()).expect("typed again"), bench.right);
        assert_eq!((bench.faulty.count("C_Login"), pins.asked.get()), (1, 0));
    });
}

#[test]
fn a_token_that_is_slow_is_waited_for() {
    on_a_token(this_test!(), |bench| {
        bench.now(&["* * delay 100"]);
        assert_eq!(bench.hmac(bench.open(&Pins::with(USER_PIN)).as_mut()).expect("an HMAC"), bench.right);
    });
}
