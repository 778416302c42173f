//! What shall guard a seal.

use clap::Args;
use strongroom::ceremony::SealOptions;
use strongroom::device::Pcrs;

/// What shall guard the seals on a device that is new here.
#[derive(Args)]
pub struct SealArgs {
    /// Bind the seals to what these PCRs hold now, such as `7` or `sha256:7+14` (TPM only)
    #[arg(long, value_name = "PCRS")]
    pub pcrs: Option<Pcrs>,
    /// Guard the secret with a PIN of its own (TPM only)
    #[arg(long)]
    pub with_pin: bool,
}

impl From<SealArgs> for SealOptions {
    fn from(SealArgs { pcrs, with_pin }: SealArgs) -> Self {
        Self { with_pin, pcrs }
    }
}
