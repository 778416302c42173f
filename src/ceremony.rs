//! Ceremonies: the operations that change the ring or make a backup. Each is a plan, then its execution.
//!
//! A plan changes nothing, asks nothing and sends no PIN: it looks at everything that can be looked at, fails where the
//! ceremony would fail, and states what will change. Execution does it and tells each step. Front ends (the terminal,
//! `--json`, later the console) only render [`Plan`] and [`Step`].
//!
//! The order that all of them keep: make, back up, re-open, prove, and only then commit; what is old goes last.

mod backup;
mod bind;
mod crew;
mod device_add;
mod device_init;
mod device_remove;
mod device_repair;
mod examine;
mod generate;
mod guards;
mod init;
mod proof;
mod record;
mod recover;
mod restore;
mod sealing;
mod steps;
mod verify;
mod wanted;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use backup::BackupPlan;
pub use bind::{BindAnswers, BindPlan, Binding};
pub use crew::may_be_passed_over;
pub use device_add::DeviceAddPlan;
pub use device_init::{DeviceInitPlan, TokenPins};
pub use device_remove::DeviceRemovePlan;
pub use device_repair::DeviceRepairPlan;
pub use examine::Examination;
pub use generate::GeneratePlan;
pub use guards::SealOptions;
pub use init::InitPlan;
pub use recover::RecoverPlan;
pub use restore::{Restore, RestoreOptions, RestorePlan};
pub use steps::{Plan, Statement, Step};
pub use verify::{Verdict, Verify};
pub use wanted::{Wanted, WantedId};

use crate::audit::{AuditError, Record};
use crate::backup::{BackupError, Contents};
use crate::derive::{GenerationId, Source};
use crate::device::{self, Device, DeviceError, DeviceUri, Key, NoPin, PinSource, Root, Signatures};
use crate::durable::{FileError, Shortcomings};
use crate::passphrase::{Hint, PassphraseError};
use crate::ring::{BackupRecord, DeviceRecord, Ring, RingError};
use crate::secret::{Passphrase, Pin};
use crate::store::StoreError;

/// Hears each step as it happens.
pub type Tell<'t> = dyn FnMut(Step) + 't;

/// What this server is called and where its state is.
#[derive(Debug, Clone)]
pub struct Place {
    pub directory: PathBuf,
    pub host: String,
    /// What this run writes into the log.
    pub record: Record,
    /// Where signatures of PCR states are, for seals that open by them.
    pub signatures: Signatures,
}

/// What the admin said of a new backup: given to an execution once the plan was agreed to.
pub struct Answers {
    pub passphrase: Passphrase,
    pub hint: Hint,
    /// What shall guard new seals on a TPM; none: nothing beyond the TPM.
    pub new_pin: Option<Pin>,
}

/// Why a ceremony did not happen, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Audit(AuditError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    #[error("{}: {source}", path.display())]
    Backup { path: PathBuf, source: BackupError },
    #[error("{device}: {source}")]
    Device { device: String, source: DeviceError },
    #[error("{device} can't do the job: it lacks {}", lacks.join(", "))]
    Unfit { device: String, lacks: Vec<String> },
    #[error("{} holds the ring of system {name} already", directory.display())]
    RingExists { directory: PathBuf, name: String },
    #[error("this server is a member of system {system}; its master is {master}")]
    NotMaster { system: String, master: String },
    #[error("the backup is of system {theirs}, the ring in {} of system {ours}", directory.display())]
    OtherSystem { directory: PathBuf, ours: String, theirs: String },
    #[error("{} is of system {theirs}, the ring here of system {ours}", path.display())]
    OthersBackup { path: PathBuf, ours: String, theirs: String },
    /// Its source says why no device gives it.
    #[error("{} does not hold generation {number}, and there is no other way to it: {source}", path.display())]
    NotInBackup { path: PathBuf, number: u32, source: Box<Error> },
    #[error("{device}: {source}")]
    Absent { device: String, source: DeviceError },
    #[error("the ring has no device {0}")]
    NoSuchDevice(String),
    #[error("a PIN guards the secret on {0}, and no seal there opens any more to prove it on")]
    PinUnproved(String),
    #[error("{device} is not in service: its adding was cut off")]
    NotInService { device: String, uri: String },
    #[error("no device is left to do it")]
    NobodyLeft,
    #[error("no device holds generation {0}")]
    NowhereToBeHad(u32),
    #[error("no device of the ring lets generation {0} out: they use it, and that is all")]
    NothingLetsOut(u32),
    #[error("{device} can't be where secrets are made, since none could be backed up: {why}")]
    LetsNothingOut { device: String, why: String },
    #[error("{asked} is in the ring already, as {device}")]
    DeviceKnown { device: String, asked: String },
    #[error("{} {} sealed on {device} alone", crate::text::generations(numbers), if numbers.len() == 1 { "is" } else { "are" })]
    OnlyThere { device: String, numbers: Vec<u32> },
    /// Of a token that is in no ring.
    #[error("{0}")]
    Token(#[source] DeviceError),
    #[error("{0}")]
    OfficerLocked(#[source] DeviceError),
    #[error("a TPM is not initialised as a token is: it keeps no label and no user PIN")]
    NotAToken,
    #[error("{0} has no label yet, and none was chosen")]
    NoLabel(String),
    #[error("{0} is the ring's last device")]
    LastDevice(String),
    #[error("the ring's seals are on {theirs}, not on {asked}")]
    OtherDevice { theirs: String, asked: String },
    #[error("a PIN for the secret is a TPM's: on a token the user PIN guards all that it holds")]
    PinOnToken,
    #[error("a token has no PCRs that seals could be bound to")]
    PcrsOnToken,
    #[error("{0} was never bound to PCRs")]
    NoPcrs(String),
    /// A seal that was not made, since it would not open.
    #[error("{device}: what would be sealed there would not open: {source}")]
    WouldNotOpen { device: String, source: DeviceError },
    #[error("{device} has no PCRs of {bank} (banks: {has})")]
    NoBank { device: String, bank: &'static str, has: String },
    #[error("the ring that is here has seals already, and keeps the protection that they have")]
    PinOnRing,
    #[error("the ring of system {0} is whole")]
    NothingToRecover(String),
    #[error("{} holds no former ring that can be read", .0.display())]
    NoHistory(PathBuf),
    #[error("{generation} is not what the device gives: {place}")]
    ProofFailed { generation: String, place: String },
    #[error("generation {0} is not in the ring")]
    NoGeneration(u32),
    #[error("{0}")]
    Name(String),
    #[error("there is no ring here yet, and no device was chosen")]
    NoDevice,
}

impl Error {
    fn backup(path: &Path) -> impl Fn(BackupError) -> Self + '_ {
        |source| Self::Backup { path: path.to_owned(), source }
    }

    fn device(name: &str) -> impl Fn(DeviceError) -> Self + '_ {
        |source| Self::Device { device: name.to_owned(), source }
    }
}

/// A device as a ceremony or a command uses it: its name for messages, and the thing itself.
pub struct Opened<'p> {
    pub name: String,
    pub device: Box<dyn Device + 'p>,
}

impl<'p> Opened<'p> {
    /// Opens a device of the ring; it must be the one that was pinned.
    pub fn recorded(record: &DeviceRecord, pins: &'p dyn PinSource) -> Result<Self, Error> {
        Self::open(&record.id, &record.uri, record.root(), pins)
    }

    fn open(name: &str, uri: &DeviceUri, root: Option<&Root>, pins: &'p dyn PinSource) -> Result<Self, Error> {
        let device = device::open(uri, root, pins).map_err(Error::device(name))?;
        Ok(Self { name: name.to_owned(), device })
    }

    /// The id of whatever a key holds, recomputed inside the device.
    fn id_of(&mut self, key: Key<'_>) -> Result<GenerationId, Error> {
        let found = Source::unproved(self.device.as_mut(), key).id();
        found.map_err(self.failed())
    }

    fn failed(&self) -> impl Fn(DeviceError) -> Error + use<> {
        let device = self.name.clone();
        move |source| Error::Device { device: device.clone(), source }
    }
}

/// Looks at a device that is new to the ring, without a PIN: reachable, and able to do the job. Gives its description.
fn look_at_new(name: &str, uri: &DeviceUri) -> Result<device::Description, Error> {
    let mut opened = Opened::open(name, uri, None, &NoPin)?;
    let description = opened.device.describe().map_err(Error::device(name))?;
    if !description.lacks.is_empty() {
        return Err(Error::Unfit { device: name.to_owned(), lacks: description.lacks });
    }
    Ok(description)
}

/// Only the master makes generations.
fn only_master(ring: &Ring) -> Result<(), Error> {
    match ring.role {
        crate::ring::Role::Master => Ok(()),
        crate::ring::Role::Member => {
            Err(Error::NotMaster { system: ring.system.name.clone(), master: ring.master.clone() })
        }
    }
}

/// The generations of a ring that are, or were, active.
fn ids(ring: &Ring) -> Vec<GenerationId> {
    ring.usable().map(|generation| generation.id).collect()
}

/// This moment, to the second.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// An absolute path, as records keep it.
pub(crate) fn absolute(path: &Path) -> String {
    let absolute = path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned());
    absolute.display().to_string()
}

fn sha256(bytes: &[u8]) -> crate::bytes::Hex<32> {
    use sha2::{Digest, Sha256};
    crate::bytes::Hex(Sha256::digest(bytes).into())
}

/// Tells what the target's file system could not do.
fn tell_shortcomings(shortcomings: Shortcomings, tell: &mut Tell<'_>) {
    if shortcomings.no_mode {
        tell(Step::TargetKeepsNoMode {});
    }
    if shortcomings.no_directory_sync {
        tell(Step::TargetSyncsNoDirectory {});
    }
}

/// Makes a backup durable that this run found, before the ring relies on it: a copy may never have been synced, and a run
/// that was killed may not have come to it.
fn secure(path: &Path, tell: &mut Tell<'_>) -> Result<(), Error> {
    tell_shortcomings(crate::durable::secure(path)?, tell);
    Ok(())
}

/// The record of a backup that was opened, not proved yet.
fn record_of(path: &Path, file: &[u8], contents: &Contents, work_factor: u8) -> BackupRecord {
    BackupRecord {
        path: absolute(path),
        sha256: sha256(file),
        generations: contents.numbers(),
        work_factor,
        made: contents.made.at,
        proved: None,
    }
}

/// Reads and opens a backup file: the one read of it that everything after relies on.
fn open_backup(path: &Path, passphrase: &Passphrase) -> Result<(Contents, bool, Vec<u8>), Error> {
    let file = crate::durable::read(path, crate::backup::MAX_FILE)?;
    let (contents, agrees) = crate::backup::open(&file, passphrase).map_err(Error::backup(path))?;
    Ok((contents, agrees, file))
}
