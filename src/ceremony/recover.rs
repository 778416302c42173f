//! Recover: puts the last good ring of the history back where `ring.json` was damaged or lost.

use super::crew::{Crew, look_for_one};
use super::wanted::PinsOf;
use super::{Error, Place, Plan, Step, Tell, ids, record};
use crate::device::PinSources;
use crate::ring::Ring;
use crate::store::{Current, Store, StoreError};
use crate::text::generations;

/// A ring to be put back.
#[derive(Debug)]
pub struct RecoverPlan {
    pub plan: Plan,
    place: Place,
    ring: Ring,
    damaged: bool,
}

impl RecoverPlan {
    /// Looks at what is there, and at what the history has.
    pub fn new(place: &Place) -> Result<Self, Error> {
        let store = Store::open(&place.directory)?;
        let directory = place.directory.display();
        let (damaged, what) = match store.current()? {
            Current::Ring(ring) => return Err(Error::NothingToRecover(ring.system.name)),
            Current::Nothing => return Err(StoreError::NoRing(place.directory.clone()).into()),
            Current::Lost => (false, format!("the ring in {directory} is missing")),
            Current::Damaged(why) => (true, format!("the ring in {directory} is damaged ({why}) and put aside")),
        };
        let ring = store.last_good()?.ok_or_else(|| Error::NoHistory(place.directory.clone()))?;
        let looks = look_for_one(&ring)?;

        let mut plan = Plan::new("recover", &ring.system.name);
        plan.change(if damaged { "ring-put-aside" } else { "ring-missing" }, what);
        let numbers: Vec<u32> = ring.usable().map(|generation| generation.number).collect();
        let active = ring.active().map_or_else(|| "none".to_owned(), ToString::to_string);
        let text = format!(
            "the ring of commit {} is put back: system {}, {}, active {active}",
            ring.commit,
            ring.system.name,
            generations(&numbers)
        );
        plan.change("ring-recovered", text);
        plan.warning(
            "newer-commits",
            "where the ring had changed since, a backup has what is newer: `strongroom restore` adds it",
        );
        plan.wants_pins(PinsOf::none(&ring, &looks).of_any(ring.usable(), None));
        plan.question = Some("Put it back?");
        Ok(Self { plan, place: place.clone(), ring, damaged })
    }

    /// The ring that is put back.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Puts it back, once every generation of it was shown to be served.
    pub fn execute(self, pins: &dyn PinSources, tell: &mut Tell<'_>) -> Result<Ring, Error> {
        let store = Store::open(&self.place.directory)?;
        let locked = store.lock()?;
        let still = matches!((store.current()?, self.damaged), (Current::Damaged(_), true) | (Current::Lost, false));
        let mut ring = store.last_good()?.filter(|found| still && *found == self.ring).ok_or(StoreError::Changed)?;
        record::begin(&self.place, &locked, Some(&ring), tell)?;
        // What was committed since may be gone, and with it the generation that vouched last.
        self.place.record.found();
        let mut crew = Crew::of(&ring, pins);
        crew.prove_service(&ring, tell)?;
        if self.damaged {
            tell(Step::RingReplaced { path: locked.put_damaged_aside()?.display().to_string() });
        }
        locked.commit(&mut ring)?;
        record::done(&self.place, &store, &ring, &ids(&ring), &mut crew, tell)?;
        tell(Step::RingRecovered { commit: ring.commit });
        Ok(ring)
    }
}
