//! Tokens: the one that a URI means, what it says of itself, and what it lacks for the job.

use std::time::{Duration, Instant};

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::{Slot, TokenInfo};

use super::discovery::Offered;
use super::mechanism::KeyWrap;
use super::module::Module;
use super::uri::{Attribute, Pkcs11Uri};
use super::{TokenIdentity, error};
use crate::device::{Description, DeviceError, Fault, Kind, Root, Tries};

/// The mechanisms that the main job needs besides a way for secrets to be kept and to pass, by the names and numbers of
/// PKCS#11 3.1's header.
pub const NEEDED: [(MechanismType, &str); 1] = [(MechanismType::SHA256_HMAC, "CKM_SHA256_HMAC (0x251)")];

/// For how long what a token said is taken as what it says now.
const MOMENT: Duration = Duration::from_millis(200);

/// A token in its slot, as its token info (PKCS#11 3.1, section 3.2) says without a login.
#[derive(Clone)]
pub struct Found {
    pub slot: Slot,
    pub identity: TokenIdentity,
    info: TokenInfo,
    read: Instant,
}

impl Found {
    /// Reads what the token in `slot` says of itself now.
    pub fn read(module: &Module, slot: Slot) -> Result<Self, DeviceError> {
        module.token_info(slot).map(|info| Self::new(slot, info)).map_err(error::plain)
    }

    /// What `info` says of the token in `slot`.
    pub fn new(slot: Slot, info: TokenInfo) -> Self {
        let field = |text: &str| text.trim_matches([' ', '\0']).to_owned();
        let identity = TokenIdentity {
            label: field(info.label()),
            manufacturer: field(info.manufacturer_id()),
            model: field(info.model()),
            serial: field(info.serial_number()),
        };
        Self { slot, identity, info, read: Instant::now() }
    }

    /// What the token says of itself now: read again, unless that was a moment ago. A one-shot use logs in right after it
    /// found the token, and some tokens read files for each question.
    pub fn fresh(&self, module: &Module) -> Result<Self, DeviceError> {
        if self.read.elapsed() < MOMENT { Ok(self.clone()) } else { Self::read(module, self.slot) }
    }

    /// How the token is called in messages.
    pub fn name(&self) -> String {
        match self.identity.label.as_str() {
            "" => format!("the unnamed token in slot {}", self.slot.id()),
            label => format!("the token `{label}`"),
        }
    }

    pub fn initialised(&self) -> bool {
        self.info.token_initialized()
    }

    pub fn wants_login(&self) -> bool {
        self.info.login_required()
    }

    /// Whether the PIN is typed on the token's own keys (CKF_PROTECTED_AUTHENTICATION_PATH).
    pub fn has_pin_pad(&self) -> bool {
        self.info.protected_authentication_path()
    }

    /// Whether somebody has set a user PIN.
    pub fn has_user_pin(&self) -> bool {
        self.info.user_pin_initialized()
    }

    pub fn is_write_protected(&self) -> bool {
        self.info.write_protected()
    }

    pub fn firmware(&self) -> String {
        self.info.firmware_version().to_string()
    }

    /// The user PIN's retry counter, as far as flags tell it: some tokens set none of them, and lock all the same.
    pub fn tries(&self) -> Tries {
        let left = match (self.info.user_pin_locked(), self.info.user_pin_final_try()) {
            (true, _) => Some(0),
            (false, true) => Some(1),
            (false, false) => None,
        };
        Tries { left, max: None, recovery_seconds: None, low: self.info.user_pin_count_low() }
    }

    /// How many more wrong PINs of its security officer it takes, as far as flags tell it.
    pub fn officers_tries_left(&self) -> Option<u32> {
        match (self.info.so_pin_locked(), self.info.so_pin_final_try()) {
            (true, _) => Some(0),
            (false, true) => Some(1),
            (false, false) => None,
        }
    }

    /// How many bytes a PIN has, least and most. It may make no sense: Kryoptic says from 8 to 0.
    pub fn pin_room(&self) -> (usize, usize) {
        (self.info.min_pin_length(), self.info.max_pin_length())
    }

    /// What this token says, and what of it matters for the job; `pinned` is what a ring knows of it.
    pub fn describe(&self, module: &Module, uri: String, pinned: Option<&Root>) -> Result<Description, DeviceError> {
        let mut notes = Vec::new();
        let (mut root, mut ways, mut exports) = (None, None, true);
        let lacks = self.lacks(module, pinned.is_none())?;
        if self.wants_login() && self.has_pin_pad() {
            notes.push("its PIN is typed on its own PIN pad".to_owned());
        }
        match pinned {
            Some(Root::Pkcs11 { use_key, export_key, ways: chosen, .. }) => {
                root = Some(format!("{} {}", use_key.id, export_key.id));
                if !use_key.locks_use {
                    let note = "use implies export: this token lets whoever may use a seal take the secret out";
                    notes.push(note.to_owned());
                }
                exports = chosen.let_out();
                if !chosen.is_default() {
                    notes.push(chosen.summary());
                }
                ways = Some(chosen.summary());
            }
            // The self-test alone shows what works; where nothing is offered, nothing will.
            Some(Root::Tpm { .. }) | None if lacks.is_empty() => {
                let offered = self.offered(module)?;
                exports = offered.may_let_out();
                if !exports {
                    notes.push(offered.no_way_out());
                }
            }
            Some(Root::Tpm { .. }) | None => {}
        }
        Ok(Description {
            kind: Kind::Pkcs11,
            uri,
            manufacturer: self.identity.manufacturer.clone(),
            model: self.identity.model.clone(),
            firmware: self.firmware(),
            label: Some(self.identity.label.clone()),
            serial: Some(self.identity.serial.clone()),
            root,
            tries: self.wants_login().then(|| self.tries()),
            needs_pin: self.wants_login() && !self.has_pin_pad(),
            lacks,
            notes,
            ways,
            exports,
            pcr_banks: Vec::new(),
            pin_pad: self.wants_login() && self.has_pin_pad(),
        })
    }

    /// What the main job needs and the token lacks; with `new`, also what it takes to make the wrapping keys.
    pub fn lacks(&self, module: &Module, new: bool) -> Result<Vec<String>, DeviceError> {
        let mut lacks = Vec::new();
        if !self.initialised() {
            lacks.push("an initialisation (the token is blank: `strongroom device init`)".to_owned());
        } else if self.wants_login() && !self.has_user_pin() {
            lacks.push("a user PIN (`strongroom device init`)".to_owned());
        }
        if new && self.is_write_protected() {
            lacks.push("room to write (CKF_WRITE_PROTECTED)".to_owned());
        }
        lacks.extend(self.lacked_mechanisms(module)?);
        Ok(lacks)
    }

    /// The mechanisms that the job needs and the token lacks.
    pub fn lacked_mechanisms(&self, module: &Module) -> Result<Vec<String>, DeviceError> {
        let offered = self.mechanisms(module)?;
        Ok(NEEDED.iter().filter(|(kind, _)| !offered.contains(kind)).map(|(_, name)| (*name).to_owned()).collect())
    }

    /// What secrets may pass by, as the token says without a login.
    pub fn offered(&self, module: &Module) -> Result<Offered, DeviceError> {
        let listed = self.mechanisms(module)?;
        let has = |kinds: &[MechanismType]| kinds.iter().all(|kind| listed.contains(kind));
        let mut wraps = Vec::new();
        // Keys that nothing can make are no help.
        if has(&[MechanismType::AES_KEY_GEN]) {
            for wrap in KeyWrap::ALL {
                // The crate leaves what it does not know out of the list.
                let is_offered = listed.contains(&wrap.kind())
                    || MechanismType::try_from(wrap.number()).is_err()
                        && module.calls().get_mechanism_info(self.slot, wrap.kind()).is_ok();
                wraps.extend(is_offered.then_some(wrap));
            }
        }
        let oaep = has(&[MechanismType::RSA_PKCS_OAEP, MechanismType::RSA_PKCS_KEY_PAIR_GEN]);
        let generates = has(&[MechanismType::GENERIC_SECRET_KEY_GEN]);
        let cbc_pad = has(&[MechanismType::AES_CBC_PAD]);
        Ok(Offered { wraps, oaep, generates, cbc_pad })
    }

    /// The mechanisms that the token offers, of those that the crate knows.
    pub fn mechanisms(&self, module: &Module) -> Result<Vec<MechanismType>, DeviceError> {
        module.calls().get_mechanism_list(self.slot).map_err(error::plain)
    }
}

/// Every token that the module shows, blank ones too. A slot whose token is just gone or unreadable is passed over.
pub fn all(module: &Module) -> Result<Vec<Found>, DeviceError> {
    let mut found = Vec::new();
    for slot in module.calls().get_slots_with_token().map_err(error::plain)? {
        match module.token_info(slot) {
            Ok(info) => found.push(Found::new(slot, info)),
            Err(Error::Pkcs11(RvError::TokenNotPresent | RvError::TokenNotRecognized | RvError::SlotIdInvalid, _)) => {}
            Err(source) => return Err(error::plain(source)),
        }
    }
    Ok(found)
}

/// The one token that `uri` means. A blank one only where no initialised one fits. With `pinned`, that one, whatever other tokens
/// fit as well, such as one with the same label, and wherever it is plugged in by now.
///
/// Errors, naming the candidates, where none fits or several do.
pub fn find(module: &Module, uri: &Pkcs11Uri, pinned: Option<&TokenIdentity>) -> Result<Found, DeviceError> {
    if let Some(pinned) = pinned {
        let mut same = Vec::new();
        for found in all(module)?.into_iter().filter(|found| found.identity == *pinned) {
            if fits(module, &found, uri, Attribute::is_of_the_slot)? {
                same.push(found);
            }
        }
        // Two that call themselves the same are told apart by the whole URI.
        if same.len() == 1 {
            return Ok(same.remove(0));
        }
    }
    let mut fitting = fitting(module, uri)?;
    if fitting.iter().any(Found::initialised) {
        fitting.retain(Found::initialised);
    }
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        _ => Err(Fault::Ambiguous(format!("several tokens match {uri}: there {}", list(&fitting))).into()),
    }
}

/// All tokens that `uri` could mean, one at least, blank ones too.
pub fn fitting(module: &Module, uri: &Pkcs11Uri) -> Result<Vec<Found>, DeviceError> {
    let (mut fitting, mut others) = (Vec::new(), Vec::new());
    for found in all(module)? {
        if fits(module, &found, uri, |_| false)? { fitting.push(found) } else { others.push(found) }
    }
    if fitting.is_empty() {
        let what = format!("no token in {} matches {uri}; there {}", module.path().display(), list(&others));
        return Err(Fault::Unreachable(what).into());
    }
    Ok(fitting)
}

/// The token that was `found` before, wherever it is now; none where it is nowhere.
pub fn find_again(module: &Module, found: &Found) -> Result<Option<Found>, DeviceError> {
    let mut same = all(module)?;
    same.retain(|other| other.identity == found.identity);
    let stayed = same.iter().position(|other| other.slot == found.slot);
    Ok(match (stayed, same.len()) {
        (Some(index), _) => Some(same.swap_remove(index)),
        (None, 1) => same.pop(),
        // None, or several and none where it was: nobody knows which.
        (None, _) => None,
    })
}

/// Whether all that `uri` asks for holds, but for the attributes that are left out.
fn fits(
    module: &Module,
    found: &Found,
    uri: &Pkcs11Uri,
    leaves_out: impl Fn(Attribute) -> bool,
) -> Result<bool, DeviceError> {
    for (attribute, wanted) in uri.wanted().filter(|(attribute, _)| !leaves_out(*attribute)) {
        let slot_info = || module.calls().get_slot_info(found.slot).map_err(error::plain);
        let library_info = || module.calls().get_library_info().map_err(error::plain);
        let value = match attribute {
            Attribute::Token => found.identity.label.clone(),
            Attribute::Manufacturer => found.identity.manufacturer.clone(),
            Attribute::Model => found.identity.model.clone(),
            Attribute::Serial => found.identity.serial.clone(),
            Attribute::SlotDescription => slot_info()?.slot_description().to_owned(),
            Attribute::SlotManufacturer => slot_info()?.manufacturer_id().to_owned(),
            Attribute::SlotId => found.slot.id().to_string(),
            Attribute::LibraryDescription => library_info()?.library_description().to_owned(),
            Attribute::LibraryManufacturer => library_info()?.manufacturer_id().to_owned(),
            Attribute::LibraryVersion => library_info()?.library_version().to_string(),
        };
        if value.trim() != wanted.trim() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What tells them apart, as the end of a sentence that begins with `there`.
pub fn list(tokens: &[Found]) -> String {
    let describe = |found: &Found| {
        let TokenIdentity { label, model, serial, .. } = &found.identity;
        match found.initialised() {
            true => format!("`{label}` (model {model}, serial {serial}, slot {})", found.slot.id()),
            false => format!("a blank one (model {model}, slot {})", found.slot.id()),
        }
    };
    match tokens {
        [] => "is no other".to_owned(),
        [one] => format!("is {}", describe(one)),
        several => format!("are {}", several.iter().map(describe).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use cryptoki_sys as sys;

    use super::*;

    fn token(flags: sys::CK_FLAGS) -> Found {
        let mut info = sys::CK_TOKEN_INFO { flags, ..Default::default() };
        info.label = *b"payroll                         ";
        info.manufacturerID = [b' '; 32];
        info.model = *b"a model\0\0\0\0\0\0\0\0\0";
        info.serialNumber = *b"0077            ";
        Found::new(Slot::try_from(3_u64).unwrap(), info.try_into().unwrap())
    }

    #[test]
    fn fields_are_blank_trimmed() {
        let TokenIdentity { label, manufacturer, model, serial } = token(0).identity;
        assert_eq!([&*label, &*manufacturer, &*model, &*serial], ["payroll", "", "a model", "0077"]);
    }

    #[test]
    fn flags_tell_the_tries_left() {
        let left = |flags| (token(flags).tries().left, token(flags).tries().low);
        assert_eq!(left(0), (None, false));
        assert_eq!(left(sys::CKF_USER_PIN_COUNT_LOW), (None, true));
        assert_eq!(left(sys::CKF_USER_PIN_COUNT_LOW | sys::CKF_USER_PIN_FINAL_TRY), (Some(1), true));
        assert_eq!(left(sys::CKF_USER_PIN_LOCKED | sys::CKF_USER_PIN_FINAL_TRY), (Some(0), false));
    }

    #[test]
    fn candidates_are_told_apart() {
        assert_eq!(list(&[]), "is no other");
        let (named, blank) = (token(sys::CKF_TOKEN_INITIALIZED), token(0));
        let listed = list(&[named, blank]);
        assert_eq!(listed, "are `payroll` (model a model, serial 0077, slot 3), a blank one (model a model, slot 3)");
    }
}
