//! What the TPM, and the software in front of it, answer: told apart by what a person has to do about it.

use tss_esapi::Error;
use tss_esapi::constants::response_code::Tss2ResponseCode;

use super::codes::{self, LAYER_ESAPI, LAYER_TCTI, kind, layer};
use crate::device::{DeviceCode, DeviceError, Fault};

// Response codes that decide what is done next; a format-one code is named without its parameter, handle or session.
pub const AUTH_FAIL: u32 = 0x08e;
pub const BAD_SIGNATURE: u32 = 0x09b;
pub const BAD_AUTH: u32 = 0x0a2;
pub const CURVE: u32 = 0x0a6;
pub const ECC_POINT: u32 = 0x0a7;
pub const HANDLE: u32 = 0x08b;
pub const INTEGRITY: u32 = 0x09f;
pub const KEY: u32 = 0x09c;
pub const KEY_SIZE: u32 = 0x087;
pub const LOCKOUT: u32 = 0x921;
pub const PCR_CHANGED: u32 = 0x128;
pub const SIZE: u32 = 0x095;
pub const TICKET: u32 = 0x0a0;
pub const VALUE: u32 = 0x084;
const POLICY_FAIL: u32 = 0x09d;
const OBJECT_MEMORY: u32 = 0x902;
/// The last of five codes, OBJECT_MEMORY first, that say what is full.
const OBJECT_HANDLES: u32 = 0x906;
const YIELDED: u32 = 0x908;
const TESTING: u32 = 0x90a;
/// The first of fifteen codes that say which handle of a command is none of the TPM's; REFERENCE_S6 is the last.
const REFERENCE_H0: u32 = 0x910;
const REFERENCE_S6: u32 = 0x91e;
const NV_RATE: u32 = 0x920;
const RETRY: u32 = 0x922;
const NV_UNAVAILABLE: u32 = 0x923;

/// TSS2_BASE_RC_MALFORMED_RESPONSE and TSS2_BASE_RC_RSP_AUTH_FAILED.
const MALFORMED_RESPONSE: u32 = 0x11;
const RSP_AUTH_FAILED: u32 = 0x1b;

/// What a TSS error means where nothing more is known about the call.
pub fn told(error: Error) -> DeviceError {
    let Error::Tss2Error(response) = error else {
        // A value that the crate refuses: nothing was sent, or the answer was no valid one.
        return Fault::Failed(format!("the TPM library refused a value: {error}")).into();
    };
    let rc = raw(response);
    let fault = match (layer(rc), kind(rc)) {
        (LAYER_TCTI, _) => Fault::Unreachable("the TPM does not answer".to_owned()),
        (LAYER_ESAPI, MALFORMED_RESPONSE | RSP_AUTH_FAILED) => {
            Fault::Failed("the TPM's answer was changed on its way".to_owned())
        }
        (0, OBJECT_MEMORY..=OBJECT_HANDLES) => Fault::Busy("other programs hold all of the TPM's slots".to_owned()),
        (0, REFERENCE_H0..=REFERENCE_S6) => {
            Fault::Unreachable("the TPM was restarted: what was loaded is gone".to_owned())
        }
        (0, YIELDED | TESTING | RETRY) => Fault::Busy("the TPM is busy with itself".to_owned()),
        (0, NV_RATE | NV_UNAVAILABLE) => Fault::Busy("the TPM takes no writes just now".to_owned()),
        (0, LOCKOUT) => Fault::LockedOut { device: super::DEVICE.to_owned(), wait_seconds: None },
        (0, AUTH_FAIL) => Fault::WrongPin { tries_left: None },
        (0, POLICY_FAIL) => Fault::PolicyNotMet("the seal's policy is not met".to_owned()),
        (0, 0x143) => Fault::Missing("the TPM lacks a command".to_owned()),
        (0, 0x100) => Fault::Failed("the TPM has not been started by the firmware".to_owned()),
        (0, 0x101) => Fault::Failed("the TPM is in failure mode: restart the machine".to_owned()),
        _ => Fault::Failed("the TPM reports an error".to_owned()),
    };
    DeviceError::with_code(fault, code(rc))
}

/// As [`told`], where the caller knows what some codes mean for this call.
pub fn told_as(error: Error, meaning: impl FnOnce(u32) -> Option<Fault>) -> DeviceError {
    let mut error = told(error);
    if let Some(fault) = answer(&error).and_then(meaning) {
        error.fault = fault;
    }
    error
}

/// The TPM's own answer, without parameter, handle and session number: one of the constants above, or another. None
/// where the error came from somewhere else.
pub fn answer(error: &DeviceError) -> Option<u32> {
    let rc = u32::try_from(error.code.as_ref()?.value).ok()?;
    (layer(rc) == 0).then(|| kind(rc))
}

/// What may help after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// The command was not begun (RETRY, YIELDED, TESTING), or could not be (NV_RATE, NV_UNAVAILABLE; Part 2, section
    /// 6.6.3): the same, after a pause. No try at a PIN was counted. The library sends each command up to five times by
    /// itself, without a pause; a self-test takes longer than that.
    Wait,
    /// All slots are taken: by dead clients' leftovers, which can be flushed, or, through a resource manager, by others who are at
    /// work and give them back. Then begin the work again.
    MakeRoom,
    /// What was loaded is gone, since the TPM was restarted or the connection broke: connect, and begin the work again.
    Reconnect,
    /// The libraries gave up within a command, and take no other on the same connection: close it. An answer that was
    /// changed on its way is not asked for again: somebody may be trying things.
    Close,
    /// Nothing: the TPM has said no.
    Nothing,
}

/// What may help after `error`.
pub fn cure(error: &DeviceError) -> Cure {
    match answer(error) {
        Some(YIELDED | TESTING | RETRY | NV_RATE | NV_UNAVAILABLE) => Cure::Wait,
        Some(OBJECT_MEMORY..=OBJECT_HANDLES) => Cure::MakeRoom,
        _ if matches!(error.fault, Fault::Unreachable(_)) => Cure::Reconnect,
        None if error.code.is_some() => Cure::Close,
        Some(_) | None => Cure::Nothing,
    }
}

/// Whether a blob was refused as no work of this parent, or as no blob at all (TPM 2.0 Part 3, section 12.2: Load).
pub fn is_bad_blob(answer: u32) -> bool {
    // An altered length field gives SIZE, INSUFFICIENT or SENSITIVE; altered binding of the halves gives BINDING.
    matches!(answer, INTEGRITY | SIZE | 0x09a | 0x155 | 0x0a5)
}

fn code(rc: u32) -> DeviceCode {
    DeviceCode { value: u64::from(rc), name: codes::name(rc).unwrap_or_else(|| "unknown".to_owned()) }
}

/// The number itself: the crate shows it only in its text, "Response code value: 0x98e".
fn raw(response: Tss2ResponseCode) -> u32 {
    let text = match response {
        Tss2ResponseCode::Success => return 0,
        Tss2ResponseCode::FormatZero(code) => code.to_string(),
        Tss2ResponseCode::FormatOne(code) => code.to_string(),
    };
    let digits = text.rsplit_once("0x").map_or("", |(_, digits)| digits);
    u32::from_str_radix(digits, 16).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_of(rc: u32) -> DeviceError {
        told(Error::Tss2Error(Tss2ResponseCode::from(rc)))
    }

    #[test]
    fn names_are_the_standards() {
        let cases = [
            (0x98e, "TPM_RC_AUTH_FAIL"),
            (0x1df, "TPM_RC_INTEGRITY"),
            (0x18b, "TPM_RC_HANDLE"),
            (0x9a2, "TPM_RC_BAD_AUTH"),
            (0x99d, "TPM_RC_POLICY_FAIL"),
            (0x921, "TPM_RC_LOCKOUT"),
            (0x922, "TPM_RC_RETRY"),
            (0x902, "TPM_RC_OBJECT_MEMORY"),
            (0x101, "TPM_RC_FAILURE"),
            (0x000c_0903, "TPM_RC_SESSION_MEMORY"),
            (0x000b_0143, "TPM_RC_COMMAND_CODE"),
            (0x000b_000a, "TSS2_RESMGR_RC_IO_ERROR"),
            (0x000a_000a, "TSS2_TCTI_RC_IO_ERROR"),
            (0x0007_001b, "TSS2_ESYS_RC_RSP_AUTH_FAILED"),
            (0x7ff, "unknown"),
        ];
        for (rc, name) in cases {
            let code = told_of(rc).code.unwrap();
            assert_eq!((code.value, code.name.as_str()), (u64::from(rc), name));
        }
    }

    #[test]
    fn faults_are_by_their_cure() {
        assert!(matches!(told_of(0x98e).fault, Fault::WrongPin { .. }));
        assert!(matches!(told_of(0x921).fault, Fault::LockedOut { .. }));
        assert!(matches!(told_of(0x99d).fault, Fault::PolicyNotMet(_)));
        assert!(matches!(told_of(0x922).fault, Fault::Busy(_)));
        assert!(matches!(told_of(0x143).fault, Fault::Missing(_)));
        assert!(matches!(told_of(0x000a_000a).fault, Fault::Unreachable(_)));
        assert_eq!(answer(&told_of(0x1df)), Some(INTEGRITY));
        assert_eq!(answer(&told_of(0x000a_000a)), None);
    }

    #[test]
    fn cures_are_by_what_was_done() {
        let cases = [
            (Cure::Wait, &[0x908, 0x90a, 0x920, 0x922, 0x923, 0x000c_0922][..]),
            (Cure::MakeRoom, &[0x902, 0x903, 0x906, 0x000c_0902]),
            (Cure::Reconnect, &[0x910, 0x918, 0x91e, 0x000a_0008, 0x000a_000a]),
            (Cure::Close, &[0x0007_001b, 0x0007_0011]),
            (Cure::Nothing, &[0x98e, 0x921, 0x101, 0x1df, 0x99d, 0x907, 0x90f]),
        ];
        for (expected, codes) in cases {
            for rc in codes {
                assert_eq!(cure(&told_of(*rc)), expected, "{rc:#x}");
            }
        }
    }

    #[test]
    fn a_call_may_know_better() {
        let meaning = |answer| (answer == INTEGRITY).then(|| Fault::NotThisDevice("another".to_owned()));
        let error = told_as(Error::Tss2Error(Tss2ResponseCode::from(0x1df)), meaning);
        assert_eq!(error.fault, Fault::NotThisDevice("another".to_owned()));
        assert_eq!(error.code.unwrap().value, 0x1df);
    }
}
