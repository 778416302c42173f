//! Keys from the master secret: HKDF-Expand (RFC 5869, section 2.3, SHA-256) with a device's HMAC as the PRF.
//!
//! ```text
//! info = "strongroom/v1/" || purpose || 0x00 || label || 0x00 || u16be(length)
//! T(i) = HMAC-SHA-256(master secret, T(i-1) || info || i)        one device HMAC for each 32 bytes
//! ```
//!
//! Purposes are a closed list and hold no zero byte, neither do labels, and the length is part of `info`: no two inputs
//! meet, and no key is the start of another. This file alone calls the device's `hmac`; callers choose labels only.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::Hex;
use crate::device::{Device, DeviceError, Fault, Key, UsePart};
use crate::secret::{DerivedKey, KEY_BYTES, Mac, MasterSecret, SecretBytes};

/// Longest label, in bytes of UTF-8.
pub const MAX_LABEL_BYTES: usize = 255;
/// Longest derived key, in bytes.
pub const MAX_KEY_BYTES: u16 = 1024;

const PREFIX: &str = "strongroom/v1/";
/// Bytes of a generation id.
const ID_BYTES: u16 = 16;

/// What a derived value is for. A closed list: each name is part of the format and never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The generation's public name: 16 bytes, empty label.
    GenerationId,
    /// Keys for users: `strongroom derive`.
    Key,
    /// A fresh proof that two places hold the same secret; the label is 32 random bytes in hex.
    Proof,
    /// The key that vouches for entries of the log: 32 bytes, empty label.
    Audit,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::GenerationId => "generation-id",
            Purpose::Key => "key",
            Purpose::Proof => "proof",
            Purpose::Audit => "audit",
        }
    }
}

/// A generation's id: 128 bits, derived from the secret itself, so the same on every device. Public. Compared whole;
/// people see the first 16 hex digits, in groups of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenerationId(pub Hex<16>);

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = hex::encode(&self.0.0[..8]);
        write!(f, "{}-{}-{}-{}", &text[..4], &text[4..8], &text[8..12], &text[12..])
    }
}

/// A label that a user chose: UTF-8, 1 to 255 bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

/// Length of a derived key: 1 to 1,024 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(u16);

/// A label or length out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("the label is empty")]
    EmptyLabel,
    #[error("the label is {0} bytes long")]
    LongLabel(usize),
    #[error("the label holds a control character")]
    ControlCharacter,
    #[error("a length of {0} bytes")]
    Length(u64),
}

impl Label {
    pub fn new(text: &str) -> Result<Self, InputError> {
        match text.len() {
            0 => return Err(InputError::EmptyLabel),
            len if len > MAX_LABEL_BYTES => return Err(InputError::LongLabel(len)),
            _ => {}
        }
        if text.chars().any(char::is_control) {
            return Err(InputError::ControlCharacter);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Length {
    pub fn new(bytes: u64) -> Result<Self, InputError> {
        match u16::try_from(bytes) {
            Ok(length @ 1..=MAX_KEY_BYTES) => Ok(Self(length)),
            _ => Err(InputError::Length(bytes)),
        }
    }

    pub fn bytes(self) -> u16 {
        self.0
    }
}

/// HMAC-SHA-256 under a key that stays where it is: the PRF of RFC 5869.
type Prf<'a> = dyn FnMut(&[u8]) -> Result<Mac, DeviceError> + 'a;

/// One generation where it can be used: derives without the secret leaving its place.
pub struct Source<'a> {
    prf: Box<Prf<'a>>,
}

impl<'a> Source<'a> {
    /// The generation behind `part`, proved to be `expected` before anything is derived from it. On a TPM the object's
    /// Name was compared when it was loaded, so this costs nothing; elsewhere it costs one HMAC.
    pub fn sealed(device: &'a mut dyn Device, part: &'a UsePart, expected: GenerationId) -> Result<Self, DeviceError> {
        let mut source = Self { prf: Box::new(move |message| device.hmac(Key::Sealed(part), message)) };
        if !part.proves_itself() {
            let found = source.id()?;
            if found != expected {
                return Err(Fault::OtherSecret { expected, found }.into());
            }
        }
        Ok(source)
    }

    /// Any key that a device can use, its id not yet known: a seal just made, or a secret out of a backup.
    pub fn unproved(device: &'a mut dyn Device, key: Key<'a>) -> Self {
        Self { prf: Box::new(move |message| device.hmac(key, message)) }
    }

    /// A secret in host memory, for a backup that is looked at where no device is.
    pub fn on_host(secret: &'a MasterSecret) -> Self {
        Self { prf: Box::new(move |message| Ok(hmac_on_host(secret, message))) }
    }

    /// The generation's id, recomputed from the secret.
    pub fn id(&mut self) -> Result<GenerationId, DeviceError> {
        let bytes = self.expand(Purpose::GenerationId, "", ID_BYTES)?;
        let id = bytes.expose_secret().try_into().expect("a generation id is 16 bytes");
        Ok(GenerationId(Hex(id)))
    }

    /// A key for a user.
    pub fn key(&mut self, label: &Label, length: Length) -> Result<DerivedKey, DeviceError> {
        self.expand(Purpose::Key, &label.0, length.0)
    }

    /// The answer to a fresh random challenge: equal at two places only if they hold the same secret.
    pub fn proof(&mut self, challenge: &[u8; KEY_BYTES]) -> Result<Mac, DeviceError> {
        let answer = self.expand(Purpose::Proof, &hex::encode(challenge), KEY_BYTES as u16)?;
        Ok(Mac::new(SecretBytes::copy_of(answer.expose_secret())))
    }

    /// The key that vouches for entries of the log.
    pub fn audit_key(&mut self) -> Result<DerivedKey, DeviceError> {
        self.expand(Purpose::Audit, "", KEY_BYTES as u16)
    }

    fn expand(&mut self, purpose: Purpose, label: &str, length: u16) -> Result<DerivedKey, DeviceError> {
        expand(&mut self.prf, &info(purpose, label, length), length)
    }
}

fn info(purpose: Purpose, label: &str, length: u16) -> Vec<u8> {
    let mut info = [PREFIX, purpose.name(), "\0", label, "\0"].concat().into_bytes();
    info.extend(length.to_be_bytes());
    info
}

/// HKDF-Expand (RFC 5869, section 2.3) with `prf` as HMAC-SHA-256 under the pseudo-random key.
///
/// `length` is at most 255 * 32 bytes. Public for the conformance tests, which send the RFC's vectors through devices.
pub fn expand(
    prf: &mut dyn FnMut(&[u8]) -> Result<Mac, DeviceError>,
    info: &[u8],
    length: u16,
) -> Result<DerivedKey, DeviceError> {
    let mut key = SecretBytes::zeroed(usize::from(length));
    let mut previous: Option<Mac> = None;
    for (index, chunk) in key.as_mut().chunks_mut(KEY_BYTES).enumerate() {
        let before = previous.as_ref().map_or(&[][..], Mac::expose_secret);
        let counter = u8::try_from(index + 1).expect("at most 255 blocks are asked for");
        let mut message = SecretBytes::zeroed(before.len() + info.len() + 1);
        let (first, rest) = message.as_mut().split_at_mut(before.len());
        first.copy_from_slice(before);
        rest[..info.len()].copy_from_slice(info);
        rest[info.len()] = counter;
        let block = prf(message.expose_secret())?;
        chunk.copy_from_slice(&block.expose_secret()[..chunk.len()]);
        previous = Some(block);
    }
    Ok(DerivedKey::new(key))
}

fn hmac_on_host(secret: &MasterSecret, message: &[u8]) -> Mac {
    use hmac::{Hmac, KeyInit, Mac as _};
    let mut hmac = <Hmac<sha2::Sha256>>::new_from_slice(secret.expose_secret()).expect("HMAC takes keys of any length");
    hmac.update(message);
    let mut output = hmac.finalize().into_bytes();
    let mac = Mac::new(SecretBytes::copy_of(&output));
    zeroize::Zeroize::zeroize(&mut output[..]);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(hex_text: &str) -> MasterSecret {
        MasterSecret::new(SecretBytes::copy_of(&hex::decode(hex_text).unwrap()))
    }

    /// RFC 5869, appendix A.1 and A.2: the expand step.
    #[test]
    fn rfc_5869_vectors() {
        let cases = [
            (
                "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
                "f0f1f2f3f4f5f6f7f8f9".to_owned(),
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
                (0xb0..=0xff).map(|byte: u8| format!("{byte:02x}")).collect(),
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
                 da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
            ),
        ];
        for (prk, info, expected) in cases {
            let prk = secret(prk);
            let length = u16::try_from(expected.len() / 2).unwrap();
            let mut prf = |message: &[u8]| Ok(hmac_on_host(&prk, message));
            let key = expand(&mut prf, &hex::decode(info).unwrap(), length).unwrap();
            assert_eq!(hex::encode(key.expose_secret()), expected);
        }
    }

    #[test]
    fn info_is_injective_where_it_matters() {
        assert_eq!(info(Purpose::Key, "disk", 32), b"strongroom/v1/key\0disk\0\x00\x20");
        assert_eq!(info(Purpose::GenerationId, "", 16), b"strongroom/v1/generation-id\0\0\x00\x10");
    }

    #[test]
    fn a_longer_key_does_not_start_with_a_shorter_one() {
        let secret = secret(&"42".repeat(32));
        let label = Label::new("disk").unwrap();
        let short = Source::on_host(&secret).key(&label, Length::new(16).unwrap()).unwrap();
        let long = Source::on_host(&secret).key(&label, Length::new(64).unwrap()).unwrap();
        assert_ne!(short.expose_secret(), &long.expose_secret()[..16]);
    }

    #[test]
    fn labels_and_lengths_have_limits() {
        assert_eq!(Label::new("").err(), Some(InputError::EmptyLabel));
        assert_eq!(Label::new(&"x".repeat(256)).err(), Some(InputError::LongLabel(256)));
        assert_eq!(Label::new("a\tb").err(), Some(InputError::ControlCharacter));
        assert_eq!(Label::new("a\0b").err(), Some(InputError::ControlCharacter));
        assert!(Label::new(&"é".repeat(127)).is_ok());
        assert!(Length::new(1).is_ok() && Length::new(1024).is_ok());
        for bad in [0, 1025, u64::MAX] {
            assert_eq!(Length::new(bad).err(), Some(InputError::Length(bad)));
        }
    }

    #[test]
    fn ids_are_shown_short_and_kept_whole() {
        let id = GenerationId(Hex(*b"\x3f\x9a\x27\xc1\x88\xd0\xb1\xe4\0\0\0\0\0\0\0\x01"));
        assert_eq!(id.to_string(), "3f9a-27c1-88d0-b1e4");
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"3f9a27c188d0b1e40000000000000001\"");
    }
}
