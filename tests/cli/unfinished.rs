//! What a run that was cut off has left: told, finished or dropped by the next.

use std::fs;

use crate::snapshot;
use crate::world::{STRONGROOM, World};

/// Cut off between the backup of generation 2 and its activation: each commit renames the ring, and its copy for the history.
fn with_generation_2_pending() -> World {
    let world = World::new();
    let line = "generate --yes --passphrase-file pass two.backup";
    world.killed_before("renameat:signal=KILL:when=3", line);
    assert!(world.read("state/ring.json").contains("\"pending\"") && world.path("two.backup").exists());
    world
}

#[test]
fn a_pending_generation_is_told_and_not_used() {
    let world = with_generation_2_pending();
    let status = world.unchanged(|| world.done("status"));
    let derive = world.unchanged(|| world.run("derive --generation 2 backups"));
    assert_eq!(derive.code, Some(2));
    let check = world.run("status --check");
    assert_eq!(check.code, Some(7));
    // A backup of now is one without it.
    let backup = world.done("backup --passphrase-file pass now.backup");
    snapshot::check("pending-told", &[status, derive, check, backup]);
}

#[test]
fn generate_drops_a_pending_generation_and_burns_its_number() {
    let world = with_generation_2_pending();
    let shot = world.done("generate --yes --passphrase-file pass three.backup");
    let status = world.done("status");
    snapshot::check("pending-dropped", &[shot, status]);
}

#[test]
fn verify_of_its_backup_finishes_a_pending_generation() {
    let world = with_generation_2_pending();
    // Another backup finishes nothing.
    world.done("verify --passphrase-file pass payroll.backup");
    assert!(world.read("state/ring.json").contains("\"pending\""));
    let shot = world.done("verify --passphrase-file pass two.backup");
    let status = world.done("status");
    snapshot::check("pending-finished", &[shot, status]);
}

/// The disk fills up right after the commit: nobody is told that it failed and is to be run again.
#[test]
fn a_copy_for_the_history_that_can_not_be_made_is_told_as_what_it_is() {
    let world = World::new();
    let line = "generate --yes --passphrase-file pass two.backup";
    // Each commit renames the ring, and its copy: the fourth is the copy of the one with the new generation.
    let full = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=renameat:error=ENOSPC:when=4", STRONGROOM];
    let shot = world.run_as(line, world.wrapped(&full, line));
    assert_eq!(shot.code, Some(1), "{shot}");
    let told = shot.stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect::<Vec<_>>().join("\n");
    assert!(
        told.starts_with("error: the ring was changed, and its copy for the history could not be made: "),
        "{shot}"
    );
    assert!(told.contains("\nhint: don't run it again: "), "{shot}");
    assert!(world.done("status").stdout.contains("active   generation 2"));
    world.done("backup --passphrase-file pass three.backup");
    world.done("audit verify");
}

/// The state as a crash leaves it before the first generation's backup.
fn with_an_unfinished_init() -> World {
    let world = World::new();
    fs::remove_dir_all(world.path("state/history")).ok();
    fs::rename(world.path("state/ring.json"), world.path("state/ring.next.json")).unwrap();
    let next = world.read("state/ring.next.json").replace("\"active\"", "\"pending\"");
    let mut ring: serde_json::Value = serde_json::from_str(&next).unwrap();
    ring["backups"] = serde_json::json!([]);
    world.file("state/ring.next.json", serde_json::to_string_pretty(&ring).unwrap());
    world
}

#[test]
fn an_unfinished_init_is_told_and_taken_over() {
    let world = with_an_unfinished_init();
    let told = world.unchanged(|| world.done("status"));
    let derive = world.unchanged(|| world.run("derive backups"));
    assert_eq!(derive.code, Some(1), "{derive}");
    let again = world.done("init --device $TPM --name payroll --passphrase-file pass again.backup");
    assert!(!world.path("state/ring.next.json").exists());
    world.done("derive --generation 1 backups");
    snapshot::check("unfinished-init", &[told, derive, again]);
}

#[test]
fn verify_of_its_backup_finishes_an_init() {
    let world = with_an_unfinished_init();
    let shot = world.done("verify --passphrase-file pass payroll.backup");
    world.done("derive --generation 1 backups");
    assert!(!world.path("state/ring.next.json").exists());
    snapshot::check("unfinished-init-verify", &[shot]);
}

/// On a token, the wrapping keys that the first run made are found again, not made twice.
#[test]
fn an_unfinished_init_leaves_no_keys_behind_on_a_token() {
    let world = World::token();
    fs::rename(world.path("state/ring.json"), world.path("state/ring.next.json")).unwrap();
    fs::remove_dir_all(world.path("state/history")).unwrap();
    let next = world.read("state/ring.next.json").replace("\"active\"", "\"pending\"");
    world.file("state/ring.next.json", next);
    let login = ["--token-label", "payroll", "--login", "--pin", crate::common::softhsm::USER_PIN, "--list-objects"];
    let before = world.hsm.as_ref().unwrap().pkcs11_tool_ok(&login);
    world.done("init --device $HSM --name payroll --pin-file pin --passphrase-file pass again.backup");
    assert_eq!(world.hsm.as_ref().unwrap().pkcs11_tool_ok(&login), before);
}

/// A restore that was to replace the ring stopped before it did: the ring serves on, and the next restore starts anew.
#[test]
fn an_unfinished_restore_is_told_and_taken_over() {
    let world = World::new();
    let mut next: serde_json::Value = serde_json::from_str(&world.read("state/ring.json")).unwrap();
    next["system"]["id"] = "0e1f9c1c-5f0e-4c8e-9d5c-0123456789ab".into();
    next["system"]["name"] = "billing".into();
    next["generations"] = serde_json::json!([]);
    next["backups"] = serde_json::json!([]);
    world.file("state/ring.next.json", serde_json::to_string_pretty(&next).unwrap());
    let told = world.unchanged(|| world.run("status --check"));
    assert_eq!(told.code, Some(7));
    world.unchanged(|| world.done("derive --generation 1 backups"));
    let again = world.done("restore --yes --replace --passphrase-file pass payroll.backup");
    assert!(!world.path("state/ring.next.json").exists());
    snapshot::check("unfinished-restore", &[told, again]);
}
