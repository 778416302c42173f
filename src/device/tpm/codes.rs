//! Codes of TPMs and of the libraries before them: their numbers, their standard names, and what of a command they are about.
//!
//! A TSS response code holds its layer in bits 16 to 23. Layer 0 is the TPM itself (TPM 2.0 Part 2, section 6.6), and a
//! resource manager may answer in its place: in layer 12, as the standard says, or in layer 11 if it is Linux's. The others are
//! libraries: TCTI, SAPI, ESAPI (TCG TSS 2.0 Overview and Common Structures, section 6).

pub const LAYER_TCTI: u32 = 10;
pub const LAYER_ESAPI: u32 = 7;

/// Names of format-zero codes (TPM 2.0 Part 2, section 6.6.3, tables 16 and 18).
const FORMAT_ZERO: &[(u32, &str)] = &[
    (0x100, "INITIALIZE"),
    (0x101, "FAILURE"),
    (0x103, "SEQUENCE"),
    (0x10b, "PRIVATE"),
    (0x119, "HMAC"),
    (0x120, "DISABLED"),
    (0x121, "EXCLUSIVE"),
    (0x124, "AUTH_TYPE"),
    (0x125, "AUTH_MISSING"),
    (0x126, "POLICY"),
    (0x127, "PCR"),
    (0x128, "PCR_CHANGED"),
    (0x12d, "UPGRADE"),
    (0x12e, "TOO_MANY_CONTEXTS"),
    (0x12f, "AUTH_UNAVAILABLE"),
    (0x130, "REBOOT"),
    (0x131, "UNBALANCED"),
    (0x142, "COMMAND_SIZE"),
    (0x143, "COMMAND_CODE"),
    (0x144, "AUTHSIZE"),
    (0x145, "AUTH_CONTEXT"),
    (0x146, "NV_RANGE"),
    (0x147, "NV_SIZE"),
    (0x148, "NV_LOCKED"),
    (0x149, "NV_AUTHORIZATION"),
    (0x14a, "NV_UNINITIALIZED"),
    (0x14b, "NV_SPACE"),
    (0x14c, "NV_DEFINED"),
    (0x150, "BAD_CONTEXT"),
    (0x151, "CPHASH"),
    (0x152, "PARENT"),
    (0x153, "NEEDS_TEST"),
    (0x154, "NO_RESULT"),
    (0x155, "SENSITIVE"),
    (0x901, "CONTEXT_GAP"),
    (0x902, "OBJECT_MEMORY"),
    (0x903, "SESSION_MEMORY"),
    (0x904, "MEMORY"),
    (0x905, "SESSION_HANDLES"),
    (0x906, "OBJECT_HANDLES"),
    (0x907, "LOCALITY"),
    (0x908, "YIELDED"),
    (0x909, "CANCELED"),
    (0x90a, "TESTING"),
    (0x910, "REFERENCE_H0"),
    (0x911, "REFERENCE_H1"),
    (0x912, "REFERENCE_H2"),
    (0x918, "REFERENCE_S0"),
    (0x919, "REFERENCE_S1"),
    (0x91a, "REFERENCE_S2"),
    (0x920, "NV_RATE"),
    (0x921, "LOCKOUT"),
    (0x922, "RETRY"),
    (0x923, "NV_UNAVAILABLE"),
];

/// Names of format-one codes, by their low six bits (TPM 2.0 Part 2, section 6.6.3, table 17).
const FORMAT_ONE: &[(u32, &str)] = &[
    (0x01, "ASYMMETRIC"),
    (0x02, "ATTRIBUTES"),
    (0x03, "HASH"),
    (0x04, "VALUE"),
    (0x05, "HIERARCHY"),
    (0x07, "KEY_SIZE"),
    (0x08, "MGF"),
    (0x09, "MODE"),
    (0x0a, "TYPE"),
    (0x0b, "HANDLE"),
    (0x0c, "KDF"),
    (0x0d, "RANGE"),
    (0x0e, "AUTH_FAIL"),
    (0x0f, "NONCE"),
    (0x10, "PP"),
    (0x12, "SCHEME"),
    (0x15, "SIZE"),
    (0x16, "SYMMETRIC"),
    (0x17, "TAG"),
    (0x18, "SELECTOR"),
    (0x1a, "INSUFFICIENT"),
    (0x1b, "SIGNATURE"),
    (0x1c, "KEY"),
    (0x1d, "POLICY_FAIL"),
    (0x1f, "INTEGRITY"),
    (0x20, "TICKET"),
    (0x21, "RESERVED_BITS"),
    (0x22, "BAD_AUTH"),
    (0x23, "EXPIRED"),
    (0x24, "POLICY_CC"),
    (0x25, "BINDING"),
    (0x26, "CURVE"),
    (0x27, "ECC_POINT"),
];

/// The library layers' names, and those of their codes (`tss2_common.h`).
const LAYERS: &[(u32, &str)] =
    &[(6, "FEATURE"), (7, "ESYS"), (8, "SYS"), (9, "MU"), (LAYER_TCTI, "TCTI"), (11, "RESMGR")];
const BASE: &[(u32, &str)] = &[
    (0x01, "GENERAL_FAILURE"),
    (0x02, "NOT_IMPLEMENTED"),
    (0x03, "BAD_CONTEXT"),
    (0x04, "ABI_MISMATCH"),
    (0x05, "BAD_REFERENCE"),
    (0x06, "INSUFFICIENT_BUFFER"),
    (0x07, "BAD_SEQUENCE"),
    (0x08, "NO_CONNECTION"),
    (0x09, "TRY_AGAIN"),
    (0x0a, "IO_ERROR"),
    (0x0b, "BAD_VALUE"),
    (0x0c, "NOT_PERMITTED"),
    (0x0d, "INVALID_SESSIONS"),
    (0x0e, "NO_DECRYPT_PARAM"),
    (0x0f, "NO_ENCRYPT_PARAM"),
    (0x10, "BAD_SIZE"),
    (0x11, "MALFORMED_RESPONSE"),
    (0x12, "INSUFFICIENT_CONTEXT"),
    (0x13, "INSUFFICIENT_RESPONSE"),
    (0x14, "INCOMPATIBLE_TCTI"),
    (0x15, "NOT_SUPPORTED"),
    (0x16, "BAD_TCTI_STRUCTURE"),
    (0x17, "MEMORY"),
    (0x18, "BAD_TR"),
    (0x19, "MULTIPLE_DECRYPT_SESSIONS"),
    (0x1a, "MULTIPLE_ENCRYPT_SESSIONS"),
    (0x1b, "RSP_AUTH_FAILED"),
];

/// A code, taken apart.
pub struct Layered {
    /// 0 is the TPM itself.
    pub layer: u32,
    /// Without layer, parameter, handle and session.
    pub base: u32,
    /// What it is about: `parameter 1`, `handle 2`, `session 1`.
    pub about: Option<String>,
}

/// Takes a code apart; none where it has bits that no code has.
pub fn split(rc: u32) -> Option<Layered> {
    if rc >> 24 != 0 {
        return None;
    }
    Some(Layered { layer: layer(rc), base: kind(rc), about: about(rc) })
}

/// Format one (TPM 2.0 Part 2, section 6.6.2): bit 6 says that it is a parameter, bits 8 to 11 which; else bit 11 tells a
/// session from a handle, bits 8 to 10 which.
fn about(rc: u32) -> Option<String> {
    if layer(rc) != 0 || rc & 0x80 == 0 {
        return None;
    }
    let (what, number) = match (rc & 0x40 != 0, rc & 0x800 != 0) {
        (true, _) => ("parameter", rc >> 8 & 0xf),
        (false, true) => ("session", rc >> 8 & 0x7),
        (false, false) => ("handle", rc >> 8 & 0x7),
    };
    (number != 0).then(|| format!("{what} {number}"))
}

/// The standard's name of a code; none where it has none.
pub fn name(rc: u32) -> Option<String> {
    match (layer(rc), kind(rc)) {
        (0, kind) if kind & 0x80 != 0 => find(FORMAT_ONE, kind & 0x3f).map(|name| format!("TPM_RC_{name}")),
        (0, kind) => find(FORMAT_ZERO, kind).map(|name| format!("TPM_RC_{name}")),
        (layer, kind) => {
            find(LAYERS, layer).and_then(|layer| find(BASE, kind).map(|name| format!("TSS2_{layer}_RC_{name}")))
        }
    }
}

/// Every code that has a name, without parameter, handle and session.
pub fn all() -> impl Iterator<Item = u32> {
    let zero = FORMAT_ZERO.iter().map(|(code, _)| *code);
    let one = FORMAT_ONE.iter().map(|(code, _)| 0x80 | *code);
    let libraries = LAYERS.iter().flat_map(|(layer, _)| BASE.iter().map(move |(code, _)| layer << 16 | *code));
    zero.chain(one).chain(libraries)
}

/// The layer that a code comes from; a resource manager's answers in the TPM's place are the TPM's.
pub fn layer(rc: u32) -> u32 {
    match (rc >> 16 & 0xff, rc & 0xffff) {
        (12, _) => 0,
        // `TSS2_RESMGR_TPM_RC_LAYER` of Linux, with the TPM's numbers: a command that the TPM lacks is not sent to it.
        (11, 0x100..) => 0,
        (layer, _) => layer,
    }
}

/// A code of the TPM without its parameter, handle or session number; a library's without its layer.
pub fn kind(rc: u32) -> u32 {
    match rc & 0xffff {
        rc if rc & 0x80 != 0 => rc & 0xbf,
        rc => rc,
    }
}

fn find(table: &[(u32, &'static str)], key: u32) -> Option<&'static str> {
    table.iter().find(|(code, _)| *code == key).map(|(_, name)| *name)
}
