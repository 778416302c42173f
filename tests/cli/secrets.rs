//! Where secrets come from, and what is refused there.

use crate::snapshot;
use crate::world::{PASSPHRASE, PIN, STRONGROOM, World};

#[test]
fn files_that_hold_no_secret() {
    let world = World::new();
    world.file("open", "three dull knives under blue snow\n");
    world.chmod("open", 0o644);
    world.file("empty", "\nthe second line\n");
    world.file("nothing", "");
    world.file("long", "x".repeat(1025));
    std::fs::create_dir(world.path("directory")).unwrap();
    let lines = [
        "verify --passphrase-file missing payroll.backup",
        "verify --passphrase-file open payroll.backup",
        "verify --passphrase-file empty payroll.backup",
        "verify --passphrase-file nothing payroll.backup",
        "verify --passphrase-file long payroll.backup",
        "verify --passphrase-file directory payroll.backup",
        "verify --passphrase-fd 9 payroll.backup",
        "derive --generation 1 --pin-file open backups",
    ];
    world.all_refused("secret-source", 2, &lines);
}

/// `pin-source` in a token's URI is such a file too.
#[test]
fn pin_source_that_holds_no_pin() {
    let world = World::fresh_token();
    let uri = |file: &str| {
        let hsm = world.hsm.as_ref().unwrap();
        format!("{}&pin-source={}", hsm.uri(), world.path(file).display())
    };
    let init = |file: &str| format!("init --device {} --name payroll --passphrase-file pass new.backup", uri(file));
    let shot = world.run(&init("missing"));
    assert_eq!(shot.code, Some(2), "{shot}");
    snapshot::check_text("pin-source", &world.plain(&shot.to_string()));
    world.done(&init("pin"));
    world.done("derive --generation 1 backups");
}

/// One descriptor, a line each: PIN first.
#[test]
fn one_descriptor_serves_pin_then_passphrase() {
    let world = World::with_pin();
    world.file("both", format!("{PIN}\n{PASSPHRASE}\n"));
    let line = "backup --pin-fd 3 --passphrase-fd 3 new.backup";
    let script = "exec 3<both; exec \"$0\" \"$@\"";
    let shot = world.run_as(line, world.wrapped(&["sh", "-c", script, STRONGROOM], line));
    assert_eq!(shot.code, Some(0), "{shot}");
    snapshot::check("one-descriptor", &[shot]);
    let from_stdin = world.run_reading("both", "verify --pin-fd 0 --passphrase-fd 0 new.backup");
    assert_eq!(from_stdin.code, Some(0), "{from_stdin}");
    // The last line needs no end.
    world.file("unended", PASSPHRASE);
    world.done("verify --pin-file pin --passphrase-file unended new.backup");
}

/// The same when both are new.
#[test]
fn one_descriptor_serves_a_new_pin_then_a_new_passphrase() {
    let world = World::fresh();
    world.file("pin", format!("{PIN}\n"));
    world.file("both", format!("{PIN}\n{PASSPHRASE}\n"));
    let line = "init --device $TPM --with-pin --new-pin-fd 0 --passphrase-fd 0 payroll.backup";
    let made = world.run_reading("both", line);
    assert_eq!(made.code, Some(0), "{made}");
    world.done("verify --pin-file pin --passphrase-file pass payroll.backup");
}

#[test]
fn one_descriptor_with_one_line_too_few() {
    let world = World::with_pin();
    let shot = world.unchanged(|| world.run_reading("pin", "verify --pin-fd 0 --passphrase-fd 0 payroll.backup"));
    assert_eq!(shot.code, Some(2), "{shot}");
    snapshot::check("one-descriptor-short", &[shot]);
}

/// systemd's LoadCredential=: the directory's files are the service's own.
#[test]
fn systemd_credentials() {
    let world = World::with_pin();
    std::fs::create_dir(world.path("credentials")).unwrap();
    world.file("credentials/strongroom.passphrase", format!("{PASSPHRASE}\n"));
    world.file("credentials/strongroom.pin.tpm1", format!("{PIN}\n"));
    let run = |line: &str| {
        let mut command = world.command(line);
        command.env("CREDENTIALS_DIRECTORY", world.path("credentials"));
        world.run_as(line, command)
    };
    for line in ["verify payroll.backup", "derive --generation 1 backups", "backup new.backup"] {
        let shot = run(line);
        assert_eq!(shot.code, Some(0), "{shot}");
    }
    // A flag comes before a credential.
    world.file("wrong", "three dull knives under grey snow\n");
    assert_eq!(run("verify --passphrase-file wrong payroll.backup").code, Some(4));
    world.chmod("credentials/strongroom.pin.tpm1", 0o644);
    let shot = world.unchanged(|| run("derive --generation 1 backups"));
    assert_eq!(shot.code, Some(2), "{shot}");
    snapshot::check("credential-loose", &[shot]);
}
