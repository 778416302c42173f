//! Device init: a blank token gets a label, a security officer's PIN and a user PIN, so that a ring can use it. It is in no
//! ring yet, and needs none.

use super::{Error, Place, Plan, Step, Tell};
use crate::device::{
    self, BlankToken, DeviceError, DeviceUri, Fault, PinSource, Pkcs11Uri, TokenLabel, blank_token, prove_user_pin,
    set_user_pin,
};
use crate::secret::Pin;
use crate::store::{Store, StoreError};

/// A token to be initialised.
#[derive(Debug)]
pub struct DeviceInitPlan {
    pub plan: Plan,
    uri: Pkcs11Uri,
    blank: BlankToken,
    label: TokenLabel,
}

/// The PINs; none where they are typed on the token's own PIN pad.
pub struct TokenPins {
    /// The security officer's: a new one, or the one that it has.
    pub officers: Option<Pin>,
    pub user: Option<Pin>,
}

impl DeviceInitPlan {
    /// Looks whether the token that `uri` means holds nothing, as far as that can be seen without a PIN. `label` may be left
    /// out where the token has one, and lacks the user PIN only.
    ///
    /// `has_empty_officer`: its security officer has a PIN, which is empty, as NSS's is before there is a user PIN.
    ///
    /// Where there is a state directory, only its administrator may.
    pub fn new(
        place: &Place,
        uri: &DeviceUri,
        label: Option<&TokenLabel>,
        has_empty_officer: bool,
    ) -> Result<Self, Error> {
        let system = match Store::open(&place.directory).and_then(|store| store.read()) {
            Ok(ring) => ring.map(|ring| ring.system.name).unwrap_or_default(),
            Err(error @ (StoreError::NotAdministrator(_) | StoreError::OpenAncestor(_))) => return Err(error.into()),
            // What is wrong with a ring is no matter of a token that is in none.
            Err(_) => String::new(),
        };
        let DeviceUri::Pkcs11(uri) = uri else { return Err(Error::NotAToken) };
        let blank = blank_token(uri, label, has_empty_officer).map_err(Error::Token)?;
        let named = label.map(ToString::to_string).or_else(|| blank.is_begun.then(|| blank.identity.label.clone()));
        let label = named.ok_or_else(|| Error::NoLabel(blank.name.clone()))?;
        let odd = || Error::Token(Fault::Failed(format!("{} has an odd label", blank.name)).into());
        let label: TokenLabel = label.parse().map_err(|_| odd())?;

        let mut plan = Plan::new("device-init", &system);
        if blank.is_begun {
            plan.change("initialisation-goes-on", format!("{} has its label, and lacks a user PIN only", blank.name));
        } else {
            let device::TokenIdentity { manufacturer, model, .. } = &blank.identity;
            let token = format!("{} ({manufacturer} {model})", blank.name);
            plan.change("token-initialised", format!("{token} gets the label `{label}`, and a security officer's PIN"));
        }
        plan.change("user-pin-set", format!("the token `{label}` gets a user PIN, which is tried at once"));
        if blank.has_pin_pad {
            plan.warning("pin-pad", format!("the token `{label}` wants its PINs on its own PIN pad"));
        } else {
            plan.wants_pins_of_token(&label, blank.is_begun, has_empty_officer);
        }
        plan.question = Some("Initialise the token?");
        Ok(Self { plan, uri: uri.clone(), blank, label })
    }

    /// Whether PINs have to be given; if not, they are typed on the token's PIN pad.
    pub fn wants_pins(&self) -> bool {
        !self.blank.has_pin_pad
    }

    /// Whether the officer's PIN is set already.
    pub fn has_officer(&self) -> bool {
        self.blank.is_begun
    }

    /// How many bytes a PIN has, least and most, where the token says so.
    pub fn pin_room(&self) -> Option<(usize, usize)> {
        self.blank.pin_room
    }

    /// Does it. `pads` is who calls somebody to the PIN pad. Gives the URI that names the token from now on.
    pub fn execute(self, pins: &TokenPins, pads: &dyn PinSource, tell: &mut Tell<'_>) -> Result<DeviceUri, Error> {
        let Self { uri, blank, label, .. } = self;
        let of_officer = |source: DeviceError| match source.fault {
            Fault::WrongPin { .. } => Error::device("the security officer")(source),
            Fault::LockedOut { .. } => Error::OfficerLocked(source),
            _ => Error::Token(source),
        };
        let (officers, user) = (pins.officers.as_ref(), pins.user.as_ref());
        let begun = match blank.is_begun {
            true => blank,
            false => {
                let begun = device::init_token(&uri, &blank, &label, officers, pads).map_err(of_officer)?;
                tell(Step::TokenInitialised { label: label.to_string() });
                begun
            }
        };
        set_user_pin(&uri, &begun, officers, user, pads).map_err(of_officer)?;
        tell(Step::UserPinSet { label: label.to_string() });
        let named = DeviceUri::Pkcs11(prove_user_pin(&uri, &begun, user, pads).map_err(Error::Token)?);
        tell(Step::TokenReady { label: label.to_string(), uri: named.to_string() });
        Ok(named)
    }
}
