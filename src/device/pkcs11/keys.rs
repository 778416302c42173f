//! The two wrapping keys of a ring on a token: made, found, and never trusted by their label.
//!
//! A wrapping key is the one object with the CKA_ID that the ring recorded, made inside the token (CKA_LOCAL) and never
//! out of it (CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE), that can wrap and unwrap and nothing else. One that somebody
//! imported, or that could decrypt, would lay every seal open. Other objects are never touched, whatever their label.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use serde::{Deserialize, Serialize};

use cryptoki_sys as sys;

use super::session::Session;
use super::token::Found;
use super::{error, unwrap_template};
use crate::bytes::Hex;
use crate::device::{DeviceError, Fault};

const AES_256_BYTES: u64 = 32;

/// One of the ring's two wrapping keys on a token: an AES-256 key, with what was read back of it when it was pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappingKey {
    /// CKA_ID.
    pub id: Hex<16>,
    /// CKA_LOCAL: made inside the token. Always true by today's rules, as are the next two.
    pub local: bool,
    pub always_sensitive: bool,
    pub never_extractable: bool,
    /// Whether the token forces what this key unwraps to stay inside (shown by the self-test). False for the export key,
    /// and for a use key on a token that knows no CKA_UNWRAP_TEMPLATE: there, use implies export.
    pub locks_use: bool,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Use,
    Export,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Use => "use",
            Role::Export => "export",
        }
    }
}

impl WrappingKey {
    /// What is pinned of a key that was found and checked, or made: all the facts hold.
    pub fn checked(id: Hex<16>, locks_use: bool) -> Self {
        Self { id, local: true, always_sensitive: true, never_extractable: true, locks_use }
    }
}

/// The key with `id`, checked; none where the token has none. Needs a login.
///
/// Errors with [`Fault::Untrusted`] where several have the id, or the one that has it is not a wrapping key of ours.
pub fn find(session: &Session, token: &Found, role: Role, id: Hex<16>) -> Result<Option<ObjectHandle>, DeviceError> {
    let template = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Id(id.0.to_vec())];
    let found = session.calls().find_objects(&template).map_err(error::plain)?;
    match found[..] {
        [] => Ok(None),
        [key] => check(session, token, role, key).map(|()| Some(key)),
        _ => {
            let what = format!("{} has {} keys with the id of the {} key", token.name(), found.len(), role.name());
            Err(Fault::Untrusted(what).into())
        }
    }
}

/// The key that the ring pinned, checked: a token without it is not the one that the ring knows.
pub fn pinned(session: &Session, token: &Found, role: Role, id: Hex<16>) -> Result<ObjectHandle, DeviceError> {
    find(session, token, role, id)?.ok_or_else(|| {
        let what = format!("{} has no {} key of this ring", token.name(), role.name());
        Fault::NotThisDevice(format!("{what}: it was wiped, or is another token of the same name")).into()
    })
}

/// Makes the key with `id`, in a read/write session of a user who is logged in.
pub fn make(session: &Session, role: Role, id: Hex<16>) -> Result<(), DeviceError> {
    let generate = |template: &[Attribute]| session.calls().generate_key(&Mechanism::AesKeyGen, template).map(drop);
    let template = template(role, id);
    if role == Role::Use {
        let locking = [&template[..], &[unwrap_template::of_use_key()]].concat();
        match generate(&locking) {
            Ok(()) => return Ok(()),
            // The token knows no such attribute, or takes no array: the self-test will show that the key does not lock.
            Err(Error::Pkcs11(
                RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::AttributeReadOnly
                | RvError::TemplateInconsistent
                | RvError::ArgumentsBad,
                _,
            )) => {}
            Err(source) => return Err(error::plain(source)),
        }
    }
    generate(&template).map_err(error::plain)
}

/// What it means that a key could not be made or destroyed (`what` says which), after all that may help was tried. A token
/// that keeps its keys in files has no better word for files that may not be written than these.
pub fn not_written(error: DeviceError, token: &Found, what: &str) -> DeviceError {
    let says_little = [
        sys::CKR_GENERAL_ERROR,
        sys::CKR_FUNCTION_FAILED,
        sys::CKR_DEVICE_ERROR,
        sys::CKR_DEVICE_MEMORY,
        sys::CKR_TOKEN_WRITE_PROTECTED,
        sys::CKR_SESSION_READ_ONLY,
    ];
    if !error.code.as_ref().is_some_and(|code| says_little.contains(&code.value)) {
        return error;
    }
    let why = "it is write-protected or full, or this user may not write its files";
    DeviceError { fault: Fault::WriteProtected(format!("{} does not {what}: {why}", token.name())), ..error }
}

/// CKA_COPYABLE, CKA_DESTROYABLE and CKA_TRUSTED are left out: each is refused by some token.
fn template(role: Role, id: Hex<16>) -> Vec<Attribute> {
    let label = format!("strongroom {} {}", role.name(), &id.to_string()[..8]);
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(AES_256_BYTES.into()),
        Attribute::Label(label.into_bytes()),
        Attribute::Id(id.0.to_vec()),
    ];
    template.extend(rules());
    template
}

/// What is asked for when the key is made, and must hold whenever it is used. CKA_MODIFIABLE is among them since one
/// C_SetAttributeValue(CKA_DECRYPT) would undo the rest.
fn rules() -> [Attribute; 12] {
    [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Derive(false),
        Attribute::Modifiable(false),
    ]
}

fn check(session: &Session, token: &Found, role: Role, key: ObjectHandle) -> Result<(), DeviceError> {
    let mut required = vec![Attribute::KeyType(KeyType::AES), Attribute::ValueLen(AES_256_BYTES.into())];
    required.extend(rules());
    // The token's own word for where the key comes from (PKCS#11 3.1, sections 4.8.2 and 4.10.2).
    required.extend([Attribute::Local(true), Attribute::AlwaysSensitive(true), Attribute::NeverExtractable(true)]);
    let kinds: Vec<AttributeType> = required.iter().map(Attribute::attribute_type).collect();
    let told = session.attributes(key, &kinds).map_err(error::plain)?;
    let wrong = required.iter().filter(|rule| !told.contains(rule)).map(|rule| rule.attribute_type().to_string());
    match wrong.collect::<Vec<_>>()[..] {
        [] => Ok(()),
        ref wrong => {
            let what = format!("the {} key on {} was not made by strongroom", role.name(), token.name());
            Err(Fault::Untrusted(format!("{what}: {} not as it must be", wrong.join(", "))).into())
        }
    }
}
