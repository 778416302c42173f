//! RSA-OAEP on the host, for tokens that let nothing in or out by other means: the host's half of a secret's passage.
//!
//! A pair of the host's is made for the moment, and opens what one token encrypted to it: nobody else can offer it anything
//! to open, or time it.

use rand::rngs::SysRng;
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, PrivateKey, PublicKey};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroize;

use super::keys::RSA_BITS;
use super::mechanism::Oaep;
use crate::secret::{KEY_BYTES, MasterSecret, SecretBytes};

/// What went wrong, in words.
pub type Result<T> = std::result::Result<T, rsa::Error>;

/// A key pair of the host's. Wiped on drop, by its crate.
pub struct HostPair(PrivateKey);

impl HostPair {
    /// A fresh one. Takes about a second.
    pub fn random() -> Result<Self> {
        PrivateKey::new(&mut SysRng, RSA_BITS as usize).map(Self)
    }

    /// Modulus and exponent, big-endian.
    pub fn public(&self) -> [Vec<u8>; 2] {
        [self.0.n_bytes().to_vec(), self.0.e_bytes().to_vec()]
    }

    /// The secret that a token encrypted to this pair; none where it is not 32 bytes.
    pub fn open(&self, oaep: Oaep, encrypted: &[u8]) -> Result<Option<MasterSecret>> {
        let mut bytes = match oaep {
            Oaep::Sha256 => self.0.oaep_decrypt_with_rng::<Sha256, _>(&mut SysRng, encrypted)?,
            Oaep::Sha1 => self.0.oaep_decrypt_with_rng::<Sha1, _>(&mut SysRng, encrypted)?,
        };
        let secret = (bytes.len() == KEY_BYTES).then(|| MasterSecret::new(SecretBytes::copy_of(&bytes)));
        bytes.zeroize();
        Ok(secret)
    }
}

/// Encrypts a secret to the pair that `modulus` and `exponent` are the public half of.
pub fn encrypt(oaep: Oaep, modulus: &[u8], exponent: &[u8], secret: &MasterSecret) -> Result<Vec<u8>> {
    let number = BoxedUint::from_be_slice_vartime;
    let public = PublicKey::new(number(modulus), number(exponent))?;
    match oaep {
        Oaep::Sha256 => public.oaep_encrypt_with_rng::<Sha256, _>(&mut SysRng, secret.expose_secret()),
        Oaep::Sha1 => public.oaep_encrypt_with_rng::<Sha1, _>(&mut SysRng, secret.expose_secret()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_opens_and_nothing_else_does() {
        let pair = HostPair::random().unwrap();
        let [modulus, exponent] = pair.public();
        assert_eq!((modulus.len(), &exponent[..]), (RSA_BITS as usize / 8, &super::super::keys::RSA_EXPONENT[..]));
        let secret = MasterSecret::new(SecretBytes::random(KEY_BYTES));
        for oaep in Oaep::ALL {
            let mut encrypted = encrypt(oaep, &modulus, &exponent, &secret).unwrap();
            let opened = pair.open(oaep, &encrypted).unwrap().unwrap();
            assert_eq!(opened.expose_secret(), secret.expose_secret());
            encrypted[100] ^= 1;
            assert!(pair.open(oaep, &encrypted).is_err());
        }
        let short = MasterSecret::new(SecretBytes::random(KEY_BYTES - 1));
        let encrypted = encrypt(Oaep::Sha256, &modulus, &exponent, &short).unwrap();
        assert!(pair.open(Oaep::Sha256, &encrypted).unwrap().is_none());
    }
}
