//! The ring: the state of this server, and its rules. Pure: no files, no devices, no clock.
//!
//! Devices x generations, a [`Seal`] where they meet; which generation is active; which backups exist. Nothing in it is a
//! secret: seals are ciphertext that only their device can use. Every change goes through a method that keeps the rules,
//! and [`Ring::check`] looks at all of them, after reading and before writing.

mod devices;
mod rules;

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bytes::Hex;
use crate::derive::GenerationId;
use crate::device::{BoundTo, DeviceUri, Intent, Kind, Root, Seal};

pub use rules::check_name;

/// The format that this version reads and writes.
pub const FORMAT: u32 = 1;
/// The algorithms that the whole ring is built of.
pub const SUITE: &str = "strongroom-v1-hmac-sha256";
pub const MAX_GENERATIONS: usize = 1000;
pub const MAX_DEVICES: usize = 16;
/// Longest name of a system, in characters.
pub const MAX_NAME: usize = 64;

/// The state of this server. `ring.json` is this, pretty-printed; unknown fields and duplicate keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    pub format: u32,
    pub suite: String,
    /// Counts the ring's commits; orders its history (times never order anything).
    pub commit: u64,
    pub system: System,
    /// Counts who was master: raised each time a server takes over.
    pub term: u64,
    pub role: Role,
    /// The host name of the system's master.
    pub master: String,
    /// The highest number that was ever given to a generation; a number is never used twice.
    pub last_number: u32,
    pub devices: Vec<DeviceRecord>,
    /// In the order of their numbers.
    pub generations: Vec<Generation>,
    pub backups: Vec<BackupRecord>,
}

/// All servers that share one master secret.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    pub id: Uuid,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// May generate.
    Master,
    /// Uses, and never generates.
    Member,
}

/// A device of this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRecord {
    /// Its name in this ring: `tpm1`, `hsm1`.
    pub id: String,
    pub uri: DeviceUri,
    pub added: Timestamp,
    pub anchor: Anchor,
    /// What its seals were bound to until `unbind`: what `bind` binds them to again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unbound: Option<BoundTo>,
}

/// How far the ring knows a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Anchor {
    /// What is about to be made on it: recorded first, so that a crash leaves nothing unknown on a token.
    Intended(Intent),
    /// What was read from it, and is compared from now on.
    Pinned(Root),
}

/// One generation of the master secret. It *is* its id; the number is a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    pub number: u32,
    pub id: GenerationId,
    pub created: Timestamp,
    pub origin: Origin,
    /// When it came here out of a backup; none where it was made here.
    pub restored: Option<Timestamp>,
    pub state: State,
    pub seals: Vec<DeviceSeal>,
}

/// Where a generation was made; carried along in backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    pub host: String,
    pub kind: Kind,
    /// [`Root::fingerprint`] of the device that made it.
    pub device: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Made, and its backup not yet proved. Never used.
    Pending,
    /// The one that `derive` uses unless told otherwise.
    Active,
    /// Was active, and stays to read old data.
    Kept,
}

/// A seal, and the device that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSeal {
    pub device: String,
    pub seal: Seal,
}

/// A backup that was made from or proved against this ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRecord {
    /// Absolute, as it was when last seen.
    pub path: String,
    /// Of the whole file.
    pub sha256: Hex<32>,
    /// The numbers of the generations in it.
    pub generations: Vec<u32>,
    /// log2 of scrypt's N.
    pub work_factor: u8,
    pub made: Timestamp,
    /// When every generation in it was last shown to be the one that the device uses.
    pub proved: Option<Timestamp>,
}

/// Why a ring is not one, or a change is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    #[error("the ring has format {0}, this version reads {FORMAT}")]
    Format(u32),
    #[error("the ring's suite is {0}, this version knows {SUITE}")]
    Suite(String),
    #[error("{0}")]
    Syntax(String),
    #[error("{0}")]
    Broken(String),
    #[error("the ring holds {MAX_GENERATIONS} generations, and no more fit")]
    Full,
    #[error("the ring would be {0} bytes long, and nobody reads more than 64 MiB")]
    Large(usize),
    #[error("the ring has {MAX_DEVICES} devices, and no more fit")]
    FullOfDevices,
    #[error("generation {number} is {here} here and {there} in the backup")]
    OtherGeneration { number: u32, here: GenerationId, there: GenerationId },
}

impl Ring {
    /// A ring with no generation yet: it is written down before a device is touched.
    pub fn founding(system: System, term: u64, role: Role, master: String, device: DeviceRecord) -> Self {
        Self {
            format: FORMAT,
            suite: SUITE.to_owned(),
            commit: 0,
            system,
            term,
            role,
            master,
            last_number: 0,
            devices: vec![device],
            generations: Vec::new(),
            backups: Vec::new(),
        }
    }

    /// Goes on where a ring that it replaces ended: commits are counted on, and within a system no number is given again.
    pub fn succeed(&mut self, former: &Ring) {
        self.commit = former.commit;
        if self.system.id == former.system.id {
            self.last_number = self.last_number.max(former.last_number);
        }
    }

    /// Whether this ring has all that a former one has, sealed anew in part: then the former's seals are of no more use to
    /// us, and may be to others. One without PIN would defeat the PIN of the new one, and one on a device that was removed
    /// is still good there.
    pub fn supersedes(&self, former: &Ring) -> bool {
        let has = |id| self.usable().find(|generation| generation.id == id);
        let sealed_the_same =
            |old: &Generation| has(old.id).is_some_and(|new| old.seals.iter().all(|seal| new.seals.contains(seal)));
        former.usable().all(|old| has(old.id).is_some()) && !former.usable().all(sealed_the_same)
    }

    /// Reads a ring. A newer format is told apart from damage.
    pub fn parse(text: &[u8]) -> Result<Self, RingError> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let syntax = |error: serde_json::Error| RingError::Syntax(error.to_string());
        let Versioned { format } = serde_json::from_slice(text).map_err(syntax)?;
        if format != FORMAT {
            return Err(RingError::Format(format));
        }
        let ring: Self = serde_json::from_slice(text).map_err(syntax)?;
        ring.check()?;
        Ok(ring)
    }

    /// As it lies on the disk.
    pub fn print(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a ring has no keys that JSON can't write");
        text.push(b'\n');
        text
    }

    /// Whether it serves: it has an active generation. A ring without one is still being founded.
    pub fn is_founded(&self) -> bool {
        self.active().is_some()
    }

    pub fn active(&self) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.state == State::Active)
    }

    pub fn pending(&self) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.state == State::Pending)
    }

    /// The generations that are, or were, active.
    pub fn usable(&self) -> impl Iterator<Item = &Generation> {
        self.generations.iter().filter(|generation| generation.state != State::Pending)
    }

    pub fn generation(&self, number: u32) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.number == number)
    }

    pub fn by_id(&self, id: GenerationId) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.id == id)
    }

    /// The number that the next generation gets.
    pub fn next_number(&self) -> Result<u32, RingError> {
        if self.generations.len() >= MAX_GENERATIONS {
            return Err(RingError::Full);
        }
        self.last_number.checked_add(1).ok_or(RingError::Full)
    }

    /// Takes in a generation that was just made, as pending; its number is used up from here on.
    pub fn pend(&mut self, generation: Generation) -> Result<(), RingError> {
        if generation.state != State::Pending || generation.number != self.next_number()? || self.pending().is_some() {
            return Err(RingError::Broken(format!("generation {} can't become pending", generation.number)));
        }
        self.last_number = generation.number;
        self.generations.push(generation);
        self.check()
    }

    /// Makes a generation the active one; the one that was stays to read old data.
    pub fn activate(&mut self, number: u32) -> Result<(), RingError> {
        if self.generation(number).is_none() {
            return Err(RingError::Broken(format!("there is no generation {number} to activate")));
        }
        for generation in &mut self.generations {
            match generation.state {
                _ if generation.number == number => generation.state = State::Active,
                State::Active => generation.state = State::Kept,
                State::Pending | State::Kept => {}
            }
        }
        self.check()
    }

    /// Drops what a crash left pending; its number stays burnt. Gives the number.
    pub fn drop_pending(&mut self) -> Option<u32> {
        let number = self.pending()?.number;
        self.generations.retain(|generation| generation.state != State::Pending);
        Some(number)
    }

    /// Takes in a generation out of a backup, kept until told to activate it.
    ///
    /// The same id is the same generation, whatever its number: nothing to do, false. The same number with another id is
    /// refused.
    pub fn admit(&mut self, generation: Generation) -> Result<bool, RingError> {
        if self.by_id(generation.id).is_some() {
            return Ok(false);
        }
        self.may_admit(generation.number, generation.id)?;
        if self.generations.len() >= MAX_GENERATIONS {
            return Err(RingError::Full);
        }
        self.last_number = self.last_number.max(generation.number);
        let place = self.generations.partition_point(|other| other.number < generation.number);
        self.generations.insert(place, generation);
        self.check()?;
        Ok(true)
    }

    /// Whether a generation of a backup goes together with what is here.
    pub fn may_admit(&self, number: u32, id: GenerationId) -> Result<(), RingError> {
        match self.generation(number) {
            Some(here) if here.id != id => Err(RingError::OtherGeneration { number, here: here.id, there: id }),
            _ => Ok(()),
        }
    }

    /// Notes a backup that was just proved; a file with the same content is the same backup, wherever it lies now. What lay
    /// at its path before is there no more.
    pub fn note_backup(&mut self, record: BackupRecord) {
        self.backups.retain(|known| known.path != record.path || known.sha256 == record.sha256);
        match self.backups.iter_mut().find(|known| known.sha256 == record.sha256) {
            Some(known) => {
                known.path = record.path;
                known.proved = record.proved.or(known.proved);
            }
            None => self.backups.push(record),
        }
    }
}

impl Generation {
    /// Whether a PIN of its own guards its seals.
    pub fn has_pin(&self) -> bool {
        self.seals.iter().any(|seal| seal.seal.use_part.0.guard.has_own_pin())
    }

    /// Its seal on a device.
    pub fn seal_on(&self, device: &str) -> Option<&Seal> {
        self.seals.iter().find(|seal| seal.device == device).map(|seal| &seal.seal)
    }

    /// Whether some device lets it out: some use it, and that is all.
    pub fn can_leave(&self) -> bool {
        self.seals.iter().any(|held| !held.seal.export_part.is_empty())
    }
}

impl DeviceRecord {
    /// What is pinned; none where the device is still being added.
    pub fn root(&self) -> Option<&Root> {
        match &self.anchor {
            Anchor::Pinned(root) => Some(root),
            Anchor::Intended(_) => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Master => "master",
            Role::Member => "member",
        })
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} ({})", self.number, self.id)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bytes::Base64;
    use crate::device::Guard;
    use crate::device::{ExportPart, Part, UsePart};

    pub fn now() -> Timestamp {
        "2026-11-22T21:00:00Z".parse().unwrap()
    }

    /// A ring on one TPM, with no generation.
    pub fn founding() -> Ring {
        let root = Root::Tpm { handle: 0x8100_0001, public: Base64(vec![1]), name: Base64(vec![2]), endorsement: None };
        let device = DeviceRecord {
            id: "tpm1".to_owned(),
            uri: "tpm:".parse().unwrap(),
            added: now(),
            anchor: Anchor::Pinned(root),
            unbound: None,
        };
        let system = System { id: Uuid::from_u128(7), name: "payroll".to_owned() };
        Ring::founding(system, 1, Role::Master, "db1".to_owned(), device)
    }

    pub fn generation(number: u32, state: State) -> Generation {
        let part = Part { blob: Base64(vec![7; 40]), name: None, guard: Guard::None {} };
        let seal = Seal {
            mechanism: "TPM2_HMAC".to_owned(),
            use_part: UsePart(part.clone()),
            export_part: ExportPart(part),
            birth: None,
        };
        Generation {
            number,
            id: GenerationId(Hex([number as u8; 16])),
            created: now(),
            origin: Origin { host: "db1".to_owned(), kind: Kind::Tpm, device: "SHA256:00".to_owned() },
            restored: None,
            state,
            seals: vec![DeviceSeal { device: "tpm1".to_owned(), seal }],
        }
    }

    /// A ring with generations 1 to `count`, the last one active.
    pub fn founded(count: u32) -> Ring {
        let mut ring = founding();
        for number in 1..=count {
            ring.pend(generation(number, State::Pending)).unwrap();
            ring.activate(number).unwrap();
        }
        ring
    }

    fn broken(change: impl FnOnce(&mut Ring)) -> bool {
        let mut ring = founded(3);
        change(&mut ring);
        Ring::parse(&ring.print()).is_err()
    }

    #[test]
    fn reads_what_it_prints() {
        for ring in [founding(), founded(3)] {
            assert_eq!(Ring::parse(&ring.print()).unwrap(), ring);
        }
    }

    #[test]
    fn a_new_generation_keeps_the_old_ones() {
        let ring = founded(3);
        let states: Vec<State> = ring.generations.iter().map(|generation| generation.state).collect();
        assert_eq!(states, [State::Kept, State::Kept, State::Active]);
        assert_eq!(ring.next_number(), Ok(4));
    }

    #[test]
    fn a_number_is_never_used_twice() {
        let mut ring = founded(1);
        ring.pend(generation(2, State::Pending)).unwrap();
        assert!(ring.pend(generation(3, State::Pending)).is_err(), "one at a time");
        assert_eq!(ring.drop_pending(), Some(2));
        assert_eq!(ring.next_number(), Ok(3));
        assert!(ring.pend(generation(2, State::Pending)).is_err());
        assert_eq!(ring.active().unwrap().number, 1);
    }

    #[test]
    fn a_generation_is_its_id() {
        let mut ring = founded(2);
        assert_eq!(ring.admit(generation(2, State::Kept)), Ok(false));
        let mut renumbered = generation(2, State::Kept);
        renumbered.number = 9;
        assert_eq!(ring.admit(renumbered), Ok(false));
        let mut other = generation(2, State::Kept);
        other.id = GenerationId(Hex([99; 16]));
        assert!(matches!(ring.admit(other), Err(RingError::OtherGeneration { number: 2, .. })));
        let mut ring = founded(1);
        assert_eq!(ring.admit(generation(5, State::Kept)), Ok(true));
        assert_eq!(ring.admit(generation(3, State::Kept)), Ok(true));
        let numbers: Vec<u32> = ring.generations.iter().map(|generation| generation.number).collect();
        assert_eq!(numbers, [1, 3, 5]);
        assert_eq!(ring.next_number(), Ok(6));
        assert_eq!(ring.active().unwrap().number, 1, "the active one stays");
    }

    #[test]
    fn refuses_what_can_not_be() {
        assert!(!broken(|_| ()));
        assert!(broken(|ring| ring.suite = "other".to_owned()));
        assert!(broken(|ring| ring.system.name = " x".to_owned()));
        assert!(broken(|ring| ring.devices.clear()));
        assert!(broken(|ring| ring.devices.push(ring.devices[0].clone())));
        assert!(broken(|ring| ring.devices[0].uri = "pkcs11:token=x".parse().unwrap()));
        assert!(broken(|ring| ring.generations.swap(0, 1)));
        assert!(broken(|ring| ring.generations[0].id = ring.generations[1].id));
        assert!(broken(|ring| ring.generations[0].state = State::Active));
        assert!(broken(|ring| ring.generations[0].state = State::Pending));
        assert!(broken(|ring| ring.generations[0].seals.clear()));
        assert!(broken(|ring| ring.generations[0].seals[0].device = "hsm1".to_owned()));
        assert!(broken(|ring| ring.last_number = 2));
    }

    #[test]
    fn unknown_fields_duplicate_keys_and_newer_formats_are_refused() {
        let text = String::from_utf8(founded(1).print()).unwrap();
        let changed = |old: &str, new: &str| {
            assert!(text.contains(old), "{old}");
            Ring::parse(text.replacen(old, new, 1).as_bytes()).unwrap_err()
        };
        assert_eq!(changed("\"format\": 1", "\"format\": 2"), RingError::Format(2));
        assert!(matches!(changed("\"term\": 1", "\"term\": 1, \"more\": 1"), RingError::Syntax(_)));
        assert!(matches!(changed("\"term\": 1", "\"term\": 1, \"term\": 1"), RingError::Syntax(_)));
        for (old, new) in [
            ("\"kind\": \"none\"", "\"kind\": \"none\", \"salt\": \"00\""),
            ("\"handle\": 2164260865", "\"handle\": 2164260865, \"handle\": 2164260866"),
            ("\"blob\":", "\"more\": 1, \"blob\":"),
        ] {
            assert!(matches!(changed(old, new), RingError::Syntax(_)), "{new}");
        }
        assert!(matches!(Ring::parse(&text.as_bytes()[..text.len() - 3]), Err(RingError::Syntax(_))));
    }

    #[test]
    fn a_backup_is_known_by_its_content() {
        let mut ring = founded(1);
        let record = |path: &str, content: u8, proved| BackupRecord {
            path: path.to_owned(),
            sha256: Hex([content; 32]),
            generations: vec![1],
            work_factor: 18,
            made: now(),
            proved,
        };
        ring.note_backup(record("/a", 1, Some(now())));
        ring.note_backup(record("/mnt/a", 1, None));
        assert_eq!(ring.backups, [record("/mnt/a", 1, Some(now()))], "a copy elsewhere is the same backup");
        ring.note_backup(record("/mnt/a", 2, None));
        assert_eq!(ring.backups, [record("/mnt/a", 2, None)], "another file at that path replaces it");
        ring.note_backup(record("/b", 3, Some(now())));
        ring.note_backup(record("/mnt/a", 3, None));
        assert_eq!(ring.backups, [record("/mnt/a", 3, Some(now()))], "so does a copy of a known one");
    }
}
