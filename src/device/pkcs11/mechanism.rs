//! Mechanisms by their numbers, those among them that the `cryptoki` crate does not know too.
//!
//! Of what the crate does not know it lets through numbers of vendors alone, and CKM_AES_KEY_WRAP_KWP (0x210B) is none. A
//! function list of our own is no way around that (see [`super::session`]); its [`MechanismType`] is.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::vendor_defined::VendorDefinedMechanism;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki_sys::{self as sys, CK_MECHANISM_TYPE};
use serde::{Deserialize, Serialize};

/// A mechanism of AES that wraps keys, and authenticates what it wraps: RFC 3394 or RFC 5649, by whatever number. Which of
/// the two, the self-test tells, since makers don't agree on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyWrap {
    #[serde(rename = "CKM_AES_KEY_WRAP")]
    Aes,
    #[serde(rename = "CKM_AES_KEY_WRAP_KWP")]
    AesKwp,
    #[serde(rename = "CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD")]
    CloudHsm,
    #[serde(rename = "CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD")]
    CloudHsmZeroPad,
    /// Luna's, as its headers call them.
    #[serde(rename = "CKM_AES_KW")]
    Luna,
    #[serde(rename = "CKM_AES_KWP")]
    LunaKwp,
    /// Deprecated, and one of three things, by maker: PKCS#11 3.0 gave it up for the above.
    #[serde(rename = "CKM_AES_KEY_WRAP_PAD")]
    AesPad,
}

impl KeyWrap {
    /// All, the best known first.
    pub const ALL: [KeyWrap; 7] = [
        KeyWrap::Aes,
        KeyWrap::AesKwp,
        KeyWrap::CloudHsm,
        KeyWrap::Luna,
        KeyWrap::LunaKwp,
        KeyWrap::CloudHsmZeroPad,
        KeyWrap::AesPad,
    ];

    pub fn number(self) -> CK_MECHANISM_TYPE {
        match self {
            KeyWrap::Aes => sys::CKM_AES_KEY_WRAP,
            KeyWrap::AesKwp => sys::CKM_AES_KEY_WRAP_KWP,
            KeyWrap::CloudHsm => sys::CKM_VENDOR_DEFINED | sys::CKM_AES_KEY_WRAP,
            KeyWrap::CloudHsmZeroPad => sys::CKM_VENDOR_DEFINED | 0x216f,
            KeyWrap::Luna => sys::CKM_VENDOR_DEFINED | 0x170,
            KeyWrap::LunaKwp => sys::CKM_VENDOR_DEFINED | 0x171,
            KeyWrap::AesPad => sys::CKM_AES_KEY_WRAP_PAD,
        }
    }

    /// As its maker's header has it.
    pub fn name(self) -> &'static str {
        match self {
            KeyWrap::Aes => "CKM_AES_KEY_WRAP",
            KeyWrap::AesKwp => "CKM_AES_KEY_WRAP_KWP",
            KeyWrap::CloudHsm => "CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD",
            KeyWrap::CloudHsmZeroPad => "CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD",
            KeyWrap::Luna => "CKM_AES_KW",
            KeyWrap::LunaKwp => "CKM_AES_KWP",
            KeyWrap::AesPad => "CKM_AES_KEY_WRAP_PAD",
        }
    }

    pub fn kind(self) -> MechanismType {
        numbered(self.number())
    }

    /// Without a parameter: the initial value is the standard's.
    pub fn mechanism(self) -> Mechanism<'static> {
        Mechanism::VendorDefined(VendorDefinedMechanism::new::<()>(self.kind(), None))
    }
}

/// CKM_RSA_PKCS_OAEP with an empty label, and the hash that its padding and its mask are made with (RFC 8017, section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Oaep {
    #[serde(rename = "CKM_RSA_PKCS_OAEP/SHA-256")]
    Sha256,
    /// For tokens that know no other. What OAEP needs of a hash is not what SHA-1 has lost.
    #[serde(rename = "CKM_RSA_PKCS_OAEP/SHA-1")]
    Sha1,
}

impl Oaep {
    /// Both, the better first.
    pub const ALL: [Oaep; 2] = [Oaep::Sha256, Oaep::Sha1];

    pub fn name(self) -> &'static str {
        match self {
            Oaep::Sha256 => "CKM_RSA_PKCS_OAEP/SHA-256",
            Oaep::Sha1 => "CKM_RSA_PKCS_OAEP/SHA-1",
        }
    }

    pub fn mechanism(self) -> Mechanism<'static> {
        let (hash, mask) = match self {
            Oaep::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
            Oaep::Sha1 => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
        };
        Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mask, PkcsOaepSource::empty()))
    }
}

/// The crate's type for any number.
#[allow(unsafe_code)]
fn numbered(number: CK_MECHANISM_TYPE) -> MechanismType {
    // SAFETY: `MechanismType` is a transparent wrapper of such a number (the crate says so, and that arrays of them are given
    // to modules), and any number is one.
    unsafe { std::mem::transmute::<CK_MECHANISM_TYPE, MechanismType>(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_what_it_is() {
        let numbers = KeyWrap::ALL.map(|wrap| CK_MECHANISM_TYPE::from(wrap.kind()));
        assert_eq!(numbers, [0x2109, 0x210b, 0x8000_2109, 0x8000_0170, 0x8000_0171, 0x8000_216f, 0x210a]);
        assert_eq!(KeyWrap::Aes.kind(), MechanismType::AES_KEY_WRAP);
        for wrap in KeyWrap::ALL {
            assert_eq!(wrap.mechanism().mechanism_type(), wrap.kind());
        }
    }

    #[test]
    fn they_are_recorded_by_their_names() {
        for wrap in KeyWrap::ALL {
            assert_eq!(serde_json::to_value(wrap).unwrap(), wrap.name());
        }
        for oaep in Oaep::ALL {
            assert_eq!(serde_json::to_value(oaep).unwrap(), oaep.name());
        }
    }
}
