//! What a device says no with: each kind of no has words of its own, and something to do. Those of PINs are in `pins.rs`, of PCRs
//! in `bind.rs`, of devices that are gone, cleared or exchanged in `devices.rs`.

use crate::admin::as_nobody;
use crate::common::faulty::{self, Faulty};
use crate::common::meddler::{Act, Meddler};
use crate::common::pty::Pty;
use crate::prompts::SOON;
use crate::snapshot::{self, Shot};
use crate::world::World;

const DERIVE: &str = "derive --generation 1 backups";
const INIT: &str = "--name payroll --passphrase-file pass payroll.backup";

/// Compares what was refused, with a place that differs from run to run shown as `place`.
fn compare(name: &str, shot: &Shot, place: &str) {
    snapshot::check_text(name, &shot.to_string().replace(place, "PLACE"));
}

/// `line` on a ring whose TPM is reached through `bus`.
fn through(world: &World, bus: &Meddler, name: &str, line: &str) -> Shot {
    let direct = world.tpm.as_ref().unwrap().uri();
    world.edit_ring(|ring| ring.replace(&direct, &bus.uri()));
    let shot = world.unchanged(|| world.run(line));
    compare(name, &shot, &bus.uri());
    shot
}

#[test]
fn firmware_without_a_command() {
    let world = World::fresh();
    // TPM2_GetCapability(TPM_CAP_COMMANDS, TPM2_HMAC): it names the next command that it has.
    let bus = Meddler::start(world.tpm.as_ref().unwrap(), |command| match command.bytes.get(10..18) {
        Some([0, 0, 0, 2, 0, 0, 1, 0x55]) => Act::Response(|answer| answer[22] = 0x57),
        _ => Act::Pass,
    });
    let shot = world.unchanged(|| world.run(&format!("init --device {} {INIT}", bus.uri())));
    assert_eq!(shot.code, Some(8), "{shot}");
    compare("firmware-lacks-command", &shot, &bus.uri());
}

/// Linux does not send such a command to the TPM, and answers in its place, in a layer of its own.
#[test]
fn a_command_that_the_resource_manager_does_not_pass_on() {
    let world = World::new();
    // TPM2_HMAC.
    let bus = Meddler::start(world.tpm.as_ref().unwrap(), |command| match command.code {
        0x155 => Act::Answer(0x000b_0143),
        _ => Act::Pass,
    });
    assert_eq!(through(&world, &bus, "manager-lacks-command", DERIVE).code, Some(8));
    let explained = world.done("explain 0xb0143");
    assert!(explained.stdout.starts_with("code     TPM_RC_COMMAND_CODE (0xb0143), of a TPM\n"), "{explained}");
}

#[test]
fn no_permission_on_the_device() {
    // `daemon`, on every Debian.
    let (shot, node) = derived_by_nobody(1);
    assert_eq!(shot.code, Some(5), "{shot}");
    compare("no-permission", &shot, &node);
}

/// Debian gives `/dev/tpm0` to it.
#[test]
fn nobody_is_told_to_join_the_group_of_root() {
    let (shot, _) = derived_by_nobody(0);
    assert_eq!((shot.code, shot.stderr.lines().last()), (Some(5), Some("hint: run it as root")), "{shot}");
}

/// What somebody is told who has a ring and may not use its device, and the device's node, which `group` may use. A file stands
/// for it: its permissions are what is looked at.
fn derived_by_nobody(group: u32) -> (Shot, String) {
    let world = World::new();
    let node = world.file("tpmrm7", "");
    world.chmod("tpmrm7", 0o660);
    std::os::unix::fs::chown(&node, Some(0), Some(group)).unwrap();
    let direct = world.tpm.as_ref().unwrap().uri();
    let uri = format!("tpm:device:{}", node.display());
    world.edit_ring(|ring| ring.replace(&direct, &uri));
    let state = world.path("state");
    for entry in std::fs::read_dir(&state).unwrap() {
        std::os::unix::fs::chown(entry.unwrap().path(), Some(65534), Some(65534)).unwrap();
    }
    std::os::unix::fs::chown(&state, Some(65534), Some(65534)).unwrap();
    (as_nobody(&world, DERIVE), node.display().to_string())
}

/// Somebody sits at a PIN prompt, and has the device open.
#[test]
fn a_device_that_is_busy() {
    let world = World::with_pin();
    let mut command = world.command(DERIVE);
    command.env("TERM", "dumb");
    let mut sitting = Pty::spawn(command);
    sitting.expect("PIN", SOON);
    world.refused("device-busy", 3, "derive --generation 1 --pin-file pin backups");
    sitting.interrupt();
    sitting.finish();
    world.done("derive --generation 1 --pin-file pin backups");
}

#[test]
fn a_policy_that_is_not_met() {
    let world = World::new();
    // TPM2_HMAC, answered with TPM_RC_POLICY_FAIL for the first session.
    let bus = Meddler::start(world.tpm.as_ref().unwrap(), |command| match command.bytes.get(6..10) {
        Some([0, 0, 1, 0x55]) => Act::Answer(0x99d),
        _ => Act::Pass,
    });
    assert_eq!(through(&world, &bus, "policy-not-met", DERIVE).code, Some(8));
}

#[test]
fn a_code_that_has_no_verdict_of_its_own() {
    let world = World::new();
    // TPM_RC_FAILURE, at the same command.
    let bus = Meddler::start(world.tpm.as_ref().unwrap(), |command| match command.bytes.get(6..10) {
        Some([0, 0, 1, 0x55]) => Act::Answer(0x101),
        _ => Act::Pass,
    });
    assert_eq!(through(&world, &bus, "device-failed", DERIVE).code, Some(1));
}

#[test]
fn a_bank_that_is_switched_off() {
    let mut world = World::fresh();
    let tpm = world.tpm.as_mut().unwrap();
    tpm.tool_ok(&["tpm2_pcrallocate", "-Q", "sha1:none+sha256:all+sha384:none+sha512:none"]);
    tpm.power_cycle();
    world.refused("no-pcr-bank", 8, &format!("init --device $TPM --pcrs sha384:7 {INIT}"));
}

/// A key that can sign is no parent that only a TPM could have: whose it is, nobody knows.
#[test]
fn a_root_key_that_can_not_be_trusted() {
    let world = World::fresh();
    let tpm = world.tpm.as_ref().unwrap();
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
    tpm.tool_ok(&["tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc", "-a", attributes, "-c", "key"]);
    tpm.tool_ok(&["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "key", "0x81000001"]);
    tpm.flush();
    world.refused("device-untrusted", 8, &format!("init --device $TPM {INIT}"));
}

#[test]
fn a_token_that_takes_no_key_and_one_that_is_locked() {
    let world = World::fresh_token();
    let faulty = Faulty::before(world.hsm.as_ref().unwrap());
    let uri = faulty.uri("payroll");
    let path = uri.split_once("module-path=").unwrap().1.to_owned();
    let refused = |rules: &[&str], name: &str, line: &str| {
        faulty.set(rules);
        let mut command = world.command(line);
        command.env(faulty::VARIABLE, faulty.rules());
        let shot = world.run_as(&line.replace(&uri, "$FAULTY"), command);
        assert_eq!(shot.code, Some(8), "{shot}");
        compare(name, &shot, &path);
    };
    let init = format!("init --device '{uri}' --pin-file pin {INIT}");
    refused(&["C_GenerateKey * return 0xe2"], "device-write-protected", &init);
    refused(&["C_GetTokenInfo * flags LOCKED"], "token-locked", &init);
    assert_eq!(faulty.count("C_Login"), 1, "a locked token gets no PIN: that was the one before");
}
