//! Key wrap: how a secret travels between devices and inside a backup.
//!
//! A [`WrappedSecret`] is ciphertext: the master secret under a [`Kek`], by AES-256 key wrap. RFC 3394 (`A256KW`) and RFC 5649
//! (`A256KWP`, which differs in the check value alone) both make exactly 40 bytes of 32, every one of them authenticated.
//! Some HSMs know one, some the other, and wrap and unwrap by themselves; for a TPM, which has no such command, the host
//! does it here.

use aes_kw::{KeyInit, KwAes256, KwpAes256};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::bytes::Base64;
use crate::secret::{KEY_BYTES, Kek, MasterSecret, SecretBytes};

/// Length of a wrapped secret, in bytes (RFC 3394, and RFC 5649 for a multiple of eight: eight more than the key).
pub const WRAPPED_BYTES: usize = KEY_BYTES + 8;

/// How a secret is wrapped. A closed list; names are those of JSON Web Algorithms (RFC 7518, section 4.4), and in their
/// manner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WrapAlgorithm {
    /// AES-256 key wrap, RFC 3394.
    #[serde(rename = "A256KW")]
    A256Kw,
    /// AES-256 key wrap with padding, RFC 5649: what a token made that knows no other.
    #[serde(rename = "A256KWP")]
    A256Kwp,
}

impl WrapAlgorithm {
    pub const ALL: [WrapAlgorithm; 2] = [WrapAlgorithm::A256Kw, WrapAlgorithm::A256Kwp];

    /// The document that says how.
    pub fn standard(self) -> &'static str {
        match self {
            WrapAlgorithm::A256Kw => "RFC 3394",
            WrapAlgorithm::A256Kwp => "RFC 5649",
        }
    }
}

/// The master secret under a KEK: ciphertext, with its algorithm named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedSecret {
    pub algorithm: WrapAlgorithm,
    pub wrapped: Base64,
}

/// Why a wrapped secret does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    #[error("a wrapped secret must be {WRAPPED_BYTES} bytes long, this one is {0}")]
    Length(usize),
    #[error("the wrapped secret is damaged or wrapped under another key")]
    Integrity,
}

impl WrappedSecret {
    /// Takes a blob as a device gave it. Errors where its length is not 40 bytes.
    pub fn of(algorithm: WrapAlgorithm, blob: &[u8]) -> Result<Self, WrapError> {
        if blob.len() != WRAPPED_BYTES {
            return Err(WrapError::Length(blob.len()));
        }
        Ok(Self { algorithm, wrapped: Base64(blob.to_vec()) })
    }

    /// Wraps on the host (RFC 3394, section 2.2.1), for devices that can't.
    pub fn wrap(secret: &MasterSecret, kek: &Kek) -> Self {
        Self::wrap_as(WrapAlgorithm::A256Kw, secret, kek)
    }

    /// Wraps on the host, by either standard.
    pub fn wrap_as(algorithm: WrapAlgorithm, secret: &MasterSecret, kek: &Kek) -> Self {
        let mut blob = vec![0; WRAPPED_BYTES];
        let secret = secret.expose_secret();
        let done = match algorithm {
            WrapAlgorithm::A256Kw => KwAes256::wrap_key(&cipher(kek), secret, &mut blob).map(drop),
            WrapAlgorithm::A256Kwp => KwpAes256::wrap_key(&cipher(kek), secret, &mut blob).map(drop),
        };
        done.expect("40 bytes hold a wrapped key of 32");
        Self { algorithm, wrapped: Base64(blob) }
    }

    /// Unwraps on the host (RFC 3394, section 2.2.2; RFC 5649, section 4.2). Errors where the blob was changed or the KEK is
    /// another.
    pub fn unwrap(&self, kek: &Kek) -> Result<MasterSecret, WrapError> {
        let blob = self.blob()?;
        let mut secret = SecretBytes::zeroed(KEY_BYTES);
        let length = match self.algorithm {
            WrapAlgorithm::A256Kw => KwAes256::unwrap_key(&cipher(kek), blob, secret.as_mut()).map(<[u8]>::len),
            WrapAlgorithm::A256Kwp => KwpAes256::unwrap_key(&cipher(kek), blob, secret.as_mut()).map(<[u8]>::len),
        };
        match length {
            Ok(KEY_BYTES) => Ok(MasterSecret::new(secret)),
            // RFC 5649 also wraps what is a few bytes shorter: a key, but none of ours.
            Ok(_) | Err(_) => {
                secret.as_mut().zeroize();
                Err(WrapError::Integrity)
            }
        }
    }

    /// The same secret under the same KEK by the other standard, for a device that knows only that one. For the moment, the
    /// secret is in host memory.
    pub fn rewrapped(&self, kek: &Kek, algorithm: WrapAlgorithm) -> Result<Self, WrapError> {
        self.unwrap(kek).map(|secret| Self::wrap_as(algorithm, &secret, kek))
    }

    /// The blob as a device takes it, its length checked.
    pub fn blob(&self) -> Result<&[u8], WrapError> {
        match self.wrapped.0.len() {
            WRAPPED_BYTES => Ok(&self.wrapped.0),
            other => Err(WrapError::Length(other)),
        }
    }
}

fn cipher<C: KeyInit>(kek: &Kek) -> C {
    C::new_from_slice(kek.expose_secret()).expect("a KEK is 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3394, section 4.6: 256 bits of key data with a 256-bit KEK.
    #[test]
    fn rfc_3394_vector() {
        let kek = hex::decode("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap();
        let kek = Kek::new(SecretBytes::copy_of(&kek));
        let secret = hex::decode("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f").unwrap();
        let expected = "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21";

        let wrapped = WrappedSecret::wrap(&MasterSecret::new(SecretBytes::copy_of(&secret)), &kek);
        assert_eq!(hex::encode(&wrapped.wrapped.0), expected);
        assert_eq!(wrapped.unwrap(&kek).ok().unwrap().expose_secret(), secret);
    }

    #[test]
    fn refuses_what_was_changed() {
        let kek = Kek::random();
        let secret = MasterSecret::new(SecretBytes::random(KEY_BYTES));
        for algorithm in WrapAlgorithm::ALL {
            let good = WrappedSecret::wrap_as(algorithm, &secret, &kek);
            for bit in 0..WRAPPED_BYTES * 8 {
                let mut bad = good.clone();
                bad.wrapped.0[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(bad.unwrap(&kek).err(), Some(WrapError::Integrity), "bit {bit}");
            }
            assert_eq!(good.unwrap(&Kek::random()).err(), Some(WrapError::Integrity));
            let short = WrappedSecret { algorithm, wrapped: Base64(vec![0; 39]) };
            assert_eq!(short.unwrap(&kek).err(), Some(WrapError::Length(39)));
        }
    }

    /// What `openssl enc -id-aes256-wrap-pad -iv A65959A6` makes of the key of RFC 3394, section 4.6, under the same KEK. (RFC
    /// 5649's own vectors are of 20 and 7 bytes, under a KEK of 192 bits.)
    #[test]
    fn rfc_5649_as_openssl_has_it() {
        let kek = hex::decode("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap();
        let kek = Kek::new(SecretBytes::copy_of(&kek));
        let secret = hex::decode("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f").unwrap();
        let wrapped =
            WrappedSecret::wrap_as(WrapAlgorithm::A256Kwp, &MasterSecret::new(SecretBytes::copy_of(&secret)), &kek);
        assert_eq!(
            hex::encode(&wrapped.wrapped.0),
            "4a8029243027353b0694cf1bd8fc745bb0ce8a739b19b1960b12426d4c39cfeda926d103ab34e9f6"
        );
        assert_eq!(wrapped.unwrap(&kek).ok().unwrap().expose_secret(), secret);
        let other = wrapped.rewrapped(&kek, WrapAlgorithm::A256Kw).unwrap();
        assert_eq!(
            hex::encode(&other.wrapped.0),
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
        );
    }

    #[test]
    fn a_shorter_key_is_none() {
        let kek = Kek::random();
        let mut blob = vec![0; WRAPPED_BYTES];
        cipher::<KwpAes256>(&kek).wrap_key(&[7; 29], &mut blob).unwrap();
        let short = WrappedSecret::of(WrapAlgorithm::A256Kwp, &blob).unwrap();
        assert_eq!(short.unwrap(&kek).err(), Some(WrapError::Integrity));
    }
}
