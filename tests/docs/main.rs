//! The docs, as somebody at a terminal follows them: every command in README.md and docs/*.md is run, and what it says is
//! compared with what the document shows. CONTRIBUTING.md says how an example is written; `elsewhere.rs` has the few commands
//! that can't be run as they stand.
//!
//! Each section of the runbook begins on a server of its own, other documents are one story from start to end.

#[path = "../common/mod.rs"]
mod common;
mod document;
mod elsewhere;
mod pattern;
mod session;

use std::collections::BTreeSet;
use std::process::Command;

use document::{Act, Section};
use pattern::Bindings;
use session::Session;

const RUNBOOK: &str = "docs/operations.md";

/// Documents and sections that a test below follows.
macro_rules! followed {
    (stories { $($story:ident: $document:literal, $bindings:expr;)* }
     procedures { $($procedure:ident: $title:literal;)* }) => {
        const STORIES: &[&str] = &[$($document),*];
        const PROCEDURES: &[&str] = &[$($title),*];
        $(#[test]
        fn $story() {
            follow_all($document, $bindings);
        })*
        $(#[test]
        fn $procedure() {
            follow($title);
        })*
    };
}

followed! {
    stories {
        readme: "README.md", Bindings::default();
        audit_log: "docs/audit-log.md", Bindings::default();
        // The example in it is a file of the repository.
        backup_format: "docs/backup-format.md", Bindings::as_written();
        reliability: "docs/reliability.md", Bindings::default();
    }
    procedures {
        first_hour: "First hour";
        drills: "Drills";
        rotation: "Rotation";
        a_device_dies: "A device dies";
        the_server_dies: "The server dies";
        the_passphrase_is_lost: "The passphrase is lost";
        the_pin_is_lost_or_locked: "The PIN is lost or locked";
        firmware_update: "Firmware update";
        bound_to_what_is_signed: "Bound to what is signed";
        the_storage_root_key_was_removed: "The storage root key was removed";
        a_blank_token: "A blank token";
        moving_to_an_hsm: "Moving to an HSM";
        an_hsm_that_can_not_do_all: "An HSM that can't do all";
        two_custodians: "Two custodians";
        disks: "Disks";
        services: "Services";
        monitoring: "Monitoring";
        the_ring_is_damaged: "The ring is damaged";
        two_masters: "Two masters";
        ci_with_softhsm_and_swtpm: "CI with SoftHSM and swtpm";
    }
}

/// One server for the whole document.
fn follow_all(document: &str, bindings: Bindings) {
    let mut session = Session::new(document, bindings);
    for section in sections(document) {
        session.follow(&section);
    }
}

/// A server for one section of the runbook.
fn follow(title: &str) {
    let sections = sections(RUNBOOK);
    let section = sections.iter().find(|section| section.title == title).expect("a section of that title");
    Session::new(RUNBOOK, Bindings::default()).follow(section);
}

fn sections(document: &str) -> Vec<Section> {
    document::sections(document, &document::text(document))
}

/// What is not listed above is followed here, one document after the other.
#[test]
fn every_other_document() {
    let listed = |document: &String| document == RUNBOOK || STORIES.contains(&document.as_str());
    for document in document::all().into_iter().filter(|document| !listed(document)) {
        if sections(&document).iter().any(|section| !section.steps.is_empty()) {
            follow_all(&document, Bindings::default());
        }
    }
}

#[test]
fn every_section_of_the_runbook_is_followed() {
    let sections = sections(RUNBOOK);
    let with_steps = sections.iter().filter(|section| !section.steps.is_empty());
    let found: BTreeSet<&str> = with_steps.map(|section| section.title.as_str()).collect();
    assert_eq!(found, PROCEDURES.iter().copied().collect());
}

/// An excuse that nobody needs any more would cover the next one who does.
#[test]
fn every_exception_is_needed() {
    let mut commands = Vec::new();
    for document in document::all() {
        for step in sections(&document).into_iter().flat_map(|section| section.steps) {
            match step.act {
                Act::Typed { command, .. } => commands.push(command),
                Act::Script { script, .. } => commands.push(script),
                Act::Happens(_) | Act::Types(_) => {}
            }
        }
    }
    let any = |test: &dyn Fn(&str) -> bool| commands.iter().any(|command| test(command));
    for (from, ..) in elsewhere::REPLACED {
        assert!(any(&|command| command.contains(from)), "no command has {from:?}");
    }
    for (start, ..) in elsewhere::NOT_RUN {
        assert!(any(&|command| command.starts_with(start)), "no command begins with {start:?}");
    }
}

/// The table in "Monitoring" has each word that `status --check` can begin a line with, and no other.
#[test]
fn every_warning_has_a_line_in_the_runbook() {
    let source = |name: &str| document::text(&format!("src/status{name}.rs"));
    let code = [source(""), source("/devices"), source("/log")].concat();
    let named = code.split(['(', '{', '\n']).filter_map(|part| {
        let part = part.trim();
        let name =
            part.strip_prefix("id: ").unwrap_or(part).trim_start_matches("Statement { id: ").strip_prefix('"')?;
        let (name, after) = name.split_once('"')?;
        let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        (is_word && after.starts_with(',')).then(|| name.to_owned())
    });
    let named: BTreeSet<String> = named.collect();

    let runbook = document::text(RUNBOOK);
    let rows = runbook.lines().skip_while(|line| *line != "| word | what to do |").skip(2);
    let cells = rows.map_while(|row| row.strip_prefix("| ")?.split(" |").next().map(str::to_owned));
    let told: BTreeSet<String> = cells.flat_map(|cell| words(&cell)).collect();
    assert_eq!(told, named);
}

fn words(cell: &str) -> Vec<String> {
    cell.split(", ").map(|word| word.trim_matches('`').to_owned()).collect()
}

/// Commands in running text are not run: that there are such words and flags is what is looked at.
#[test]
fn commands_in_running_text_exist() {
    for document in document::all() {
        for (line, span) in document::spans(&document::text(&document)) {
            let words: Vec<&str> = span.split_whitespace().skip(1).collect();
            let is_verb = |word: &&&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
            let verbs: Vec<&str> = words.iter().take_while(is_verb).copied().take(2).collect();
            let help = help(&verbs).or_else(|| help(&verbs[..1.min(verbs.len())]));
            let help = help.unwrap_or_else(|| panic!("{document}:{line}: no such command: {span}"));
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().expect("one part at least").trim_end_matches(',');
                assert!(help.contains(flag), "{document}:{line}: no such flag: {span}");
            }
        }
    }
}

/// The help of a command, if there is one of that name.
fn help(verbs: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom")).args(verbs).arg("--help").output();
    let output = output.expect("the program is built");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
