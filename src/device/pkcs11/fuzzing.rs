//! Doors for `fuzz/` into the parsers of what a module answers, and of p11-kit's configuration.

use cryptoki::context::Function;
use cryptoki::error::{Error, Rv};
use cryptoki::slot::Slot;
use cryptoki_sys as sys;

use super::token::Found;
use super::{TokenIdentity, error, p11kit, uri};
use crate::device::{DeviceError, Tries};

/// The fields of a CK_TOKEN_INFO that are read.
pub struct TokenInfo {
    pub label: [u8; 32],
    pub manufacturer: [u8; 32],
    pub model: [u8; 16],
    pub serial: [u8; 16],
    pub flags: u64,
    pub slot: u64,
}

/// What is made of a token's answer.
pub struct Token {
    pub identity: TokenIdentity,
    pub name: String,
    pub tries: Tries,
    /// The URI under which it would be offered, as a token of p11-kit's module `module`.
    pub uri: String,
}

/// A token that a module shows; none where the crate refuses its answer.
pub fn token(told: &TokenInfo, module: &str) -> Option<Token> {
    let mut info = sys::CK_TOKEN_INFO { flags: told.flags, ..Default::default() };
    (info.label, info.manufacturerID) = (told.label, told.manufacturer);
    (info.model, info.serialNumber) = (told.model, told.serial);
    let found = Found::new(Slot::try_from(told.slot).ok()?, info.try_into().ok()?);
    let uri = uri::of_token(&found.identity, told.slot, module);
    Some(Token { name: found.name(), tries: found.tries(), uri, identity: found.identity })
}

/// The file that a configuration of p11-kit names.
pub fn module_line(configuration: &str) -> Option<&str> {
    p11kit::module_line(configuration)
}

/// Any return value of a failed call; none for CKR_OK.
pub fn answer(value: u64) -> Option<DeviceError> {
    match Rv::from(value) {
        Rv::Ok => None,
        Rv::Error(rv) => Some(error::plain(Error::Pkcs11(rv, Function::Sign))),
    }
}
