//! Restoring where something is in the way.

use crate::snapshot::{self, Shot};
use crate::world::World;

/// A world with its own ring, and the backup of another system called billing.
fn with_another_systems_backup() -> World {
    let other = World::fresh();
    other.done("init --device $TPM --name billing --passphrase-file pass billing.backup");
    let world = World::new();
    world.file("billing.backup", other.read("billing.backup"));
    world
}

#[test]
fn another_systems_ring_in_place() {
    let world = with_another_systems_backup();
    world.refused("restore-other-system", 5, "restore --yes --passphrase-file pass billing.backup");
    // A look changes nothing, whatever it looks at.
    let line = "restore --dry-run --replace --passphrase-file pass billing.backup";
    snapshot::check("restore-other-system-dry-run", &[world.unchanged(|| world.done(line))]);
}

#[test]
fn another_systems_ring_is_put_aside() {
    let world = with_another_systems_backup();
    let before = world.read("state/ring.json");
    let shot = world.done("restore --yes --replace --passphrase-file pass billing.backup");
    let kept: Vec<_> = std::fs::read_dir(world.path("state/replaced")).unwrap().collect();
    assert_eq!(kept.len(), 1);
    let kept = kept[0].as_ref().unwrap().path();
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), before);
    let status = world.done("status");
    snapshot::check("restore-replace", &[shot, status]);
}

#[test]
fn verify_of_another_systems_backup_says_what_it_could_not_prove() {
    let world = with_another_systems_backup();
    let shot = world.unchanged(|| world.done("verify --passphrase-file pass billing.backup"));
    snapshot::check("verify-other-system", &[shot]);
}

/// Generation 2 was lost with the disk, its backup was not.
#[test]
fn missing_generations_are_added() {
    let world = World::new();
    world.keep_state("before");
    world.done("generate --yes --passphrase-file pass two.backup");
    world.put_back_state("before");
    let shots = [
        world.done("verify --passphrase-file pass two.backup"),
        world.done("restore --yes --passphrase-file pass two.backup"),
        world.done("restore --yes --passphrase-file pass two.backup"),
        world.done("restore --yes --activate --passphrase-file pass two.backup"),
    ];
    snapshot::check("restore-missing", &shots);
}

#[test]
fn the_same_number_with_another_id() {
    let world = World::new();
    world.keep_state("before");
    world.done("generate --yes --passphrase-file pass two.backup");
    world.put_back_state("before");
    world.done("generate --yes --passphrase-file pass other-two.backup");
    world.refused("restore-other-generation", 5, "restore --yes --passphrase-file pass two.backup");
    // A drill does not advise what would be refused.
    snapshot::check("verify-other-generation", &[world.done("verify --passphrase-file pass two.backup")]);
}

#[test]
fn a_ring_exists_at_init() {
    let world = World::new();
    world.refused("init-ring-exists", 5, "init --device $TPM --passphrase-file pass new.backup");
}

#[test]
fn no_device_named() {
    let world = World::bare();
    world.file("copy.backup", World::new().read("payroll.backup"));
    world.refused("restore-no-device", 2, "restore --yes --passphrase-file pass copy.backup");
}

#[test]
fn another_device_than_the_rings() {
    let world = World::new();
    let line = "restore --yes --device tpm:swtpm:host=127.0.0.1,port=1 --passphrase-file pass payroll.backup";
    world.refused("restore-other-device", 5, line);
}

#[test]
fn a_pin_of_the_seals_own_on_a_token() {
    let world = World::fresh_token();
    let line = "init --device $HSM --with-pin --pin-file pin --passphrase-file pass new.backup";
    world.refused("pin-on-token", 2, line);
}

/// A fresh server, and the backup that a server called db9 has made.
fn with_db9s_backup() -> World {
    let db9 = World::fresh();
    let line = "init --device $TPM --name payroll --passphrase-file pass payroll.backup";
    let script = "echo db9 >/proc/sys/kernel/hostname && exec \"$0\" \"$@\"";
    let made = db9.run_as(line, db9.in_namespace("--uts", script, line));
    assert_eq!(made.code, Some(0), "{made}");
    let world = World::fresh();
    world.file("copy.backup", db9.read("payroll.backup"));
    world
}

/// Two masters are one too many: whoever takes over is told to look first.
#[test]
fn taking_over_as_the_master() {
    let world = with_db9s_backup();
    let shot = world.done("restore --yes --device $TPM --passphrase-file pass copy.backup");
    let generated = world.done("generate --quiet --yes --passphrase-file pass two.backup");
    let status = world.done("status");
    snapshot::check("take-over", &[shot, generated, status]);
}

/// A member uses what it was given, and never generates.
#[test]
fn a_member_does_not_generate() {
    let world = with_db9s_backup();
    let restored = world.done("restore --yes --member --device $TPM --passphrase-file pass copy.backup");
    let line = "generate --yes --passphrase-file pass new.backup";
    let refused = world.unchanged(|| world.run(line));
    assert_eq!(refused.code, Some(5));
    let status = world.done("status");
    snapshot::check("member", &[restored, refused, status]);
}

#[test]
fn the_whole_job_in_the_words_that_it_uses() {
    let world = World::fresh();
    let shots = [
        world.done("init --device $TPM --name payroll --passphrase-file pass --hint 'sheet 7' one.backup"),
        world.done("derive --generation 1 backups/db1"),
        world.done("generate --yes --passphrase-file pass two.backup"),
        world.done("backup --passphrase-file pass three.backup"),
        world.done("verify --passphrase-file pass one.backup"),
        world.done("status"),
    ];
    snapshot::check("whole-job", &shots);
}

/// A number is never used twice, also when the ring goes back to an older backup: the generations that it had may come
/// back from theirs.
#[test]
fn replacing_by_an_older_backup_burns_the_numbers_that_were_given() {
    let world = World::new();
    world.done("generate --yes --passphrase-file pass two.backup");
    let back = world.done("restore --yes --replace --passphrase-file pass payroll.backup");
    let third = world.done("generate --yes --passphrase-file pass three.backup");
    world.done("restore --yes --passphrase-file pass two.backup");
    let status = world.done("status");
    snapshot::check("restore-older", &[back, third, status]);
}

/// Each taking over raises the term above whatever this server knows of.
#[test]
fn the_term_never_falls() {
    let world = World::new();
    for term in 2..4 {
        world.done("restore --quiet --yes --replace --passphrase-file pass payroll.backup");
        assert_eq!(world.done("status --json").json()[0]["term"], term);
    }
}

/// Nothing gets weaker in silence.
#[test]
fn replacing_without_the_pin_is_told() {
    let world = World::with_pin();
    let line = "restore --dry-run --replace --passphrase-file pass payroll.backup";
    let without = world.unchanged(|| world.done(line));
    let with = world.unchanged(|| world.done(&format!("{line} --with-pin")));
    snapshot::check("restore-pin-dropped", &[without, with]);
}

#[test]
fn replacing_or_adding_without_the_pcrs_is_told() {
    let world = World::new();
    world.done("bind --yes --pcrs 7");
    let line = "restore --dry-run --replace --passphrase-file pass payroll.backup";
    let told = |shot: &Shot| shot.stderr.lines().filter(|line| line.contains("--pcr-public-key")).count();
    let without = world.unchanged(|| world.done(line));
    assert!(without.stderr.contains("is bound to sha256:7, the new one will not be"), "{without}");
    assert_eq!((told(&without), told(&world.done(&format!("{line} --pcrs 14")))), (1, 0));
    let other = World::fresh();
    let line = format!("device add --dry-run {}", other.tpm.as_ref().unwrap().uri());
    let without = world.unchanged(|| world.done(&line));
    assert!(without.stderr.contains("bound to sha256:7, and would not be on tpm2"), "{without}");
    assert_eq!((told(&without), told(&world.done(&format!("{line} --pcrs 7")))), (1, 0));
    // What guards a token is its PIN.
    let both = World::two_devices();
    both.done("bind --yes --pcrs 7");
    assert_eq!(told(&both.done("device add --dry-run $HSM")), 0);
}
