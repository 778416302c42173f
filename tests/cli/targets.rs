//! Places where a backup can't be written.

use std::fs;

use crate::snapshot;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use crate::common::child;
use crate::world::{STRONGROOM, World};

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

/// What counts is what comes back from the disk: a byte is changed there between the writing and the re-opening.
#[test]
fn what_does_not_read_back_is_no_backup() {
    let world = World::new();
    // Stopped at the re-opening, which is the first read of a backup that `generate` does.
    let stopped = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fadvise64:signal=STOP:when=1", STRONGROOM];
    let mut command = world.wrapped(&stopped, "generate --yes --passphrase-file pass new.backup");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut run = child::tie_to_this_thread(&mut command).spawn().unwrap();
    let backup = world.path("new.backup");
    while !backup.exists() {
        assert!(run.try_wait().unwrap().is_none(), "it ended without a backup");
        std::thread::yield_now();
    }
    let file = std::fs::OpenOptions::new().write(true).open(&backup).unwrap();
    file.write_all_at(b"?", file.metadata().unwrap().len() - 60).unwrap();
    let group = rustix::process::Pid::from_child(&run);
    while run.try_wait().unwrap().is_none() {
        // One that comes before the stop does nothing.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::CONT);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let run = run.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(6), "{told}");
    assert!(!backup.exists(), "it is not taken for a backup");
    assert!(world.done("status").stdout.contains("active   generation 1"));
}
