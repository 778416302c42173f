//! Passphrases and hints that are not taken.

use crate::world::World;

#[test]
fn wrong_passphrase() {
    let world = World::new();
    world.file("wrong", "three dull knives under grey snow\n");
    let lines = [
        "verify --passphrase-file wrong payroll.backup",
        "restore --yes --passphrase-file wrong payroll.backup",
        "restore --yes --replace --device $TPM --passphrase-file wrong payroll.backup",
    ];
    world.all_refused("wrong-passphrase", 4, &lines);
}

#[test]
fn wrong_passphrase_on_a_fresh_server() {
    let maker = World::new();
    let world = World::fresh();
    world.file("copy.backup", maker.read("payroll.backup"));
    world.file("wrong", "three dull knives under grey snow\n");
    let lines = [
        "verify --passphrase-file wrong copy.backup",
        "restore --yes --device $TPM --passphrase-file wrong copy.backup",
    ];
    world.all_refused("wrong-passphrase-fresh", 4, &lines);
}

#[test]
fn weak_passphrase() {
    let world = World::new();
    world.file("common", "password123456\n");
    // The system's own name, and the hint's words, are what a guesser tries first.
    world.file("known", "payroll-payroll-1\n");
    let lines = [
        "generate --yes --passphrase-file common new.backup",
        "backup --passphrase-file common new.backup",
        "backup --passphrase-file known new.backup",
    ];
    world.all_refused("weak-passphrase", 5, &lines);
}

#[test]
fn weak_passphrase_at_init() {
    let world = World::fresh();
    world.file("common", "qwertyuiop12\n");
    world.refused("weak-passphrase-init", 5, "init --device $TPM --name payroll --passphrase-file common new.backup");
}

#[test]
fn short_passphrase() {
    let world = World::new();
    world.file("short", "x7$Lq9!vP\n");
    world.refused("short-passphrase", 5, "backup --passphrase-file short new.backup");
}

#[test]
fn passphrase_that_is_no_text() {
    let world = World::new();
    world.file("latin1", b"drei stumpfe Messer unter blauem Schn\xe9e\n");
    world.file("escape", "three dull knives\x1b under blue snow\n");
    let lines = ["backup --passphrase-file latin1 new.backup", "backup --passphrase-file escape new.backup"];
    world.all_refused("passphrase-no-text", 5, &lines);
}

#[test]
fn hint_that_gives_the_passphrase_away() {
    let world = World::new();
    let lines = [
        "backup --passphrase-file pass --hint 'It is: Three dull knives under blue snow!' new.backup",
        "generate --yes --passphrase-file pass --hint 'knives snow three under dull blue' new.backup",
    ];
    world.all_refused("hint-tells", 5, &lines);
}

#[test]
fn hint_that_can_not_be_shown() {
    let world = World::new();
    let long = format!("backup --passphrase-file pass --hint '{}' new.backup", "sheet 7 ".repeat(26).trim());
    let lines = [
        "backup --passphrase-file pass --hint 'sheet 7\x1b[2J' new.backup",
        "backup --passphrase-file pass --hint 'sheet\n7' new.backup",
        "backup --passphrase-file pass --hint 'sheet \u{202e}7' new.backup",
        &long,
    ];
    world.all_refused("hint-form", 2, &lines);
}
