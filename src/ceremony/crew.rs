//! The devices of a ring as a ceremony uses them: opened when first needed, kept open, and passed over where they don't
//! answer and another will do.

use std::collections::BTreeMap;

use super::guards::Guards;
use super::{Error, Opened, Step, Tell};
use crate::derive::Source;
use crate::device::{Description, DeviceError, Fault, Kind, NoPin, PinRequest, PinSources, Seal, Tries};
use crate::ring::{DeviceRecord, Generation, Ring};
use crate::secret::Pin;

/// The devices of a ring, in its order.
pub struct Crew<'p> {
    records: Vec<DeviceRecord>,
    opened: BTreeMap<String, Opened<'p>>,
    /// Those that failed as a whole, and why: asked once, and left alone from then on.
    absent: BTreeMap<String, Fault>,
    /// Those that the admin left behind.
    left: Vec<String>,
    pins: &'p dyn PinSources,
}

impl<'p> Crew<'p> {
    /// Opens nothing yet.
    pub fn of(ring: &Ring, pins: &'p dyn PinSources) -> Self {
        Self { records: ring.devices.clone(), opened: BTreeMap::new(), absent: BTreeMap::new(), left: Vec::new(), pins }
    }

    /// A crew that has one device open already, which is new to the ring.
    pub fn joined_by(ring: &Ring, opened: Opened<'p>, pins: &'p dyn PinSources) -> Self {
        let mut crew = Self::of(ring, pins);
        crew.opened.insert(opened.name.clone(), opened);
        crew
    }

    /// Leaves devices behind: nothing is asked of them.
    pub fn leave(&mut self, devices: &[String]) {
        self.left.extend_from_slice(devices);
    }

    /// The device called `id`, open.
    pub fn device(&mut self, id: &str) -> Result<&mut Opened<'p>, Error> {
        if !self.opened.contains_key(id) {
            let record = self.records.iter().find(|record| record.id == id);
            let record = record.ok_or_else(|| Error::NoSuchDevice(id.to_owned()))?;
            let opened = Opened::recorded(record, self.pins.of(id))?;
            self.opened.insert(id.to_owned(), opened);
        }
        Ok(self.opened.get_mut(id).expect("opened just now"))
    }

    /// Does `work` on the first device that holds `generation` and can; says which ones it passed over.
    ///
    /// Error: that of the first one, where none can. A wrong PIN is never passed over: somebody typed it.
    pub fn any<T>(
        &mut self,
        generation: &Generation,
        tell: &mut Tell<'_>,
        mut work: impl FnMut(&mut Opened<'p>, &Seal, &mut Tell<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut first = None;
        for id in self.names() {
            if let Some(done) = self.attempt(generation, &id, &mut first, tell, &mut work)? {
                return Ok(done);
            }
        }
        Err(first.unwrap_or(Error::NowhereToBeHad(generation.number)))
    }

    /// Does `work` on the first device that holds `generation`, lets it out, and can.
    pub fn any_that_lets_out<T>(
        &mut self,
        generation: &Generation,
        tell: &mut Tell<'_>,
        work: impl FnMut(&mut Opened<'p>, &Seal, &mut Tell<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut leaving = generation.clone();
        leaving.seals.retain(|held| !held.seal.export_part.is_empty());
        if !generation.seals.is_empty() && !generation.can_leave() {
            return Err(Error::NothingLetsOut(generation.number));
        }
        self.any(&leaving, tell, work)
    }

    /// Does `work` on every device that holds `generation` and can: one at least.
    pub fn each(
        &mut self,
        generation: &Generation,
        tell: &mut Tell<'_>,
        mut work: impl FnMut(&mut Opened<'p>, &Seal, &mut Tell<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut first, mut done) = (None, false);
        for id in self.names() {
            done |= self.attempt(generation, &id, &mut first, tell, &mut work)?.is_some();
        }
        if done { Ok(()) } else { Err(first.unwrap_or(Error::NowhereToBeHad(generation.number))) }
    }

    fn names(&self) -> Vec<String> {
        let names = self.records.iter().map(|record| record.id.clone());
        names.filter(|id| !self.left.contains(id)).collect()
    }

    /// None where the device does not hold the generation, or was passed over; `first` is the first reason for that.
    fn attempt<T>(
        &mut self,
        generation: &Generation,
        id: &str,
        first: &mut Option<Error>,
        tell: &mut Tell<'_>,
        work: &mut impl FnMut(&mut Opened<'p>, &Seal, &mut Tell<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let Some(seal) = generation.seal_on(id) else { return Ok(None) };
        if let Some(fault) = self.absent.get(id) {
            first.get_or_insert_with(|| Error::Device { device: id.to_owned(), source: fault.clone().into() });
            return Ok(None);
        }
        match self.device(id).and_then(|opened| work(opened, seal, tell)) {
            Err(Error::Device { device, source }) if may_be_passed_over(&source.fault) => {
                if generation.seals.len() > 1 {
                    tell(Step::PassedOver { device: device.clone(), because: source.to_string() });
                }
                if is_of_the_device(&source.fault) {
                    self.absent.insert(id.to_owned(), source.fault.clone());
                }
                first.get_or_insert(Error::Device { device, source });
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    /// Shows that every generation that is, or was, active is served: some device gives its id.
    pub fn prove_service(&mut self, ring: &Ring, tell: &mut Tell<'_>) -> Result<(), Error> {
        for generation in ring.usable() {
            let (found, device) = self.any(generation, tell, |opened, seal, _| {
                let found = Source::sealed(opened.device.as_mut(), &seal.use_part, generation.id)
                    .and_then(|mut source| source.id());
                Ok((found.map_err(opened.failed())?, opened.name.clone()))
            })?;
            if found != generation.id {
                let place = format!("{device} gives another one");
                return Err(Error::ProofFailed { generation: generation.to_string(), place });
            }
            tell(Step::GenerationServed { number: generation.number, id: generation.id, device });
        }
        Ok(())
    }

    /// What guards the ring's seals on a device, and so shall guard a new one.
    pub fn guards_in_use(&mut self, ring: &Ring, id: &str) -> Result<Guards, Error> {
        Ok(Guards { pin: self.pin_in_use(ring, id)?, bound: ring.bound(id) })
    }

    /// The PIN that guards the ring's seals on a device, proved on one of them before it is set on a new one; none where
    /// none does.
    pub fn pin_in_use(&mut self, ring: &Ring, id: &str) -> Result<Option<Pin>, Error> {
        let held = ring.active().filter(|generation| generation.seal_on(id).is_some());
        let held = held.or_else(|| ring.usable().filter(|generation| generation.seal_on(id).is_some()).last());
        let Some((generation, seal)) = held.and_then(|held| Some((held, held.seal_on(id)?))) else { return Ok(None) };
        let pins = self.pins;
        let opened = self.device(id)?;
        Source::sealed(opened.device.as_mut(), &seal.use_part, generation.id)
            .and_then(|mut source| source.id())
            .map_err(opened.failed())?;
        if !seal.use_part.0.guard.has_own_pin() {
            return Ok(None);
        }
        // The source has just given it to the device, and gives the same again.
        let request = PinRequest { device: id.to_owned(), kind: Kind::Tpm, tries_left: None };
        pins.of(id).pin(&request).map(Some).map_err(opened.failed())
    }
}

/// Whether another device may do instead of one that fails so. All but a wrong PIN, which cost a try: whoever gave it has to
/// know.
pub fn may_be_passed_over(fault: &Fault) -> bool {
    match fault {
        Fault::WrongPin { .. } => false,
        Fault::Unreachable(_)
        | Fault::Busy(_)
        | Fault::TimedOut { .. }
        | Fault::NotThisDevice(_)
        | Fault::Cleared(_)
        | Fault::RootRemoved(_)
        | Fault::SwitchedOff(_)
        | Fault::Untrusted(_)
        | Fault::PinMissing { .. }
        | Fault::PadLeft { .. }
        | Fault::PinForm { .. }
        | Fault::InUse(_)
        | Fault::PinSource(_)
        | Fault::PinRefusedBefore { .. }
        | Fault::Ambiguous(_)
        | Fault::LastTry { .. }
        | Fault::LockedOut { .. }
        | Fault::PolicyNotMet(_)
        | Fault::PcrsChanged(_)
        | Fault::Unsigned(_)
        | Fault::Missing(_)
        | Fault::WriteProtected(_)
        | Fault::NoPermission { .. }
        | Fault::OtherSecret { .. }
        | Fault::Damaged(_)
        | Fault::Failed(_) => true,
    }
}

/// Whether a fault is the device's, whatever is asked of it, and not that of one seal.
fn is_of_the_device(fault: &Fault) -> bool {
    match fault {
        Fault::Unreachable(_)
        | Fault::Busy(_)
        | Fault::TimedOut { .. }
        | Fault::Cleared(_)
        | Fault::RootRemoved(_)
        | Fault::SwitchedOff(_)
        | Fault::Untrusted(_)
        | Fault::PinMissing { .. }
        | Fault::PadLeft { .. }
        | Fault::PinForm { .. }
        | Fault::InUse(_)
        | Fault::PinSource(_)
        | Fault::PinRefusedBefore { .. }
        | Fault::Ambiguous(_)
        | Fault::WrongPin { .. }
        | Fault::LastTry { .. }
        | Fault::LockedOut { .. }
        | Fault::Missing(_)
        | Fault::WriteProtected(_)
        | Fault::NoPermission { .. } => true,
        Fault::NotThisDevice(_)
        | Fault::PolicyNotMet(_)
        | Fault::PcrsChanged(_)
        | Fault::Unsigned(_)
        | Fault::OtherSecret { .. }
        | Fault::Damaged(_)
        | Fault::Failed(_) => false,
    }
}

/// What looking at a ring's devices has shown; none: it can't serve now. Others were not looked at.
#[derive(Debug, Default)]
pub struct Looks(BTreeMap<String, Option<Description>>);

impl Looks {
    /// At one of them.
    pub fn at(id: &str, description: Description) -> Self {
        Self(BTreeMap::from([(id.to_owned(), Some(description))]))
    }

    /// And at another.
    pub fn add(&mut self, id: &str, description: Description) {
        self.0.insert(id.to_owned(), Some(description));
    }

    pub fn is_away(&self, id: &str) -> bool {
        matches!(self.0.get(id), Some(None))
    }

    pub fn of(&self, id: &str) -> Option<&Description> {
        self.0.get(id)?.as_ref()
    }
}

/// The devices that a ceremony needs all of: each is looked at, without a PIN. Those of `leave` are left behind.
pub fn muster(ring: &Ring, leave: &[String]) -> Result<(Vec<DeviceRecord>, Looks), Error> {
    for id in leave {
        if ring.in_service().all(|record| record.id != *id) {
            return Err(Error::NoSuchDevice(id.clone()));
        }
    }
    let mut looks = Looks(leave.iter().map(|id| (id.clone(), None)).collect());
    let mut mustered = Vec::new();
    for record in ring.in_service().filter(|record| !leave.contains(&record.id)) {
        let description = look_at(ring, record).map_err(|error| match error {
            Error::Device { device, source } if ring.in_service().count() > leave.len() + 1 => {
                Error::Absent { device, source }
            }
            error => error,
        })?;
        if !description.lacks.is_empty() {
            return Err(Error::Unfit { device: record.id.clone(), lacks: description.lacks });
        }
        looks.0.insert(record.id.clone(), Some(description));
        mustered.push(record.clone());
    }
    if mustered.is_empty() { Err(Error::NobodyLeft) } else { Ok((mustered, looks)) }
}

/// Looks at the ring's devices, without a PIN, until one would do. Error: that of the first.
pub fn look_for_one(ring: &Ring) -> Result<Looks, Error> {
    let mut first = None;
    let mut looks = Looks::default();
    for record in ring.in_service() {
        match look_at(ring, record) {
            Ok(description) => {
                looks.0.insert(record.id.clone(), Some(description));
                return Ok(looks);
            }
            Err(error) => {
                looks.0.insert(record.id.clone(), None);
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or(Error::NobodyLeft))
}

/// Looks at a device of the ring, without a PIN: reachable, the one that was pinned, and not locked where the ring's secret
/// needs a PIN.
pub fn look_at(ring: &Ring, record: &DeviceRecord) -> Result<Description, Error> {
    let mut opened = Opened::recorded(record, &NoPin)?;
    let description = opened.device.describe().map_err(opened.failed())?;
    if let Some(Tries { left: Some(0), recovery_seconds, .. }) = description.tries
        && ring.asks_for_pin(&record.id)
    {
        let wait_seconds = recovery_seconds.map(u64::from);
        let locked = Fault::LockedOut { device: description.name(), wait_seconds };
        return Err(opened.failed()(DeviceError::from(locked)));
    }
    Ok(description)
}
