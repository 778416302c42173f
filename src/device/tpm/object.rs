//! An object of the TPM as the ring keeps it: TPM2B_PUBLIC, then TPM2B_PRIVATE, as tpm2-tools write them, and the Name.
//!
//! The Name is the hash of the public area, and the public area of an HMAC key holds a hash of the key: who compares the
//! Name knows the secret. TPM 2.0 Part 1, section 16 (Names); Part 2, sections 12.2.5 and 12.3.7.

use sha2::{Digest, Sha256, Sha384, Sha512};
use tss_esapi::Context;
use tss_esapi::handles::KeyHandle;
use tss_esapi::structures::{Private, Public};
use tss_esapi::traits::{Marshall, UnMarshall};

use super::error::{AUTH_FAIL, BAD_AUTH, is_bad_blob, told, told_as};
use super::policy;
use super::session::Sessions;
use crate::bytes::Base64;
use crate::device::{DeviceError, Fault, Guard, Part};

/// An object to load: both areas parsed, and the Name computed from what was parsed.
pub struct Object {
    pub public: Public,
    pub private: Private,
    pub name: Vec<u8>,
}

impl Object {
    /// Takes what TPM2_Create gave.
    pub fn new(public: Public, private: Private) -> Result<Self, DeviceError> {
        let area = public.marshall().map_err(told)?;
        let name = name_of(&area).ok_or_else(|| Fault::Failed("the TPM made a key without a Name".to_owned()))?;
        Ok(Self { public, private, name })
    }

    /// Takes a part out of a ring. Refuses one that is not exactly two sized buffers, or has another Name than recorded.
    pub fn from_part(part: &Part) -> Result<Self, DeviceError> {
        let damaged = || DeviceError::from(Fault::Damaged("a seal in the ring is damaged".to_owned()));
        let (area, rest) = take_sized(&part.blob.0).ok_or_else(damaged)?;
        let (private, rest) = take_sized(rest).ok_or_else(damaged)?;
        let name = name_of(area).ok_or_else(damaged)?;
        if !rest.is_empty() || part.name.as_ref().is_none_or(|recorded| recorded.0 != name) {
            return Err(damaged());
        }
        let public = parse_public(area).ok_or_else(damaged)?;
        // Who changed the guard in the ring would have us burn tries with an empty auth value, or tell of PCRs what is not so.
        if public.object_attributes().no_da() == part.guard.has_own_pin() || !has_policy_of(&public, &part.guard) {
            return Err(damaged());
        }
        let private = Private::try_from(private).map_err(|_| damaged())?;
        Ok(Self { public, private, name })
    }

    /// Gives a part to a ring.
    pub fn into_part(self, guard: Guard) -> Result<Part, DeviceError> {
        let mut blob = sized_public(&self.public)?;
        push_sized(&mut blob, self.private.value());
        Ok(Part { blob: Base64(blob), name: Some(Base64(self.name)), guard })
    }

    /// Loads it under `root` in `sessions`. The library fails the call where the TPM's Name for it is not that of the
    /// public area, so what is loaded is what the ring recorded.
    pub fn load(self, context: &mut Context, root: KeyHandle, sessions: Sessions) -> Result<KeyHandle, DeviceError> {
        context
            .execute_with_sessions(sessions, |context| context.load(root, self.private, self.public))
            .map_err(|error| told_as(error, |answer| meaning_under_root(answer).or_else(|| refused_blob(answer))))
    }
}

/// Whether a public area's policy is the one of a use part, or of an export part, behind `guard`.
fn has_policy_of(public: &Public, guard: &Guard) -> bool {
    let used = policy::use_policy(guard).map_or_else(Vec::new, Vec::from);
    [used, policy::export_policy(guard).to_vec()].iter().any(|policy| policy == public.auth_policy().value())
}

/// What an answer means where the storage root key was authorized with its empty auth value.
pub fn meaning_under_root(answer: u32) -> Option<Fault> {
    let what = "the storage root key has an auth value: somebody else may use it, and we can't";
    matches!(answer, AUTH_FAIL | BAD_AUTH).then(|| Fault::Untrusted(what.to_owned()))
}

fn refused_blob(answer: u32) -> Option<Fault> {
    let what = "the TPM does not know this seal: another TPM made it, or it was changed";
    is_bad_blob(answer).then(|| Fault::NotThisDevice(what.to_owned()))
}

/// The Name of a public area (TPMT_PUBLIC): its nameAlg, and its hash by that. None where the hash is none of SHA-2's.
pub fn name_of(area: &[u8]) -> Option<Vec<u8>> {
    let algorithm = area.get(2..4)?;
    let digest = match algorithm {
        [0x00, 0x0b] => Sha256::digest(area).to_vec(),
        [0x00, 0x0c] => Sha384::digest(area).to_vec(),
        [0x00, 0x0d] => Sha512::digest(area).to_vec(),
        _ => return None,
    };
    Some([algorithm, &digest].concat())
}

/// Parses a TPMT_PUBLIC; None where it is not one, or where printing what was parsed would give other bytes.
pub fn parse_public(area: &[u8]) -> Option<Public> {
    let public = Public::unmarshall(area).ok()?;
    (public.marshall().ok()? == area).then_some(public)
}

/// A public area as TPM2B_PUBLIC.
pub fn sized_public(public: &Public) -> Result<Vec<u8>, DeviceError> {
    let mut sized = Vec::new();
    push_sized(&mut sized, &public.marshall().map_err(told)?);
    Ok(sized)
}

/// Appends a TPM2B: a 16-bit length, and as many bytes.
pub fn push_sized(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("a TPM2B holds less than 64 KiB");
    to.extend(length.to_be_bytes());
    to.extend(bytes);
}

/// Splits a TPM2B off: its bytes, and the rest.
pub fn take_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Hex;

    /// A public area that `tpm2_create -G hmac` made, with its Name from `tpm2_readpublic`.
    const AREA: &str =
        "0008000b0004007200000005000b00200cdcd75a2d1ae16eb72617f6453674a8aa822825589b134ca1d4981ac5127655";
    const NAME: &str = "000bc1374bb0c03f269fb42a3fb7618524d3f045a0c4d54786eff4891e3048312c89";

    /// The tools leave noDA out, as a part with a PIN does.
    const GUARD: Guard = Guard::Pin { salt: Hex([1; 32]) };

    fn part() -> Part {
        let mut blob = Vec::new();
        push_sized(&mut blob, &hex::decode(AREA).unwrap());
        push_sized(&mut blob, b"private");
        Part { blob: Base64(blob), name: Some(Base64(hex::decode(NAME).unwrap())), guard: GUARD }
    }

    #[test]
    fn names_are_those_of_the_tools() {
        assert_eq!(name_of(&hex::decode(AREA).unwrap()).map(hex::encode).as_deref(), Some(NAME));
        assert_eq!(name_of(&[0, 8, 0, 4, 0, 0]), None, "no Names by SHA-1");
    }

    #[test]
    fn parts_go_out_and_in_unchanged() {
        let again = Object::from_part(&part()).ok().unwrap().into_part(GUARD).unwrap();
        assert_eq!(again, part());
    }

    #[test]
    fn a_changed_part_is_damaged() {
        let refused =
            |part: &Part| matches!(Object::from_part(part), Err(DeviceError { fault: Fault::Damaged(_), .. }));
        for bit in 0..(2 + AREA.len() / 2) * 8 {
            let mut part = part();
            part.blob.0[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&part), "bit {bit} of the public area");
        }
        let mut longer = part();
        longer.blob.0.push(0);
        let mut shorter = part();
        shorter.blob.0.pop();
        let mut renamed = part();
        renamed.name = Some(Base64(vec![0; 34]));
        let nameless = Part { name: None, ..part() };
        let unguarded = Part { guard: Guard::None {}, ..part() };
        for part in [longer, shorter, renamed, nameless, unguarded] {
            assert!(refused(&part));
        }
    }
}
