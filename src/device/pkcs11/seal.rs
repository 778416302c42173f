//! A master secret on a token: born there, wrapped under the ring's two keys, unwrapped for use or to leave.
//!
//! Both parts of a seal are the same key wrapped under different wrapping keys (CKM_AES_KEY_WRAP, RFC 3394). What the use
//! key unwraps is locked inside; what the export key unwraps may be wrapped once more, under a KEK.

use cryptoki::error::Error;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use zeroize::Zeroize;

use super::error;
use super::session::{Session, Temporary};
use crate::bytes::Base64;
use crate::device::{Birth, DeviceError, ExportPart, Fault, Guard, Part, Seal, UsePart};
use crate::secret::{KEY_BYTES, Kek};
use crate::wrap::{A256KW_BYTES, WrappedSecret};

/// How seals name the mechanism that they are made with.
const MECHANISM: &str = "CKM_AES_KEY_WRAP";

/// What a KEK that was brought in may do: one of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum KekMay {
    Wrap,
    Unwrap,
}

/// A secret that can be used and never leaves. What [`super::unwrap_template`] forces is repeated: some tokens insist.
pub fn locked() -> Vec<Attribute> {
    let mut template = secret();
    template.extend([Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Derive(false)]);
    template
}

/// A secret that can be used and wrapped.
pub fn open() -> Vec<Attribute> {
    let mut template = secret();
    template.extend([Attribute::Sensitive(true), Attribute::Extractable(true)]);
    template
}

/// Without CKA_VALUE_LEN, which some tokens refuse at C_UnwrapKey.
fn secret() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sign(true),
    ]
}

/// Makes a new secret in the token and seals it under both keys.
pub fn generate(session: &Session, use_key: ObjectHandle, export_key: ObjectHandle) -> Result<Seal, DeviceError> {
    let mut template = open();
    template.push(Attribute::ValueLen((KEY_BYTES as u64).into()));
    let secret = session.generate(&Mechanism::GenericSecretKeyGen, &template).map_err(error::plain)?;
    let birth = birth(session, secret.handle())?;
    seal(session, use_key, export_key, &secret, Some(birth))
}

/// Takes a secret in from under `kek` and seals it under both keys.
pub fn import(
    session: &Session,
    use_key: ObjectHandle,
    export_key: ObjectHandle,
    wrapped: &WrappedSecret,
    kek: &Kek,
) -> Result<Seal, DeviceError> {
    let secret = take_in(session, wrapped, kek, &open())?;
    seal(session, use_key, export_key, &secret, None)
}

/// Lets the secret out under `kek`.
pub fn export(
    session: &Session,
    export_key: ObjectHandle,
    part: &ExportPart,
    kek: &Kek,
) -> Result<WrappedSecret, DeviceError> {
    let secret = unseal(session, export_key, &part.0, &open())?;
    let kek = bring(session, kek, KekMay::Wrap).map_err(error::plain)?;
    let blob = session.wrap(kek.handle(), secret.handle()).map_err(error::plain)?;
    WrappedSecret::a256kw(&blob).map_err(|error| Fault::Failed(format!("the token wrapped wrongly: {error}")).into())
}

/// Unwraps one part of a seal by the key that it is under.
pub fn unseal<'s>(
    session: &'s Session,
    key: ObjectHandle,
    part: &Part,
    template: &[Attribute],
) -> Result<Temporary<'s>, DeviceError> {
    let damaged = "the token does not open the seal: it was changed, or made by another token or for another use";
    session.unwrap(key, &part.blob.0, template).map_err(|source| error::unwrap(source, damaged))
}

/// Unwraps a secret that came from outside, for use or to be sealed.
pub fn take_in<'s>(
    session: &'s Session,
    wrapped: &WrappedSecret,
    kek: &Kek,
    template: &[Attribute],
) -> Result<Temporary<'s>, DeviceError> {
    let blob = wrapped.blob().map_err(|error| Fault::Damaged(error.to_string()))?;
    let kek = bring(session, kek, KekMay::Unwrap).map_err(error::plain)?;
    let damaged = "the wrapped secret is damaged or wrapped under another key";
    session.unwrap(kek.handle(), blob, template).map_err(|source| error::unwrap(source, damaged))
}

/// A KEK as a session object that can do one thing.
pub fn bring<'s>(session: &'s Session, kek: &Kek, may: KekMay) -> Result<Temporary<'s>, Error> {
    let mut template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Wrap(may == KekMay::Wrap),
        Attribute::Unwrap(may == KekMay::Unwrap),
        Attribute::Value(kek.expose_secret().to_vec()),
    ];
    let brought = session.create(&template);
    if let [.., Attribute::Value(bytes)] = &mut template {
        bytes.zeroize();
    }
    brought
}

fn seal(
    session: &Session,
    use_key: ObjectHandle,
    export_key: ObjectHandle,
    secret: &Temporary<'_>,
    birth: Option<Birth>,
) -> Result<Seal, DeviceError> {
    let part = |key| {
        let blob = session.wrap(key, secret.handle()).map_err(error::plain)?;
        if blob.len() != A256KW_BYTES {
            let what = format!("the token wrapped a secret into {} bytes, {A256KW_BYTES} are right", blob.len());
            return Err(DeviceError::from(Fault::Failed(what)));
        }
        Ok(Part { blob: Base64(blob), name: None, guard: Guard::TokenPin {} })
    };
    Ok(Seal {
        mechanism: MECHANISM.to_owned(),
        use_part: UsePart(part(use_key)?),
        export_part: ExportPart(part(export_key)?),
        birth,
    })
}

/// What the token says of a secret that it just made. Errors where it says that it did not.
fn birth(session: &Session, secret: ObjectHandle) -> Result<Birth, DeviceError> {
    use AttributeType as Kind;
    let kinds = [Kind::Local, Kind::AlwaysSensitive, Kind::NeverExtractable, Kind::KeyGenMechanism];
    let told = session.attributes(secret, &kinds).map_err(error::plain)?;
    let says = |attribute| told.contains(&attribute);
    if !says(Attribute::Local(true)) || !says(Attribute::AlwaysSensitive(true)) {
        return Err(Fault::Failed("the token does not vouch for the secret that it made".to_owned()).into());
    }
    let mechanism = told.iter().find_map(|attribute| match attribute {
        Attribute::KeyGenMechanism(mechanism) => Some(*mechanism),
        _ => None,
    });
    if mechanism.is_some_and(|mechanism| mechanism != MechanismType::GENERIC_SECRET_KEY_GEN) {
        return Err(Fault::Failed("the token made the secret in another way than asked for".to_owned()).into());
    }
    Ok(Birth::Pkcs11 {
        local: true,
        always_sensitive: true,
        never_extractable: says(Attribute::NeverExtractable(true)),
        key_gen_mechanism: MechanismType::GENERIC_SECRET_KEY_GEN.to_string(),
    })
}
