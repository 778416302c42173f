//! `status --check`: each thing that a monitor has to tell, one line each.

use serde_json::Value;

use crate::world::World;

/// The ids that `--check` prints, without those that every world has.
fn told(world: &World) -> Vec<String> {
    let shot = world.run("status --check");
    assert!(shot.code == Some(7) || shot.code == Some(0), "{shot}");
    assert!(shot.stderr.is_empty(), "{shot}");
    let ids = shot.stdout.lines().map(|line| line.split_once(": ").expect("an id and a text").0.to_owned());
    ids.filter(|id| id != "same-disk" && id != "low-work").collect()
}

/// Changes the ring as time, or another hand, would.
fn change(world: &World, change: impl FnOnce(&mut Value)) {
    world.edit_ring(|ring| {
        let mut ring: Value = serde_json::from_str(&ring).unwrap();
        change(&mut ring);
        serde_json::to_string_pretty(&ring).unwrap()
    });
}

#[test]
fn a_secret_older_than_a_year() {
    let world = World::new();
    assert_eq!(told(&world), [] as [String; 0]);
    change(&world, |ring| ring["generations"][0]["created"] = "2020-01-01T00:00:00Z".into());
    assert_eq!(told(&world), ["old-secret"]);
}

#[test]
fn a_drill_older_than_90_days() {
    let world = World::new();
    change(&world, |ring| ring["backups"][0]["proved"] = "2020-01-01T00:00:00Z".into());
    assert_eq!(told(&world), ["old-drill"]);
    world.done("verify --passphrase-file pass payroll.backup");
    assert_eq!(told(&world), [] as [String; 0]);
}

#[test]
fn no_proved_backup_of_the_active_generation() {
    let world = World::new();
    change(&world, |ring| ring["backups"][0]["proved"] = Value::Null);
    assert_eq!(told(&world), ["no-backup"]);
    change(&world, |ring| ring["backups"] = Value::Array(Vec::new()));
    assert_eq!(told(&world), ["no-backup"]);
    world.done("verify --passphrase-file pass payroll.backup");
    assert_eq!(told(&world), [] as [String; 0]);
}

#[test]
fn a_device_that_is_missing() {
    let mut world = World::new();
    world.tpm.as_mut().unwrap().power_off();
    assert_eq!(told(&world), ["device"]);
    world.tpm.as_mut().unwrap().power_on();
    assert_eq!(told(&world), [] as [String; 0]);
}

/// Tries, and which file burnt one; and when the next comes back.
#[test]
fn tries_that_are_low() {
    let world = World::with_pin();
    for number in 1..=2 {
        world.file(&format!("wrong-{number}"), "1357-seal\n");
        let shot = world.run(&format!("derive --generation 1 --pin-file wrong-{number} backups"));
        assert_eq!(shot.code, Some(4));
    }
    assert_eq!(told(&world), ["tries-low", "pin-refused", "pin-refused"]);
    let status = world.done("status");
    assert!(status.stdout.contains("ready, 1 PIN try left, the next comes back within 17 minutes"), "{status}");
    assert!(status.stdout.contains("not checked: generation 1"), "it would take the PIN: {status}");
}

#[test]
fn a_generation_that_is_pending() {
    let world = World::new();
    world.done("generate --yes --passphrase-file pass second.backup");
    change(&world, |ring| {
        ring["generations"][0]["state"] = "active".into();
        ring["generations"][1]["state"] = "pending".into();
    });
    assert_eq!(told(&world), ["pending"]);
}
