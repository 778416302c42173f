//! The two parts of a seal, as the TPM makes them (TPM 2.0 Part 3, section 12.1: Create).
//!
//! | | export part | use part |
//! |---|---|---|
//! | the secret | made by the TPM (sensitiveDataOrigin), or given as data when it comes from a backup | given as data |
//! | HMAC with it | never: userWithAuth CLEAR, and its policy is for TPM2_Duplicate only | by its auth value: userWithAuth; bound to PCRs, by its policy alone |
//! | duplicate it | behind authPolicy: fixedTPM and fixedParent CLEAR | never: fixedTPM and fixedParent SET |
//! | change its auth | never: adminWithPolicy SET, and no policy says so | never |
//!
//! Without a PIN both are NODA, so that they work while the TPM is locked out, and a power cut is no failed try.

use sha2::{Digest as _, Sha256};
use tss_esapi::Context;
use tss_esapi::attributes::{ObjectAttributes, ObjectAttributesBuilder};
use tss_esapi::handles::{KeyHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Auth, CreateKeyResult, CreationData, CreationTicket, Data, Digest, KeyedHashScheme, Public, PublicBuilder,
    PublicKeyedHashParameters, SensitiveData, Ticket,
};
use tss_esapi::tss2_esys::TPMS_CREATION_DATA;

use super::error::{told, told_as};
use super::object::{Object, meaning_under_root, push_sized};
use super::policy;
use crate::bytes::Base64;
use crate::device::{Birth, DeviceError, Fault, Guard};
use crate::secret::{MasterSecret, SecretBytes};

/// Which part, and where its secret comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The TPM makes the secret.
    BornExport,
    /// The secret is given; for export only.
    TakenInExport,
    /// The secret is given; for use only.
    Use,
}

/// The public area of a part, before the TPM fills in what is unique.
pub fn public(kind: Kind, guard: &Guard) -> Result<Public, DeviceError> {
    let is_use = kind == Kind::Use;
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(is_use)
        .with_fixed_parent(is_use)
        .with_sensitive_data_origin(kind == Kind::BornExport)
        .with_user_with_auth(is_use && guard.bound().is_none())
        .with_admin_with_policy(true)
        .with_no_da(!guard.has_own_pin())
        .with_sign_encrypt(true)
        .build()
        .map_err(told)?;
    let policy = match kind {
        Kind::Use => policy::use_policy(guard),
        Kind::BornExport | Kind::TakenInExport => Some(policy::export_policy(guard)),
    };
    let policy = policy.map_or(Ok(Digest::default()), |policy| Digest::try_from(&policy[..])).map_err(told)?;
    hmac_key(attributes, policy, Digest::default())
}

/// The public area of a key for TPM2_HMAC with SHA-256.
pub fn hmac_key(attributes: ObjectAttributes, policy: Digest, unique: Digest) -> Result<Public, DeviceError> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(policy)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::HMAC_SHA_256))
        .with_keyed_hash_unique_identifier(unique)
        .build()
        .map_err(told)
}

/// What TPM2_Create gave: the object, and what it says about its birth.
pub struct Created {
    pub object: Object,
    data: CreationData,
    hash: Digest,
    ticket: CreationTicket,
}

/// Makes a part under `root`. Its auth value and its secret, if one is given, are the command's first parameter, which
/// `session` encrypts.
pub fn create(
    context: &mut Context,
    root: KeyHandle,
    session: AuthSession,
    public: Public,
    auth: &SecretBytes,
    secret: Option<&MasterSecret>,
    qualifier: Option<&[u8; 32]>,
) -> Result<Created, DeviceError> {
    let asked = public.clone();
    let auth = Auth::try_from(auth.expose_secret()).map_err(told)?;
    let secret = secret.map(|secret| SensitiveData::try_from(secret.expose_secret())).transpose().map_err(told)?;
    let outside = qualifier.map(|qualifier| Data::try_from(&qualifier[..])).transpose().map_err(told)?;
    let CreateKeyResult { out_private, out_public, creation_data, creation_hash, creation_ticket } = context
        .execute_with_session(Some(session), |context| context.create(root, public, Some(auth), secret, outside, None))
        .map_err(|error| told_as(error, meaning_under_root))?;
    if without_unique(&out_public) != asked {
        return Err(Fault::Failed("the TPM made another kind of key than was asked for".to_owned()).into());
    }
    Ok(Created {
        object: Object::new(out_public, out_private)?,
        data: creation_data,
        hash: creation_hash,
        ticket: creation_ticket,
    })
}

/// The public area as it was asked for: the TPM fills in nothing but `unique`.
fn without_unique(public: &Public) -> Public {
    match public.clone() {
        Public::KeyedHash { object_attributes, name_hashing_algorithm, auth_policy, parameters, unique: _ } => {
            let unique = Digest::default();
            Public::KeyedHash { object_attributes, name_hashing_algorithm, auth_policy, parameters, unique }
        }
        other => other,
    }
}

impl Created {
    /// The evidence of birth, its hash and its qualifier checked: a ticket for anything else would be worth nothing.
    pub fn birth(&self, qualifier: &[u8; 32]) -> Result<Birth, DeviceError> {
        let wrong = || DeviceError::from(Fault::Failed("the TPM's evidence of birth does not fit".to_owned()));
        let tss = TPMS_CREATION_DATA::from(self.data.clone());
        let data = marshal(&tss).ok_or_else(wrong)?;
        if self.hash.value() != Sha256::digest(&data).as_slice() || !data.ends_with(qualifier) {
            return Err(wrong());
        }
        let mut sized = Vec::new();
        push_sized(&mut sized, &data);
        let mut hash = Vec::new();
        push_sized(&mut hash, self.hash.value());
        Ok(Birth::Tpm { data: Base64(sized), hash: Base64(hash), ticket: Base64(self.ticket()) })
    }

    /// TPMT_TK_CREATION (TPM 2.0 Part 2, section 10.7.3).
    fn ticket(&self) -> Vec<u8> {
        let tag = u16::from(self.ticket.tag());
        let hierarchy = u32::from(TpmHandle::from(self.ticket.hierarchy()));
        let mut bytes = [&tag.to_be_bytes()[..], &hierarchy.to_be_bytes()].concat();
        push_sized(&mut bytes, self.ticket.digest());
        bytes
    }
}

/// TPMS_CREATION_DATA (TPM 2.0 Part 2, section 15.1), which the crate can't marshal. None where PCRs are selected or a
/// length is out of range: we ask for no PCRs.
pub fn marshal(data: &TPMS_CREATION_DATA) -> Option<Vec<u8>> {
    if data.pcrSelect.count != 0 {
        return None;
    }
    let mut bytes = data.pcrSelect.count.to_be_bytes().to_vec();
    push_sized(&mut bytes, data.pcrDigest.buffer.get(..data.pcrDigest.size.into())?);
    bytes.push(data.locality);
    bytes.extend(data.parentNameAlg.to_be_bytes());
    push_sized(&mut bytes, data.parentName.name.get(..data.parentName.size.into())?);
    push_sized(&mut bytes, data.parentQualifiedName.name.get(..data.parentQualifiedName.size.into())?);
    push_sized(&mut bytes, data.outsideInfo.buffer.get(..data.outsideInfo.size.into())?);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Hex;
    use crate::device::PcrState;

    /// Attributes by their bits (TPM 2.0 Part 2, section 8.3), so that a slip of a builder shows.
    #[test]
    fn parts_have_the_attributes_of_the_table() {
        let bits = |kind, guard: &Guard| u32::from(public(kind, guard).unwrap().object_attributes());
        let pin = Guard::Pin { salt: Hex([1; 32]) };
        let none = Guard::None {};
        assert_eq!(bits(Kind::BornExport, &none), 0x4_04a0, "sign, noDA, adminWithPolicy, sensitiveDataOrigin");
        assert_eq!(bits(Kind::TakenInExport, &none), 0x4_0480);
        assert_eq!(
            bits(Kind::Use, &none),
            0x4_04d2,
            "sign, noDA, adminWithPolicy, userWithAuth, fixedParent, fixedTPM"
        );
        for kind in [Kind::BornExport, Kind::TakenInExport, Kind::Use] {
            assert_eq!(bits(kind, &none) & !0x400, bits(kind, &pin), "a PIN is guarded against guessing");
        }
    }

    #[test]
    fn bound_to_pcrs_a_use_part_has_nothing_but_its_policy() {
        let bound = PcrState { pcrs: "7".parse().unwrap(), values: vec![hex::encode([0; 32])] };
        let guard = Guard::Pcrs { bound };
        let public = public(Kind::Use, &guard).unwrap();
        assert_eq!(u32::from(public.object_attributes()), 0x4_0492, "userWithAuth is clear");
        assert_eq!(public.auth_policy().value(), policy::use_policy(&guard).unwrap());
    }

    #[test]
    fn without_pcrs_only_export_parts_have_a_policy() {
        let policy = |kind, guard: &Guard| public(kind, guard).unwrap().auth_policy().value().to_vec();
        let pin = Guard::Pin { salt: Hex([1; 32]) };
        assert!(policy(Kind::Use, &pin).is_empty() && policy(Kind::Use, &Guard::None {}).is_empty());
        assert_eq!(policy(Kind::BornExport, &pin), policy::export_policy(&pin));
        assert_eq!(policy(Kind::TakenInExport, &Guard::None {}), policy::export_policy(&Guard::None {}));
    }
}
