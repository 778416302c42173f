//! Key wrap: how a secret travels between devices and inside a backup.
//!
//! A [`WrappedSecret`] is ciphertext: the master secret under a [`Kek`], by AES-256 key wrap (RFC 3394, `A256KW`): 32
//! bytes in, exactly 40 bytes out, every byte authenticated. An HSM wraps and unwraps by itself; for a TPM, which has no
//! such command, the host does it here.

use aes_kw::KwAes256;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::bytes::Base64;
use crate::secret::{KEY_BYTES, Kek, MasterSecret, SecretBytes};

/// Length of a secret wrapped by `A256KW`, in bytes (RFC 3394: eight more than the key).
pub const A256KW_BYTES: usize = KEY_BYTES + 8;

/// How a secret is wrapped. A closed list; names are those of JSON Web Algorithms (RFC 7518, section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WrapAlgorithm {
    /// AES-256 key wrap, RFC 3394.
    #[serde(rename = "A256KW")]
    A256Kw,
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
    #[error("a wrapped secret must be {A256KW_BYTES} bytes long, this one is {0}")]
    Length(usize),
    #[error("the wrapped secret is damaged or wrapped under another key")]
    Integrity,
}

impl WrappedSecret {
    /// Takes an RFC 3394 blob as a device gave it. Errors where its length is not 40 bytes.
    pub fn a256kw(blob: &[u8]) -> Result<Self, WrapError> {
        if blob.len() != A256KW_BYTES {
            return Err(WrapError::Length(blob.len()));
        }
        Ok(Self { algorithm: WrapAlgorithm::A256Kw, wrapped: Base64(blob.to_vec()) })
    }

    /// Wraps on the host (RFC 3394, section 2.2.1), for devices that can't.
    pub fn wrap(secret: &MasterSecret, kek: &Kek) -> Self {
        let mut blob = vec![0; A256KW_BYTES];
        cipher(kek).wrap_key(secret.expose_secret(), &mut blob).expect("40 bytes hold a wrapped key of 32");
        Self { algorithm: WrapAlgorithm::A256Kw, wrapped: Base64(blob) }
    }

    /// Unwraps on the host (RFC 3394, section 2.2.2). Errors where the blob was changed or the KEK is another.
    pub fn unwrap(&self, kek: &Kek) -> Result<MasterSecret, WrapError> {
        let blob = self.blob()?;
        let mut secret = SecretBytes::zeroed(KEY_BYTES);
        match cipher(kek).unwrap_key(blob, secret.as_mut()) {
            Ok(_) => Ok(MasterSecret::new(secret)),
            Err(_) => {
                secret.as_mut().zeroize();
                Err(WrapError::Integrity)
            }
        }
    }

    /// The blob as a device takes it, its length checked.
    pub fn blob(&self) -> Result<&[u8], WrapError> {
        match self.wrapped.0.len() {
            A256KW_BYTES => Ok(&self.wrapped.0),
            other => Err(WrapError::Length(other)),
        }
    }
}

fn cipher(kek: &Kek) -> KwAes256 {
    use aes_kw::KeyInit;
    KwAes256::new_from_slice(kek.expose_secret()).expect("a KEK is 32 bytes")
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
        let good = WrappedSecret::wrap(&secret, &kek);
        for bit in 0..A256KW_BYTES * 8 {
            let mut bad = good.clone();
            bad.wrapped.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(bad.unwrap(&kek).err(), Some(WrapError::Integrity), "bit {bit}");
        }
        assert_eq!(good.unwrap(&Kek::random()).err(), Some(WrapError::Integrity));
        let short = WrappedSecret { algorithm: WrapAlgorithm::A256Kw, wrapped: Base64(vec![0; 39]) };
        assert_eq!(short.unwrap(&kek).err(), Some(WrapError::Length(39)));
    }
}
