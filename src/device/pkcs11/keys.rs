//! The two wrapping keys of a ring on a token: made, found, and never trusted by their label.
//!
//! A wrapping key is the one object with the CKA_ID that the ring recorded, made inside the token (CKA_LOCAL) and never
//! out of it (CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE), that can wrap and unwrap and nothing else. One that somebody
//! imported, or that could decrypt, would lay every seal open. Other objects are never touched, whatever their label.
//!
//! It is a key of AES, or, where a token wraps by RSA-OAEP alone, a key pair: all of this then is said of its private half,
//! and the public one must be the same pair's.

use cryptoki::context::Function;
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

pub const AES_256_BYTES: u64 = 32;
/// As strong as AES-128 (NIST SP 800-57 part 1, table 2), and what tokens of today can make.
pub const RSA_BITS: u64 = 3072;
/// 65537.
pub const RSA_EXPONENT: [u8; 3] = [1, 0, 1];
/// Without it a private key may sign whatever it is given, bare, which is to decrypt it. By the standard's default, as by many
/// tokens', it may (PKCS#11 3.1, section 4.9).
const NO_RECOVERY: Attribute = Attribute::SignRecover(false);

/// One of the ring's two wrapping keys on a token, with what was read back of it when it was pinned. On a token that keeps
/// secrets as its own objects there is no such key: then the id is that of the ring, and nothing was read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappingKey {
    /// CKA_ID.
    pub id: Hex<16>,
    /// CKA_LOCAL: made inside the token. False on one that does not say so of a key that it has just made (NSS).
    pub local: bool,
    /// Always true by today's rules where there is a key, as is the next.
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
    /// What is pinned of a key that was found and checked, or made.
    pub fn checked(id: Hex<16>, key: Handles, locks_use: bool) -> Self {
        Self { id, local: key.is_local, always_sensitive: true, never_extractable: true, locks_use }
    }

    /// Where no key is needed.
    pub fn none(id: Hex<16>, locks_use: bool) -> Self {
        Self { id, local: false, always_sensitive: false, never_extractable: false, locks_use }
    }
}

/// What a wrapping key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Aes,
    Rsa,
}

/// A wrapping key as it is used: one object that does both, or the halves of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handles {
    pub wraps: ObjectHandle,
    pub unwraps: ObjectHandle,
    /// Whether the token says that it made it (CKA_LOCAL).
    pub is_local: bool,
}

/// Whether a key must be one that the token says it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    Required,
    /// Where the ring recorded that the token does not say so, or we have just seen the key made.
    Known,
}

impl Local {
    /// Of a key that is pinned so.
    pub fn as_pinned(key: &WrappingKey) -> Self {
        if key.local { Local::Required } else { Local::Known }
    }
}

/// The key with `id`, checked; none where the token has none. Needs a login.
///
/// Errors with [`Fault::Untrusted`] where several have the id, or the one that has it is not a wrapping key of ours.
pub fn find(
    session: &Session,
    token: &Found,
    role: Role,
    kind: Kind,
    id: Hex<16>,
    local: Local,
) -> Result<Option<Handles>, DeviceError> {
    let class = match kind {
        Kind::Aes => ObjectClass::SECRET_KEY,
        Kind::Rsa => ObjectClass::PRIVATE_KEY,
    };
    let Some(key) = the_one(session, token, role, class, id)? else { return Ok(None) };
    let is_local = check(session, token, role, kind, key, local)?;
    let wraps = match kind {
        Kind::Aes => key,
        Kind::Rsa => public_half(session, token, role, key, id)?,
    };
    Ok(Some(Handles { wraps, unwraps: key, is_local }))
}

/// The one object of its class that has the id.
fn the_one(
    session: &Session,
    token: &Found,
    role: Role,
    class: ObjectClass,
    id: Hex<16>,
) -> Result<Option<ObjectHandle>, DeviceError> {
    let found = session.find(&[Attribute::Class(class), Attribute::Id(id.0.to_vec())]).map_err(error::plain)?;
    match found[..] {
        // Who was logged out is shown no private object.
        [] if token.wants_login() && session.is_public() => {
            Err(error::plain(Error::Pkcs11(RvError::UserNotLoggedIn, Function::FindObjects)))
        }
        [] => Ok(None),
        [key] => Ok(Some(key)),
        _ => {
            let what = format!("{} has {} keys with the id of the {} key", token.name(), found.len(), role.name());
            Err(Fault::Untrusted(what).into())
        }
    }
}

/// The public half of a pair. No PIN guards it: anybody may have put one there that only looks like it, and would read what is
/// encrypted to it, or one whose exponent hides nothing.
fn public_half(
    session: &Session,
    token: &Found,
    role: Role,
    private: ObjectHandle,
    id: Hex<16>,
) -> Result<ObjectHandle, DeviceError> {
    let untrusted = |what: &str| {
        let what = format!("the {} key on {} has {what}", role.name(), token.name());
        DeviceError::from(Fault::Untrusted(what))
    };
    let found = the_one(session, token, role, ObjectClass::PUBLIC_KEY, id)?;
    let public = found.ok_or_else(|| untrusted("lost its public half"))?;
    let told = |key, kinds: &[AttributeType]| session.attributes(key, kinds).map_err(error::plain);
    let of_private = told(private, &[AttributeType::Modulus])?;
    let of_public = told(public, &[AttributeType::Modulus, AttributeType::PublicExponent])?;
    let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
    let (mut is_usual, mut is_same) = (false, false);
    for attribute in &of_public {
        match attribute {
            Attribute::PublicExponent(exponent) => is_usual = number(exponent) == RSA_EXPONENT,
            Attribute::Modulus(modulus) if number(modulus).len() == RSA_BITS as usize / 8 => {
                is_same = of_private.contains(attribute);
            }
            // Nothing else was asked for.
            _ => {}
        }
    }
    match is_same && is_usual {
        true => Ok(public),
        false => Err(untrusted("the public half of another")),
    }
}

/// The key that the ring pinned, checked: a token without it is not the one that the ring knows.
pub fn pinned(
    session: &Session,
    token: &Found,
    role: Role,
    kind: Kind,
    id: Hex<16>,
    local: Local,
) -> Result<Handles, DeviceError> {
    find(session, token, role, kind, id, local)?.ok_or_else(|| {
        let what = format!("{} has no {} key of this ring", token.name(), role.name());
        Fault::NotThisDevice(format!("{what}: it was wiped, or is another token of the same name")).into()
    })
}

/// Makes the key with `id`, in a read/write session of a user who is logged in. Where the token takes it, the use key locks what
/// it unwraps, and neither can be copied: some tokens let a copy of what is not modifiable do what the original may not, as
/// decrypt.
pub fn make(session: &Session, role: Role, kind: Kind, id: Hex<16>) -> Result<(), DeviceError> {
    let generate = |template: &[Attribute]| match kind {
        Kind::Aes => session.calls().generate_key(&Mechanism::AesKeyGen, template).map(drop),
        Kind::Rsa => session
            .calls()
            .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public_template(role, id), template)
            .map(drop),
    };
    let template = match kind {
        Kind::Aes => template(role, id),
        Kind::Rsa => private_template(role, id),
    };
    let (locks, stays) = (unwrap_template::of_use_key(), Attribute::Copyable(false));
    let wishes = match role {
        Role::Use => vec![vec![locks.clone(), stays.clone()], vec![locks], vec![stays]],
        Role::Export => vec![vec![stays]],
    };
    for wish in wishes {
        let Err(source) = generate(&[&template[..], &wish].concat()) else { return Ok(()) };
        if !is_wish_refused(session, id, &wish, &source)? {
            return Err(error::plain(source));
        }
    }
    generate(&template).map_err(error::plain)
}

/// Whether a key was not made since the token knows no such attribute, or takes no array: the self-test will show what that
/// costs. NSS says of CKA_COPYABLE only that something went wrong: then no key was made.
fn is_wish_refused(session: &Session, id: Hex<16>, wish: &[Attribute], source: &Error) -> Result<bool, DeviceError> {
    let Error::Pkcs11(rv, _) = source else { return Ok(false) };
    match rv {
        RvError::AttributeTypeInvalid
        | RvError::AttributeValueInvalid
        | RvError::AttributeReadOnly
        | RvError::TemplateInconsistent
        | RvError::ArgumentsBad => Ok(true),
        RvError::GeneralError if wish.contains(&Attribute::Copyable(false)) => {
            let made = session.find(&[Attribute::Id(id.0.to_vec())]).map_err(error::plain)?;
            Ok(made.is_empty())
        }
        _ => Ok(false),
    }
}

impl Handles {
    /// One object, or two: the private half first, since what is left without it is of no use (see [`halves_left`]).
    pub fn objects(&self) -> impl Iterator<Item = ObjectHandle> + use<> {
        let other = (self.wraps != self.unwraps).then_some(self.wraps);
        [self.unwraps].into_iter().chain(other)
    }
}

/// Every object of the ring's wrapping key with `id`, for [`crate::device::Device::retire`]: looked at first, as ever.
pub fn objects(session: &Session, token: &Found, role: Role, id: Hex<16>) -> Result<Vec<ObjectHandle>, DeviceError> {
    let mut objects = Vec::new();
    for kind in [Kind::Aes, Kind::Rsa] {
        match find(session, token, role, kind, id, Local::Known)? {
            Some(key) => objects.extend(key.objects()),
            None => objects.extend(halves_left(session, role, kind, id)?),
        }
    }
    Ok(objects)
}

/// Public halves that a run which was cut off has left, when a pair was made or destroyed: some tokens write one half after the
/// other. Asked for where there is no private one.
pub fn halves_left(session: &Session, role: Role, kind: Kind, id: Hex<16>) -> Result<Vec<ObjectHandle>, DeviceError> {
    let ours = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id.0.to_vec()), label(role, id)];
    match kind {
        Kind::Aes => Ok(Vec::new()),
        Kind::Rsa => session.find(&ours).map_err(error::plain),
    }
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

fn label(role: Role, id: Hex<16>) -> Attribute {
    Attribute::Label(format!("strongroom {} {}", role.name(), &id.to_string()[..8]).into_bytes())
}

/// CKA_DESTROYABLE and CKA_TRUSTED are left out: each is refused by some token.
fn template(role: Role, id: Hex<16>) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(AES_256_BYTES.into()),
        label(role, id),
        Attribute::Id(id.0.to_vec()),
        Attribute::Wrap(true),
        Attribute::Encrypt(false),
        Attribute::Verify(false),
    ];
    template.extend(rules());
    template
}

fn private_template(role: Role, id: Hex<16>) -> Vec<Attribute> {
    let mut template =
        vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(KeyType::RSA), label(role, id)];
    template.extend([Attribute::Id(id.0.to_vec()), NO_RECOVERY]);
    template.extend(rules());
    template
}

fn public_template(role: Role, id: Hex<16>) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::ModulusBits(RSA_BITS.into()),
        Attribute::PublicExponent(RSA_EXPONENT.to_vec()),
        label(role, id),
        Attribute::Id(id.0.to_vec()),
        Attribute::Token(true),
        Attribute::Wrap(true),
        Attribute::Encrypt(false),
        Attribute::Verify(false),
    ]
}

/// What is asked for when the key is made, and must hold whenever it is used, of either kind. CKA_MODIFIABLE is among them
/// since one C_SetAttributeValue(CKA_DECRYPT) would undo the rest.
fn rules() -> [Attribute; 9] {
    [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Unwrap(true),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
        Attribute::Derive(false),
        Attribute::Modifiable(false),
    ]
}

/// Gives whether the token says that it made the key.
fn check(
    session: &Session,
    token: &Found,
    role: Role,
    kind: Kind,
    key: ObjectHandle,
    local: Local,
) -> Result<bool, DeviceError> {
    let mut required = match kind {
        Kind::Aes => vec![
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(AES_256_BYTES.into()),
            Attribute::Wrap(true),
            Attribute::Encrypt(false),
            Attribute::Verify(false),
        ],
        Kind::Rsa => vec![Attribute::KeyType(KeyType::RSA), NO_RECOVERY],
    };
    required.extend(rules());
    // The token's own word for where the key comes from (PKCS#11 3.1, sections 4.8.2 and 4.10.2).
    required.extend((local == Local::Required).then_some(Attribute::Local(true)));
    required.extend([Attribute::AlwaysSensitive(true), Attribute::NeverExtractable(true)]);
    let mut kinds: Vec<AttributeType> = required.iter().map(Attribute::attribute_type).collect();
    kinds.extend((local == Local::Known).then_some(AttributeType::Local));
    let told = session.attributes(key, &kinds).map_err(error::plain)?;
    let wrong = required.iter().filter(|rule| !told.contains(rule)).map(|rule| rule.attribute_type().to_string());
    match wrong.collect::<Vec<_>>()[..] {
        [] => Ok(told.contains(&Attribute::Local(true))),
        ref wrong => {
            let what = format!("the {} key on {} was not made by strongroom", role.name(), token.name());
            Err(Fault::Untrusted(format!("{what}: {} not as it must be", wrong.join(", "))).into())
        }
    }
}
