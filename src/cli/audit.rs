//! The record of ceremonies.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use strongroom::audit::What;

use super::PinArgs;

/// The record of ceremonies: who did what, and what was refused
#[derive(Subcommand)]
pub enum Audit {
    Show(AuditShow),
    Verify(AuditVerify),
}

/// Show the log's entries; never prompts
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom audit show --last 20
  strongroom audit show --since 2026-11-01 --what generate
  strongroom audit show --json | jq 'select(.entry.outcome == \"refused\").entry'")]
pub struct AuditShow {
    /// Entries from then on: a day (2026-11-25, UTC) or a moment (2026-11-25T10:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Entries about one thing
    #[arg(long, value_name = "WHAT", value_parser = what_parser())]
    pub what: Option<What>,
    /// The last N of them
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}

/// Check the log with the devices: whether an entry was changed, dropped, moved or cut off
///
/// Says up to which entry the master secret vouches for it, and what shows that nothing was cut off after it: a TPM's counter,
/// or the copy in the journal. Exit code 6, and the first line that can't be true, where it was tampered with.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom audit verify
  strongroom audit verify --json | jq .vouched")]
pub struct AuditVerify {
    #[command(flatten)]
    pub pin: PinArgs,
}

fn what_parser() -> impl TypedValueParser<Value = What> {
    PossibleValuesParser::new(What::ALL.map(What::name))
        .map(|name| What::ALL.into_iter().find(|what| what.name() == name).expect("one of them"))
}
