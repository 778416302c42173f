//! Examine: what the log is worth. Changes nothing, in the ring or in the log.

use super::crew::Crew;
use super::{Error, Opened, Place, Tell};
use crate::audit::Chain;
use crate::audit::verify::{Counted, Findings, Keys, Reading, judge};
use crate::derive::Source;
use crate::device::{Fault, PinSources, Root, UsePart};
use crate::ring::{DeviceRecord, Generation, Ring};
use crate::secret::DerivedKey;
use crate::store::Store;

/// A log that was read, and the rings whose devices can be asked about it.
pub struct Examination {
    store: Store,
    chain: Chain,
    /// How long the log was then.
    length: usize,
    ring: Ring,
    /// Devices that are not asked.
    left: Vec<String>,
    /// Rings of the same system that were put aside: their generations have vouched, and may be in no backup that is here.
    replaced: Vec<Ring>,
}

impl Examination {
    /// Reads the log. Asks for nothing.
    pub fn new(place: &Place) -> Result<Self, Error> {
        let store = Store::open(&place.directory)?;
        let ring = store.ring()?;
        let mut replaced = store.replaced()?;
        replaced.retain(|former| former.system.id == ring.system.id);
        let log = store.read_log()?.unwrap_or_default();
        Ok(Self { chain: Chain::read(&log), length: log.len(), left: Vec::new(), store, ring, replaced })
    }

    /// Leaves devices out that are known not to answer: each would cost a deadline.
    pub fn without(self, left: Vec<String>) -> Self {
        Self { left, ..self }
    }

    /// The ring that it is the log of.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Asks devices for audit keys and counters, and judges. The error, where there is one beside the findings, is that of the
    /// first generation that vouched and could not be asked: not all could be checked. A wrong PIN ends it.
    pub fn execute(mut self, pins: &dyn PinSources, tell: &mut Tell<'_>) -> Result<(Findings, Option<Error>), Error> {
        let mut crew = Crew::of(&self.ring, pins);
        crew.leave(&self.left);
        let (mut keys, incomplete) = self.keys(&mut crew, tell)?;
        self.former_keys(&mut crew, &mut keys);
        let readings: Vec<Reading> = self
            .ring
            .in_service()
            .filter(|record| matches!(record.root(), Some(Root::Tpm { .. })))
            .map(|record| self.read(&mut crew, record))
            .collect();
        self.catch_up()?;
        Ok((judge(&self.chain, &keys, &readings), incomplete))
    }

    /// Reads what was added while the devices were asked. Nobody keeps a ceremony from ending in between: without its entries,
    /// a counter would seem to be ahead of a log that was cut off. The other way round, one ahead is what the log may be.
    fn catch_up(&mut self) -> Result<(), Error> {
        let log = self.store.read_log()?.unwrap_or_default();
        if log.len() != self.length {
            self.chain = Chain::read(&log);
        }
        Ok(())
    }

    fn has_vouched(&self, generation: &Generation) -> bool {
        self.chain.links.iter().any(|link| link.entry.vouched == Some(generation.id))
    }

    fn keys(&self, crew: &mut Crew<'_>, tell: &mut Tell<'_>) -> Result<(Keys, Option<Error>), Error> {
        let (mut keys, mut incomplete) = (Keys::new(), None);
        for generation in self.ring.usable().filter(|generation| self.has_vouched(generation)) {
            let key = crew.any(generation, tell, |opened, seal, _| audit_key(opened, &seal.use_part, generation));
            match key {
                Err(error @ (Error::Device { .. } | Error::NowhereToBeHad(_))) if !is_wrong_pin(&error) => {
                    keys.insert(generation.id, None);
                    incomplete.get_or_insert(error);
                }
                key => drop(keys.insert(generation.id, Some(key?))),
            }
        }
        Ok((keys, incomplete))
    }

    /// What a replaced ring had on a device that is in service still. Only where no PIN guards it: it may have been another.
    fn former_keys(&self, crew: &mut Crew<'_>, keys: &mut Keys) {
        for former in &self.replaced {
            let vouched = |generation: &&Generation| self.has_vouched(generation) && !generation.has_pin();
            for generation in former.usable().filter(vouched) {
                for seal in &generation.seals {
                    let root = former.device(&seal.device).and_then(DeviceRecord::root);
                    let same = self.ring.in_service().find(|record| root.is_some() && record.root() == root);
                    if keys.contains_key(&generation.id) {
                        break;
                    }
                    let Some(record) = same else { continue };
                    let key =
                        crew.device(&record.id).and_then(|opened| audit_key(opened, &seal.seal.use_part, generation));
                    // A seal that does not open is one that anybody can have written.
                    keys.extend(key.ok().map(|key| (generation.id, Some(key))));
                }
            }
        }
    }

    fn read(&self, crew: &mut Crew<'_>, record: &DeviceRecord) -> Reading {
        let value = match self.left.contains(&record.id) {
            true => Ok(Counted::Unread("it does not answer".to_owned())),
            false => crew.device(&record.id).and_then(|opened| {
                let failed = opened.failed();
                let value = opened.device.counter().map_or(Ok(None), |counter| counter.read(self.ring.system.id));
                Ok(value.map_err(failed)?.map_or(Counted::Nothing, Counted::Value))
            }),
        };
        let counted = value.unwrap_or_else(|error| Counted::Unread(error.to_string()));
        let fingerprint = record.root().map(Root::fingerprint).unwrap_or_default();
        Reading { device: record.id.clone(), fingerprint, counted }
    }
}

fn is_wrong_pin(error: &Error) -> bool {
    matches!(error, Error::Device { source, .. } if matches!(source.fault, Fault::WrongPin { .. }))
}

/// The key by which a generation vouches, from its seal on a device. Proved: a seal in a file says what it likes.
fn audit_key(opened: &mut Opened<'_>, part: &UsePart, generation: &Generation) -> Result<DerivedKey, Error> {
    let key = Source::sealed(opened.device.as_mut(), part, generation.id).and_then(|mut source| {
        let found = source.id()?;
        match found == generation.id {
            true => source.audit_key(),
            false => Err(Fault::OtherSecret { expected: generation.id, found }.into()),
        }
    });
    key.map_err(opened.failed())
}
