//! The connection to a TPM, and what is kept in it between calls: the storage root key's handle, the one session that all
//! calls share (starting one is a key agreement, the dearest command of most), and one part that is loaded for use, so that
//! a second HMAC under it costs one command.

use std::str::FromStr;

use tss_esapi::Context;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Auth, Digest, MaxBuffer, Sensitive, SensitiveData};
use tss_esapi::tcti_ldr::TctiNameConf;

use sha2::{Digest as _, Sha256};

use super::approval::Approvals;
use super::error::{PCR_CHANGED, told, told_as};
use super::object::Object;
use super::session::{self, flushed};
use super::{approval, leftovers, pcrs, root, seal};
use crate::device::uri::TpmUri;
use crate::device::{Bound, DeviceError, Fault, Part, Root, Signatures};
use crate::secret::{KEY_BYTES, Mac, MasterSecret, SecretBytes};

/// An open connection. When it is dropped, the context flushes whatever is still loaded.
pub struct Chip {
    pub context: Context,
    root: Option<KeyHandle>,
    session: Option<AuthSession>,
    /// For parts that are bound to PCRs: instead of the other, which could not satisfy their policy.
    policy: Option<PolicySession>,
    /// Whether something is asserted in it that no use has used up.
    policy_is_begun: bool,
    warm: Option<Warm>,
    pub approvals: Approvals,
    /// The fingerprint of what was pinned.
    pub fingerprint: String,
}

/// A part that is loaded, its auth value set.
struct Warm {
    part: Part,
    key: KeyHandle,
}

impl Chip {
    /// Connects. Sends no command. `signatures`: where those of PCR states are, for parts that ask for one.
    pub fn connect(uri: &TpmUri, signatures: Signatures) -> Result<Self, DeviceError> {
        // The crate would take `device` alone for /dev/tpm0, past the resource manager.
        let tcti = uri.device_node().map_or_else(|| uri.tcti().to_owned(), |node| format!("device:{node}"));
        let unreachable = || Fault::Unreachable(format!("no TPM answers at {tcti}"));
        let conf = TctiNameConf::from_str(&tcti)
            .map_err(|_| Fault::Unreachable(format!("{tcti} is not an address of a TPM")))?;
        let context = Context::new(conf).map_err(|error| DeviceError { fault: unreachable(), ..told(error) })?;
        let (approvals, fingerprint) = (Approvals::new(signatures), String::new());
        let (root, session, policy, warm) = (None, None, None, None);
        Ok(Self { context, root, session, policy, policy_is_begun: false, warm, approvals, fingerprint })
    }

    /// The pinned storage root key, compared once for each connection.
    pub fn root(&mut self, pinned: &Root) -> Result<KeyHandle, DeviceError> {
        match self.root {
            Some(root) => Ok(root),
            None => {
                self.fingerprint = pinned.fingerprint();
                Ok(*self.root.insert(root::find_pinned(&mut self.context, pinned)?))
            }
        }
    }

    /// The session that is salted to `root`, the pinned one: started at the first call.
    pub fn session(&mut self, root: KeyHandle) -> Result<AuthSession, DeviceError> {
        match self.session {
            Some(session) => Ok(session),
            None => Ok(*self.session.insert(session::start(&mut self.context, root)?)),
        }
    }

    /// The policy session that is salted to `root`.
    fn policy(&mut self, root: KeyHandle) -> Result<PolicySession, DeviceError> {
        match self.policy {
            Some(policy) => Ok(policy),
            None => {
                self.policy_is_begun = false;
                Ok(*self.policy.insert(session::start_policy(&mut self.context, root)?))
            }
        }
    }

    /// Whether `part` is loaded already, its PIN given.
    pub fn is_warm(&self, part: &Part) -> bool {
        self.warm.as_ref().is_some_and(|warm| warm.part == *part)
    }

    /// Loads `part` to be used, in place of what was loaded before. The storage root key's auth value is empty: for a part
    /// that is bound to PCRs, the policy session only hides what goes over the bus, and a password says nothing.
    pub fn warm_up(&mut self, root: KeyHandle, part: &Part, auth: &SecretBytes) -> Result<(), DeviceError> {
        let object = Object::from_part(part)?;
        self.cool_down()?;
        let sessions = match part.guard.bound() {
            None => (Some(self.session(root)?), None, None),
            Some(_) => (Some(AuthSession::Password), Some(AuthSession::from(self.policy(root)?)), None),
        };
        let key = object.load(&mut self.context, root, sessions)?;
        self.warm = Some(Warm { part: part.clone(), key });
        let auth = Auth::try_from(auth.expose_secret()).map_err(told)?;
        self.context.tr_set_auth(key.into(), auth).map_err(told)
    }

    /// HMAC under what [`Chip::warm_up`] loaded. A policy is satisfied anew each time: its use uses it up.
    pub fn hmac(&mut self, message: &[u8]) -> Result<Mac, DeviceError> {
        let nothing = || DeviceError::from(Fault::Failed("no key is loaded".to_owned()));
        let Some(Warm { key, part: Part { guard, .. } }) = &self.warm else { return Err(nothing()) };
        if guard.bound().is_none() {
            return hmac(&mut self.context, self.session.ok_or_else(nothing)?, *key, message);
        }
        let policy = self.policy.ok_or_else(nothing)?;
        // What was asserted for a use that did not come off is in the session still.
        if std::mem::replace(&mut self.policy_is_begun, true) {
            self.context.policy_restart(policy).map_err(told)?;
        }
        pcrs::assert(&mut self.context, policy, guard, &mut self.approvals, &self.fingerprint)?;
        if guard.has_own_pin() {
            self.context.policy_auth_value(policy).map_err(told)?;
        }
        let done = hmac(&mut self.context, policy.into(), *key, message);
        self.policy_is_begun = done.is_err();
        done.map_err(|error| match (&error.fault, guard.bound()) {
            // Between the signature's look and the use: what they hold now may be signed too.
            (Fault::PcrsChanged(_), Some(Bound::Signed(_))) => {
                DeviceError { fault: approval::being_changed(), ..error }
            }
            _ => error,
        })
    }

    /// HMAC under a secret that the TPM takes in for this one call (TPM 2.0 Part 3, section 12.3: LoadExternal). The
    /// sensitive area is the first parameter, which the session encrypts.
    pub fn hmac_once(&mut self, root: KeyHandle, secret: &MasterSecret, message: &[u8]) -> Result<Mac, DeviceError> {
        self.cool_down()?;
        let seed = SecretBytes::random(KEY_BYTES);
        let unique = Sha256::new().chain_update(seed.expose_secret()).chain_update(secret.expose_secret()).finalize();
        let attributes = ObjectAttributesBuilder::new()
            .with_user_with_auth(true)
            .with_no_da(true)
            .with_sign_encrypt(true)
            .build()
            .map_err(told)?;
        let unique = Digest::try_from(&unique[..]).map_err(told)?;
        let public = seal::hmac_key(attributes, Digest::default(), unique)?;
        let sensitive = Sensitive::Bits {
            auth_value: Auth::default(),
            seed_value: Digest::try_from(seed.expose_secret()).map_err(told)?,
            sensitive: SensitiveData::try_from(secret.expose_secret()).map_err(told)?,
        };
        let session = self.session(root)?;
        let key = self
            .context
            .execute_with_session(Some(session), |context| context.load_external(sensitive, public, Hierarchy::Null))
            .map_err(told)?;
        flushed(&mut self.context, key.into(), |context| hmac(context, session, key, message))
    }

    /// Flushes the part that is loaded, if one is.
    pub fn cool_down(&mut self) -> Result<(), DeviceError> {
        match self.warm.take() {
            None => Ok(()),
            Some(Warm { key, .. }) => session::flush(&mut self.context, key.into()),
        }
    }

    /// Flushes all that is kept: after a failure nothing of the session or of a key is relied on. Gives whether it could.
    pub fn forget(&mut self) -> bool {
        let cooled = self.cool_down().is_ok();
        let sessions = self.session.take().into_iter().chain(self.policy.take().map(AuthSession::from));
        let ended: Vec<_> =
            sessions.map(|session| session::flush(&mut self.context, session::handle(session))).collect();
        cooled && ended.iter().all(Result::is_ok)
    }

    /// Frees the slots that dead clients hold, and ours.
    pub fn sweep(&mut self) -> Result<(), DeviceError> {
        self.forget();
        leftovers::flush(&mut self.context)
    }
}

/// TPM2_HMAC (TPM 2.0 Part 3, section 15.5): up to 1,024 bytes in one command.
fn hmac(context: &mut Context, session: AuthSession, key: KeyHandle, message: &[u8]) -> Result<Mac, DeviceError> {
    let message = MaxBuffer::try_from(message).map_err(told)?;
    let digest = context
        .execute_with_session(Some(session), |context| context.hmac(key.into(), message, HashingAlgorithm::Sha256))
        .map_err(|error| told_as(error, |answer| (answer == PCR_CHANGED).then(|| Fault::PcrsChanged(Vec::new()))))?;
    if digest.value().len() != KEY_BYTES {
        return Err(Fault::Failed("the TPM's HMAC is not one by SHA-256".to_owned()).into());
    }
    Ok(Mac::new(SecretBytes::copy_of(digest.value())))
}
