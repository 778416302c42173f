//! A counter in the TPM's NV memory (TPM 2.0 Part 1, section 37.2.4): it goes up by one, and never down. Its first count gives
//! one more than any counter had that was ever removed from this TPM: so nobody sets it back by making it anew.
//!
//! Its place follows from the system's id, and so does an authPolicy that nothing can satisfy: the Name of the index, which
//! every command to it is bound to, says whose counter it is, and nothing has to be recorded on a disk that others may be able
//! to write. Everybody who reaches the TPM may read and increment it (empty auth value, no lockout). Only the owner removes it.

use sha2::{Digest as _, Sha256};
use tss_esapi::Context;
use tss_esapi::attributes::NvIndexAttributesBuilder;
use tss_esapi::constants::NvIndexType;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Digest, NvPublic, NvPublicBuilder};
use uuid::Uuid;

use super::Tpm;
use super::error::{AUTH_FAIL, BAD_AUTH, HANDLE, answer, told, told_as};
use crate::device::{Counter, DeviceError, Fault};

/// The first of the 65,536 places that counters may have, in the owner's range (TCG Registry of Reserved TPM 2.0 Handles and
/// Localities, section 2.2.2: 0x01800000 to 0x01BFFFFF).
const FIRST: u32 = 0x0184_0000;
/// TPMA_NV: AUTHWRITE, TPM_NT_COUNTER, AUTHREAD, NO_DA (Part 2, section 13.4). ORDERLY is clear: each count is on the flash.
const ATTRIBUTES: u32 = 0x0204_0014;
const WRITTEN: u32 = 0x2000_0000;
/// Bytes of a counter.
const SIZE: u16 = 8;
const NV_UNINITIALIZED: u32 = 0x14a;
const NV_SPACE: u32 = 0x14b;
/// Both as the TPM says them, format one: TPM_RC_HIERARCHY.
const HIERARCHY: u32 = 0x085;

/// Where the counter of a system is, and what it is bound to.
struct Place {
    handle: u32,
    policy: [u8; 32],
}

/// What there is at a place.
enum Found {
    Nothing,
    Ours(NvIndexHandle),
    SomebodyElses,
}

impl Place {
    fn of(system: Uuid) -> Self {
        Self::called("strongroom/v1/audit-counter\0", system)
    }

    /// One that lives for a moment, in [`make`].
    fn scratch(system: Uuid) -> Self {
        Self::called("strongroom/v1/audit-scratch\0", system)
    }

    fn called(name: &str, system: Uuid) -> Self {
        let policy: [u8; 32] = Sha256::new().chain_update(name).chain_update(system.as_bytes()).finalize().into();
        Self { handle: FIRST | u32::from(u16::from_be_bytes([policy[0], policy[1]])), policy }
    }

    /// The index's Name: nameAlg, and the hash of TPMS_NV_PUBLIC (Part 1, section 16).
    fn name(&self, written: bool) -> Vec<u8> {
        const SHA256: [u8; 2] = [0x00, 0x0b];
        let attributes = if written { ATTRIBUTES | WRITTEN } else { ATTRIBUTES };
        let digest = Sha256::new()
            .chain_update(self.handle.to_be_bytes())
            .chain_update(SHA256)
            .chain_update(attributes.to_be_bytes())
            .chain_update(32_u16.to_be_bytes())
            .chain_update(self.policy)
            .chain_update(SIZE.to_be_bytes())
            .finalize();
        [&SHA256[..], &digest].concat()
    }

    fn public(&self) -> Result<NvPublic, DeviceError> {
        let attributes = NvIndexAttributesBuilder::new()
            .with_nv_index_type(NvIndexType::Counter)
            .with_auth_write(true)
            .with_auth_read(true)
            .with_no_da(true)
            .build()
            .map_err(told)?;
        NvPublicBuilder::new()
            .with_nv_index(NvIndexTpmHandle::new(self.handle).map_err(told)?)
            .with_index_name_algorithm(HashingAlgorithm::Sha256)
            .with_index_attributes(attributes)
            .with_index_auth_policy(Digest::try_from(&self.policy[..]).map_err(told)?)
            .with_data_area_size(usize::from(SIZE))
            .build()
            .map_err(told)
    }

    /// Finds the counter by its Name; none where nothing is there. What is there and is not ours is left alone.
    fn find(&self, context: &mut Context) -> Result<Option<NvIndexHandle>, DeviceError> {
        match self.look(context)? {
            Found::Nothing => Ok(None),
            Found::Ours(index) => Ok(Some(index)),
            Found::SomebodyElses => {
                let index = self.handle;
                let what = format!("the TPM's NV index {index:#x}, where the counter belongs, is somebody else's");
                Err(Fault::Failed(what).into())
            }
        }
    }

    fn look(&self, context: &mut Context) -> Result<Found, DeviceError> {
        let handle = NvIndexTpmHandle::new(self.handle).map_err(told)?;
        let found = context.execute_without_session(|context| context.tr_from_tpm_public(handle.into()));
        let mut found = match found.map_err(told) {
            Ok(found) => found,
            Err(error) if answer(&error) == Some(HANDLE) => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        let name = context.tr_get_name(found).map_err(told)?;
        if [true, false].map(|written| self.name(written)).contains(&name.value().to_vec()) {
            return Ok(Found::Ours(found.into()));
        }
        context.tr_close(&mut found).map_err(told)?;
        Ok(Found::SomebodyElses)
    }

    fn read(&self, context: &mut Context, session: AuthSession) -> Result<Option<u64>, DeviceError> {
        if let Found::SomebodyElses = self.look(context)? {
            // Ours is not there, or not any more: whoever put this in its place must not keep that from being seen.
            return Ok(None);
        }
        self.with(context, |context, index| {
            let read = context
                .execute_with_session(Some(session), |context| context.nv_read(NvAuth::NvIndex(index), index, SIZE, 0));
            match read.map_err(told) {
                Ok(bytes) => match <[u8; 8]>::try_from(bytes.value()) {
                    Ok(bytes) => Ok(Some(u64::from_be_bytes(bytes))),
                    Err(_) => Err(Fault::Failed("the TPM's counter has another size".to_owned()).into()),
                },
                // Made by a run that was cut off before the first count: it counts for nothing yet.
                Err(error) if answer(&error) == Some(NV_UNINITIALIZED) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .map(Option::flatten)
    }

    /// Counts up by one.
    fn increment(&self, context: &mut Context, session: AuthSession) -> Result<(), DeviceError> {
        let done = self.with(context, |context, index| {
            context
                .execute_with_session(Some(session), |context| context.nv_increment(NvAuth::NvIndex(index), index))
                .map_err(told)
        })?;
        done.ok_or_else(|| Fault::Failed("the TPM keeps no counter for this system".to_owned()).into())
    }

    fn define(&self, context: &mut Context, session: AuthSession) -> Result<(), DeviceError> {
        self.remove(context, session)?;
        let public = self.public()?;
        let mut made = context
            .execute_with_session(Some(session), |context| context.nv_define_space(Provision::Owner, None, public))
            .map_err(|error| told_as(error, owner_meaning))?
            .into();
        context.tr_close(&mut made).map_err(told)
    }

    fn remove(&self, context: &mut Context, session: AuthSession) -> Result<(), DeviceError> {
        let Some(index) = self.find(context)? else { return Ok(()) };
        context
            .execute_with_session(Some(session), |context| context.nv_undefine_space(Provision::Owner, index))
            .map_err(|error| told_as(error, owner_meaning))
    }

    /// Runs `work` with the counter, where it is there.
    fn with<T>(
        &self,
        context: &mut Context,
        work: impl FnOnce(&mut Context, NvIndexHandle) -> Result<T, DeviceError>,
    ) -> Result<Option<T>, DeviceError> {
        let Some(index) = self.find(context)? else { return Ok(None) };
        let done = work(context, index);
        let closed = context.tr_close(&mut index.into()).map_err(told);
        let value = done?;
        closed.map(|()| Some(value))
    }
}

fn owner_meaning(answer: u32) -> Option<Fault> {
    let why = match answer {
        AUTH_FAIL | BAD_AUTH => "the TPM's owner hierarchy has a password",
        HIERARCHY => "the TPM's owner hierarchy is disabled",
        NV_SPACE => "the TPM's NV memory is full",
        _ => return None,
    };
    Some(Fault::Failed(format!("no counter can be made: {why}")))
}

/// Makes the counter, and leaves it without a count. What its first count will give is learnt from another one, which is
/// removed at once: a counter that has counted is one whose entry is on the disk, whenever this is cut off.
fn make(context: &mut Context, session: AuthSession, system: Uuid) -> Result<u64, DeviceError> {
    // What is removed counts for all that are made later, so the old one goes first.
    Place::of(system).remove(context, session)?;
    let scratch = Place::scratch(system);
    scratch.define(context, session)?;
    let highest = scratch.increment(context, session).and_then(|()| scratch.read(context, session));
    scratch.remove(context, session)?;
    let highest = highest?.ok_or_else(|| Fault::Failed("the TPM did not count".to_owned()))?;
    Place::of(system).define(context, session)?;
    Ok(highest.saturating_add(1))
}

fn count_to(context: &mut Context, session: AuthSession, system: Uuid, value: u64) -> Result<(), DeviceError> {
    let place = Place::of(system);
    let astray = |now: u64| Fault::Failed(format!("the TPM's counter is at {now}, and was to be at {value}"));
    match place.read(context, session)? {
        Some(now) if now == value => return Ok(()),
        Some(now) if now.checked_add(1) != Some(value) => return Err(astray(now).into()),
        Some(_) => place.increment(context, session)?,
        None => {
            place.increment(context, session)?;
            let now = place.read(context, session)?.unwrap_or_default();
            if now != value {
                // Another counter was removed from this TPM in between. This one counts for nothing, and is made anew next time.
                place.remove(context, session)?;
                return Err(astray(now).into());
            }
        }
    }
    Ok(())
}

impl Counter for Tpm {
    fn read(&mut self, system: Uuid) -> Result<Option<u64>, DeviceError> {
        self.counting(|context, session| Place::of(system).read(context, session))
    }

    fn make(&mut self, system: Uuid) -> Result<u64, DeviceError> {
        self.counting(|context, session| make(context, session, system))
    }

    fn count_to(&mut self, system: Uuid, value: u64) -> Result<(), DeviceError> {
        self.counting(|context, session| count_to(context, session, system, value))
    }
}

impl Tpm {
    /// Works with the pinned TPM in the salted session: what it answers can't be changed on the way.
    fn counting<T>(
        &mut self,
        mut work: impl FnMut(&mut Context, AuthSession) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        self.attempt(|tpm| {
            let (chip, root) = tpm.rooted()?;
            chip.cool_down()?;
            let session = chip.session(root)?;
            work(&mut chip.context, session)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_a_place_of_its_own() {
        let (one, other) = (Place::of(Uuid::from_u128(1)), Place::of(Uuid::from_u128(2)));
        assert_ne!(one.handle, other.handle);
        assert_ne!(one.name(true), other.name(true));
        assert_eq!(one.handle & 0xffff_0000, FIRST);
    }
}
