//! One entry of the log: a line of JSON, and what may stand in it. `docs/audit-log.md` is the full text of the format.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::bytes::Hex;
use crate::derive::GenerationId;
use crate::secret::DerivedKey;

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;
/// Longest line, in bytes, its end not counted: what is longer is no entry.
pub const MAX_LINE: usize = 64 << 10;
/// How a line with a tag ends: `,"tag":"`, 64 hex digits, `"}`. The tag is over all bytes before that.
const TAG_BYTES: usize = 8 + 64 + 2;

/// One entry. Unknown fields and other spellings of the same JSON are refused: a line is what printing it gives.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub format: u32,
    /// Counts the entries, from 1.
    pub n: u64,
    /// For people: nothing is ordered by it.
    pub time: Timestamp,
    pub host: String,
    /// Who logged in, as the kernel's audit keeps it through sudo and su; none for services.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub login: Option<String>,
    /// The effective user.
    pub user: String,
    pub what: What,
    pub phase: Phase,
    /// The intent that is concluded or closed; none in an intent, and in what was refused before there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Outcome>,
    /// The error's id, as `--json` shows it; none where it was done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub generations: Vec<GenerationId>,
    /// By their ids in the ring.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub devices: Vec<String>,
    /// SHA-256 of all bytes from the entry before to this one.
    pub previous: Hex<32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub counter: Option<Count>,
    /// The generation whose audit key made the tag.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vouched: Option<GenerationId>,
    /// HMAC-SHA-256 by that key. Always last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tag: Option<Hex<32>>,
}

/// What it is about. Closed: a new one is a new format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    Init,
    Generate,
    Backup,
    Verify,
    Restore,
    Recover,
    DeviceAdd,
    DeviceRemove,
    DeviceRepair,
    DeviceRetry,
    Bind,
    Unbind,
    /// Only where it was refused: a key that was derived is no ceremony.
    Derive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Written before anything changes.
    Intent,
    /// How it ended: written after the commit, before success is reported.
    Outcome,
    /// A later run found the intent open: the one that wrote it was cut off.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Done,
    /// It began, and did not come to its end.
    Failed,
    /// It never began.
    Refused,
}

/// A TPM's counter, as it is once this entry is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// [`crate::device::Root::fingerprint`] of the TPM.
    pub device: String,
    pub value: u64,
    /// Whether this very entry is the first that it counts.
    pub first: bool,
}

/// Why a line is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("it is longer than {MAX_LINE} bytes")]
    Long,
    #[error("it has format {0}, this version reads {FORMAT}")]
    Format(u32),
    #[error("{0}")]
    Syntax(String),
    #[error("it is spelled in another way than entries are")]
    Spelling,
    #[error("{0}")]
    Shape(&'static str),
}

impl Entry {
    /// Reads a line, without its end.
    pub fn parse(line: &[u8]) -> Result<Self, EntryError> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        if line.len() > MAX_LINE {
            return Err(EntryError::Long);
        }
        let syntax = |error: serde_json::Error| EntryError::Syntax(error.to_string());
        let Versioned { format } = serde_json::from_slice(line).map_err(syntax)?;
        if format != FORMAT {
            return Err(EntryError::Format(format));
        }
        let entry: Self = serde_json::from_slice(line).map_err(syntax)?;
        entry.check()?;
        if entry.print() != line {
            return Err(EntryError::Spelling);
        }
        Ok(entry)
    }

    /// As it lies in the log, without the line's end.
    pub fn print(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry has no keys that JSON can't write")
    }

    /// Which fields go together.
    fn check(&self) -> Result<(), EntryError> {
        let shape = |holds: bool, what| if holds { Ok(()) } else { Err(EntryError::Shape(what)) };
        let (of, outcome) = (self.of.is_some(), self.outcome.is_some());
        match self.phase {
            Phase::Intent => shape(!of && !outcome, "an intent has no outcome")?,
            Phase::Outcome => shape(outcome, "an outcome says how it ended")?,
            Phase::Closed => shape(of && !outcome, "what is closed is an intent without an outcome")?,
        }
        let failed = matches!(self.outcome, Some(Outcome::Failed | Outcome::Refused));
        shape(failed == self.error.is_some(), "an error goes with what was not done")?;
        shape(self.vouched.is_some() == self.tag.is_some(), "a tag goes with the generation that vouches")?;
        shape(self.counter.is_none() || self.tag.is_some(), "a counter's value goes with a tag")
    }

    /// Lets `generation` vouch for it with its audit key.
    pub fn vouch(&mut self, generation: GenerationId, key: &DerivedKey) {
        self.vouched = Some(generation);
        self.tag = Some(Hex([0; 32]));
        let line = self.print();
        self.tag = Some(tag(key, &line[..line.len() - TAG_BYTES]));
    }

    /// Whether its tag is that of `key`. An entry without a tag has none.
    pub fn is_vouched_by(&self, key: &DerivedKey) -> bool {
        let line = self.print();
        self.tag.is_some_and(|found| tag(key, &line[..line.len() - TAG_BYTES]).0.ct_eq(&found.0).into())
    }
}

fn tag(key: &DerivedKey, message: &[u8]) -> Hex<32> {
    use hmac::{Hmac, KeyInit, Mac as _};
    let mut hmac = <Hmac<Sha256>>::new_from_slice(key.expose_secret()).expect("HMAC takes keys of any length");
    hmac.update(message);
    Hex(hmac.finalize().into_bytes().into())
}

/// SHA-256, as entries hold it.
pub fn hash(bytes: &[u8]) -> Hex<32> {
    Hex(Sha256::digest(bytes).into())
}

impl What {
    pub const ALL: [Self; 13] = [
        What::Init,
        What::Generate,
        What::Backup,
        What::Verify,
        What::Restore,
        What::Recover,
        What::DeviceAdd,
        What::DeviceRemove,
        What::DeviceRepair,
        What::DeviceRetry,
        What::Bind,
        What::Unbind,
        What::Derive,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            What::Init => "init",
            What::Generate => "generate",
            What::Backup => "backup",
            What::Verify => "verify",
            What::Restore => "restore",
            What::Recover => "recover",
            What::DeviceAdd => "device-add",
            What::DeviceRemove => "device-remove",
            What::DeviceRepair => "device-repair",
            What::DeviceRetry => "device-retry",
            What::Bind => "bind",
            What::Unbind => "unbind",
            What::Derive => "derive",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happened, in words: `intent`, `done`, `failed: wrong-pin`, `left open by entry 7`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.error.as_deref().unwrap_or_default();
        match (self.phase, self.outcome) {
            (Phase::Intent, _) => f.write_str("begun"),
            (Phase::Closed, _) => write!(f, "was cut off (begun in {})", self.of.unwrap_or_default()),
            (Phase::Outcome, Some(Outcome::Failed)) => write!(f, "failed: {error}"),
            (Phase::Outcome, Some(Outcome::Refused)) => write!(f, "refused: {error}"),
            (Phase::Outcome, Some(Outcome::Done) | None) => f.write_str("done"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::secret::SecretBytes;

    pub fn key(byte: u8) -> DerivedKey {
        DerivedKey::new(SecretBytes::copy_of(&[byte; 32]))
    }

    pub fn generation(byte: u8) -> GenerationId {
        GenerationId(Hex([byte; 16]))
    }

    pub fn entry(what: What, phase: Phase) -> Entry {
        Entry {
            format: FORMAT,
            n: 1,
            time: "2026-11-25T10:00:00Z".parse().unwrap(),
            host: "db1".to_owned(),
            login: Some("alice".to_owned()),
            user: "root".to_owned(),
            what,
            phase,
            of: None,
            outcome: None,
            error: None,
            generations: Vec::new(),
            devices: Vec::new(),
            previous: hash(b""),
            counter: None,
            vouched: None,
            tag: None,
        }
    }

    fn done() -> Entry {
        let mut done = entry(What::Generate, Phase::Outcome);
        done.outcome = Some(Outcome::Done);
        done.generations = vec![generation(7)];
        done.devices = vec!["tpm1".to_owned()];
        done
    }

    fn vouched() -> Entry {
        let mut vouched = done();
        vouched.counter = Some(Count { device: "SHA256:00".to_owned(), value: 8, first: false });
        vouched.vouch(generation(7), &key(1));
        vouched
    }

    #[test]
    fn reads_only_what_it_prints() {
        let vouched = vouched();
        let line = vouched.print();
        assert_eq!(Entry::parse(&line).unwrap(), vouched);
        let text = String::from_utf8(line).unwrap();
        let error = |old: &str, new: &str| {
            assert!(text.contains(old), "{old}");
            Entry::parse(text.replacen(old, new, 1).as_bytes()).unwrap_err()
        };
        assert_eq!(error("{\"format\":1", "{\"format\":2"), EntryError::Format(2));
        assert_eq!(error("\"n\":1", "\"n\": 1"), EntryError::Spelling);
        assert_eq!(error("10:00:00Z", "10:00:00+00:00"), EntryError::Spelling);
        assert!(matches!(error("\"n\":1", "\"n\":1,\"n\":2"), EntryError::Syntax(_)));
        assert!(matches!(error("\"n\":1", "\"n\":1,\"m\":2"), EntryError::Syntax(_)));
        assert!(matches!(error("generate", "generation"), EntryError::Syntax(_)));
        assert!(matches!(error("\"outcome\":\"done\",", ""), EntryError::Shape(_)));
        assert_eq!(Entry::parse(&vec![b' '; MAX_LINE + 1]), Err(EntryError::Long));
    }

    #[test]
    fn a_tag_covers_every_byte_before_it() {
        let vouched = vouched();
        assert!(vouched.is_vouched_by(&key(1)));
        assert!(!vouched.is_vouched_by(&key(2)));
        let changes: [fn(&mut Entry); 5] = [
            |entry| entry.n = 2,
            |entry| entry.user = "alice".to_owned(),
            |entry| entry.previous = hash(b"x"),
            |entry| entry.vouched = Some(generation(8)),
            |entry| entry.counter.as_mut().unwrap().value = 9,
        ];
        for change in changes {
            let mut changed = vouched.clone();
            change(&mut changed);
            assert!(!changed.is_vouched_by(&key(1)));
        }
        assert!(!done().is_vouched_by(&key(1)), "no tag, no voucher");
    }

    /// A second implementation: what `docs/audit-log.md` tells to do with the bytes of a line.
    #[test]
    fn the_tag_is_over_the_line_without_its_last_74_bytes() {
        let text = String::from_utf8(vouched().print()).unwrap();
        let (message, rest) = text.split_at(text.len() - 74);
        assert!(rest.starts_with(",\"tag\":\"") && rest.ends_with("\"}"));
        assert_eq!(tag(&key(1), message.as_bytes()).to_string(), rest[8..72]);
    }

    #[test]
    fn what_does_not_go_together_is_no_entry() {
        let mut wrong = Vec::new();
        let mut add = |change: fn(&mut Entry)| {
            let mut entry = done();
            change(&mut entry);
            wrong.push(entry);
        };
        add(|entry| entry.phase = Phase::Intent);
        add(|entry| entry.phase = Phase::Closed);
        add(|entry| entry.error = Some("file".to_owned()));
        add(|entry| entry.outcome = Some(Outcome::Failed));
        add(|entry| entry.vouched = Some(generation(1)));
        add(|entry| entry.tag = Some(Hex([1; 32])));
        add(|entry| entry.counter = Some(Count { device: String::new(), value: 1, first: true }));
        for entry in wrong {
            assert!(matches!(Entry::parse(&entry.print()), Err(EntryError::Shape(_))), "{entry:?}");
        }
    }
}
