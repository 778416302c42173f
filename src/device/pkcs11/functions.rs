//! A module's functions, called past the crate: for what it does not pass on, or does not hear.
//!
//! Most modules have one list of functions for everyone, and what the crate has initialised is initialised. p11-kit's proxy gives a
//! new list at each C_GetFunctionList, which shows the same slots and wants an initialisation of its own.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Error, Result, Rv, RvError};
use cryptoki_sys as sys;

/// Calls a function of the list, which may lack it.
macro_rules! call {
    ($functions:expr, $name:ident, $function:ident ($($arg:expr),*)) => {
        match $functions.list.$name {
            // SAFETY: the module's own function, with arguments as PKCS#11 has them; what they point to outlives the call.
            Some(function) => ::cryptoki::error::Rv::from(unsafe { function($($arg),*) })
                .into_result(::cryptoki::context::Function::$function),
            None => Err(::cryptoki::error::Error::NullFunctionPointer),
        }
    };
}
pub(super) use call;

/// The list, of a module that stays in memory.
pub struct Functions {
    pub list: sys::CK_FUNCTION_LIST,
    /// Whether it was initialised here, and so is finalised here.
    ours: bool,
}

impl Functions {
    /// Of the module at `path`, which is loaded and initialised already.
    pub fn of(path: &Path) -> Result<Self> {
        // SAFETY: the library is in memory, and has done what it does when it is loaded.
        let library = unsafe { sys::Pkcs11::new(path) }.map_err(Error::LibraryLoading)?;
        // It is never unloaded: see `module`.
        let library = ManuallyDrop::new(library);
        let mut list = ptr::null_mut();
        // SAFETY: the library was loaded as a PKCS#11 module, so that the function is there; it writes a pointer.
        let told = unsafe { library.C_GetFunctionList(&mut list) };
        Rv::from(told).into_result(Function::GetFunctionList)?;
        // SAFETY: the module's own list, which is good as long as the module is loaded (PKCS#11 3.1, section 5.4.4).
        let list = unsafe { list.as_ref() }.copied().ok_or(Error::NullFunctionPointer)?;
        Ok(Self { list, ours: false })
    }

    /// Initialises the list, where it is one of its own.
    pub fn initialise(&mut self) -> Result<()> {
        let mut arguments = sys::CK_C_INITIALIZE_ARGS { flags: sys::CKF_OS_LOCKING_OK, ..Default::default() };
        match call!(self, C_Initialize, Initialize(ptr::from_mut(&mut arguments).cast())) {
            Ok(()) => self.ours = true,
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(source) => return Err(source),
        }
        Ok(())
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        if self.ours {
            // Nobody is left who could act on an error.
            drop(call!(self, C_Finalize, Finalize(ptr::null_mut())));
        }
    }
}
