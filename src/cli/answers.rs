//! How a ceremony is confirmed, or only planned.

use clap::Args;

#[derive(Args, Clone, Copy, PartialEq, Eq)]
pub struct DryRun {
    /// Say what would change and what would be asked for, and change nothing
    #[arg(long, help_heading = None::<&str>)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct Yes {
    /// Answer yes to the question
    #[arg(long, short, help_heading = None::<&str>)]
    pub yes: bool,
}
