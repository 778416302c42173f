//! Codes of TPMs and of the software before them.

use super::{Meaning, Origin};
use crate::device::tpm::codes::{self, Layered};

// What helps, where several codes have the same cure.
const WAIT: &str = "wait a moment, and try again";
const AGAIN: &str = "try again; if it comes back, restart the machine, and look for a firmware update";
const RESTART: &str =
    "restart the machine; if it comes back, the TPM or its firmware is broken: restore a backup onto another device";
const REPORT: &str = "a program sent what the TPM does not take: try its current version, and report it to its makers";
const SLOTS: &str =
    "close other programs that use the TPM, or use it through the kernel's resource manager, /dev/tpmrm0";
const SEAL: &str =
    "look whether it is the right TPM, and was not cleared since: `strongroom status`; else restore a backup";
const PIN: &str = "check the PIN before you try again: each wrong one counts";
const POLICY: &str =
    "see which state it wants: `strongroom status`; then start the machine so, or `strongroom bind --from BACKUP_FILE`";
const UNFIT: &str = "the firmware lacks it: look for an update, or use another device: `strongroom device list`";
const OWNER: &str =
    "somebody has set a password for the owner: whoever knows it can do this, or clear the TPM (which ends all seals)";

/// Codes without a position (TPM 2.0 Part 2, section 6.6.3, tables 16 and 18).
const FORMAT_ZERO: &[(&str, &str, &str)] = &[
    ("INITIALIZE", "the TPM was not started by the firmware (TPM2_Startup)", RESTART),
    ("FAILURE", "the TPM is in failure mode: a self-test went wrong", RESTART),
    ("SEQUENCE", "a sequence handle was used wrongly", REPORT),
    ("PRIVATE", "not used by current TPMs", REPORT),
    ("HMAC", "not used by current TPMs", REPORT),
    ("DISABLED", "the command is switched off", UNFIT),
    ("EXCLUSIVE", "another program came in between what was to be done in one go", AGAIN),
    ("AUTH_TYPE", "the key may not be used in this way: its attributes forbid it", SEAL),
    ("AUTH_MISSING", "the command needs an authorization, and came without", REPORT),
    ("POLICY", "the policy's reference or name has a wrong form", REPORT),
    ("PCR", "the PCRs can't be used so", REPORT),
    ("PCR_CHANGED", "a PCR was changed between the check of the policy and its use", AGAIN),
    (
        "UPGRADE",
        "the TPM waits for a firmware update to be finished",
        "finish the firmware update, then restart the machine",
    ),
    ("TOO_MANY_CONTEXTS", "too many saved contexts are about", SLOTS),
    ("AUTH_UNAVAILABLE", "the password or policy of that object can't be used now", SEAL),
    ("REBOOT", "the TPM wants to be started anew", RESTART),
    ("UNBALANCED", "the hash and the key sizes of a structure don't fit each other", REPORT),
    ("COMMAND_SIZE", "the command is longer or shorter than it says", REPORT),
    ("COMMAND_CODE", "the firmware does not have this command", UNFIT),
    ("AUTHSIZE", "the authorization is longer or shorter than it says", REPORT),
    ("AUTH_CONTEXT", "a command that takes no session was sent with one", REPORT),
    ("NV_RANGE", "the place in NV memory lies outside of the index", REPORT),
    ("NV_SIZE", "the NV index has another size", REPORT),
    ("NV_LOCKED", "the NV index is locked until the next restart", "restart the machine"),
    ("NV_AUTHORIZATION", "the NV index may not be used in this way", OWNER),
    ("NV_UNINITIALIZED", "the NV index was never written", REPORT),
    (
        "NV_SPACE",
        "the TPM's NV memory is full",
        "remove indexes or persistent keys that nobody needs: tpm2_nvundefine, tpm2_evictcontrol",
    ),
    (
        "NV_DEFINED",
        "there is an NV index or persistent key at that place already",
        "somebody else uses the place: see tpm2_getcap handles-nv-index, handles-persistent",
    ),
    ("BAD_CONTEXT", "a saved context is not one of this TPM and this boot", AGAIN),
    ("CPHASH", "the session was tied to another command", REPORT),
    ("PARENT", "the key is no parent", REPORT),
    ("NEEDS_TEST", "a function must be tested first", WAIT),
    ("NO_RESULT", "the calculation has no result, such as the point at infinity", REPORT),
    ("SENSITIVE", "a private part does not open: it is damaged, or another parent's", SEAL),
    ("CONTEXT_GAP", "too many sessions were started since an old one was saved", SLOTS),
    ("OBJECT_MEMORY", "all of the TPM's object slots are in use", SLOTS),
    ("SESSION_MEMORY", "all of the TPM's session slots are in use", SLOTS),
    ("MEMORY", "the TPM is out of memory", SLOTS),
    ("SESSION_HANDLES", "all of the TPM's session handles are in use", SLOTS),
    ("OBJECT_HANDLES", "all of the TPM's object handles are in use", SLOTS),
    ("LOCALITY", "the command came from the wrong locality", REPORT),
    ("YIELDED", "the TPM had something else to do, and wants the command again", WAIT),
    ("CANCELED", "the command was cancelled", AGAIN),
    ("TESTING", "the TPM tests itself", WAIT),
    (
        "REFERENCE_H0",
        "the first handle is of nothing that is loaded: the TPM was restarted, or somebody flushed it",
        AGAIN,
    ),
    (
        "REFERENCE_H1",
        "the second handle is of nothing that is loaded: the TPM was restarted, or somebody flushed it",
        AGAIN,
    ),
    (
        "REFERENCE_H2",
        "the third handle is of nothing that is loaded: the TPM was restarted, or somebody flushed it",
        AGAIN,
    ),
    ("REFERENCE_S0", "the first session is not there: the TPM was restarted, or somebody flushed it", AGAIN),
    ("REFERENCE_S1", "the second session is not there: the TPM was restarted, or somebody flushed it", AGAIN),
    ("REFERENCE_S2", "the third session is not there: the TPM was restarted, or somebody flushed it", AGAIN),
    ("NV_RATE", "the TPM takes no writes just now, to spare its memory", WAIT),
    (
        "LOCKOUT",
        "locked out: too many wrong PINs, by any program, or power cuts while a PIN was in use; the right PIN is refused too",
        "wait: `strongroom status` says how long; whoever has the lockout password can end it: tpm2_dictionarylockout -c",
    ),
    ("RETRY", "the TPM could not begin the command", WAIT),
    ("NV_UNAVAILABLE", "the TPM can't write to its memory just now", WAIT),
];

/// Codes that say which parameter, handle or session they are about (table 17).
const FORMAT_ONE: &[(&str, &str, &str)] = &[
    ("ASYMMETRIC", "the asymmetric algorithm is not there, or not the right one", UNFIT),
    ("ATTRIBUTES", "the attributes contradict each other, or are not those that are needed", REPORT),
    ("HASH", "the hash is not there, or not the right one", UNFIT),
    (
        "VALUE",
        "the value is out of range, or not the expected one; from TPM2_PolicyPCR: the PCRs hold something else than the seal asks for",
        POLICY,
    ),
    (
        "HIERARCHY",
        "the hierarchy is switched off, or not the right one",
        "switch the hierarchy on in the firmware's settings",
    ),
    ("KEY_SIZE", "the TPM does not have keys of this size", UNFIT),
    ("MGF", "the mask generation function is not there", UNFIT),
    ("MODE", "the mode of operation is not there, or not the right one", UNFIT),
    ("TYPE", "the type is not the right one", REPORT),
    (
        "HANDLE",
        "nothing is at that handle, or not what is needed: no such key, or the TPM was cleared or exchanged",
        SEAL,
    ),
    ("KDF", "the key derivation function is not there, or not the right one", UNFIT),
    ("RANGE", "the value is out of range", REPORT),
    ("AUTH_FAIL", "wrong PIN or password, and it was counted", PIN),
    ("NONCE", "the nonce has a wrong size", REPORT),
    ("PP", "somebody has to press the button for physical presence", "switch it on in the firmware's settings"),
    ("SCHEME", "the signing or encryption scheme is not there, or not the right one", UNFIT),
    ("SIZE", "the size is wrong", REPORT),
    ("SYMMETRIC", "the symmetric algorithm is not there, or not the right one", UNFIT),
    ("TAG", "the structure's tag is wrong", REPORT),
    ("SELECTOR", "the union's selector is wrong", REPORT),
    ("INSUFFICIENT", "the structure ended too early", REPORT),
    ("SIGNATURE", "the signature does not verify", "look whether it is the right key's, and for this state"),
    ("KEY", "the key's parts don't fit each other", REPORT),
    ("POLICY_FAIL", "the policy is not satisfied: another state, command or order than it asks for", POLICY),
    ("INTEGRITY", "the blob does not open: it is another TPM's, or from before the TPM was cleared, or damaged", SEAL),
    ("TICKET", "the ticket is not one of this TPM and this boot", AGAIN),
    ("RESERVED_BITS", "bits that must be zero are not", REPORT),
    ("BAD_AUTH", "wrong password; it is not counted, since the object is free of lockout", OWNER),
    ("EXPIRED", "the policy's time is over", AGAIN),
    ("POLICY_CC", "the policy is for another command", REPORT),
    ("BINDING", "the public and private part are not each other's", SEAL),
    ("CURVE", "the TPM does not have this curve", UNFIT),
    ("ECC_POINT", "the point does not lie on the curve", REPORT),
];

const DEVICE: &str = "look whether the device, the simulator or the resource manager is there, and the URI right: `strongroom device list`";
const PACKAGE: &str = "install the same version of all libtss2 packages; report it, if it stays";

/// Codes of the libraries, whichever of them says so.
const BASE: &[(&str, &str, &str)] = &[
    ("GENERAL_FAILURE", "something went wrong that has no code of its own", DEVICE),
    ("NOT_IMPLEMENTED", "the library does not have this function", PACKAGE),
    ("BAD_CONTEXT", "the library was used wrongly, or its state is broken", REPORT),
    ("ABI_MISMATCH", "the libraries are of versions that don't fit each other", PACKAGE),
    ("BAD_REFERENCE", "the library was given nothing where something is needed", REPORT),
    ("INSUFFICIENT_BUFFER", "the answer does not fit", REPORT),
    ("BAD_SEQUENCE", "the functions were called in a wrong order", REPORT),
    ("NO_CONNECTION", "nobody answers: no such device, or the other side has hung up", DEVICE),
    ("TRY_AGAIN", "the answer is not there yet", WAIT),
    ("IO_ERROR", "the connection to the TPM is broken, or was never there", DEVICE),
    ("BAD_VALUE", "the library was given a value that it does not take, such as a wrong configuration", DEVICE),
    (
        "NOT_PERMITTED",
        "the operating system does not allow it",
        "let this user at the device: on Debian, group tss for /dev/tpmrm0",
    ),
    ("INVALID_SESSIONS", "the sessions don't fit the command", REPORT),
    ("NO_DECRYPT_PARAM", "the command has no parameter that could be encrypted", REPORT),
    ("NO_ENCRYPT_PARAM", "the answer has no parameter that could be encrypted", REPORT),
    ("BAD_SIZE", "a size is wrong", REPORT),
    (
        "MALFORMED_RESPONSE",
        "the answer is none: it was changed on its way, or is not a TPM's",
        "somebody may sit between this machine and its TPM; look what answers at the URI",
    ),
    ("INSUFFICIENT_CONTEXT", "the library's state has too little room", REPORT),
    ("INSUFFICIENT_RESPONSE", "the answer is too short", DEVICE),
    ("INCOMPATIBLE_TCTI", "the transport library is of a version that does not fit", PACKAGE),
    ("NOT_SUPPORTED", "this is not supported, by the library or by its transport", PACKAGE),
    ("BAD_TCTI_STRUCTURE", "the transport library is broken", PACKAGE),
    ("MEMORY", "the machine is out of memory", "free memory, and try again"),
    ("BAD_TR", "the library does not know the object that was meant", REPORT),
    ("MULTIPLE_DECRYPT_SESSIONS", "two sessions were to encrypt the same command", REPORT),
    ("MULTIPLE_ENCRYPT_SESSIONS", "two sessions were to encrypt the same answer", REPORT),
    (
        "RSP_AUTH_FAILED",
        "the answer's HMAC is wrong: it was changed on its way, or does not come from the TPM that was meant",
        "somebody may sit between this machine and its TPM; look what answers at the URI",
    ),
];

pub fn of_number(code: u32) -> Option<Meaning> {
    let Layered { layer, base, about } = codes::split(code)?;
    let name = codes::name(code)?;
    let (origin, table) = match (layer, about.is_some() || base & 0x80 != 0) {
        (0, true) => (Origin::Tpm, FORMAT_ONE),
        (0, false) => (Origin::Tpm, FORMAT_ZERO),
        (_, _) => (Origin::Tss, BASE),
    };
    let short = name.rsplit_once("_RC_")?.1;
    let (_, meaning, remedy) = table.iter().find(|(name, ..)| *name == short)?;
    Some(Meaning { source: origin, value: u64::from(code), name, about, meaning, remedy })
}

pub fn of_name(name: &str) -> Option<Meaning> {
    codes::all().find(|code| codes::name(*code).as_deref() == Some(name)).and_then(of_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_has_a_name_has_a_meaning() {
        let mut count = 0;
        for code in codes::all() {
            let meaning = of_number(code).unwrap_or_else(|| panic!("{code:#x} ({:?})", codes::name(code)));
            assert!(!meaning.meaning.is_empty() && !meaning.remedy.is_empty());
            assert_eq!(of_name(&meaning.name).map(|again| again.name), Some(meaning.name));
            count += 1;
        }
        assert!(count > 200, "two formats, and six layers of libraries: {count}");
    }
}
