//! Several devices in one ring: each can serve, one can be away, one can go.

use crate::common::softhsm::USER_PIN;
use crate::snapshot::{self, Shot};
use crate::world::World;

const KEY: &str = "derive --quiet --generation 1 --pin-file hsm1=pin backups";

/// The key of `line`, which has to work; it prints nothing else.
fn key(world: &World, line: &str) -> String {
    String::from_utf8(world.done(line).raw).unwrap()
}

fn off(world: &mut World) {
    world.tpm.as_mut().unwrap().power_off();
}

fn on(world: &mut World) {
    world.tpm.as_mut().unwrap().power_on();
}

/// The token is away: its directory is, which the module takes for a machine without tokens.
fn take_token(world: &World, away: bool) {
    let tokens = world.hsm.as_ref().unwrap().tokens_dir();
    let aside = tokens.with_extension("away");
    let (from, to) = if away { (&tokens, &aside) } else { (&aside, &tokens) };
    if !away {
        std::fs::remove_dir(&tokens).unwrap();
    }
    std::fs::rename(from, to).unwrap();
    if away {
        std::fs::create_dir(&tokens).unwrap();
    }
}

/// The warnings' ids.
fn warnings(world: &World) -> Vec<String> {
    let status = &world.done("status --json").json()[0];
    let ids = status["warnings"].as_array().unwrap().iter().map(|warning| warning["id"].as_str().unwrap().to_owned());
    // Every world lies on one disk.
    ids.filter(|id| id != "same-disk" && id != "low-work").collect()
}

/// What the admin does who moves from a TPM to an HSM.
#[test]
fn moving_is_add_then_remove() {
    let mut world = World::two_devices();
    world.done("generate --yes --passphrase-file pass second.backup");
    let before = key(&world, "derive --quiet --generation 1 backups");
    let mut shots = vec![world.done("device add --yes --pin-file pin $HSM"), world.done("status")];
    off(&mut world);
    shots.push(world.done("derive --generation 1 --pin-file pin backups"));
    assert_eq!(key(&world, KEY), before);
    shots.push(world.done("device remove --yes --pin-file pin tpm1"));
    shots.push(world.done("status"));
    shots.push(world.done("derive --generation 1 --pin-file pin backups"));
    assert_eq!(key(&world, KEY), before);
    snapshot::check("moving", &shots);
    let history = std::fs::read_dir(world.path("state/history")).unwrap();
    for entry in history {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("tpm1"), "its seals leave the history too");
    }
    world.done("verify --passphrase-file pass --pin-file pin second.backup");
}

#[test]
fn a_new_generation_is_proved_on_all_of_them() {
    let world = World::on_both();
    let shot = world.done("generate --yes --passphrase-file pass --pin-file pin second.backup");
    for device in ["tpm1", "hsm1"] {
        assert!(shot.stderr.contains(&format!("proved on {device}")), "{shot}");
    }
    let shots = [shot, world.done("verify --passphrase-file pass --pin-file pin second.backup")];
    snapshot::check("generate-on-both", &shots);
    assert_eq!(warnings(&world), [] as [String; 0]);
}

#[test]
fn nothing_is_made_while_one_is_away_unless_it_is_left_behind() {
    let mut world = World::on_both();
    let before = key(&world, KEY);
    off(&mut world);
    let line = "generate --yes --passphrase-file pass --pin-file pin second.backup";
    let refused = world.run(line);
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(!world.path("second.backup").exists());
    let mut shots = vec![refused, world.done(&line.replace("generate", "generate --leave-behind tpm1"))];
    on(&mut world);
    assert_eq!(warnings(&world), ["left-behind"]);
    shots.push(world.run("status --check"));
    // The TPM still serves what it holds, and the token what the TPM lacks.
    assert!(world.done("derive --generation 1 --pin-file pin backups").stderr.lines().count() == 1);
    world.done("derive --pin-file pin backups");
    // Generation 2 is on the token alone: it stays.
    shots.push(world.run("device remove --yes --pin-file pin hsm1"));
    assert_eq!(shots.last().unwrap().code, Some(5));
    shots.push(world.done("device repair --pin-file pin tpm1"));
    shots.push(world.done("device repair --pin-file pin tpm1"));
    assert_eq!(warnings(&world), [] as [String; 0]);
    snapshot::check("left-behind", &shots);
    let second = key(&world, "derive --quiet --generation 2 --pin-file pin backups");
    take_token(&world, true);
    assert_eq!(key(&world, "derive --quiet --generation 2 backups"), second);
    assert_eq!(key(&world, "derive --quiet --generation 1 backups"), before);
}

#[test]
fn backup_and_drill_do_with_the_one_that_answers() {
    let mut world = World::on_both();
    off(&mut world);
    let shots = [
        world.done("backup --passphrase-file pass --pin-file pin other.backup"),
        world.done("verify --passphrase-file pass --pin-file pin other.backup"),
    ];
    snapshot::check("one-answers", &shots);
    take_token(&world, true);
    let line = "backup --passphrase-file pass --pin-file pin third.backup";
    world.refused("none-answers", 3, line);
}

#[test]
fn what_can_not_be_done_with_devices() {
    let world = World::on_both();
    let lines = [
        "device add --yes $TPM",
        "device add --yes --pin-file pin $HSM",
        "device remove --yes tpm2",
        "device repair hsm2",
        "generate --yes --leave-behind hsm9 --passphrase-file pass new.backup",
        "generate --yes --leave-behind hsm1 --leave-behind tpm1 --passphrase-file pass new.backup",
    ];
    let shots: Vec<Shot> = world.unchanged(|| lines.iter().map(|line| world.run(line)).collect());
    let codes: Vec<_> = shots.iter().map(|shot| shot.code).collect();
    assert_eq!(codes, [5, 5, 2, 2, 2, 2].map(Some));
    snapshot::check("devices-refused", &shots);
    let alone = World::new();
    alone.refused("last-device", 5, "device remove --yes tpm1");
}

/// Sixteen devices, and one more: the ring is full, not damaged.
#[test]
fn more_devices_than_a_ring_takes() {
    let world = World::new();
    world.edit_ring(|ring| {
        let mut ring: serde_json::Value = serde_json::from_str(&ring).unwrap();
        let devices = ring["devices"].as_array_mut().unwrap();
        for number in 2..=16 {
            let mut record = devices[0].clone();
            (record["id"], record["uri"]) =
                (format!("tpm{number}").into(), format!("tpm:device:/dev/tpm{number}").into());
            devices.push(record);
        }
        serde_json::to_string_pretty(&ring).unwrap()
    });
    world.refused("too-many-devices", 5, "device add --yes tpm:device:/dev/tpm17");
}

/// The same token under another URI is the same token.
#[test]
fn another_name_for_the_same_device() {
    let world = World::on_both();
    let hsm = world.hsm.as_ref().unwrap();
    let module = hsm.module().display();
    let shot = world.unchanged(|| {
        world.run(&format!(
            "device add --yes --pin-file pin 'pkcs11:token=payroll;model=SoftHSM%20v2?module-path={module}'"
        ))
    });
    assert_eq!(shot.code, Some(5), "{shot}");
    assert!(shot.stderr.contains("in the ring already, as hsm1"), "{shot}");
}

#[test]
fn a_pin_has_to_say_whose_it_is_where_several_ask() {
    let mut world = World::with_pin();
    world.hsm = Some(crate::common::softhsm::SoftHsm::new("payroll"));
    world.file("hsm-pin", format!("{USER_PIN}\n"));
    let shots = [
        world.unchanged(|| world.run("device add --yes --pin-file pin $HSM")),
        world.done("device add --yes --pin-file tpm1=pin --pin-file hsm1=hsm-pin $HSM"),
        world.unchanged(|| world.run("derive --generation 1 --pin-file pin backups")),
        world.unchanged(|| world.run("derive --generation 1 --pin-file hsm7=pin backups")),
        world.done("derive --generation 1 --pin-file tpm1=pin backups"),
        // The TPM's is missing, the token's is there: the token serves.
        world.done("derive --generation 1 --pin-file hsm1=hsm-pin backups"),
    ];
    snapshot::check("whose-pin", &shots);
}

/// A wrong PIN is not passed over: whoever gave it has to know, and no other device is asked.
#[test]
fn a_wrong_pin_is_not_passed_over() {
    let mut world = World::on_both();
    off(&mut world);
    world.file("wrong-pin", "9999-user\n");
    let shot = world.run("derive --generation 1 --pin-file wrong-pin backups");
    assert_eq!(shot.code, Some(4), "{shot}");
}

/// A token whose PIN is lost still answers, and would never be got rid of.
#[test]
fn a_token_whose_pin_is_lost_is_taken_out() {
    let world = World::on_both();
    let refused = world.unchanged(|| world.run("device remove --yes hsm1"));
    assert_eq!(refused.code, Some(2), "{refused}");
    let shots = [refused, world.done("device remove --yes --leave-keys hsm1")];
    snapshot::check("remove-token-without-pin", &shots);
    let args = ["--token-label", "payroll", "--login", "--pin", USER_PIN, "--list-objects", "--type", "secrkey"];
    let listed = world.hsm.as_ref().unwrap().pkcs11_tool_ok(&args);
    assert_eq!(listed.matches("Secret Key Object").count(), 2, "nothing was asked of it");
    world.done("derive --generation 1 backups");
}

#[test]
fn removing_a_token_destroys_its_wrapping_keys() {
    let world = World::on_both();
    let hsm = world.hsm.as_ref().unwrap();
    let keys = || {
        let args = ["--token-label", "payroll", "--login", "--pin", USER_PIN, "--list-objects", "--type", "secrkey"];
        hsm.pkcs11_tool_ok(&args).matches("Secret Key Object").count()
    };
    assert_eq!(keys(), 2);
    // Somebody else's key stays.
    let login = ["--token-label", "payroll", "--login", "--pin", USER_PIN];
    let make = ["--keygen", "--key-type", "AES:32", "--label", "theirs", "--id", "77"];
    hsm.pkcs11_tool_ok(&[&login[..], &make].concat());
    snapshot::check("remove-token", &[world.done("device remove --yes --pin-file pin hsm1")]);
    assert_eq!(keys(), 1);
    world.done("device add --yes --pin-file pin $HSM");
    assert_eq!(keys(), 3);
}

#[test]
fn removing_a_token_that_is_away_says_that_its_keys_stay() {
    let world = World::on_both();
    take_token(&world, true);
    let shot = world.done("device remove --yes hsm1");
    for told in ["the ring's wrapping keys stay on hsm1, which can't be reached", "copies of what was sealed on hsm1"] {
        assert!(shot.stderr.contains(told), "{shot}");
    }
    assert_eq!(warnings(&world), [] as [String; 0]);
}

/// The ring that took the place of another goes on with its wrapping keys: without them, the other's seals open no more.
#[test]
fn removing_a_token_says_what_is_lost_to_a_ring_that_was_put_aside() {
    let mut world = World::token();
    world.tpm = Some(crate::common::swtpm::Swtpm::start());
    world.done("generate --yes --passphrase-file pass --pin-file pin second.backup");
    world.done("restore --yes --replace --passphrase-file pass --pin-file pin payroll.backup");
    world.done("device add --yes --pin-file pin $TPM");
    let shot = world.done("device remove --yes --pin-file pin hsm1");
    let warned = shot.stderr.lines().find(|line| line.contains("put aside")).unwrap_or_default();
    assert!(warned.contains("none of these: generation 2 (") && warned.ends_with("of system payroll"), "{shot}");
}

/// Nothing is left behind where nothing was made, and what was begun is finished by the same command.
#[test]
fn adding_that_fails_and_adding_that_was_cut_off() {
    let world = World::two_devices();
    world.file("wrong-pin", "9999-user\n");
    let before = world.read("state/ring.json");
    let shot = world.run("device add --yes --pin-file wrong-pin $HSM");
    assert_eq!(shot.code, Some(4), "{shot}");
    let devices = |text: &str| text.matches("\"uri\"").count();
    assert_eq!(devices(&world.read("state/ring.json")), devices(&before));

    world.done("device add --yes --pin-file pin $HSM");
    // As a crash leaves it after the device was pinned: known, and nothing is sealed on it.
    world.edit_ring(|ring| {
        let mut ring: serde_json::Value = serde_json::from_str(&ring).unwrap();
        for generation in ring["generations"].as_array_mut().unwrap() {
            generation["seals"].as_array_mut().unwrap().retain(|seal| seal["device"] != "hsm1");
        }
        serde_json::to_string_pretty(&ring).unwrap()
    });
    assert_eq!(warnings(&world), ["unfinished-device"]);
    let mut shots = vec![world.run("status --check"), world.run("device repair hsm1")];
    world.done("generate --yes --passphrase-file pass second.backup");
    shots.push(world.done("device add --yes --pin-file pin $HSM"));
    snapshot::check("unfinished-device", &shots);
    assert_eq!(warnings(&world), [] as [String; 0]);
}

/// A seal that was damaged in the ring is made anew from the other device.
#[test]
fn repair_makes_damaged_seals_anew() {
    let world = World::on_both();
    let before = key(&world, KEY);
    world.edit_ring(|ring| {
        let mut ring: serde_json::Value = serde_json::from_str(&ring).unwrap();
        let blob = &mut ring["generations"][0]["seals"][0]["seal"]["use"]["blob"];
        let text = blob.as_str().unwrap().to_owned();
        let flipped = if text.ends_with("A=") { "B=" } else { "A=" };
        *blob = format!("{}{flipped}", &text[..text.len() - 2]).into();
        serde_json::to_string_pretty(&ring).unwrap()
    });
    assert_eq!(warnings(&world), ["seal"]);
    let shots = [
        world.run("status --check"),
        world.done("derive --generation 1 --pin-file pin backups"),
        world.done("device repair --pin-file pin tpm1"),
    ];
    snapshot::check("repair-damaged", &shots);
    assert_eq!(warnings(&world), [] as [String; 0]);
    assert_eq!(key(&world, KEY), before);
}

/// Where the PIN can't be proved on any seal, a repair would make seals that ask for none.
#[test]
fn repair_never_takes_a_pin_away() {
    let mut world = World::with_pin();
    world.hsm = Some(crate::common::softhsm::SoftHsm::new("payroll"));
    world.file("hsm-pin", format!("{USER_PIN}\n"));
    world.done("device add --yes --pin-file tpm1=pin --pin-file hsm1=hsm-pin $HSM");
    world.edit_ring(|ring| {
        let mut ring: serde_json::Value = serde_json::from_str(&ring).unwrap();
        ring["generations"][0]["seals"][0]["seal"]["use"]["blob"] = "AAAA".into();
        serde_json::to_string_pretty(&ring).unwrap()
    });
    world.refused("repair-pin", 6, "device repair --pin-file tpm1=pin --pin-file hsm1=hsm-pin tpm1");
    let shots = [
        world.done("device remove --yes --pin-file hsm1=hsm-pin tpm1"),
        world.done("device add --yes --with-pin --new-pin-file pin --pin-file hsm1=hsm-pin $TPM"),
    ];
    assert!(!shots[1].stderr.contains("would not on"), "{}", shots[1]);
    assert_eq!(world.run("derive --generation 1 --pin-file tpm1=pin backups").code, Some(0));
}

/// One seal that fails is no reason to give up the device: what it alone holds still comes from it.
#[test]
fn a_damaged_seal_is_not_an_absent_device() {
    let world = World::on_both();
    world.done("generate --yes --leave-behind hsm1 --passphrase-file pass second.backup");
    world.edit_ring(|ring| {
        let mut ring: serde_json::Value = serde_json::from_str(&ring).unwrap();
        for part in ["use", "export"] {
            ring["generations"][0]["seals"][0]["seal"][part]["blob"] = "AAAA".into();
        }
        serde_json::to_string_pretty(&ring).unwrap()
    });
    let shot = world.done("backup --passphrase-file pass --pin-file pin third.backup");
    assert!(shot.stderr.contains("generation 2") && shot.stderr.contains("proved on tpm1"), "{shot}");
    assert_eq!(shot.stderr.matches("tpm1 is passed over").count(), 2, "at the export, and at the proof: {shot}");
}

#[test]
fn restoring_adds_what_is_missing_to_each_of_them() {
    let world = World::on_both();
    world.keep_state("before");
    world.done("generate --yes --passphrase-file pass --pin-file pin second.backup");
    world.put_back_state("before");
    let shots = [world.done("restore --yes --passphrase-file pass --pin-file pin second.backup")];
    snapshot::check("restore-on-both", &shots);
    // The log went back with the state, and the TPM has counted what it lacks.
    assert_eq!(warnings(&world), ["audit"]);
    world.done("derive --generation 2 --pin-file pin backups");
}

#[test]
fn a_plan_says_what_a_device_with_no_pin_means() {
    let mut world = World::with_pin();
    world.hsm = Some(crate::common::softhsm::SoftHsm::new("payroll"));
    world.file("hsm-pin", format!("{USER_PIN}\n"));
    world.done("device add --yes --pin-file tpm1=pin --pin-file hsm1=hsm-pin $HSM");
    world.tpm.as_mut().unwrap().power_off();
    // The TPM was exchanged.
    world.tpm = Some(crate::common::swtpm::Swtpm::start());
    let shots = [
        world.done("device remove --yes --pin-file hsm1=hsm-pin tpm1"),
        world.done("device add --yes --pin-file hsm1=hsm-pin $TPM"),
        world.done("device remove --yes --pin-file hsm1=hsm-pin tpm1"),
        world.done("device add --yes --with-pin --new-pin-file pin --pin-file hsm1=hsm-pin $TPM"),
        world.done("derive --generation 1 --pin-file tpm1=pin backups"),
    ];
    snapshot::check("exchanged-tpm", &shots);
}
