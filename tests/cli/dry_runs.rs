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
