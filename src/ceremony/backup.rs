//! Backup: one more backup file, under a passphrase of its own.

use std::path::Path;

use super::crew::{Crew, look_for_one};
use super::guards::may_open;
use super::proof::Target;
use super::wanted::PinsOf;
use super::{Answers, Error, Place, Plan, Tell, ids, proof, record};
use crate::device::PinSources;
use crate::ring::{BackupRecord, Ring};
use crate::store::{Store, StoreError};
use crate::text::generations;

/// A backup to be made.
pub struct BackupPlan {
    pub plan: Plan,
    place: Place,
    ring: Ring,
    target: Target,
}

impl BackupPlan {
    /// Looks whether a device answers and the file can be written.
    pub fn new(place: &Place, target: &Path, work_factor: u8) -> Result<Self, Error> {
        let ring = Store::open(&place.directory)?.ring()?;
        let target = Target::check(target, work_factor)?;
        if let Some(kept) = ring.usable().find(|generation| !generation.seals.is_empty() && !generation.can_leave()) {
            return Err(Error::NothingLetsOut(kept.number));
        }
        let looks = look_for_one(&ring)?;
        may_open(place, &ring)?;
        let mut plan = Plan::new("backup", &ring.system.name);
        let numbers: Vec<u32> = ring.usable().map(|generation| generation.number).collect();
        plan.change(
            "backup-written",
            format!("a backup of {} is written to {}", generations(&numbers), target.path.display()),
        );
        if let Some(pending) = ring.pending() {
            let text = format!("generation {} is pending and not part of it", pending.number);
            plan.warning("pending", text);
        }
        plan.wants_pins(PinsOf::none(&ring, &looks).of_any(ring.usable(), None));
        plan.wants_new_passphrase();
        Ok(Self { plan, place: place.clone(), ring, target })
    }

    /// The ring whose devices hold what is backed up.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Makes and proves it.
    pub fn execute(self, answers: &Answers, pins: &dyn PinSources, tell: &mut Tell<'_>) -> Result<BackupRecord, Error> {
        let store = Store::open(&self.place.directory)?;
        let locked = store.lock()?;
        let mut ring = store.ring()?;
        record::begin(&self.place, &locked, Some(&ring), tell)?;
        let mut usable = ring.clone();
        usable.drop_pending();
        let active = ring.active().map(|generation| generation.number);
        let active = active.ok_or_else(|| StoreError::NoRing(self.place.directory.clone()))?;
        let mut crew = Crew::of(&usable, pins);
        let contents = proof::export(&usable, active, &mut crew, answers, &self.place, tell)?;
        let proved = proof::write_and_prove(contents, &self.target, &usable, None, &mut crew, answers, tell)?;
        ring.note_backup(proved.clone());
        locked.commit(&mut ring)?;
        record::done(&self.place, &store, &ring, &ids(&usable), &mut crew, tell)?;
        Ok(proved)
    }
}
