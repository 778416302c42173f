//! How a secret comes into a token from outside, and how it leaves: by the way that the token's self-test has shown.
//!
//! Under a KEK that the token takes, the secret never is in host memory. By RSA-OAEP, and where a token takes a secret only as
//! it is, the host opens what is wrapped under the KEK, in locked memory, and wraps it anew for the other side.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use zeroize::Zeroize;

use super::error;
use super::keys::{RSA_BITS, RSA_EXPONENT};
use super::mechanism::Oaep;
use super::oaep::{self, HostPair};
use super::seal::{self, Form};
use super::session::{By, Session, Temporary, TokenPair};
use super::ways::{Enters, Leaves, Ways};
use crate::device::{DeviceError, Fault};
use crate::secret::{Kek, MasterSecret};
use crate::wrap::WrappedSecret;

/// What a KEK that was brought in may do: one of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum KekMay {
    Wrap,
    Unwrap,
}

/// Takes in a secret that came from outside, as an object of that form; `more` is what else it shall have.
pub fn bring_in<'s>(
    session: &'s Session,
    ways: &Ways,
    wrapped: &WrappedSecret,
    kek: &Kek,
    form: Form,
    more: &[Attribute],
) -> Result<Temporary<'s>, DeviceError> {
    let damaged = |error: crate::wrap::WrapError| DeviceError::from(Fault::Damaged(error.to_string()));
    let with_more = |mut template: Vec<Attribute>| {
        template.retain(|attribute| more.iter().all(|other| other.attribute_type() != attribute.attribute_type()));
        template.extend_from_slice(more);
        template
    };
    let template = with_more(ways.unwrap_template(form));
    let secret = match ways.enters {
        Enters::UnderKek { mechanism, algorithm } => {
            let rewrapped;
            let wrapped = if wrapped.algorithm == algorithm {
                wrapped
            } else {
                rewrapped = wrapped.rewrapped(kek, algorithm).map_err(damaged)?;
                &rewrapped
            };
            let blob = wrapped.blob().map_err(damaged)?;
            let kek = bring_kek(session, kek, KekMay::Unwrap).map_err(error::plain)?;
            let damaged = "the wrapped secret is damaged or wrapped under another key";
            let unwrapped = session.unwrap(By::Aes(mechanism), kek.handle(), blob, &template);
            unwrapped.map_err(|source| error::unwrap(source, damaged))?
        }
        Enters::Encrypted { mechanism } => {
            let secret = wrapped.unwrap(kek).map_err(damaged)?;
            let pair = token_pair(session)?;
            let encrypted = oaep::encrypt(mechanism, &pair.modulus, &pair.exponent, &secret).map_err(|error| {
                DeviceError::from(Fault::Failed(format!("the token's public key is of no use: {error}")))
            })?;
            session.unwrap(By::Rsa(mechanism), pair.private, &encrypted, &template).map_err(error::plain)?
        }
        Enters::Plain {} => {
            let secret = wrapped.unwrap(kek).map_err(damaged)?;
            let template = with_more(ways.template(form));
            return create(session, &template, secret.expose_secret()).map_err(error::plain);
        }
    };
    seal::settle(session, ways, &secret, form)?;
    Ok(secret)
}

/// Lets a secret out under `kek`.
pub fn let_out(
    session: &Session,
    leaves: Leaves,
    secret: ObjectHandle,
    kek: &Kek,
) -> Result<WrappedSecret, DeviceError> {
    match leaves {
        Leaves::UnderKek { mechanism, algorithm } => {
            let kek = bring_kek(session, kek, KekMay::Wrap).map_err(error::plain)?;
            let blob = session.wrap(By::Aes(mechanism), kek.handle(), secret).map_err(error::plain)?;
            let wrongly = |error| Fault::Failed(format!("the token wrapped wrongly: {error}")).into();
            WrappedSecret::of(algorithm, &blob).map_err(wrongly)
        }
        Leaves::Encrypted { mechanism } => {
            let secret = to_host(session, mechanism, secret)?;
            Ok(WrappedSecret::wrap(&secret, kek))
        }
        Leaves::NotAtAll {} => Err(Fault::Missing("the token lets no secret out".to_owned()).into()),
    }
}

/// A KEK as a session object that can do one thing.
fn bring_kek<'s>(session: &'s Session, kek: &Kek, may: KekMay) -> Result<Temporary<'s>, Error> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Wrap(may == KekMay::Wrap),
        Attribute::Unwrap(may == KekMay::Unwrap),
    ];
    create(session, &template, kek.expose_secret())
}

fn create<'s>(session: &'s Session, template: &[Attribute], value: &[u8]) -> Result<Temporary<'s>, Error> {
    let mut template = template.to_vec();
    template.push(Attribute::Value(value.to_vec()));
    let created = session.create(&template);
    if let [.., Attribute::Value(bytes)] = &mut template[..] {
        bytes.zeroize();
    }
    created
}

/// The token's pair for this session, which secrets are encrypted to on their way in.
fn token_pair(session: &Session) -> Result<&TokenPair, DeviceError> {
    if let Some(pair) = session.token_pair.get() {
        return Ok(pair);
    }
    let public = [
        Attribute::Token(false),
        Attribute::ModulusBits(RSA_BITS.into()),
        Attribute::PublicExponent(RSA_EXPONENT.to_vec()),
        Attribute::Wrap(true),
        Attribute::Encrypt(false),
        Attribute::Verify(false),
    ];
    let private = [
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Unwrap(true),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
        Attribute::SignRecover(false),
    ];
    let made = session.calls().generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private);
    let (public, private) = made.map_err(error::plain)?;
    let told = session.attributes(public, &[AttributeType::Modulus, AttributeType::PublicExponent]);
    let (mut modulus, mut exponent) = (Vec::new(), Vec::new());
    for attribute in told.map_err(error::plain)? {
        match attribute {
            Attribute::Modulus(bytes) => modulus = bytes,
            Attribute::PublicExponent(bytes) => exponent = bytes,
            // Nothing else was asked for.
            _ => {}
        }
    }
    Ok(session.token_pair.get_or_init(|| TokenPair { private, modulus, exponent }))
}

/// Has the token encrypt a secret to a pair of the host's, and opens it.
fn to_host(session: &Session, oaep: Oaep, secret: ObjectHandle) -> Result<MasterSecret, DeviceError> {
    let failed = |error: rsa::Error| DeviceError::from(Fault::Failed(format!("RSA-OAEP on the host: {error}")));
    let pair = match session.host_pair.get() {
        Some(pair) => pair,
        None => {
            let pair = HostPair::random().map_err(failed)?;
            session.host_pair.get_or_init(|| pair)
        }
    };
    let [modulus, exponent] = pair.public();
    let public = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Token(false),
        Attribute::Wrap(true),
        Attribute::Encrypt(false),
        Attribute::Verify(false),
        Attribute::Modulus(modulus),
        Attribute::PublicExponent(exponent),
    ];
    let public = session.create(&public).map_err(error::plain)?;
    let encrypted = session.wrap(By::Rsa(oaep), public.handle(), secret).map_err(error::plain)?;
    let opened = pair.open(oaep, &encrypted).map_err(|_| {
        DeviceError::from(Fault::Failed("the token encrypted a secret otherwise than RSA-OAEP says".to_owned()))
    })?;
    opened.ok_or_else(|| Fault::Failed("the token encrypted a secret of another length".to_owned()).into())
}
