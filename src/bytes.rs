//! Bytes in text: the two encodings that ring and backup use. The types are for public bytes only.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of any length, written as base64 (RFC 4648, section 4, padded).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Base64(pub Vec<u8>);

/// Exactly `N` bytes, written as lower-case hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// `bytes` as base64; where they are secret, the text is the caller's to wipe.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// `bytes` as lower-case hex; where they are secret, the text is the caller's to wipe.
pub fn hex(bytes: &[u8]) -> String {
    ::hex::encode(bytes)
}

/// Decodes into `into`, in place; gives how many bytes there were, or none where the text is wrong or too long.
pub fn from_base64(text: &str, into: &mut [u8]) -> Option<usize> {
    STANDARD.decode_slice(text, into).ok()
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Base64).map_err(D::Error::custom)
    }
}

impl<const N: usize> std::fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&::hex::encode(self.0))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<const N: usize> JsonSchema for Hex<N> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Hex{N}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": format!("^[0-9a-f]{{{}}}$", 2 * N) })
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(D::Error::custom("hex must be lower-case"));
        }
        let mut bytes = [0; N];
        ::hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| D::Error::custom(format!("expected {} hex digits", 2 * N)))?;
        Ok(Hex(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_what_it_writes() {
        let id = Hex([0x3f, 0x9a]);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"3f9a\"");
        assert_eq!(serde_json::from_str::<Hex<2>>("\"3f9a\"").unwrap(), id);
        for bad in ["\"3F9A\"", "\"3f9\"", "\"3f9a00\"", "\"3g9a\"", "7"] {
            assert!(serde_json::from_str::<Hex<2>>(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::from_str::<Base64>("\"AAH/\"").unwrap(), Base64(vec![0, 1, 255]));
        assert!(serde_json::from_str::<Base64>("\"AAH\"").is_err());
    }
}
