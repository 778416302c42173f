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

/// A whole seal in another's place opens, and gives another generation. A token's is known by its id at each use; a TPM's goes
/// by the Name in the seal, and `status` and a drill see it.
#[test]
fn seals_that_changed_places() {
    let swap = |world: &World| {
        world.edit_ring(|ring| {
            let mut ring: serde_json::Value = serde_json::from_str(&ring).unwrap();
            let seals = [0, 1].map(|index| ring["generations"][index]["seals"].clone());
            let [first, second] = seals;
            (ring["generations"][0]["seals"], ring["generations"][1]["seals"]) = (second, first);
            serde_json::to_string_pretty(&ring).unwrap()
        });
    };
    let token = World::token();
    token.done("generate --yes --passphrase-file pass --pin-file pin second.backup");
    swap(&token);
    let lines = ["derive --generation 1 --pin-file pin backups", "derive --generation 2 --pin-file pin backups"];
    token.all_refused("seals-swapped", 6, &lines);

    let tpm = World::new();
    tpm.done("generate --yes --passphrase-file pass second.backup");
    swap(&tpm);
    let status = tpm.done("status").stdout;
    assert!(status.contains("FAILS: generations 1-2"), "{status}");
    let drill = tpm.run("verify --passphrase-file pass second.backup");
    assert!(drill.code == Some(6) && drill.stderr.contains("its seal gives another generation"), "{drill}");
}

/// Another ceremony ends between a plan and its execution: what was agreed to is not so any more.
#[test]
fn a_ring_that_was_changed_since_the_plan() {
    let world = World::new();
    let fifo = world.path("late");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
    let mut late = world.command("generate --yes --passphrase-file late second.backup");
    let late = late.stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It opens once the plan was made: opening the other end waits for that.
    let mut passphrase = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    world.done("backup --passphrase-file pass other.backup");
    let ring = world.read("state/ring.json");
    std::io::Write::write_all(&mut passphrase, world.read("pass").as_bytes()).unwrap();
    drop(passphrase);
    let late = late.wait_with_output().unwrap();
    assert_eq!(late.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&late.stderr).contains("the ring was changed by another strongroom"));
    assert!(world.read("state/ring.json") == ring && !world.path("second.backup").exists());
}
