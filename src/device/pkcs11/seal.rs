//! A master secret on a token: born there, sealed under the ring's two keys, unsealed for use or to leave; or kept there, where
//! a token offers nothing better.
//!
//! Both parts of a seal are the same secret under different wrapping keys. What the use key unwraps is locked inside; what the
//! export key unwraps may be wrapped once more, to leave. A secret that the token keeps itself is locked from the beginning:
//! its use part is the CKA_ID of its object, and its export part is empty.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};

use super::keys::Handles;
use super::session::{By, Session, Temporary};
use super::ways::{HmacKey, Kept, Ways};
use super::{error, objects, transport};
use crate::bytes::{Base64, Hex};
use crate::device::{Birth, DeviceError, ExportPart, Fault, Guard, Part, Seal, UsePart};
use crate::secret::{KEY_BYTES, Kek};
use crate::wrap::{WRAPPED_BYTES, WrappedSecret};

/// A token at its work: how it does it, and by which keys.
#[derive(Clone, Copy)]
pub struct Bench<'s> {
    pub session: &'s Session,
    pub ways: Ways,
    /// The ring's wrapping keys; none where the token keeps secrets itself.
    pub keys: Option<Both>,
    /// The CKA_ID of the ring's use key, which objects of the ring's are known by.
    pub ring: Hex<16>,
}

/// The ring's two wrapping keys.
#[derive(Clone, Copy)]
pub struct Both {
    pub use_key: Handles,
    pub export_key: Handles,
}

/// What may be done with a secret in the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// It can be used, and never leaves.
    Locked,
    /// It can be used and wrapped.
    Open,
}

impl Form {
    /// What [`super::unwrap_template`] forces is repeated: some tokens insist.
    fn attributes(self) -> Vec<Attribute> {
        match self {
            Form::Locked => {
                vec![Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Derive(false)]
            }
            Form::Open => vec![Attribute::Sensitive(true), Attribute::Extractable(true)],
        }
    }

    /// What is set afterwards where a token heeds no template.
    fn lock(self) -> Vec<Attribute> {
        match self {
            Form::Locked => vec![Attribute::Sensitive(true), Attribute::Extractable(false)],
            Form::Open => vec![Attribute::Sensitive(true)],
        }
    }
}

impl Ways {
    /// What a secret is made with, for the moment, by C_GenerateKey or C_CreateObject.
    pub fn template(&self, form: Form) -> Vec<Attribute> {
        let mut template = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(self.key_type()),
            Attribute::Token(self.only_token_objects),
            Attribute::Private(true),
            Attribute::Sign(true),
        ];
        template.extend(form.attributes());
        template
    }

    /// The same for C_UnwrapKey. Without CKA_VALUE_LEN, which some tokens refuse there.
    pub fn unwrap_template(&self, form: Form) -> Vec<Attribute> {
        let mut template = self.template(form);
        if self.locks_afterwards {
            template.retain(|attribute| !form.attributes().contains(attribute));
        }
        template
    }

    fn key_type(&self) -> KeyType {
        match self.key {
            HmacKey::GenericSecret => KeyType::GENERIC_SECRET,
            HmacKey::Sha256Hmac => KeyType::SHA256_HMAC,
        }
    }

    /// How secrets are wrapped that the ring keeps; none where the token keeps them.
    pub fn seals_by(&self) -> Option<By> {
        match self.kept {
            Kept::Wrapped { mechanism } => Some(By::Aes(mechanism)),
            Kept::Encrypted { mechanism } => Some(By::Rsa(mechanism)),
            Kept::Objects {} => None,
        }
    }
}

/// Makes a new secret in the token and seals it.
pub fn generate(bench: &Bench<'_>) -> Result<Seal, DeviceError> {
    let mut template = bench.ways.template(Form::Open);
    template.push(Attribute::ValueLen((KEY_BYTES as u64).into()));
    let secret = bench.session.generate(&Mechanism::GenericSecretKeyGen, &template).map_err(error::plain)?;
    // A token that says of no key that it made it, does not of this one.
    let says_where_from = bench.keys.is_none_or(|keys| keys.use_key.is_local);
    let birth = birth(bench.session, secret.handle(), says_where_from)?;
    seal(bench, &secret, Some(birth))
}

/// Takes a secret in from under `kek` and seals it.
pub fn import(bench: &Bench<'_>, wrapped: &WrappedSecret, kek: &Kek) -> Result<Seal, DeviceError> {
    if bench.keys.is_none() {
        return objects::keep(bench, wrapped, kek).map(|kept| Seal {
            mechanism: objects::MECHANISM.to_owned(),
            use_part: UsePart(part(kept)),
            export_part: ExportPart(part(Vec::new())),
            birth: None,
        });
    }
    let secret = take_in(bench, wrapped, kek, Form::Open)?;
    seal(bench, &secret, None)
}

/// Lets the secret out under `kek`; `key` is the export key, where there is one.
pub fn export(
    bench: &Bench<'_>,
    key: Option<Handles>,
    sealed: &ExportPart,
    kek: &Kek,
) -> Result<WrappedSecret, DeviceError> {
    let Some(key) = key.filter(|_| bench.ways.let_out() && !sealed.is_empty()) else {
        return Err(Fault::Missing("the token lets no secret out".to_owned()).into());
    };
    let secret = unseal(bench, key, &sealed.0, Form::Open)?;
    transport::let_out(bench.session, bench.ways.leaves, secret.handle(), kek)
}

/// Unwraps one part of a seal by the key that it is under.
pub fn unseal<'s>(bench: &Bench<'s>, key: Handles, part: &Part, form: Form) -> Result<Temporary<'s>, DeviceError> {
    let damaged = "the token does not open the seal: it was changed, or made by another token or for another use";
    let by = bench.ways.seals_by().ok_or_else(|| Fault::Damaged(damaged.to_owned()))?;
    let template = bench.ways.unwrap_template(form);
    let unwrapped = bench.session.unwrap(by, key.unwraps, &part.blob.0, &template);
    let secret = unwrapped.map_err(|source| error::unwrap(source, damaged))?;
    settle(bench.session, &bench.ways, &secret, form)?;
    Ok(secret)
}

/// Takes in a secret that came from outside, for use or to be sealed.
pub fn take_in<'s>(
    bench: &Bench<'s>,
    wrapped: &WrappedSecret,
    kek: &Kek,
    form: Form,
) -> Result<Temporary<'s>, DeviceError> {
    // What is written to the token, be it for a moment, can be told by whoever comes after a crash.
    let label = bench.ways.only_token_objects.then(|| objects::label(bench.ring));
    transport::bring_in(bench.session, &bench.ways, wrapped, kek, form, label.as_slice())
}

/// Where a token heeds no template, what was unwrapped gets now what it should have had from the beginning.
pub fn settle(session: &Session, ways: &Ways, secret: &Temporary<'_>, form: Form) -> Result<(), DeviceError> {
    if !ways.locks_afterwards {
        return Ok(());
    }
    session.calls().update_attributes(secret.handle(), &form.lock()).map_err(error::plain)
}

fn part(blob: Vec<u8>) -> Part {
    Part { blob: Base64(blob), name: None, guard: Guard::TokenPin {} }
}

fn seal(bench: &Bench<'_>, secret: &Temporary<'_>, birth: Option<Birth>) -> Result<Seal, DeviceError> {
    let (Some(by), Some(Both { use_key, export_key })) = (bench.ways.seals_by(), bench.keys) else {
        return Err(Fault::Missing("the token makes no secret that could leave for a backup".to_owned()).into());
    };
    let wrapped = |key: Handles| {
        let blob = bench.session.wrap(by, key.wraps, secret.handle()).map_err(error::plain)?;
        match by {
            By::Aes(_) if blob.len() != WRAPPED_BYTES => {
                let what = format!("the token wrapped a secret into {} bytes, {WRAPPED_BYTES} are right", blob.len());
                Err(DeviceError::from(Fault::Failed(what)))
            }
            By::Aes(_) | By::Rsa(_) => Ok(blob),
        }
    };
    let export_blob = if bench.ways.let_out() { wrapped(export_key)? } else { Vec::new() };
    Ok(Seal {
        mechanism: by.name().to_owned(),
        use_part: UsePart(part(wrapped(use_key)?)),
        export_part: ExportPart(part(export_blob)),
        birth,
    })
}

/// What the token says of a secret that it just made. Errors where it says that it did not.
fn birth(session: &Session, secret: ObjectHandle, says_where_from: bool) -> Result<Birth, DeviceError> {
    use AttributeType as Kind;
    let kinds = [Kind::Local, Kind::AlwaysSensitive, Kind::NeverExtractable, Kind::KeyGenMechanism];
    let told = session.attributes(secret, &kinds).map_err(error::plain)?;
    let says = |attribute| told.contains(&attribute);
    let is_local = says(Attribute::Local(true));
    if (says_where_from && !is_local) || !says(Attribute::AlwaysSensitive(true)) {
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
        local: is_local,
        always_sensitive: true,
        never_extractable: says(Attribute::NeverExtractable(true)),
        key_gen_mechanism: MechanismType::GENERIC_SECRET_KEY_GEN.to_string(),
    })
}
