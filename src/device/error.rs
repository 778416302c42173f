//! What a device can say besides yes: told apart by what a person has to do about it.

use std::fmt;

use super::pcrs::PcrChange;
use super::signatures::Unsigned;
use crate::derive::GenerationId;

/// Something a device did not do. The device's own code is the `source`, so it stays in the chain.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub struct DeviceError {
    pub fault: Fault,
    #[source]
    pub code: Option<DeviceCode>,
}

/// The kinds of failure, by their cure. Closed: a new kind of failure is a new line here and a hint in `report`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing answers there. A retry may help.
    #[error("{0}")]
    Unreachable(String),
    /// It answers, but others hold it. A retry may help.
    #[error("{0}")]
    Busy(String),
    /// No answer within the deadline.
    #[error("the device gave no answer within {seconds} seconds")]
    TimedOut { seconds: u64 },
    /// Another TPM, another token, a wiped token: not what the ring pinned or sealed with.
    #[error("{0}")]
    NotThisDevice(String),
    /// The TPM that made the seals, and can't open them any more: its owner's seed was replaced (TPM2_Clear).
    #[error("{0}")]
    Cleared(String),
    /// The TPM that made the seals, without the storage root key that it could make again: somebody removed it.
    #[error("{0}")]
    RootRemoved(String),
    /// The TPM's owner hierarchy is off until the next start (TPM2_HierarchyControl).
    #[error("{0}")]
    SwitchedOff(String),
    /// What should be a root of trust is not one: a storage root key or wrapping key that somebody else may know.
    #[error("{0}")]
    Untrusted(String),
    /// A PIN is needed and none could be had.
    #[error("{device} needs a PIN")]
    PinMissing { device: String },
    /// It was to be typed on the device's own PIN pad, and somebody pressed cancel, or nobody came in time.
    #[error("no PIN was typed on the PIN pad of {device}")]
    PadLeft { device: String },
    /// A new PIN that the device takes not: too short, too long, or not of the kind that it wants.
    #[error("{device} does not take such a PIN")]
    PinForm { device: String },
    /// It was to be blank, and holds something, or may.
    #[error("{0}")]
    InUse(String),
    /// A PIN is to come from a file or credential that can't be used.
    #[error("{0}")]
    PinSource(String),
    /// The PIN that this source gives was refused before, and the source is unchanged.
    #[error("{device} has refused the PIN in {from} before")]
    PinRefusedBefore { device: String, from: String },
    /// Several devices are meant.
    #[error("{0}")]
    Ambiguous(String),
    #[error("wrong PIN{}", tries(*.tries_left))]
    WrongPin { tries_left: Option<u32> },
    /// One try is left, and nobody said to use it.
    #[error("{device} takes one more wrong PIN before it locks")]
    LastTry { device: String },
    #[error("{device} is locked: too many wrong PINs{}", wait(*.wait_seconds))]
    LockedOut { device: String, wait_seconds: Option<u64> },
    /// The state that the seal asks for is not the state that is.
    #[error("{0}")]
    PolicyNotMet(String),
    /// PCRs hold something else than the seal is bound to; none are told where they could not be read.
    #[error("the machine was started otherwise than when the seal was made{}", changes(.0))]
    PcrsChanged(Vec<PcrChange>),
    /// The seal opens in states that a key has signed, and no signature of the one that is could be used.
    #[error("{0}")]
    Unsigned(Box<Unsigned>),
    /// A command, mechanism or algorithm that the job needs.
    #[error("{0}")]
    Missing(String),
    /// It takes no new key, where one is to be made.
    #[error("{0}")]
    WriteProtected(String),
    /// The operating system does not let us at it; `group` would be let.
    #[error("no permission to use {path}")]
    NoPermission { path: String, group: Option<String> },
    /// The seal opened, and held another secret than recorded.
    #[error("the seal gives generation {found}, the ring says {expected}")]
    OtherSecret { expected: GenerationId, found: GenerationId },
    /// A seal or wrapped secret that the device says was changed.
    #[error("{0}")]
    Damaged(String),
    /// The rest.
    #[error("{0}")]
    Failed(String),
}

fn tries(left: Option<u32>) -> String {
    match left {
        None => String::new(),
        Some(1) => " (1 try left)".to_owned(),
        Some(left) => format!(" ({left} tries left)"),
    }
}

fn changes(changes: &[PcrChange]) -> String {
    let each: Vec<String> = changes.iter().map(ToString::to_string).collect();
    if each.is_empty() { String::new() } else { format!(": {}", each.join("; ")) }
}

fn wait(seconds: Option<u64>) -> String {
    match seconds {
        None => String::new(),
        Some(seconds @ 0..=90) => format!(" (the next try comes back in {seconds} seconds)"),
        Some(seconds) => format!(" (the next try comes back in {} minutes)", seconds.div_ceil(60)),
    }
}

impl DeviceError {
    /// Attaches the device's own code.
    pub fn with_code(fault: Fault, code: DeviceCode) -> Self {
        Self { fault, code: Some(code) }
    }
}

impl From<Fault> for DeviceError {
    fn from(fault: Fault) -> Self {
        Self { fault, code: None }
    }
}

/// A device's own word for what went wrong: the number, and the name its standard gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCode {
    pub value: u64,
    /// `TPM_RC_...` (TPM 2.0 Part 2, section 6.6) or `CKR_...` (PKCS#11 3.1, section 6).
    pub name: String,
}

impl fmt::Display for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#x})", self.name, self.value)
    }
}

impl std::error::Error for DeviceCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_many_tries_and_how_long() {
        assert_eq!(Fault::WrongPin { tries_left: Some(1) }.to_string(), "wrong PIN (1 try left)");
        assert_eq!(Fault::WrongPin { tries_left: None }.to_string(), "wrong PIN");
        let locked = |wait_seconds| Fault::LockedOut { device: "the TPM".to_owned(), wait_seconds }.to_string();
        assert!(locked(Some(1000)).ends_with("(the next try comes back in 17 minutes)"));
        assert!(locked(Some(30)).ends_with("(the next try comes back in 30 seconds)"));
    }

    #[test]
    fn keeps_the_code_in_the_chain() {
        let code = DeviceCode { value: 0x98e, name: "TPM_RC_AUTH_FAIL".to_owned() };
        let error = DeviceError::with_code(Fault::WrongPin { tries_left: Some(2) }, code);
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "TPM_RC_AUTH_FAIL (0x98e)");
    }
}
