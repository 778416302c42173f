//! Sealing: how a generation gets onto a device, new or out of another one or a backup, and is shown to be there.

use super::crew::Crew;
use super::{Error, Opened, Tell};
use crate::derive::{GenerationId, Source};
use crate::device::{Key, Protection, Seal};
use crate::ring::Generation;
use crate::secret::{KEY_BYTES, Kek, random_array};
use crate::wrap::WrappedSecret;

/// Takes a secret into a device, seals it, and shows that both parts of the seal hold the generation `id`.
pub fn take_in(
    opened: &mut Opened<'_>,
    wrapped: &WrappedSecret,
    kek: &Kek,
    number: u32,
    id: GenerationId,
    protection: Protection<'_>,
) -> Result<Seal, Error> {
    let seal = opened.device.import(wrapped, kek, protection).map_err(opened.failed())?;
    let found = opened.id_of(Key::Sealed(&seal.use_part))?;
    let failed = |place: &str| {
        let generation = format!("generation {number} ({id})");
        Error::ProofFailed { generation, place: place.to_owned() }
    };
    if found != id {
        return Err(failed("the secret that was taken in has another id"));
    }
    // The part that the next backup will be made from, where there will be one: key wrap gives the same for the same secret
    // and KEK; what the device wraps by the other standard, it opens itself.
    if !seal.export_part.is_empty() {
        let exported = opened.device.export(&seal.export_part, kek).map_err(opened.failed())?;
        let is_same = match exported.algorithm == wrapped.algorithm {
            true => exported == *wrapped,
            false => opened.id_of(Key::Wrapped(&exported, kek))? == id,
        };
        if !is_same {
            return Err(failed("the device exports another secret than it took in"));
        }
    }
    Ok(seal)
}

/// Brings a generation from whichever device holds it onto the device `id`, and proves that both use the same secret: they
/// answer a fresh challenge alike.
pub fn bring(
    crew: &mut Crew<'_>,
    generation: &Generation,
    id: &str,
    protection: Protection<'_>,
    tell: &mut Tell<'_>,
) -> Result<Seal, Error> {
    let kek = Kek::random();
    let challenge = random_array::<KEY_BYTES>();
    let (wrapped, theirs) = crew.any_that_lets_out(generation, tell, |opened, seal, _| {
        let wrapped = opened.device.export(&seal.export_part, &kek).map_err(opened.failed())?;
        let proof = Source::sealed(opened.device.as_mut(), &seal.use_part, generation.id)
            .and_then(|mut source| source.proof(&challenge));
        Ok((wrapped, proof.map_err(opened.failed())?))
    })?;
    let opened = crew.device(id)?;
    let seal = take_in(opened, &wrapped, &kek, generation.number, generation.id, protection)?;
    let ours = Source::sealed(opened.device.as_mut(), &seal.use_part, generation.id)
        .and_then(|mut source| source.proof(&challenge));
    if !ours.map_err(opened.failed())?.matches(&theirs) {
        let place = format!("{id} answers differently from the device that it came from");
        return Err(Error::ProofFailed { generation: generation.to_string(), place });
    }
    Ok(seal)
}
