//! Blank tokens, and how they are made ready: each step opens the token anew, on a thread of its own, and leaves it closed, so
//! that an end in between leaves a token which the next run knows.

use super::pkcs11::{self, Pkcs11Uri};
use super::thread::{self, SentPins};
use super::{BlankToken, DeviceError, DeviceUri, NoPin, PinSource, TokenLabel, lock};
use crate::secret::Pin;

/// The token that `uri` means and that holds nothing: see [`BlankToken`]. Changes nothing, asks for nothing.
///
/// Errors with [`super::Fault::InUse`] where all that are meant hold something, or may; with [`super::Fault::Ambiguous`],
/// which lists them, where several could be initialised.
///
/// `has_empty_officer`: its security officer has a PIN, which is empty, whatever the token says (NSS).
pub fn blank_token(
    uri: &Pkcs11Uri,
    label: Option<&TokenLabel>,
    has_empty_officer: bool,
) -> Result<BlankToken, DeviceError> {
    let label = label.cloned();
    open(uri, &NoPin, move |module, uri, _| pkcs11::initialise::find(module, uri, label.as_ref(), has_empty_officer))
}

/// Gives it a label and its security officer's PIN, `pin`; none: that is typed on the token's PIN pad, to which `pins` calls.
/// It is looked at again first. Gives the token as it is then.
pub fn init_token(
    uri: &Pkcs11Uri,
    blank: &BlankToken,
    label: &TokenLabel,
    pin: Option<&Pin>,
    pins: &dyn PinSource,
) -> Result<BlankToken, DeviceError> {
    let (blank, label, pin) = (blank.clone(), label.clone(), pin.map(Pin::duplicate));
    open(uri, pins, move |module, _, pins| {
        pkcs11::initialise::init_token(module, &blank, &label, pin.as_ref(), pins.as_ref())
    })
}

/// Sets its user PIN, `new`, by its security officer, whose PIN is `officers`.
pub fn set_user_pin(
    uri: &Pkcs11Uri,
    blank: &BlankToken,
    officers: Option<&Pin>,
    new: Option<&Pin>,
    pins: &dyn PinSource,
) -> Result<(), DeviceError> {
    let (blank, officers, new) = (blank.clone(), officers.map(Pin::duplicate), new.map(Pin::duplicate));
    open(uri, pins, move |module, _, pins| {
        pkcs11::initialise::set_user_pin(module, &blank, officers.as_ref(), new.as_ref(), pins.as_ref())
    })
}

/// Logs in with the new user PIN, and gives the URI that names the token.
pub fn prove_user_pin(
    uri: &Pkcs11Uri,
    blank: &BlankToken,
    new: Option<&Pin>,
    pins: &dyn PinSource,
) -> Result<Pkcs11Uri, DeviceError> {
    let (identity, new) = (blank.identity.clone(), new.map(Pin::duplicate));
    open(uri, pins, move |module, uri, pins| {
        let (identity, slot) = pkcs11::initialise::prove(module, &identity, new.as_ref(), pins.as_ref())?;
        Ok(uri.of_the_same_module(&identity, slot))
    })
}

fn open<T: Send + 'static>(
    uri: &Pkcs11Uri,
    pins: &dyn PinSource,
    work: impl FnOnce(&pkcs11::Module, &Pkcs11Uri, SentPins) -> Result<T, DeviceError> + Send + 'static,
) -> Result<T, DeviceError> {
    let uri = uri.clone();
    thread::apart(pins, move |pins| {
        let _lock = lock::hold(&DeviceUri::Pkcs11(uri.clone()))?;
        let module = pkcs11::Module::open(&uri.module()?)?;
        work(&module, &uri, pins)
    })
}
