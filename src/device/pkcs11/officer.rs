//! What a token's security officer does: C_InitToken and C_InitPIN (PKCS#11 3.1, sections 5.5.9 and 5.6.6).
//!
//! These calls go past the crate, which passes no NULL PIN here, as a PIN pad wants it, and only PINs that are text.
#![allow(unsafe_code)]

use std::ptr;

use cryptoki::error::Result;
use cryptoki::slot::Slot;
use cryptoki_sys as sys;

use super::error;
use super::functions::{Functions, call};
use super::module::Module;
use crate::device::DeviceError;
use crate::secret::Pin;

/// A module's functions, initialised.
pub struct Officer(Functions);

/// A session for reading and writing, closed when this is dropped.
pub struct OfficersSession<'o> {
    officer: &'o Officer,
    handle: sys::CK_SESSION_HANDLE,
}

/// A PIN as PKCS#11 takes it; none: a null pointer, and it is typed on the token's own keys. Modules don't write to it.
fn raw(pin: Option<&Pin>) -> (*mut sys::CK_UTF8CHAR, sys::CK_ULONG) {
    match pin {
        Some(pin) => (pin.expose_secret().as_ptr().cast_mut(), pin.expose_secret().len() as sys::CK_ULONG),
        None => (ptr::null_mut(), 0),
    }
}

impl Officer {
    /// `module` is initialised already, and stays in memory.
    pub fn of(module: &Module) -> std::result::Result<Self, DeviceError> {
        let mut functions = Functions::of(module.path()).map_err(error::plain)?;
        functions.initialise().map_err(error::plain)?;
        Ok(Self(functions))
    }

    /// Gives the token in `slot` a label and the PIN of its security officer. **What was on it is gone**: look first.
    pub fn init_token(&self, slot: Slot, pin: Option<&Pin>, label: &str) -> Result<()> {
        let mut field = [b' '; 32];
        field[..label.len()].copy_from_slice(label.as_bytes());
        let (pin, length) = raw(pin);
        call!(self.0, C_InitToken, InitToken(slot.id(), pin, length, field.as_mut_ptr()))
    }

    pub fn session(&self, slot: Slot) -> Result<OfficersSession<'_>> {
        let mut handle = 0;
        let flags = sys::CKF_SERIAL_SESSION | sys::CKF_RW_SESSION;
        call!(self.0, C_OpenSession, OpenSession(slot.id(), flags, ptr::null_mut(), None, &mut handle))?;
        Ok(OfficersSession { officer: self, handle })
    }
}

impl OfficersSession<'_> {
    pub fn log_in(&self, pin: Option<&Pin>) -> Result<()> {
        let (pin, length) = raw(pin);
        call!(self.officer.0, C_Login, Login(self.handle, sys::CKU_SO, pin, length))
    }

    /// Sets the user PIN.
    pub fn init_pin(&self, pin: Option<&Pin>) -> Result<()> {
        let (pin, length) = raw(pin);
        call!(self.officer.0, C_InitPIN, InitPIN(self.handle, pin, length))
    }
}

impl Drop for OfficersSession<'_> {
    /// That logs the officer out as well: nobody else of this process is logged in.
    fn drop(&mut self) {
        drop(call!(self.officer.0, C_Logout, Logout(self.handle)));
        drop(call!(self.officer.0, C_CloseSession, CloseSession(self.handle)));
    }
}
