//! Signatures of PCR states: where they lie, and how they are written.
//!
//! The format is systemd's, as `systemd-measure sign` and `ukify` write it:
//!
//! ```json
//! {"sha256": [{"pcrs": [11], "pkfp": "32445654...", "pol": "5bebd183...", "sig": "X/ucNQ9G..."}]}
//! ```
//!
//! By bank, each signature has the numbers of the PCRs, the fingerprint of the key in hex, the digest of a policy that is
//! TPM2_PolicyPCR alone in hex, and the signature of its 32 bytes in Base64: RSASSA-PKCS1-v1_5 with SHA-256, and, which systemd
//! does not write, ECDSA with SHA-256 in DER. The file is others': fields, and banks, that are not known may be there, and
//! what is not whole signs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::pcrs::{Bank, Pcrs};
use super::signed::{PolicyKey, SignedPcrs};
use crate::bytes::Base64;
use crate::durable::{self, FileError};

/// Thousands of signatures, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// How many of a kind are told in a message.
const TOLD: usize = 5;
/// Where systemd looks, and in this order (crypttab(5), `tpm2-signature=`): the first that is there counts.
pub const PLACES: [&str; 4] = [
    "/etc/systemd/tpm2-pcr-signature.json",
    "/run/systemd/tpm2-pcr-signature.json",
    "/usr/local/lib/systemd/tpm2-pcr-signature.json",
    "/usr/lib/systemd/tpm2-pcr-signature.json",
];

/// Where signatures of PCR states are to be found, and where what a TPM said of them is remembered.
#[derive(Debug, Clone, Default)]
pub struct Signatures {
    /// The file; none: where systemd looks.
    pub file: Option<PathBuf>,
    /// The state directory, for tickets; none: they are forgotten with the run.
    pub tickets: Option<PathBuf>,
}

/// Why a seal does not open, or would not, that asks for a signature of the machine's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    #[error("there are no signatures of PCR states: looked for {}", .places.join(", "))]
    NoFile { places: Vec<String> },
    #[error("can't use the signatures in {path}: {because}")]
    File { path: String, because: String },
    #[error("{path} has nothing that key {key} has signed{}", told("signed by", .others))]
    OtherKey { path: String, key: String, others: Vec<String> },
    #[error("{path} has nothing that key {key} has signed for {pcrs}{}", told("signed for", .others))]
    OtherPcrs { path: String, key: String, pcrs: String, others: Vec<String> },
    /// `now`: what the PCRs hold, where that could be read.
    #[error(
        "key {key} has not signed the state that the machine is in: {}policy {policy}{}",
        held(.now),
        told(&format!("signed in {path}"), .signed)
    )]
    State { path: String, key: String, policy: String, now: Vec<(u8, String)>, signed: Vec<String> },
    #[error("the signature in {path} of the state that the machine is in is not one by key {key}: it was changed")]
    Bad { path: String, key: String },
    #[error("the TPM does not take key {key} ({kind})")]
    KeyRefused { key: String, kind: String },
}

fn told(what: &str, some: &[String]) -> String {
    let first: Vec<&str> = some.iter().take(TOLD).map(String::as_str).collect();
    match some.len() - first.len() {
        _ if some.is_empty() => String::new(),
        0 => format!(" ({what}: {})", first.join(", ")),
        more => format!(" ({what}: {} and {more} more)", first.join(", ")),
    }
}

fn held(now: &[(u8, String)]) -> String {
    let each: Vec<String> = now.iter().map(|(number, value)| format!("PCR {number} is {value}")).collect();
    if each.is_empty() { String::new() } else { format!("{}, which is ", each.join(", ")) }
}

impl Signatures {
    /// Reads them.
    pub fn read(&self) -> Result<SignatureFile, Unsigned> {
        let places: Vec<&Path> = match &self.file {
            Some(file) => vec![file],
            None => PLACES.iter().map(Path::new).collect(),
        };
        for place in &places {
            let failed = |because: String| Unsigned::File { path: place.display().to_string(), because };
            match durable::read(place, MAX_FILE) {
                Ok(text) => {
                    let signatures = PcrSignatures::parse(&text).map_err(failed)?;
                    return Ok(SignatureFile { path: place.display().to_string(), signatures });
                }
                Err(FileError::Missing(_)) => {}
                Err(FileError::Io { source, .. }) => return Err(failed(source.to_string())),
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        Err(Unsigned::NoFile { places: places.iter().map(|place| place.display().to_string()).collect() })
    }
}

/// A file of signatures that was read.
#[derive(Debug)]
pub struct SignatureFile {
    path: String,
    signatures: PcrSignatures,
}

impl SignatureFile {
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Those that may open what is bound so: one at least.
    pub fn of(&self, signed: &SignedPcrs) -> Result<Vec<&PcrSignature>, Unsigned> {
        let (path, key) = (self.path.clone(), signed.key.to_string());
        let by_key: Vec<_> = self.signatures.0.iter().filter(|one| one.is_by(&signed.key)).collect();
        if by_key.is_empty() {
            let others: BTreeSet<String> = self.signatures.0.iter().map(|one| hex::encode(&one.key[..8])).collect();
            return Err(Unsigned::OtherKey { path, key, others: others.into_iter().collect() });
        }
        let fit: Vec<_> = by_key.iter().copied().filter(|one| one.pcrs == signed.pcrs).collect();
        if fit.is_empty() {
            let others: BTreeSet<String> = by_key.iter().map(|one| one.pcrs.to_string()).collect();
            let pcrs = signed.pcrs.to_string();
            return Err(Unsigned::OtherPcrs { path, key, pcrs, others: others.into_iter().collect() });
        }
        Ok(fit)
    }

    /// The one of the state whose policy it is.
    pub fn of_state(&self, signed: &SignedPcrs, policy: &[u8; 32]) -> Result<&PcrSignature, Unsigned> {
        let candidates = self.of(signed)?;
        candidates.iter().copied().find(|one| one.policy == *policy).ok_or_else(|| Unsigned::State {
            path: self.path.clone(),
            key: signed.key.to_string(),
            policy: hex::encode(&policy[..8]),
            now: Vec::new(),
            signed: candidates.iter().map(|one| hex::encode(&one.policy[..8])).collect(),
        })
    }
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrSignature {
    pub pcrs: Pcrs,
    /// The key's fingerprint.
    pub key: [u8; 32],
    /// What was signed: the digest of a policy that is TPM2_PolicyPCR alone.
    pub policy: [u8; 32],
    pub signature: Vec<u8>,
}

impl PcrSignature {
    fn is_by(&self, key: &PolicyKey) -> bool {
        self.key == *key.fingerprint()
    }
}

/// All signatures of a file, in its order.
#[derive(Debug, PartialEq, Eq)]
pub struct PcrSignatures(pub Vec<PcrSignature>);

/// As systemd writes one. What is missing signs nothing.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    pcrs: Vec<u8>,
    #[serde(default)]
    pkfp: String,
    #[serde(default)]
    pol: String,
    #[serde(default)]
    sig: String,
}

impl PcrSignatures {
    /// Reads systemd's format.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let banks: BTreeMap<String, Vec<Entry>> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let signatures = banks.iter().flat_map(|(bank, entries)| {
            let bank = Bank::ALL.into_iter().find(|known| known.name() == bank);
            entries.iter().filter_map(move |entry| entry.whole(bank?))
        });
        Ok(Self(signatures.collect()))
    }
}

impl Entry {
    fn whole(&self, bank: Bank) -> Option<PcrSignature> {
        let digest = |text: &str| hex::decode(text).ok()?.try_into().ok();
        let Base64(signature) = serde_json::from_value(self.sig.clone().into()).ok()?;
        let pcrs = Pcrs::of(bank, self.pcrs.iter().copied())?;
        let fits = !signature.is_empty();
        fits.then_some(PcrSignature { pcrs, key: digest(&self.pkfp)?, policy: digest(&self.pol)?, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::signed::tests::{P256_PEM, RSA_PEM};

    fn key(pem: &str) -> PolicyKey {
        PolicyKey::from_pem(pem.as_bytes()).unwrap()
    }

    fn file(text: &str) -> SignatureFile {
        SignatureFile { path: "F".to_owned(), signatures: PcrSignatures::parse(text.as_bytes()).unwrap() }
    }

    /// A file with one signature of each of these states.
    fn signing(bank: &str, pcrs: &str, states: &[u8]) -> SignatureFile {
        let pkfp = hex::encode(key(RSA_PEM).fingerprint());
        let entry = |state: &u8| {
            let pol = hex::encode([*state; 32]);
            format!(r#"{{"pcrs":{pcrs},"pkfp":"{pkfp}","pol":"{pol}","sig":"AAAA","more":{{}}}}"#)
        };
        let entries: Vec<String> = states.iter().map(entry).collect();
        file(&format!(r#"{{"sha1":[{{}}],"{bank}":[{}]}}"#, entries.join(",")))
    }

    fn signed(pcrs: &str, pem: &str) -> SignedPcrs {
        SignedPcrs { pcrs: pcrs.parse().unwrap(), key: key(pem) }
    }

    #[test]
    fn the_one_of_the_state_is_found() {
        let file = signing("sha256", "[11]", &[1, 2, 3]);
        let found = file.of_state(&signed("11", RSA_PEM), &[2; 32]).unwrap();
        assert_eq!((found.policy, found.signature.as_slice()), ([2; 32], &[0; 3][..]));
        assert_eq!(file.of(&signed("11", RSA_PEM)).unwrap().len(), 3);
    }

    #[test]
    fn what_is_missing_is_told_apart() {
        let told = |file: &SignatureFile, signed: &SignedPcrs| file.of_state(signed, &[9; 32]).unwrap_err().to_string();
        let file = signing("sha256", "[11]", &[1, 2, 3, 4, 5, 6, 7]);
        let name = key(RSA_PEM).to_string();
        let other = key(P256_PEM).to_string();
        assert_eq!(
            told(&file, &signed("11", P256_PEM)),
            format!("F has nothing that key {other} has signed (signed by: {name})")
        );
        assert_eq!(
            told(&file, &signed("7+11", RSA_PEM)),
            format!("F has nothing that key {name} has signed for sha256:7+11 (signed for: sha256:11)")
        );
        assert!(told(&file, &signed("sha384:11", RSA_PEM)).contains("for sha384:11"));
        let state = told(&file, &signed("11", RSA_PEM));
        assert!(state.ends_with("0505050505050505 and 2 more)"), "{state}");
        assert!(state.contains("in: policy 0909090909090909 (signed in F: 0101010101010101, "), "{state}");
    }

    #[test]
    fn what_is_not_whole_signs_nothing() {
        let whole = r#"{"pcrs":[11],"pkfp":"K","pol":"K","sig":"AAAA"}"#.replace('K', &"ab".repeat(32));
        let count = |entry: &str| {
            PcrSignatures::parse(format!(r#"{{"sha256":[{entry}],"sm3":[{whole}]}}"#).as_bytes()).map(|all| all.0.len())
        };
        assert_eq!(count(&whole), Ok(1));
        for (old, new) in
            [("[11]", "[]"), ("[11]", "[24]"), ("[11]", "[11,11]"), ("abab", "ab"), ("AAAA", "A"), ("AAAA", "")]
        {
            assert_eq!(count(&whole.replacen(old, new, 1)), Ok(0), "{old} {new}");
        }
        assert_eq!(count("{}"), Ok(0));
        for text in ["", "[]", r#"{"sha256":{}}"#, r#"{"sha256":[7]}"#, r#"{"sha256":[{"pcrs":"11"}]}"#, "{} {}"] {
            assert!(PcrSignatures::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn files_that_can_not_be_used_are_told_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signatures.json");
        let read = || Signatures { file: Some(path.clone()), tickets: None }.read().map(drop).unwrap_err();
        assert!(matches!(read(), Unsigned::NoFile { places } if places == [path.display().to_string()]));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(read(), Unsigned::File { because, .. } if because.contains("EOF")));
        std::fs::write(&path, vec![b' '; MAX_FILE as usize + 1]).unwrap();
        assert!(matches!(read(), Unsigned::File { because, .. } if because.contains("the limit is")));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(read(), Unsigned::File { .. }));
    }
}
