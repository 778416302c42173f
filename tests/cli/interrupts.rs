//! Ctrl-C and SIGTERM at each kind of prompt: the terminal comes back as it was, and nothing has changed.

use rustix::process::{Pid, Signal, kill_process};

use crate::common::pty::{Finished, Piped, Pty};
use crate::prompts::{NEW_PASSPHRASE, SOON, answer_hidden};
use crate::snapshot;
use crate::world::{PASSPHRASE, World};

/// Leads `line` to the prompt, ends it there, and looks at what is left.
fn ended(world: &World, line: &str, prompt: &str, lead: impl FnOnce(&mut Pty), end: impl FnOnce(&mut Pty)) -> Finished {
    let finished = world.unchanged(|| {
        let mut pty = world.terminal_piping(line, &[Piped::Stderr]);
        lead(&mut pty);
        pty.expect(prompt, SOON);
        end(&mut pty);
        let finished = pty.finish();
        assert!(pty.is_sane(), "the terminal is left in disorder");
        finished
    });
    assert_eq!(finished.status.code(), Some(130), "{}", finished.transcript);
    finished
}

fn terminate(pty: &mut Pty) {
    let id = Pid::from_raw(pty.id().try_into().unwrap()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
}

#[test]
fn at_a_passphrase() {
    let world = World::new();
    let end = ended(&world, "verify payroll.backup", "Passphrase: ", |_| (), Pty::interrupt);
    snapshot::check_text("interrupted", &world.plain(&String::from_utf8_lossy(&end.stderr)));
    ended(&world, "verify payroll.backup", "Passphrase: ", |_| (), terminate);
}

#[test]
fn at_a_new_passphrase_and_its_repetition() {
    let world = World::new();
    ended(&world, "backup new.backup", NEW_PASSPHRASE, |_| (), Pty::interrupt);
    let once = |pty: &mut Pty| answer_hidden(pty, NEW_PASSPHRASE, PASSPHRASE);
    ended(&world, "backup new.backup", "Passphrase again: ", once, Pty::interrupt);
    let twice = |pty: &mut Pty| {
        answer_hidden(pty, NEW_PASSPHRASE, PASSPHRASE);
        answer_hidden(pty, "Passphrase again: ", PASSPHRASE);
    };
    ended(&world, "backup new.backup", "Hint", twice, Pty::interrupt);
    let made = |pty: &mut Pty| answer_hidden(pty, NEW_PASSPHRASE, "");
    ended(&world, "backup new.backup", "Now type it: ", made, terminate);
}

#[test]
fn at_a_question() {
    let world = World::new();
    let line = "generate new.backup";
    ended(&world, line, "Make the new generation? [y/N] ", |_| (), Pty::interrupt);
    ended(&world, line, "Make the new generation? [y/N] ", |_| (), terminate);
    let line = "restore --passphrase-file pass payroll.backup";
    ended(&world, line, "Restore? [y/N] ", |_| (), Pty::interrupt);
}

#[test]
fn at_a_pin() {
    let world = World::with_pin();
    let line = "derive --generation 1 backups";
    ended(&world, line, "PIN of the master secret (3 tries left): ", |_| (), Pty::interrupt);
    // Nothing was sent, so no try was burnt, and nothing stays loaded.
    ended(&world, line, "PIN of the master secret (3 tries left): ", |_| (), terminate);
    world.done("derive --generation 1 --pin-file pin backups");
}

#[test]
fn at_a_new_pin() {
    let world = World::fresh();
    let line = "init --device $TPM --with-pin --passphrase-file pass new.backup";
    ended(&world, line, "New PIN: ", |_| (), Pty::interrupt);
    assert!(!world.path("state").exists());
}

#[test]
fn as_json() {
    let world = World::new();
    let line = "verify --json payroll.backup";
    let mut pty = world.terminal_piping(line, &[Piped::Stdout, Piped::Stderr]);
    pty.expect("Passphrase: ", SOON);
    pty.interrupt();
    let end = pty.finish();
    let last = end.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap();
    let error: serde_json::Value = serde_json::from_slice(last).unwrap();
    assert_eq!((&error["error"]["id"], &error["error"]["exit"]), (&"interrupted".into(), &130.into()));
    assert_eq!(String::from_utf8_lossy(&end.stderr).trim(), "");
}
