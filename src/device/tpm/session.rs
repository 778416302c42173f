//! Sessions, and everything else that is borrowed from the TPM: given back on every path, by closure.
//!
//! Each session is salted to the storage root key that the ring pinned (TPM 2.0 Part 1, section 19.6.8), so that nobody
//! between us and that very TPM can compute its key. Parameters are encrypted both ways with AES-128-CFB (Part 1,
//! section 21). continueSession stays SET: were it CLEAR, the TPM would drop the session and the library would flush a
//! handle that is another's by then.

use std::time::Duration;

use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{KeyHandle, ObjectHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::SymmetricDefinition;

use super::error::{Cure, HANDLE, cure, told, told_as};
use crate::device::patience::Patience;
use crate::device::{DeviceError, Fault};

/// How long a flush waits for a TPM that is busy with itself: what it is for is done, and others may need the slot.
const FOR_A_FLUSH: Duration = Duration::from_secs(2);

/// The sessions of one command, in the order that the TPM takes them.
pub type Sessions = (Option<AuthSession>, Option<AuthSession>, Option<AuthSession>);

/// Starts an HMAC session that is salted to `root` and tied to nothing else: it authorizes, and it hides parameters both
/// ways. [`super::chip::Chip`] keeps it, and flushes it.
pub fn start(context: &mut Context, root: KeyHandle) -> Result<AuthSession, DeviceError> {
    let session = begin(context, root, SessionType::Hmac)?;
    let (attributes, mask) =
        SessionAttributesBuilder::new().with_continue_session(true).with_decrypt(true).with_encrypt(true).build();
    match context.tr_sess_set_attributes(session, attributes, mask) {
        Ok(()) => Ok(session),
        // Without encryption the session is worth nothing: it goes back at once.
        Err(error) => flushed(context, handle(session), |_| Err(told(error))),
    }
}

/// Runs `work` with a policy session, salted too: its HMAC may be keyed with a PIN, which nobody on the bus shall guess
/// at. It encrypts nothing itself, since its encryption key would depend on the auth value of what it authorizes.
pub fn with_policy<T>(
    context: &mut Context,
    root: KeyHandle,
    work: impl FnOnce(&mut Context, PolicySession) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let session = begin(context, root, SessionType::Policy)?;
    flushed(context, handle(session), |context| {
        let (attributes, mask) = SessionAttributesBuilder::new().with_continue_session(true).build();
        context.tr_sess_set_attributes(session, attributes, mask).map_err(told)?;
        work(context, PolicySession::try_from(session).map_err(told)?)
    })
}

/// Starts a policy session for the use of parts that are bound to PCRs: salted to `root`, it satisfies their policy and hides
/// parameters both ways, so that no second session is needed. (The PIN of such a part is known to whoever uses it: see
/// [`super::duplicate`] for where that would not do.) [`super::chip::Chip`] keeps it, and flushes it.
pub fn start_policy(context: &mut Context, root: KeyHandle) -> Result<PolicySession, DeviceError> {
    let session = begin(context, root, SessionType::Policy)?;
    let (attributes, mask) =
        SessionAttributesBuilder::new().with_continue_session(true).with_decrypt(true).with_encrypt(true).build();
    let set = context.tr_sess_set_attributes(session, attributes, mask).and_then(|()| PolicySession::try_from(session));
    match set {
        Ok(policy) => Ok(policy),
        Err(error) => flushed(context, handle(session), |_| Err(told(error))),
    }
}

/// Runs `work` with an audit session that is salted to `root`: what the TPM answers in it comes with an HMAC, so nobody in
/// between can answer for it (TPM 2.0 Part 1, section 19.6.15). For commands that nothing authorizes and nothing hides.
pub fn with_audit<T>(
    context: &mut Context,
    root: KeyHandle,
    work: impl FnOnce(&mut Context, AuthSession) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let session = begin(context, root, SessionType::Hmac)?;
    flushed(context, handle(session), |context| {
        let (attributes, mask) = SessionAttributesBuilder::new().with_continue_session(true).with_audit(true).build();
        context.tr_sess_set_attributes(session, attributes, mask).map_err(told)?;
        work(context, session)
    })
}

/// Runs `work`, then flushes `handle`, whatever came of it. The first error counts.
pub fn flushed<T>(
    context: &mut Context,
    handle: ObjectHandle,
    work: impl FnOnce(&mut Context) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let done = work(context);
    let flushed = flush(context, handle);
    let value = done?;
    flushed.map(|()| value)
}

/// Flushes `handle`, also from a TPM that is busy with itself for a moment.
pub fn flush(context: &mut Context, handle: ObjectHandle) -> Result<(), DeviceError> {
    let gone = |answer| {
        let what = "the TPM was restarted: what was loaded is gone";
        (answer == HANDLE).then(|| Fault::Unreachable(what.to_owned()))
    };
    let mut patience = Patience::of(FOR_A_FLUSH);
    loop {
        match context.flush_context(handle).map_err(|error| told_as(error, gone)) {
            Err(error) if cure(&error) == Cure::Wait && patience.wait() => {}
            done => return done,
        }
    }
}

/// The session as something to flush.
pub fn handle(session: AuthSession) -> ObjectHandle {
    SessionHandle::from(session).into()
}

fn begin(context: &mut Context, root: KeyHandle, kind: SessionType) -> Result<AuthSession, DeviceError> {
    context
        .start_auth_session(Some(root), None, None, kind, SymmetricDefinition::AES_128_CFB, HashingAlgorithm::Sha256)
        .map_err(told)?
        .ok_or_else(|| Fault::Failed("the TPM gave no session".to_owned()).into())
}
