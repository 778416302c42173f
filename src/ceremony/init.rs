//! Init: a new system, its first secret, and its first backup.

use std::path::Path;

use uuid::Uuid;

use super::crew::Crew;
use super::guards::{Guards, SealOptions, foresee};
use super::proof::Target;
use super::{Answers, Error, Opened, Place, Plan, Step, Tell, generate, look_at_new, now, proof, record};
use crate::device::{BoundTo, Description, DeviceUri, Fault, Intent, Kind, PinSource, PinSources, Root};
use crate::ring::{Anchor, DeviceRecord, Generation, Ring, Role, System, check_name};
use crate::store::{Current, Locked, Store, StoreError};

/// The number of a system's first generation.
const FIRST: u32 = 1;

/// A system to be made.
#[derive(Debug)]
pub struct InitPlan {
    pub plan: Plan,
    place: Place,
    name: String,
    uri: DeviceUri,
    device_id: String,
    needs_pin: bool,
    target: Target,
    bound: Option<BoundTo>,
}

impl InitPlan {
    /// Looks whether a system can be made here with its backup there, whatever the device: before any is looked for. Gives
    /// what a set-up that was cut off has left.
    pub fn check_place(place: &Place, target: &Path, work_factor: u8) -> Result<Option<Ring>, Error> {
        let left = match check_free(place)? {
            Some(store) => store.founding()?,
            None => None,
        };
        Target::check(target, work_factor)?;
        Ok(left)
    }

    /// What the device will be called, its URI, and whether it asks for a PIN before it does anything.
    pub fn device(&self) -> (String, DeviceUri, bool) {
        (self.device_id.clone(), self.uri.clone(), self.needs_pin)
    }

    /// Looks whether a system can be made here, on that device, with its backup there.
    pub fn new(
        place: &Place,
        name: &str,
        uri: &DeviceUri,
        options: &SealOptions,
        target: &Path,
        work_factor: u8,
    ) -> Result<Self, Error> {
        check_name(name).map_err(Error::Name)?;
        let mut plan = Plan::new("init", name);
        if let Some(left) = Self::check_place(place, target, work_factor)? {
            let text =
                format!("the unfinished set-up of system {}, left by an earlier run, is dropped", left.system.name);
            plan.change("founding-dropped", text);
        }
        options.fit(uri.kind())?;
        let id = Ring::device_name(uri.kind(), &[]);
        let device = look_at_new(&id, uri)?;
        if !device.exports {
            // The last of its notes says so.
            let why = device.notes.last().cloned().unwrap_or_default();
            return Err(Error::LetsNothingOut { device: id, why });
        }

        plan.change("system-made", format!("system {name} is made; this server is its master"));
        plan.change("device-pinned", pinning(&id, uri, &device));
        plan.change("generation-made", format!("generation 1 is made inside {id} and becomes active"));
        plan.change("backup-written", format!("its backup is written to {}", target.display()));
        plan.wants_pin_of_new(&id, uri, &device);
        if let Some(bound) = &options.bound {
            foresee(place, (&id, uri, None), &device, bound)?;
            plan.binds(place, &id, bound);
        }
        if options.with_pin {
            plan.wants_new_pin(&id);
        }
        plan.wants_new_passphrase();
        Ok(Self {
            plan,
            place: place.clone(),
            name: name.to_owned(),
            uri: uri.clone(),
            device_id: id,
            needs_pin: device.needs_pin,
            target: Target { path: target.to_owned(), work_factor },
            bound: options.bound.clone(),
        })
    }

    /// Makes it. The ring becomes the ring only when the backup is proved.
    pub fn execute(self, answers: &Answers, pins: &dyn PinSources, tell: &mut Tell<'_>) -> Result<Generation, Error> {
        let store = Store::create(&self.place.directory)?;
        let locked = store.lock()?;
        check_free(&self.place)?;
        record::begin(&self.place, &locked, None, tell)?;
        self.place.record.found();
        let is_first = store.founding()?.is_none();
        let intent = intend(&store, &self.uri, None, tell)?;
        let record = DeviceRecord {
            id: self.device_id.clone(),
            uri: self.uri.clone(),
            added: now(),
            anchor: Anchor::Intended(intent),
            unbound: None,
        };
        let system = System { id: Uuid::new_v4(), name: self.name.clone() };
        let mut ring = Ring::founding(system, 1, Role::Master, self.place.host.clone(), record);
        locked.commit(&mut ring)?;

        let opened = pin_down(&mut ring, &locked, is_first, pins.of(&self.device_id), tell)?;
        // Its self-test shows more than it says.
        if !ring.devices[0].root().is_none_or(Root::lets_out) {
            return Err(give_up(&ring, opened, &locked)?);
        }
        let mut crew = Crew::joined_by(&ring, opened, pins);
        let team = [(ring.devices[0].clone(), Guards::chosen(answers.new_pin.as_ref(), self.bound.as_ref()))];
        generate::pend(&mut ring, FIRST, &team, &mut crew, &self.place, tell)?;
        locked.commit(&mut ring)?;
        let contents = proof::export(&ring, FIRST, &mut crew, answers, &self.place, tell);
        let proved = contents.and_then(|contents| {
            proof::write_and_prove(contents, &self.target, &ring, Some(FIRST), &mut crew, answers, tell)
        });
        match proved {
            Ok(proved) => generate::activate(&mut ring, FIRST, proved, &locked, &mut crew, &self.place, tell),
            // The ring stays without its generation: the next init uses the same wrapping keys instead of making more.
            Err(error) => Err(generate::undo(&mut ring, &locked, error)),
        }
    }
}

/// A system's first device has to let its secrets out: else there would be no backup. Takes back what was made on one that
/// does not, and gives the error to end with.
fn give_up(ring: &Ring, mut opened: Opened<'_>, locked: &Locked<'_>) -> Result<Error, Error> {
    if let Some(intent) = ring.devices[0].anchor.intent() {
        opened.device.retire(&intent).map_err(opened.failed())?;
    }
    locked.abandon_founding()?;
    let why = "it lets none out, as its self-test has shown".to_owned();
    Ok(Error::LetsNothingOut { device: opened.name, why })
}

/// What pinning a device will mean, for the plan.
pub(super) fn pinning(id: &str, uri: &DeviceUri, device: &Description) -> String {
    let what = match (&uri.kind(), &device.root) {
        (Kind::Tpm, Some(_)) => "its storage root key is pinned",
        (Kind::Tpm, None) => "it has no storage root key yet: one is made and pinned",
        (Kind::Pkcs11, _) if !device.exports => "it is pinned, and secrets are kept on it",
        (Kind::Pkcs11, _) => "two wrapping keys are made on it and pinned",
    };
    format!("{id} is {} ({uri}); {what}", device.name())
}

/// Opens the founding ring's device, makes what the seals hang from, and pins it. Gives the device, open.
///
/// Where nothing can have been made, since the device was not reached or took no PIN, a record of what was meant to be
/// made is not left behind either; `is_first`: no earlier run left one.
pub(super) fn pin_down<'p>(
    ring: &mut Ring,
    locked: &Locked<'_>,
    is_first: bool,
    pins: &'p dyn PinSource,
    tell: &mut Tell<'_>,
) -> Result<Opened<'p>, Error> {
    let record = ring.devices[0].clone();
    let Anchor::Intended(intent) = &record.anchor else {
        return Opened::recorded(&record, pins);
    };
    let provisioned = Opened::recorded(&record, pins).and_then(|mut opened| {
        let root = opened.device.provision(intent).map_err(opened.failed())?;
        Ok((opened, root))
    });
    let (opened, root) = match provisioned {
        Ok(provisioned) => provisioned,
        Err(error) => {
            if is_first && nothing_was_made(&error) {
                locked.abandon_founding()?;
            }
            return Err(error);
        }
    };
    tell_pinned(&record.id, &root, tell);
    ring.devices[0].anchor = Anchor::Pinned(root);
    locked.commit(ring)?;
    Ok(opened)
}

/// Tells which device it is, and how it does what it does.
pub(super) fn tell_pinned(device: &str, root: &Root, tell: &mut Tell<'_>) {
    tell(Step::RootPinned { device: device.to_owned(), fingerprint: root.fingerprint() });
    if let Some(ways) = root.ways() {
        tell(Step::WaysFound { device: device.to_owned(), ways });
    }
}

pub(super) fn nothing_was_made(error: &Error) -> bool {
    let Error::Device { source, .. } = error else { return false };
    matches!(
        source.fault,
        Fault::WrongPin { .. }
            | Fault::PinMissing { .. }
            | Fault::PinSource(_)
            | Fault::PinRefusedBefore { .. }
            | Fault::LastTry { .. }
            | Fault::LockedOut { .. }
            | Fault::NoPermission { .. }
    )
}

/// The intent for the device at `uri`: the wrapping keys that are on it already, made for a founding that was cut off or
/// for the ring that is replaced, or else new ones.
pub(super) fn intend(
    store: &Store,
    uri: &DeviceUri,
    former: Option<&Ring>,
    tell: &mut Tell<'_>,
) -> Result<Intent, Error> {
    let left = store.founding()?;
    let known = left.iter().chain(former).flat_map(|ring| &ring.devices).filter(|record| record.uri == *uri);
    let mut intents = known.filter_map(|record| record.anchor.intent());
    let intent = intents.next().unwrap_or_else(Intent::random);
    if let Some(left) = left {
        // The next founding takes its place on the disk, in one step: its record of keys is never missing.
        tell(Step::FoundingDropped { system: left.system.name });
    }
    Ok(intent)
}

/// A system is made only where there is none. Gives the store where there is a directory already.
fn check_free(place: &Place) -> Result<Option<Store>, Error> {
    let store = Store::check_place(&place.directory)?;
    let Some(found) = &store else { return Ok(None) };
    match found.current()? {
        Current::Nothing => Ok(store),
        Current::Ring(ring) => Err(Error::RingExists { directory: place.directory.clone(), name: ring.system.name }),
        // One that can be put back is not forgotten for a new one.
        Current::Lost => Err(StoreError::Lost(place.directory.clone()).into()),
        Current::Damaged(source) => Err(StoreError::Ring { path: found.ring_path(), source }.into()),
    }
}
