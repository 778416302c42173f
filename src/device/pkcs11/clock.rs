//! Tokens that tell a time that is none. The crate then refuses all that they say of themselves, and only that is in the way:
//! opencryptoki's clock says `16:56:20` where a date with sixteen digits belongs (PKCS#11 3.1, section 3.2: CK_TOKEN_INFO).
//!
//! So the token is asked once more, past the crate, and its clock is left out.
#![allow(unsafe_code)]

use std::path::Path;

use cryptoki::error::{Error, Result, RvError};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki_sys as sys;

use super::functions::{Functions, call};

/// What the token in `slot` says of itself, but for the time. The module at `path` is loaded and initialised.
pub fn token_info_without(path: &Path, slot: Slot) -> Result<TokenInfo> {
    let mut functions = Functions::of(path)?;
    let mut info = sys::CK_TOKEN_INFO::default();
    let mut ask = |functions: &Functions| call!(functions, C_GetTokenInfo, GetTokenInfo(slot.id(), &mut info));
    match ask(&functions) {
        Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {
            functions.initialise()?;
            ask(&functions)?;
        }
        told => told?,
    }
    info.flags &= !sys::CKF_CLOCK_ON_TOKEN;
    info.try_into()
}
