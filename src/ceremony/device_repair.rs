//! Device repair: brings a device of the ring up to date with what the others hold.

use super::crew::{Crew, Looks, look_at};
use super::wanted::PinsOf;
use super::{Error, Place, Plan, Step, Tell, record, sealing};
use crate::derive::{GenerationId, Source};
use crate::device::{Fault, PinSources};
use crate::ring::{Generation, Ring};
use crate::store::Store;
use crate::text::generations;

/// A device to be repaired.
#[derive(Debug)]
pub struct DeviceRepairPlan {
    pub plan: Plan,
    place: Place,
    ring: Ring,
    id: String,
}

impl DeviceRepairPlan {
    /// Looks at the device, and at what it lacks.
    pub fn new(place: &Place, id: &str) -> Result<Self, Error> {
        let ring = Store::open(&place.directory)?.ring()?;
        let record = ring.device(id).ok_or_else(|| Error::NoSuchDevice(id.to_owned()))?;
        if ring.being_added().any(|begun| begun.id == id) {
            return Err(Error::NotInService { device: id.to_owned(), uri: record.uri.to_string() });
        }
        let looks = Looks::at(id, look_at(&ring, record)?);
        let mut plan = Plan::new("device-repair", &ring.system.name);
        plan.change("seals-checked", format!("every seal on {id} is checked, and made anew where it does not open"));
        let lacking: Vec<u32> = ring.lacking(id).map(|generation| generation.number).collect();
        if !lacking.is_empty() {
            plan.change("generations-sealed", format!("sealed on {id} too: {}", generations(&lacking)));
        }
        // Which seals don't open, only the device can tell, and it wants its PIN first.
        let pins = PinsOf::none(&ring, &looks).of(id).of_any(ring.lacking(id), Some(id));
        plan.wants_pins(pins.of_any_perhaps(ring.usable(), Some(id)));
        Ok(Self { plan, place: place.clone(), ring, id: id.to_owned() })
    }

    /// The ring whose device it is.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Repairs it: one commit, when all that was missing is proved.
    pub fn execute(self, pins: &dyn PinSources, tell: &mut Tell<'_>) -> Result<Ring, Error> {
        let store = Store::open(&self.place.directory)?;
        let locked = store.lock()?;
        let mut ring = store.ring_of(&self.ring)?;
        record::begin(&self.place, &locked, Some(&ring), tell)?;
        let id = self.id.as_str();
        let mut crew = Crew::of(&ring, pins);
        let mut good = ring.clone();
        let mut ailing = Vec::new();
        for generation in ring.usable() {
            match holds(&mut crew, generation, id)? {
                true => {
                    tell(Step::GenerationServed { number: generation.number, id: generation.id, device: id.to_owned() })
                }
                false => ailing.push(generation.clone()),
            }
        }
        // The PIN is that of a seal which opens: those that don't would ask for nothing, or in vain.
        for generation in &mut good.generations {
            if ailing.iter().any(|one| one.number == generation.number) {
                generation.seals.retain(|seal| seal.device != id);
            }
        }
        let mut guards = crew.guards_in_use(&good, id)?;
        // Without a PIN to prove, or what they were bound to, the new seals would be open to whoever has the TPM.
        if guards.pin.is_none() && !ailing.is_empty() && ring.has_own_pin(id) {
            return Err(Error::PinUnproved(id.to_owned()));
        }
        guards.bound = ring.bound(id);
        let mut seals = Vec::new();
        for generation in &ailing {
            let mut source = generation.clone();
            source.seals.retain(|seal| seal.device != id);
            let seal = sealing::bring(&mut crew, &source, id, guards.protection(), tell)?;
            let (number, generation) = (generation.number, generation.id);
            tell(Step::GenerationSealed { number, id: generation, device: id.to_owned() });
            seals.push((number, seal));
        }
        if !seals.is_empty() {
            for (number, seal) in seals {
                ring.put_seal(number, id, seal)?;
            }
            locked.commit(&mut ring)?;
        }
        let repaired: Vec<GenerationId> = ailing.iter().map(|generation| generation.id).collect();
        record::done(&self.place, &store, &ring, &repaired, &mut crew, tell)?;
        tell(Step::DeviceRepaired { device: self.id });
        Ok(ring)
    }
}

/// Whether the device holds the generation, and the right one. Errors where the device itself fails.
fn holds(crew: &mut Crew<'_>, generation: &Generation, id: &str) -> Result<bool, Error> {
    let Some(seal) = generation.seal_on(id) else { return Ok(false) };
    let opened = crew.device(id)?;
    let found =
        Source::sealed(opened.device.as_mut(), &seal.use_part, generation.id).and_then(|mut source| source.id());
    match found {
        Ok(found) => Ok(found == generation.id),
        Err(error)
            if matches!(error.fault, Fault::OtherSecret { .. } | Fault::Damaged(_) | Fault::NotThisDevice(_)) =>
        {
            Ok(false)
        }
        Err(error) => Err(opened.failed()(error)),
    }
}
