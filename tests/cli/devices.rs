//! Devices that are not there, or not the one.

use crate::common::swtpm::PortPair;
use crate::snapshot;
use crate::world::World;

#[test]
fn a_tpm_that_does_not_answer() {
    let mut world = World::new();
    world.tpm.as_mut().unwrap().power_off();
    let lines = [
        "derive --generation 1 backups",
        "generate --yes --passphrase-file pass new.backup",
        "backup --passphrase-file pass new.backup",
        "verify --passphrase-file pass payroll.backup",
        "restore --yes --passphrase-file pass payroll.backup",
    ];
    world.all_refused("tpm-off", 3, &lines);
    // How things stand can be told without it.
    let status = world.unchanged(|| world.done("status"));
    snapshot::check("tpm-off-status", &[status]);
}

#[test]
fn no_tpm_at_that_address() {
    let world = World::bare();
    // Held, so that nobody else listens there.
    let ports = PortPair::reserve();
    let line = format!("init --device tpm:{} --passphrase-file pass new.backup", ports.tcti());
    let shot = world.unchanged(|| world.run(&line));
    assert_eq!(shot.code, Some(3), "{shot}");
    snapshot::check_text("tpm-nowhere", &shot.to_string().replace(&ports.command.to_string(), "PORT"));
    let node = world.path("tpmrm9").display().to_string();
    let shot =
        world.unchanged(|| world.run(&format!("init --device tpm:device:{node} --passphrase-file pass new.backup")));
    assert_eq!(shot.code, Some(3), "{shot}");
    snapshot::check_text("tpm-no-node", &shot.to_string().replace(&node, "DIR/tpmrm9"));
}

#[test]
fn no_device_uri() {
    let world = World::bare();
    let lines = [
        "init --device /dev/tpmrm0 new.backup",
        "init --device tpm:cmd:sh new.backup",
        "init --device 'pkcs11:token=payroll?pin-value=1234' new.backup",
        "init --device 'pkcs11:token=a;colour=red' new.backup",
    ];
    world.all_refused("device-uri", 2, &lines);
}

#[test]
fn a_tpm_that_was_cleared() {
    let world = World::new();
    world.tpm.as_ref().unwrap().clear();
    let lines = ["derive --generation 1 backups", "backup --passphrase-file pass new.backup"];
    world.all_refused("tpm-cleared", 8, &lines);
}

#[test]
fn a_tpm_that_is_another_one() {
    let mut world = World::new();
    let old = world.tpm.as_ref().unwrap().tcti();
    let other = crate::common::swtpm::Swtpm::start();
    world.edit_ring(|ring| ring.replace(&old, &other.tcti()));
    world.tpm = Some(other);
    world.refused("tpm-another", 8, "derive --generation 1 backups");
}

/// Nothing is lost: that it was cleared, and has to be restored, would be the wrong advice.
#[test]
fn a_tpm_whose_owner_hierarchy_is_off() {
    let mut world = World::new();
    world.tpm.as_ref().unwrap().tool_ok(&["tpm2_hierarchycontrol", "-C", "platform", "shEnable", "clear"]);
    world.refused("tpm-switched-off", 8, "derive --generation 1 backups");
    world.tpm.as_mut().unwrap().reboot();
    world.done("derive --generation 1 backups");
}

#[test]
fn a_tpm_without_its_storage_root_key() {
    let world = World::new();
    world.tpm.as_ref().unwrap().tool_ok(&["tpm2_evictcontrol", "-C", "o", "-c", "0x81000001"]);
    world.refused("root-removed", 8, "derive --generation 1 backups");
}

#[test]
fn no_token_matches() {
    let world = World::fresh_token();
    let module = world.hsm.as_ref().unwrap().module().display().to_string();
    let line = format!("init --device pkcs11:token=billing?module-path={module} --passphrase-file pass new.backup");
    let shot = world.unchanged(|| world.run(&line));
    assert_eq!(shot.code, Some(3), "{shot}");
    // The library is named by what it really is: Debian's path to it is a link.
    let real = std::fs::canonicalize(&module).unwrap().display().to_string();
    snapshot::check_text("no-token-matches", &shot.to_string().replace(&real, "MODULE").replace(&module, "MODULE"));
}

/// The ring knows its token by more than the label in the URI.
#[test]
fn another_token_with_the_same_label_is_not_taken_for_the_rings() {
    let world = World::token();
    let key = world.done("derive --generation 1 --pin-file pin backups").stdout;
    let hsm = world.hsm.as_ref().unwrap();
    for _ in 0..3 {
        hsm.add_token("payroll");
        assert_eq!(world.done("derive --generation 1 --pin-file pin backups").stdout, key);
    }
    world.done("generate --yes --pin-file pin --passphrase-file pass two.backup");
    world.done("doctor --pin-file pin");
    let status = world.done("status");
    assert!(!status.stdout.contains("several tokens"), "{status}");
    // Who is new to the ring is told apart by what the error says.
    let shot = world.run("device add --yes --pin-file pin $HSM");
    assert_eq!(shot.code, Some(5), "{shot}");
    let several = world.run("init --dir other --device '$HSM' --name second --passphrase-file pass other.backup");
    assert_eq!(several.code, Some(2), "{several}");
}

#[test]
fn one_of_several_is_named_by_its_serial_number() {
    let world = World::fresh_token();
    world.hsm.as_ref().unwrap().add_token("payroll");
    let line = "init --device $HSM --name payroll --pin-file pin --passphrase-file pass new.backup --json";
    let error = world.run(line).json().pop().unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    let serial = message.split("serial ").nth(1).and_then(|rest| rest.split(',').next()).expect("a serial number");
    let line = format!(
        "init --device 'pkcs11:token=payroll;serial={serial}?module-path=$MODULE' --name payroll --pin-file pin \
         --passphrase-file pass new.backup"
    );
    world.done(&line);
    world.done("derive --pin-file pin backups");
}

/// A slot is where it was when somebody looked.
#[test]
fn a_token_in_another_slot_is_found_by_what_was_pinned() {
    let world = World::faulty_token();
    let slots = world.hsm.as_ref().unwrap().pkcs11_tool_ok(&["--list-token-slots"]);
    let slot = slots.split("(0x").nth(1).and_then(|rest| rest.split(')').next()).expect("a slot");
    let slot = u64::from_str_radix(slot, 16).unwrap();
    let device = format!("'pkcs11:token=payroll;slot-id={slot}?module-path=$MODULE'");
    world.done(&format!("init --device {device} --name payroll --pin-file pin --passphrase-file pass payroll.backup"));
    world.faults().set(&["C_Initialize 1 move 7"]);
    world.done("derive --generation 1 --pin-file pin backups");
    world.done("doctor --pin-file pin");
    // Whoever is new is taken by the slot that was named.
    let shot = world.run(&format!("init --dir other --device {device} --name second --passphrase-file pass b"));
    assert_eq!(shot.code, Some(3), "{shot}");
}

#[test]
fn several_tokens_match() {
    let world = World::fresh_token();
    let hsm = world.hsm.as_ref().unwrap();
    hsm.add_token("payroll");
    let shot = world.unchanged(|| world.run("init --device $HSM --passphrase-file pass new.backup"));
    assert_eq!(shot.code, Some(2), "{shot}");
    // The tokens come in the order of their slots' numbers, which are drawn.
    snapshot::check("several-tokens-match", &[shot]);
}

#[test]
fn a_module_that_is_none() {
    let world = World::fresh_token();
    let lines = [
        "init --device 'pkcs11:token=payroll?module-path=/nowhere/libhsm.so' --passphrase-file pass new.backup",
        "init --device 'pkcs11:token=payroll?module-name=nowhere' --passphrase-file pass new.backup",
    ];
    world.all_refused("no-module", 3, &lines);
}

#[test]
fn a_token_that_was_wiped() {
    let world = World::token();
    world.hsm.as_ref().unwrap().wipe();
    let line = "derive --generation 1 --pin-file pin backups";
    world.refused("token-wiped", 8, line);
}

#[test]
fn a_blank_token() {
    let mut world = World::bare();
    world.hsm = Some(crate::common::softhsm::SoftHsm::uninitialised());
    world.refused("token-blank", 8, "init --device $HSM --passphrase-file pass new.backup");
}

#[test]
fn device_list_shows_what_is_there() {
    let mut world = World::fresh();
    world.hsm = Some(crate::common::softhsm::SoftHsm::new("payroll"));
    let list = |line: &str| {
        let mut command = world.command(line);
        command.env("TPM2TOOLS_TCTI", world.tpm.as_ref().unwrap().tcti());
        world.unchanged(|| world.run_as(line, command))
    };
    let shot = list("device list");
    assert_eq!(shot.code, Some(0), "{shot}");
    // Whatever else this machine has: these two are among it.
    let ours = |line: &&str| line.starts_with("$TPM") || (line.starts_with("pkcs11:") && line.contains("payroll"));
    let ours: Vec<&str> = shot.stdout.lines().filter(ours).collect();
    snapshot::check_text("device-list", &(ours.join("\n") + "\n"));
    let json = &list("device list --json").json()[0];
    assert_eq!(json["schema"], "strongroom.devices/1");
    let tpm = world.tpm.as_ref().unwrap().uri();
    let found = json["devices"].as_array().unwrap().iter().find(|device| device["uri"] == tpm.as_str()).unwrap();
    assert_eq!(found["description"]["lacks"], serde_json::json!([]), "{found}");
    assert!(found["trouble"].is_null());
}

#[test]
fn nothing_found() {
    // No TPM tools' variable, and SoftHSM finds no token without its configuration.
    let world = World::bare();
    let shot = world.unchanged(|| world.run("device list"));
    // What a machine has besides is its own affair: only that nothing crashes is the same everywhere.
    assert!([Some(0), Some(2)].contains(&shot.code), "{shot}");
}
