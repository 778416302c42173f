//! Logging in, without ever burning a try: the counters are read right before, and no PIN is sent twice.

use cryptoki::error::{Error, RvError};
use cryptoki::session::UserType;
use cryptoki::types::RawAuthPin;

use super::error;
use super::guest::undisturbed;
use super::module::Module;
use super::session::Session;
use super::token::Found;
use crate::device::thread::Caller;
use crate::device::{DeviceError, Fault, Kind, PinRequest};
use crate::secret::Pin;

/// A session that is logged in.
pub struct LoggedIn {
    pub session: Session,
    /// The PIN that the token has just taken; none where it wanted none of ours.
    pub taken: Option<Pin>,
}

/// A login that failed.
pub struct Refused {
    pub error: DeviceError,
    /// Whether a PIN was on its way: if the token did not say no, nobody knows whether it counted a try.
    pub was_sent: bool,
}

impl<E: Into<DeviceError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { error: error.into(), was_sent: false }
    }
}

/// Opens a session on the token `found`, read-only unless it `writes`, and logs the user in where the token wants that, with
/// the PIN that it has taken before, or with one from `pins`.
///
/// The token is looked at again first: it must still be the same one, and must not be locked or down to its last try
/// ([`Fault::LockedOut`], [`Fault::LastTry`]).
pub fn log_in(
    module: &Module,
    found: &Found,
    writes: bool,
    pins: &dyn Caller,
    known: Option<&Pin>,
) -> Result<LoggedIn, Refused> {
    let now = found.fresh(module)?;
    if now.identity != found.identity {
        return Err(Fault::NotThisDevice(format!("{} was exchanged for another", found.name())).into());
    }
    let session = if writes { Session::read_write } else { Session::read_only };
    let session = session(module, found.slot).map_err(error::plain)?;
    if !now.wants_login() {
        return Ok(LoggedIn { session, taken: None });
    }

    let tries_left = now.tries().left;
    may_try(now.name(), tries_left, pins.may_use_last_try())?;
    let (sent, pin) = if now.has_pin_pad() {
        pins.call_to_the_pad(&now.name(), &format!("the user PIN of {}", now.name()))?;
        let sent = undisturbed(|| session.calls().login(UserType::User, None));
        pins.has_typed();
        (sent, None)
    } else {
        let pin = match known {
            Some(known) => known.duplicate(),
            None => pins.pin(&PinRequest { device: now.name(), kind: Kind::Pkcs11, tries_left })?,
        };
        // Wiped on drop, by `secrecy`.
        let raw = RawAuthPin::new(Box::new(pin.expose_secret().to_vec()));
        (undisturbed(|| session.calls().login_with_raw(UserType::User, &raw)), Some(pin))
    };
    match sent {
        Ok(()) => Ok(LoggedIn { session, taken: pin }),
        // Another session of this process did it (PKCS#11 3.1, section 5.6.8: a login is for all of them). It says
        // nothing about this PIN.
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(LoggedIn { session, taken: None }),
        Err(source) => Err(Refused { error: refused(module, found, &source), was_sent: true }),
    }
}

/// Whether a PIN may be sent to a token with so many tries left (none: it does not tell).
pub fn may_try(device: String, tries_left: Option<u32>, may_use_last: bool) -> Result<(), Fault> {
    match tries_left {
        Some(0) => Err(Fault::LockedOut { device, wait_seconds: None }),
        Some(1) if !may_use_last => Err(Fault::LastTry { device }),
        _ => Ok(()),
    }
}

fn refused(module: &Module, found: &Found, source: &Error) -> DeviceError {
    let device = found.name();
    let fault = match source {
        Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => {
            let tries_left = Found::read(module, found.slot).ok().and_then(|now| now.tries().left);
            Fault::WrongPin { tries_left }
        }
        Error::Pkcs11(RvError::PinLocked, _) => Fault::LockedOut { device, wait_seconds: None },
        Error::Pkcs11(RvError::PinExpired, _) => Fault::Failed(format!("the user PIN of {device} has expired")),
        Error::Pkcs11(RvError::UserPinNotInitialized, _) => Fault::Missing(format!("{device} has no user PIN yet")),
        Error::Pkcs11(RvError::UserAnotherAlreadyLoggedIn | RvError::UserTooManyTypes, _) => {
            Fault::Busy(format!("somebody else is logged in to {device}"))
        }
        Error::Pkcs11(RvError::FunctionCanceled | RvError::Cancel, _) if found.has_pin_pad() => {
            Fault::PadLeft { device }
        }
        _ => Fault::Unreachable(format!("{device} does not take a login")),
    };
    error::because(fault, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_try_is_for_those_who_ask_for_it() {
        let device = || "the token `a`".to_owned();
        for may_use_last in [false, true] {
            assert_eq!(may_try(device(), None, may_use_last), Ok(()));
            assert_eq!(may_try(device(), Some(2), may_use_last), Ok(()));
            let locked = Fault::LockedOut { device: device(), wait_seconds: None };
            assert_eq!(may_try(device(), Some(0), may_use_last), Err(locked));
        }
        assert_eq!(may_try(device(), Some(1), true), Ok(()));
        assert_eq!(may_try(device(), Some(1), false), Err(Fault::LastTry { device: device() }));
    }
}
