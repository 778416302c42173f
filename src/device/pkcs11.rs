//! PKCS#11 tokens: HSMs, smart cards, soft tokens, by version 2.40 and later of the standard.
//!
//! A token keeps two wrapping keys for a ring (`keys`) and no master secret: that is a session object, made
//! and used inside, and outside only ever wrapped (`seal`). The use key forces what it unwraps to stay inside, where
//! the token can do that; the self-test (`selftest`) shows whether it does. Nothing but a module's own answers is
//! believed: which tokens there are (`token`), what they can do, what attributes a key has.
//!
//! By which mechanisms, is the token's matter: `discovery` finds what works when the token is set up, and the ring records it
//! (`ways`). Some let a secret come and leave only by RSA-OAEP (`transport`, `oaep`), or keep it themselves (`objects`).
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
//! C_CloseSession
//! ```
//!
//! The files: `uri` (RFC 7512), `p11kit` (which modules there are), `module` (loaded once), `guest` (what a module changes of the
//! process), `error` (CKR codes), `recovery` (what may help), `login` (PINs), `session` (calls, and objects given back), `keys`
//! and `maker` (the wrapping keys), `setup` (a token made a ring's), `initialise` and `officer` (blank tokens made ready);
//! `mechanism`, `unwrap_template`, `clock` and `functions` (what the `cryptoki` crate does not know).

mod checkup;
mod clock;
pub mod codes;
mod discovery;
mod error;
mod functions;
pub mod fuzzing;
pub(super) mod guest;
pub mod initialise;
mod keys;
mod login;
mod maker;
mod mechanism;
mod module;
mod oaep;
mod objects;
mod officer;
pub(super) mod p11kit;
mod recovery;
mod seal;
mod selftest;
mod session;
mod setup;
mod token;
mod transport;
mod unwrap_template;
pub(super) mod uri;
mod ways;

use std::path::Path;

use cryptoki::object::ObjectHandle;
use serde::{Deserialize, Serialize};

pub use checkup::{STEPS, checkup};
pub use initialise::{BlankToken, LabelError, TokenLabel};
pub use keys::WrappingKey;
use keys::{Handles, Local, Role};
use login::LoggedIn;
pub use module::Module;
use recovery::{Cure, Recovery};
use seal::{Bench, Both, Form};
use session::Session;
use token::Found;
pub use uri::Pkcs11Uri;
use ways::Kept;
pub use ways::Ways;

use super::lock::DeviceLock;
use super::thread::SentPins;
use super::{
    Bound, Counter, Description, Device, DeviceError, ExportPart, Fault, Intent, Key, Protection, Root, Seal, UsePart,
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
    use_key: Option<Handles>,
    export_key: Option<Handles>,
    session: Session,
}

impl Token {
    /// Finds the token and compares it with what the ring pinned. No login: that waits until keys are needed.
    pub fn open(uri: &Pkcs11Uri, pinned: Option<Root>, pins: SentPins, lock: DeviceLock) -> Result<Self, DeviceError> {
        let module = Module::open(&uri.module()?)?;
        let wanted = match &pinned {
            Some(Root::Pkcs11 { token, .. }) => Some(token),
            Some(Root::Tpm { .. }) => {
                return Err(Fault::NotThisDevice("the ring pinned a TPM, and the URI names a token".to_owned()).into());
            }
            None => None,
        };
        let mut recovery = Recovery::new();
        let found = loop {
            match guest::undisturbed(|| token::find(&module, uri, wanted)) {
                Err(error) if recovery.prepare(recovery::cure(&error), &module) => {}
                found => break found?,
            }
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
        let writes = self.ways().kept == Kept::Objects {};
        let done = login::log_in(&self.module, &self.found, writes, self.pins.as_ref(), self.pin.as_ref());
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

    /// How this token does it: as recorded. On one that is not set up, as most do.
    fn ways(&self) -> Ways {
        match &self.pinned {
            Some(Root::Pkcs11 { ways, .. }) => *ways,
            Some(Root::Tpm { .. }) | None => Ways::default(),
        }
    }

    /// The CKA_ID of the ring's key of `role`.
    fn id(&self, role: Role) -> Result<Hex<16>, DeviceError> {
        match (&self.pinned, role) {
            (Some(Root::Pkcs11 { use_key, .. }), Role::Use) => Ok(use_key.id),
            (Some(Root::Pkcs11 { export_key, .. }), Role::Export) => Ok(export_key.id),
            _ => Err(Fault::Failed(format!("{} is not set up for this ring", self.found.name())).into()),
        }
    }

    fn local(&self, role: Role) -> Local {
        match (&self.pinned, role) {
            (Some(Root::Pkcs11 { use_key, .. }), Role::Use) => Local::as_pinned(use_key),
            (Some(Root::Pkcs11 { export_key, .. }), Role::Export) => Local::as_pinned(export_key),
            (Some(Root::Tpm { .. }) | None, _) => Local::Required,
        }
    }

    /// The pinned wrapping key of `role`, found and checked once a session; none where the token needs none.
    fn key(&mut self, role: Role) -> Result<Option<Handles>, DeviceError> {
        let (id, local, kind) = (self.id(role)?, self.local(role), self.ways().kept.keys());
        let work = self.work()?;
        let known = match role {
            Role::Use => work.use_key,
            Role::Export => work.export_key,
        };
        let (None, Some(kind)) = (known, kind) else { return Ok(known) };
        let (work, found) = (self.work.as_mut().expect("logged in above"), &self.found);
        let key = keys::pinned(&work.session, found, role, kind, id, local)?;
        match role {
            Role::Use => work.use_key = Some(key),
            Role::Export => work.export_key = Some(key),
        }
        Ok(Some(key))
    }

    /// All that a seal is made with.
    fn bench(&mut self) -> Result<Bench<'_>, DeviceError> {
        let (use_key, export_key) = (self.key(Role::Use)?, self.key(Role::Export)?);
        let keys = use_key.zip(export_key).map(|(use_key, export_key)| Both { use_key, export_key });
        let (ways, ring) = (self.ways(), self.id(Role::Use)?);
        Ok(Bench { session: &self.work()?.session, ways, keys, ring })
    }

    /// The same without a look at the wrapping keys, for what needs none.
    fn bare_bench(&mut self) -> Result<Bench<'_>, DeviceError> {
        let (ways, ring) = (self.ways(), self.id(Role::Use).unwrap_or(selftest::NO_RING));
        Ok(Bench { session: &self.work()?.session, ways, keys: None, ring })
    }

    /// The secret of a use part as an object: the one loaded last, or loaded now in its place.
    fn loaded(&mut self, part: &UsePart) -> Result<ObjectHandle, DeviceError> {
        let key = self.key(Role::Use)?;
        let work = self.work()?;
        match &work.loaded {
            Some((blob, secret)) if *blob == part.0.blob => return Ok(*secret),
            Some((_, secret)) => {
                let secret = *secret;
                work.loaded = None;
                // What the token keeps stays.
                if key.is_some() {
                    work.session.calls().destroy_object(secret).map_err(error::plain)?;
                }
            }
            None => {}
        }
        let bench = self.bare_bench()?;
        let secret = match key {
            Some(key) => seal::unseal(&bench, key, &part.0, Form::Locked)?.keep(),
            None => objects::find(&bench, part)?,
        };
        self.work()?.loaded = Some((part.0.blob.clone(), secret));
        Ok(secret)
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
    fn foresee(&mut self, bound: Bound<'_>) -> Result<(), DeviceError> {
        nothing_of_its_own(Protection { pin: None, bound: Some(&bound.to()) })
    }

    fn generate(&mut self, protection: Protection<'_>, _qualifier: &[u8; 32]) -> Result<Seal, DeviceError> {
        nothing_of_its_own(protection)?;
        self.attempt(|token| seal::generate(&token.bench()?))
    }

    fn hmac(&mut self, key: Key<'_>, message: &[u8]) -> Result<Mac, DeviceError> {
        self.attempt(|token| {
            let signed = match key {
                Key::Sealed(part) => {
                    let secret = token.loaded(part)?;
                    token.work()?.session.hmac(secret, message)
                }
                Key::Wrapped(wrapped, kek) => {
                    let bench = token.bare_bench()?;
                    let secret = seal::take_in(&bench, wrapped, kek, Form::Locked)?;
                    bench.session.hmac(secret.handle(), message)
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
            seal::export(&token.bare_bench()?, key, part, kek)
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
                ours.extend(keys::objects(session, found, role, id)?);
            }
            ours.extend(objects::of_ring(session, intent.use_key)?);
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
        self.attempt(|token| seal::import(&token.bench()?, wrapped, kek))
    }

    /// PKCS#11 has no object that only counts up: a token's data can be set back.
    fn counter(&mut self) -> Option<&mut dyn Counter> {
        None
    }
}

/// A token's objects are guarded as the token is.
fn nothing_of_its_own(protection: Protection<'_>) -> Result<(), DeviceError> {
    let what = match protection {
        Protection { pin: None, bound: None } => return Ok(()),
        Protection { pin: Some(_), .. } => {
            "a seal on a token has no PIN of its own: the token's user PIN guards all that it holds"
        }
        Protection { bound: Some(_), .. } => "a token has no PCRs that a seal could be bound to",
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
