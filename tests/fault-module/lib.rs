//! A PKCS#11 module that stands in front of a real one and goes wrong on order. A test artefact: never shipped, never a
//! token of its own. Every call that is not told to fail goes to the real module.
//!
//! `cargo test` builds it as an example (`cargo build --example fault-module` alone); `tests/common/faulty.rs` finds it
//! and writes its rules. The file that STRONGROOM_FAULT_RULES names is read again before each call; when its text has
//! changed, all counts start anew. Without it the module can't be loaded. A line each, `#` for comments:
//!
//! ```text
//! module PATH            the real module (once loaded, it stays)
//! log PATH               a line for each call is appended here: PID C_NAME 0xRV [forged]
//!                        forged: the real module was not asked, or answered something else
//! C_NAME WHEN ACTION     C_NAME: a function of PKCS#11 2.40, or * for any of them (which counts them all together)
//!                        WHEN, counted for each process: * every call, 3 the third one, 3- from the third on, 2-4
//! ```
//!
//! | ACTION | what happens |
//! |---|---|
//! | `return RV` | the call is not passed on, and returns RV (0x30, or decimal) |
//! | `answer RV` | the call is passed on and done, and then returns RV all the same |
//! | `delay MS` | it is passed on after so many milliseconds |
//! | `hang` | it never returns |
//! | `kill-before`, `kill-after` | SIGKILL to this process, before the call is passed on or after it is done |
//! | `drop-sessions` | every session is closed in the real module, and then the call is passed on |
//! | `logout` | the user is logged out in the real module, and then the call is passed on |
//! | `vanish [N]` | the token is gone, with its sessions, for this call and all later ones (or N of them) |
//! | `move N` | the token is N slots further on, and its sessions are gone, for this call and all later ones |
//! | `flags F,F` | C_GetTokenInfo: COUNT_LOW, FINAL_TRY, LOCKED (of the user PIN), SO_FINAL_TRY, SO_LOCKED, USER_PIN (there is one), INITIALIZED or PAD are set as well |
//! | `no-flags F,F` | C_GetTokenInfo: they are not |
//! | `pin-room L M` | C_GetTokenInfo: PINs have from L to M bytes |
//! | `meddle WHAT` | the process is changed, and then the call is passed on: see `meddle.rs` |
//! | `serial TEXT` | C_GetTokenInfo: another serial number |
//! | `hide M` | C_GetMechanismList: all but mechanism M (0x2109, or decimal) |
//! | `type PIN` | C_Login, C_InitToken, C_InitPIN: this PIN is passed on, as if it were typed on the token's own keys; a PIN that the caller gives is refused (0x7) |
//!
//! And how the token is another than the real one, whatever the call (`play.rs`):
//!
//! | line | what this token is like |
//! |---|---|
//! | `without M` | it has no mechanism M: not in its list, and refused |
//! | `renamed M N` | it has mechanism M of the real module by the number N, and not by M |
//! | `without read-only-sessions` | C_OpenSession for reading gives CKR_FUNCTION_FAILED (CloudHSM) |
//! | `without session-objects` | what would make one is refused (YubiHSM 2) |
//! | `without secret-import` | C_CreateObject takes no secret key (nShield without its overrides) |
//! | `without generic-secrets` | no CKK_GENERIC_SECRET: HMAC keys are of kinds of their own (YubiHSM 2) |
//! | `without wrapping`, `without unwrapping` | no key leaves by C_WrapKey, or comes by C_UnwrapKey (Luna that clones, YubiHSM 2) |
//! | `without unwrap-templates` | C_UnwrapKey takes no CKA_EXTRACTABLE that is true, heeds none that is not, nor CKA_SENSITIVE, and no key has a CKA_UNWRAP_TEMPLATE (opencryptoki) |
//! | `user NAME` | a PIN is `NAME:PIN` (CloudHSM) |
//!
//! Several lines may be about one call: all of them are done, in their order. Functions that Strongroom does not call are
//! absent from the list, so a new one can't go past uncounted.
#![allow(non_snake_case, reason = "PKCS#11's own names")]

mod meddle;
mod play;
mod rules;
mod state;

use std::ffi::c_void;
use std::sync::OnceLock;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_INFO, CK_MECHANISM, CK_MECHANISM_INFO,
    CK_MECHANISM_TYPE, CK_NOTIFY, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID,
    CK_SLOT_INFO, CK_TOKEN_INFO, CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR, CKR_ARGUMENTS_BAD, CKR_GENERAL_ERROR,
    CKR_MECHANISM_INVALID, CKR_OK, Pkcs11,
};

use rules::Action;
use state::{Done, call};

/// The real module, loaded at the first C_GetFunctionList, as it plays another maker's.
struct Real {
    list: CK_FUNCTION_LIST,
    _library: Pkcs11,
}

/// SAFETY: what a function list points to is code.
unsafe impl Send for Real {}
/// SAFETY: the same.
unsafe impl Sync for Real {}

static REAL: OnceLock<Real> = OnceLock::new();
static OURS: OnceLock<CK_FUNCTION_LIST> = OnceLock::new();

fn real() -> &'static CK_FUNCTION_LIST {
    &REAL.get().expect("loaded by C_GetFunctionList").list
}

/// # Safety
///
/// `list` points to where a pointer fits, as PKCS#11 has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    let Some(path) = state::module() else { return CKR_GENERAL_ERROR };
    REAL.get_or_init(|| load(&path));
    let ours = OURS.get_or_init(ours);
    // SAFETY: as promised; nobody writes to a module's list.
    unsafe { *list = std::ptr::from_ref(ours).cast_mut() };
    CKR_OK
}

fn load(path: &str) -> Real {
    // SAFETY: the real module is one, and gives a list that lives as long as it is loaded.
    unsafe {
        let library = Pkcs11::new(path).unwrap_or_else(|error| panic!("the real module {path}: {error}"));
        let mut list = std::ptr::null_mut();
        assert_eq!(library.C_GetFunctionList(&mut list), CKR_OK, "the real module gives no functions");
        Real { list: play::of(*list), _library: library }
    }
}

/// Defines each function that passes through, and the list of them.
macro_rules! functions {
    ($($name:ident($($arg:ident: $kind:ty),*) $(in $slot:ident)? $(then $after:expr)?;)*) => {
        $(unsafe extern "C" fn $name($($arg: $kind),*) -> CK_RV {
            let done = call(stringify!($name), || {
                $(let $slot = state::real_slot($slot);)?
                let function = real().$name.expect("a whole module");
                // SAFETY: the caller's arguments, unchanged.
                unsafe { function($($arg),*) }
            });
            $(let done = ($after)(done);)?
            done.rv
        })*

        fn ours() -> CK_FUNCTION_LIST {
            // SAFETY: numbers, and functions that may be absent.
            let mut list: CK_FUNCTION_LIST = unsafe { std::mem::zeroed() };
            list.version = real().version;
            list.C_GetFunctionList = Some(C_GetFunctionList);
            list.C_Login = Some(C_Login);
            list.C_InitToken = Some(C_InitToken);
            list.C_InitPIN = Some(C_InitPIN);
            $(list.$name = Some($name);)*
            list
        }
    };
}

functions! {
    C_Initialize(arguments: *mut c_void);
    C_Finalize(reserved: *mut c_void) then |done| { state::finalized(); done };
    C_GetInfo(info: *mut CK_INFO);
    C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) then |done| listed(done, slots, count);
    C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) in slot;
    C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) in slot then |done| changed(done, info);
    C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) in slot then |done| hidden(done, list, count);
    C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO) in slot then |done| hidden_too(done, kind);
    C_OpenSession(slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut c_void, notify: CK_NOTIFY,
        session: *mut CK_SESSION_HANDLE) in slot then |done| opened(done, slot, session);
    C_CloseSession(session: CK_SESSION_HANDLE);
    C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO);
    C_Logout(session: CK_SESSION_HANDLE);
    C_CreateObject(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
        object: *mut CK_OBJECT_HANDLE);
    C_CopyObject(session: CK_SESSION_HANDLE, from: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
        object: *mut CK_OBJECT_HANDLE);
    C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE);
    C_GetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG);
    C_SetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG);
    C_FindObjectsInit(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    C_FindObjects(session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, room: CK_ULONG, count: *mut CK_ULONG);
    C_FindObjectsFinal(session: CK_SESSION_HANDLE);
    C_SignInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    C_Sign(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, length: CK_ULONG, signature: *mut CK_BYTE,
        signature_length: *mut CK_ULONG);
    C_GenerateKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
    C_GenerateKeyPair(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public: *mut CK_ATTRIBUTE,
        public_count: CK_ULONG, private: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE,
        private_key: *mut CK_OBJECT_HANDLE);
    C_WrapKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, by: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE,
        wrapped: *mut CK_BYTE, length: *mut CK_ULONG);
    C_UnwrapKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, by: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE,
        length: CK_ULONG, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
}

unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
) -> CK_RV {
    with_pin("C_Login", pin, length, |pin, length| {
        let function = real().C_Login.expect("a whole module");
        // SAFETY: the caller's arguments, but for a PIN that lives until the call returns.
        unsafe { function(session, user, pin, length) }
    })
}

unsafe extern "C" fn C_InitToken(
    slot: CK_SLOT_ID,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
    label: *mut CK_UTF8CHAR,
) -> CK_RV {
    with_pin("C_InitToken", pin, length, |pin, length| {
        let (slot, function) = (state::real_slot(slot), real().C_InitToken.expect("a whole module"));
        // SAFETY: the same.
        unsafe { function(slot, pin, length, label) }
    })
}

unsafe extern "C" fn C_InitPIN(session: CK_SESSION_HANDLE, pin: *mut CK_UTF8CHAR, length: CK_ULONG) -> CK_RV {
    with_pin("C_InitPIN", pin, length, |pin, length| {
        let function = real().C_InitPIN.expect("a whole module");
        // SAFETY: the same.
        unsafe { function(session, pin, length) }
    })
}

/// A call with a PIN: the caller's, or the one that a rule types.
fn with_pin(
    name: &'static str,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
    pass: impl FnOnce(*mut CK_UTF8CHAR, CK_ULONG) -> CK_RV,
) -> CK_RV {
    let typed = state::typed_pin(name);
    let done = call(name, || match typed {
        Some(_) if !pin.is_null() => CKR_ARGUMENTS_BAD,
        Some(mut typed) => pass(typed.as_mut_ptr(), typed.len() as CK_ULONG),
        None => pass(pin, length),
    });
    done.rv
}

fn opened(done: Done, slot: CK_SLOT_ID, session: *mut CK_SESSION_HANDLE) -> Done {
    if done.rv == CKR_OK {
        // SAFETY: the real module has just written it.
        state::opened(state::real_slot(slot), unsafe { *session });
    }
    done
}

/// A token that has vanished is in no slot, and one that was moved in another.
fn listed(mut done: Done, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> Done {
    if done.vanished {
        // SAFETY: the caller has room for a count.
        unsafe { *count = 0 };
        done.rv = CKR_OK;
    }
    if done.rv == CKR_OK && !slots.is_null() {
        // SAFETY: the real module has written `count` slots.
        for slot in unsafe { std::slice::from_raw_parts_mut(slots, *count as usize) } {
            *slot = state::told_slot(*slot);
        }
    }
    done
}

fn changed(done: Done, info: *mut CK_TOKEN_INFO) -> Done {
    for action in done.actions.iter().filter(|_| done.rv == CKR_OK) {
        match action {
            // SAFETY: the real module has filled it in.
            Action::Flags(flags) => unsafe { (*info).flags |= flags },
            // SAFETY: the same.
            Action::NoFlags(flags) => unsafe { (*info).flags &= !flags },
            // SAFETY: the same.
            Action::PinRoom(least, most) => unsafe {
                ((*info).ulMinPinLen, (*info).ulMaxPinLen) = (*least, *most);
            },
            Action::Serial(serial) => {
                let mut field = [b' '; 16];
                field[..serial.len()].copy_from_slice(serial.as_bytes());
                // SAFETY: the same.
                unsafe { (*info).serialNumber = field };
            }
            _ => {}
        }
    }
    done
}

/// What is not in the list has no properties either; a rule about the list is one about both.
fn hidden_too(mut done: Done, kind: CK_MECHANISM_TYPE) -> Done {
    if state::is_hidden(kind) {
        done.rv = CKR_MECHANISM_INVALID;
    }
    done
}

/// The list without what is hidden. Where only its length is asked for, that stays: a list may turn out shorter.
fn hidden(done: Done, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) -> Done {
    if done.rv == CKR_OK && !list.is_null() {
        // SAFETY: the real module has written `count` mechanisms to `list`.
        let all = unsafe { std::slice::from_raw_parts_mut(list, *count as usize) };
        let is_hidden = |kind: &CK_MECHANISM_TYPE| {
            done.actions.iter().any(|action| matches!(action, Action::Hide(hidden) if hidden == kind))
        };
        let kept: Vec<_> = all.iter().copied().filter(|kind| !is_hidden(kind)).collect();
        all[..kept.len()].copy_from_slice(&kept);
        // SAFETY: the same.
        unsafe { *count = kept.len() as CK_ULONG };
    }
    done
}
