//! `init` without a device: the wizard, from start to end.

use std::path::Path;

use crate::common::pty::{Piped, Pty};
use crate::common::softhsm::{SoftHsm, USER_PIN};
use crate::prompts::{NEW_PASSPHRASE, SOON, answer, answer_hidden};
use crate::snapshot;
use crate::world::{PASSPHRASE, World};

const WHICH: &str = "Which one shall keep the secret?";

/// A server with a TPM and a token, both to be found by looking.
fn with_both() -> World {
    let mut world = World::fresh();
    world.hsm = Some(SoftHsm::new("payroll"));
    world
}

/// The wizard at a terminal, at its first question. Gives the number of the device whose line has `what`.
fn start(world: &World, line: &str, what: &str) -> (Pty, usize, String) {
    let mut command = world.command(line);
    command.env("TERM", "dumb").env("TPM2TOOLS_TCTI", world.tpm.as_ref().unwrap().tcti());
    let mut pty = Pty::spawn_piping(command, &[Piped::Stderr]);
    let list = pty.expect(WHICH, SOON);
    let number = list
        .lines()
        .find(|line| line.contains(what))
        .and_then(|line| line.trim().split_once('.'))
        .and_then(|(number, _)| number.parse().ok())
        .unwrap_or_else(|| panic!("no {what} in the list:\n{list}"));
    (pty, number, list)
}

/// The words of the passphrase that is shown once.
fn made_passphrase(pty: &mut Pty) -> String {
    pty.expect("Write this down, and keep it apart from the backup file:\r\n", SOON);
    let shown = pty.expect("Now type it: ", SOON);
    shown.lines().map(str::trim).find(|line| line.matches('-').count() == 9).expect("ten words").to_owned()
}

#[test]
fn on_a_tpm_from_start_to_end() {
    let world = with_both();
    let (mut pty, number, list) = start(&world, "init payroll.backup", "swtpm");
    assert!(list.contains("can keep the secret; a PIN is possible, not needed"), "{list}");
    answer(&mut pty, "] ", &number.to_string());
    answer(&mut pty, "Name of the system [", "payroll");
    answer(&mut pty, "Guard the secret with a PIN as well? [y/N] ", "y");
    answer(&mut pty, "Bind it to PCRs? [none] ", "7+23");
    answer_hidden(&mut pty, NEW_PASSPHRASE, "");
    let passphrase = made_passphrase(&mut pty);
    assert!(!pty.echo_is_on());
    pty.send_hidden(&passphrase);
    answer(&mut pty, "Hint (anyone who finds the file can read it; empty for none): ", "sheet 7");
    answer_hidden(&mut pty, "New PIN: ", "8642-seal");
    answer_hidden(&mut pty, "New PIN again: ", "8642-seal");
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}\n{}", end.transcript, String::from_utf8_lossy(&end.stderr));
    assert!(pty.is_sane() && !end.transcript.contains("8642-seal"));
    // Shown once, and never in a stream that may be kept.
    assert_eq!(end.transcript.matches(&passphrase).count(), 1);
    assert!(!String::from_utf8_lossy(&end.stderr).contains(&passphrase));
    snapshot::check_text("wizard-tpm", &world.plain(&String::from_utf8_lossy(&end.stderr)));

    world.file("made", &passphrase);
    world.file("pin", "8642-seal\n");
    world.done("verify --passphrase-file made --pin-file pin payroll.backup");
    let status: serde_json::Value = serde_json::from_slice(&world.done("status --json").raw).unwrap();
    assert_eq!(status["devices"][0]["bound"], "sha256:7+23");
    assert!(world.read("payroll.backup").contains("# password hint: sheet 7\n"));
}

#[test]
fn on_a_token_from_start_to_end() {
    let world = with_both();
    let (mut pty, number, _) = start(&world, "init payroll.backup", "pkcs11:token=payroll");
    answer(&mut pty, "] ", &number.to_string());
    answer(&mut pty, "Name of the system [", "");
    answer_hidden(&mut pty, NEW_PASSPHRASE, PASSPHRASE);
    answer_hidden(&mut pty, "Passphrase again: ", PASSPHRASE);
    answer(&mut pty, "Hint (anyone who finds the file can read it; empty for none): ", "");
    answer_hidden(&mut pty, "User PIN of the token `payroll`: ", USER_PIN);
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}\n{}", end.transcript, String::from_utf8_lossy(&end.stderr));
    assert!(!end.transcript.contains(PASSPHRASE) && !world.read("payroll.backup").contains("password hint"));
    world.file("pin", format!("{USER_PIN}\n"));
    world.done("derive --generation 1 --pin-file pin backups");
}

/// A server that was lost is restored onto a fresh one: whoever is there is asked for its device too.
#[test]
fn restore_asks_which_device() {
    let maker = World::new();
    let world = with_both();
    world.file("copy.backup", maker.read("payroll.backup"));
    let (mut pty, number, _) = start(&world, "restore copy.backup", "pkcs11:token=payroll");
    answer(&mut pty, "] ", &number.to_string());
    answer_hidden(&mut pty, "Passphrase: ", PASSPHRASE);
    answer(&mut pty, "Restore, and take over as master? [y/N] ", "y");
    answer_hidden(&mut pty, "User PIN of the token `payroll`: ", USER_PIN);
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}\n{}", end.transcript, String::from_utf8_lossy(&end.stderr));
    world.file("pin", format!("{USER_PIN}\n"));
    let derived = |world: &World, flags: &str| world.done(&format!("derive -q -g 1 {flags} backups/db1")).raw;
    assert_eq!(derived(&world, "--pin-file pin"), derived(&maker, ""));
    // What can't be restored is not worth a question.
    let end = maker.unchanged(|| {
        let mut pty = maker.terminal("restore --dir other missing.backup");
        pty.finish()
    });
    assert_eq!(end.status.code(), Some(2), "{}", end.transcript);
}

#[test]
fn an_answer_that_is_not_on_the_list() {
    let world = with_both();
    for wrong in ["99", "0", "the red one"] {
        let end = world.unchanged(|| {
            let (mut pty, _, _) = start(&world, "init payroll.backup", "swtpm");
            answer(&mut pty, "] ", wrong);
            pty.finish()
        });
        assert_eq!(end.status.code(), Some(2));
        if wrong == "99" {
            snapshot::check_text("wizard-no-such-choice", &String::from_utf8_lossy(&end.stderr));
        }
    }
    assert!(!Path::new(&world.path("state")).exists());
}

#[test]
fn pcrs_that_there_are_not() {
    let world = with_both();
    let end = world.unchanged(|| {
        let (mut pty, number, _) = start(&world, "init --with-pin --name payroll payroll.backup", "swtpm");
        answer(&mut pty, "] ", &number.to_string());
        answer(&mut pty, "Bind it to PCRs? [none] ", "7,14");
        pty.finish()
    });
    assert_eq!(end.status.code(), Some(2));
    snapshot::check_text("wizard-no-such-pcrs", &String::from_utf8_lossy(&end.stderr));
}

#[test]
fn a_made_passphrase_must_be_typed_back() {
    let world = with_both();
    let end = world.unchanged(|| {
        let (mut pty, number, _) = start(&world, "init --name payroll payroll.backup", "swtpm");
        answer(&mut pty, "] ", &number.to_string());
        answer(&mut pty, "Guard the secret with a PIN as well? [y/N] ", "");
        answer(&mut pty, "Bind it to PCRs? [none] ", "");
        for _ in 0..3 {
            answer_hidden(&mut pty, NEW_PASSPHRASE, "");
            answer_hidden(&mut pty, "Now type it: ", "something else altogether");
        }
        pty.finish()
    });
    assert_eq!(end.status.code(), Some(5));
}

/// Each question of the wizard can be left with Ctrl-C.
#[test]
fn interrupted_at_its_questions() {
    let world = with_both();
    for steps in 0..4 {
        let end = world.unchanged(|| {
            let (mut pty, number, _) = start(&world, "init payroll.backup", "swtpm");
            let number = number.to_string();
            let questions = [("] ", number.as_str()), ("Name of the system [", ""), ("as well? [y/N] ", "")];
            for (prompt, text) in &questions[..steps] {
                answer(&mut pty, prompt, text);
            }
            pty.expect(["] ", "Name of the system [", "as well? [y/N] ", "PCRs? [none] "][steps], SOON);
            pty.interrupt();
            let end = pty.finish();
            assert!(pty.is_sane());
            end
        });
        assert_eq!(end.status.code(), Some(130), "{}", end.transcript);
    }
    assert!(!world.path("state").exists());
}
