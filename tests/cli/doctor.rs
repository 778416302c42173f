//! `strongroom doctor`: each thing that can be wrong between the user and a device, and that looking changes nothing.

use std::fs;
use std::os::unix::fs::chown;

use serde_json::Value;

use crate::admin::as_nobody;
use crate::common::faulty::{self, Faulty};
use crate::common::meddler::{Act, Meddler};
use crate::common::softhsm::{SoftHsm, USER_PIN};
use crate::common::swtpm::{PortPair, Swtpm};
use crate::snapshot::{self, Shot};
use crate::world::World;

/// Runs it, shows that nothing was changed, and gives what it said.
pub fn examined(world: &World, line: &str, code: i32) -> Shot {
    let shot = world.unchanged(|| world.run(line));
    assert_eq!(shot.code, Some(code), "{shot}");
    shot
}

/// The checks with an id, of the first device, as programs get them.
fn checks(shot: &Shot, id: &str) -> Vec<Value> {
    let found = &shot.json()[0];
    assert_eq!(found["schema"], "strongroom.doctor/1");
    let checks = found["devices"][0]["checks"].as_array().unwrap();
    checks.iter().filter(|check| check["id"] == id).cloned().collect()
}

#[test]
fn a_tpm_that_is_well() {
    let world = World::fresh();
    let fresh = examined(&world, "doctor $TPM", 0);
    world.done("init --device $TPM --name payroll --passphrase-file pass payroll.backup");
    let shots = [fresh, examined(&world, "doctor", 0), examined(&world, "doctor tpm1", 0)];
    snapshot::check("doctor-tpm", &shots);
    let shot = examined(&world, "doctor --json", 0);
    let [root] = &checks(&shot, "root-key")[..] else { panic!("{shot}") };
    assert_eq!(root["verdict"], "ok");
    let found = &shot.json()[0];
    assert_eq!((&found["trouble"], &found["devices"][0]["ring_device"]), (&Value::Bool(false), &"tpm1".into()));
}

#[test]
fn another_tpm_and_one_that_was_cleared() {
    let mut world = World::new();
    world.tpm.as_ref().unwrap().clear();
    let cleared = examined(&world, "doctor tpm1", 8);
    world.done("restore --replace --yes --device $TPM --passphrase-file pass payroll.backup");
    let old = world.tpm.as_ref().unwrap().tcti();
    let other = Swtpm::start();
    world.edit_ring(|ring| ring.replace(&old, &other.tcti()));
    world.tpm = Some(other);
    let without_key = examined(&world, "doctor", 8);
    let tpm = world.tpm.as_ref().unwrap();
    tpm.tool_ok(&["tpm2_createprimary", "-Q", "--hierarchy=o", "--key-algorithm=rsa", "--key-context=srk"]);
    tpm.flush();
    tpm.tool_ok(&["tpm2_evictcontrol", "-Q", "--object-context=srk", "0x81000001"]);
    tpm.flush();
    let with_key = examined(&world, "doctor tpm1", 8);
    // By itself it is well: the key that another program made serves too.
    let by_itself = World::bare().done(&format!("doctor {}", tpm.uri()));
    assert!(by_itself.stdout.contains("RSA, made by another program: it serves as well"), "{by_itself}");
    snapshot::check("doctor-other-tpm", &[cleared, without_key, with_key]);
}

#[test]
fn a_tpm_with_few_tries_and_a_locked_one() {
    let world = World::with_pin();
    let wrong = |number: u32| {
        world.file(&format!("wrong-{number}"), "1357-seal\n");
        let last = if number == 2 { " --use-last-try" } else { "" };
        let shot = world.run(&format!("derive --generation 1{last} --pin-file wrong-{number} backups"));
        assert_eq!(shot.code, Some(4), "{shot}");
    };
    wrong(0);
    wrong(1);
    let last = examined(&world, "doctor", 0);
    wrong(2);
    let locked = examined(&world, "doctor", 8);
    snapshot::check("doctor-lockout", &[last, locked]);
    // Looking burns no try.
    let tries = |shot: &Shot| checks(shot, "lockout")[0]["text"].clone();
    assert_eq!(tries(&examined(&world, "doctor --json", 8)), tries(&examined(&world, "doctor --json", 8)));
}

#[test]
fn pcrs_that_seals_are_bound_to() {
    let world = World::new();
    world.done("bind --yes --pcrs 7");
    let holds = examined(&world, "doctor", 0);
    let tpm = world.tpm.as_ref().unwrap();
    tpm.tool_ok(&["tpm2_pcrextend", &format!("7:sha256={}", "ab".repeat(32))]);
    let changed = examined(&world, "doctor", 8);
    assert_eq!(checks(&examined(&world, "doctor --json $TPM", 8), "pcrs")[0]["verdict"], "trouble");
    world.done("bind --yes --from payroll.backup --passphrase-file pass");
    world.done("unbind --yes");
    snapshot::check("doctor-pcrs", &[holds, changed, examined(&world, "doctor", 0)]);
    // Of a TPM that is not the one, its PCRs say nothing.
    world.done("bind --yes --pcrs 7");
    world.tpm.as_ref().unwrap().clear();
    let cleared = examined(&world, "doctor --json", 8);
    assert_eq!(checks(&cleared, "pcrs")[0]["verdict"], "skipped", "{cleared}");
}

#[test]
fn the_owner_has_a_password() {
    let world = World::fresh();
    world.tpm.as_ref().unwrap().tool_ok(&["tpm2_changeauth", "-c", "owner", "secret"]);
    let without_key = examined(&world, "doctor $TPM", 8);
    let world = World::new();
    world.tpm.as_ref().unwrap().tool_ok(&["tpm2_changeauth", "-c", "owner", "secret"]);
    let with_key = examined(&world, "doctor", 0);
    world.tpm.as_ref().unwrap().tool_ok(&["tpm2_hierarchycontrol", "-C", "platform", "shEnable", "clear"]);
    snapshot::check("doctor-owner", &[without_key, with_key, examined(&world, "doctor", 8)]);
}

#[test]
fn a_tpm_that_is_not_to_be_had() {
    let mut world = World::new();
    world.tpm.as_mut().unwrap().power_off();
    let off = world.run("doctor");
    assert_eq!(off.code, Some(8), "{off}");
    let node = world.path("tpmrm9").display().to_string();
    let named = format!("doctor tpm:device:{node}");
    let mut shots: Vec<Shot> = [&*named, "doctor tpm2", "doctor /dev/tpmrm9"].map(|line| world.run(line)).into();
    // The kernel has given another number.
    world.file("tpmrm10", "");
    shots.push(world.run(&named));
    assert_eq!(shots.iter().map(|shot| shot.code).collect::<Vec<_>>(), [Some(8), Some(2), Some(2), Some(8)]);
    for shot in &mut shots {
        shot.line = shot.line.replace(&node, "DIR/tpmrm9");
    }
    snapshot::check("doctor-no-tpm", &[&[off][..], &shots].concat());
}

#[test]
fn nobody_answers_at_an_address() {
    let world = World::bare();
    // Held, so that nobody else listens there.
    let ports = PortPair::reserve();
    let shot = examined(&world, &format!("doctor --json tpm:{}", ports.tcti()), 8);
    let [connection] = &checks(&shot, "connection")[..] else { panic!("{shot}") };
    assert_eq!(connection["verdict"], "trouble");
    assert_eq!(connection["code"], "TSS2_TCTI_RC_IO_ERROR (0xa000a)");
}

/// A file stands for the device node: the permissions are what is looked at.
#[test]
fn no_permission_on_the_node() {
    let world = World::bare();
    let node = world.file("tpmrm7", "");
    world.chmod("tpmrm7", 0o660);
    // `daemon`, on every Debian.
    chown(&node, Some(0), Some(1)).unwrap();
    let line = format!("doctor tpm:device:{}", node.display());
    let shot = as_nobody(&world, &line);
    assert_eq!(shot.code, Some(8), "{shot}");
    snapshot::check_text("doctor-no-permission", &shot.to_string().replace(&node.display().to_string(), "NODE"));
}

/// Nothing is written to it.
#[test]
fn a_node_that_is_no_tpm() {
    let world = World::bare();
    let node = world.file("node", "somebody's letters");
    let shot = examined(&world, &format!("doctor tpm:device:{}", node.display()), 8);
    snapshot::check_text("doctor-no-device", &shot.to_string().replace(&node.display().to_string(), "NODE"));
}

#[test]
fn a_tpm_without_hmac() {
    let world = World::fresh();
    // TPM2_GetCapability(TPM_CAP_COMMANDS, TPM2_HMAC): it names the next command that it has. The same for TPM2_PCR_Read.
    let bus = Meddler::start(world.tpm.as_ref().unwrap(), |command| match command.bytes.get(10..18) {
        Some([0, 0, 0, 2, 0, 0, 1, 0x55]) => Act::Response(|answer| answer[22] = 0x57),
        Some([0, 0, 0, 2, 0, 0, 1, 0x7e]) => Act::Response(|answer| answer[22] = 0x7f),
        _ => Act::Pass,
    });
    let shot = world.run(&format!("doctor {}", bus.uri()));
    assert_eq!(shot.code, Some(8), "{shot}");
    let (bus, own) = (bus.uri(), "$BUS");
    let tcti = bus.strip_prefix("tpm:").unwrap();
    snapshot::check_text("doctor-no-hmac", &shot.to_string().replace(&bus, own).replace(tcti, "$TCTI"));
}

#[test]
fn a_tpm_in_failure_mode_and_one_that_hangs_up() {
    let world = World::fresh();
    let bus = Meddler::start(world.tpm.as_ref().unwrap(), |_| Act::Answer(crate::common::meddler::FAILURE));
    let shot = world.run(&format!("doctor --json {}", bus.uri()));
    let [maker] = &checks(&shot, "maker")[..] else { panic!("{shot}") };
    assert_eq!((&maker["verdict"], &maker["code"]), (&"trouble".into(), &"TPM_RC_FAILURE (0x101)".into()));
    assert!(maker["remedy"].is_string(), "what the code's explanation says: {maker}");
    bus.decide(|command| if command.nth < 5 { Act::Pass } else { Act::HangUp });
    let shot = world.run(&format!("doctor --json {}", bus.uri()));
    assert_eq!(shot.code, Some(8), "{shot}");
    assert_eq!(checks(&shot, "lockout")[0]["verdict"], "skipped", "it is not asked on and on: {shot}");
}

/// As behind the kernel's resource manager, which keeps many programs' sessions in memory of its own.
#[test]
fn others_have_all_sessions() {
    let world = World::new();
    let bus = Meddler::start(world.tpm.as_ref().unwrap(), |command| match command.bytes.get(10..18) {
        // TPM2_GetCapability(TPM_CAP_TPM_PROPERTIES) from what changes on: of it, TPM_PT_HR_ACTIVE_AVAIL.
        Some([0, 0, 0, 6, 0, 0, 2, 0]) => Act::Response(|answer| {
            let at = answer.windows(4).position(|bytes| *bytes == [0, 0, 2, 6]).unwrap();
            answer[at + 4..at + 8].fill(0);
        }),
        _ => Act::Pass,
    });
    let shot = world.run(&format!("doctor --json {}", bus.uri()));
    let [slots] = &checks(&shot, "slots")[..] else { panic!("{shot}") };
    assert_eq!(slots["verdict"], "note");
    assert_eq!(slots["text"], "other programs have begun all the sessions that the TPM can keep");
    assert_eq!(shot.code, Some(0), "they end: {shot}");
}

#[test]
fn slots_full_of_leftovers() {
    let world = World::new();
    let tpm = world.tpm.as_ref().unwrap();
    for number in 0..3 {
        let context = format!("key{number}");
        tpm.tool_ok(&["tpm2_createprimary", "-Q", "--hierarchy=n", "--key-context", &context]);
    }
    snapshot::check("doctor-slots", &[examined(&world, "doctor", 0)]);
    // And so it is: they are no trouble.
    world.done("derive --generation 1 backups");
}

#[test]
fn a_token_that_is_well() {
    let world = World::fresh_token();
    let fresh = examined(&world, "doctor $HSM", 0);
    world.done("init --device $HSM --name payroll --pin-file pin --passphrase-file pass payroll.backup");
    let shots = [fresh, examined(&world, "doctor", 0), examined(&world, "doctor --pin-file pin hsm1", 0)];
    snapshot::check("doctor-token", &shots);
}

#[test]
fn a_wrong_pin_is_sent_once() {
    let world = World::token();
    world.file("wrong", "9999\n");
    let shots = [examined(&world, "doctor --pin-file wrong", 8), examined(&world, "doctor --pin-file wrong", 8)];
    snapshot::check("doctor-wrong-pin", &shots);
}

#[test]
fn a_token_that_was_wiped() {
    let world = World::token();
    world.hsm.as_ref().unwrap().wipe();
    let shot = examined(&world, "doctor --json --pin-file pin", 8);
    let last = checks(&shot, "self-test").pop().unwrap();
    assert_eq!(last["verdict"], "trouble");
    assert!(last["text"].as_str().unwrap().contains("it was wiped, or is another token of the same name"), "{last}");
}

#[test]
fn tokens_that_do_not_serve() {
    let mut world = World::bare();
    world.hsm = Some(SoftHsm::uninitialised());
    let blank = examined(&world, "doctor $HSM", 8);
    let world = World::fresh_token();
    let hsm = world.hsm.as_ref().unwrap();
    let module = hsm.module().display();
    let none = examined(&world, &format!("doctor 'pkcs11:token=billing?module-path={module}'"), 8);
    hsm.add_token("payroll");
    let several = examined(&world, "doctor $HSM", 8);
    let mut shots = [blank, none, several];
    // Its URI is not one of the world's own.
    shots[1].line = "doctor 'pkcs11:token=billing?module-path=MODULE'".to_owned();
    snapshot::check("doctor-tokens", &shots);
}

#[test]
fn modules_that_are_none() {
    let world = World::fresh_token();
    world.file("text.so", "no library\n");
    let own = world.path("text.so");
    let missing = examined(&world, "doctor 'pkcs11:token=payroll?module-path=/nowhere/libhsm.so'", 8);
    let unknown = examined(&world, "doctor 'pkcs11:token=payroll?module-name=nowhere'", 8);
    let mut text = examined(&world, &format!("doctor 'pkcs11:token=payroll?module-path={}'", own.display()), 8);
    text.line = "doctor 'pkcs11:token=payroll?module-path=DIR/text.so'".to_owned();
    let mut command = world.command("doctor $HSM");
    command.env("SOFTHSM2_CONF", "/nowhere/softhsm2.conf");
    let lost = world.run_as("doctor $HSM", command);
    assert_eq!(lost.code, Some(8), "{lost}");
    snapshot::check("doctor-modules", &[missing, unknown, text, lost]);
}

/// With the fault module in front of the token; what is said, its path taken out.
fn with_faults(world: &World, rules: &[&str], words: &str) -> String {
    behind_faults(world, rules, words, 8)
}

pub fn behind_faults(world: &World, rules: &[&str], words: &str, code: i32) -> String {
    let hsm = world.hsm.as_ref().unwrap();
    let faulty = Faulty::before(hsm);
    faulty.set(rules);
    let uri = faulty.uri("payroll");
    let mut command = world.command(&format!("doctor {words} '{uri}'"));
    command.env(faulty::VARIABLE, faulty.rules());
    let shot = world.unchanged(|| world.run_as(&format!("doctor {words} $FAULTY  # {}", rules.join("; ")), command));
    assert_eq!(shot.code, Some(code), "{shot}");
    assert_eq!(faulty.count("C_Login"), 0, "nobody logged in");
    let path = uri.split_once("module-path=").unwrap().1;
    let real = fs::canonicalize(path).unwrap();
    shot.to_string().replace(&real.display().to_string(), "MODULE").replace(path, "MODULE")
}

#[test]
fn modules_that_go_wrong() {
    let world = World::fresh_token();
    let rules: [&[&str]; 6] = [
        &["C_Initialize * kill-before"],
        &["C_GetTokenInfo * return 0x30"],
        &["C_GetMechanismList * hide 0x251", "C_GetTokenInfo * flags COUNT_LOW"],
        &["C_GetMechanismList * kill-before"],
        &["C_GetTokenInfo * flags LOCKED"],
        &["C_GetTokenInfo * flags COUNT_LOW,FINAL_TRY"],
    ];
    let told: Vec<String> = rules.iter().map(|rules| with_faults(&world, rules, "")).collect();
    snapshot::check_text("doctor-faults", &told.join("\n"));
}

/// Tokens that do it by other mechanisms, or only in part.
#[test]
fn tokens_of_other_makers() {
    let world = World::fresh_token();
    let rules: [&[&str]; 3] = [
        &["renamed 0x2109 0x80002109", "renamed 0x210a 0x8000216f", "without read-only-sessions"],
        &["without 0x2109", "without 0x210a"],
        &["without 0x2109", "without 0x210a", "without 0x9", "without session-objects"],
    ];
    let told: Vec<String> = rules.iter().map(|rules| behind_faults(&world, rules, "", 0)).collect();
    snapshot::check_text("doctor-other-makers", &told.join("\n"));
}

/// It takes as long as the deadline is.
#[test]
fn a_module_that_hangs() {
    let world = World::fresh_token();
    let told = with_faults(&world, &["C_Initialize * hang"], "");
    snapshot::check_text("doctor-hangs", &told);
}

/// A ring of the token through the fault module, which then lies.
#[test]
fn a_token_that_fails_its_self_test_and_an_exchanged_one() {
    let world = World::fresh_token();
    let hsm = world.hsm.as_ref().unwrap();
    let faulty = Faulty::before(hsm);
    let run = |line: &str| {
        let mut command = world.command(line);
        command.env(faulty::VARIABLE, faulty.rules());
        world.run_as(line, command)
    };
    let uri = faulty.uri("payroll");
    let made = run(&format!("init --device '{uri}' --pin-file pin --passphrase-file pass payroll.backup"));
    assert_eq!(made.code, Some(0), "{made}");
    faulty.set(&["C_UnwrapKey 3 return 0x70"]);
    let unfit = world.unchanged(|| run("doctor --json --pin-file pin"));
    assert_eq!(unfit.code, Some(8), "{unfit}");
    let lines = checks(&unfit, "self-test");
    assert!(lines.len() > 2 && lines[0]["text"] == "the token took the PIN", "{unfit}");
    let last = lines.last().unwrap();
    assert_eq!((&last["verdict"], &last["code"]), (&"trouble".into(), &"CKR_MECHANISM_INVALID (0x70)".into()));
    faulty.set(&["C_GetTokenInfo * serial 0815"]);
    faulty.forget();
    let other = world.unchanged(|| run("doctor --json --pin-file pin"));
    let [identity] = &checks(&other, "identity")[..] else { panic!("{other}") };
    assert!(identity["text"].as_str().unwrap().ends_with("this is `payroll` (serial 0815)"), "{identity}");
    assert_eq!(faulty.count("C_Login"), 0, "no PIN goes to another token");
    assert_eq!(checks(&other, "self-test")[0]["verdict"], "skipped");
}

#[test]
fn a_ring_that_can_not_be_read() {
    let world = World::new();
    world.chmod(".", 0o755);
    // Nobody sees the device all the same.
    let nobody = as_nobody(&world, "doctor $TPM");
    world.file("state/ring.json", "{");
    let damaged = examined(&world, "doctor $TPM", 8);
    snapshot::check("doctor-no-ring", &[nobody, damaged]);
}

#[test]
fn pins_for_devices_that_take_no_part() {
    let world = World::on_both();
    let shots = [
        examined(&world, "doctor --pin-file tpm1=pin", 2),
        examined(&world, "doctor --pin-file hsm1=pin tpm1", 2),
        examined(&world, "doctor --pin-file pin", 0),
    ];
    snapshot::check("doctor-both", &shots);
    assert_eq!(fs::read_to_string(world.path("pin")).unwrap().trim(), USER_PIN);
}

#[test]
fn nothing_is_there() {
    let world = World::bare();
    let script = "for hidden in /dev /usr/share/p11-kit/modules /etc/pkcs11; do
        [ ! -d $hidden ] || mount -t tmpfs none $hidden; done; exec \"$0\" \"$@\"";
    let shot = world.unchanged(|| world.run_as("doctor", world.in_namespace("--mount", script, "doctor")));
    assert_eq!(shot.code, Some(8), "{shot}");
    snapshot::check("doctor-nothing", &[shot]);
}

/// What a machine has besides is its own affair.
#[test]
fn nothing_is_named_and_there_is_no_ring() {
    let mut world = World::fresh();
    world.hsm = Some(SoftHsm::new("payroll"));
    let mut command = world.command("doctor --json");
    command.env("TPM2TOOLS_TCTI", world.tpm.as_ref().unwrap().tcti());
    let shot = world.unchanged(|| world.run_as("doctor --json", command));
    let devices = shot.json()[0]["devices"].as_array().unwrap().clone();
    let is_there = |is: &dyn Fn(&str) -> bool| devices.iter().any(|device| is(device["uri"].as_str().unwrap()));
    assert!(is_there(&|uri| uri == world.tpm.as_ref().unwrap().uri()), "{shot}");
    assert!(is_there(&|uri| uri.starts_with("pkcs11:token=payroll;")), "{shot}");
    assert!(!is_there(&|uri| uri.contains("slot-id=")), "SoftHSM's spare slot is nobody's trouble: {shot}");
}
