//! Prompts at a terminal.

use std::time::Duration;

use crate::common::pty::{Piped, Pty};
use crate::snapshot;
use crate::world::{PASSPHRASE, PIN, World};

pub const SOON: Duration = Duration::from_secs(20);
pub const NEW_PASSPHRASE: &str = "Passphrase for the backup (empty: a strong one is made): ";

/// Waits for the prompt, sees that nothing is echoed, and types.
pub fn answer_hidden(pty: &mut Pty, prompt: &str, answer: &str) {
    pty.expect(prompt, SOON);
    assert!(!pty.echo_is_on(), "what is typed after {prompt:?} is shown");
    pty.send_hidden(answer);
}

pub fn answer(pty: &mut Pty, prompt: &str, answer: &str) {
    pty.expect(prompt, SOON);
    assert!(pty.echo_is_on());
    pty.send_line(answer);
}

#[test]
fn a_passphrase_is_asked_for_and_not_shown() {
    let world = World::new();
    let mut pty = world.terminal("verify payroll.backup");
    answer_hidden(&mut pty, "Passphrase: ", PASSPHRASE);
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    assert!(pty.is_sane() && !end.transcript.contains(PASSPHRASE));
}

#[test]
fn passphrases_that_differ_three_times() {
    let world = World::new();
    let end = world.unchanged(|| {
        let mut pty = world.terminal("backup new.backup");
        for _ in 0..3 {
            answer_hidden(&mut pty, NEW_PASSPHRASE, PASSPHRASE);
            answer_hidden(&mut pty, "Passphrase again: ", "three dull knives under grey snow");
        }
        let end = pty.finish();
        assert!(pty.is_sane());
        end
    });
    assert_eq!(end.status.code(), Some(5));
    snapshot::check_text("passphrases-differ", &world.plain(&end.transcript));
}

#[test]
fn a_weak_passphrase_and_a_telling_hint_are_asked_for_once_more() {
    let world = World::new();
    let mut pty = world.terminal("backup new.backup");
    answer_hidden(&mut pty, NEW_PASSPHRASE, "password123456");
    answer_hidden(&mut pty, NEW_PASSPHRASE, PASSPHRASE);
    answer_hidden(&mut pty, "Passphrase again: ", PASSPHRASE);
    answer(&mut pty, "Hint", "three dull knives under blue snow");
    answer_hidden(&mut pty, NEW_PASSPHRASE, PASSPHRASE);
    answer_hidden(&mut pty, "Passphrase again: ", PASSPHRASE);
    answer(&mut pty, "Hint", "sheet 7 in the safe");
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    assert!(world.read("new.backup").contains("\n# password hint: sheet 7 in the safe\n"));
    snapshot::check_text("once-more", &world.plain(&end.transcript));
}

#[test]
fn a_passphrase_that_is_too_long() {
    let world = World::new();
    let end = world.unchanged(|| {
        let mut pty = world.terminal("backup new.backup");
        for _ in 0..3 {
            answer_hidden(&mut pty, NEW_PASSPHRASE, &"three dull knives ".repeat(60));
        }
        pty.finish()
    });
    assert_eq!(end.status.code(), Some(5));
    snapshot::check_text("passphrase-long", &world.plain(&end.transcript));
}

/// The hint, the system and the date come before the passphrase.
#[test]
fn restore_tells_before_it_asks_and_takes_no_for_an_answer() {
    let world = World::fresh();
    let maker = World::fresh();
    maker.done("init --device $TPM --name payroll --passphrase-file pass --hint 'sheet 7' payroll.backup");
    world.file("copy.backup", maker.read("payroll.backup"));
    // An empty line is no; so is anything that is not yes.
    for no in ["", "n", "maybe"] {
        let end = world.unchanged(|| {
            let mut pty = world.terminal("restore --device $TPM copy.backup");
            answer_hidden(&mut pty, "Passphrase: ", PASSPHRASE);
            answer(&mut pty, "Restore, and take over as master? [y/N] ", no);
            pty.finish()
        });
        assert_eq!(end.status.code(), Some(5));
        if no == "n" {
            snapshot::check_text("restore-answered-no", &world.plain(&end.transcript));
        }
    }
    let mut pty = world.terminal("restore --device $TPM copy.backup");
    answer_hidden(&mut pty, "Passphrase: ", PASSPHRASE);
    answer(&mut pty, "Restore, and take over as master? [y/N] ", "y");
    assert_eq!(pty.finish().status.code(), Some(0));
}

#[test]
fn generate_answered_no() {
    let world = World::new();
    let end = world.unchanged(|| {
        let mut pty = world.terminal("generate new.backup");
        answer(&mut pty, "Make the new generation? [y/N] ", "");
        pty.finish()
    });
    assert_eq!(end.status.code(), Some(5));
    snapshot::check_text("generate-answered-no", &world.plain(&end.transcript));
}

#[test]
fn a_pin_is_asked_for_once_with_its_tries() {
    let world = World::with_pin();
    let mut pty = world.terminal_piping("derive --generation 1 backups", &[Piped::Stdout]);
    answer_hidden(&mut pty, "PIN of the master secret (3 tries left): ", PIN);
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    assert_eq!(end.stdout.len(), 65);
    assert!(!end.transcript.contains(PIN));
    // A wrong one is not asked for again: that would burn the next try.
    let end = world.unchanged(|| {
        let mut pty = world.terminal("derive --generation 1 backups");
        answer_hidden(&mut pty, "PIN of the master secret (3 tries left): ", "1357-seal");
        pty.finish()
    });
    assert_eq!(end.status.code(), Some(4));
    snapshot::check_text("pin-asked", &world.plain(&end.transcript));
    // None at all burns none.
    let mut pty = world.terminal("derive --generation 1 backups");
    answer_hidden(&mut pty, "PIN of the master secret (2 tries left): ", "");
    assert_eq!(pty.finish().status.code(), Some(2));
}

/// A PIN that is typed for another TPM burns a try there: each says which one it is.
#[test]
fn two_tpms_are_told_apart() {
    let world = World::with_pin();
    let other = crate::common::swtpm::Swtpm::start();
    let add = format!("device add --yes --with-pin --new-pin-file pin --pin-file pin {}", other.uri());
    world.done(&add);
    let mut pty = world.terminal("verify --passphrase-file pass payroll.backup");
    answer_hidden(&mut pty, "PIN of the master secret, tpm1 (3 tries left): ", PIN);
    answer_hidden(&mut pty, "PIN of the master secret, tpm2 (3 tries left): ", PIN);
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
}

#[test]
fn a_tokens_pin_is_asked_for() {
    let world = World::token();
    let mut pty = world.terminal("derive --generation 1 backups");
    answer_hidden(&mut pty, "User PIN of the token `payroll`: ", crate::common::softhsm::USER_PIN);
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
}

#[test]
fn raw_bytes_are_not_for_a_terminal() {
    let world = World::new();
    let mut pty = world.terminal("derive --generation 1 --format raw backups");
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(2));
    snapshot::check_text("raw-to-terminal", &world.plain(&end.transcript));
    world.refused("raw-as-json", 2, "derive --generation 1 --json --format raw backups");
}

#[test]
fn end_of_input_at_a_prompt() {
    let world = World::new();
    let end = world.unchanged(|| {
        let mut pty = world.terminal("verify payroll.backup");
        pty.expect("Passphrase: ", SOON);
        pty.end_of_input();
        let end = pty.finish();
        assert!(pty.is_sane());
        end
    });
    assert_eq!(end.status.code(), Some(2));
    snapshot::check_text("end-of-input", &world.plain(&end.transcript));
}
