//! Devices of the ring.

use clap::{Args, Subcommand};

use super::{DryRun, NewPin, PinArgs, SealArgs, Yes};

/// The devices of this server
#[derive(Subcommand)]
pub enum Device {
    /// List the TPMs and tokens that are there, and what each can do
    ///
    /// Tokens are those of p11-kit's modules; each module is looked at in a process of its own. Devices of the ring are
    /// marked with the names that they have there.
    List,
    Add(DeviceAdd),
    Remove(DeviceRemove),
    Repair(DeviceRepair),
    Retry(DeviceRetry),
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
