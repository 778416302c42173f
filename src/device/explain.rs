//! What a device's code means, and what to do about it: for whoever has nothing but the code, out of a log or of another
//! program.

mod pkcs11;
mod tpm;

use schemars::JsonSchema;
use serde::Serialize;

/// One reading of a code. The same number may be one of a TPM, and one of a token.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Meaning {
    pub source: Origin,
    pub value: u64,
    /// As its standard names it: `TPM_RC_LOCKOUT`, `TSS2_TCTI_RC_IO_ERROR`, `CKR_PIN_LOCKED`.
    pub name: String,
    /// What of the command it is about, where the code says so: `parameter 1`, `handle 2`, `session 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    pub meaning: &'static str,
    pub remedy: &'static str,
}

/// Who answers with such codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The TPM itself, or a resource manager in its place (TPM 2.0 Part 2, section 6.6).
    Tpm,
    /// The TPM's software stack (TCG TSS 2.0 Overview and Common Structures, section 6).
    Tss,
    /// A PKCS#11 module (PKCS#11 3.1, section 6).
    Pkcs11,
}

/// Why nothing is known of a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCode {
    #[error("`{0}` is neither a number nor a name of a code")]
    Text(String),
    #[error("neither a TPM nor a token has a code {0:#x}")]
    Number(u64),
    #[error("no code is called {0}")]
    Name(String),
}

/// Every reading of a number (`0x921`, `2337`) or of a name (`TPM_RC_LOCKOUT`, `CKR_PIN_LOCKED`, in any case).
pub fn explain(text: &str) -> Result<Vec<Meaning>, UnknownCode> {
    let text = text.trim();
    if let Some(number) = number(text) {
        let meanings: Vec<Meaning> =
            u32::try_from(number).ok().and_then(tpm::of_number).into_iter().chain(pkcs11::of_number(number)).collect();
        return if meanings.is_empty() { Err(UnknownCode::Number(number)) } else { Ok(meanings) };
    }
    let name = text.to_ascii_uppercase();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return Err(UnknownCode::Text(text.to_owned()));
    }
    let meanings: Vec<Meaning> = tpm::of_name(&name).into_iter().chain(pkcs11::of_name(&name)).collect();
    if meanings.is_empty() { Err(UnknownCode::Name(name)) } else { Ok(meanings) }
}

/// Hexadecimal with `0x`, else decimal.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        explain(text).unwrap_or_default().into_iter().map(|meaning| meaning.name).collect()
    }

    #[test]
    fn numbers_and_names_of_both_worlds() {
        assert_eq!(names("0x921"), ["TPM_RC_LOCKOUT"]);
        assert_eq!(names("2337"), ["TPM_RC_LOCKOUT"]);
        assert_eq!(names("tpm_rc_lockout"), ["TPM_RC_LOCKOUT"]);
        assert_eq!(names("CKR_PIN_LOCKED"), ["CKR_PIN_LOCKED"]);
        assert_eq!(names("0xa4"), ["TPM_RC_POLICY_CC", "CKR_PIN_LOCKED"], "one number, two worlds");
        assert_eq!(names("0x000a000a"), ["TSS2_TCTI_RC_IO_ERROR"]);
        assert_eq!(names("TSS2_ESYS_RC_RSP_AUTH_FAILED"), ["TSS2_ESYS_RC_RSP_AUTH_FAILED"]);
        assert_eq!(names("0x80000123"), ["CKR_VENDOR_DEFINED"]);
    }

    #[test]
    fn what_a_code_is_about() {
        let about = |text: &str| explain(text).unwrap()[0].about.clone();
        assert_eq!(about("0x1c4").as_deref(), Some("parameter 1"));
        assert_eq!(about("0x98e").as_deref(), Some("session 1"));
        assert_eq!(about("0x18b").as_deref(), Some("handle 1"));
        assert_eq!(about("0x921"), None);
    }

    #[test]
    fn what_is_no_code() {
        assert_eq!(explain("0xfffff"), Err(UnknownCode::Number(0xfffff)));
        assert_eq!(explain("ckr_nothing"), Err(UnknownCode::Name("CKR_NOTHING".to_owned())));
        for text in ["", "0x", "-1", "what?", "99999999999999999999"] {
            assert!(explain(text).is_err(), "{text:?}");
        }
        assert_eq!(explain("-1"), Err(UnknownCode::Text("-1".to_owned())));
    }
}
