//! The program under the name of the tool that it stands in for, for hands that know that one.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::common::pty::Pty;
use crate::common::softhsm::{SoftHsm, USER_PIN};
use crate::prompts::{SOON, answer, answer_hidden};
use crate::snapshot::{self, Shot};
use crate::world::{PASSPHRASE, STRONGROOM, World};

const END: &str = "The operation completed successfully.";
const ANOTHER: &str = "seven lanterns past the quay";

/// A world in which `ssoconfig` is a link to the program; as packages have it, but for the place.
fn linked(world: World) -> World {
    symlink(STRONGROOM, world.path("ssoconfig")).unwrap();
    world
}

fn command(world: &World, line: &str) -> Command {
    world.wrapped(&[world.path("ssoconfig").to_str().unwrap()], line)
}

fn terminal(mut command: Command) -> Pty {
    command.env("TERM", "dumb");
    Pty::spawn(command)
}

fn run(world: &World, line: &str) -> Shot {
    world.run_as(line, command(world, line))
}

/// As a snapshot has it.
fn told(shots: &[Shot]) -> String {
    let texts: Vec<String> =
        shots.iter().map(|shot| shot.to_string().replacen("$ strongroom", "$ ssoconfig", 1)).collect();
    texts.join("\n")
}

/// The number of a device in the list that the wizard shows.
fn choose(pty: &mut Pty, what: &str) {
    let list = pty.expect("Which one shall keep the secret?", SOON);
    let line =
        list.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what} in the list:\n{list}"));
    let number = line.trim().split_once('.').expect("a number before each device").0.to_owned();
    answer(pty, "] ", &number);
}

fn answer_new(pty: &mut Pty, password: &str, reminder: &str) {
    answer_hidden(pty, "Password : ", password);
    answer_hidden(pty, "Confirm Password : ", password);
    answer(pty, "Password reminder : ", reminder);
}

fn done(world: &World, pty: &mut Pty) -> String {
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    let text = world.plain(&end.transcript);
    assert!(text.ends_with(&format!("{END}\n")) && !text.contains(PASSPHRASE) && !text.contains(ANOTHER), "{text}");
    text
}

/// What an administrator of the product does in its first week, by heart: the first secret, the next one, a backup, and a
/// restore on other hardware, each without a flag.
#[test]
fn generate_back_up_and_restore_by_heart() {
    let mut world = linked(World::fresh());
    world.hsm = Some(SoftHsm::new("decoy"));
    let start = |line: &str| {
        let mut command = command(&world, line);
        command.env("TPM2TOOLS_TCTI", world.tpm.as_ref().unwrap().tcti());
        terminal(command)
    };
    let mut pty = start("-generatesecret first.backup --work-factor 10");
    choose(&mut pty, "swtpm");
    answer(&mut pty, "Name of the system [", "payroll");
    answer(&mut pty, "Guard the secret with a PIN as well? [y/N] ", "");
    answer(&mut pty, "Bind it to PCRs? [none] ", "");
    answer_new(&mut pty, PASSPHRASE, "sheet 7");
    let text = done(&world, &mut pty);
    assert!(text.contains("is made inside tpm1 and becomes active"), "{text}");

    let mut pty = start("/GenerateSecret second.backup --work-factor 10");
    answer(&mut pty, "Make the new generation? [y/N] ", "y");
    answer_new(&mut pty, ANOTHER, "sheet 8");
    snapshot::check_text("ssoconfig-generate", &done(&world, &mut pty));

    // The dash is that of the product's own pages.
    let mut pty = start("\u{2013}BACKUPSECRET third.backup --work-factor 10");
    answer_new(&mut pty, ANOTHER, "sheet 9");
    snapshot::check_text("ssoconfig-backup", &done(&world, &mut pty));

    let status = run(&world, "-status");
    assert!(status.code == Some(0) && status.stdout.contains("active   generation 2"), "{status}");

    let other = linked(World::fresh_token());
    other.file("copy.backup", world.read("third.backup"));
    let mut pty = terminal(command(&other, "-restoreSecret copy.backup"));
    choose(&mut pty, "pkcs11:token=payroll");
    pty.expect("Password reminder : sheet 9\r\n", SOON);
    answer_hidden(&mut pty, "Password : ", ANOTHER);
    answer(&mut pty, "Restore, and take over as master? [y/N] ", "y");
    answer_hidden(&mut pty, "User PIN of the token `payroll`: ", USER_PIN);
    done(&other, &mut pty);

    for number in [1, 2] {
        let derive = format!("derive --quiet --generation {number}");
        let here = world.done(&format!("{derive} backups/db1")).raw;
        assert_eq!(here, other.done(&format!("{derive} --pin-file pin backups/db1")).raw);
    }
}

/// A copy of the program finds tokens too: those are looked for by a child, which must not take its own name for the mode.
#[test]
fn a_copy_by_another_case_finds_tokens() {
    let world = World::fresh_token();
    let copy = world.path("SSOConfig");
    fs::copy(STRONGROOM, &copy).unwrap();
    let command = world.wrapped(&[copy.to_str().unwrap()], "-generatesecret first.backup --work-factor 10");
    let mut pty = terminal(command);
    choose(&mut pty, "pkcs11:token=payroll");
    pty.expect("Name of the system [", SOON);
    pty.interrupt();
    assert_eq!(pty.finish().status.code(), Some(130));
}

/// The commands' own flags may follow, so what their hints say is true here too.
#[test]
fn flags_of_the_commands_follow() {
    let world = linked(World::new());
    let shot = run(&world, "-backupsecret new.backup --passphrase-file pass --work-factor 10");
    assert!(shot.code == Some(0) && shot.stdout.is_empty() && shot.stderr.ends_with(&format!("{END}\n")), "{shot}");
    let shot = run(&world, "-backupsecret newer.backup --passphrase-file pass --work-factor 10 --json");
    assert!(shot.code == Some(0) && !shot.stdout.contains(END) && shot.stderr.is_empty(), "{shot}");
    assert!(shot.json().iter().all(|line| line["schema"].is_string()));
    let shot = world.unchanged(|| run(&world, "-backupsecret newest.backup"));
    assert!(shot.code == Some(2) && shot.stderr.contains("hint: give it with --passphrase-file"), "{shot}");
    // A flag of `init` alone, where the ring is already there; and one of `generate` alone, where there is none.
    let shot = world.unchanged(|| run(&world, "-generatesecret new.backup --device tpm:"));
    assert!(shot.code == Some(2) && shot.stderr.contains("--device"), "{shot}");
    let fresh = linked(World::bare());
    let shot = fresh.unchanged(|| run(&fresh, "-generatesecret new.backup --leave-behind tpm1"));
    assert!(shot.code == Some(2) && shot.stderr.contains("--leave-behind"), "{shot}");
}

/// A server whose ring was lost is not a fresh one: a first secret there would be another system's.
#[test]
fn a_lost_ring_is_not_taken_for_a_fresh_server() {
    let world = linked(World::new());
    fs::remove_file(world.path("state/ring.json")).unwrap();
    let shot = world.unchanged(|| run(&world, "-generatesecret new.backup --passphrase-file pass"));
    assert_eq!(shot.code, Some(6), "{shot}");
    snapshot::check_text("ssoconfig-lost", &told(&[shot]));
}

#[test]
fn failures_in_the_products_words() {
    let world = linked(World::new());
    let end = world.unchanged(|| {
        let mut pty = terminal(command(&world, "-restoresecret payroll.backup"));
        answer_hidden(&mut pty, "Password : ", ANOTHER);
        pty.finish()
    });
    assert_eq!(end.status.code(), Some(4), "{}", end.transcript);
    snapshot::check_text("ssoconfig-wrong", &world.plain(&end.transcript));
    let end = world.unchanged(|| {
        let mut pty = terminal(command(&world, "-backupsecret new.backup"));
        for _ in 0..3 {
            answer_hidden(&mut pty, "Password : ", "Passw0rd!");
        }
        pty.finish()
    });
    assert_eq!(end.status.code(), Some(5), "{}", end.transcript);
    snapshot::check_text("ssoconfig-weak", &world.plain(&end.transcript));
}

#[test]
fn options_that_are_not_taken() {
    let world = linked(World::bare());
    let lines = ["-auditlevel 1 2", "/CREATEDB", "-syncage 24", "-explode", "status", "", "-backupsecret"];
    let shots = world.unchanged(|| lines.map(|line| run(&world, line)));
    for shot in &shots {
        assert_eq!(shot.code, Some(2), "{shot}");
    }
    snapshot::check_text("ssoconfig-options", &told(&shots));
    for asking in ["-?", "/help", "--help"] {
        let help = run(&world, asking);
        assert!(help.code == Some(0) && help.stdout.starts_with("Usage: ssoconfig OPTION"), "{help}");
    }
    let shot = run(&world, "-scp --json");
    let error = &shot.json()[0]["error"];
    assert_eq!(error["message"], "-scp is not for Strongroom");
    assert!(error["hint"].as_str().unwrap().contains("`strongroom status`"), "{shot}");
}
