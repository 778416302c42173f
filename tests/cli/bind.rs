//! Seals and PCRs: bound, unbound, broken by an update, and bound again.

use serde_json::Value;

use crate::snapshot;
use crate::world::World;

/// What an update does to the boot: PCR 7 holds something else.
fn update(world: &World) {
    let value = format!("7:sha256={}", "ab".repeat(32));
    world.tpm.as_ref().expect("a TPM").tool_ok(&["tpm2_pcrextend", &value]);
}

fn key(world: &World, generation: u32) -> String {
    world.done(&format!("derive --quiet --generation {generation} backups")).stdout
}

fn warnings(world: &World) -> Vec<String> {
    let status: Value = serde_json::from_str(&world.done("status --json").stdout).unwrap();
    let ids = status["warnings"].as_array().unwrap().iter().map(|warning| warning["id"].as_str().unwrap().to_owned());
    ids.filter(|id| id != "same-disk" && id != "low-work").collect()
}

#[test]
fn an_update_that_comes_first_is_explained_and_mended_from_a_backup() {
    let world = World::new();
    world.done("generate --yes --passphrase-file pass two.backup");
    let keys = [key(&world, 1), key(&world, 2)];
    let mut shots = vec![world.done("bind --yes --pcrs 7"), world.done("status")];
    assert_eq!(([key(&world, 1), key(&world, 2)], warnings(&world)), (keys.clone(), vec![]));

    update(&world);
    shots.push(world.unchanged(|| world.run("derive --generation 2 backups")));
    assert_eq!(shots.last().unwrap().code, Some(8));
    assert_eq!(warnings(&world), ["pcrs-changed"]);
    shots.push(world.run("status --check"));
    shots.push(world.run("bind --yes"));
    assert_eq!(shots.last().unwrap().code, Some(8), "the seals don't open");
    shots.push(world.done("bind --yes --from two.backup --passphrase-file pass"));
    assert_eq!(([key(&world, 1), key(&world, 2)], warnings(&world)), (keys, vec![]));
    world.done("audit verify");
    snapshot::check("bind", &shots);
}

#[test]
fn unbound_before_an_update_and_bound_after_it() {
    let world = World::fresh();
    world.done("init --device $TPM --name payroll --pcrs 7 --passphrase-file pass payroll.backup");
    let before = key(&world, 1);
    let mut shots = vec![world.done("unbind --yes"), world.run("status --check")];
    update(&world);
    assert_eq!(key(&world, 1), before);
    // Asked for twice, it remembers which they were.
    world.done("unbind --yes");
    shots.push(world.done("bind --yes"));
    assert_eq!((key(&world, 1), warnings(&world)), (before, vec![]));
    update(&world);
    assert_eq!(world.run("derive --generation 1 backups").code, Some(8), "it is bound");
    snapshot::check("unbind", &shots);
}

/// The old seals, which would open whatever the PCRs hold, are gone from the ring and its history.
#[test]
fn what_is_bound_leaves_no_old_seal_behind() {
    let world = World::new();
    let ring: Value = serde_json::from_str(&world.read("state/ring.json")).unwrap();
    let old = ring["generations"][0]["seals"][0]["seal"]["use"]["blob"].as_str().unwrap().to_owned();
    world.done("bind --yes --pcrs 7");
    for entry in std::fs::read_dir(world.path("state/history")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains(&old));
    }
    assert!(!world.read("state/ring.json").contains(&old));
}

#[test]
fn what_is_new_is_bound_as_the_old_is() {
    let world = World::new();
    world.done("bind --yes --pcrs 7");
    let shots = [world.done("generate --yes --passphrase-file pass two.backup")];
    snapshot::check("generate-bound", &shots);
    let other = World::fresh();
    std::fs::copy(world.path("two.backup"), other.path("two.backup")).unwrap();
    other.done("restore --yes --device $TPM --pcrs sha384:7 --passphrase-file pass two.backup");
    assert_eq!(key(&world, 2), key(&other, 2));
    update(&world);
    assert_eq!(world.run("derive --generation 2 backups").code, Some(8), "the new generation too");
    assert_eq!(key(&other, 2), key(&other, 2), "the update was of the other");
}

#[test]
fn generate_can_bind_the_new_one_alone() {
    let world = World::new();
    world.done("generate --yes --pcrs 7 --passphrase-file pass two.backup");
    update(&world);
    key(&world, 1);
    assert_eq!(world.run("derive --generation 2 backups").code, Some(8));
}

#[test]
fn a_pin_stays_and_out_of_a_backup_it_is_chosen_anew() {
    let world = World::with_pin();
    world.done("bind --yes --pcrs 7 --pin-file pin");
    let before = world.done("derive --quiet --generation 1 --pin-file pin backups").stdout;
    update(&world);
    assert_eq!(world.run("derive --generation 1 --pin-file pin backups").code, Some(8));
    assert_eq!(world.run("bind --yes --pin-file pin").code, Some(8));
    world.file("other", "1357-seal\n");
    world.done("bind --yes --from payroll.backup --passphrase-file pass --new-pin-file other");
    assert_eq!(world.done("derive --quiet --generation 1 --pin-file other backups").stdout, before);
    assert_eq!(world.run("derive --generation 1 --pin-file pin backups").code, Some(4), "the old one is no more");
}

/// Before anybody types a PIN.
#[test]
fn that_pcrs_have_changed_is_seen_without_the_pin() {
    let world = World::with_pin();
    world.done("bind --yes --pcrs 7 --pin-file pin");
    let seals = || world.done("status --json").json()[0]["devices"][0]["seals"].clone();
    assert_eq!((seals()[0]["state"].as_str(), warnings(&world)), (Some("not-checked"), vec![]));
    world.done("generate --yes --pin-file pin --passphrase-file pass two.backup");
    update(&world);
    assert_eq!(warnings(&world), ["pcrs-changed"]);
    assert!(seals().as_array().unwrap().iter().all(|seal| seal["state"] == "pcrs-changed"), "{}", seals());
    let doctor = world.unchanged(|| world.run("doctor"));
    assert_eq!(doctor.code, Some(8), "{doctor}");
    assert!(doctor.stdout.contains("TROUBLE  pcrs: tpm1: the machine was started otherwise"), "{doctor}");
    assert!(doctor.stdout.contains("ok       lockout: 3 of 3 tries"), "{doctor}");
}

#[test]
fn another_device_serves_and_mends() {
    let world = World::on_both();
    world.done("bind --yes --pcrs 7 --pin-file pin");
    update(&world);
    let derived = world.done("derive --generation 1 --pin-file pin backups");
    assert!(derived.stderr.contains("tpm1 does not serve: the machine was started otherwise"), "{derived}");
    let bound = world.done("bind --yes --pin-file hsm1=pin");
    assert!(bound.stderr.contains("tpm1 is passed over"), "{bound}");
    assert_eq!(warnings(&world), [] as [String; 0]);
}

#[test]
fn what_can_not_be_bound_is_refused() {
    let world = World::on_both();
    world.all_refused(
        "bind-refused",
        2,
        &[
            "bind --yes",
            "bind --yes --device hsm1 --pcrs 7",
            "bind --yes --pcrs 7+24",
            "bind --yes --pcrs 7,14",
            "bind --yes --pcrs sha1:7",
        ],
    );
    let world = World::token();
    world.all_refused(
        "bind-token",
        2,
        &["bind --yes --pcrs 7", "generate --yes --pcrs 7 --passphrase-file pass x.backup"],
    );
}

#[test]
fn another_systems_backup_is_refused() {
    let (world, other) = (World::new(), World::new());
    std::fs::copy(other.path("payroll.backup"), world.path("other.backup")).unwrap();
    world.refused("bind-other-system", 5, "bind --yes --pcrs 7 --from other.backup --passphrase-file pass");
}

/// No passphrase is typed for what can't come to its end.
#[test]
fn that_pcrs_have_changed_is_told_before_anybody_is_asked() {
    let world = World::new();
    world.done("bind --yes --pcrs 7");
    update(&world);
    let other = World::fresh();
    let added = format!("device add {}", other.tpm.as_ref().unwrap().uri());
    for line in ["backup new.backup", "generate new.backup", "bind", "unbind", added.as_str()] {
        let shot = world.unchanged(|| world.run(line));
        assert_eq!(shot.code, Some(8), "{shot}");
        let first = shot.stderr.lines().next().unwrap();
        assert!(first.starts_with("error: tpm1: the machine was started otherwise"), "{shot}");
    }
}

/// What was made since then is in a newer backup only.
#[test]
fn a_backup_that_is_too_old_is_refused() {
    let world = World::new();
    world.done("generate --yes --pcrs 7 --passphrase-file pass two.backup");
    update(&world);
    world.refused("bind-too-old", 8, "bind --yes --from payroll.backup --passphrase-file pass");
    world.done("bind --yes --from two.backup --passphrase-file pass");
    key(&world, 2);
}

/// Where no seal opens any more, the ring still says what they were bound to.
#[test]
fn a_repair_binds_as_before() {
    let world = World::on_both();
    world.done("bind --yes --pcrs 7");
    let ring = || serde_json::from_str::<serde_json::Value>(&world.read("state/ring.json")).unwrap();
    let on_tpm = |ring: &serde_json::Value| {
        let seals = ring["generations"][0]["seals"].as_array().unwrap();
        seals.iter().position(|seal| seal["device"] == "tpm1").unwrap()
    };
    let mut damaged = ring();
    let at = on_tpm(&damaged);
    damaged["generations"][0]["seals"][at]["seal"]["use"]["blob"] = "AAAA".into();
    world.edit_ring(|_| serde_json::to_string_pretty(&damaged).unwrap());
    world.done("device repair --pin-file pin tpm1");
    let after = ring();
    let guard = &after["generations"][0]["seals"][on_tpm(&after)]["seal"]["use"]["guard"];
    assert!(guard.to_string().contains("\"pcrs\""), "{guard}");
}
