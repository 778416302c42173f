//! Seals that open in whatever state somebody has signed, and whose signature that has to be.
//!
//! A *policy key* signs digests of PCR states ahead of time: a distribution does so for its kernels, with `systemd-measure` or
//! `ukify`. A seal that is bound to the key opens in every state that it has signed, and so outlives updates.

use std::fmt;
use std::path::Path;

use pkcs1::RsaPublicKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spki::der::asn1::{ObjectIdentifier, UintRef};
use spki::der::{Decode, Document, Encode};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::pcrs::{PcrState, Pcrs};
use crate::bytes::Base64;
use crate::durable::{self, FileError};

/// More than any public key needs, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// What systemd signs unless told otherwise: the unified kernel image, and the phases of the boot.
const USUAL: &str = "sha256:11";

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// The one exponent that every TPM takes.
const EXPONENT: &[u8] = &[1, 0, 1];

/// What seals are bound to: what PCRs hold when they are made, or whatever state of them a key has signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BoundTo {
    State(Pcrs),
    Signed(SignedPcrs),
}

impl BoundTo {
    /// As an admin asks for it: `pcrs`, those of the usual where a key is named alone.
    pub fn asked(pcrs: Option<Pcrs>, key: Option<PolicyKey>) -> Option<Self> {
        match (pcrs, key) {
            (None, None) => None,
            (Some(pcrs), None) => Some(Self::State(pcrs)),
            (pcrs, Some(key)) => {
                let pcrs = pcrs.unwrap_or_else(|| USUAL.parse().expect("they are PCRs"));
                Some(Self::Signed(SignedPcrs { pcrs, key }))
            }
        }
    }

    pub fn pcrs(&self) -> &Pcrs {
        match self {
            BoundTo::State(pcrs) | BoundTo::Signed(SignedPcrs { pcrs, .. }) => pcrs,
        }
    }

    /// The key that signs their states, if one does.
    pub fn key(&self) -> Option<&PolicyKey> {
        match self {
            BoundTo::State(_) => None,
            BoundTo::Signed(signed) => Some(&signed.key),
        }
    }
}

impl fmt::Display for BoundTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoundTo::State(pcrs) => write!(f, "{pcrs}"),
            BoundTo::Signed(signed) => write!(f, "{signed}"),
        }
    }
}

/// PCRs, and the key that signs what they may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPcrs {
    pub pcrs: Pcrs,
    pub key: PolicyKey,
}

impl fmt::Display for SignedPcrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as key {} signs it", self.pcrs, self.key)
    }
}

/// What a seal that exists is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound<'a> {
    State(&'a PcrState),
    Signed(&'a SignedPcrs),
}

impl Bound<'_> {
    /// What a new seal has to be bound to, to be guarded like that one.
    pub fn to(self) -> BoundTo {
        match self {
            Bound::State(state) => BoundTo::State(state.pcrs.clone()),
            Bound::Signed(signed) => BoundTo::Signed(signed.clone()),
        }
    }
}

/// A public key that signs PCR states: a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) that was looked at. Printed by the
/// first 16 hex digits of its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Base64", into = "Base64")]
pub struct PolicyKey(Box<Looked>);

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Looked {
    der: Vec<u8>,
    bits: KeyBits,
    fingerprint: [u8; 32],
}

/// What a TPM is told of such a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyBits {
    /// The modulus; the exponent is 65537.
    Rsa(Vec<u8>),
    /// A point's coordinates, each as long as the curve's.
    Ecdsa { curve: Curve, x: Vec<u8>, y: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
}

impl Curve {
    /// The length of a coordinate, in bytes.
    pub fn size(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }
}

/// Why a text is no policy key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("it is a private key")]
    Private,
    #[error("it is no public key in PEM (`-----BEGIN PUBLIC KEY-----`)")]
    NotPem,
    #[error("it is of another kind: RSA, and ECDSA on the curves P-256 and P-384, are known")]
    Kind,
    #[error("it is an RSA key of {0} bits: 2048, 3072 and 4096 are taken")]
    Bits(usize),
    #[error("its RSA exponent is not 65537")]
    Exponent,
    #[error("it is damaged")]
    Damaged,
}

impl PolicyKey {
    /// Reads a PEM file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&durable::read(path, MAX_FILE)?)
    }

    /// A SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` writes it.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(text).map_err(|_| KeyError::NotPem)?;
        match Document::from_pem(text) {
            Ok(("PUBLIC KEY", document)) => Self::from_der(document.as_bytes()),
            Ok((label, _)) if label.ends_with("PRIVATE KEY") => Err(KeyError::Private),
            Ok(_) | Err(_) => Err(KeyError::NotPem),
        }
    }

    /// The same in DER.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyError::Damaged)?;
        let key = info.subject_public_key.as_bytes().ok_or(KeyError::Damaged)?;
        let bits = bits(&info.algorithm, key)?;
        // A ring has one form of it.
        if info.to_der().map_err(|_| KeyError::Damaged)? != der {
            return Err(KeyError::Damaged);
        }
        Ok(Self(Box::new(Looked { der: der.to_owned(), bits, fingerprint: Sha256::digest(key).into() })))
    }

    pub fn bits(&self) -> &KeyBits {
        &self.0.bits
    }

    /// As systemd has it in `pkfp`: the SHA-256 of the key itself, without the SubjectPublicKeyInfo around it.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.0.fingerprint
    }

    /// What kind of key it is: `RSA 2048`, `ECDSA P-256`.
    pub fn kind(&self) -> String {
        match &self.0.bits {
            KeyBits::Rsa(modulus) => format!("RSA {}", 8 * modulus.len()),
            KeyBits::Ecdsa { curve: Curve::P256, .. } => "ECDSA P-256".to_owned(),
            KeyBits::Ecdsa { curve: Curve::P384, .. } => "ECDSA P-384".to_owned(),
        }
    }
}

fn bits(algorithm: &AlgorithmIdentifierRef<'_>, key: &[u8]) -> Result<KeyBits, KeyError> {
    match (algorithm.oid, algorithm.parameters_oid()) {
        (RSA, _) => {
            let key: RsaPublicKey<UintRef<'_>> = RsaPublicKey::from_der(key).map_err(|_| KeyError::Damaged)?;
            let modulus = key.modulus.as_bytes();
            let long = 8 * modulus.len() - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
            match (long, key.public_exponent.as_bytes()) {
                (2048 | 3072 | 4096, EXPONENT) => Ok(KeyBits::Rsa(modulus.to_owned())),
                (2048 | 3072 | 4096, _) => Err(KeyError::Exponent),
                _ => Err(KeyError::Bits(long)),
            }
        }
        (EC, Ok(P256)) => point(Curve::P256, key),
        (EC, Ok(P384)) => point(Curve::P384, key),
        _ => Err(KeyError::Kind),
    }
}

/// An uncompressed point (SEC 1, section 2.3.3). Whether it is on the curve, the TPM looks when it is told the key.
fn point(curve: Curve, key: &[u8]) -> Result<KeyBits, KeyError> {
    match key.split_first() {
        Some((4, both)) if both.len() == 2 * curve.size() => {
            let (x, y) = both.split_at(curve.size());
            Ok(KeyBits::Ecdsa { curve, x: x.to_owned(), y: y.to_owned() })
        }
        _ => Err(KeyError::Damaged),
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0.fingerprint[..8]))
    }
}

impl TryFrom<Base64> for PolicyKey {
    type Error = KeyError;

    fn try_from(der: Base64) -> Result<Self, KeyError> {
        Self::from_der(&der.0)
    }
}

impl From<PolicyKey> for Base64 {
    fn from(key: PolicyKey) -> Self {
        Base64(key.0.der)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// `openssl genpkey -algorithm RSA`, `openssl ecparam -name prime256v1 -genkey`; then `openssl pkey -pubout`.
    pub const RSA_PEM: &str = "\
        -----BEGIN PUBLIC KEY-----\n\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAlRPwmJpW1TsR9EJe4IiG\n\
        r/+Dr+V4j9eWZQRCghHPrMhdTVHUGmMYVyBtgfcAIBEu7AfLAr4QYKA2M15j0CX+\n\
        oAGxNDUCLoQ+Y+q9E7R7aFNHqbW9fXjGs9xYiW6ryX7A9CLhbUA1oFCFSY28WJ7a\n\
        FEGFU90GiUBibZNdeaDdP6TEitZ3A02feJsHrWJzXRua+OzWz2IQMvQcir1kaKaf\n\
        eW0MOshfJoCLk3MSBj871jifJYC01wzuQ+cksGT6laX9n+FUtJYrAVU/AluTQveC\n\
        yrn0IcUg7mIJfp558yZG7HBusrJmoz68YwDWZKHamU2PwtoC3z8vQlnCno4n04o9\n\
        AwIDAQAB\n\
        -----END PUBLIC KEY-----\n";
    pub const P256_PEM: &str = "\
        -----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEM2O45wkVfk/mqwGi2MpiUdfMI3MI\n\
        n01e48q4c55GvlAdxml9j+T+ScRfxY0MC60A6TV00+r+FxFdIJmRDmJ2Tg==\n\
        -----END PUBLIC KEY-----\n";
    pub const P384_PEM: &str = "\
        -----BEGIN PUBLIC KEY-----\n\
        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAErkRb8fxkU1SZNSG4NWYZYR0+WDvNra21\n\
        tZwtJrFiJhMbm0VTxTUDXe8L0AcpF5lqAc9eoOBXKQ33xxX1v5qFI0TNPA6hO3Tx\n\
        0p7Ry3EG0Rkmzbjkcni2T/9Yf8mPvGFM\n\
        -----END PUBLIC KEY-----\n";
    const WEAK_PEM: &str = "\
        -----BEGIN PUBLIC KEY-----\n\
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCbCiMg+cWocb9n7xHUS2xzkjBX\n\
        w5hWbwUl6NkQQioYOMOTg5yufDEMrh+LLoO68ngPP9wPJYtlDg/FPyMYwisBYKy2\n\
        eeP7LyJ8cA7+fZ2xfVIRjeOfUpXquJwuNfe0+pLOLTk9VziiSUdN42HGh/ct3P67\n\
        T/YB9rX7HIxPnS2daQIDAQAB\n\
        -----END PUBLIC KEY-----\n";
    const EXPONENT_PEM: &str = "\
        -----BEGIN PUBLIC KEY-----\n\
        MIIBIDANBgkqhkiG9w0BAQEFAAOCAQ0AMIIBCAKCAQEAoo+r+BlDm3MZ5Aw6LxOp\n\
        HYcWLWr/hGZUVBxj+4GqhNRAoLvuuRqoRnulErmHfmOHi/2042QrIQ9xZpxzIVs2\n\
        mRywIVRw3TuXo20zFl2qxKPs6jjRDPpvr67t4GZZleOsV4XmjMGRdFbYw39MSbn6\n\
        zOZr3x+Be5jUF9+anSth90quWs0xmpAPFyhHrZuYQ/kM5NeQjSvxB79sjTI9y5hP\n\
        LUX+IPX0N3kNGn6S2U5eyrHf15PFiaWNOTVuf80xLj257B4UKtU64Shemv5NMD6Z\n\
        fG8+4M8kFr7lyOvlu1DoH3kKTZFyPzngkgMBBKJOPvnfu9oy43LhXGE3ONvZuxYb\n\
        WwIBAw==\n\
        -----END PUBLIC KEY-----\n";
    const ED25519_PEM: &str = "\
        -----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAtpp6KtAbFHSsIutB2Vq1v3E+7AFF5WN3Toc+U/+DOnE=\n\
        -----END PUBLIC KEY-----\n";

    fn read(pem: &str) -> Result<PolicyKey, KeyError> {
        PolicyKey::from_pem(pem.as_bytes())
    }

    /// What `openssl rsa -RSAPublicKey_out -outform DER | sha256sum` says, and systemd-measure.
    #[test]
    fn fingerprints_are_systemds() {
        let key = read(RSA_PEM).unwrap();
        assert_eq!(hex::encode(key.fingerprint()), "32445654e921d4d51056c6644229ea54d37c546e3e831d892d5c5895423a12cb");
        assert_eq!((key.to_string(), key.kind()), ("32445654e921d4d5".to_owned(), "RSA 2048".to_owned()));
        assert_eq!(read(P256_PEM).unwrap().kind(), "ECDSA P-256");
        assert_eq!(read(P384_PEM).unwrap().kind(), "ECDSA P-384");
    }

    #[test]
    fn weak_and_unknown_keys_are_refused() {
        assert!(matches!(read(WEAK_PEM), Err(KeyError::Bits(1024))));
        assert!(matches!(read(EXPONENT_PEM), Err(KeyError::Exponent)));
        assert!(matches!(read(ED25519_PEM), Err(KeyError::Kind)));
        assert!(matches!(read(&RSA_PEM.replace("PUBLIC", "PRIVATE")), Err(KeyError::Private)));
        for text in
            ["", "7", &RSA_PEM.replace("PUBLIC KEY", "CERTIFICATE"), &RSA_PEM[..100], &RSA_PEM.replace('M', "*")]
        {
            assert!(matches!(read(text), Err(KeyError::NotPem)), "{text}");
        }
    }

    #[test]
    fn a_ring_has_one_form_and_a_changed_one_is_refused_or_another_key() {
        for pem in [RSA_PEM, P256_PEM, P384_PEM] {
            let key = read(pem).unwrap();
            let text = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<PolicyKey>(&text).unwrap(), key);
            let longer = [&key.0.der[..], &[0]].concat();
            assert!(PolicyKey::from_der(&longer).is_err() && PolicyKey::from_der(&key.0.der[1..]).is_err());
            for byte in 0..key.0.der.len() {
                let mut changed = key.0.der.clone();
                changed[byte] ^= 1;
                assert!(
                    PolicyKey::from_der(&changed).is_ok_and(|other| other != key)
                        || PolicyKey::from_der(&changed).is_err()
                );
            }
        }
    }

    #[test]
    fn what_is_bound_has_two_forms_and_old_rings_had_one() {
        let state: BoundTo = serde_json::from_str("\"sha256:7\"").unwrap();
        assert_eq!(state, BoundTo::State("7".parse().unwrap()));
        let signed = BoundTo::asked(None, Some(read(P256_PEM).unwrap())).unwrap();
        assert_eq!(signed.pcrs().to_string(), "sha256:11");
        let text = serde_json::to_string(&signed).unwrap();
        assert!(text.starts_with("{\"pcrs\":\"sha256:11\",\"key\":\""), "{text}");
        assert_eq!(serde_json::from_str::<BoundTo>(&text).unwrap(), signed);
        assert!(serde_json::from_str::<BoundTo>(&text.replace("pcrs", "PCRs")).is_err());
        assert_eq!(BoundTo::asked(Some("7".parse().unwrap()), None), Some(state));
        assert_eq!(BoundTo::asked(None, None), None);
    }
}
