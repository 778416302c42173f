//! Backup: one more backup file, under a passphrase of its own.

use std::path::{Path, PathBuf};

use super::{Answers, Error, Opened, Place, Plan, Tell, look_at, proof, serving};
use crate::device::PinSource;
use crate::ring::{BackupRecord, DeviceRecord};
use crate::store::{Store, StoreError};
use crate::text::generations;

/// A backup to be made.
pub struct BackupPlan {
    pub plan: Plan,
    place: Place,
    device: DeviceRecord,
    target: PathBuf,
    work_factor: u8,
}

impl BackupPlan {
    /// Looks whether the device answers and the file can be written.
    pub fn new(place: &Place, target: &Path, work_factor: u8) -> Result<Self, Error> {
        let ring = Store::open(&place.directory)?.ring()?;
        crate::durable::check_new(target)?;
        crate::backup::check_memory(work_factor).map_err(Error::backup(target))?;
        let device = serving(&ring).clone();
        look_at(&ring)?;
        let mut plan = Plan::new("backup", &ring.system.name);
        let numbers: Vec<u32> = ring.usable().map(|generation| generation.number).collect();
        plan.change(
            "backup-written",
            format!("a backup of {} is written to {}", generations(&numbers), target.display()),
        );
        if let Some(pending) = ring.pending() {
            let text = format!("generation {} is pending and not part of it", pending.number);
            plan.warning("pending", text);
        }
        Ok(Self { plan, place: place.clone(), device, target: target.to_owned(), work_factor })
    }

    /// The device that holds what is backed up.
    pub fn device(&self) -> &DeviceRecord {
        &self.device
    }

    /// Makes and proves it.
    pub fn execute(self, answers: &Answers, pins: &dyn PinSource, tell: &mut Tell<'_>) -> Result<BackupRecord, Error> {
        let store = Store::open(&self.place.directory)?;
        let locked = store.lock()?;
        let mut ring = store.ring()?;
        let mut usable = ring.clone();
        usable.drop_pending();
        let active = ring.active().map(|generation| generation.number);
        let active = active.ok_or_else(|| StoreError::NoRing(self.place.directory.clone()))?;
        let mut opened = Opened::recorded(serving(&ring), pins)?;
        let contents = proof::export(&usable, active, &mut opened, answers, &self.place)?;
        let record =
            proof::write_and_prove(contents, &self.target, self.work_factor, &usable, &mut opened, answers, tell)?;
        ring.note_backup(record.clone());
        locked.commit(&mut ring)?;
        Ok(record)
    }
}
