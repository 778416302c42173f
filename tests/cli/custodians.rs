//! A passphrase in parts, which several people type, each unseen by the others.

use std::time::Instant;

use crate::common::outside::age_opens_with;
use crate::common::pty::Pty;
use crate::prompts::{SOON, answer, answer_hidden};
use crate::snapshot;
use crate::world::{PASSPHRASE, World};

const FIRST: &str = "seven lanterns past the quay";
const SECOND: &str = "Zürich owes me nine walnuts";
const JOINED: &str = "seven lanterns past the quay-Zürich owes me nine walnuts";
const HINT: &str = "Hint (anyone who finds the file can read it; empty for none): ";

/// Each part twice, as it is typed when all goes well.
fn answer_new(pty: &mut Pty, parts: &[&str]) {
    let count = parts.len();
    for (number, part) in (1..).zip(parts) {
        answer_hidden(pty, &format!("Part of custodian {number} of {count}: "), part);
        answer_hidden(pty, &format!("Part of custodian {number} of {count}, again: "), part);
    }
}

fn answer_existing(pty: &mut Pty, parts: &[&str]) {
    for (number, part) in (1..).zip(parts) {
        answer_hidden(pty, &format!("Part of custodian {number} of {}: ", parts.len()), part);
    }
}

/// `init`, `verify` and `restore` with two people; and with whoever has both parts, joined by `-`, and `age`.
#[test]
fn two_people_make_a_backup_and_bring_it_back() {
    let world = World::fresh();
    // What a service would be given is no part of anybody's.
    world.file("strongroom.passphrase", format!("{PASSPHRASE}\n"));
    let mut command = world.command("init --device $TPM --name payroll --custodians 2 payroll.backup");
    command.env("TERM", "dumb").env("CREDENTIALS_DIRECTORY", world.path(""));
    let mut pty = Pty::spawn(command);
    answer_new(&mut pty, &[FIRST, SECOND]);
    answer(&mut pty, HINT, "Ada and Grace");
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    assert!(pty.is_sane() && !end.transcript.contains(FIRST) && !end.transcript.contains(SECOND));
    snapshot::check_text("custodians-init", &world.plain(&end.transcript));

    assert_eq!(age_opens_with(&world.path("payroll.backup"), JOINED)["system"]["name"], "payroll");
    world.file("joined", format!("{JOINED}\n"));
    world.done("verify --passphrase-file joined payroll.backup");
    let mut pty = world.terminal("verify --custodians 2 payroll.backup");
    answer_existing(&mut pty, &[FIRST, SECOND]);
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    snapshot::check_text("custodians-verify", &world.plain(&end.transcript));

    let other = World::fresh();
    other.file("copy.backup", world.read("payroll.backup"));
    let mut pty = other.terminal("restore --yes --device $TPM --custodians 2 copy.backup");
    answer_existing(&mut pty, &[FIRST, SECOND]);
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    let derive = "derive --quiet --generation 1 backups/db1";
    assert_eq!(world.done(derive).raw, other.done(derive).raw);
}

/// `generate` and `backup` ask for it too, and nine people have room in it.
#[test]
fn nine_people_make_a_backup() {
    let world = World::new();
    let parts: Vec<String> = (1..=9).map(|n| format!("{n} dull knives under {n}{n} blue snowflakes")).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    for line in ["backup --custodians 9 many.backup", "generate --yes --custodians 9 next.backup"] {
        let mut pty = world.terminal(line);
        answer_new(&mut pty, &parts);
        answer(&mut pty, HINT, "");
        let end = pty.finish();
        assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    }
    world.file("joined", parts.join("-"));
    world.done("verify --passphrase-file joined many.backup");
    world.done("verify --passphrase-file joined next.backup");
}

/// Whose entries differ, or whose part is weak or empty, types again; nobody else does.
#[test]
fn only_who_erred_is_asked_again() {
    let world = World::new();
    let mut pty = world.terminal("backup --custodians 2 new.backup");
    answer_hidden(&mut pty, "Part of custodian 1 of 2: ", FIRST);
    answer_hidden(&mut pty, "Part of custodian 1 of 2, again: ", FIRST);
    answer_hidden(&mut pty, "Part of custodian 2 of 2: ", SECOND);
    answer_hidden(&mut pty, "Part of custodian 2 of 2, again: ", "Zürich owes me ten walnuts");
    answer_hidden(&mut pty, "Part of custodian 2 of 2: ", "password123456");
    answer_hidden(&mut pty, "Part of custodian 2 of 2: ", SECOND);
    answer_hidden(&mut pty, "Part of custodian 2 of 2, again: ", SECOND);
    answer(&mut pty, HINT, "");
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    snapshot::check_text("custodians-again", &world.plain(&end.transcript));
    world.file("joined", format!("{JOINED}\n"));
    world.done("verify --passphrase-file joined new.backup");
}

/// A hint that tells one part tells too much, though it is not half of the whole; only the hint is asked for again.
#[test]
fn a_hint_must_not_tell_a_part() {
    let world = World::new();
    let mut pty = world.terminal("backup --custodians 3 new.backup");
    answer_new(&mut pty, &[FIRST, SECOND, "a kettle hums in the Azores"]);
    answer(&mut pty, HINT, "the first: seven lanterns past the quay");
    answer(&mut pty, HINT, "Ada, Grace and Mary");
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    snapshot::check_text("custodians-hint", &world.plain(&end.transcript));
    let told = world.unchanged(|| {
        let mut pty = world.terminal(&format!("backup --custodians 2 --hint '{FIRST}' other.backup"));
        for _ in 0..3 {
            answer_hidden(&mut pty, "Part of custodian 1 of 2: ", FIRST);
        }
        pty.finish()
    });
    assert_eq!(told.status.code(), Some(5), "{}", told.transcript);
}

#[test]
fn a_part_that_is_not_taken_three_times() {
    let world = World::new();
    let refused = |name: &str, code: i32, line: &str, answers: &[(&str, &str)]| {
        let end = world.unchanged(|| {
            let mut pty = world.terminal(line);
            for (prompt, part) in answers {
                answer_hidden(&mut pty, prompt, part);
            }
            let end = pty.finish();
            assert!(pty.is_sane());
            end
        });
        assert_eq!(end.status.code(), Some(code), "{}", end.transcript);
        snapshot::check_text(name, &world.plain(&end.transcript));
    };
    let (one, again) = ("Part of custodian 1 of 2: ", "Part of custodian 1 of 2, again: ");
    let new = "backup --custodians 2 new.backup";
    refused("custodians-differ", 5, new, &[(one, FIRST), (again, SECOND)].repeat(3));
    refused("custodians-weak", 5, new, &[(one, "nine walnuts"); 3]);
    refused("custodians-empty", 2, "verify --custodians 2 payroll.backup", &[(one, ""); 3]);
    let both = [(one, FIRST), (again, FIRST), ("Part of custodian 2 of 2: ", FIRST), ("2 of 2, again: ", FIRST)];
    refused("custodians-alike", 5, new, &both);
    let swapped = [(one, SECOND), ("Part of custodian 2 of 2: ", FIRST)];
    refused("custodians-wrong", 4, "verify --custodians 2 payroll.backup", &swapped);
}

/// Between one question and the next, too: what a hasty custodian types there would be on the screen for the others.
#[test]
fn nothing_typed_between_two_questions_is_shown() {
    let world = World::new();
    let mut pty = world.terminal("backup --custodians 2 new.backup");
    answer_hidden(&mut pty, "Part of custodian 1 of 2: ", FIRST);
    let start = Instant::now();
    while !pty.transcript().contains("Part of custodian 1 of 2, again: ") && start.elapsed() < SOON {
        pty.send_bytes(b"y");
    }
    // Ctrl-U takes back what came too late to be thrown away.
    answer_hidden(&mut pty, "Part of custodian 1 of 2, again: ", &format!("\x15{FIRST}"));
    answer_hidden(&mut pty, "Part of custodian 2 of 2: ", SECOND);
    answer_hidden(&mut pty, "Part of custodian 2 of 2, again: ", SECOND);
    answer(&mut pty, HINT, "");
    let end = pty.finish();
    assert_eq!(end.status.code(), Some(0), "{}", end.transcript);
    assert!(!end.transcript.contains("yy"), "{}", end.transcript);
}

#[test]
fn interrupted_between_custodians() {
    let world = World::new();
    let end = world.unchanged(|| {
        let mut pty = world.terminal("verify --custodians 2 payroll.backup");
        answer_hidden(&mut pty, "Part of custodian 1 of 2: ", FIRST);
        pty.expect("Part of custodian 2 of 2: ", SOON);
        pty.interrupt();
        let end = pty.finish();
        assert!(pty.is_sane());
        end
    });
    assert_eq!(end.status.code(), Some(130));
}

#[test]
fn custodians_need_a_terminal() {
    let world = World::new();
    let lines = ["verify --custodians 2 payroll.backup", "restore --custodians 2 payroll.backup"];
    world.all_refused("custodians-no-terminal", 2, &lines);
    world.refused("custodians-no-terminal-new", 2, "generate --yes --custodians 3 new.backup");
    let lines = [
        "backup --custodians 2 --passphrase-file pass new.backup",
        "restore --custodians 2 --passphrase-fd 0 payroll.backup",
        // Each part would have to be judged: that is for `passphrase check` of each.
        "passphrase check --custodians 2",
    ];
    for line in lines.into_iter().chain(["backup --custodians 1 new.backup", "verify --custodians 10 payroll.backup"]) {
        let shot = world.unchanged(|| world.run(line));
        assert_eq!(shot.code, Some(2), "{shot}");
    }
}
