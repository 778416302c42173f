//! The command line, as clap types: words only. Parsing has no side effects; conflicts between flags are stated here.
//!
//! This page has what holds for every command, and the list of them; each verb, and what several take, is in a file beside it.

mod answers;
mod audit;
mod backup;
mod bind;
mod device;
mod doctor;
mod passphrase;
mod schema;
mod seal;
mod secret;
mod source;
mod status;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use answers::{DryRun, Yes};
pub use audit::{Audit, AuditShow, AuditVerify};
pub use backup::{Backup, Recover, Restore, Verify};
pub use bind::{Bind, Unbind};
pub use device::{Device, DeviceAdd, DeviceInit, DeviceRemove, DeviceRepair, DeviceRetry, TokenPins};
pub use doctor::{Doctor, Explain};
pub use passphrase::{Passphrase, PassphraseCheck};
pub use schema::Shape;
pub use seal::{SealArgs, SignedArgs};
pub use secret::{Derive, Format, Generate, Init};
pub use source::{NewPassphrase, NewPin, OfDevice, PassphraseArgs, PassphraseSource, PinAnew, PinArgs};
pub use status::Status;

/// Exit codes, at the end of the help.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed
  2    usage: what was asked for makes no sense, or an answer has nowhere to come from
  3    the device is unreachable, busy or timed out; a retry may help
  4    wrong passphrase or PIN
  5    refused: not the administrator, not the master, would overwrite, last try, weak passphrase, answered no
  6    the ring or a backup is damaged, or the log was tampered with
  7    status --check found a warning
  8    the device won't: locked out, policy not met, not the device that made the seal; or doctor
       found trouble: a person must act
  130  interrupted

Documentation: README.md, docs/operations.md, docs/automation.md, docs/backup-format.md, docs/audit-log.md, docs/threat-model.md";

#[derive(Parser)]
#[command(name = "strongroom", version, max_term_width = 100, after_long_help = EXIT_CODES)]
/// Keeps a server's master secret in its TPM or HSM, backs it up under a passphrase, and derives keys from it
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct Global {
    /// State directory [default: $STRONGROOM_DIR, $STATE_DIRECTORY, or /var/lib/strongroom]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub dir: Option<PathBuf>,
    /// Signatures of PCR states, as systemd-measure writes them [default: tpm2-pcr-signature.json where systemd looks for it]
    #[arg(long, global = true, value_name = "FILE", env = "STRONGROOM_PCR_SIGNATURE", hide_env = true)]
    #[arg(help_heading = "Everywhere")]
    pub pcr_signature: Option<PathBuf>,
    /// Say only what went wrong
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// Write JSON to standard output: one object a line for steps and errors
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// When to use colour (NO_COLOR is honoured)
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Everywhere")]
    pub color: Color,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
pub enum Command {
    Init(Init),
    Generate(Generate),
    Backup(Backup),
    Verify(Verify),
    Restore(Restore),
    Recover(Recover),
    Bind(Bind),
    Unbind(Unbind),
    Status(Status),
    Derive(Derive),
    #[command(subcommand)]
    Device(Device),
    #[command(subcommand)]
    Audit(Audit),
    #[command(subcommand)]
    Passphrase(Passphrase),
    Doctor(Doctor),
    Explain(Explain),
    /// Print the JSON Schema of what --json prints
    ///
    /// Every object names its schema, and errors are `{"error": ...}`. Without a name, the schemas are listed. Schemas are
    /// 2020-12, made from the program's own types; fields that they don't know may come with later versions.
    ///
    /// Example: strongroom schema plan
    Schema {
        name: Option<Shape>,
    },
    /// Print a completion script for a shell
    ///
    /// Example: strongroom completions bash > /usr/share/bash-completion/completions/strongroom
    Completions {
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    Man {
        directory: PathBuf,
    },
    /// Look at the tokens of one PKCS#11 module, in a process that may crash
    #[command(hide = true)]
    ProbeModule {
        module: OsString,
    },
    /// Look at one device from end to end, in a process that may crash
    #[command(hide = true)]
    CheckDevice {
        uri: String,
        /// What the ring pinned of it, as JSON
        pinned: Option<String>,
    },
}
