//! Ctrl-C and SIGTERM at each kind of prompt: the terminal comes back as it was, and nothing has changed.

use rustix::process::{Pid, Signal, kill_process};

use crate::common::pty::{Finished, Piped, Pty};
use crate::common::softhsm::USER_PIN;
use crate::prompts::{NEW_PASSPHRASE, SOON, answer_hidden};
use crate::snapshot;
use crate::world::{PASSPHRASE, STRONGROOM, World};

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

/// What nohup(1) does.
#[test]
fn what_it_was_started_to_ignore_is_ignored() {
    let world = World::new();
    let line = "verify payroll.backup";
    let nohup = ["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\"", STRONGROOM];
    let mut pty = Pty::spawn(world.wrapped(&nohup, line));
    pty.expect("Passphrase: ", SOON);
    let id = Pid::from_raw(pty.id().try_into().unwrap()).unwrap();
    kill_process(id, Signal::HUP).unwrap();
    pty.send_hidden(PASSPHRASE);
    let finished = pty.finish();
    assert!(finished.status.success(), "{}", finished.transcript);
    ended(
        &world,
        line,
        "Passphrase: ",
        |_| (),
        |pty| {
            kill_process(Pid::from_raw(pty.id().try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
        },
    );
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
fn at_the_questions_about_devices() {
    let world = World::two_devices();
    let line = "device add $HSM";
    ended(&world, line, "Add the device? [y/N] ", |_| (), Pty::interrupt);
    world.done("device add --yes --pin-file pin $HSM");
    ended(&world, "device remove hsm1", "? [y/N] ", |_| (), Pty::interrupt);
    ended(&world, "device remove hsm1", "? [y/N] ", |_| (), terminate);
}

/// What is meant to be made on a token is written down before its PIN is asked for. Nothing is made then, and the next run
/// takes it up.
#[test]
fn at_the_pin_of_a_token_that_is_added() {
    let world = World::two_devices();
    let objects = || {
        let login = ["--token-label", "payroll", "--login", "--pin", USER_PIN, "--list-objects"];
        world.hsm.as_ref().unwrap().pkcs11_tool_ok(&login)
    };
    let before = objects();
    for end in [Pty::interrupt, terminate] {
        let mut pty = world.terminal("device add --yes $HSM");
        pty.expect("User PIN of the token", SOON);
        end(&mut pty);
        let finished = pty.finish();
        assert!(pty.is_sane() && finished.status.code() == Some(130), "{}", finished.transcript);
        assert_eq!(objects(), before);
        let told = world.run("status --check");
        assert!(told.stdout.contains("unfinished-device: the adding of hsm1 was cut off"), "{told}");
        world.done("derive --generation 1 backups");
    }
    world.done("device add --yes --pin-file pin $HSM");
    let told = world.run("status --check");
    assert!(!told.stdout.contains("unfinished-device"), "{told}");
}

#[test]
fn at_the_question_whether_to_recover() {
    let world = World::new();
    world.file("state/ring.json", "{");
    ended(&world, "recover", "? [y/N] ", |_| (), Pty::interrupt);
    ended(&world, "recover", "? [y/N] ", |_| (), terminate);
    world.done("recover --yes");
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
