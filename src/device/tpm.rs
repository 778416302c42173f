//! A TPM 2.0 as a device.
//!
//! ```text
//! storage root key (0x81000001), pinned by the ring
//!   +- export part   the secret as the TPM made it; can only be duplicated, behind its policy
//!   +- use part      the same secret; can only be used
//! ```
//!
//! Every method goes through the same gates, in this order:
//!
//! 1. *Identity*: one TPM2_ReadPublic. Until the storage root key has the pinned Name, nothing else is sent but questions why not
//!    ([`lost`]).
//! 2. *Counters*, where a PIN guards the part: one TPM2_GetCapability. Locked, or the last try: stop.
//! 3. *PIN*: asked for once, and kept until the TPM refuses it.
//! 4. *Session*: one for each connection, salted to the pinned key, hiding parameters both ways.
//! 5. *Load*, its Name compared, and then the work.
//!
//! So an HMAC in a fresh process is ReadPublic, GetCapability (with a PIN), StartAuthSession, Load, HMAC, and two flushes;
//! the next one under the same part is one command. Whatever is loaded is flushed: by closures ([`session`]), and what is
//! kept between calls ([`chip`]) when the connection is dropped.
//!
//! The secret is in host memory, locked, during `generate`, `export` and `import`, because the backup needs it, and
//! while one out of a backup is proved.

mod approval;
mod checkup;
mod chip;
pub mod codes;
mod counter;
mod describe;
mod duplicate;
mod endorsement;
mod error;
pub mod fuzzing;
mod leftovers;
mod lockout;
mod lost;
pub mod node;
mod object;
mod pcrs;
mod policy;
mod root;
mod seal;
mod session;
mod tickets;

use tss_esapi::handles::KeyHandle;

pub use self::checkup::{STEPS, SWITCH_ON, checkup};
use self::chip::Chip;
use self::error::Cure;
use self::object::Object;
pub use self::tickets::{Ticket, Tickets};
use super::lock::DeviceLock;
use super::patience::{FOR_A_CALL, Patience};
use super::thread::SentPins;
use super::uri::{Kind, TpmUri};
use super::{
    Bound, BoundTo, Counter, Description, Device, DeviceError, ExportPart, Fault, Guard, Intent, Key, Part, PinRequest,
    Protection, Root, Seal, UsePart,
};
use crate::secret::{Kek, Mac, MasterSecret, Pin, SecretBytes};
use crate::wrap::WrappedSecret;

/// How a TPM is called in prompts and errors.
const DEVICE: &str = "the TPM";
/// The mechanism that a ring records for a TPM's seals.
const MECHANISM: &str = "TPM2_HMAC";

/// A TPM, opened.
pub struct Tpm {
    // What is loaded is flushed on drop, before the lock is let go of.
    chip: Option<Chip>,
    uri: TpmUri,
    root: Option<Root>,
    pins: SentPins,
    pin: Option<Pin>,
    /// Whether the TPM has taken this PIN for some part.
    pin_is_proved: bool,
    _lock: DeviceLock,
}

impl Tpm {
    /// Opens the TPM that `uri` names. Sends no command: the first method call compares `pinned` before anything else.
    pub fn open(uri: &TpmUri, pinned: Option<Root>, pins: SentPins, lock: DeviceLock) -> Result<Self, DeviceError> {
        if let Some(path) = uri.device_node() {
            node::check(path)?;
        }
        let chip = Some(Chip::connect(uri, pins.signatures())?);
        Ok(Self { chip, uri: uri.clone(), root: pinned, pins, pin: None, pin_is_proved: false, _lock: lock })
    }

    /// Does `work`, and again where a cure is known: after pauses while the TPM is busy with itself, or others behind the same
    /// resource manager have all that it can keep; and once when its slots are full of dead clients' leftovers or when it was
    /// restarted since the last call. Every piece of work may be begun again: it leaves nothing behind in the TPM.
    fn attempt<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        let mut patience = Patience::of(FOR_A_CALL);
        let mut is_first = true;
        loop {
            let connected = self.chip.is_some();
            let error = match work(self) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let may_help = match error::cure(&error) {
                // What is loaded stays good.
                Cure::Wait if patience.wait() => continue,
                Cure::MakeRoom if self.uri.is_resource_managed() => {
                    // Each that waits might hold what another waits for.
                    self.tidy_up(&error);
                    if patience.wait() {
                        continue;
                    }
                    false
                }
                Cure::MakeRoom if is_first => {
                    self.chip()?.sweep()?;
                    true
                }
                Cure::Reconnect => {
                    self.disconnect(true);
                    // A PIN that may be wrong may have reached the TPM: by itself it is not sent twice.
                    let may_burn_a_try = self.pin.is_some() && !self.pin_is_proved;
                    is_first && connected && !may_burn_a_try
                }
                Cure::Close => {
                    self.disconnect(true);
                    false
                }
                Cure::Wait | Cure::MakeRoom | Cure::Nothing => {
                    self.tidy_up(&error);
                    false
                }
            };
            if !may_help {
                return Err(error);
            }
            is_first = false;
        }
    }

    /// Flushes what is kept. An answer without a meaning may have been changed on its way: then the TPM may hold what we know
    /// nothing of.
    fn tidy_up(&mut self, after: &DeviceError) {
        let is_odd = matches!(after.fault, Fault::Failed(_));
        match &mut self.chip {
            // Tidiness alone: the TPM may do nothing any more.
            Some(chip) if is_odd && !self.uri.is_resource_managed() => {
                let _ = chip.sweep();
            }
            Some(chip) => {
                let _ = chip.forget();
            }
            None => {}
        }
    }

    /// Closes the connection. What was loaded over one that broke is nobody's by now, and is flushed over another: a TPM
    /// without a resource manager would keep it.
    fn disconnect(&mut self, is_broken: bool) {
        let Some(mut chip) = self.chip.take() else { return };
        let is_clean = chip.forget() && !is_broken;
        drop(chip);
        if !is_clean
            && !self.uri.is_resource_managed()
            && let Ok(mut chip) = Chip::connect(&self.uri, self.pins.signatures())
        {
            // Tidiness alone: the TPM may be gone for good.
            let _ = chip.sweep();
        }
    }

    fn chip(&mut self) -> Result<&mut Chip, DeviceError> {
        match &mut self.chip {
            Some(chip) => Ok(chip),
            none => Ok(none.insert(Chip::connect(&self.uri, self.pins.signatures())?)),
        }
    }

    /// The chip with its storage root key, which is the pinned one.
    fn rooted(&mut self) -> Result<(&mut Chip, KeyHandle), DeviceError> {
        let pinned = self.root.clone();
        let pinned =
            pinned.ok_or_else(|| Fault::Failed("no storage root key is pinned for this TPM yet".to_owned()))?;
        let chip = self.chip()?;
        let root = chip.root(&pinned)?;
        Ok((chip, root))
    }

    /// The same for what needs no key, where a ring has pinned one.
    fn identified(&mut self) -> Result<(), DeviceError> {
        if self.root.is_some() { self.rooted().map(drop) } else { Ok(()) }
    }

    /// The auth value that a part's guard asks for. A PIN is asked for only after identity and counters.
    fn auth(&mut self, guard: &Guard) -> Result<SecretBytes, DeviceError> {
        let salt = match guard {
            Guard::None {} | Guard::Pcrs { .. } | Guard::Signed { .. } => return Ok(SecretBytes::zeroed(0)),
            Guard::Pin { salt } | Guard::PcrsPin { salt, .. } | Guard::SignedPin { salt, .. } => salt,
            Guard::TokenPin {} => {
                return Err(Fault::Damaged("a TPM's seal says that a token guards it".to_owned()).into());
            }
        };
        let (chip, _) = self.rooted()?;
        let tries = lockout::read(&mut chip.context)?;
        lockout::admit(&tries, self.pins.as_ref())?;
        let pin = match &mut self.pin {
            Some(pin) => pin,
            none => {
                let request = PinRequest { device: DEVICE.to_owned(), kind: Kind::Tpm, tries_left: tries.left };
                none.insert(self.pins.pin(&request)?)
            }
        };
        Ok(policy::auth_value(salt, pin))
    }

    /// Adds to a refusal what the counters say now, and forgets a PIN that was refused.
    fn told_of_tries(&mut self, mut error: DeviceError) -> DeviceError {
        let is_wrong = matches!(error.fault, Fault::WrongPin { .. });
        if is_wrong {
            self.pin = None;
            self.pin_is_proved = false;
        }
        if is_wrong || matches!(error.fault, Fault::LockedOut { .. }) {
            // The counters are for the message: the refusal is the error, also where they can't be read.
            if let Ok(tries) = self.chip().and_then(|chip| lockout::read(&mut chip.context)) {
                error.fault =
                    if is_wrong { Fault::WrongPin { tries_left: tries.left } } else { lockout::locked(&tries) };
            }
        }
        error
    }

    fn hmac_sealed(&mut self, part: &Part, message: &[u8]) -> Result<Mac, DeviceError> {
        self.hmac_unexplained(part, message).map_err(|error| self.explained(error, &part.guard))
    }

    /// Says which PCRs stand in the way, where it is them; after any other error nothing is sent.
    fn explained(&mut self, error: DeviceError, guard: &Guard) -> DeviceError {
        if !matches!(error.fault, Fault::PcrsChanged(_) | Fault::Unsigned(_)) {
            return error;
        }
        match self.rooted() {
            Ok((chip, root)) => pcrs::explained(error, &mut chip.context, root, guard),
            Err(_) => error,
        }
    }

    /// Hands over what the TPM has said of signatures: files are the caller's.
    fn keep_tickets(&mut self) {
        for ticket in self.chip.iter_mut().flat_map(|chip| chip.approvals.take_new()) {
            self.pins.keep(ticket);
        }
    }

    fn hmac_unexplained(&mut self, part: &Part, message: &[u8]) -> Result<Mac, DeviceError> {
        if !self.chip()?.is_warm(part) {
            let (chip, _) = self.rooted()?;
            chip.cool_down()?;
            let auth = self.auth(&part.guard)?;
            let (chip, root) = self.rooted()?;
            chip.warm_up(root, part, &auth)?;
        }
        let mac = self.chip()?.hmac(message)?;
        self.keep_tickets();
        self.pin_is_proved |= part.guard.has_own_pin();
        Ok(mac)
    }

    /// Makes both parts: `secret`, or a new one that the TPM makes; `qualifier` goes into its evidence of birth.
    fn seal(
        &mut self,
        secret: Option<&MasterSecret>,
        protection: Protection<'_>,
        qualifier: Option<&[u8; 32]>,
    ) -> Result<Seal, DeviceError> {
        let kind = if secret.is_some() { seal::Kind::TakenInExport } else { seal::Kind::BornExport };
        let (chip, root) = self.rooted()?;
        chip.cool_down()?;
        let state;
        let bound = match protection.bound {
            None => None,
            Some(BoundTo::State(pcrs)) => {
                state = pcrs::read(&mut chip.context, root, pcrs)?;
                Some(Bound::State(&state))
            }
            Some(BoundTo::Signed(signed)) => Some(Bound::Signed(signed)),
        };
        let (export_guard, export_auth) = policy::new_guard(protection.pin, bound);
        let (use_guard, use_auth) = policy::new_guard(protection.pin, bound);
        let session = chip.session(root)?;
        let context = &mut chip.context;
        let public = seal::public(kind, &export_guard)?;
        let born = seal::create(context, root, session, public, &export_auth, secret, qualifier)?;
        let birth = qualifier.map(|qualifier| born.birth(qualifier)).transpose()?;
        let export_part = born.object.into_part(export_guard)?;
        let exported;
        let secret = match secret {
            Some(secret) => secret,
            None => {
                let object = Object::from_part(&export_part)?;
                exported = duplicate::duplicate(
                    context,
                    root,
                    session,
                    object,
                    (&export_part.guard, &export_auth),
                    (&mut chip.approvals, &chip.fingerprint),
                )?;
                &exported
            }
        };
        let public = seal::public(seal::Kind::Use, &use_guard)?;
        let used = seal::create(context, root, session, public, &use_auth, Some(secret), None)?;
        self.keep_tickets();
        Ok(Seal {
            mechanism: MECHANISM.to_owned(),
            use_part: UsePart(used.object.into_part(use_guard)?),
            export_part: ExportPart(export_part),
            birth,
        })
    }

    fn duplicate(&mut self, part: &Part) -> Result<MasterSecret, DeviceError> {
        let object = Object::from_part(part)?;
        let (chip, _) = self.rooted()?;
        chip.cool_down()?;
        let auth = self.auth(&part.guard)?;
        let (chip, root) = self.rooted()?;
        let session = chip.session(root)?;
        let secret = duplicate::duplicate(
            &mut chip.context,
            root,
            session,
            object,
            (&part.guard, &auth),
            (&mut chip.approvals, &chip.fingerprint),
        )
        .map_err(|error| self.explained(error, &part.guard))?;
        self.keep_tickets();
        self.pin_is_proved |= part.guard.has_own_pin();
        Ok(secret)
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        self.disconnect(false);
    }
}

impl Device for Tpm {
    fn describe(&mut self) -> Result<Description, DeviceError> {
        self.attempt(|tpm| {
            tpm.identified()?;
            let uri = tpm.uri.clone();
            describe::describe(&mut tpm.chip()?.context, &uri)
        })
    }

    fn provision(&mut self, _: &Intent) -> Result<Root, DeviceError> {
        if let Some(pinned) = self.root.clone() {
            return self.attempt(|tpm| tpm.rooted().map(|_| pinned.clone()));
        }
        let root = self.attempt(|tpm| {
            let context = &mut tpm.chip()?.context;
            describe::can_do_the_job(context)?;
            let found = match root::read(context)? {
                Some(found) => found,
                None => root::make(context)?,
            };
            root::check(&found.public)?;
            found.pin(endorsement::known(context)?)
        })?;
        Ok(self.root.insert(root).clone())
    }

    fn foresee(&mut self, bound: Bound<'_>) -> Result<(), DeviceError> {
        self.attempt(|tpm| {
            tpm.identified()?;
            let signatures = tpm.pins.signatures();
            let context = &mut tpm.chip()?.context;
            let signed = match bound {
                Bound::Signed(signed) => signed,
                Bound::State(state) => {
                    let changes = state.changes(&pcrs::glance(context, &state.pcrs)?);
                    return if changes.is_empty() { Ok(()) } else { Err(Fault::PcrsChanged(changes).into()) };
                }
            };
            let lacks = describe::lacked_commands(context, &describe::FOR_SIGNED)?;
            if !lacks.is_empty() {
                return Err(Fault::Missing(format!("the TPM lacks {}", lacks.join(", "))).into());
            }
            let now = pcrs::glance(context, &signed.pcrs)?;
            approval::foresee(context, signed, &signatures, &now)
        })
    }

    fn generate(&mut self, protection: Protection<'_>, qualifier: &[u8; 32]) -> Result<Seal, DeviceError> {
        self.attempt(|tpm| tpm.seal(None, protection, Some(qualifier))).map_err(|error| self.told_of_tries(error))
    }

    fn hmac(&mut self, key: Key<'_>, message: &[u8]) -> Result<Mac, DeviceError> {
        match key {
            Key::Sealed(part) => self.attempt(|tpm| tpm.hmac_sealed(&part.0, message)),
            Key::Wrapped(wrapped, kek) => {
                let secret = unwrap(wrapped, kek)?;
                self.attempt(|tpm| {
                    let (chip, root) = tpm.rooted()?;
                    chip.hmac_once(root, &secret, message)
                })
            }
        }
        .map_err(|error| self.told_of_tries(error))
    }

    fn export(&mut self, part: &ExportPart, kek: &Kek) -> Result<WrappedSecret, DeviceError> {
        let secret = self.attempt(|tpm| tpm.duplicate(&part.0)).map_err(|error| self.told_of_tries(error))?;
        Ok(WrappedSecret::wrap(&secret, kek))
    }

    /// Nothing in the TPM is this ring's alone: its seals lie outside, and are forgotten there.
    fn retire(&mut self, _: &Intent) -> Result<bool, DeviceError> {
        Ok(false)
    }

    fn import(&mut self, wrapped: &WrappedSecret, kek: &Kek, protection: Protection<'_>) -> Result<Seal, DeviceError> {
        let secret = unwrap(wrapped, kek)?;
        self.attempt(|tpm| tpm.seal(Some(&secret), protection, None))
    }

    fn counter(&mut self) -> Option<&mut dyn Counter> {
        Some(self)
    }
}

/// A TPM has no command for RFC 3394: the host unwraps, into locked memory.
fn unwrap(wrapped: &WrappedSecret, kek: &Kek) -> Result<MasterSecret, DeviceError> {
    wrapped.unwrap(kek).map_err(|error| Fault::Damaged(error.to_string()).into())
}
