//! Devices of the ring.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use strongroom::device::TokenLabel;

use super::{DryRun, NewPin, PinArgs, SealArgs, Yes};

/// The devices of this server
#[derive(Subcommand)]
pub enum Device {
    /// List the TPMs and tokens that are there, and what each can do
    ///
    /// Tokens are those of p11-kit's modules; each module is looked at in a process of its own. Devices of the ring are
    /// marked with the names that they have there.
    List,
    Init(DeviceInit),
    Add(DeviceAdd),
    Remove(DeviceRemove),
    Repair(DeviceRepair),
    Retry(DeviceRetry),
}

/// Initialise a blank token: a label, a security officer's PIN and a user PIN
///
/// For soft tokens, and HSMs that let programs do it. Refused on a token that holds anything, or may: one with a user PIN. Where
/// an earlier run was cut off, the next goes on. The token is in no ring then: `init` and `device add` take it.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom device init --label payroll             the one blank token of p11-kit's modules
  strongroom device init --label payroll 'pkcs11:slot-id=3?module-name=somehsm'
  strongroom device init --yes --label payroll --so-pin-file so --new-pin-file pin \\
      'pkcs11:?module-path=/usr/lib/softhsm/libsofthsm2.so'")]
pub struct DeviceInit {
    /// The token: a PKCS#11 URI (RFC 7512) that one blank token matches [default: the one that is found]
    #[arg(value_name = "URI")]
    pub uri: Option<String>,
    /// The token's label, 1 to 32 bytes; not needed where it has one, and lacks a user PIN only
    #[arg(long, value_name = "LABEL")]
    pub label: Option<TokenLabel>,
    #[command(flatten)]
    pub pins: TokenPins,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Where a token's PINs come from; nowhere: they are typed, each new one twice.
#[derive(Args)]
#[command(next_help_heading = "PIN")]
pub struct TokenPins {
    /// Read the security officer's PIN from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "so_pin_fd")]
    pub so_pin_file: Option<PathBuf>,
    /// Read the security officer's PIN from a line of an open descriptor (before the user PIN's line)
    #[arg(long, value_name = "FD")]
    pub so_pin_fd: Option<i32>,
    /// The security officer has a PIN, which is empty, as NSS's is before there is a user PIN
    #[arg(long, conflicts_with_all = ["so_pin_file", "so_pin_fd"])]
    pub empty_so_pin: bool,
    /// Read the new user PIN from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "new_pin_fd")]
    pub new_pin_file: Option<PathBuf>,
    /// Read the new user PIN from a line of an open descriptor
    #[arg(long, value_name = "FD")]
    pub new_pin_fd: Option<i32>,
    /// Send the officer's PIN even where the token takes only one more wrong one before it locks
    #[arg(long)]
    pub use_last_try: bool,
}

/// Add a device to the ring: every generation is sealed on it too, and it serves when another doesn't
///
/// Moving from a TPM to an HSM is `device add`, then `device remove`.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom device add 'pkcs11:token=payroll'
  strongroom device add --with-pin tpm:
  strongroom device add --yes --pin-file hsm1=/run/keys/hsm1 --pin-file hsm2=/run/keys/hsm2 'pkcs11:token=second'")]
pub struct DeviceAdd {
    /// The device: `tpm:` or `tpm:TCTI`, or a PKCS#11 URI (RFC 7512)
    #[arg(value_name = "URI")]
    pub uri: String,
    #[command(flatten)]
    pub seal: SealArgs,
    #[command(flatten)]
    pub new_pin: NewPin,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Remove a device from the ring, once every generation was shown to be served by another
///
/// Says what it can erase and what it can't: a token's wrapping keys are destroyed, a TPM can't revoke a copied seal.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom device remove tpm1
  strongroom device remove --leave-keys hsm1              its PIN is lost")]
pub struct DeviceRemove {
    /// The device, by its name in the ring
    #[arg(value_name = "DEVICE")]
    pub id: String,
    /// Leave the ring's wrapping keys on a token: destroying them takes its PIN
    #[arg(long)]
    pub leave_keys: bool,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Bring a device up to date: generations that it lacks, and seals on it that don't open
#[derive(Args)]
#[command(after_long_help = "\
Example:
  strongroom device repair hsm1")]
pub struct DeviceRepair {
    /// The device, by its name in the ring
    #[arg(value_name = "DEVICE")]
    pub id: String,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub dry: DryRun,
}

/// Forget that a device refused a PIN: its file or credential is tried again
#[derive(Args)]
#[command(after_long_help = "\
Example:
  strongroom device retry hsm1")]
pub struct DeviceRetry {
    /// The device, by its name in the ring
    #[arg(value_name = "DEVICE")]
    pub id: String,
}
