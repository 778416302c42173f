//! Time: whatever a device does, or does not do, the program ends, and says what it waited for. All of it at once, since
//! each takes as long as it may.

use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::faulty::{self, Faulty};
use crate::common::meddler::{Act, Command, Meddler, RETRY};
use crate::common::outside::Server;
use crate::common::softhsm::{SoftHsm, USER_PIN};
use crate::common::swtpm::Swtpm;
use crate::tpm::{BY_THE_LIBRARY, HMAC, LOAD, busy};

const DERIVE: [&str; 4] = ["derive", "--generation", "1", "disk"];
const DEADLINE: Duration = Duration::from_secs(30);
const TIMED_OUT: &str = "1: the device gave no answer within 30 seconds";

#[test]
fn every_wait_has_an_end() {
    thread::scope(|scope| {
        for wait in [
            a_tpm_that_hangs,
            a_tpm_that_stays_busy,
            a_library_that_hangs_at_its_start,
            a_token_that_hangs,
            a_token_that_stays_away,
            a_person_at_a_pin_pad,
        ] {
            scope.spawn(wait);
        }
    });
}

/// A derive over a bus that does as `decide` says; how long it took.
fn over_the_bus(decide: impl FnMut(&Command<'_>) -> Act + Send + 'static) -> (Output, Duration, Meddler, Swtpm) {
    let swtpm = Swtpm::start();
    let bus = Meddler::start(&swtpm, |_| Act::Pass);
    let server = Server::with_tpm(bus.uri());
    server.init("1.backup", &[]);
    bus.decide(decide);
    let start = Instant::now();
    let output = server.command(DERIVE).output().expect("it runs");
    (output, start.elapsed(), bus, swtpm)
}

/// A derive with a token that goes wrong as `rules` say; how long it took.
fn with_a_token(rules: &[&str]) -> (Output, Duration, Faulty, SoftHsm) {
    let hsm = SoftHsm::new("payroll");
    let faulty = Faulty::before(&hsm);
    let uri = format!("{}&pin-source={}", faulty.uri("payroll"), hsm.pin_file().display());
    let server = Server::new(uri, Some(hsm.conf()));
    let pass = server.path("passphrase").display().to_string();
    let init = ["init", "--device", server.device(), "--work-factor", "10", "--passphrase-file", &pass, "1.backup"];
    let made = server.command(init).env(faulty::VARIABLE, faulty.rules()).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    faulty.forget();
    faulty.set(rules);
    let start = Instant::now();
    let output = server.command(DERIVE).env(faulty::VARIABLE, faulty.rules()).output().expect("it runs");
    (output, start.elapsed(), faulty, hsm)
}

fn says(output: &Output, code: i32, text: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && said.contains(text), "{}: {said}", output.status);
}

fn a_tpm_that_hangs() {
    let (output, took, bus, _swtpm) = over_the_bus(|command| if command.code == LOAD { Act::Hang } else { Act::Pass });
    says(&output, 3, TIMED_OUT);
    assert!(took >= DEADLINE, "{took:?}");
    assert_eq!(bus.count(LOAD), 1);
}

/// Pauses of 20 milliseconds to a second make at most 15 rounds in 10 seconds.
fn a_tpm_that_stays_busy() {
    let (output, _, bus, swtpm) = over_the_bus(busy(HMAC, RETRY, usize::MAX));
    says(&output, 3, "tpm1: the TPM is busy with itself: TPM_RC_RETRY (0x922)");
    let sent = bus.count(HMAC);
    assert!(sent.is_multiple_of(BY_THE_LIBRARY) && (1..=15).contains(&(sent / BY_THE_LIBRARY)), "{sent} times sent");
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
}

/// As a module does whose HSM is out of reach.
fn a_library_that_hangs_at_its_start() {
    let (output, took, ..) = with_a_token(&["C_Initialize * hang"]);
    says(&output, 3, TIMED_OUT);
    assert!(took >= DEADLINE, "{took:?}");
}

fn a_token_that_hangs() {
    let (output, took, faulty, _hsm) = with_a_token(&["C_SignInit 1 hang"]);
    says(&output, 3, TIMED_OUT);
    assert!(took >= DEADLINE, "{took:?}");
    assert_eq!(faulty.count("C_CloseSession"), 0, "nobody waits for it again");
}

/// Looked for at most 15 times in 10 seconds, two calls each; and no PIN goes anywhere.
fn a_token_that_stays_away() {
    let (output, _, faulty, _hsm) = with_a_token(&["C_SignInit 1 vanish"]);
    says(&output, 3, "hsm1: the token does not answer (C_SignInit): CKR_DEVICE_REMOVED (0x32)");
    let looks = faulty.count("C_GetSlotList");
    assert!((4..=32).contains(&looks), "{looks}");
    assert_eq!(faulty.count("C_Login"), 1);
}

/// A person who types the PIN on the token's own keys has the time that it takes.
fn a_person_at_a_pin_pad() {
    let typed = format!("C_Login 1 type {USER_PIN}");
    let (output, took, ..) = with_a_token(&["C_GetTokenInfo * flags PAD", &typed, "C_Login 1 delay 31000"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(took > DEADLINE, "{took:?}");
}
