//! PINs: wrong, missing, the last try, locked. swtpm takes three wrong ones.

use crate::prompts::answer_hidden;
use crate::snapshot::{self, Shot};
use crate::world::{PIN, World};

const RIGHT: &str = "derive --generation 1 --pin-file pin backups";
const WRONG: &str = "derive --generation 1 --pin-file wrong-pin backups";

fn tries_left(world: &World) -> u64 {
    let status = &world.done("status --json").json()[0];
    status["devices"][0]["description"]["tries"]["left"].as_u64().unwrap()
}

/// A derive with a wrong PIN in a file of its own: one that was refused is not sent again.
fn wrong(world: &World, number: u32) -> String {
    world.file(&format!("wrong-pin-{number}"), "1357-seal\n");
    format!("derive --generation 1 --pin-file wrong-pin-{number} backups")
}

#[test]
fn wrong_pin_up_to_the_last_try_and_beyond() {
    let world = World::with_pin();
    world.file("wrong-pin", "1357-seal\n");
    let other = wrong(&world, 2);
    let third = wrong(&world, 3);
    let step = |line: &str, code: i32, left: u64| -> Shot {
        let shot = world.unchanged(|| world.run(line));
        assert_eq!((shot.code, tries_left(&world)), (Some(code), left), "{shot}");
        shot
    };
    let shots = [
        step(WRONG, 4, 2),
        // The same file again: nothing is sent.
        step(WRONG, 5, 2),
        step(&other, 4, 1),
        // With one try left nothing is sent, right or wrong.
        step(RIGHT, 5, 1),
        step(&format!("{third} --use-last-try"), 4, 0),
        step(RIGHT, 8, 0),
        step(&format!("{RIGHT} --use-last-try"), 8, 0),
    ];
    snapshot::check("tpm-pin-wrong", &shots);
    let check = world.run("status --check");
    assert!(check.stdout.contains("few PIN tries are left"), "{check}");
}

#[test]
fn the_last_try_with_the_right_pin() {
    let world = World::with_pin();
    world.file("wrong-pin", "1357-seal\n");
    for number in 0..2 {
        assert_eq!(world.run(&wrong(&world, number)).code, Some(4));
    }
    let shots = [world.run(RIGHT), world.done(&format!("{RIGHT} --use-last-try"))];
    assert_eq!(shots[0].code, Some(5));
    snapshot::check("tpm-pin-last-try", &shots);
}

#[test]
fn wrong_pin_at_each_ceremony() {
    let world = World::with_pin();
    world.file("wrong-pin", "1357-seal\n");
    let line = "generate --yes --passphrase-file pass --pin-file wrong-pin new.backup";
    // The state is as it was, but for the numbers that a commit would raise: not even those.
    world.refused("tpm-pin-wrong-generate", 4, line);
    world.file("wrong-pin", "2357-seal\n");
    let line = "verify --passphrase-file pass --pin-file wrong-pin payroll.backup";
    world.refused("tpm-pin-wrong-verify", 4, line);
}

#[test]
fn pin_missing() {
    let world = World::with_pin();
    let lines = [
        "derive --generation 1 backups",
        "backup --passphrase-file pass new.backup",
        "verify --passphrase-file pass payroll.backup",
        "generate --yes --passphrase-file pass new.backup",
    ];
    world.all_refused("tpm-pin-missing", 2, &lines);
    assert_eq!(tries_left(&world), 3);
}

#[test]
fn pin_too_short_for_a_new_seal() {
    let world = World::fresh();
    world.file("short", "123\n");
    let line = "init --device $TPM --name payroll --with-pin --new-pin-file short --passphrase-file pass new.backup";
    world.refused("pin-too-short", 5, line);
}

#[test]
fn token_pin_wrong() {
    let world = World::token();
    world.file("wrong-pin", "4321-user\n");
    world.file("other-wrong-pin", "4321-user\n");
    let lines = [WRONG, "backup --passphrase-file pass --pin-file other-wrong-pin new.backup"];
    world.all_refused("token-pin-wrong", 4, &lines);
}

/// Kryoptic takes ten wrong PINs. It says when few tries are left, when one is left, and when none is.
#[test]
fn token_pin_up_to_the_last_try_and_beyond() {
    let world = World::locking_token();
    let step = |line: &str, code: i32| -> Shot {
        let shot = world.run(line);
        assert_eq!(shot.code, Some(code), "{shot}");
        shot
    };
    let warning = "few PIN tries are left";
    for number in 1..=6 {
        step(&wrong(&world, number), 4);
    }
    assert!(!world.run("status --check").stdout.contains(warning));
    step(&wrong(&world, 7), 4);
    assert!(world.run("status --check").stdout.contains(warning));
    step(&wrong(&world, 8), 4);
    let (ninth, tenth) = (wrong(&world, 9), wrong(&world, 10));
    let shots = [
        step(&ninth, 4),
        // With one try left nothing is sent, right or wrong: the tenth file is not even remembered as refused.
        step(RIGHT, 5),
        step(&tenth, 5),
        // The token says of a wrong PIN that locks it only that it is locked.
        step(&format!("{tenth} --use-last-try"), 8),
        step(RIGHT, 8),
        step(&format!("{RIGHT} --use-last-try"), 8),
    ];
    snapshot::check("token-pin-last-try", &shots);
    let doctor = world.run("doctor");
    assert!(doctor.stdout.contains("the user PIN is locked"), "{doctor}");
}

#[test]
fn the_tokens_last_try_with_the_right_pin() {
    let world = World::locking_token();
    for number in 1..=9 {
        assert_eq!(world.run(&wrong(&world, number)).code, Some(4));
    }
    assert_eq!(world.run(RIGHT).code, Some(5));
    world.done(&format!("{RIGHT} --use-last-try"));
    // That set the token's counter back.
    world.done(RIGHT);
}

#[test]
fn token_pin_missing() {
    let world = World::token();
    let lines = [
        "derive --generation 1 backups",
        "backup --passphrase-file pass new.backup",
        "verify --passphrase-file pass payroll.backup",
    ];
    world.all_refused("token-pin-missing", 2, &lines);
}

#[test]
fn token_pin_missing_at_init() {
    let world = World::fresh_token();
    let shot = world.run("init --device $HSM --name payroll --passphrase-file pass new.backup");
    assert_eq!(shot.code, Some(2), "{shot}");
    assert!(!world.path("new.backup").exists() && !world.path("state/ring.json").exists());
    // It goes on where that run stopped, and leaves nothing behind.
    let again = world.done("init --device $HSM --name payroll --pin-file pin --passphrase-file pass new.backup");
    snapshot::check("token-pin-missing-init", &[shot, again]);
    assert!(!world.path("state/ring.next.json").exists());
}

/// The PIN's own words must never come back in what is said.
#[test]
fn no_pin_is_ever_said() {
    let world = World::with_pin();
    world.file("wrong-pin", "1357-seal\n");
    for line in [WRONG, RIGHT, "derive --generation 1 --json --pin-file wrong-pin backups"] {
        let shot = world.run(line);
        assert!(!shot.to_string().contains("1357-seal") && !shot.to_string().contains(PIN), "{shot}");
    }
}

/// A service that restarts with a wrong PIN burns one try, not all of them.
#[test]
fn a_refused_source_is_not_tried_again_by_itself() {
    let world = World::with_pin();
    let line = wrong(&world, 1);
    assert_eq!((world.run(&line).code, tries_left(&world)), (Some(4), 2));
    for _ in 0..5 {
        assert_eq!((world.run(&line).code, tries_left(&world)), (Some(5), 2), "nothing is sent");
    }
    let status = world.run("status --check");
    assert!(status.stdout.contains("wrong-pin-1"), "{status}");
    // The file changes: it is another source.
    world.file("wrong-pin-1", format!("{PIN}\n"));
    world.done(&line);
    assert!(!world.run("status --check").stdout.contains("wrong-pin-1"));
}

/// As a unit with `StandardInput=file:` gives it at each start; what comes through a pipe is something else each time.
#[test]
fn a_refused_file_behind_a_descriptor_is_not_tried_again_by_itself() {
    let world = World::with_pin();
    world.file("wrong-pin", "1357-seal\n");
    let line = "derive --generation 1 --pin-fd 0 backups";
    assert_eq!((world.run_reading("wrong-pin", line).code, tries_left(&world)), (Some(4), 2));
    assert_eq!((world.run_reading("wrong-pin", line).code, tries_left(&world)), (Some(5), 2), "nothing is sent");
    world.file("wrong-pin", format!("{PIN}\n"));
    assert_eq!(world.run_reading("wrong-pin", line).code, Some(0));
}

#[test]
fn a_refused_source_is_tried_again_when_the_admin_says_so() {
    let world = World::with_pin();
    let line = wrong(&world, 1);
    let shots = [
        world.run(&line),
        world.run(&line),
        world.done("device retry tpm1"),
        world.run(&line),
        world.run("device retry tpm2"),
    ];
    let codes: Vec<_> = shots.iter().map(|shot| shot.code).collect();
    assert_eq!(codes, [Some(4), Some(5), Some(0), Some(4), Some(2)]);
    assert_eq!(tries_left(&world), 1);
    snapshot::check("device-retry", &shots);
}

/// At a terminal the person is asked instead, and a PIN that is taken ends it.
#[test]
fn a_typed_pin_that_is_taken_ends_the_memory() {
    let world = World::with_pin();
    let line = wrong(&world, 1);
    assert_eq!(world.run(&line).code, Some(4));
    let mut pty = world.terminal(&line);
    answer_hidden(&mut pty, "PIN of the master secret (2 tries left): ", PIN);
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    assert!(end.transcript.contains("was refused before, and is not sent again"), "{}", end.transcript);
    assert_eq!(world.run(&line).code, Some(4), "the file is tried again");
}

/// No digest of a PIN, nor the PIN, is ever stored.
#[test]
fn the_memory_holds_nothing_of_the_pin() {
    let world = World::with_pin();
    assert_eq!(world.run(&wrong(&world, 1)).code, Some(4));
    let memory: serde_json::Value = serde_json::from_str(&world.read("state/refused.json")).unwrap();
    let refusal = &memory["refusals"][0];
    let fields: Vec<&str> = refusal.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["at", "device", "source"]);
    let fields: Vec<&str> = refusal["source"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["changed", "filesystem", "inode", "modified", "path", "size"]);
}

/// systemd makes the file anew at each start of the service: the same credential all the same.
#[test]
fn a_refused_credential_is_not_tried_again_at_the_next_start() {
    let world = World::with_pin();
    let start = |pin: &str| {
        let _ = std::fs::remove_dir_all(world.path("credentials"));
        std::fs::create_dir(world.path("credentials")).unwrap();
        world.file("credentials/strongroom.pin.tpm1", pin);
        let mut command = world.command("derive --generation 1 backups");
        command.env("CREDENTIALS_DIRECTORY", world.path("credentials"));
        world.run_as("derive --generation 1 backups", command).code
    };
    assert_eq!((start("1357-seal"), tries_left(&world)), (Some(4), 2));
    assert_eq!((start("1357-seal"), tries_left(&world)), (Some(5), 2));
    world.done("device retry tpm1");
    assert_eq!((start(PIN), tries_left(&world)), (Some(0), 2));
}
