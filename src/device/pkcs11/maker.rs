//! The making of a ring's wrapping keys: what is there already is found, and what turns out to be of no use is taken back.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};

use super::error;
use super::keys::{self, AES_256_BYTES, Handles, Kind, Local, Role};
use super::module::Module;
use super::seal::Both;
use super::session::Session;
use super::token::Found;
use crate::bytes::Hex;
use crate::device::{DeviceError, Fault, Intent, Root};

/// What finds the keys of an intent, or makes them.
pub struct Maker<'a> {
    pub module: &'a Module,
    pub token: &'a Found,
    /// Logged in.
    pub session: &'a Session,
    pub intent: &'a Intent,
    /// What the ring has pinned: its keys are never made again.
    pub pinned: Option<&'a Root>,
}

/// Both keys, and which of them were made just now.
pub struct Made {
    pub keys: Both,
    new: Vec<Handles>,
}

impl Maker<'_> {
    /// Both keys. `is_making` says which could not be made, after an error.
    pub fn both(&self, kind: Kind, is_making: &mut Option<Role>) -> Result<Made, DeviceError> {
        let mut new = Vec::new();
        let use_key = self.found_or_made(Role::Use, kind, self.intent.use_key, is_making, &mut new)?;
        let export_key = self.found_or_made(Role::Export, kind, self.intent.export_key, is_making, &mut new)?;
        Ok(Made { keys: Both { use_key, export_key }, new })
    }

    fn found_or_made(
        &self,
        role: Role,
        kind: Kind,
        id: Hex<16>,
        is_making: &mut Option<Role>,
        new: &mut Vec<Handles>,
    ) -> Result<Handles, DeviceError> {
        let known = match self.pinned {
            Some(Root::Pkcs11 { use_key, export_key, .. }) => {
                [use_key, export_key].into_iter().find(|key| key.id == id)
            }
            Some(Root::Tpm { .. }) | None => None,
        };
        let local = known.map_or(Local::Required, Local::as_pinned);
        let is_new = known.is_none() && self.has_none(role, kind, id)?;
        if is_new {
            *is_making = Some(role);
            let writing = Session::read_write(self.module, self.token.slot).map_err(error::plain)?;
            for half in keys::halves_left(&writing, role, kind, id)? {
                writing.calls().destroy_object(half).map_err(error::plain)?;
            }
            keys::make(&writing, role, kind, id)?;
            *is_making = None;
        }
        let local = if is_new { Local::Known } else { local };
        let key = keys::pinned(self.session, self.token, role, kind, id, local)?;
        new.extend(is_new.then_some(key));
        Ok(key)
    }

    /// Whether the key has to be made. One that is there, and not recorded, is of a run that was cut off: the token must say that
    /// it made it. Where it says so of no key, nobody can tell whose this one is: nothing was sealed under it yet, and it goes.
    fn has_none(&self, role: Role, kind: Kind, id: Hex<16>) -> Result<bool, DeviceError> {
        match keys::find(self.session, self.token, role, kind, id, Local::Required) {
            Err(error) if matches!(error.fault, Fault::Untrusted(_)) && !self.says_where_from() => {
                let key = keys::find(self.session, self.token, role, kind, id, Local::Known)?;
                let writing = Session::read_write(self.module, self.token.slot).map_err(error::plain)?;
                for object in key.iter().flat_map(Handles::objects) {
                    writing.calls().destroy_object(object).map_err(error::plain)?;
                }
                Ok(true)
            }
            found => found.map(|found| found.is_none()),
        }
    }

    /// Whether the token says of keys that it makes that it made them (CKA_LOCAL), as one shows that it makes for the moment. One
    /// that makes none is taken at its word.
    fn says_where_from(&self) -> bool {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(AES_256_BYTES.into()),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
        ];
        let made = self.session.generate(&Mechanism::AesKeyGen, &template);
        let told = made.and_then(|key| self.session.attributes(key.handle(), &[AttributeType::Local]));
        told.map_or(true, |told| told == [Attribute::Local(true)])
    }

    /// Destroys what was made just now, and has turned out to be of no use.
    pub fn discard(&self, made: &Made) -> Result<(), DeviceError> {
        let writing = Session::read_write(self.module, self.token.slot).map_err(error::plain)?;
        made.new
            .iter()
            .flat_map(|key| key.objects())
            .try_for_each(|object| writing.calls().destroy_object(object).map_err(error::plain))
    }
}
