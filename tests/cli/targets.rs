//! Places where a backup can't be written.

use std::fs;

use crate::snapshot;
use crate::world::World;

#[test]
fn target_that_can_not_be() {
    let world = World::new();
    let lines = [
        "backup --passphrase-file pass payroll.backup",
        "generate --yes --passphrase-file pass payroll.backup",
        "backup --passphrase-file pass pass/new.backup",
    ];
    world.refused("target-exists", 5, lines[0]);
    world.refused("target-exists-generate", 5, lines[1]);
    world.refused("target-below-a-file", 2, lines[2]);
}

#[test]
fn target_exists_at_init() {
    let world = World::fresh();
    world.file("old.backup", "somebody's\n");
    world.refused("target-exists-init", 5, "init --device $TPM --passphrase-file pass old.backup");
    assert!(!world.path("state").exists());
}

#[test]
fn target_is_a_dangling_link() {
    let world = World::new();
    std::os::unix::fs::symlink("nowhere", world.path("link.backup")).unwrap();
    world.refused("target-is-a-link", 5, "backup --passphrase-file pass link.backup");
}

#[test]
fn target_is_standard_output() {
    let world = World::new();
    let lines = ["backup --passphrase-file pass -", "generate --yes --passphrase-file pass -", "verify -", "restore -"];
    world.all_refused("target-is-standard-output", 2, &lines);
}

#[test]
fn target_in_a_missing_directory() {
    let world = World::new();
    let lines =
        ["backup --passphrase-file pass usb/new.backup", "generate --yes --passphrase-file pass usb/new.backup"];
    world.all_refused("target-in-a-missing-directory", 2, &lines);
}

#[test]
fn target_is_a_directory() {
    let world = World::new();
    fs::create_dir(world.path("usb")).unwrap();
    world.refused("target-is-a-directory", 5, "backup --passphrase-file pass usb");
    world.refused("target-ends-in-a-slash", 5, "backup --passphrase-file pass usb/");
}

/// In a mount namespace of its own.
fn mounted(world: &World, mount: &str, name: &str, code: i32, line: &str) {
    fs::create_dir(world.path("usb")).unwrap();
    let script = format!("{mount} && exec \"$0\" \"$@\"");
    let command = world.in_namespace("--mount", &script, line);
    let shot = world.unchanged(|| world.run_as(line, command));
    assert_eq!(shot.code, Some(code), "{shot}");
    snapshot::check(name, &[shot]);
}

#[test]
fn target_on_a_read_only_place() {
    let line = "generate --yes --passphrase-file pass usb/new.backup";
    mounted(&World::new(), "mount -t tmpfs -o ro none usb", "target-read-only", 2, line);
}

#[test]
fn target_on_a_full_place() {
    let line = "generate --yes --passphrase-file pass usb/new.backup";
    mounted(&World::new(), "mount -t tmpfs -o size=64k none usb", "target-full", 2, line);
}

#[test]
fn target_on_a_place_that_takes_no_files() {
    let world = World::new();
    // The kernel's own file system says that it can be written, and takes nothing.
    world.refused("target-takes-no-files", 2, "generate --yes --passphrase-file pass /proc/new.backup");
}
