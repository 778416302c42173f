//! What a token's security officer does: C_InitToken and C_InitPIN (PKCS#11 3.1, sections 5.5.9 and 5.6.6).
//!
//! These calls go past the crate, which passes no NULL PIN here, as a PIN pad wants it, and only PINs that are text. A function
//! list of its own has an initialisation of its own in some modules (p11-kit's proxy), and the module's in the others: both
//! are served.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Error, Result, Rv};
use cryptoki::slot::Slot;
use cryptoki_sys as sys;

use super::module::Module;
use crate::device::{DeviceError, Fault};
use crate::secret::Pin;

/// A module's functions, initialised.
pub struct Officer {
    calls: sys::CK_FUNCTION_LIST,
    /// Whether the initialisation is this list's own.
    ours: bool,
}

/// A session for reading and writing, closed when this is dropped.
pub struct OfficersSession<'o> {
    officer: &'o Officer,
    handle: sys::CK_SESSION_HANDLE,
}

/// Calls a function of the list, which may lack it.
macro_rules! call {
    ($calls:expr, $name:ident, $function:ident ($($arg:expr),*)) => {
        match $calls.$name {
            // SAFETY: the module's own function, with arguments as PKCS#11 has them; what they point to outlives the call.
            Some(function) => match Rv::from(unsafe { function($($arg),*) }) {
                Rv::Ok => Ok(()),
                Rv::Error(error) => Err(Error::Pkcs11(error, Function::$function)),
            },
            None => Err(Error::NullFunctionPointer),
        }
    };
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
        let misfit = |why: String| Fault::Unreachable(format!("{} gives no functions: {why}", module.path().display()));
        // SAFETY: the library is loaded already, so that this runs none of its code.
        let library = unsafe { sys::Pkcs11::new(module.path()) }.map_err(|error| misfit(error.to_string()))?;
        // It is never unloaded: see `module`.
        let library = ManuallyDrop::new(library);
        let mut list = ptr::null_mut();
        // SAFETY: there is room for a pointer.
        let answer = unsafe { library.C_GetFunctionList(&mut list) };
        if answer != sys::CKR_OK || list.is_null() {
            return Err(misfit(format!("C_GetFunctionList gave {answer:#x}")).into());
        }
        // SAFETY: the module's own list, which lives as long as it is loaded.
        let calls = unsafe { *list };
        let mut arguments = sys::CK_C_INITIALIZE_ARGS { flags: sys::CKF_OS_LOCKING_OK, ..Default::default() };
        let initialised = call!(calls, C_Initialize, Initialize(ptr::from_mut(&mut arguments).cast()));
        let ours = match initialised {
            Ok(()) => true,
            Err(Error::Pkcs11(cryptoki::error::RvError::CryptokiAlreadyInitialized, _)) => false,
            Err(source) => return Err(super::error::plain(source)),
        };
        Ok(Self { calls, ours })
    }

    /// Gives the token in `slot` a label and the PIN of its security officer. **What was on it is gone**: look first.
    pub fn init_token(&self, slot: Slot, pin: Option<&Pin>, label: &str) -> Result<()> {
        let mut field = [b' '; 32];
        field[..label.len()].copy_from_slice(label.as_bytes());
        let (pin, length) = raw(pin);
        call!(self.calls, C_InitToken, InitToken(slot.id(), pin, length, field.as_mut_ptr()))
    }

    pub fn session(&self, slot: Slot) -> Result<OfficersSession<'_>> {
        let mut handle = 0;
        let flags = sys::CKF_SERIAL_SESSION | sys::CKF_RW_SESSION;
        call!(self.calls, C_OpenSession, OpenSession(slot.id(), flags, ptr::null_mut(), None, &mut handle))?;
        Ok(OfficersSession { officer: self, handle })
    }
}

impl Drop for Officer {
    fn drop(&mut self) {
        if self.ours {
            // Nobody is left who could act on an error.
            drop(call!(self.calls, C_Finalize, Finalize(ptr::null_mut())));
        }
    }
}

impl OfficersSession<'_> {
    pub fn log_in(&self, pin: Option<&Pin>) -> Result<()> {
        let (pin, length) = raw(pin);
        call!(self.officer.calls, C_Login, Login(self.handle, sys::CKU_SO, pin, length))
    }

    /// Sets the user PIN.
    pub fn init_pin(&self, pin: Option<&Pin>) -> Result<()> {
        let (pin, length) = raw(pin);
        call!(self.officer.calls, C_InitPIN, InitPIN(self.handle, pin, length))
    }
}

impl Drop for OfficersSession<'_> {
    /// That logs the officer out as well: nobody else of this process is logged in.
    fn drop(&mut self) {
        drop(call!(self.officer.calls, C_Logout, Logout(self.handle)));
        drop(call!(self.officer.calls, C_CloseSession, CloseSession(self.handle)));
    }
}
