//! The ways of a token: how secrets are kept on it, how they come in, and how they leave. Decided once, by the self-test, when
//! the token is set up, and recorded with what the ring pins of it: later opens use what is recorded and try nothing.
//!
//! Tokens differ in what they let be done with keys. Most know a mechanism of AES that wraps keys, and let a KEK be brought
//! in: then the secret never is in host memory. Where a KEK may not come in, RSA-OAEP is the way: a secret that comes is
//! encrypted by the host to a key pair of the token's, one that leaves is wrapped by the token to a key pair of the host's,
//! and for the moment in between it is in host memory. Where nothing may be wrapped, the token keeps the secret itself, as an
//! object of its own, and lets nothing out.

use serde::{Deserialize, Serialize};

use super::keys;
use super::mechanism::{KeyWrap, Oaep};
use crate::wrap::WrapAlgorithm;

/// What a token's self-test has shown to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ways {
    pub kept: Kept,
    pub enters: Enters,
    pub leaves: Leaves,
    /// The kind of key that the token signs with by CKM_SHA256_HMAC.
    #[serde(default, skip_serializing_if = "HmacKey::is_generic")]
    pub key: HmacKey,
    /// Whether what was unwrapped is made sensitive, and locked, by C_SetAttributeValue: this token heeds no template of
    /// C_UnwrapKey.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locks_afterwards: bool,
    /// Whether all objects are token objects, those too that are for a moment: this token has no others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_token_objects: bool,
}

/// How secrets are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kept {
    /// In the ring, under the token's two wrapping keys.
    Wrapped { mechanism: KeyWrap },
    /// In the ring, encrypted to the token's two key pairs.
    Encrypted { mechanism: Oaep },
    /// On the token, an object each, which no seal can leave from.
    Objects {},
}

impl Kept {
    /// What wrapping keys it takes; none where there are none.
    pub fn keys(self) -> Option<keys::Kind> {
        match self {
            Kept::Wrapped { .. } => Some(keys::Kind::Aes),
            Kept::Encrypted { .. } => Some(keys::Kind::Rsa),
            Kept::Objects {} => None,
        }
    }
}

/// How a secret comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Enters {
    /// Under a KEK that is brought in: the host does not see it.
    UnderKek { mechanism: KeyWrap, algorithm: WrapAlgorithm },
    /// Encrypted by the host to a key pair that the token makes for the session.
    Encrypted { mechanism: Oaep },
    /// As it is (C_CreateObject).
    Plain {},
}

/// How a secret leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Leaves {
    /// Under a KEK that is brought in: the host does not see it.
    UnderKek {
        mechanism: KeyWrap,
        algorithm: WrapAlgorithm,
    },
    /// Encrypted by the token to a key pair that the host makes for the moment.
    Encrypted {
        mechanism: Oaep,
    },
    NotAtAll {},
}

/// CKA_KEY_TYPE of a master secret.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HmacKey {
    #[default]
    GenericSecret,
    Sha256Hmac,
}

impl HmacKey {
    fn is_generic(&self) -> bool {
        *self == HmacKey::GenericSecret
    }
}

impl Default for Ways {
    /// CKM_AES_KEY_WRAP for everything: what is not recorded.
    fn default() -> Self {
        let (mechanism, algorithm) = (KeyWrap::Aes, WrapAlgorithm::A256Kw);
        Self {
            kept: Kept::Wrapped { mechanism },
            enters: Enters::UnderKek { mechanism, algorithm },
            leaves: Leaves::UnderKek { mechanism, algorithm },
            key: HmacKey::GenericSecret,
            locks_afterwards: false,
            only_token_objects: false,
        }
    }
}

impl Ways {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what is sealed can leave for a backup.
    pub fn let_out(&self) -> bool {
        self.leaves != Leaves::NotAtAll {}
    }

    /// For people: what the token does with secrets, and by which mechanisms.
    pub fn summary(&self) -> String {
        let kept = match self.kept {
            Kept::Wrapped { mechanism } => format!("by {}", mechanism.name()),
            Kept::Encrypted { mechanism } => format!("by {}", mechanism.name()),
            Kept::Objects {} => "as objects of its own".to_owned(),
        };
        let under_kek = |mechanism: KeyWrap, algorithm: WrapAlgorithm| {
            format!("by {} ({})", mechanism.name(), algorithm.standard())
        };
        let by_oaep = |mechanism: Oaep| format!("by {}, through host memory", mechanism.name());
        let enters = match self.enters {
            Enters::UnderKek { mechanism, algorithm } => under_kek(mechanism, algorithm),
            Enters::Encrypted { mechanism } => by_oaep(mechanism),
            Enters::Plain {} => "as they are, through host memory".to_owned(),
        };
        let leaves = match self.leaves {
            Leaves::UnderKek { mechanism, algorithm } => Some(under_kek(mechanism, algorithm)),
            Leaves::Encrypted { mechanism } => Some(by_oaep(mechanism)),
            Leaves::NotAtAll {} => None,
        };
        match leaves {
            Some(leaves) if leaves == enters && enters.starts_with(&kept) => {
                format!("keeps secrets, takes them in and lets them out {leaves}")
            }
            Some(leaves) if leaves == enters => {
                format!("keeps secrets {kept}; takes them in and lets them out {leaves}")
            }
            Some(leaves) => format!("keeps secrets {kept}; takes them in {enters}; lets them out {leaves}"),
            None => format!("keeps secrets {kept}; takes them in {enters}; lets none out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_said_in_a_line() {
        let ways = Ways::default();
        assert_eq!(ways.summary(), "keeps secrets, takes them in and lets them out by CKM_AES_KEY_WRAP (RFC 3394)");
        let mechanism = Oaep::Sha256;
        let passing = Ways { enters: Enters::Encrypted { mechanism }, leaves: Leaves::Encrypted { mechanism }, ..ways };
        let by = "by CKM_RSA_PKCS_OAEP/SHA-256, through host memory";
        assert_eq!(
            passing.summary(),
            format!("keeps secrets by CKM_AES_KEY_WRAP; takes them in and lets them out {by}")
        );
        let objects = Ways { kept: Kept::Objects {}, leaves: Leaves::NotAtAll {}, ..passing };
        assert_eq!(
            objects.summary(),
            format!("keeps secrets as objects of its own; takes them in {by}; lets none out")
        );
    }

    #[test]
    fn what_is_recorded_reads_back() {
        let other = Ways {
            kept: Kept::Encrypted { mechanism: Oaep::Sha1 },
            enters: Enters::Plain {},
            leaves: Leaves::NotAtAll {},
            key: HmacKey::Sha256Hmac,
            locks_afterwards: true,
            only_token_objects: true,
        };
        for ways in [Ways::default(), other] {
            let json = serde_json::to_string(&ways).unwrap();
            assert_eq!(serde_json::from_str::<Ways>(&json).unwrap(), ways, "{json}");
        }
        assert!(Ways::default().is_default() && !other.is_default());
        assert!(Ways::default().let_out() && !other.let_out());
    }
}
