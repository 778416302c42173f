//! Modules that don't behave: they print, install handlers for signals, and change what belongs to the process. None of it
//! disturbs the program. The fault module plays them.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::child;
use crate::common::softhsm::USER_PIN;
use crate::common::wait;
use crate::prompts::SOON;
use crate::world::World;

const DERIVE: &str = "derive --generation 1 --pin-file pin backups";
/// Calls in which modules do such things.
const CALLS: [&str; 4] = ["C_Initialize", "C_GetSlotList", "C_OpenSession", "C_Login"];

/// A ring on a token.
fn world() -> World {
    let world = World::faulty_token();
    world.done("init --device $HSM --name payroll --pin-file pin --passphrase-file pass payroll.backup");
    world
}

/// The module does it in each of those calls, every time.
fn meddles(world: &World, what: &str) {
    let rules: Vec<String> = CALLS.iter().map(|call| format!("{call} * meddle {what}")).collect();
    world.faults().set(&rules.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn what_a_module_prints_is_kept_from_the_output() {
    let world = world();
    let lines = [
        DERIVE,
        "derive --json --generation 1 --pin-file pin backups",
        "derive --format raw --generation 1 --pin-file pin backups",
        "status --json",
        "doctor --json --pin-file pin",
        "generate --dry-run --json two.backup",
        "verify --json --pin-file pin --passphrase-file pass payroll.backup",
    ];
    // Times and the like differ from run to run; a derive and a plan don't.
    let shapes = |raw: &[u8]| {
        let lines: Vec<_> = raw.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.iter().map(|line| serde_json::from_slice::<serde_json::Value>(line).is_ok()).collect::<Vec<_>>()
    };
    for line in lines {
        world.faults().set(&[]);
        let quiet = world.done(line);
        meddles(&world, "print");
        let shot = world.done(line);
        assert_eq!(shapes(&quiet.raw), shapes(&shot.raw), "{shot}");
        assert!(!String::from_utf8_lossy(&shot.raw).contains("evaluation copy"), "{shot}");
        if !line.contains("--json") {
            assert_eq!(quiet.raw, shot.raw);
        }
    }
    // It printed, and people see it.
    let shot = world.done(DERIVE);
    assert!(shot.stderr.contains("HSM library 1.0, evaluation copy"), "{shot}");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly_all_the_same() {
    let world = world();
    meddles(&world, "handlers");
    let mut command = world.command("status");
    let mut child = child::tie_to_this_thread(command.stdout(Stdio::piped()).stderr(Stdio::piped())).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(1), ""));
}

#[test]
fn signals_end_it_whatever_a_module_has_installed() {
    let world = world();
    for meddling in ["handlers", "exit", "thread"] {
        meddles(&world, meddling);
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            // The token is found, and now its PIN is asked for.
            let mut pty = world.terminal("derive --generation 1 backups");
            pty.expect("User PIN of the token `payroll`: ", SOON);
            let id = Pid::from_raw(pty.id().try_into().unwrap()).unwrap();
            kill_process(id, signal).unwrap();
            let finished = pty.finish();
            assert_eq!(finished.status.code(), Some(130), "{meddling}, {signal:?}: {}", finished.transcript);
            assert!(pty.is_sane() && finished.transcript.contains("error: interrupted"), "{}", finished.transcript);
        }
        world.done(DERIVE);
    }
}

/// As a module does that wants to be left alone until it has reached its HSM, or somebody has typed the PIN. A Ctrl-C that comes
/// before its doing was noticed is lost: a person presses it again.
#[test]
fn signals_end_it_while_a_module_is_at_work() {
    let world = world();
    for call in ["C_Initialize", "C_Login"] {
        let rules = ["meddle ignore", "meddle print", "hang"].map(|what| format!("{call} * {what}"));
        world.faults().set(&["C_GetTokenInfo * flags PAD", &rules[0], &rules[1], &rules[2]]);
        let mut pty = world.terminal("derive --generation 1 backups");
        pty.expect("evaluation copy", SOON);
        let ended = wait::within(SOON, || {
            pty.interrupt();
            thread::sleep(Duration::from_millis(50));
            pty.transcript().contains("error: interrupted").then_some(())
        });
        assert!(ended.is_some(), "{call}: {}", pty.transcript());
        assert_eq!(pty.finish().status.code(), Some(130), "{call}");
    }
}

/// Relative paths lead where they led, and files have the modes that they are given.
#[test]
fn a_changed_directory_or_mask_changes_no_file() {
    for what in ["directory", "mask"] {
        let world = World::faulty_token();
        meddles(&world, what);
        world.done("init --device $HSM --name payroll --pin-file pin --passphrase-file pass payroll.backup");
        world.done("generate --yes --pin-file pin --passphrase-file pass two.backup");
        for file in ["payroll.backup", "two.backup", "state/ring.json", "state/audit.log"] {
            let mode =
                world.path(file).metadata().unwrap_or_else(|error| panic!("{file}: {error}")).permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{what}: {file}");
        }
        world.done("verify --pin-file pin --passphrase-file pass two.backup");
    }
}

#[test]
fn a_changed_environment_hides_no_credential() {
    let world = world();
    meddles(&world, "environment");
    std::fs::create_dir(world.path("credentials")).unwrap();
    world.file("credentials/strongroom.pin.hsm1", USER_PIN);
    let line = "derive --generation 1 backups";
    let mut command = world.command(line);
    command.env("CREDENTIALS_DIRECTORY", world.path("credentials"));
    let shot = world.run_as(line, command);
    assert_eq!(shot.code, Some(0), "{shot}");
}

#[test]
fn what_belongs_to_the_process_is_put_back_between_calls() {
    let world = world();
    for what in ["locale", "mask", "directory"] {
        let meddle = |call: &str| format!("{call} 1 meddle {what}");
        world.faults().set(&[&meddle("C_Initialize"), "C_OpenSession 1 meddle look", &meddle("C_Login")]);
        world.done(DERIVE);
        // Within one call nobody can put it back: whoever looks sees it.
        world.faults().set(&[&meddle("C_OpenSession"), "C_OpenSession 1 meddle look"]);
        assert_eq!(world.run(DERIVE).code, None, "{what}");
    }
}

/// The program starts children of its own, and waits for them.
#[test]
fn its_own_children_are_still_its_own() {
    let world = world();
    meddles(&world, "handlers");
    // The first one's self-test loads the module into the program itself, which then starts a child for the second.
    let shot = world.run("doctor --pin-file pin hsm1 tpm:device:/dev/tpmrm9");
    assert!(shot.stdout.contains("the token took the PIN"), "{shot}");
    assert!(shot.stdout.contains("TROUBLE  node: ") && shot.stdout.ends_with("1 trouble was found\n"), "{shot}");
}
