//! A ring that was damaged or lost: recognised, and healed from the history or from a backup.

use std::fs;

use crate::snapshot;
use crate::world::World;

const KEY: &str = "derive --quiet --generation 1 backups";

fn key(world: &World) -> Vec<u8> {
    world.done(KEY).raw
}

/// A world with generations 1 and 2, and the key of the first.
fn two_generations() -> (World, Vec<u8>) {
    let world = World::new();
    world.done("generate --yes --passphrase-file pass second.backup");
    let key = key(&world);
    (world, key)
}

fn damage(world: &World) {
    let text = world.read("state/ring.json");
    // At a place that does not depend on how long ports and keys are.
    world.file("state/ring.json", &text[..text.find("\"generations\"").unwrap()]);
}

fn lose(world: &World) {
    fs::remove_file(world.path("state/ring.json")).unwrap();
}

fn replaced(world: &World) -> Vec<String> {
    let found = fs::read_dir(world.path("state/replaced")).into_iter().flatten();
    found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_damaged_ring_is_put_back_from_the_history() {
    let (world, before) = two_generations();
    let whole = world.read("state/ring.json");
    damage(&world);
    let damaged = world.read("state/ring.json");
    let lines = ["status", "derive --generation 1 backups", "init --device $TPM --passphrase-file pass new.backup"];
    world.all_refused("ring-damaged", 6, &lines);
    let dry = world.unchanged(|| world.done("recover --dry-run"));
    let shots = [dry, world.done("recover --yes"), world.done("status")];
    // The name of what is kept aside is random.
    let aside = replaced(&world);
    let plain = |mut shot: snapshot::Shot| {
        shot.stderr = shot.stderr.replace(&aside[0], "damaged-HEX.json");
        shot
    };
    snapshot::check("recover-damaged", &shots.map(plain));
    assert_eq!(world.read(&format!("state/replaced/{}", aside[0])), damaged, "nothing is thrown away");
    let commit = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["commit"].as_u64();
    assert_eq!(commit(&world.read("state/ring.json")), commit(&whole).map(|commit| commit + 1));
    assert_eq!(key(&world), before);
    world.refused("recover-whole", 5, "recover --yes");
}

#[test]
fn a_lost_ring_is_put_back_from_the_history() {
    let (world, before) = two_generations();
    lose(&world);
    let lines = ["status", "derive --generation 1 backups", "init --device $TPM --passphrase-file pass new.backup"];
    world.all_refused("ring-lost", 6, &lines);
    snapshot::check("recover-lost", &[world.done("recover --yes")]);
    assert_eq!(key(&world), before);
    assert_eq!(replaced(&world), [] as [String; 0]);
}

#[test]
fn a_damaged_ring_is_rebuilt_from_a_backup() {
    for ruin in [damage, lose] {
        let (world, before) = two_generations();
        // Number 3 is burnt: only the ring and its history know.
        world.file("wrong", "three dull knives under grey snow\n");
        world.edit_ring(|ring| ring.replace("\"last_number\": 2", "\"last_number\": 3"));
        world.done("verify --passphrase-file pass second.backup");
        ruin(&world);
        let shot = world.done("restore --yes --passphrase-file pass second.backup");
        assert!(shot.stderr.contains("is rebuilt from this backup"), "{shot}");
        assert_eq!(key(&world), before);
        let made = world.done("generate --yes --passphrase-file pass third.backup");
        assert!(made.stderr.contains("generation 4"), "{made}");
    }
}

#[test]
fn a_backup_that_has_less_than_the_history_says_so() {
    let (world, _) = two_generations();
    lose(&world);
    let shot = world.unchanged(|| world.done("restore --dry-run --passphrase-file pass payroll.backup"));
    snapshot::check("rebuild-less", &[shot]);
}

#[test]
fn another_systems_backup_does_not_take_the_place_of_a_damaged_ring() {
    let other = World::new();
    let world = World::new();
    fs::copy(other.path("payroll.backup"), world.path("other.backup")).unwrap();
    damage(&world);
    let line = "restore --yes --passphrase-file pass other.backup";
    let shot = world.unchanged(|| world.run(line));
    assert_eq!(shot.code, Some(5), "{shot}");
    assert!(shot.stderr.contains("the backup is of system payroll"), "{shot}");
    world.done(&format!("{line} --replace"));
}

/// Where the newest copy is gone too, an older ring is put back, and a backup adds what came after.
#[test]
fn an_older_ring_and_a_backup_together() {
    let (world, before) = two_generations();
    let second = world.done("derive --quiet --generation 2 backups").raw;
    let newest = fs::read_dir(world.path("state/history")).unwrap();
    let newest = newest.map(|entry| entry.unwrap().path()).max().unwrap();
    let text = fs::read_to_string(&newest).unwrap();
    fs::write(&newest, &text[..100]).unwrap();
    damage(&world);
    world.done("recover --yes");
    world.done("restore --yes --activate --passphrase-file pass second.backup");
    assert_eq!(key(&world), before);
    assert_eq!(world.done("derive --quiet backups").raw, second);
}

#[test]
fn without_a_history_only_a_backup_helps() {
    let (world, before) = two_generations();
    fs::remove_dir_all(world.path("state/history")).unwrap();
    damage(&world);
    world.refused("no-history", 6, "recover --yes");
    world.done("restore --yes --device $TPM --passphrase-file pass second.backup");
    assert_eq!(key(&world), before);
}
