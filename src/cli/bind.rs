//! PCRs: bound to, and for a while not.

use std::path::PathBuf;

use clap::Args;
use strongroom::device::Pcrs;

use super::{DryRun, PassphraseArgs, PinAnew, PinArgs, SignedArgs, Yes};

/// Bind what is sealed on TPMs to PCRs: it opens only while the machine is started as it was then
///
/// With --pcr-public-key, it opens while the machine is in any state that this key has signed: a new kernel comes with its
/// signature, and nothing needs to be bound anew.
///
/// Every generation is sealed anew and proved, and only then the old seals go. Without either option, the seals are bound
/// to what they are bound to, or were until `strongroom unbind`; of PCRs, what counts is what they hold now.
///
/// Nothing is bound unless you ask for it. PCR 7 (Secure Boot and its certificates) changes seldom; 0 and 2 with the firmware,
/// 4, 8, 9 and 11 with the boot loader or the kernel.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom bind --pcrs 7
  strongroom bind --pcr-public-key /etc/systemd/tpm2-pcr-public-key.pem
  strongroom bind                                         again, after `unbind` and a firmware update
  strongroom bind --from /mnt/usb/payroll.backup          the update came first, and the seals don't open any more")]
pub struct Bind {
    /// The PCRs: numbers from 0 to 23, `7` or `7+14`, and where it isn't SHA-256's, the bank: `sha384:7`
    #[arg(long, value_name = "PCRS")]
    pub pcrs: Option<Pcrs>,
    #[command(flatten)]
    pub signed: SignedArgs,
    /// The TPM of the ring that is meant [default: all of them]
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Take the secret out of a backup: the seals need not open
    #[arg(long, value_name = "BACKUP_FILE")]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub new_pin: PinAnew,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Bind what is sealed on TPMs to no PCRs, until `strongroom bind`: before an update of firmware or boot loader
#[derive(Args)]
#[command(after_long_help = "\
Example:
  strongroom unbind                   `status` warns until `strongroom bind` is back")]
pub struct Unbind {
    /// The TPM of the ring that is meant [default: all of them]
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}
