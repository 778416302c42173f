//! Secrets that a token keeps itself, each as an object that is locked for good: where it lets no key be wrapped, or has no
//! session objects to unwrap into. Nothing here can leave; what can is on another device of the ring, and in backups.
//!
//! An object is known by its CKA_ID, 16 random bytes, which is the use part of the seal. Its label has the id of the ring's
//! use key whole, so that [`crate::device::Device::retire`] finds those too that a run which was cut off has left behind.

use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};

use super::seal::{Bench, Form};
use super::session::Session;
use super::{error, transport};
use crate::bytes::Hex;
use crate::device::{DeviceError, Fault, UsePart};
use crate::secret::{Kek, random_array};
use crate::wrap::WrappedSecret;

/// How seals name this way.
pub const MECHANISM: &str = "token object";

/// Takes a secret in to stay, and gives the id of its object. Needs a read/write session.
pub fn keep(bench: &Bench<'_>, wrapped: &WrappedSecret, kek: &Kek) -> Result<Vec<u8>, DeviceError> {
    let id = random_array::<16>();
    let more = [Attribute::Token(true), Attribute::Id(id.to_vec()), label(bench.ring)];
    let secret = transport::bring_in(bench.session, &bench.ways, wrapped, kek, Form::Locked, &more)?;
    secret.keep();
    Ok(id.to_vec())
}

/// The object of a use part. What it holds, the generation's id tells.
pub fn find(bench: &Bench<'_>, part: &UsePart) -> Result<ObjectHandle, DeviceError> {
    let template = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Id(part.0.blob.0.clone()), label(bench.ring)];
    let found = bench.session.find(&template).map_err(error::plain)?;
    let [object] = found[..] else {
        let what = match found.len() {
            0 => {
                "the token has no object of this seal: it was destroyed, the seal was changed, or it is another token's"
            }
            _ => "the token has several objects with the id of this seal",
        };
        return Err(Fault::Damaged(what.to_owned()).into());
    };
    let lock = [Attribute::Sensitive(true), Attribute::Extractable(false)];
    let kinds = lock.each_ref().map(Attribute::attribute_type);
    let told = bench.session.attributes(object, &kinds).map_err(error::plain)?;
    match lock.iter().all(|attribute| told.contains(attribute)) {
        true => Ok(object),
        false => Err(Fault::Untrusted("the object of this seal is not locked".to_owned()).into()),
    }
}

/// All objects of the ring's.
pub fn of_ring(session: &Session, ring: Hex<16>) -> Result<Vec<ObjectHandle>, DeviceError> {
    session.find(&[Attribute::Class(ObjectClass::SECRET_KEY), label(ring)]).map_err(error::plain)
}

/// What the ring's objects are known by.
pub fn label(ring: Hex<16>) -> Attribute {
    Attribute::Label(format!("strongroom secret of {ring}").into_bytes())
}
