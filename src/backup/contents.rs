//! What is inside a backup: JSON, authenticated by the age file around it.

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::{BackupError, MAX_FILE};
use crate::bytes::{self, Base64};
use crate::derive::{GenerationId, Source};
use crate::passphrase::Hint;
use crate::ring::{self, MAX_GENERATIONS, Origin, System};
use crate::secret::{KEY_BYTES, Kek, SecretBytes};
use crate::wrap::{WrapAlgorithm, WrappedSecret};

/// The format that this version reads and writes.
pub const FORMAT: u32 = 1;

/// Everything that a backup holds. No `Debug`: it holds the KEK.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    pub format: u32,
    pub system: System,
    pub term: u64,
    /// The host name of the system's master, which a member that makes a backup is not.
    pub master: String,
    pub made: Made,
    /// Fingerprints of the devices that held the secret when the backup was made.
    pub devices: Vec<String>,
    /// Empty: none.
    pub hint: String,
    /// The number of the active generation.
    pub active: u32,
    /// The highest number that was ever given to a generation, which need not be here any more.
    pub last_number: u32,
    /// What the secrets are wrapped under: fresh for each backup; transport, not secrecy.
    #[serde(serialize_with = "write_kek", deserialize_with = "read_kek")]
    pub kek: Kek,
    /// In the order of their numbers.
    pub generations: Vec<Entry>,
}

/// When and where a backup was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    pub at: Timestamp,
    pub host: String,
}

/// One generation in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub number: u32,
    pub id: GenerationId,
    pub created: Timestamp,
    pub origin: Origin,
    pub algorithm: WrapAlgorithm,
    /// The secret under the KEK.
    pub wrapped: Base64,
}

impl Entry {
    pub fn secret(&self) -> WrappedSecret {
        WrappedSecret { algorithm: self.algorithm, wrapped: self.wrapped.clone() }
    }
}

impl Contents {
    /// Reads what was inside. Ids are *not* recomputed here: the ceremonies do that where the secret may be used.
    pub fn parse(plain: &[u8]) -> Result<Self, BackupError> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let damaged = |error: serde_json::Error| {
            BackupError::Damaged(format!(
                "what is inside can't be read ({:?} error, line {})",
                error.classify(),
                error.line()
            ))
        };
        let Versioned { format } = serde_json::from_slice(plain).map_err(damaged)?;
        if format != FORMAT {
            return Err(BackupError::Format(format));
        }
        let contents: Self = serde_json::from_slice(plain).map_err(damaged)?;
        contents.check().map_err(BackupError::Damaged)?;
        Ok(contents)
    }

    /// As it is encrypted. Wiped on drop; sized at once, so that growing leaves no copy behind.
    pub fn print(&self) -> Zeroizing<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
        serde_json::to_writer_pretty(&mut *plain, self).expect("writing to memory does not fail");
        plain
    }

    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.generations.iter().find(|entry| entry.number == number)
    }

    pub fn numbers(&self) -> Vec<u32> {
        self.generations.iter().map(|entry| entry.number).collect()
    }

    /// Recomputes every id on the host, for where there is no device. A generation whose id does not match is damage.
    pub fn check_ids_on_host(&self) -> Result<(), BackupError> {
        for entry in &self.generations {
            let damaged = |what: String| BackupError::Damaged(format!("generation {}: {what}", entry.number));
            let secret = entry.secret().unwrap(&self.kek).map_err(|error| damaged(error.to_string()))?;
            let found = Source::on_host(&secret).id().map_err(|error| damaged(error.to_string()))?;
            if found != entry.id {
                return Err(damaged(format!("its id is {found}, not {}", entry.id)));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        ring::check_name(&self.system.name)?;
        Hint::new(&self.hint).map_err(|error| error.to_string())?;
        if self.generations.is_empty() || self.generations.len() > MAX_GENERATIONS {
            return Err(format!("it holds {} generations", self.generations.len()));
        }
        for pair in self.generations.windows(2) {
            if pair[0].number >= pair[1].number {
                return Err(format!("generation {} stands before {}", pair[0].number, pair[1].number));
            }
        }
        for (index, entry) in self.generations.iter().enumerate() {
            if entry.number == 0 || self.generations[..index].iter().any(|other| other.id == entry.id) {
                return Err(format!("generation {} has a number or an id that can't be", entry.number));
            }
            entry.secret().blob().map_err(|error| format!("generation {}: {error}", entry.number))?;
        }
        if self.generations.iter().any(|entry| entry.number > self.last_number) {
            return Err(format!("it holds a generation above {}, the last number that was given", self.last_number));
        }
        if self.entry(self.active).is_none() {
            return Err(format!("its active generation {} is not in it", self.active));
        }
        Ok(())
    }
}

fn write_kek<S: Serializer>(kek: &Kek, serializer: S) -> Result<S::Ok, S::Error> {
    let text = Zeroizing::new(bytes::base64(kek.expose_secret()));
    serializer.serialize_str(&text)
}

/// From the text in place: JSON without escapes is borrowed, so no copy of it is left behind.
fn read_kek<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kek, D::Error> {
    let text = <&str>::deserialize(deserializer)?;
    let mut kek = SecretBytes::zeroed(KEY_BYTES);
    match bytes::from_base64(text, kek.as_mut()) {
        Some(KEY_BYTES) => Ok(Kek::new(kek)),
        _ => Err(D::Error::custom("a KEK is 32 bytes in base64")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bytes::Hex;
    use crate::device::Kind;
    use crate::secret::MasterSecret;

    /// A whole backup of `numbers` with random secrets.
    pub fn sample(numbers: &[u32]) -> Contents {
        let kek = Kek::random();
        let origin = Origin { host: "db1".to_owned(), kind: Kind::Tpm, device: "SHA256:00".to_owned() };
        let at: Timestamp = "2026-11-22T21:00:00Z".parse().unwrap();
        let entry = |&number: &u32| {
            let secret = MasterSecret::new(SecretBytes::random(KEY_BYTES));
            let WrappedSecret { algorithm, wrapped } = WrappedSecret::wrap(&secret, &kek);
            let id = Source::on_host(&secret).id().unwrap();
            Entry { number, id, created: at, origin: origin.clone(), algorithm, wrapped }
        };
        Contents {
            format: FORMAT,
            system: System { id: uuid::Uuid::from_u128(7), name: "payroll".to_owned() },
            term: 1,
            master: "db1".to_owned(),
            made: Made { at, host: "db1".to_owned() },
            devices: vec!["SHA256:00".to_owned()],
            hint: "the usual one, with the year".to_owned(),
            active: *numbers.last().unwrap(),
            last_number: *numbers.last().unwrap(),
            generations: numbers.iter().map(entry).collect(),
            kek,
        }
    }

    #[test]
    fn reads_what_it_prints() {
        let contents = sample(&[1, 2, 5]);
        let plain = contents.print();
        let read = Contents::parse(&plain).ok().unwrap();
        assert_eq!(*read.print(), *plain);
        assert_eq!(read.numbers(), [1, 2, 5]);
        read.check_ids_on_host().unwrap();
    }

    #[test]
    fn refuses_what_can_not_be() {
        let broken = |change: &dyn Fn(&mut Contents)| {
            let mut contents = sample(&[1, 2]);
            change(&mut contents);
            Contents::parse(&contents.print()).err().map(|error| error.to_string())
        };
        assert_eq!(broken(&|_| ()), None);
        assert!(broken(&|contents| contents.active = 3).is_some());
        assert!(broken(&|contents| contents.last_number = 1).is_some());
        assert!(broken(&|contents| contents.generations.reverse()).is_some());
        assert!(broken(&|contents| contents.generations.clear()).is_some());
        assert!(broken(&|contents| contents.generations[1].id = contents.generations[0].id).is_some());
        assert!(broken(&|contents| contents.generations[0].wrapped.0.truncate(39)).is_some());
        assert!(broken(&|contents| contents.hint = "\u{1b}[2J".to_owned()).is_some());
        assert!(broken(&|contents| contents.format = 2).unwrap().contains("format 2"));
        let text = String::from_utf8(sample(&[1]).print().to_vec()).unwrap();
        for (old, new) in [("\"term\": 1", "\"term\": 1, \"term\": 2"), ("\"term\": 1", "\"term\": 1, \"more\": 2")] {
            assert!(Contents::parse(text.replacen(old, new, 1).as_bytes()).is_err());
        }
    }

    #[test]
    fn an_id_that_does_not_match_is_damage() {
        let mut contents = sample(&[1]);
        contents.generations[0].id = GenerationId(Hex([7; 16]));
        assert!(matches!(contents.check_ids_on_host(), Err(BackupError::Damaged(_))));
        let mut contents = sample(&[1]);
        contents.generations[0].wrapped.0[3] ^= 1;
        assert!(matches!(contents.check_ids_on_host(), Err(BackupError::Damaged(_))));
    }
}
