//! Backups: made, drilled, and what comes back out of them.

use std::path::PathBuf;

use clap::Args;

use super::{DryRun, NewPassphrase, NewPin, PassphraseArgs, PinArgs, SealArgs, Yes};

/// Make another backup of every generation, under a passphrase of its own
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom backup /mnt/usb2/payroll.backup
  strongroom backup --custodians 3 /mnt/usb2/payroll.backup
  strongroom backup --passphrase-file /run/keys/passphrase --hint 'sheet 8' /mnt/usb2/payroll.backup")]
pub struct Backup {
    /// The backup file to be made; it must not exist
    #[arg(value_name = "BACKUP_FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: NewPassphrase,
    #[command(flatten)]
    pub dry: DryRun,
}

/// A drill: open a backup, and prove every generation in it against the device
///
/// Works on any machine: where there is no ring, it says what it could not prove.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom verify /mnt/usb/payroll.backup
  strongroom verify --custodians 2 /mnt/usb/payroll.backup      each types the part that they know")]
pub struct Verify {
    #[arg(value_name = "BACKUP_FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    #[command(flatten)]
    pub dry: DryRun,
}

/// Restore the same secret onto this server's device
///
/// On a fresh server it makes the ring; on a ring of the same system it adds what is missing. Another system's ring, or
/// another device, is replaced only with --replace.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom restore /mnt/usb/payroll.backup                    asks which device, on a fresh server
  strongroom restore --dry-run --device tpm: /mnt/usb/payroll.backup
  strongroom restore --device 'pkcs11:token=payroll' /mnt/usb/payroll.backup
  strongroom restore --custodians 2 --device tpm: /mnt/usb/payroll.backup
  strongroom restore --member --device tpm: --yes --passphrase-fd 0 /mnt/usb/payroll.backup < passphrase")]
pub struct Restore {
    #[arg(value_name = "BACKUP_FILE")]
    pub file: PathBuf,
    /// The device: `tpm:` or `tpm:TCTI`, or a PKCS#11 URI (RFC 7512) [default: the ring's; else asked for]
    #[arg(long, value_name = "URI")]
    pub device: Option<String>,
    /// Restore without the right to generate: the master is, and stays, another server
    #[arg(long)]
    pub member: bool,
    /// Replace the ring that is here: another system's, or one on a device that is gone
    #[arg(long)]
    pub replace: bool,
    /// Go on where the log of ceremonies can't be written; the journal is told
    #[arg(long)]
    pub no_audit: bool,
    /// On a ring of the same system: make the backup's active generation the active one
    #[arg(long)]
    pub activate: bool,
    /// A device of the ring that is not there and gets no seal, until `device repair`
    #[arg(long, value_name = "DEVICE", conflicts_with = "replace")]
    pub leave_behind: Vec<String>,
    #[command(flatten)]
    pub seal: SealArgs,
    #[command(flatten)]
    pub new_pin: NewPin,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Put back the last good ring, where the ring was damaged or lost
///
/// The state directory keeps copies of the last rings. Nothing is overwritten: what is damaged is kept aside.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom recover --dry-run
  strongroom recover")]
pub struct Recover {
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}
