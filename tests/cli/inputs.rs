//! Labels, lengths, generations and names that are out of range; flags that don't go together; a terminal that is missing.

use crate::snapshot;
use crate::world::World;

#[test]
fn label_out_of_range() {
    let world = World::new();
    let long = format!("derive '{}'", "x".repeat(256));
    let lines = ["derive ''", "derive 'a\tb'", "derive 'a\nb'", &long];
    let shots = lines.map(|line| world.unchanged(|| world.run(line)));
    assert!(shots.iter().all(|shot| shot.code == Some(2)));
    snapshot::check("label", &shots);
    world.done(&format!("derive '{}'", "x".repeat(255)));
}

#[test]
fn length_out_of_range() {
    let world = World::new();
    let lines = ["derive --length 0 a", "derive --length 1025 a", "derive --length 18446744073709551615 a"];
    world.all_refused("length", 2, &lines);
    assert_eq!(world.done("derive --length 1024 --format raw a").raw.len(), 1024);
    assert_eq!(world.done("derive --length 1 --format raw a").raw.len(), 1);
}

#[test]
fn generation_that_does_not_exist() {
    let world = World::new();
    world.all_refused("no-generation", 2, &["derive --generation 2 a", "derive --generation 0 a"]);
}

#[test]
fn name_that_is_none() {
    let world = World::fresh();
    let long = format!("init --device $TPM --name '{}' --passphrase-file pass new.backup", "x".repeat(65));
    let lines = [
        "init --device $TPM --name '' --passphrase-file pass new.backup",
        "init --device $TPM --name 'a\x1b[31mb' --passphrase-file pass new.backup",
        &long,
    ];
    world.all_refused("name", 2, &lines);
}

#[test]
fn flags_that_do_not_go_together() {
    let world = World::bare();
    let lines = [
        "derive --pin-file a --pin-fd 3 x",
        "init --new-pin-file a new.backup",
        "backup --passphrase-file a --passphrase-fd 3 new.backup",
        "derive",
        "frobnicate",
        "derive --length -1 x",
    ];
    world.all_refused("usage", 2, &lines);
}

/// Each prompt names the flag that would have answered it.
#[test]
fn terminal_missing() {
    let world = World::new();
    let lines = [
        "verify payroll.backup",
        "restore --yes payroll.backup",
        "restore --passphrase-file pass payroll.backup",
        "generate new.backup",
        "generate --yes new.backup",
        "backup new.backup",
    ];
    world.all_refused("no-terminal", 2, &lines);
}

#[test]
fn terminal_missing_at_init() {
    let world = World::fresh();
    let lines = [
        "init new.backup",
        "init --device $TPM --name payroll new.backup",
        "init --device $TPM --name payroll --with-pin --passphrase-file pass new.backup",
    ];
    world.all_refused("no-terminal-init", 2, &lines);
}
