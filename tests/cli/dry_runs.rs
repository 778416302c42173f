//! `--dry-run`: every check and the plan, before any secret is read, and no trace of it.

use crate::snapshot::{self, Shot};
use crate::world::World;

/// Where secrets would come from, if any were read: nowhere.
const NOWHERE: &str = "--passphrase-file no-such-file --pin-fd 9";

/// Runs `line`, and shows that nothing was changed, the log included.
fn traceless(world: &World, line: &str) -> Shot {
    let log = |world: &World| std::fs::read(world.path("state/audit.log")).ok();
    let before = log(world);
    let shot = world.unchanged(|| world.run(line));
    assert_eq!(log(world), before, "a dry run is no attempt: {shot}");
    shot
}

fn done(world: &World, line: &str) -> Shot {
    let shot = traceless(world, line);
    assert_eq!(shot.code, Some(0), "{shot}");
    shot
}

#[test]
fn says_what_would_change_and_reads_no_secret() {
    let fresh = World::fresh();
    let init = format!("init --dry-run --device $TPM --with-pin --new-pin-fd 9 --name payroll {NOWHERE} new.backup");
    let mut shots = vec![done(&fresh, &init)];
    assert!(!fresh.path("state").exists());

    let world = World::on_both();
    shots.push(done(&world, &format!("generate --dry-run {NOWHERE} new.backup")));
    shots.push(done(&world, &format!("generate --dry-run --leave-behind tpm1 {NOWHERE} new.backup")));
    shots.push(done(&world, &format!("backup --dry-run {NOWHERE} new.backup")));
    shots.push(done(&world, &format!("verify --dry-run {NOWHERE} payroll.backup")));
    shots.push(done(&world, "device remove --dry-run --pin-fd 9 hsm1"));
    shots.push(done(&world, "device repair --dry-run --pin-fd 9 hsm1"));
    let apart = World::two_devices();
    shots.push(done(&apart, "device add --dry-run --pin-fd 9 $HSM"));
    snapshot::check("dry-run", &shots);
}

/// One object: the very one that the ceremony itself begins with.
#[test]
fn the_plan_as_json_is_that_of_the_ceremony() {
    let world = World::new();
    for line in ["generate --json --yes --passphrase-file pass two.backup", "backup --json --passphrase-file pass 3"] {
        let dry = done(&world, &format!("{line} --dry-run"));
        assert_eq!(dry.json().len(), 1, "{dry}");
        let real = world.done(line);
        assert_eq!(dry.json()[0], real.json()[0], "{line}");
    }
    // What a backup says of itself comes first.
    let dry = done(&world, "verify --json --dry-run two.backup");
    assert_eq!(dry.json()[..], world.done("verify --json --passphrase-file pass two.backup").json()[..2], "{dry}");
}

#[test]
fn fails_where_the_ceremony_would_fail() {
    let mut world = World::new();
    let lines = [
        (5, "init --dry-run --device $TPM new.backup"),
        (5, "generate --dry-run payroll.backup"),
        (5, "backup --dry-run payroll.backup --json"),
        (2, "backup --dry-run --hint 'two\nlines' new.backup"),
        (2, "device remove --dry-run tpm7"),
        (5, "device remove --dry-run tpm1"),
        (5, "device add --dry-run $TPM"),
        (5, "recover --dry-run"),
    ];
    let mut shots = Vec::new();
    for (code, line) in lines {
        let shot = traceless(&world, line);
        assert_eq!(shot.code, Some(code), "{shot}");
        shots.push(shot);
    }
    world.tpm.as_mut().unwrap().power_off();
    let shot = world.run("generate --dry-run --json new.backup");
    assert_eq!((shot.code, shot.json()[0]["error"]["id"].as_str()), (Some(3), Some("device-unreachable")), "{shot}");
    snapshot::check("dry-run-refused", &shots);
}

/// What a plan says will be asked for: `pin hsm1`, with `?` where another device would do, and `!` where it is chosen anew.
fn wanted(world: &World, line: &str) -> Vec<String> {
    let shot = done(world, &format!("{line} --json --dry-run"));
    let plan = shot.json().pop().expect("a plan");
    let told = plan["secrets"].as_array().expect("a list").iter().map(|secret| {
        assert!(secret["text"].as_str().is_some_and(|text| !text.is_empty()), "{shot}");
        let device = secret["device"].as_str().map(|device| format!(" {device}")).unwrap_or_default();
        let spare = if secret["required"] == true { "" } else { "?" };
        let new = if secret["new"] == true { "!" } else { "" };
        format!("{}{device}{spare}{new}", secret["id"].as_str().expect("an id"))
    });
    told.collect()
}

#[test]
fn says_which_secrets_will_be_asked_for() {
    let world = World::fresh();
    assert_eq!(wanted(&world, "init --device $TPM new.backup"), ["passphrase!"]);
    let with_pin = "init --device $TPM --with-pin new.backup";
    assert_eq!(wanted(&world, with_pin), ["new-pin tpm1!", "passphrase!"]);
    let world = World::fresh_token();
    assert_eq!(wanted(&world, "init --device $HSM new.backup"), ["pin hsm1", "passphrase!"]);
    let uri = world.hsm.as_ref().unwrap().uri();
    let with_file = format!("init --device '{uri}&pin-source={}' new.backup", world.path("pin").display());
    assert_eq!(wanted(&world, &with_file), ["passphrase!"], "the file is asked, and nobody else");

    // tpm1 serves without a PIN, so nobody asks for the token's unless every device has to serve.
    let mut world = World::on_both();
    assert_eq!(wanted(&world, "generate new.backup"), ["pin hsm1", "passphrase!"]);
    assert_eq!(wanted(&world, "generate --leave-behind hsm1 new.backup"), ["passphrase!"]);
    assert_eq!(wanted(&world, "backup new.backup"), ["passphrase!"]);
    assert_eq!(wanted(&world, "verify payroll.backup"), ["pin hsm1?", "passphrase"], "each that can proves it");
    assert_eq!(wanted(&world, "device remove tpm1"), ["pin hsm1"]);
    assert_eq!(wanted(&world, "device remove hsm1"), ["pin hsm1"]);
    assert_eq!(wanted(&world, "device repair hsm1"), ["pin hsm1"]);
    assert_eq!(wanted(&world, "device repair tpm1"), ["pin hsm1?"]);
    world.done("generate --yes --leave-behind tpm1 --pin-file pin --passphrase-file pass two.backup");
    assert_eq!(wanted(&world, "backup new.backup"), ["pin hsm1", "passphrase!"], "only the token has generation 2");
    assert_eq!(wanted(&world, "device repair tpm1"), ["pin hsm1"]);
    let restore = "restore --passphrase-file pass two.backup";
    assert_eq!(wanted(&world, restore), ["pin hsm1", "passphrase"]);
    let replace = "restore --replace --device $TPM --with-pin --passphrase-file pass two.backup";
    assert_eq!(wanted(&world, replace), ["new-pin tpm1!", "passphrase"]);
    world.tpm.as_mut().unwrap().power_off();
    assert_eq!(wanted(&world, "generate --leave-behind tpm1 new.backup"), ["pin hsm1", "passphrase!"]);
}

/// A TPM with a PIN first, a token next: either will do for a backup, and both are needed for a new generation.
#[test]
fn says_where_one_of_several_pins_will_do() {
    let mut world = World::with_pin();
    world.hsm = Some(crate::common::softhsm::SoftHsm::new("payroll"));
    assert_eq!(wanted(&world, "device add $HSM"), ["pin tpm1", "pin hsm1"]);
    world.file("hsm-pin", format!("{}\n", crate::common::softhsm::USER_PIN));
    world.done("device add --yes --pin-file tpm1=pin --pin-file hsm1=hsm-pin $HSM");
    assert_eq!(wanted(&world, "generate new.backup"), ["pin tpm1", "pin hsm1", "passphrase!"]);
    assert_eq!(wanted(&world, "backup new.backup"), ["pin tpm1?", "pin hsm1?", "passphrase!"]);
    world.file("state/ring.json", "{");
    assert_eq!(wanted(&world, "recover"), ["pin tpm1?", "pin hsm1?"]);
    std::fs::remove_dir_all(world.path("state")).unwrap();
    assert_eq!(wanted(&world, "verify payroll.backup"), ["passphrase"], "there is nobody to prove it against");
}

/// Whether a seal that is bound to PCRs opens, nobody knows before it is tried: another device may have to serve.
#[test]
fn says_whose_pin_may_be_asked_for_where_a_tpm_is_bound() {
    let world = World::on_both();
    assert_eq!(wanted(&world, "bind --pcrs 7"), ["pin hsm1?"]);
    world.done("bind --yes --pcrs 7");
    assert_eq!(wanted(&world, "bind"), ["pin hsm1?"]);
    assert_eq!(wanted(&world, "unbind"), ["pin hsm1?"]);
    assert_eq!(wanted(&world, "backup new.backup"), ["pin hsm1?", "passphrase!"]);
    assert_eq!(wanted(&world, "bind --from payroll.backup"), ["passphrase"]);
}

/// What is listed is enough, in the order of the list, from one descriptor.
#[test]
fn what_is_listed_is_enough() {
    let mut world = World::with_pin();
    world.hsm = Some(crate::common::softhsm::SoftHsm::new("payroll"));
    let pin = crate::common::softhsm::USER_PIN;
    world.file("input", format!("{}\n{pin}\n", crate::world::PIN));
    let shot = world.run_reading("input", "device add --yes --pin-fd tpm1=0 --pin-fd hsm1=0 $HSM");
    assert_eq!(shot.code, Some(0), "{shot}");
    for (line, input) in [
        ("generate --yes --pin-fd tpm1=0 --pin-fd hsm1=0 --passphrase-fd 0 two.backup", format!("2468-seal\n{pin}\n")),
        ("backup --pin-fd hsm1=0 --passphrase-fd 0 three.backup", format!("{pin}\n")),
        ("backup --pin-fd tpm1=0 --passphrase-fd 0 four.backup", "2468-seal\n".to_owned()),
    ] {
        world.file("input", format!("{input}{}\n", crate::world::PASSPHRASE));
        let shot = world.run_reading("input", line);
        assert_eq!(shot.code, Some(0), "{shot}");
    }
}
