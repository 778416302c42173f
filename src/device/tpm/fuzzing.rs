//! Doors for `fuzz/` into the parsers of what a TPM answers, and of what a ring says that it answered.

use tss_esapi::Error;
use tss_esapi::constants::response_code::Tss2ResponseCode;
use tss_esapi::tss2_esys::TPMS_CREATION_DATA;

use super::{Object, duplicate, error, object, root, seal};
use crate::bytes::Base64;
use crate::device::{DeviceError, Guard, Part, Root};
use crate::secret::MasterSecret;

/// A part of a seal out of a ring that records the right Name for it, and how it would go back there.
pub fn part(blob: &[u8], guard: Guard) -> Option<Part> {
    let (area, _) = object::take_sized(blob)?;
    let name = object::name_of(area).map(Base64);
    let object = Object::from_part(&Part { blob: Base64(blob.to_vec()), name, guard: guard.clone() });
    object.ok()?.into_part(guard).ok()
}

/// A storage root key's public area (TPMT_PUBLIC), and how a ring would pin it; none where it can't be trusted.
pub fn storage_root(area: &[u8]) -> Option<Root> {
    let public = object::parse_public(area)?;
    root::check(&public).ok()?;
    root::Found { public, name: object::name_of(area)? }.pin(None).ok()
}

/// What TPM2_Duplicate gave, its inner wrapper off, for the key with this Name and public area.
pub fn duplicated(plain: &[u8], name: &[u8], area: &[u8]) -> Option<MasterSecret> {
    duplicate::parse(plain, name, &object::parse_public(area)?)
}

/// TPMS_CREATION_DATA as the library hands it over: lengths that may be anything, before buffers of a fixed size.
pub fn creation_data(lengths: [u16; 4], fill: u8) -> Option<Vec<u8>> {
    let mut data = TPMS_CREATION_DATA { locality: fill, parentNameAlg: fill.into(), ..Default::default() };
    let [digest, name, qualified, outside] = lengths;
    (data.pcrDigest.size, data.parentName.size) = (digest, name);
    (data.parentQualifiedName.size, data.outsideInfo.size) = (qualified, outside);
    data.outsideInfo.buffer.fill(fill);
    seal::marshal(&data)
}

/// Any response code.
pub fn answer(code: u32) -> DeviceError {
    error::told(Error::Tss2Error(Tss2ResponseCode::from(code)))
}
