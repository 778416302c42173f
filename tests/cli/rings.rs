//! Rings that can't be read: damaged, newer, or not what a ring is.

use crate::world::World;

fn refused(name: &str, edit: impl FnOnce(String) -> String) {
    let world = World::new();
    world.edit_ring(edit);
    let lines = [
        "status",
        "derive --generation 1 backups",
        "generate --yes --passphrase-file pass new.backup",
        "verify --passphrase-file pass payroll.backup",
    ];
    world.all_refused(name, 6, &lines);
}

/// What another version wrote is no damage: not even a restore takes its place.
fn left_alone(name: &str, edit: impl FnOnce(String) -> String) {
    let world = World::new();
    world.edit_ring(edit);
    let lines = [
        "status",
        "derive --generation 1 backups",
        "generate --yes --passphrase-file pass new.backup",
        "verify --passphrase-file pass payroll.backup",
        "restore --yes --passphrase-file pass payroll.backup",
        "recover --yes",
    ];
    world.all_refused(name, 6, &lines);
}

#[test]
fn unknown_field() {
    refused("ring-unknown-field", |ring| ring.replacen("\"term\"", "\"colour\": \"red\",\n  \"term\"", 1));
}

#[test]
fn duplicate_key() {
    refused("ring-duplicate-key", |ring| ring.replacen("\"term\"", "\"term\": 7,\n  \"term\"", 1));
}

#[test]
fn newer_version() {
    left_alone("ring-newer", |ring| ring.replacen("\"format\": 1", "\"format\": 2", 1));
}

#[test]
fn another_suite() {
    left_alone("ring-suite", |ring| ring.replacen("strongroom-v1-hmac-sha256", "strongroom-v2-kmac256", 1));
}

#[test]
fn truncated() {
    refused("ring-truncated", |ring| ring[..ring.find("\"devices\"").unwrap()].to_owned());
}

#[test]
fn empty() {
    refused("ring-empty", |_| String::new());
}

#[test]
fn broken_rule() {
    refused("ring-broken", |ring| ring.replacen("\"last_number\": 1", "\"last_number\": 0", 1));
}

/// A seal that was changed on the disk: the device says so, and nothing is derived from it.
#[test]
fn changed_seal() {
    let world = World::new();
    world.edit_ring(|ring| {
        let at = ring.find("\"use\"").unwrap();
        let at = at + ring[at..].find("\"blob\": \"").unwrap() + "\"blob\": \"".len() + 200;
        let flipped = if ring[at..].starts_with('A') { "B" } else { "A" };
        format!("{}{flipped}{}", &ring[..at], &ring[at + 1..])
    });
    // A TPM can't tell a blob that was changed from another TPM's.
    world.all_refused(
        "ring-seal",
        8,
        &["derive --generation 1 backups", "verify --passphrase-file pass payroll.backup"],
    );
}

/// Another strongroom holds the lock.
#[test]
fn busy() {
    let world = World::new();
    let lock =
        std::fs::File::options().write(true).create(true).truncate(false).open(world.path("state/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let lines = ["generate --yes --passphrase-file pass new.backup", "verify --passphrase-file pass payroll.backup"];
    world.all_refused("ring-busy", 3, &lines);
    // Readers take no lock.
    world.done("derive --generation 1 backups");
    world.done("status");
}
