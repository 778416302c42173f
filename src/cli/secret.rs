//! The master secret: made, made anew, and used.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use strongroom::device::Pcrs;

use super::{DryRun, NewPassphrase, NewPin, PinArgs, SealArgs, SignedArgs, Yes};

/// Make a system: its first secret, inside the device, and its first backup
///
/// Without --device this is a wizard: it looks for TPMs and tokens, tells what each can do, and asks.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom init /mnt/usb/payroll.backup                       the wizard
  strongroom init --device tpm: --name payroll /mnt/usb/payroll.backup
  strongroom init --custodians 2 /mnt/usb/payroll.backup        two people type a part of the passphrase each
  strongroom init --device 'pkcs11:token=payroll?pin-source=/etc/strongroom/pin' \\
      --passphrase-fd 0 --hint 'sheet 7 in the safe' /mnt/usb/payroll.backup < passphrase")]
pub struct Init {
    /// The backup file to be made; it must not exist
    #[arg(value_name = "BACKUP_FILE")]
    pub file: PathBuf,
    /// The device: `tpm:` or `tpm:TCTI`, or a PKCS#11 URI (RFC 7512)
    #[arg(long, value_name = "URI")]
    pub device: Option<String>,
    /// The system's name [default: this host's]
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub seal: SealArgs,
    #[command(flatten)]
    pub new_pin: NewPin,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: NewPassphrase,
    #[command(flatten)]
    pub dry: DryRun,
}

/// Make a new generation of the master secret; it becomes active once its backup is proved
///
/// Older generations stay, to read what they protect. From then on `derive` without --generation gives other keys.
#[derive(Args)]
#[command(
    alias = "rotate",
    after_long_help = "\
Examples:
  strongroom generate --dry-run /mnt/usb/payroll-2.backup              all checks, and what would change
  strongroom generate /mnt/usb/payroll-2.backup
  strongroom generate --yes --passphrase-file /run/keys/passphrase /mnt/usb/payroll-2.backup
  strongroom generate --custodians 2 /mnt/usb/payroll-2.backup           its passphrase in two parts
  strongroom generate --leave-behind hsm1 /mnt/usb/payroll-2.backup      while hsm1 is away"
)]
pub struct Generate {
    /// The backup file to be made; it must not exist
    #[arg(value_name = "BACKUP_FILE")]
    pub file: PathBuf,
    /// A device of the ring that is not there and gets no seal, until `device repair`
    #[arg(long, value_name = "DEVICE")]
    pub leave_behind: Vec<String>,
    /// Bind the new generation to what these PCRs hold now, on TPMs [default: those that the active one is bound to]
    #[arg(long, value_name = "PCRS")]
    pub pcrs: Option<Pcrs>,
    #[command(flatten)]
    pub signed: SignedArgs,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: NewPassphrase,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Derive a key from the master secret, inside the device
///
/// The same label, length and generation give the same key, on every device that holds the generation. A new generation
/// gives other keys: pin --generation in whatever must open the same thing tomorrow.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom derive --generation 1 backups/db1
  strongroom derive --generation 1 --length 64 --format raw disk/data | cryptsetup open --key-file - /dev/sdb data")]
pub struct Derive {
    /// What the key is for: 1 to 255 bytes of text
    #[arg(value_name = "LABEL")]
    pub label: String,
    /// Length of the key in bytes, 1 to 1024
    #[arg(long, short, default_value_t = 32, value_name = "BYTES")]
    pub length: u64,
    /// The generation to derive from [default: the active one]
    #[arg(long, short, value_name = "N")]
    pub generation: Option<u32>,
    /// How the key is printed
    #[arg(long, short, default_value = "hex")]
    pub format: Format,
    #[command(flatten)]
    pub pin: PinArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Hex,
    Base64,
    /// The bytes themselves; refused to a terminal
    Raw,
}
