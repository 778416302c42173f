//! The record: what was done, what was refused, by whom. `audit.log` in the state directory, a line of JSON for each entry,
//! only ever added to. `docs/audit-log.md` is the full text of the format.
//!
//! ```text
//! intent      before anything changes, synced; a log that can't be written stops the ceremony here
//! outcome     after the commit, before success is reported; vouched for, and counted
//! closed      by the next start, where a run was cut off in between
//! ```
//!
//! Four things guard it, each against somebody else:
//!
//! - the *chain* ([`chain`]): who changes, drops or moves an entry must write all later ones anew;
//! - the *tag* ([`entry`]): HMAC by a key derived from the master secret, so only who has the device can do that. An entry that
//!   was made while no device served is covered by the next one that is vouched for;
//! - the *counter* ([`crate::device::Counter`]): who cuts off the end can't take back what a TPM has counted;
//! - the *copy* ([`journal`]): each entry goes to the journal with its hash. Where no TPM counts, and against root, who has the
//!   device, it is the witness.

pub mod chain;
pub mod entry;
pub mod journal;
mod record;
pub mod verify;
mod who;

use std::path::PathBuf;

use jiff::Timestamp;
use uuid::Uuid;

pub use chain::Chain;
pub use entry::{Entry, Outcome, Phase, What};
pub use record::{Closed, Record};

use crate::bytes::Hex;
use crate::derive::GenerationId;
use crate::device::{Counter, DeviceError};
use crate::durable::{FileError, Growing};
use crate::secret::DerivedKey;
use crate::store::{MAX_LOG, Store, StoreError};
use chain::End;
use entry::{Count, FORMAT, MAX_LINE};
use who::Who;

/// How much of the log's end is looked at to add to it: an entry and what a crash may have left after it, both at their
/// longest.
const TAIL: u64 = 3 * (MAX_LINE as u64 + 1);

/// Why there is no entry.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the log can't be written")]
    Unwritable(#[source] FileError),
    #[error(transparent)]
    Store(StoreError),
    #[error("{} holds no entry in its last {TAIL} bytes", .0.display())]
    NoEntry(PathBuf),
    /// The ring was changed.
    #[error("it was done, and the log does not say so")]
    Unconcluded(#[source] Box<AuditError>),
}

impl From<StoreError> for AuditError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::File(error) => Self::Unwritable(error),
            error => Self::Store(error),
        }
    }
}

/// The log of a state directory.
pub struct Log<'s> {
    store: &'s Store,
    host: String,
    who: Who,
}

/// What vouches for an entry: a generation's audit key, and the device's counter where it has one.
pub struct Voucher<'d> {
    pub generation: GenerationId,
    pub key: DerivedKey,
    pub counting: Option<Counting<'d>>,
}

/// A device's counter for a system.
pub struct Counting<'d> {
    pub counter: &'d mut dyn Counter,
    /// [`crate::device::Root::fingerprint`] of the device.
    pub fingerprint: String,
    pub system: Uuid,
    /// Whether what is counted begins here, though the device may have counted before: where a ring is founded.
    pub begins: bool,
}

/// An entry that is on the disk.
#[derive(Debug)]
pub struct Written {
    pub entry: Entry,
    /// Of its line.
    pub hash: Hex<32>,
    /// Why the device did not count it; none where it did, or was not asked to.
    pub uncounted: Option<DeviceError>,
}

impl<'s> Log<'s> {
    pub fn of(store: &'s Store, host: &str) -> Self {
        Self { store, host: host.to_owned(), who: Who::here() }
    }

    /// An entry to be added; its number and its place in the chain are given then.
    pub fn entry(&self, what: What, phase: Phase) -> Entry {
        let now = Timestamp::now();
        Entry {
            format: FORMAT,
            n: 0,
            time: Timestamp::from_second(now.as_second()).unwrap_or(now),
            host: self.host.clone(),
            login: self.who.login.clone(),
            user: self.who.user.clone(),
            what,
            phase,
            of: None,
            outcome: None,
            error: None,
            generations: Vec::new(),
            devices: Vec::new(),
            previous: Hex([0; 32]),
            counter: None,
            vouched: None,
            tag: None,
        }
    }

    /// Adds an entry, synced when this returns.
    pub fn add(&self, mut entry: Entry, voucher: Option<Voucher<'_>>) -> Result<Written, AuditError> {
        let mut file = self.store.log()?;
        let end = end(&file)?;
        (entry.n, entry.previous) = (end.n.saturating_add(1), end.previous);
        if let Some(of) = entry.of
            && is_concluded(&file, of)?
        {
            // Who says how it failed holds the ring's lock no more: another run may have closed the intent meanwhile.
            entry.of = None;
        }
        let mut uncounted = None;
        let mut counting = None;
        if let Some(voucher) = voucher {
            if let Some(mut of) = voucher.counting {
                match of.next(&file)? {
                    Ok(count) => {
                        entry.counter = Some(count.clone());
                        counting = Some((of, count.value));
                    }
                    Err(error) => uncounted = Some(error),
                }
            }
            entry.vouch(voucher.generation, &voucher.key);
        }
        let line = entry.print();
        let start: &[u8] = if end.torn { b"\n" } else { b"" };
        file.add(&[start, &line, b"\n"].concat()).map_err(AuditError::Unwritable)?;
        if let Some((of, value)) = counting {
            // The entry is on the disk: from here on, a crash leaves the log one ahead, which the next run makes up for.
            uncounted = of.counter.count_to(of.system, value).err();
        }
        Ok(Written { entry, hash: entry::hash(&line), uncounted })
    }

    /// The intents that are not concluded, with their numbers. Whoever asks holds the ring's lock, so nobody is about to
    /// conclude them. Looks at lines alone: that the chain is whole is not its business.
    pub fn open(&self) -> Result<Vec<(u64, What)>, AuditError> {
        let text = self.store.read_log()?.unwrap_or_default();
        let mut open: Vec<(u64, What)> = Vec::new();
        for entry in text.split(|byte| *byte == b'\n').filter_map(|line| Entry::parse(line).ok()) {
            match (entry.phase, entry.of) {
                (Phase::Intent, _) => open.push((entry.n, entry.what)),
                (Phase::Outcome | Phase::Closed, of) => open.retain(|(n, _)| Some(*n) != of),
            }
        }
        Ok(open)
    }
}

fn end(file: &Growing<'_>) -> Result<End, AuditError> {
    let (start, tail) = file.tail(TAIL).map_err(AuditError::Unwritable)?;
    End::of(start, &tail).ok_or_else(|| AuditError::NoEntry(file.path().to_owned()))
}

/// Whether an entry after the intent `of` concludes it.
fn is_concluded(file: &Growing<'_>, of: u64) -> Result<bool, AuditError> {
    let (_, text) = file.tail(MAX_LOG).map_err(AuditError::Unwritable)?;
    let entries = text.split(|byte| *byte == b'\n').rev().filter_map(|line| Entry::parse(line).ok());
    Ok(entries.take_while(|entry| entry.n > of).any(|entry| entry.of == Some(of)))
}

impl Counting<'_> {
    /// What the counter will be once the next entry is counted. Makes it where it is missing, and makes up for an entry that a
    /// crash left uncounted. The inner error is the device's: the log goes on without it.
    fn next(&mut self, file: &Growing<'_>) -> Result<Result<Count, DeviceError>, AuditError> {
        let (_, text) = file.tail(MAX_LOG).map_err(AuditError::Unwritable)?;
        let entries = text.split(|byte| *byte == b'\n').rev().filter_map(|line| Entry::parse(line).ok());
        let logged = entries.filter_map(|entry| entry.counter).find(|count| count.device == self.fingerprint);
        Ok(self.next_after(logged))
    }

    fn next_after(&mut self, logged: Option<Count>) -> Result<Count, DeviceError> {
        let device = self.fingerprint.clone();
        let Some(value) = self.counter.read(self.system)? else {
            let value = self.counter.make(self.system)?;
            return Ok(Count { device, value, first: true });
        };
        let is_ahead = logged.as_ref().is_some_and(|logged| logged.value.checked_sub(1) == Some(value));
        let value = if is_ahead { value + 1 } else { value };
        if is_ahead {
            self.counter.count_to(self.system, value)?;
        }
        Ok(Count { device, value: value.saturating_add(1), first: self.begins })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_log_is_not_added_to() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("state")).unwrap();
        let path = directory.path().join("state/audit.log");
        std::fs::write(&path, vec![b'x'; TAIL as usize + 1]).unwrap();
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let log = Log::of(&store, "db1");
        assert!(matches!(log.add(log.entry(What::Init, Phase::Intent), None), Err(AuditError::NoEntry(_))));
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
        let refused = log.add(log.entry(What::Init, Phase::Intent), None);
        assert!(matches!(refused, Err(AuditError::Store(StoreError::LooseMode { .. }))));
    }
}
