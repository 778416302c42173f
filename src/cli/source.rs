//! Where passphrases and PINs come from.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

/// Where a passphrase is read from; neither: it is typed.
#[derive(Args)]
#[command(next_help_heading = "Passphrase")]
pub struct PassphraseSource {
    /// Read the passphrase from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    pub passphrase_file: Option<PathBuf>,
    /// Read the passphrase from a line of an open descriptor
    #[arg(long, value_name = "FD")]
    pub passphrase_fd: Option<i32>,
}

/// Where the passphrase of a backup comes from.
#[derive(Args)]
#[command(next_help_heading = "Passphrase")]
pub struct PassphraseArgs {
    #[command(flatten)]
    pub source: PassphraseSource,
    /// Have N people (2 to 9) type a part each, unseen by the others; joined by `-`, the parts are the passphrase
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=9),
          conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    pub custodians: Option<u8>,
}

/// Where a new passphrase comes from, and what goes with it.
#[derive(Args)]
#[command(next_help_heading = "Passphrase")]
pub struct NewPassphrase {
    #[command(flatten)]
    pub source: PassphraseArgs,
    /// A reminder in the backup's clear text: anyone who finds the file can read it
    #[arg(long, value_name = "TEXT")]
    pub hint: Option<String>,
    /// log2 of scrypt's N, 10 to 20
    #[arg(long, value_name = "N", hide = true, default_value_t = strongroom::backup::WORK_FACTOR,
          value_parser = clap::value_parser!(u8).range(10..=20))]
    pub work_factor: u8,
}

/// Where the device's PIN comes from.
#[derive(Args)]
#[command(next_help_heading = "PIN")]
pub struct PinArgs {
    /// Read the PIN from the first line of a file; once for each device, where several ask: tpm1=FILE
    #[arg(long, value_name = "[DEVICE=]FILE", conflicts_with = "pin_fd")]
    pub pin_file: Vec<OfDevice<PathBuf>>,
    /// Read the PIN from a line of an open descriptor (before the passphrase's line, where both use it)
    #[arg(long, value_name = "[DEVICE=]FD")]
    pub pin_fd: Vec<OfDevice<i32>>,
    /// Send a PIN even where the device takes only one more wrong one before it locks
    #[arg(long)]
    pub use_last_try: bool,
}

/// Something for one device, or for the one that needs it: `tpm1=/run/pin` or `/run/pin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfDevice<T> {
    pub device: Option<String>,
    pub what: T,
}

impl<T: FromStr> FromStr for OfDevice<T> {
    type Err = T::Err;

    /// What stands before `=` is a device only where it looks like the name of one: paths may hold a `=` too.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |name: &str| {
            let number = name.strip_prefix("tpm").or_else(|| name.strip_prefix("hsm"));
            number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        match text.split_once('=').filter(|(name, _)| is_name(name)) {
            Some((name, what)) => Ok(Self { device: Some(name.to_owned()), what: what.parse()? }),
            None => Ok(Self { device: None, what: text.parse()? }),
        }
    }
}

/// Where the PIN of seals comes from that are made anew out of a backup.
#[derive(Args)]
#[command(next_help_heading = "PIN")]
pub struct PinAnew {
    /// Read the PIN that shall guard the seals from the first line of a file
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with = "new_pin_fd")]
    pub new_pin_file: Option<PathBuf>,
    /// Read the PIN that shall guard the seals from a line of an open descriptor
    #[arg(long, value_name = "FD", requires = "from")]
    pub new_pin_fd: Option<i32>,
}

impl From<PinAnew> for NewPin {
    fn from(PinAnew { new_pin_file, new_pin_fd }: PinAnew) -> Self {
        Self { new_pin_file, new_pin_fd }
    }
}

/// Where the PIN of a new seal comes from.
#[derive(Args)]
#[command(next_help_heading = "PIN")]
pub struct NewPin {
    /// Read the new PIN from the first line of a file
    #[arg(long, value_name = "FILE", requires = "with_pin", conflicts_with = "new_pin_fd")]
    pub new_pin_file: Option<PathBuf>,
    /// Read the new PIN from a line of an open descriptor
    #[arg(long, value_name = "FD", requires = "with_pin")]
    pub new_pin_fd: Option<i32>,
}
