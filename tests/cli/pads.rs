//! PIN pads: the PIN is typed on the token's own keys. The fault module plays one, and takes no PIN from the host.

use crate::common::softhsm::USER_PIN;
use crate::prompts::SOON;
use crate::snapshot;
use crate::world::World;

const PAD: &str = "C_GetTokenInfo * flags PAD";
const DERIVE: &str = "derive --generation 1 backups";

fn somebody_types() -> [String; 2] {
    [PAD.to_owned(), format!("C_Login * type {USER_PIN}")]
}

/// A ring on a token with a PIN pad, made through it.
fn world() -> World {
    let world = World::faulty_token();
    set(&world, &somebody_types());
    world.done("init --device $HSM --name payroll --passphrase-file pass payroll.backup");
    world
}

fn set(world: &World, rules: &[impl AsRef<str>]) {
    world.faults().forget();
    world.faults().set(&rules.iter().map(AsRef::as_ref).collect::<Vec<_>>());
}

#[test]
fn no_pin_is_asked_for_and_somebody_is_called_to_the_pad() {
    let world = World::faulty_token();
    set(&world, &somebody_types());
    let shots = [
        world.unchanged(|| world.done("init --dry-run --device $HSM --name payroll new.backup")),
        world.done("init --device $HSM --name payroll --passphrase-file pass payroll.backup"),
        world.done(DERIVE),
        // What was given has no place to go.
        world.done(&format!("{DERIVE} --pin-file pin")),
    ];
    snapshot::check("pin-pad", &shots);
    // Whoever has to type must know, and whoever reads the output must not be disturbed by it.
    for line in ["derive --generation 1 --quiet backups", "derive --generation 1 --json backups"] {
        let shot = world.done(line);
        assert_eq!(shot.stderr, "type the user PIN of the token `payroll` on its PIN pad\n", "{shot}");
        assert_eq!(shot.stdout.lines().count(), 1, "{shot}");
    }
}

/// The module refuses a PIN of the host's where it plays a pad, and a missing one where it plays none.
#[test]
fn a_pin_is_left_out_only_where_there_is_a_pad() {
    let world = world();
    set(&world, &[format!("C_Login * type {USER_PIN}")]);
    let shot = world.run(&format!("{DERIVE} --pin-file pin"));
    assert!(shot.stderr.contains("CKR_ARGUMENTS_BAD"), "a PIN was sent: {shot}");
    set(&world, &["# no pad"]);
    let shot = world.run(DERIVE);
    assert_eq!((shot.code, world.faults().count("C_Login")), (Some(2), 0), "{shot}");
    world.done(&format!("{DERIVE} --pin-file pin"));
}

#[test]
fn what_a_pad_answers_is_told() {
    let world = world();
    let mut shots = Vec::new();
    // Cancelled or too late; wrong; locked by it.
    for answer in ["0x50", "0x1", "0xa0", "0xa4"] {
        set(&world, &[PAD, &format!("C_Login * return {answer}")]);
        shots.push(world.unchanged(|| world.run(DERIVE)));
        assert_eq!(world.faults().count("C_Login"), 1, "asked once");
    }
    snapshot::check("pin-pad-answers", &shots);
}

#[test]
fn counters_are_read_before_anybody_is_called() {
    let world = world();
    let mut shots = Vec::new();
    for flag in ["FINAL_TRY", "LOCKED"] {
        set(&world, &[&format!("C_GetTokenInfo * flags PAD,{flag}")]);
        shots.push(world.unchanged(|| world.run(DERIVE)));
        assert_eq!(world.faults().count("C_Login"), 0);
    }
    snapshot::check("pin-pad-tries", &shots);
    set(&world, &["C_GetTokenInfo * flags PAD,FINAL_TRY", &somebody_types()[1]]);
    world.done(&format!("{DERIVE} --use-last-try"));
}

/// What never asks calls nobody.
#[test]
fn status_calls_nobody() {
    let world = world();
    for line in ["status", "status --check", "device list", "doctor hsm1"] {
        set(&world, &[PAD, "C_Login * hang"]);
        let shot = world.run(line);
        assert_eq!(world.faults().count("C_Login"), 0, "{shot}");
    }
    let told = world.done("status");
    assert!(told.stdout.contains("its PIN is typed on its own PIN pad"), "{told}");
}

#[test]
fn ctrl_c_ends_the_waiting() {
    let world = world();
    set(&world, &[PAD, "C_Login * hang"]);
    let mut pty = world.terminal(DERIVE);
    pty.expect("type the user PIN of the token `payroll` on its PIN pad", SOON);
    pty.interrupt();
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(130), "{}", end.transcript);
    assert!(pty.is_sane() && end.transcript.contains("error: interrupted"), "{}", end.transcript);
}
