//! PKCS#11 tokens: HSMs, smart cards, soft tokens, by version 2.40 and later of the standard.
//!
//! A token keeps two AES-256 wrapping keys for a ring (`keys`) and no master secret: that is a session object, made
//! and used inside, and outside only ever wrapped (`seal`). The use key forces what it unwraps to stay inside, where
//! the token can do that; the self-test (`selftest`) shows whether it does. Nothing but a module's own answers is
//! believed: which tokens there are (`token`), what they can do, what attributes a key has.
//!
//! Sequence of calls of a one-shot use, which is to open, prove the generation's id, and derive:
//!
//! ```text
//! C_GetInterface  C_GetFunctionList  C_Initialize
//! C_GetSlotList (2)  C_GetTokenInfo, each slot            find the token, compare what is pinned
//! C_OpenSession  C_Login                                  the retry counters were read a moment ago, or are again
//! C_FindObjectsInit  C_FindObjects  C_FindObjectsFinal    the one object with the use key's CKA_ID
//! C_GetAttributeValue  C_UnwrapKey                        is it ours?
//! C_SignInit  C_Sign (2), each 32 bytes                   the id, then the key
//! C_CloseSession  C_Finalize
//! ```
//!
//! The files: `uri` (RFC 7512), `p11kit` (which modules there are), `module` (loaded once), `error`
//! (CKR codes), `initialise` and `officer` (blank tokens made ready), `recovery` (what may help), `login` (PINs), `session`
//! (calls, and objects given back), `unwrap_template`, `clock` (a time that is none), `guest` (what a module
//! changes of the process).

mod checkup;
mod clock;
pub mod codes;
mod error;
pub mod fuzzing;
pub(super) mod guest;
pub mod initialise;
mod keys;
mod login;
mod module;
mod officer;
pub(super) mod p11kit;
mod recovery;
mod seal;
mod selftest;
mod session;
mod token;
mod unwrap_template;
pub(super) mod uri;

use std::path::Path;

use cryptoki::object::ObjectHandle;
use serde::{Deserialize, Serialize};

pub use checkup::{STEPS, checkup};
pub use initialise::{BlankToken, LabelError, TokenLabel};
use keys::Role;
pub use keys::WrappingKey;
use login::LoggedIn;
pub use module::Module;
use recovery::{Cure, Recovery};
use session::Session;
use token::Found;
pub use uri::Pkcs11Uri;

use super::lock::DeviceLock;
use super::thread::SentPins;
use super::{
    Counter, Description, Device, DeviceError, ExportPart, Fault, Intent, Key, Protection, Root, Seal, UsePart,
};
use crate::bytes::{Base64, Hex};
use crate::secret::{Kek, Mac, Pin};
use crate::wrap::WrappedSecret;

/// Which token it is, blank-trimmed, as its token info says (PKCS#11 3.1, section 3.2: CK_TOKEN_INFO).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenIdentity {
    pub label: String,
    pub manufacturer: String,
    pub model: String,
    pub serial: String,
}

/// An open token. Fields are dropped in order: the session before the module, the lock last.
pub struct Token {
    work: Option<Work>,
    found: Found,
    uri: Pkcs11Uri,
    pinned: Option<Root>,
    pins: SentPins,
    /// What the token took, to log in again with when a session was lost.
    pin: Option<Pin>,
    /// Whether a PIN was ever sent, or asked for on a PIN pad.
    pin_was_sent: bool,
    /// Set once a PIN was refused, or was sent and its fate is unknown: this token is not sent another one.
    refused: Option<Fault>,
    module: Module,
    _lock: DeviceLock,
}

/// A logged-in session, and what was looked up in it.
struct Work {
    /// The use part that was used last, and its key: loaded once for many HMACs.
    loaded: Option<(Base64, ObjectHandle)>,
    use_key: Option<ObjectHandle>,
    export_key: Option<ObjectHandle>,
    session: Session,
}

impl Token {
    /// Finds the token and compares it with what the ring pinned. No login: that waits until keys are needed.
    pub fn open(uri: &Pkcs11Uri, pinned: Option<Root>, pins: SentPins, lock: DeviceLock) -> Result<Self, DeviceError> {
        let module = Module::open(&uri.module()?)?;
        let mut recovery = Recovery::new();
        let found = loop {
            match guest::undisturbed(|| token::find(&module, uri)) {
                Err(error) if recovery.prepare(recovery::cure(&error), &module) => {}
                found => break found?,
            }
        };
        let wanted = match &pinned {
            Some(Root::Pkcs11 { token, .. }) => Some(token),
            Some(Root::Tpm { .. }) => {
                return Err(Fault::NotThisDevice("the ring pinned a TPM, and the URI names a token".to_owned()).into());
            }
            None => None,
        };
        if let Some(wanted) = wanted.filter(|wanted| **wanted != found.identity) {
            let TokenIdentity { label, serial, .. } = &found.identity;
            let what = format!("the ring's token is `{}` (serial {})", wanted.label, wanted.serial);
            return Err(Fault::NotThisDevice(format!("{what}, this is `{label}` (serial {serial})")).into());
        }
        let uri = uri.clone();
        let (pin, pin_was_sent, refused) = (None, false, None);
        Ok(Self { work: None, found, uri, pinned, pins, pin, pin_was_sent, refused, module, _lock: lock })
    }

    /// The session, logged in at the first call.
    fn work(&mut self) -> Result<&mut Work, DeviceError> {
        if self.work.is_none() {
            if let Some(fault) = &self.refused {
                return Err(fault.clone().into());
            }
            if !self.found.initialised() {
                return Err(Fault::Missing(format!("{} is not initialised", self.found.name())).into());
            }
            let LoggedIn { session, taken } = self.log_in()?;
            self.pin = taken.or(self.pin.take());
            self.work = Some(Work { loaded: None, use_key: None, export_key: None, session });
        }
        Ok(self.work.as_mut().expect("logged in just now"))
    }

    fn log_in(&mut self) -> Result<LoggedIn, DeviceError> {
        let done = login::log_in(&self.module, &self.found, self.pins.as_ref(), self.pin.as_ref());
        self.pin_was_sent |= match &done {
            Ok(_) => self.found.wants_login(),
            Err(refused) => refused.was_sent,
        };
        done.map_err(|login::Refused { error, was_sent }| {
            // One that the token took before is no try; any other that it did not take may have been one.
            if was_sent && (self.pin.is_none() || !matches!(error.fault, Fault::Unreachable(_))) {
                self.refused = Some(error.fault.clone());
                self.pin = None;
            }
            error
        })
    }

    /// Does `work`, and again where something may help against what went wrong (see [`recovery`]). Every piece of work
    /// may be begun again: it makes session objects only, or looks first whether it was done.
    fn attempt<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        let mut recovery = Recovery::new();
        loop {
            let error = match work(self) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let cure = recovery::cure(&error);
            if cure != Cure::Nothing {
                // Nothing in the session is relied on any more.
                self.work = None;
            }
            let helped = self.may_log_in_by_itself()
                && recovery.prepare(cure, &self.module)
                && (cure == Cure::Reopen || self.is_found_again(&mut recovery));
            if !helped {
                return Err(error);
            }
        }
    }

    /// Whether another session can be had without a PIN that the token may refuse.
    fn may_log_in_by_itself(&self) -> bool {
        self.refused.is_none() && (self.pin.is_some() || !self.pin_was_sent)
    }

    /// Looks for the token in every slot until the patience ends. Whether it is there.
    fn is_found_again(&mut self, recovery: &mut Recovery) -> bool {
        loop {
            match token::find_again(&self.module, &self.found) {
                Ok(Some(found)) => {
                    self.found = found;
                    return true;
                }
                // It may be on its way back.
                Ok(None) | Err(_) if recovery.patience.wait() => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// The pinned wrapping key of `role`, found and checked once a session.
    fn key(&mut self, role: Role) -> Result<ObjectHandle, DeviceError> {
        let id = match (&self.pinned, role) {
            (Some(Root::Pkcs11 { use_key, .. }), Role::Use) => use_key.id,
            (Some(Root::Pkcs11 { export_key, .. }), Role::Export) => export_key.id,
            _ => return Err(Fault::Failed(format!("{} is not set up for this ring", self.found.name())).into()),
        };
        let work = self.work()?;
        let known = match role {
            Role::Use => work.use_key,
            Role::Export => work.export_key,
        };
        if let Some(key) = known {
            return Ok(key);
        }
        let (work, found) = (self.work.as_mut().expect("logged in above"), &self.found);
        let key = keys::pinned(&work.session, found, role, id)?;
        match role {
            Role::Use => work.use_key = Some(key),
            Role::Export => work.export_key = Some(key),
        }
        Ok(key)
    }

    fn both_keys(&mut self) -> Result<(ObjectHandle, ObjectHandle, &Session), DeviceError> {
        let (use_key, export_key) = (self.key(Role::Use)?, self.key(Role::Export)?);
        Ok((use_key, export_key, &self.work()?.session))
    }

    /// The secret of a use part as a session object: the one loaded last, or loaded now in its place.
    fn loaded(&mut self, part: &UsePart) -> Result<ObjectHandle, DeviceError> {
        let key = self.key(Role::Use)?;
        let work = self.work()?;
        match &work.loaded {
            Some((blob, secret)) if *blob == part.0.blob => return Ok(*secret),
            Some((_, secret)) => {
                let secret = *secret;
                work.loaded = None;
                work.session.calls().destroy_object(secret).map_err(error::plain)?;
            }
            None => {}
        }
        let secret = seal::unseal(&work.session, key, &part.0, &seal::locked())?.keep();
        work.loaded = Some((part.0.blob.clone(), secret));
        Ok(secret)
    }

    /// The key that `id` is meant for: found, or made now. A key that the ring has pinned is never made again. `is_making`
    /// says which key could not be made, after an error.
    fn found_or_made(
        &mut self,
        role: Role,
        id: Hex<16>,
        is_making: &mut Option<Role>,
    ) -> Result<ObjectHandle, DeviceError> {
        let is_pinned = match &self.pinned {
            Some(Root::Pkcs11 { use_key, export_key, .. }) => [use_key.id, export_key.id].contains(&id),
            _ => false,
        };
        self.work()?;
        let (session, found) = (&self.work.as_ref().expect("logged in above").session, &self.found);
        if !is_pinned && keys::find(session, found, role, id)?.is_none() {
            *is_making = Some(role);
            let writing = Session::read_write(&self.module, found.slot).map_err(error::plain)?;
            keys::make(&writing, role, id)?;
            *is_making = None;
        }
        keys::pinned(session, found, role, id)
    }

    fn set_up(&mut self, intent: &Intent, is_making: &mut Option<Role>) -> Result<Root, DeviceError> {
        *is_making = None;
        let lacks = self.found.lacks(&self.module, self.pinned.is_none())?;
        if !lacks.is_empty() {
            return Err(Fault::Missing(format!("{} lacks {}", self.found.name(), lacks.join(", "))).into());
        }
        let use_key = self.found_or_made(Role::Use, intent.use_key, is_making)?;
        let export_key = self.found_or_made(Role::Export, intent.export_key, is_making)?;
        let work = self.work.as_mut().expect("the keys were found in a session");
        let locks_use = selftest::run(&work.session, &self.found, use_key, export_key, &mut |_| {})?;
        (work.use_key, work.export_key) = (Some(use_key), Some(export_key));
        let root = Root::Pkcs11 {
            token: self.found.identity.clone(),
            use_key: WrappingKey::checked(intent.use_key, locks_use),
            export_key: WrappingKey::checked(intent.export_key, false),
        };
        self.pinned = Some(root.clone());
        Ok(root)
    }
}

impl Device for Token {
    fn describe(&mut self) -> Result<Description, DeviceError> {
        self.attempt(|token| {
            let found = Found::read(&token.module, token.found.slot)?;
            found.describe(&token.module, token.uri.to_string(), token.pinned.as_ref())
        })
    }

    fn provision(&mut self, intent: &Intent) -> Result<Root, DeviceError> {
        let mut is_making = None;
        let done = self.attempt(|token| token.set_up(intent, &mut is_making));
        done.map_err(|error| match is_making {
            Some(role) => keys::not_written(error, &self.found, &format!("keep a {} key", role.name())),
            None => error,
        })
    }

    /// `qualifier` is not used: a token has nowhere to bind it. Its birth evidence is attributes alone, and a secret's
    /// generation is told by its id.
    fn generate(&mut self, protection: Protection<'_>, _qualifier: &[u8; 32]) -> Result<Seal, DeviceError> {
        nothing_of_its_own(protection)?;
        self.attempt(|token| {
            let (use_key, export_key, session) = token.both_keys()?;
            seal::generate(session, use_key, export_key)
        })
    }

    fn hmac(&mut self, key: Key<'_>, message: &[u8]) -> Result<Mac, DeviceError> {
        self.attempt(|token| {
            let signed = match key {
                Key::Sealed(part) => {
                    let secret = token.loaded(part)?;
                    token.work()?.session.hmac(secret, message)
                }
                Key::Wrapped(wrapped, kek) => {
                    let session = &token.work()?.session;
                    let secret = seal::take_in(session, wrapped, kek, &seal::locked())?;
                    session.hmac(secret.handle(), message)
                }
            };
            signed.map_err(|source| {
                // The operation may still be active in the session: end it.
                token.work = None;
                error::plain(source)
            })
        })
    }

    fn export(&mut self, part: &ExportPart, kek: &Kek) -> Result<WrappedSecret, DeviceError> {
        self.attempt(|token| {
            let key = token.key(Role::Export)?;
            seal::export(&token.work()?.session, key, part, kek)
        })
    }

    fn retire(&mut self, intent: &Intent) -> Result<bool, DeviceError> {
        let (mut had_any, mut is_destroying) = (false, false);
        let done = self.attempt(|token| {
            is_destroying = false;
            token.work()?;
            let (session, found) = (&token.work.as_ref().expect("logged in above").session, &token.found);
            let mut ours = Vec::new();
            // Both are looked at before either is destroyed.
            for (role, id) in [(Role::Use, intent.use_key), (Role::Export, intent.export_key)] {
                ours.extend(keys::find(session, found, role, id)?);
            }
            had_any |= !ours.is_empty();
            is_destroying = had_any;
            let writing = Session::read_write(&token.module, found.slot).map_err(error::plain)?;
            for key in &ours {
                writing.calls().destroy_object(*key).map_err(error::plain)?;
            }
            drop(writing);
            token.work = None;
            Ok(had_any)
        });
        done.map_err(|error| match is_destroying {
            true => keys::not_written(error, &self.found, "let its keys go"),
            false => error,
        })
    }

    fn import(&mut self, wrapped: &WrappedSecret, kek: &Kek, protection: Protection<'_>) -> Result<Seal, DeviceError> {
        nothing_of_its_own(protection)?;
        self.attempt(|token| {
            let (use_key, export_key, session) = token.both_keys()?;
            seal::import(session, use_key, export_key, wrapped, kek)
        })
    }

    /// PKCS#11 has no object that only counts up: a token's data can be set back.
    fn counter(&mut self) -> Option<&mut dyn Counter> {
        None
    }
}

/// A token's objects are guarded as the token is.
fn nothing_of_its_own(protection: Protection<'_>) -> Result<(), DeviceError> {
    let what = match protection {
        Protection { pin: None, pcrs: None } => return Ok(()),
        Protection { pin: Some(_), .. } => {
            "a seal on a token has no PIN of its own: the token's user PIN guards all that it holds"
        }
        Protection { pcrs: Some(_), .. } => "a token has no PCRs that a seal could be bound to",
    };
    Err(Fault::Failed(what.to_owned()).into())
}

/// A token that was found: its URI, and what it says.
pub type Described = (String, Result<Description, DeviceError>);

/// Every token that the module shows, described without a login; those with no mechanisms at all (stores of
/// certificates) are left out. `module` is the name of one of p11-kit's modules or a path.
pub fn describe_all(module: &str) -> Result<Vec<Described>, DeviceError> {
    let library = match module.starts_with('/') {
        true => Path::new(module).to_owned().into(),
        false => p11kit::module(module)?,
    };
    let opened = Module::open(&library)?;
    let mut tokens = token::all(&opened)?;
    tokens.retain(|found| !found.mechanisms(&opened).is_ok_and(|offered| offered.is_empty()));
    let describe = |found: &Found| {
        let uri = uri::of_token(&found.identity, found.slot.id(), module);
        (uri.clone(), found.describe(&opened, uri, None))
    };
    Ok(tokens.iter().map(describe).collect())
}
