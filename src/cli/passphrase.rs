//! Passphrases, before there is a backup for them.

use clap::{Args, Subcommand};

use super::PassphraseSource;

/// Passphrases for new backups
#[derive(Subcommand)]
pub enum Passphrase {
    Check(PassphraseCheck),
    /// Print a strong one: ten words, to be written down
    ///
    /// The same that a prompt for a new backup's passphrase makes when it is left empty. It is printed to standard output, and
    /// nothing keeps it.
    Suggest,
}

/// Judge a passphrase as a new backup would, without making one
///
/// The name of this server's system, if it has one, and this host's are among the words that a guesser tries first. Exit
/// code 5 where it would not be taken.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom passphrase check
  strongroom passphrase check --json --known payroll --hint 'sheet 7' --passphrase-fd 0 < passphrase | jq .score")]
pub struct PassphraseCheck {
    /// The hint that would go with it: it must not give the passphrase away
    #[arg(long, value_name = "TEXT")]
    pub hint: Option<String>,
    /// A word that a guesser would try first, such as the name of a system that is to be made
    #[arg(long, value_name = "WORD")]
    pub known: Vec<String>,
    #[command(flatten)]
    pub source: PassphraseSource,
}
