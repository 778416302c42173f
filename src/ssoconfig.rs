//! `ssoconfig`, for hands that know it: called by that name, the program takes the words of the product whose place it
//! takes, Microsoft Enterprise Single Sign-On. They become words of Strongroom and go through the same parser and the same
//! commands: there is one way in, and nothing is done here.
//!
//! What the product says and takes, from public documents, since we have no copy of it:
//!
//! - `-generateSecret`, `-backupSecret`, `-restoreSecret` with a file: learn.microsoft.com, Host Integration Server, "How to
//!   generate / back up / restore the master secret". Printed there with a dash (U+2013), and pasted from there.
//! - all its options: TechNet wiki 6904, "BizTalk Server 2010: Enterprise SSO survival guide", where they stand under the name
//!   of its sister `ssomanage`. learn.microsoft.com has most of them with `ssoconfig`, one by one.
//! - `Password reminder :`, `Password :` and the last line of a restore: til.intrepidintegration.com, "How to reset your SSO
//!   secret"; the last line also on learn.microsoft.com, BizTalk Server, "How to recover Enterprise Single Sign-On".
//!   `Confirm Password :` those pages describe and don't quote.
//!
//! `docs/ssoconfig.md` says what is different.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Parser;
use clap::error::{Error, ErrorKind};
use strongroom::store::{Store, StoreError};
use strongroom::text::escaped;

use crate::cli::Cli;
use crate::commands;
use crate::terminal::words::Words;

const NAME: &str = "ssoconfig";

pub const WORDS: Words = Words {
    passphrase: "Password : ",
    new: "Password : ",
    again: "Confirm Password : ",
    hint: "Password reminder : ",
    told: "Password reminder : ",
    before_new: Some("Left empty, a strong password is made."),
    before_hint: Some("Anyone who finds the file can read the reminder; it may be left empty."),
    end: Some("The operation completed successfully."),
};

const USAGE: &str = "\
Usage: ssoconfig OPTION, with - or / and in any case:
  -generateSecret FILE   generate a new master secret, and back it up   strongroom init; later strongroom generate
  -backupSecret FILE     back up the master secret                      strongroom backup
  -restoreSecret FILE    restore the master secret                      strongroom restore
  -status                show the system, its devices and backups       strongroom status
  -help                  this

This is Strongroom, which takes the place of Enterprise Single Sign-On's master secret server. Flags of its commands may
follow, as in: ssoconfig -restoreSecret FILE --device tpm: --dry-run. See `strongroom COMMAND --help`.
";

/// The product's other options, and what to do instead.
const OTHERS: &[(&str, &str)] = &[
    ("setDB", "the ring lies in a directory, not in a database: --dir DIR, or $STRONGROOM_DIR, names it"),
    ("showDB", "`strongroom status` shows the system, its devices, generations and backups"),
    ("createDB", "there is no database; `strongroom init FILE` makes a system and its first secret"),
    ("upgradeDB", "there is nothing to upgrade: each version opens what those before it made"),
    ("auditLevel", "all is written down, whatever its level: `strongroom audit show` shows it"),
    ("setSSL", "there is nothing to set: what is secret never crosses a TPM's bus in the clear"),
    ("remoteLookup", "nothing is looked up from afar; `strongroom derive LABEL` gives a key on this server"),
    ("discover", "`strongroom device list` shows the TPMs and tokens of this server; other servers are not looked for"),
    ("scp", "servers are not published in a directory; `strongroom status` shows who is the master"),
    ("replayFiles", NO_PASSWORDS),
    ("syncAge", NO_PASSWORDS),
    ("allowPS", NO_PASSWORDS),
    ("reportFilterErrors", NO_PASSWORDS),
];
const NO_PASSWORDS: &str =
    "Strongroom keeps the master secret and synchronizes no passwords; `strongroom --help` has what it does";

/// Whether the program is called by the product's name: as a link or a copy.
pub fn is_called(line: &[OsString]) -> bool {
    let name = line.first().and_then(|program| Path::new(program).file_name());
    name.is_some_and(|name| name.eq_ignore_ascii_case(NAME))
}

/// What is asked for, in Strongroom's words; an error that says what to write instead.
pub fn parse(words: &[OsString]) -> Result<Cli, Error> {
    let Some((option, rest)) = words.split_first() else {
        return Err(refused("an option is missing", USAGE));
    };
    let name = named(option);
    match name.to_ascii_lowercase().as_str() {
        "generatesecret" => first_or_next(rest),
        "backupsecret" => strongroom("backup", rest),
        "restoresecret" => strongroom("restore", rest),
        "status" => strongroom("status", rest),
        "help" | "h" | "?" | "-help" => Err(help()),
        _ => Err(match OTHERS.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
            Some((other, instead)) => {
                Error::raw(ErrorKind::InvalidSubcommand, format!("-{other} is not for Strongroom\nhint: {instead}\n"))
            }
            None => refused(&format!("there is no option `{}`", escaped(&option.to_string_lossy())), USAGE),
        }),
    }
}

/// An option's name, without what marks it as one; empty where nothing does, or it is no text.
fn named(option: &OsStr) -> &str {
    option.to_str().and_then(|option| option.strip_prefix(['-', '/', '\u{2013}'])).unwrap_or_default()
}

/// `strongroom verb rest`.
fn strongroom(verb: &str, rest: &[OsString]) -> Result<Cli, Error> {
    let words = ["strongroom", verb].map(OsString::from);
    Cli::try_parse_from(words.iter().chain(rest))
}

/// The product makes the first secret of a system in its configuration wizard, and ours in `init`, which is one; where
/// there is a ring, or the remains of one, it is another secret.
fn first_or_next(rest: &[OsString]) -> Result<Cli, Error> {
    let (first, next) = (strongroom("init", rest), strongroom("generate", rest));
    // The flags may be for one of them only; where the ring is, both can say.
    let directory = [&first, &next].into_iter().flatten().next().map(commands::directory);
    let is_fresh = |directory: &Path| {
        let ring = Store::open(directory).and_then(|store| store.ring());
        matches!(ring, Err(StoreError::NoRing(_)))
    };
    if directory.is_some_and(|directory| is_fresh(&directory)) { first } else { next }
}

/// What clap gives where help was asked for: it goes to standard output, and is no failure.
fn help() -> Error {
    let command = clap::Command::new(NAME).override_help(USAGE);
    command.try_get_matches_from([NAME, "--help"]).expect_err("help is no match")
}

fn refused(message: &str, more: &str) -> Error {
    Error::raw(ErrorKind::InvalidSubcommand, format!("{message}\n\n{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_by_the_programs_own_name() {
        let called = |program: &str| is_called(&[OsString::from(program)]);
        assert!(called("ssoconfig") && called("/usr/local/bin/SSOConfig") && called("./SSOCONFIG"));
        assert!(!called("strongroom") && !called("/ssoconfig/strongroom") && !called("ssoconfig2") && !called(""));
        assert!(!is_called(&[]));
    }

    #[test]
    fn options_are_marked_in_three_ways() {
        let plain = |option: &str| named(OsStr::new(option)).to_owned();
        for option in ["-Status", "/Status", "\u{2013}Status"] {
            assert_eq!(plain(option), "Status");
        }
        assert_eq!(plain("Status"), "");
        assert_eq!(plain("--status"), "-status");
    }

    /// Each other option is refused with a hint, by whatever case; none of them hides one of ours.
    #[test]
    fn every_option_of_the_product_is_known() {
        for (option, instead) in OTHERS {
            let Err(error) = parse(&[OsString::from(format!("/{}", option.to_uppercase()))]) else {
                panic!("{option} is taken");
            };
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(instead), "{error}");
        }
    }
}
