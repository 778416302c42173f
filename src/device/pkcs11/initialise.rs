//! A token made ready for use: a label and its officer's PIN (C_InitToken), then a user PIN (C_InitPIN). Only one that holds
//! nothing: C_InitToken destroys what is on a token.
//!
//! Without a login nobody sees private objects. So a token on which somebody has set a user PIN may hold some, and is left
//! alone; one that has a label and no user PIN can't, since nobody could log in to make them. That one is not initialised
//! again either: an earlier run, or its maker, began it, and it lacks the user PIN only.

use std::fmt;
use std::str::FromStr;

use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};

use super::guest::undisturbed;
use super::module::Module;
use super::officer::Officer;
use super::session::Session;
use super::token::{self, Found};
use super::uri::Pkcs11Uri;
use super::{TokenIdentity, error, login};
use crate::device::thread::Caller;
use crate::device::{DeviceError, Fault};
use crate::secret::Pin;

/// A token's label: 1 to 32 bytes of text, without control characters, and without blanks at its ends, which tokens don't keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLabel(String);

/// Why a text is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a label is 1 to 32 bytes of text, without control characters, and without blanks at its ends")]
pub struct LabelError;

impl FromStr for TokenLabel {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let is_good = (1..=32).contains(&text.len()) && text.trim() == text && !text.chars().any(char::is_control);
        if is_good { Ok(Self(text.to_owned())) } else { Err(LabelError) }
    }
}

impl fmt::Display for TokenLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token that holds nothing, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlankToken {
    /// How it is called in messages.
    pub name: String,
    pub identity: TokenIdentity,
    pub slot: u64,
    /// It has an officer's PIN, and a label if it keeps one: it lacks the user PIN only.
    pub is_begun: bool,
    /// Whether it says that it is initialised.
    is_initialised: bool,
    /// PINs are typed on its own keys.
    pub has_pin_pad: bool,
    /// How many bytes its PINs have, least and most; none where it says nothing sensible.
    pub pin_room: Option<(usize, usize)>,
}

impl BlankToken {
    fn of(found: &Found, has_officer: bool) -> Self {
        let (least, most) = found.pin_room();
        Self {
            name: found.name(),
            identity: found.identity.clone(),
            slot: found.slot.id(),
            is_begun: has_officer,
            is_initialised: found.initialised(),
            has_pin_pad: found.has_pin_pad(),
            pin_room: (most > 0 && least <= most).then_some((least, most)),
        }
    }

    /// The token in its slot, if it still is what it was.
    fn again(&self, module: &Module) -> Result<Found, DeviceError> {
        let same = |found: &Found| found.slot.id() == self.slot && found.identity == self.identity;
        let found = token::all(module)?.into_iter().find(same);
        let found = found.filter(|found| found.initialised() == self.is_initialised);
        let found = found.ok_or_else(|| Fault::InUse(format!("{} is not what it was a moment ago", self.name)))?;
        holds_nothing(module, &found)?;
        Ok(found)
    }
}

/// The token that `uri` means and that may be initialised: one that was begun with that `label`, or any label where none is
/// wanted, before a blank one.
///
/// `has_empty_officer`: somebody says that its officer has a PIN already, which is empty. NSS's tokens are so, and say until they
/// have a user PIN that they are not initialised; C_InitToken does not change that.
pub fn find(
    module: &Module,
    uri: &Pkcs11Uri,
    label: Option<&TokenLabel>,
    has_empty_officer: bool,
) -> Result<BlankToken, DeviceError> {
    let fitting = token::fitting(module, uri)?;
    // Whoever runs it again means the same token, not the next blank one, by the same name.
    let is_done = |found: &&Found| found.has_user_pin() && label.is_some_and(|label| label.0 == found.identity.label);
    if let Some(done) = fitting.iter().find(is_done) {
        return Err(in_use(std::slice::from_ref(done)).into());
    }
    let is_begun = |found: &&Found| {
        let is_called_so = label.is_none_or(|label| label.0 == found.identity.label);
        (found.initialised() || has_empty_officer) && !found.has_user_pin() && is_called_so
    };
    let mut wanted: Vec<Found> = fitting.iter().filter(is_begun).cloned().collect();
    if wanted.is_empty() && !has_empty_officer {
        wanted = fitting.iter().filter(|found| !found.initialised()).cloned().collect();
    }
    match wanted.as_slice() {
        [one] => {
            holds_nothing(module, one)?;
            Ok(BlankToken::of(one, one.initialised() || has_empty_officer))
        }
        [] => Err(in_use(&fitting).into()),
        several => Err(Fault::Ambiguous(format!(
            "several tokens that match {uri} can be initialised: there {}",
            token::list(several)
        ))
        .into()),
    }
}

/// Why none of these can be initialised: one at least.
fn in_use(fitting: &[Found]) -> Fault {
    let why = |found: &Found| match found.has_user_pin() {
        true => format!("{} (serial {}) has a user PIN", found.name(), found.identity.serial),
        false => format!(
            "{} (serial {}) has its label already, and lacks a user PIN only",
            found.name(),
            found.identity.serial
        ),
    };
    Fault::InUse(fitting.iter().map(why).collect::<Vec<_>>().join("; "))
}

/// Errors with [`Fault::InUse`] where anything of an admin's can be seen on the token.
fn holds_nothing(module: &Module, found: &Found) -> Result<(), DeviceError> {
    if found.has_user_pin() {
        return Err(in_use(std::slice::from_ref(found)).into());
    }
    let session = match Session::read_only(module, found.slot) {
        Ok(session) => session,
        // What tokens that are blank indeed say to that is of many kinds.
        Err(_) if !found.initialised() => return Ok(()),
        Err(source) => return Err(error::plain(source)),
    };
    let mut objects = 0;
    for object in session.calls().find_objects(&[]).map_err(error::plain)? {
        let class = session.attributes(object, &[AttributeType::Class]).map_err(error::plain)?;
        // What describes the token itself is there from the start.
        let of_the_token = [ObjectClass::HARDWARE_FEATURE, ObjectClass::MECHANISM, ObjectClass::PROFILE];
        objects += usize::from(!matches!(class.as_slice(), [Attribute::Class(class)] if of_the_token.contains(class)));
    }
    let objects = match objects {
        0 => return Ok(()),
        1 => "an object".to_owned(),
        several => format!("{several} objects"),
    };
    Err(Fault::InUse(format!("{} holds {objects}", found.name())).into())
}

/// C_InitToken. Gives the token as it is then: some are in another slot, by another serial.
pub fn init_token(
    module: &Module,
    blank: &BlankToken,
    label: &TokenLabel,
    pin: Option<&Pin>,
    pins: &dyn Caller,
) -> Result<BlankToken, DeviceError> {
    let before: Vec<TokenIdentity> = token::all(module)?.into_iter().map(|found| found.identity).collect();
    let officer = Officer::of(module)?;
    // Last thing before: whoever was at it in the meantime has used another slot, or has made this one his.
    let found = blank.again(module)?;
    // Some have an officer's PIN of their maker's, and count wrong ones. Others say that the PIN of an officer whom they don't
    // have is locked (SoftHSM).
    let tries_left = found.officers_tries_left().filter(|left| *left > 0);
    login::may_try(format!("the security officer's PIN of {}", found.name()), tries_left, pins.may_use_last_try())?;
    typed(blank, &format!("a new security officer's PIN for {}", blank.name), pins, || {
        officer.init_token(found.slot, pin, &label.0)
    })
    .map_err(|source| not_set(module, &found, "C_InitToken", source))?;
    drop(officer);
    // Some show the token where it will be only to who comes in anew.
    module.restart()?;
    let mut made = token::all(module)?;
    made.retain(|found| found.initialised() && found.identity.label == label.0 && !found.has_user_pin());
    if made.len() > 1 {
        made.retain(|found| found.slot.id() == blank.slot || !before.contains(&found.identity));
    }
    match made.as_slice() {
        [one] => Ok(BlankToken::of(one, true)),
        [] => Err(Fault::Unreachable(format!("the token `{label}` was initialised, and is not found again")).into()),
        several => {
            Err(Fault::Ambiguous(format!("several tokens are `{label}`: there {}", token::list(several))).into())
        }
    }
}

/// C_InitPIN, by the officer.
pub fn set_user_pin(
    module: &Module,
    blank: &BlankToken,
    officers: Option<&Pin>,
    new: Option<&Pin>,
    pins: &dyn Caller,
) -> Result<(), DeviceError> {
    let officer = Officer::of(module)?;
    let found = blank.again(module)?;
    let device = format!("the security officer's PIN of {}", found.name());
    login::may_try(device.clone(), found.officers_tries_left(), pins.may_use_last_try())?;
    let session = officer.session(found.slot).map_err(error::plain)?;
    typed(blank, &device, pins, || session.log_in(officers))
        .map_err(|source| not_set(module, &found, "the officer's login", source))?;
    typed(blank, &format!("a new user PIN for {}", found.name()), pins, || session.init_pin(new))
        .map_err(|source| not_set(module, &found, "C_InitPIN", source))
}

/// Logs in with the new user PIN.
pub fn prove(
    module: &Module,
    identity: &TokenIdentity,
    new: Option<&Pin>,
    pins: &dyn Caller,
) -> Result<(TokenIdentity, u64), DeviceError> {
    let mut same = token::all(module)?;
    same.retain(|found| found.identity == *identity && found.has_user_pin());
    let [found] = same.as_slice() else {
        return Err(Fault::Unreachable(format!("the token `{}` is not found again", identity.label)).into());
    };
    login::log_in(module, found, false, pins, new).map_err(|refused| refused.error)?;
    Ok((found.identity.clone(), found.slot.id()))
}

/// Does `work`, with somebody called to the PIN pad where PINs are typed there.
fn typed<T>(
    blank: &BlankToken,
    what: &str,
    pins: &dyn Caller,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, NotSet> {
    if !blank.has_pin_pad {
        return undisturbed(work).map_err(NotSet::Answered);
    }
    pins.call_to_the_pad(&blank.name, what).map_err(NotSet::NobodyThere)?;
    let done = undisturbed(work);
    pins.has_typed();
    done.map_err(NotSet::Answered)
}

enum NotSet {
    NobodyThere(DeviceError),
    Answered(Error),
}

fn not_set(module: &Module, found: &Found, call: &str, why: NotSet) -> DeviceError {
    let source = match why {
        NotSet::NobodyThere(error) => return error,
        NotSet::Answered(source) => source,
    };
    let device = found.name();
    let fault = match &source {
        Error::Pkcs11(RvError::PinIncorrect, _) => {
            let tries_left = Found::read(module, found.slot).ok().and_then(|now| now.officers_tries_left());
            Fault::WrongPin { tries_left }
        }
        Error::Pkcs11(RvError::PinLocked, _) => Fault::LockedOut { device, wait_seconds: None },
        Error::Pkcs11(RvError::PinInvalid | RvError::PinLenRange | RvError::PinTooWeak, _) => Fault::PinForm { device },
        Error::Pkcs11(RvError::PinExpired, _) => Fault::Failed(format!(
            "the security officer's PIN of {device} has to be changed first, by its maker's tool"
        )),
        Error::Pkcs11(RvError::FunctionCanceled | RvError::Cancel, _) if found.has_pin_pad() => {
            Fault::PadLeft { device }
        }
        Error::Pkcs11(RvError::SessionExists, _) => Fault::Busy(format!("another program uses {device}")),
        Error::Pkcs11(RvError::FunctionNotSupported, _) | Error::NullFunctionPointer => {
            Fault::Missing(format!("{device} does not offer {call}: it takes its maker's tool"))
        }
        _ => return error::plain(source),
    };
    error::because(fault, &source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_tokens_keep() {
        for good in ["payroll", "pay roll", "caf\u{e9}", "01234567890123456789012345678901"] {
            assert_eq!(good.parse::<TokenLabel>().map(|label| label.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", " ", " a", "a ", "a\0", "a\n", "012345678901234567890123456789012"] {
            assert_eq!(bad.parse::<TokenLabel>(), Err(LabelError), "{bad:?}");
        }
    }
}
