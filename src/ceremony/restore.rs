//! Restore: the same secret onto this server's device, out of a backup.
//!
//! On a fresh server it founds the ring; on a ring of the same system it adds what is missing; with `--replace` it founds
//! a new ring beside the one that is there, which gives way only when the new one is proved.

mod perform;

use std::path::{Path, PathBuf};

use super::crew::{Looks, muster};
use super::guards::{SealOptions, foresee};
use super::init::pinning;
use super::wanted::PinsOf;
use super::{Error, Place, Plan, Step, look_at_new, open_backup, record_of};
use crate::backup::{Contents, Entry, Preamble};
use crate::device::{Description, DeviceUri, Kind};
use crate::ring::{BackupRecord, DeviceRecord, Generation, Ring, Role, State};
use crate::secret::Passphrase;
use crate::store::{Current, Store};
use crate::text::generations;

/// What the admin chose.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// None: the ring's device.
    pub device: Option<DeviceUri>,
    pub member: bool,
    pub replace: bool,
    pub activate: bool,
    /// For a device that is new here.
    pub seal: SealOptions,
    /// Devices of the ring that get no seals of what is added.
    pub leave: Vec<String>,
}

/// A backup to be restored, looked at but not opened.
#[derive(Debug)]
pub struct Restore {
    pub preamble: Preamble,
    place: Place,
    path: PathBuf,
    options: RestoreOptions,
    /// The ring that serves here; none where there is none, or what is there can't be read.
    ring: Option<Ring>,
    ruin: Option<Ruin>,
    onto: Onto,
}

/// A ring that was damaged or lost, and is to be rebuilt.
#[derive(Debug)]
struct Ruin {
    /// What happened to it.
    what: String,
    damaged: bool,
    /// What the history has of it.
    last_good: Option<Ring>,
}

/// Where the generations go.
#[derive(Debug)]
enum Onto {
    /// A device that a new ring is founded on.
    Founded { uri: DeviceUri, device: Box<Description> },
    /// The devices of the ring that is here.
    Ring { devices: Vec<DeviceRecord>, looks: Looks },
}

/// A backup that was opened, and what restoring it will change.
pub struct RestorePlan {
    pub plan: Plan,
    from: Restore,
    contents: Contents,
    record: BackupRecord,
}

impl Restore {
    /// Looks at the file, the ring and the device: before anybody is asked for a passphrase. Error:
    /// [`Error::NoDevice`] where the server has no ring and no device was chosen.
    pub fn new(place: &Place, path: &Path, options: RestoreOptions) -> Result<Self, Error> {
        let file = crate::durable::read(path, crate::backup::MAX_FILE)?;
        let preamble = crate::backup::look(&file).map_err(Error::backup(path))?;
        let (ring, ruin) = match Store::check_place(&place.directory)? {
            Some(store) => found_here(&store)?,
            None => (None, None),
        };
        let found = |uri: DeviceUri| -> Result<Onto, Error> {
            options.seal.fit(uri.kind())?;
            let device = Box::new(look_at_new("the device", &uri)?);
            if let Some(bound) = &options.seal.bound {
                foresee(place, (&Ring::device_name(uri.kind(), &[]), &uri, None), &device, bound)?;
            }
            Ok(Onto::Founded { uri, device })
        };
        let last_good = ruin.as_ref().and_then(|ruin| ruin.last_good.as_ref());
        let onto = match (&ring, &options.device) {
            (None, None) => {
                let first = last_good.and_then(|ring| ring.devices.first());
                found(first.map(|record| record.uri.clone()).ok_or(Error::NoDevice)?)?
            }
            (None, Some(uri)) => found(uri.clone())?,
            (Some(ring), asked) if options.replace => {
                let first = ring.devices.first().map(|record| record.uri.clone());
                found(asked.clone().or(first).ok_or(Error::NoDevice)?)?
            }
            (Some(_), _) if options.seal != SealOptions::default() => return Err(Error::PinOnRing),
            (Some(ring), asked) => {
                if let Some(asked) = asked.as_ref().filter(|asked| ring.in_service().all(|one| one.uri != **asked)) {
                    let theirs: Vec<String> = ring.in_service().map(|record| record.uri.to_string()).collect();
                    return Err(Error::OtherDevice { theirs: theirs.join(", "), asked: asked.to_string() });
                }
                let (devices, looks) = muster(ring, &options.leave)?;
                Onto::Ring { devices, looks }
            }
        };
        Ok(Self { preamble, place: place.clone(), path: path.to_owned(), options, ring, ruin, onto })
    }

    /// Opens the backup, and states what restoring it will change.
    pub fn open(self, passphrase: &Passphrase) -> Result<RestorePlan, Error> {
        let (contents, agrees, file) = open_backup(&self.path, passphrase)?;
        let record = record_of(&self.path, &file, &contents, self.preamble.work_factor);
        let mut plan = Plan::new("restore", &contents.system.name);
        if !agrees {
            plan.warning("preamble-differs", Step::PreambleDiffers {}.to_string());
        }
        match (&self.ring, &self.onto) {
            (Some(ring), Onto::Ring { devices, looks }) => {
                self.state_addition(&mut plan, ring, &contents)?;
                let pins = PinsOf::none(ring, looks);
                plan.wants_pins(devices.iter().fold(pins, |pins, record| pins.of(&record.id)));
            }
            (None, Onto::Ring { .. }) => return Err(Error::NoDevice),
            (_, Onto::Founded { uri, device }) => {
                self.state_ruin(&mut plan, &contents)?;
                self.state_founding(&mut plan, uri, device, &contents);
                if let Some(bound) = &self.options.seal.bound {
                    plan.binds(&self.place, &Ring::device_name(uri.kind(), &[]), bound);
                }
                let id = Ring::device_name(uri.kind(), &[]);
                if !device.exports {
                    let text = format!("{id} lets no secret out: what is restored onto it serves, and that is all");
                    plan.warning("nothing-lets-out", text);
                }
                plan.wants_pin_of_new(&id, uri, device);
                if self.options.seal.with_pin {
                    plan.wants_new_pin(&id);
                }
            }
        }
        plan.wants_passphrase();
        Ok(RestorePlan { plan, from: self, contents, record })
    }

    /// The term of a ring that is founded from the backup: who takes over raises it above all that are known here.
    fn term_after(&self, contents: &Contents) -> u64 {
        let last_good = self.ruin.as_ref().and_then(|ruin| ruin.last_good.as_ref());
        let here = self
            .ring
            .as_ref()
            .or(last_good)
            .filter(|ring| ring.system.id == contents.system.id)
            .map_or(0, |ring| ring.term);
        let known = contents.term.max(here);
        if self.options.member { known } else { known.saturating_add(1) }
    }

    fn state_addition(&self, plan: &mut Plan, ring: &Ring, contents: &Contents) -> Result<(), Error> {
        if ring.system.id != contents.system.id {
            return Err(self.other_system(ring, contents));
        }
        for entry in &contents.generations {
            if ring.by_id(entry.id).is_none() {
                ring.may_admit(entry.number, entry.id)?;
            }
        }
        let missing: Vec<u32> = missing(ring, contents).map(|entry| entry.number).collect();
        for id in &self.options.leave {
            plan.warning("left-behind", format!("{id} is left behind: `device repair {id}` brings it up to date"));
        }
        match missing.as_slice() {
            [] => plan.change("nothing-missing", "every generation of the backup is in the ring already"),
            _ => plan.change("generations-added", format!("added to the ring: {}", generations(&missing))),
        }
        let backed_up = contents.entry(contents.active).and_then(|entry| ring.by_id(entry.id));
        let is_active = backed_up.is_some_and(|generation| generation.state == State::Active);
        if self.options.activate && !is_active {
            plan.change("activated", format!("generation {} becomes active", contents.active));
            plan.warning("derive-changes", "from then on, `derive` without --generation gives other keys");
        } else if let Some(active) = ring.active()
            && !is_active
        {
            plan.warning("active-stays", format!("{active} stays active; the backup's is {}", contents.active));
        }
        if contents.term < ring.term {
            let text = format!("the backup is of term {}; this ring is at term {}", contents.term, ring.term);
            plan.warning("older-term", text);
        }
        if contents.term > ring.term {
            let text = format!(
                "the backup is of term {}, this ring at term {}: another server has taken over as master since",
                contents.term, ring.term
            );
            plan.warning("newer-term", text);
        }
        if self.options.member && ring.role == Role::Master {
            plan.change("member", "this server becomes a member: it can't generate any more");
        }
        plan.question = Some("Restore?");
        Ok(())
    }

    fn state_ruin(&self, plan: &mut Plan, contents: &Contents) -> Result<(), Error> {
        let Some(ruin) = &self.ruin else { return Ok(()) };
        plan.change("ring-rebuilt", format!("{}, and is rebuilt from this backup", ruin.what));
        let Some(last) = &ruin.last_good else { return Ok(()) };
        if last.system.id != contents.system.id && !self.options.replace {
            return Err(self.other_system(last, contents));
        }
        let lost: Vec<u32> = not_in(last, contents).map(|generation| generation.number).collect();
        let text = match lost.as_slice() {
            [] => "`strongroom recover` would put back the last good ring of the history instead".to_owned(),
            lost => format!(
                "not in this backup: {}, which the last good ring of the history has: `strongroom recover` puts that back",
                generations(lost)
            ),
        };
        plan.warning("history", text);
        Ok(())
    }

    fn other_system(&self, ours: &Ring, contents: &Contents) -> Error {
        Error::OtherSystem {
            directory: self.place.directory.clone(),
            ours: format!("{} ({})", ours.system.name, ours.system.id),
            theirs: format!("{} ({})", contents.system.name, contents.system.id),
        }
    }

    fn state_founding(&self, plan: &mut Plan, uri: &DeviceUri, device: &Description, contents: &Contents) {
        let (system, numbers) = (&contents.system, contents.numbers());
        let id = Ring::device_name(uri.kind(), &[]);
        if let Some(ring) = &self.ring {
            let directory = self.place.directory.display();
            let held: Vec<u32> = ring.usable().map(|generation| generation.number).collect();
            let text = format!(
                "the ring of system {} ({}) in {directory}, with {}, is replaced",
                ring.system.name,
                ring.system.id,
                generations(&held)
            );
            plan.change("ring-replaced", text);
            let gone: Vec<&str> =
                ring.devices.iter().filter(|record| record.uri != *uri).map(|record| &*record.id).collect();
            if ring.devices.len() > 1 && !gone.is_empty() {
                let text = format!("the new ring has one device; to have {} again: `device add`", gone.join(", "));
                plan.warning("devices-dropped", text);
            }
            let lost: Vec<u32> = not_in(ring, contents).map(|generation| generation.number).collect();
            if ring.usable().any(Generation::has_pin) && uri.kind() == Kind::Tpm && !self.options.seal.with_pin {
                plan.warning(
                    "pin-dropped",
                    "the ring that is replaced asks for a PIN, the new one will not: see --with-pin",
                );
            }
            let bound = ring.in_service().find_map(|record| ring.bound(&record.id));
            if let (Some(bound), Kind::Tpm, None) = (bound, uri.kind(), &self.options.seal.bound) {
                let text = format!(
                    "the ring that is replaced is bound to {bound}, the new one will not be: see --pcrs and --pcr-public-key"
                );
                plan.warning("pcrs-dropped", text);
            }
            if ring.system.id != system.id {
                plan.warning(
                    "other-system",
                    "what is replaced is ANOTHER system's ring; it is kept aside, and serves nobody any more",
                );
            } else if !lost.is_empty() {
                let text = format!(
                    "not in this backup: {}; the old ring, kept aside, is then all that has them",
                    generations(&lost)
                );
                plan.warning("generations-missing", text);
            }
        }
        let text = format!(
            "system {} ({}) is restored here: {}, active {}",
            system.name,
            system.id,
            generations(&numbers),
            contents.active
        );
        plan.change("system-restored", text);
        plan.change("device-pinned", pinning(&id, uri, device));
        if self.options.member {
            plan.change("member", format!("this server becomes a member; the master is {}", contents.master));
            plan.question = Some("Restore?");
        } else {
            plan.change("master", format!("this server takes over as the master (term {})", self.term_after(contents)));
            if contents.master != self.place.host {
                let text = format!(
                    "if {}, the master when the backup was made, is still in service, there are two: then stop, and use --member",
                    contents.master
                );
                plan.warning("two-masters", text);
            }
            plan.question = Some("Restore, and take over as master?");
        }
    }
}

/// The ring that serves, or what became of it.
fn found_here(store: &Store) -> Result<(Option<Ring>, Option<Ruin>), Error> {
    let directory = store.path().display();
    let ruin = |what: String, damaged: bool| -> Result<(Option<Ring>, Option<Ruin>), Error> {
        Ok((None, Some(Ruin { what, damaged, last_good: store.last_good()? })))
    };
    match store.current()? {
        Current::Nothing => Ok((None, None)),
        Current::Ring(ring) => Ok((Some(*ring), None)),
        Current::Lost => ruin(format!("the ring in {directory} is missing"), false),
        Current::Damaged(why) => ruin(format!("the ring in {directory} is damaged ({why})"), true),
    }
}

/// What the backup has and the ring has not.
fn missing<'c>(ring: &Ring, contents: &'c Contents) -> impl Iterator<Item = &'c Entry> {
    contents.generations.iter().filter(|entry| ring.by_id(entry.id).is_none()).collect::<Vec<_>>().into_iter()
}

/// What the ring has and the backup has not.
fn not_in<'r>(ring: &'r Ring, contents: &'r Contents) -> impl Iterator<Item = &'r Generation> {
    ring.usable().filter(|generation| contents.generations.iter().all(|entry| entry.id != generation.id))
}
