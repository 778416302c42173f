//! The log's file: added to, and read whole. What stands in it is [`crate::audit`]'s.

use std::fs::Metadata;
use std::path::Path;

use super::{Store, StoreError, owned_and_private};
use crate::durable::{FileError, Growing};

const LOG: &str = "audit.log";
/// Largest log that is read, in bytes: more than 100,000 entries.
pub const MAX_LOG: u64 = 64 << 20;

impl Store {
    /// The log, to be added to; made where it is missing. Others wait until it is let go of.
    pub fn log(&self) -> Result<Growing<'_>, StoreError> {
        owned(|check| self.directory.growing(LOG, check))
    }

    /// The whole log; none where there is none yet.
    pub fn read_log(&self) -> Result<Option<Vec<u8>>, StoreError> {
        owned(|check| self.directory.read_settled(LOG, MAX_LOG, check)).map_err(|error| match error {
            StoreError::File(FileError::TooLarge { path, .. }) => StoreError::FullLog(path),
            error => error,
        })
    }

    /// Whether what was refused may still go into the log.
    pub fn log_takes_refusals(&self) -> bool {
        std::fs::metadata(self.path().join(LOG)).map_or(0, |found| found.len()) < FOR_REFUSALS
    }
}

/// Refusals get half of it, in bytes: a service that is refused at each restart must not keep the admin from a ceremony.
const FOR_REFUSALS: u64 = MAX_LOG / 2;

type Check<'c> = &'c mut dyn FnMut(&Path, &Metadata) -> Result<(), FileError>;

/// Opens the log with `open`, and refuses one that is not the administrator's alone.
fn owned<T>(open: impl FnOnce(Check<'_>) -> Result<T, FileError>) -> Result<T, StoreError> {
    let mut found = Ok(());
    let opened = open(&mut |path, metadata| {
        found = owned_and_private(path, metadata, 0o600);
        Ok(())
    })?;
    found.map(|()| opened)
}
