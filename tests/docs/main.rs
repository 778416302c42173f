//! The docs, as somebody at a terminal follows them: every command in README.md and docs/*.md is run, and what it says is
//! compared with what the document shows. CONTRIBUTING.md says how an example is written; `elsewhere.rs` has the few commands
//! that can't be run as they stand.
//!
//! A document is one story, on a server of its own.

#[path = "../common/mod.rs"]
mod common;
mod document;
mod elsewhere;
mod pattern;
mod session;

use std::collections::BTreeSet;
use std::process::Command;

use document::Section;
use pattern::Bindings;
use session::Session;

/// Documents that a test below follows.
macro_rules! followed {
    ($($story:ident: $document:literal, $bindings:expr;)*) => {
        const STORIES: &[&str] = &[$($document),*];
        $(#[test]
        fn $story() {
            follow_all($document, $bindings);
        })*
    };
}

followed! {
    readme: "README.md", Bindings::default();
    audit_log: "docs/audit-log.md", Bindings::default();
    // The example in it is a file of the repository.
    backup_format: "docs/backup-format.md", Bindings::as_written();
    reliability: "docs/reliability.md", Bindings::default();
}

/// One server for the whole document.
fn follow_all(document: &str, bindings: Bindings) {
    let mut session = Session::new(document, bindings);
    for section in sections(document) {
        session.follow(&section);
    }
}

fn sections(document: &str) -> Vec<Section> {
    document::sections(document, &document::text(document))
}

#[test]
fn nothing_that_can_be_run_is_left_out() {
    let followed: BTreeSet<&str> = STORIES.iter().copied().collect();
    for document in document::all() {
        // Also finds what is written in a way that is not run.
        let sections = sections(&document);
        let with_steps = sections.iter().filter(|section| !section.steps.is_empty());
        let found = with_steps.count();
        assert_eq!(found > 0, followed.contains(document.as_str()), "{document}: see the list in tests/docs/main.rs");
    }
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
