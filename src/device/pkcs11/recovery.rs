//! What to do when a token has lost a session, itself or its library: by what it answered, and how often.
//!
//! | class | codes | cure | at most |
//! |---|---|---|---|
//! | session | 0xb3 0xb0 0x101 0x90 0x91 0x60 0x82 | another session, a login, everything unwrapped anew | once |
//! | device | 0x32 0xe0 0xe1 0x3 0x30 0x31 0xb1 0x6 | a pause, the token looked for in every slot, then the same | 3 times |
//! | library | 0x190 0x5 0x2 0xf0 0x113 | C_Finalize and C_Initialize, then the same | twice |
//! | unwrap | 0x5 0x6 0x30 of C_UnwrapKey | as session: what it gives then is what it means | once |
//! | PIN | 0xa0 to 0xa4, 0x102 | none: never sent again | never |
//!
//! The codes are those that SoftHSM, Kryoptic and NSS gave, by PKCS#11 3.1, section 6. All of it within one call, and
//! only as long as nobody has to be asked for a PIN again: a PIN is sent a second time only if the token took it before.

use cryptoki_sys as sys;

use super::module::Module;
use crate::device::patience::{FOR_A_CALL, Patience};
use crate::device::{DeviceError, Fault};

const SESSION: [sys::CK_RV; 7] = [
    sys::CKR_SESSION_HANDLE_INVALID,
    sys::CKR_SESSION_CLOSED,
    sys::CKR_USER_NOT_LOGGED_IN,
    sys::CKR_OPERATION_ACTIVE,
    sys::CKR_OPERATION_NOT_INITIALIZED,
    sys::CKR_KEY_HANDLE_INVALID,
    sys::CKR_OBJECT_HANDLE_INVALID,
];
const DEVICE: [sys::CK_RV; 8] = [
    sys::CKR_DEVICE_REMOVED,
    sys::CKR_TOKEN_NOT_PRESENT,
    sys::CKR_TOKEN_NOT_RECOGNIZED,
    sys::CKR_SLOT_ID_INVALID,
    sys::CKR_DEVICE_ERROR,
    sys::CKR_DEVICE_MEMORY,
    sys::CKR_SESSION_COUNT,
    sys::CKR_FUNCTION_FAILED,
];
/// Handles of token objects become invalid when a library has lost them: a session more does not bring them back.
const LIBRARY: [sys::CK_RV; 5] = [
    sys::CKR_CRYPTOKI_NOT_INITIALIZED,
    sys::CKR_GENERAL_ERROR,
    sys::CKR_HOST_MEMORY,
    sys::CKR_UNWRAPPING_KEY_HANDLE_INVALID,
    sys::CKR_WRAPPING_KEY_HANDLE_INVALID,
];
/// What C_UnwrapKey answers both to a blob that does not open and when something is broken.
const EITHER: [sys::CK_RV; 3] = [sys::CKR_GENERAL_ERROR, sys::CKR_FUNCTION_FAILED, sys::CKR_DEVICE_ERROR];

/// What may help after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// Another session.
    Reopen,
    /// The token, wherever it is by now.
    FindAgain,
    /// The library started anew.
    Restart,
    /// Nothing: the token has said no.
    Nothing,
}

/// What may help after `error`. Its fault says what the code meant to the call that got it.
pub fn cure(error: &DeviceError) -> Cure {
    let Some(code) = &error.code else { return Cure::Nothing };
    match &error.fault {
        Fault::Damaged(_) if EITHER.contains(&code.value) => Cure::Reopen,
        Fault::Unreachable(_) | Fault::Busy(_) | Fault::Failed(_) => match code.value {
            value if SESSION.contains(&value) => Cure::Reopen,
            value if DEVICE.contains(&value) => Cure::FindAgain,
            value if LIBRARY.contains(&value) => Cure::Restart,
            _ => Cure::Nothing,
        },
        Fault::TimedOut { .. }
        | Fault::NotThisDevice(_)
        | Fault::Cleared(_)
        | Fault::RootRemoved(_)
        | Fault::SwitchedOff(_)
        | Fault::Untrusted(_)
        | Fault::PinMissing { .. }
        | Fault::PadLeft { .. }
        | Fault::PinForm { .. }
        | Fault::InUse(_)
        | Fault::PinSource(_)
        | Fault::PinRefusedBefore { .. }
        | Fault::Ambiguous(_)
        | Fault::WrongPin { .. }
        | Fault::LastTry { .. }
        | Fault::LockedOut { .. }
        | Fault::PolicyNotMet(_)
        | Fault::PcrsChanged(_)
        | Fault::Unsigned(_)
        | Fault::Missing(_)
        | Fault::WriteProtected(_)
        | Fault::NoPermission { .. }
        | Fault::OtherSecret { .. }
        | Fault::Damaged(_) => Cure::Nothing,
    }
}

/// What one call may still try.
pub struct Recovery {
    reopens: u32,
    searches: u32,
    restarts: u32,
    pub patience: Patience,
}

impl Recovery {
    pub fn new() -> Self {
        Self { reopens: 1, searches: 3, restarts: 2, patience: Patience::of(FOR_A_CALL) }
    }

    /// Does what `cure` asks for before the work is begun again, as far as it is the module's matter. False where nothing
    /// is left to try.
    pub fn prepare(&mut self, cure: Cure, module: &Module) -> bool {
        if !self.allows(cure) {
            return false;
        }
        match cure {
            Cure::Nothing => false,
            Cure::Reopen => true,
            Cure::FindAgain => self.patience.wait(),
            Cure::Restart => match module.restart() {
                Ok(true) => true,
                // The module is not ours alone: perhaps another session is all that it takes.
                Ok(false) => self.allows(Cure::Reopen),
                Err(_) => self.patience.wait() && self.prepare(cure, module),
            },
        }
    }

    /// Takes one try of `cure`; false where none is left.
    fn allows(&mut self, cure: Cure) -> bool {
        let left = match cure {
            Cure::Reopen => &mut self.reopens,
            Cure::FindAgain => &mut self.searches,
            Cure::Restart => &mut self.restarts,
            Cure::Nothing => return false,
        };
        let is_left = *left > 0;
        *left = left.saturating_sub(1);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use cryptoki::error::{Error, Rv};

    use super::*;
    use crate::device::pkcs11::error;

    fn error_of(function: Function, value: sys::CK_RV) -> Error {
        let Rv::Error(rv) = Rv::from(value) else { panic!("{value:#x} is no error") };
        Error::Pkcs11(rv, function)
    }

    #[test]
    fn a_code_has_its_cure() {
        let of = |value| cure(&error::plain(error_of(Function::Sign, value)));
        for (codes, expected) in [(&SESSION[..], Cure::Reopen), (&DEVICE, Cure::FindAgain), (&LIBRARY, Cure::Restart)] {
            for value in codes {
                assert_eq!(of(*value), expected, "{value:#x}");
            }
        }
        for value in [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0x102, 0x70, 0x68, 0xe2, 0xd1] {
            assert_eq!(of(value), Cure::Nothing, "{value:#x}");
        }
    }

    #[test]
    fn what_c_unwrapkey_says_is_another_matter() {
        let of = |value| cure(&error::unwrap(error_of(Function::UnwrapKey, value), "damaged"));
        assert_eq!(EITHER.map(of), [Cure::Reopen; 3]);
        assert_eq!([0x110, 0x112, 0x40].map(of), [Cure::Nothing; 3]);
        assert_eq!([0xb3, 0x32, 0xf0].map(of), [Cure::Reopen, Cure::FindAgain, Cure::Restart]);
    }

    #[test]
    fn tries_are_counted() {
        let mut recovery = Recovery::new();
        assert_eq!([Cure::Reopen; 2].map(|cure| recovery.allows(cure)), [true, false]);
        assert_eq!([Cure::Restart; 3].map(|cure| recovery.allows(cure)), [true, true, false]);
        assert_eq!([Cure::FindAgain; 4].map(|cure| recovery.allows(cure)), [true, true, true, false]);
        assert!(!recovery.allows(Cure::Nothing));
    }
}
