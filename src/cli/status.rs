//! How things stand.

use clap::Args;

/// Show the system, its devices, generations and backups, and what needs attention; never prompts
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom status
  strongroom status --json | jq .active
  strongroom status --check        one line a warning; exit code 7 where there is one
  strongroom status --quick --json what the ring says, at once, with any number of devices")]
pub struct Status {
    /// For monitoring: print warnings only, and exit with 7 where there are any
    #[arg(long)]
    pub check: bool,
    /// Look at the ring alone: no device is asked, so nothing is said of their health
    #[arg(long, conflicts_with = "check")]
    pub quick: bool,
}
