//! The endorsement key, for one question: is this TPM the one that it was?
//!
//! TPM2_Clear takes the owner's seed, and with it the storage root key and all that hangs from it; the endorsement seed stays as
//! the maker left it (TPM 2.0 Part 3, section 24.6). So after the storage root key has changed, an endorsement key that has not
//! says that this TPM was cleared, and another one that it is another TPM. Nothing is trusted for it: what it decides is which
//! words a refusal has.

use tss_esapi::Context;
use tss_esapi::abstraction::ek::create_ek_public_from_default_template_2;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, DefaultKey};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;

use super::error::{Cure, cure, told};
use super::root;
use super::session::flushed;
use crate::device::DeviceError;

/// Its Name, for the ring. None where the hierarchy has a password or is off, or the TPM has no P-256: what can be told without it
/// is enough.
pub fn known(context: &mut Context) -> Result<Option<Vec<u8>>, DeviceError> {
    match name(context) {
        Ok(name) => Ok(Some(name)),
        Err(error) => match cure(&error) {
            Cure::Nothing => Ok(None),
            Cure::Wait | Cure::MakeRoom | Cure::Reconnect | Cure::Close => Err(error),
        },
    }
}

/// The Name of the TCG's default endorsement key for ECC P-256 (EK Credential Profile 2.5, template L-2), which is made for the
/// moment: persistent ones need not be there.
pub fn name(context: &mut Context) -> Result<Vec<u8>, DeviceError> {
    let kind = AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256);
    let template = create_ek_public_from_default_template_2(kind, DefaultKey).map_err(told)?;
    let make = |context: &mut Context| context.create_primary(Hierarchy::Endorsement, template, None, None, None, None);
    let made = context.execute_with_session(Some(AuthSession::Password), make).map_err(told)?;
    flushed(context, made.key_handle.into(), |context| root::name(context, made.key_handle))
}
