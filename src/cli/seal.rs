//! What shall guard a seal.

use std::path::PathBuf;

use clap::Args;
use strongroom::ceremony::SealOptions;
use strongroom::device::{BoundTo, Pcrs, PolicyKey};

use crate::report::Stop;

/// What shall guard the seals on a device that is new here.
#[derive(Args)]
pub struct SealArgs {
    /// Bind the seals to what these PCRs hold now, such as `7` or `sha256:7+14` (TPM only)
    #[arg(long, value_name = "PCRS")]
    pub pcrs: Option<Pcrs>,
    #[command(flatten)]
    pub signed: SignedArgs,
    /// Guard the secret with a PIN of its own (TPM only)
    #[arg(long)]
    pub with_pin: bool,
}

impl SealArgs {
    /// Reads the key, if one is named.
    pub fn options(self) -> Result<SealOptions, Stop> {
        Ok(SealOptions { with_pin: self.with_pin, bound: self.signed.bound(self.pcrs)? })
    }
}

/// Who signs what PCRs may hold.
#[derive(Args)]
pub struct SignedArgs {
    /// Bind to whatever state of the PCRs this public key has signed, or will have; they are PCR 11, unless --pcrs names others
    #[arg(long, value_name = "PEM_FILE")]
    pub pcr_public_key: Option<PathBuf>,
}

impl SignedArgs {
    /// What to bind to. Reads the key, if one is named.
    pub fn bound(self, pcrs: Option<Pcrs>) -> Result<Option<BoundTo>, Stop> {
        let read = |path: PathBuf| {
            PolicyKey::read(&path).map_err(|source| Stop::PolicyKey { path: path.display().to_string(), source })
        };
        Ok(BoundTo::asked(pcrs, self.pcr_public_key.map(read).transpose()?))
    }
}
