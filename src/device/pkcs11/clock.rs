//! Tokens that tell a time that is none. The crate then refuses all that they say of themselves, and only that is in the way:
//! opencryptoki's clock says `16:56:20` where a date with sixteen digits belongs (PKCS#11 3.1, section 3.2: CK_TOKEN_INFO).
//!
//! So the token is asked once more, past the crate, and its clock is left out. A function list of our own is good enough for
//! a question that needs no session. Most modules have one list for everyone; p11-kit's proxy gives a new one at each
//! C_GetFunctionList, which wants an initialisation of its own, and shows the same slots.

use std::path::Path;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Error, Result, Rv};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki_sys as sys;

/// What the token in `slot` says of itself, but for the time. The module at `path` is loaded and initialised.
pub fn token_info_without(path: &Path, slot: Slot) -> Result<TokenInfo> {
    let mut info = ask(path, slot)?;
    info.flags &= !sys::CKF_CLOCK_ON_TOKEN;
    info.try_into()
}

#[allow(unsafe_code)]
fn ask(path: &Path, slot: Slot) -> Result<sys::CK_TOKEN_INFO> {
    let mut info = sys::CK_TOKEN_INFO::default();
    // SAFETY: the library is in memory, and has done what it does when it is loaded; it stays there when this handle is dropped.
    let library = unsafe { sys::Pkcs11::new(path) }.map_err(Error::LibraryLoading)?;
    let mut list = ptr::null_mut();
    // SAFETY: the library was loaded as a PKCS#11 module, so that the function is there; it writes a pointer.
    let told = unsafe { library.C_GetFunctionList(&mut list) };
    Rv::from(told).into_result(Function::GetFunctionList)?;
    // SAFETY: the module gave the list, which is good as long as the module is loaded (PKCS#11 3.1, section 5.4.4).
    let Some(list) = (unsafe { list.as_ref() }) else { return Err(Error::NullFunctionPointer) };
    let (Some(initialise), Some(finalise)) = (list.C_Initialize, list.C_Finalize) else {
        return Err(Error::NullFunctionPointer);
    };
    let token_info = list.C_GetTokenInfo.ok_or(Error::NullFunctionPointer)?;
    // SAFETY: the slot is one that the module told, and the structure is what it fills.
    let mut ask = || unsafe { token_info(slot.id(), &mut info) };
    let mut told = ask();
    if told == sys::CKR_CRYPTOKI_NOT_INITIALIZED {
        let mut arguments = sys::CK_C_INITIALIZE_ARGS { flags: sys::CKF_OS_LOCKING_OK, ..Default::default() };
        // SAFETY: the structure outlives the call.
        let begun = unsafe { initialise(ptr::from_mut(&mut arguments).cast()) };
        Rv::from(begun).into_result(Function::Initialize)?;
        told = ask();
        // SAFETY: of the list that was initialised here, whose users are we alone.
        unsafe { finalise(ptr::null_mut()) };
    }
    Rv::from(told).into_result(Function::GetTokenInfo)?;
    Ok(info)
}
