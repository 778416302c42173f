//! A session, and what is done in it. Objects made in it are given back by Drop.
//!
//! All calls go through the crate, though it makes one too many for each C_Sign and C_WrapKey: a function list of our
//! own is no way around it. Some modules (p11-kit's proxy) give a new one at each C_GetFunctionList, each with sessions
//! and an initialisation of its own.

use std::cell::OnceCell;

use cryptoki::error::{Error, Result, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::SessionState;
use cryptoki::slot::Slot;

use zeroize::Zeroize;

use super::guest::undisturbed;
use super::mechanism::{KeyWrap, Oaep};
use super::module::Module;
use super::oaep::HostPair;
use crate::secret::{KEY_BYTES, Mac, SecretBytes};
use crate::wrap::WRAPPED_BYTES;

/// An open session: read-only unless it is to make token objects. Closing it destroys its session objects.
pub struct Session {
    inner: cryptoki::session::Session,
    /// Pairs of RSA keys that secrets pass by, where they are needed: made once, since that takes a second.
    pub host_pair: OnceCell<HostPair>,
    pub token_pair: OnceCell<TokenPair>,
}

/// A key pair of session objects.
pub struct TokenPair {
    pub private: ObjectHandle,
    pub modulus: Vec<u8>,
    pub exponent: Vec<u8>,
}

/// What a key is wrapped by.
#[derive(Debug, Clone, Copy)]
pub enum By {
    Aes(KeyWrap),
    Rsa(Oaep),
}

/// A session object, destroyed when this is dropped.
pub struct Temporary<'s> {
    session: &'s Session,
    handle: ObjectHandle,
}

impl Session {
    /// Read-only where the token has such sessions. Some have none, and say so in one of these ways (CloudHSM: the last).
    pub fn read_only(module: &Module, slot: Slot) -> Result<Self> {
        match undisturbed(|| module.calls().open_ro_session(slot)) {
            Err(
                refused @ Error::Pkcs11(
                    RvError::SessionReadOnly
                    | RvError::FunctionNotSupported
                    | RvError::ArgumentsBad
                    | RvError::FunctionFailed,
                    _,
                ),
            ) => Self::read_write(module, slot).map_err(|_| refused),
            opened => opened.map(Self::new),
        }
    }

    pub fn read_write(module: &Module, slot: Slot) -> Result<Self> {
        undisturbed(|| module.calls().open_rw_session(slot)).map(Self::new)
    }

    fn new(inner: cryptoki::session::Session) -> Self {
        Self { inner, host_pair: OnceCell::new(), token_pair: OnceCell::new() }
    }

    /// The crate's session, for what is one call of it.
    pub fn calls(&self) -> &cryptoki::session::Session {
        &self.inner
    }

    pub fn create(&self, template: &[Attribute]) -> Result<Temporary<'_>> {
        self.inner.create_object(template).map(|handle| self.temporary(handle))
    }

    pub fn generate(&self, mechanism: &Mechanism<'_>, template: &[Attribute]) -> Result<Temporary<'_>> {
        self.inner.generate_key(mechanism, template).map(|handle| self.temporary(handle))
    }

    pub fn copy(&self, object: ObjectHandle, template: &[Attribute]) -> Result<Temporary<'_>> {
        self.inner.copy_object(object, template).map(|handle| self.temporary(handle))
    }

    /// A secret of 32 bytes wrapped under the key `key` (PKCS#11 3.1, sections 6.13 and 6.1.8).
    pub fn wrap(&self, by: By, key: ObjectHandle, secret: ObjectHandle) -> Result<Vec<u8>> {
        let mut wrapped = self.inner.wrap_key(&by.mechanism(), key, secret)?;
        if let By::Aes(_) = by {
            // The crate gives as much as the token asked room for, and some ask for more than they fill.
            wrapped.truncate(WRAPPED_BYTES);
        }
        Ok(wrapped)
    }

    pub fn unwrap(&self, by: By, key: ObjectHandle, blob: &[u8], template: &[Attribute]) -> Result<Temporary<'_>> {
        let handle = self.inner.unwrap_key(&by.mechanism(), key, blob, template)?;
        Ok(self.temporary(handle))
    }

    /// The objects that fit.
    pub fn find(&self, template: &[Attribute]) -> Result<Vec<ObjectHandle>> {
        self.inner.find_objects(template)
    }

    /// Whether nobody is logged in: somebody else may have ended the login, which is the process's. False where the module
    /// does not say.
    pub fn is_public(&self) -> bool {
        let state = self.inner.get_session_info().map(|info| info.session_state());
        matches!(state, Ok(SessionState::RoPublic | SessionState::RwPublic))
    }

    /// HMAC-SHA-256 (PKCS#11 3.1, section 6.23.3). After an error the session is good for nothing: the operation may
    /// still be active.
    pub fn hmac(&self, key: ObjectHandle, message: &[u8]) -> Result<Mac> {
        let mut output = self.inner.sign(&Mechanism::Sha256Hmac, key, message)?;
        let mac = SecretBytes::copy_of(&output);
        output.zeroize();
        if mac.len() == KEY_BYTES { Ok(Mac::new(mac)) } else { Err(Error::InvalidValue) }
    }

    /// Those of `kinds` that the object has and tells. One call where all of them have a fixed size.
    pub fn attributes(&self, object: ObjectHandle, kinds: &[AttributeType]) -> Result<Vec<Attribute>> {
        self.inner.get_attributes(object, kinds)
    }

    /// Whether the object's value can be read out of the token.
    pub fn reveals(&self, object: ObjectHandle) -> Result<bool> {
        let mut values = match self.inner.get_attributes(object, &[AttributeType::Value]) {
            Ok(values) => values,
            Err(Error::Pkcs11(..)) => return Ok(false),
            Err(other) => return Err(other),
        };
        let mut revealed = false;
        for value in &mut values {
            if let Attribute::Value(bytes) = value {
                revealed |= !bytes.is_empty();
                bytes.zeroize();
            }
        }
        Ok(revealed)
    }

    /// An object that is there, to be destroyed when it was used.
    pub fn adopt(&self, handle: ObjectHandle) -> Temporary<'_> {
        self.temporary(handle)
    }

    fn temporary(&self, handle: ObjectHandle) -> Temporary<'_> {
        Temporary { session: self, handle }
    }
}

impl By {
    fn mechanism(self) -> Mechanism<'static> {
        match self {
            By::Aes(wrap) => wrap.mechanism(),
            By::Rsa(oaep) => oaep.mechanism(),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            By::Aes(wrap) => wrap.name(),
            By::Rsa(oaep) => oaep.name(),
        }
    }
}

impl Temporary<'_> {
    pub fn handle(&self) -> ObjectHandle {
        self.handle
    }

    /// Leaves the object to the session, which destroys it when it is closed.
    pub fn keep(self) -> ObjectHandle {
        std::mem::ManuallyDrop::new(self).handle
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // What could not be destroyed now goes with the session.
        drop(self.session.inner.destroy_object(self.handle));
    }
}
