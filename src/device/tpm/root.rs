//! The storage root key: what every seal hangs from, and what every session is salted to.
//!
//! It lives at 0x81000001, where systemd, the TCG's provisioning guidance and others keep it too: it is used where it is,
//! whatever its algorithm, and made where it is missing. The ring pins its whole public area at first sight; from then
//! on, a session is started only when the TPM shows the same.
//!
//! ESYS computes the Name of a persistent object from the public area that TPM2_ReadPublic gave, the same one that it
//! encrypts salts to; it does not take the Name in that answer (`Esys_TR_GetName`; there is a test that changes the one
//! and leaves the other). So one command and one comparison of Names on the host prove where the salt goes. Where it is not the
//! one, [`super::lost`] finds out why.

use tss_esapi::Context;
use tss_esapi::attributes::ObjectAttributes;
use tss_esapi::handles::{KeyHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    EccPoint, EccScheme, KeyDerivationFunctionScheme, Public, PublicBuilder, PublicEccParameters,
    SymmetricDefinitionObject,
};
use tss_esapi::traits::Marshall;

use super::error::{AUTH_FAIL, BAD_AUTH, HANDLE, answer, told, told_as};
use super::lost::Lost;
use super::object::{name_of, parse_public, sized_public, take_sized};
use super::session::flushed;
use crate::bytes::Base64;
use crate::device::{DeviceError, Fault, Root};

/// Where the storage root key lives (TCG TPM v2.0 Provisioning Guidance, section 7.8).
pub const ROOT_HANDLE: u32 = 0x8100_0001;

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt: as systemd makes it.
const ATTRIBUTES: u32 = 0x3_0472;
/// What a key must be, to be trusted as a root: all of the above but noDA.
const REQUIRED: u32 = 0x3_0072;
/// What it must not be: a signing key as well.
const SIGN: u32 = 0x4_0000;

/// A storage root key that was found: its public area is not compared with anything yet.
pub struct Found {
    pub public: Public,
    pub name: Vec<u8>,
}

impl Found {
    /// As a ring pins it, with the Name of the TPM's endorsement key.
    pub fn pin(&self, endorsement: Option<Vec<u8>>) -> Result<Root, DeviceError> {
        let public = Base64(sized_public(&self.public)?);
        let endorsement = endorsement.map(Base64);
        Ok(Root::Tpm { handle: ROOT_HANDLE, public, name: Base64(self.name.clone()), endorsement })
    }
}

/// Finds the very key that the ring pinned, in one TPM2_ReadPublic. Nothing of ours goes to the TPM before this.
pub fn find_pinned(context: &mut Context, root: &Root) -> Result<KeyHandle, DeviceError> {
    let Root::Tpm { handle, public, name, endorsement } = root else {
        return Err(Fault::Damaged("the ring pins a token where it names a TPM".to_owned()).into());
    };
    let damaged = || DeviceError::from(Fault::Damaged("the ring's storage root key is damaged".to_owned()));
    let area = match take_sized(&public.0) {
        Some((area, [])) => area,
        _ => return Err(damaged()),
    };
    if name_of(area).as_ref() != Some(&name.0) {
        return Err(damaged());
    }
    let public = parse_public(area).ok_or_else(damaged)?;
    check(&public)?;
    let TpmHandle::Persistent(persistent) = TpmHandle::try_from(*handle).map_err(|_| damaged())? else {
        return Err(damaged());
    };
    let found = context.execute_without_session(|context| context.tr_from_tpm_public(persistent.into())).map_err(told);
    let (is_replaced, error) = match found {
        Ok(found) if self::name(context, found.into())? == name.0 => return Ok(found.into()),
        Ok(_) => (true, None),
        Err(error) if answer(&error) == Some(HANDLE) => (false, Some(error)),
        Err(error) => return Err(error),
    };
    let lost = Lost { handle: *handle, public: &public, name: &name.0, endorsement: endorsement.as_ref(), is_replaced };
    let fault = lost.fault(context);
    Err(DeviceError { fault, code: error.and_then(|error| error.code) })
}

/// The Name of a key, computed on the host.
pub fn name(context: &mut Context, key: KeyHandle) -> Result<Vec<u8>, DeviceError> {
    Ok(context.tr_get_name(key.into()).map_err(told)?.value().to_vec())
}

/// Reads the key at 0x81000001, if there is one.
pub fn read(context: &mut Context) -> Result<Option<Found>, DeviceError> {
    let handle = persistent()?.into();
    let object = match context.execute_without_session(|context| context.tr_from_tpm_public(handle)).map_err(told) {
        Ok(object) => object,
        Err(error) if answer(&error) == Some(HANDLE) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (public, _, _) = context.read_public(object.into()).map_err(told)?;
    let name = name_of(&public.marshall().map_err(told)?);
    let seen = context.tr_get_name(object).map_err(told)?;
    let Some(name) = name.filter(|name| name == seen.value()) else {
        return Err(Fault::Failed("the TPM showed two different storage root keys".to_owned()).into());
    };
    Ok(Some(Found { public, name }))
}

/// Refuses a key that the TPM did not make itself, or that is more than a parent: whoever knows it would know every
/// seal. Its auth value can't be seen; one that is not empty fails at the first use.
pub fn check(public: &Public) -> Result<(), DeviceError> {
    let attributes = u32::from(public.object_attributes());
    if attributes & (REQUIRED | SIGN) == REQUIRED {
        return Ok(());
    }
    let what = format!(
        "the key at {ROOT_HANDLE:#x} can't be trusted as storage root key: its attributes are {attributes:#x}; \
         somebody may have imported it"
    );
    Err(Fault::Untrusted(what).into())
}

/// Makes the storage root key and keeps it at 0x81000001. It is derived from the owner seed, so a crash in between
/// leaves nothing behind and the next run makes the same key.
pub fn make(context: &mut Context) -> Result<Found, DeviceError> {
    let persistent = Persistent::Persistent(persistent()?);
    let mut kept = with_made(context, |context, key| {
        let keep = |context: &mut Context| context.evict_control(Provision::Owner, key.into(), persistent);
        context.execute_with_session(Some(AuthSession::Password), keep).map_err(|error| told_as(error, owner_meaning))
    })?;
    context.tr_close(&mut kept).map_err(told)?;
    read(context)?.ok_or_else(|| Fault::Failed("the TPM did not keep its storage root key".to_owned()).into())
}

/// Makes the storage root key for the moment of `work`.
pub fn with_made<T>(
    context: &mut Context,
    work: impl FnOnce(&mut Context, KeyHandle) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let public = template()?;
    let make = |context: &mut Context| context.create_primary(Hierarchy::Owner, public, None, None, None, None);
    let made = context
        .execute_with_session(Some(AuthSession::Password), make)
        .map_err(|error| told_as(error, owner_meaning))?;
    flushed(context, made.key_handle.into(), |context| work(context, made.key_handle))
}

/// Whether it is the kind of key that [`make`] and systemd make.
pub fn is_usual(public: &Public) -> Result<bool, DeviceError> {
    let Public::Ecc { object_attributes, name_hashing_algorithm, auth_policy, parameters, .. } = public else {
        return Ok(false);
    };
    let Public::Ecc { name_hashing_algorithm: name, auth_policy: policy, parameters: usual, .. } = template()? else {
        return Ok(false);
    };
    let is_same = u32::from(*object_attributes) == ATTRIBUTES && *name_hashing_algorithm == name;
    Ok(is_same && *auth_policy == policy && *parameters == usual)
}

fn owner_meaning(answer: u32) -> Option<Fault> {
    let what = match answer {
        AUTH_FAIL | BAD_AUTH => "has a password",
        // TPM_RC_HIERARCHY, format one.
        0x085 => "is disabled",
        _ => return None,
    };
    Some(Fault::Failed(format!(
        "the TPM has no storage root key at {ROOT_HANDLE:#x}, and its owner hierarchy {what}: make the key with \
         tpm2_createprimary and tpm2_evictcontrol"
    )))
}

fn persistent() -> Result<PersistentTpmHandle, DeviceError> {
    PersistentTpmHandle::new(ROOT_HANDLE).map_err(told)
}

/// ECC P-256, AES-128-CFB, `unique` empty: the same key that systemd makes from the same seed.
fn template() -> Result<Public, DeviceError> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(ObjectAttributes::from(ATTRIBUTES))
        .with_ecc_parameters(PublicEccParameters::new(
            SymmetricDefinitionObject::AES_128_CFB,
            EccScheme::Null,
            EccCurve::NistP256,
            KeyDerivationFunctionScheme::Null,
        ))
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
        .map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(attributes: u32) -> Public {
        let Ok(Public::Ecc { name_hashing_algorithm, auth_policy, parameters, unique, .. }) = template() else {
            panic!("the template is an ECC key");
        };
        let object_attributes = ObjectAttributes::from(attributes);
        Public::Ecc { object_attributes, name_hashing_algorithm, auth_policy, parameters, unique }
    }

    #[test]
    fn a_root_is_the_tpms_own_and_nothing_but_a_parent() {
        assert!(check(&with(ATTRIBUTES)).is_ok());
        assert!(check(&with(ATTRIBUTES & !0x400)).is_ok(), "some tools leave noDA out");
        assert!(check(&with(ATTRIBUTES | SIGN)).is_err());
        for bit in (0..32).map(|bit| 1 << bit).filter(|bit| REQUIRED & bit != 0) {
            assert!(matches!(check(&with(ATTRIBUTES & !bit)).unwrap_err().fault, Fault::Untrusted(_)), "{bit:#x}");
        }
    }
}
