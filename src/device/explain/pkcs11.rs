//! Codes of PKCS#11 modules.

use super::{Meaning, Origin};
use crate::device::pkcs11::codes::{NAMES, VENDOR_DEFINED};

// What helps, where several codes have the same cure.
const AGAIN: &str = "try again; if it comes back, restart the HSM's service or plug the token in anew";
const LIBRARY: &str = "look at the module's own log and configuration: often it does not find its configuration, its token directory or the HSM";
const PLUG: &str = "look whether the token is plugged in, or the HSM reachable: `strongroom device list`";
const REPORT: &str =
    "a program asked for what the token does not take: try its current version, and report it to its makers";
const UNFIT: &str = "the token does not do it, or its policy (FIPS mode, partition) forbids it: ask its maker, or use another: `strongroom device list`";
const PIN: &str = "check the PIN before you try again: most tokens lock after three to ten wrong ones";
const KEY: &str =
    "look whether it is the right token, and its keys were not removed: `strongroom status`; else restore a backup";
const ROOM: &str = "close other programs that use the token, or remove objects that nobody needs";
const OFFICER: &str = "ask the token's security officer";
const SEAL: &str = "the seal is another token's, or damaged: `strongroom status`, then `strongroom device repair`, or restore a backup";

/// All return values of PKCS#11 3.1 and 3.2, without `CKR_`.
const MEANINGS: &[(&str, &str, &str)] = &[
    ("CANCEL", "somebody cancelled it, as a rule at the token's own keys", "do it again"),
    ("HOST_MEMORY", "the machine is out of memory, or the module is broken", LIBRARY),
    ("SLOT_ID_INVALID", "there is no such slot: slots were renumbered, or the token was moved", PLUG),
    (
        "GENERAL_ERROR",
        "the module says only that something went wrong; with SoftHSM often: no SOFTHSM2_CONF, no token directory, or (at C_UnwrapKey) a damaged seal",
        LIBRARY,
    ),
    ("FUNCTION_FAILED", "the function failed, and the module does not say why", AGAIN),
    (
        "ARGUMENTS_BAD",
        "the arguments don't fit; NSS says so at its start, where nobody tells it where its keys are",
        "at the start (C_Initialize): configure p11-kit with the module and its x-init-reserved, and name it by module-name=; \
         else report it to the program's makers",
    ),
    ("NO_EVENT", "nothing has happened at any slot", "nothing needs to be done"),
    ("NEED_TO_CREATE_THREADS", "the module needs threads, and was told not to make any", REPORT),
    ("CANT_LOCK", "the module can't be used by several threads", LIBRARY),
    (
        "ATTRIBUTE_READ_ONLY",
        "the attribute can't be set; SoftHSM says so of CKA_TRUSTED and of a key length at unwrapping",
        REPORT,
    ),
    ("ATTRIBUTE_SENSITIVE", "the value can't be read: that is how it should be", "nothing needs to be done"),
    ("ATTRIBUTE_TYPE_INVALID", "the token does not know the attribute", UNFIT),
    ("ATTRIBUTE_VALUE_INVALID", "the token does not take the attribute's value", UNFIT),
    ("ACTION_PROHIBITED", "the token's policy forbids it", OFFICER),
    ("DATA_INVALID", "the data is not what the mechanism takes", REPORT),
    ("DATA_LEN_RANGE", "the data is too long or too short", REPORT),
    ("DEVICE_ERROR", "the token reports an error; Kryoptic says so of a damaged seal, too", AGAIN),
    ("DEVICE_MEMORY", "the token has no room left", ROOM),
    ("DEVICE_REMOVED", "the token was taken out", PLUG),
    ("ENCRYPTED_DATA_INVALID", "the ciphertext does not decrypt", SEAL),
    ("ENCRYPTED_DATA_LEN_RANGE", "the ciphertext has a wrong length", SEAL),
    ("AEAD_DECRYPT_FAILED", "the ciphertext was changed", SEAL),
    ("FUNCTION_CANCELED", "the function was cancelled", "do it again"),
    ("FUNCTION_NOT_PARALLEL", "nothing runs beside it: an old interface", REPORT),
    ("FUNCTION_NOT_SUPPORTED", "the module does not have this function", UNFIT),
    ("KEY_HANDLE_INVALID", "there is no such key: the session has ended, or the key was removed", KEY),
    ("KEY_SIZE_RANGE", "the key is too long or too short for the mechanism", UNFIT),
    ("KEY_TYPE_INCONSISTENT", "the key is of a type that the mechanism does not take", UNFIT),
    ("KEY_NOT_NEEDED", "a key was given where none is needed", REPORT),
    ("KEY_CHANGED", "the key is not the one of the saved state", KEY),
    ("KEY_NEEDED", "a key is missing", REPORT),
    ("KEY_INDIGESTIBLE", "the key's value can't be hashed", UNFIT),
    (
        "KEY_FUNCTION_NOT_PERMITTED",
        "the key may not be used for that: its attributes forbid it",
        "that is how it should be for a wrapping key that is asked to decrypt; else make the keys anew: `strongroom device repair`",
    ),
    ("KEY_NOT_WRAPPABLE", "the key may not be wrapped", UNFIT),
    (
        "KEY_UNEXTRACTABLE",
        "the key may not leave the token",
        "that is how it should be for a use part; export parts let it out",
    ),
    ("MECHANISM_INVALID", "the token does not have the mechanism", UNFIT),
    ("MECHANISM_PARAM_INVALID", "the token does not take the mechanism's parameters", UNFIT),
    ("OBJECT_HANDLE_INVALID", "there is no such object: the session has ended, or it was removed", KEY),
    ("OPERATION_ACTIVE", "another operation is at work in the session", AGAIN),
    ("OPERATION_NOT_INITIALIZED", "nothing was begun that could be gone on with", AGAIN),
    ("PIN_INCORRECT", "wrong PIN, and most tokens count it", PIN),
    ("PIN_INVALID", "the PIN has characters that the token does not take", "use other characters"),
    ("PIN_LEN_RANGE", "the PIN is too long or too short for the token", "see what the token's maker allows"),
    ("PIN_EXPIRED", "the PIN has to be changed first", "change it with the token's own tool"),
    (
        "PIN_LOCKED",
        "the PIN is locked: too many wrong ones; the right one is refused too",
        "its security officer sets a new one (pkcs11-tool --init-pin); a backup restores onto another device",
    ),
    ("SESSION_CLOSED", "the session was closed meanwhile", AGAIN),
    ("SESSION_COUNT", "the token has no room for another session", ROOM),
    ("SESSION_HANDLE_INVALID", "there is no such session: the token was away, or the module was started anew", AGAIN),
    ("SESSION_PARALLEL_NOT_SUPPORTED", "an old kind of session was asked for", REPORT),
    (
        "SESSION_READ_ONLY",
        "the session may only read, and something was to be written",
        "let this user write the token's files while keys are made",
    ),
    ("SESSION_EXISTS", "sessions are open, and none may be", "close other programs that use the token"),
    (
        "SESSION_READ_ONLY_EXISTS",
        "a session that may only read is open, so the officer can't log in",
        "close other programs that use the token",
    ),
    ("SESSION_READ_WRITE_SO_EXISTS", "the security officer is logged in", "close other programs that use the token"),
    ("SIGNATURE_INVALID", "the signature does not verify", REPORT),
    ("SIGNATURE_LEN_RANGE", "the signature has a wrong length", REPORT),
    ("TEMPLATE_INCOMPLETE", "attributes are missing that the token wants", UNFIT),
    ("TEMPLATE_INCONSISTENT", "the attributes contradict each other, or the unwrapping key's template", UNFIT),
    ("TOKEN_NOT_PRESENT", "no token is in the slot", PLUG),
    (
        "TOKEN_NOT_RECOGNIZED",
        "what is in the slot is no token that the module knows, or it is blank",
        "initialise the token, or install its own module",
    ),
    ("TOKEN_WRITE_PROTECTED", "the token takes no new objects", "lift the write protection while keys are made"),
    ("UNWRAPPING_KEY_HANDLE_INVALID", "there is no such unwrapping key", KEY),
    ("UNWRAPPING_KEY_SIZE_RANGE", "the unwrapping key has a wrong length", UNFIT),
    ("UNWRAPPING_KEY_TYPE_INCONSISTENT", "the unwrapping key is of a wrong type", UNFIT),
    (
        "USER_ALREADY_LOGGED_IN",
        "somebody of this program is logged in already; the PIN was not looked at",
        "nothing needs to be done",
    ),
    ("USER_NOT_LOGGED_IN", "nobody is logged in: the token was away meanwhile, or wants its PIN", AGAIN),
    (
        "USER_PIN_NOT_INITIALIZED",
        "the user's PIN was never set",
        "its security officer sets it: pkcs11-tool --init-pin",
    ),
    ("USER_TYPE_INVALID", "the token knows no such kind of user", REPORT),
    ("USER_ANOTHER_ALREADY_LOGGED_IN", "another kind of user is logged in", "close other programs that use the token"),
    ("USER_TOO_MANY_TYPES", "too many users are logged in", "close other programs that use the token"),
    ("WRAPPED_KEY_INVALID", "the wrapped key does not open", SEAL),
    ("WRAPPED_KEY_LEN_RANGE", "the wrapped key has a wrong length", SEAL),
    ("WRAPPING_KEY_HANDLE_INVALID", "there is no such wrapping key", KEY),
    ("WRAPPING_KEY_SIZE_RANGE", "the wrapping key has a wrong length", UNFIT),
    ("WRAPPING_KEY_TYPE_INCONSISTENT", "the wrapping key is of a wrong type", UNFIT),
    ("RANDOM_SEED_NOT_SUPPORTED", "the random number generator takes no seed", "nothing needs to be done"),
    ("RANDOM_NO_RNG", "the token has no random number generator", UNFIT),
    ("DOMAIN_PARAMS_INVALID", "the token does not take the domain parameters", UNFIT),
    ("CURVE_NOT_SUPPORTED", "the token does not have the curve", UNFIT),
    ("BUFFER_TOO_SMALL", "the answer does not fit", REPORT),
    ("SAVED_STATE_INVALID", "the saved state is none", AGAIN),
    ("INFORMATION_SENSITIVE", "what was asked for is secret", REPORT),
    ("STATE_UNSAVEABLE", "the state can't be saved", UNFIT),
    ("CRYPTOKI_NOT_INITIALIZED", "the module was not started, or was stopped by another part of the program", AGAIN),
    ("CRYPTOKI_ALREADY_INITIALIZED", "the module is started already", "nothing needs to be done"),
    ("MUTEX_BAD", "the module's locks are broken", LIBRARY),
    ("MUTEX_NOT_LOCKED", "the module's locks are broken", LIBRARY),
    ("NEW_PIN_MODE", "the token wants a new PIN", "set it with the token's own tool"),
    ("NEXT_OTP", "the token wants the next one-time password", "wait for the next one"),
    ("EXCEEDED_MAX_ITERATIONS", "no key was found within the number of rounds", AGAIN),
    (
        "FIPS_SELF_TEST_FAILED",
        "the token's self-test failed",
        "restart the HSM; if it stays, its maker must look at it",
    ),
    (
        "LIBRARY_LOAD_FAILED",
        "the module could not load a library that it needs",
        "install what the module needs; `ldd` on it says what is missing",
    ),
    ("PIN_TOO_WEAK", "the token wants a stronger PIN", "choose a longer one"),
    ("PUBLIC_KEY_INVALID", "the public key is none", REPORT),
    ("FUNCTION_REJECTED", "the token's owner has refused it, as a rule at its own keys", "do it again, and allow it"),
    ("TOKEN_RESOURCE_EXCEEDED", "the token's limits are reached", ROOM),
    ("OPERATION_CANCEL_FAILED", "the operation can't be cancelled", AGAIN),
    ("KEY_EXHAUSTED", "the key was used as often as it may be", "make a new generation: `strongroom generate`"),
    ("PENDING", "the answer is not there yet", "wait a moment, and try again"),
    ("SESSION_ASYNC_NOT_SUPPORTED", "the module does not work in the background", REPORT),
    (
        "SEED_RANDOM_REQUIRED",
        "the token's random number generator wants a seed first",
        "seed it with the token's own tool",
    ),
    ("OPERATION_NOT_VALIDATED", "the operation is not validated (FIPS)", OFFICER),
    ("TOKEN_NOT_INITIALIZED", "the token is blank", "initialise it: `strongroom device init --label NAME URI`"),
    ("PARAMETER_SET_NOT_SUPPORTED", "the token does not have the parameter set", UNFIT),
];

pub fn of_number(value: u64) -> Option<Meaning> {
    if value & VENDOR_DEFINED != 0 && u32::try_from(value).is_ok() {
        return Some(Meaning {
            source: Origin::Pkcs11,
            value,
            name: "CKR_VENDOR_DEFINED".to_owned(),
            about: None,
            meaning: "a code of the token's maker",
            remedy: "look it up in the maker's documentation",
        });
    }
    let (_, name) = NAMES.iter().find(|(known, _)| *known == value)?;
    let (_, meaning, remedy) = MEANINGS.iter().find(|(known, ..)| name.strip_prefix("CKR_") == Some(known))?;
    Some(Meaning { source: Origin::Pkcs11, value, name: (*name).to_owned(), about: None, meaning, remedy })
}

pub fn of_name(name: &str) -> Option<Meaning> {
    NAMES.iter().find(|(_, known)| *known == name).and_then(|(value, _)| of_number(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_has_a_name_has_a_meaning() {
        for (value, name) in NAMES {
            let meaning = of_number(*value).unwrap_or_else(|| panic!("{name}"));
            assert!(!meaning.meaning.is_empty() && !meaning.remedy.is_empty());
            assert_eq!(meaning.name, *name);
        }
        assert_eq!(MEANINGS.len(), NAMES.len(), "and no meaning is without a code");
    }
}
