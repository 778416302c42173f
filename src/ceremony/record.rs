//! What a ceremony writes into the log: its intent once it has the ring's lock and before anything changes, and that it was
//! done, after the commit and before success is reported. That it failed is written at the edge, where errors have names.

use super::crew::Crew;
use super::{Error, Place, Step, Tell};
use crate::audit::{AuditError, Counting, Voucher, What};
use crate::derive::{GenerationId, Source};
use crate::device::DeviceError;
use crate::ring::Ring;
use crate::store::{Locked, Store};

/// Writes the intent, and tells what earlier runs left open. An error stops the ceremony.
pub fn begin(place: &Place, locked: &Locked<'_>, ring: Option<&Ring>, tell: &mut Tell<'_>) -> Result<(), Error> {
    for closed in place.record.begin(locked, ring.map(devices).unwrap_or_default())? {
        tell(Step::IntentClosed { entry: closed.n, ceremony: closed.what.name() });
    }
    Ok(())
}

/// Writes that it was done to `generations`. Vouched for by the ring's active generation, on the first device that serves,
/// which counts it too if it can; where none serves, by the next entry.
pub fn done(
    place: &Place,
    store: &Store,
    ring: &Ring,
    generations: &[GenerationId],
    crew: &mut Crew<'_>,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    let Some(active) = ring.active() else {
        return Ok(place.record.done(store, generations.to_vec(), devices(ring), None).map(drop)?);
    };
    let mut written = None;
    let vouched = crew.any(active, tell, |opened, seal, _| {
        let key = Source::sealed(opened.device.as_mut(), &seal.use_part, active.id)
            .and_then(|mut source| source.audit_key())
            .map_err(opened.failed())?;
        let root = ring.device(&opened.name).and_then(|record| record.root());
        let counting = root.zip(opened.device.counter()).map(|(root, counter)| Counting {
            counter,
            fingerprint: root.fingerprint(),
            system: ring.system.id,
            begins: place.record.founds(),
        });
        let voucher = Voucher { generation: active.id, key, counting };
        written = Some(place.record.done(store, generations.to_vec(), devices(ring), Some(voucher)));
        Ok(opened.name.clone())
    });
    match (written, vouched) {
        (Some(written), Ok(device)) => tell_uncounted(written?, place, device, tell),
        // Only the voucher is missing: what was done is done.
        (_, Ok(_) | Err(_)) => drop(place.record.done(store, generations.to_vec(), devices(ring), None)?),
    }
    Ok(())
}

fn devices(ring: &Ring) -> Vec<String> {
    ring.devices.iter().map(|device| device.id.clone()).collect()
}

fn tell_uncounted(uncounted: Option<DeviceError>, place: &Place, device: String, tell: &mut Tell<'_>) {
    if let Some(error) = uncounted
        && (place.record.founds() || place.record.what() == Some(What::DeviceAdd))
    {
        tell(Step::NotCounted { device, because: error.to_string() });
    }
}

impl From<AuditError> for Error {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(error) => Self::Store(error),
            error => Self::Audit(error),
        }
    }
}
