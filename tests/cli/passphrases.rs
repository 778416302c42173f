//! Passphrases and hints that are not taken.

use crate::snapshot;
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

/// What `passphrase check` says is what a new backup would say.
#[test]
fn check_judges_as_a_new_backup_would() {
    let world = World::new();
    world.file("common", "password123456\n");
    world.file("known", "payroll-payroll-1\n");
    world.file("short", "x7$Lq9!vP\n");
    world.file("long", format!("{}\n", "x".repeat(1024)));
    world.file("latin", b"caf\xe9 au lait, deux fois par jour\n");
    let sources = ["pass", "common", "known", "short", "long", "latin"];
    let hints = ["", "--hint 'sheet 7'", "--hint 'Knives, snow and under dull blue'", "--hint 'two\nlines'"];
    let mut told = std::collections::BTreeSet::new();
    for (source, hint) in sources.iter().flat_map(|source| hints.map(|hint| (source, hint))) {
        let shot = world.unchanged(|| world.run(&format!("passphrase check --json --passphrase-file {source} {hint}")));
        let verdict = shot.json().pop().expect("a verdict");
        assert_eq!(verdict["schema"], "strongroom.passphrase/1");
        let target = format!("{source}-{}.backup", hint.len());
        let backup = world.run(&format!("backup --json --passphrase-file {source} {hint} {target}"));
        let error = backup.json().pop().expect("an error or a step")["error"].clone();
        assert_eq!(verdict["acceptable"], error.is_null(), "{shot}\n{backup}");
        assert_eq!(shot.code, Some(if error.is_null() { 0 } else { 5 }), "{shot}");
        for field in ["id", "message", "hint"] {
            assert_eq!(verdict["problem"][field], error[field], "{shot}\n{backup}");
        }
        told.insert(verdict["problem"]["id"].as_str().unwrap_or("taken").to_owned());
    }
    let all = ["hint-form", "hint-tells", "passphrase-form", "passphrase-short", "passphrase-weak", "taken"];
    assert_eq!(told.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn check_needs_no_ring_and_takes_words_that_are_known() {
    let world = World::bare();
    world.file("made-up", "Quintessence&Rhubarb\n");
    world.file("umlaut", "drei stumpfe Messer unter blauem Schnee, nördlich\n");
    let lines = [
        "passphrase check --passphrase-file made-up",
        "passphrase check --passphrase-file made-up --known quintessence --known rhubarb",
        "passphrase check --json --passphrase-file made-up --known quintessence --known rhubarb",
        "passphrase check --passphrase-file umlaut",
        "passphrase check --json --passphrase-file umlaut",
        "passphrase check --json --passphrase-file nowhere",
        "passphrase check",
    ];
    snapshot::check("passphrase-check", &lines.map(|line| world.unchanged(|| world.run(line))));
    let mut pty = world.terminal("passphrase check");
    pty.expect("Passphrase: ", crate::prompts::SOON);
    pty.send_hidden(crate::world::PASSPHRASE);
    let end = pty.finish();
    assert!(end.transcript.contains("a new backup would take it"), "{}", end.transcript);
    assert!(!end.transcript.contains("knives"), "it is not echoed: {}", end.transcript);
}

#[test]
fn a_suggestion_is_taken_and_is_never_the_same() {
    let world = World::new();
    let plain = world.unchanged(|| world.done("passphrase suggest"));
    assert!(plain.stderr.is_empty(), "{plain}");
    let json = world.done("passphrase suggest --json").json().pop().expect("an object");
    assert_eq!(json["schema"], "strongroom.passphrase/1");
    let suggestions = [plain.raw, format!("{}\n", json["passphrase"].as_str().expect("a text")).into_bytes()];
    assert_ne!(suggestions[0], suggestions[1]);
    for (index, made) in suggestions.iter().enumerate() {
        world.file("made", made);
        world.done("passphrase check --passphrase-file made");
        world.done(&format!("backup --passphrase-file made {index}.backup"));
        world.done(&format!("verify --passphrase-file made {index}.backup"));
    }
}
