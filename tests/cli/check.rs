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
    let line = "generate --yes --passphrase-file pass second.backup";
    world.killed_before("linkat:signal=KILL:when=1", line);
    assert_eq!(told(&world), ["pending"]);
    let status: Value = serde_json::from_str(&world.done("status --json").stdout).unwrap();
    assert_eq!(status["log"]["open"], serde_json::json!([3]), "{status}");
}

/// As far as no PIN is needed: with one, what the chain alone shows.
#[test]
fn a_log_that_was_tampered_with() {
    let world = World::new();
    world.done("backup --passphrase-file pass second.backup");
    let log = world.read("state/audit.log");
    let lines: Vec<&str> = log.lines().collect();
    for (kind, tampered) in [
        ("cut off", lines[..2].join("\n") + "\n"),
        ("changed", log.replacen("backup", "verify", 1)),
        ("emptied", String::new()),
    ] {
        world.file("state/audit.log", tampered);
        assert_eq!(told(&world), ["audit"], "{kind}");
    }
    world.file("state/audit.log", &log);
    assert_eq!(told(&world), [] as [String; 0]);
    world.chmod("state/audit.log", 0o644);
    assert_eq!(told(&world), ["audit"]);
    for mib in [33, 65] {
        world.file("state/audit.log", vec![b' '; mib << 20]);
        let check = world.run("status --check").stdout;
        assert!(check.contains(if mib == 33 { "the log is half full" } else { "is full" }), "{check}");
    }

    let world = World::with_pin();
    let log = world.read("state/audit.log");
    world.file("state/audit.log", log.replacen("init", "verify", 1));
    assert_eq!(told(&world), ["audit"], "its hash is not what follows");
    world.file("state/audit.log", log);
    let status = world.done("status");
    assert!(status.stdout.contains("log      2 entries, none vouched for, not all checked: tpm1"), "{status}");
}

/// The TPM's owner can remove the counter, cut off what followed, and have the next ceremony make another.
#[test]
fn a_counter_that_was_removed() {
    let world = World::new();
    world.done("backup --passphrase-file pass second.backup");
    world.done("backup --passphrase-file pass third.backup");
    let tpm = world.tpm.as_ref().unwrap();
    let listing = String::from_utf8(tpm.tool_ok(&["tpm2_getcap", "handles-nv-index"])).unwrap();
    tpm.tool_ok(&["tpm2_nvundefine", listing.trim_start_matches("- ").trim()]);
    let log = world.read("state/audit.log");
    let kept: Vec<&str> = log.lines().take(4).collect();
    world.file("state/audit.log", kept.join("\n") + "\n");
    assert_eq!(told(&world), ["audit"], "it is missed");
    world.done("backup --passphrase-file pass fourth.backup");
    assert_eq!(told(&world), ["audit"], "and not forgotten");
    let verified = world.done("audit verify");
    assert!(verified.stderr.contains("warning: before entry 6 somebody removed the TPM's counter"), "{verified}");
    let verdict: Value = serde_json::from_str(&world.done("audit verify --json").stdout).unwrap();
    assert_eq!(verdict["recounted"], serde_json::json!([6]));
}

/// It is asked once, and not again for the log.
#[test]
fn a_log_without_its_device_is_not_checked_and_not_complained_about() {
    let mut world = World::new();
    world.tpm.as_mut().unwrap().power_off();
    assert_eq!(told(&world), ["device"]);
    let status = world.done("status --json");
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["log"]["entries"], 2);
    assert!(status["log"]["unchecked"].is_string(), "{status}");
}
