//! CKR codes: what they mean for a person, and their standard names.

use cryptoki::context::Function;
use cryptoki::error::{Error, Rv, RvError};
use cryptoki_sys as sys;

use super::codes::NAMES;
use crate::device::{DeviceCode, DeviceError, Fault};

/// The number and name of what a call returned.
fn code(rv: RvError) -> DeviceCode {
    // The crate keeps the number only of codes that it does not know.
    let value = match rv {
        RvError::VendorDefined(value) | RvError::UnknownErrorCode(value) => value,
        known => {
            let known = Rv::Error(known);
            NAMES.iter().map(|(value, _)| *value).find(|value| Rv::from(*value) == known).unwrap_or(sys::CKR_OK)
        }
    };
    let name = match NAMES.iter().find(|(known, _)| *known == value) {
        Some((_, name)) => (*name).to_owned(),
        None if value >= sys::CKR_VENDOR_DEFINED => "CKR_VENDOR_DEFINED".to_owned(),
        None => "CKR_?".to_owned(),
    };
    DeviceCode { value, name }
}

/// `fault`, with the device's own code where `source` carries one.
pub fn because(fault: Fault, source: &Error) -> DeviceError {
    match source {
        Error::Pkcs11(rv, _) => DeviceError::with_code(fault, code(*rv)),
        _ => fault.into(),
    }
}

/// What a failed call means where nothing more is known than which it was.
///
/// Not for C_Login and C_UnwrapKey: the same codes mean other things there.
pub fn plain(source: Error) -> DeviceError {
    let Error::Pkcs11(rv, function) = &source else {
        return Fault::Failed(format!("the PKCS#11 module misbehaves: {source}")).into();
    };
    let call = name(*function);
    let fault = match rv {
        RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::DeviceRemoved
        | RvError::DeviceError
        | RvError::FunctionFailed
        | RvError::SlotIdInvalid => Fault::Unreachable(format!("the token does not answer ({call})")),
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::UserNotLoggedIn
        | RvError::OperationActive
        | RvError::OperationNotInitialized
        | RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid => Fault::Unreachable(format!("the session with the token has ended ({call})")),
        RvError::SessionCount | RvError::DeviceMemory => {
            Fault::Busy(format!("the token has no room for another session or object ({call})"))
        }
        RvError::GeneralError
        | RvError::HostMemory
        | RvError::CryptokiNotInitialized
        | RvError::UnwrappingKeyHandleInvalid
        | RvError::WrappingKeyHandleInvalid => {
            Fault::Unreachable(format!("the PKCS#11 module or its token is out of order ({call})"))
        }
        RvError::MechanismInvalid | RvError::MechanismParamInvalid | RvError::FunctionNotSupported => {
            Fault::Missing(format!("the token does not do what it was asked for ({call})"))
        }
        RvError::TokenWriteProtected | RvError::SessionReadOnly => {
            Fault::WriteProtected(format!("the token is write-protected ({call})"))
        }
        _ => Fault::Failed(format!("the token refused {call}")),
    };
    because(fault, &source)
}

/// Whether a call failed for reasons that have nothing to do with what it was asked for: the session, the token or the
/// library is gone.
pub fn has_gone(error: &DeviceError) -> bool {
    const GONE: [sys::CK_RV; 6] = [
        sys::CKR_SESSION_HANDLE_INVALID,
        sys::CKR_SESSION_CLOSED,
        sys::CKR_USER_NOT_LOGGED_IN,
        sys::CKR_DEVICE_REMOVED,
        sys::CKR_TOKEN_NOT_PRESENT,
        sys::CKR_CRYPTOKI_NOT_INITIALIZED,
    ];
    error.code.as_ref().is_some_and(|code| GONE.contains(&code.value))
}

/// What a failed C_UnwrapKey means. Tokens answer a blob whose integrity check fails with codes that elsewhere mean a
/// broken connection: CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_WRAPPED_KEY_INVALID were all seen. `damaged` is the text.
pub fn unwrap(source: Error, damaged: &str) -> DeviceError {
    match &source {
        Error::Pkcs11(rv, _) if says_damaged(*rv) => because(Fault::Damaged(damaged.to_owned()), &source),
        _ => plain(source),
    }
}

fn says_damaged(rv: RvError) -> bool {
    matches!(
        rv,
        RvError::GeneralError
            | RvError::DeviceError
            | RvError::FunctionFailed
            | RvError::WrappedKeyInvalid
            | RvError::WrappedKeyLenRange
            | RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::DataInvalid
            | RvError::DataLenRange
            | RvError::SignatureInvalid
    )
}

fn name(function: Function) -> String {
    format!("C_{function:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_standard_names() {
        let text = |rv| code(rv).to_string();
        assert_eq!(text(RvError::PinIncorrect), "CKR_PIN_INCORRECT (0xa0)");
        assert_eq!(text(RvError::WrappedKeyInvalid), "CKR_WRAPPED_KEY_INVALID (0x110)");
        assert_eq!(text(RvError::UnknownErrorCode(0x208)), "CKR_TOKEN_NOT_INITIALIZED (0x208)");
        assert_eq!(text(RvError::VendorDefined(0x8000_0007)), "CKR_VENDOR_DEFINED (0x80000007)");
        assert_eq!(text(RvError::UnknownErrorCode(0x7777)), "CKR_? (0x7777)");
    }

    #[test]
    fn every_known_code_keeps_its_number() {
        for (value, name) in NAMES {
            let Rv::Error(rv) = Rv::from(*value) else { panic!("{name}") };
            assert_eq!((code(rv).value, code(rv).name.as_str()), (*value, *name));
        }
    }

    #[test]
    fn a_blob_that_does_not_open_is_no_broken_connection() {
        for rv in [RvError::GeneralError, RvError::DeviceError, RvError::WrappedKeyInvalid] {
            let error = unwrap(Error::Pkcs11(rv, Function::UnwrapKey), "damaged");
            assert_eq!(error.fault, Fault::Damaged("damaged".to_owned()));
            assert_eq!(error.code, Some(code(rv)));
        }
        let error = unwrap(Error::Pkcs11(RvError::DeviceRemoved, Function::UnwrapKey), "damaged");
        assert_eq!(error.fault, Fault::Unreachable("the token does not answer (C_UnwrapKey)".to_owned()));
        assert!(matches!(plain(Error::Pkcs11(RvError::GeneralError, Function::Sign)).fault, Fault::Unreachable(_)));
    }
}
