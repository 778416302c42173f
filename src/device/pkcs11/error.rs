//! CKR codes: what they mean for a person, and their standard names.

use cryptoki::context::Function;
use cryptoki::error::{Error, Rv, RvError};
use cryptoki_sys as sys;

use crate::device::{DeviceCode, DeviceError, Fault};

macro_rules! names {
    ($($name:ident)*) => {
        /// PKCS#11 3.1, section 6 (all return values of the header that are not vendors' own).
        const NAMES: &[(sys::CK_RV, &str)] = &[$((sys::$name, stringify!($name))),*];
    };
}

names! {
    CKR_CANCEL CKR_HOST_MEMORY CKR_SLOT_ID_INVALID CKR_GENERAL_ERROR CKR_FUNCTION_FAILED CKR_ARGUMENTS_BAD CKR_NO_EVENT
    CKR_NEED_TO_CREATE_THREADS CKR_CANT_LOCK CKR_ATTRIBUTE_READ_ONLY CKR_ATTRIBUTE_SENSITIVE CKR_ATTRIBUTE_TYPE_INVALID
    CKR_ATTRIBUTE_VALUE_INVALID CKR_ACTION_PROHIBITED CKR_DATA_INVALID CKR_DATA_LEN_RANGE CKR_DEVICE_ERROR
    CKR_DEVICE_MEMORY CKR_DEVICE_REMOVED CKR_ENCRYPTED_DATA_INVALID CKR_ENCRYPTED_DATA_LEN_RANGE
    CKR_AEAD_DECRYPT_FAILED CKR_FUNCTION_CANCELED CKR_FUNCTION_NOT_PARALLEL CKR_FUNCTION_NOT_SUPPORTED
    CKR_KEY_HANDLE_INVALID CKR_KEY_SIZE_RANGE CKR_KEY_TYPE_INCONSISTENT CKR_KEY_NOT_NEEDED CKR_KEY_CHANGED
    CKR_KEY_NEEDED CKR_KEY_INDIGESTIBLE CKR_KEY_FUNCTION_NOT_PERMITTED CKR_KEY_NOT_WRAPPABLE CKR_KEY_UNEXTRACTABLE
    CKR_MECHANISM_INVALID CKR_MECHANISM_PARAM_INVALID CKR_OBJECT_HANDLE_INVALID CKR_OPERATION_ACTIVE
    CKR_OPERATION_NOT_INITIALIZED CKR_PIN_INCORRECT CKR_PIN_INVALID CKR_PIN_LEN_RANGE CKR_PIN_EXPIRED CKR_PIN_LOCKED
    CKR_SESSION_CLOSED CKR_SESSION_COUNT CKR_SESSION_HANDLE_INVALID CKR_SESSION_PARALLEL_NOT_SUPPORTED
    CKR_SESSION_READ_ONLY CKR_SESSION_EXISTS CKR_SESSION_READ_ONLY_EXISTS CKR_SESSION_READ_WRITE_SO_EXISTS
    CKR_SIGNATURE_INVALID CKR_SIGNATURE_LEN_RANGE CKR_TEMPLATE_INCOMPLETE CKR_TEMPLATE_INCONSISTENT
    CKR_TOKEN_NOT_PRESENT CKR_TOKEN_NOT_RECOGNIZED CKR_TOKEN_WRITE_PROTECTED CKR_UNWRAPPING_KEY_HANDLE_INVALID
    CKR_UNWRAPPING_KEY_SIZE_RANGE CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT CKR_USER_ALREADY_LOGGED_IN
    CKR_USER_NOT_LOGGED_IN CKR_USER_PIN_NOT_INITIALIZED CKR_USER_TYPE_INVALID CKR_USER_ANOTHER_ALREADY_LOGGED_IN
    CKR_USER_TOO_MANY_TYPES CKR_WRAPPED_KEY_INVALID CKR_WRAPPED_KEY_LEN_RANGE CKR_WRAPPING_KEY_HANDLE_INVALID
    CKR_WRAPPING_KEY_SIZE_RANGE CKR_WRAPPING_KEY_TYPE_INCONSISTENT CKR_RANDOM_SEED_NOT_SUPPORTED CKR_RANDOM_NO_RNG
    CKR_DOMAIN_PARAMS_INVALID CKR_CURVE_NOT_SUPPORTED CKR_BUFFER_TOO_SMALL CKR_SAVED_STATE_INVALID
    CKR_INFORMATION_SENSITIVE CKR_STATE_UNSAVEABLE CKR_CRYPTOKI_NOT_INITIALIZED CKR_CRYPTOKI_ALREADY_INITIALIZED
    CKR_MUTEX_BAD CKR_MUTEX_NOT_LOCKED CKR_NEW_PIN_MODE CKR_NEXT_OTP CKR_EXCEEDED_MAX_ITERATIONS
    CKR_FIPS_SELF_TEST_FAILED CKR_LIBRARY_LOAD_FAILED CKR_PIN_TOO_WEAK CKR_PUBLIC_KEY_INVALID CKR_FUNCTION_REJECTED
    CKR_TOKEN_RESOURCE_EXCEEDED CKR_OPERATION_CANCEL_FAILED CKR_KEY_EXHAUSTED CKR_PENDING
    CKR_SESSION_ASYNC_NOT_SUPPORTED CKR_SEED_RANDOM_REQUIRED CKR_OPERATION_NOT_VALIDATED CKR_TOKEN_NOT_INITIALIZED
    CKR_PARAMETER_SET_NOT_SUPPORTED
}

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
pub fn is_gone(source: &Error) -> bool {
    matches!(
        source,
        Error::Pkcs11(
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::CryptokiNotInitialized,
            _
        )
    )
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
