//! What `--json` prints.

use clap::ValueEnum;

/// What `--json` prints, by the name of its schema.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// What a ceremony will do, and what it will ask for
    Plan,
    /// One thing that a ceremony has done, or begins to do
    Step,
    /// What a backup says of itself before it is opened
    Preamble,
    /// What a drill found
    Verify,
    /// `status`
    Status,
    /// `derive`
    Derive,
    /// `device list`
    Devices,
    /// Each line of `audit show`
    Audit,
    /// `audit verify`
    AuditVerify,
    /// `passphrase check` and `passphrase suggest`
    Passphrase,
    /// `doctor`
    Doctor,
    /// `explain`
    Explain,
    /// `schema` without a name
    Schemas,
    /// What did not happen, and why
    Error,
}
