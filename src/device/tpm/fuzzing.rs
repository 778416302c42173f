//! Doors for `fuzz/` into the parsers of what a TPM answers, and of what a ring says that it answered.

use tss_esapi::Error;
use tss_esapi::constants::response_code::Tss2ResponseCode;
use tss_esapi::structures::Signature;
use tss_esapi::tss2_esys::TPMS_CREATION_DATA;

use super::tickets::Tickets;
use super::{Object, approval, duplicate, error, object, root, seal};
use crate::bytes::Base64;
use crate::device::{DeviceError, Guard, Part, PolicyKey, Root};
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

/// The Name of a key that signs PCR states.
pub fn policy_key_name(key: &PolicyKey) -> Option<Vec<u8>> {
    approval::name(key).ok()
}

/// How long a signature is as a TPM is told it, in bytes; none where it is none of such a key.
pub fn policy_signature(key: &PolicyKey, signature: &[u8]) -> Option<usize> {
    Some(match approval::given(key, signature)? {
        Signature::RsaSsa(rsa) => rsa.signature().value().len(),
        Signature::EcDsa(ecc) => ecc.signature_r().value().len() + ecc.signature_s().value().len(),
        _ => return None,
    })
}

/// `tickets.json`, read and printed; whatever the tickets say, a TPM can be told it.
pub fn tickets(text: &[u8]) -> Option<Vec<u8>> {
    let tickets = Tickets::parse(text)?;
    for ticket in tickets.iter() {
        let _ = approval::verified_ticket(&ticket.digest.0);
    }
    Some(tickets.print())
}

/// Any response code.
pub fn answer(code: u32) -> DeviceError {
    error::told(Error::Tss2Error(Tss2ResponseCode::from(code)))
}
