//! Plays: the real module with gaps and numbers of another maker's, by the lines of `rules.rs` that are about no call. They stand
//! between the faults and the real module, which does all of the cryptography.

use std::ffi::c_void;
use std::sync::OnceLock;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_BBOOL, CK_BYTE, CK_FALSE, CK_FLAGS, CK_FUNCTION_LIST, CK_MECHANISM,
    CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_NOTIFY, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_TRUE,
    CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR, CKA_CLASS, CKA_EXTRACTABLE, CKA_KEY_TYPE, CKA_SENSITIVE, CKA_TOKEN,
    CKA_UNWRAP_TEMPLATE, CKF_RW_SESSION, CKK_GENERIC_SECRET, CKO_SECRET_KEY, CKR_ATTRIBUTE_READ_ONLY,
    CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID, CKR_FUNCTION_FAILED, CKR_FUNCTION_NOT_SUPPORTED,
    CKR_KEY_NOT_WRAPPABLE, CKR_MECHANISM_INVALID, CKR_OK, CKR_PIN_INCORRECT, CKR_TEMPLATE_INCONSISTENT,
};

use super::rules::Lack;
use super::state::play;

/// The real module's functions, as they are.
static GENUINE: OnceLock<CK_FUNCTION_LIST> = OnceLock::new();

static YES: CK_BBOOL = CK_TRUE;
static NO: CK_BBOOL = CK_FALSE;

/// The functions of a module, as it plays.
pub fn of(list: CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
    GENUINE.get_or_init(|| list);
    CK_FUNCTION_LIST {
        C_OpenSession: Some(open_session),
        C_Login: Some(login),
        C_GetMechanismList: Some(mechanism_list),
        C_GetMechanismInfo: Some(mechanism_info),
        C_CreateObject: Some(create_object),
        C_GenerateKey: Some(generate_key),
        C_GenerateKeyPair: Some(generate_key_pair),
        C_WrapKey: Some(wrap_key),
        C_UnwrapKey: Some(unwrap_key),
        ..list
    }
}

/// Calls the real module.
macro_rules! genuine {
    ($name:ident($($arg:expr),*)) => {{
        let function = GENUINE.get().expect("loaded").$name.expect("a whole module");
        // SAFETY: the caller's arguments, or ours in their place, which live until it returns.
        unsafe { function($($arg),*) }
    }};
}

/// The attributes of a template, to be looked at.
fn attributes<'t>(template: *mut CK_ATTRIBUTE, count: CK_ULONG) -> &'t [CK_ATTRIBUTE] {
    match count {
        0 => &[],
        // SAFETY: the caller gives as many.
        _ => unsafe { std::slice::from_raw_parts(template, count as usize) },
    }
}

/// A number among the attributes: a class, a type of key.
fn number(template: &[CK_ATTRIBUTE], kind: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
    let found = template.iter().find(|attribute| attribute.type_ == kind)?;
    // SAFETY: an attribute of this kind is a CK_ULONG.
    Some(unsafe { found.pValue.cast::<CK_ULONG>().read_unaligned() })
}

fn is_token_object(template: &[CK_ATTRIBUTE]) -> bool {
    let found = template.iter().find(|attribute| attribute.type_ == CKA_TOKEN);
    // SAFETY: an attribute of this kind is a CK_BBOOL.
    found.is_some_and(|found| unsafe { found.pValue.cast::<CK_BBOOL>().read() } == CK_TRUE)
}

/// What this token refuses of a new object, whatever makes it.
fn refusal(template: &[CK_ATTRIBUTE]) -> Option<CK_RV> {
    let play = play();
    if play.lacks(Lack::SessionObjects) && !is_token_object(template) {
        return Some(CKR_ATTRIBUTE_VALUE_INVALID);
    }
    if play.lacks(Lack::GenericSecrets) && number(template, CKA_KEY_TYPE) == Some(CKK_GENERIC_SECRET) {
        return Some(CKR_ATTRIBUTE_VALUE_INVALID);
    }
    let has_unwrap_template = template.iter().any(|attribute| attribute.type_ == CKA_UNWRAP_TEMPLATE);
    (play.lacks(Lack::UnwrapTemplates) && has_unwrap_template).then_some(CKR_ATTRIBUTE_TYPE_INVALID)
}

/// The mechanism by its real number; none: the token has no such one.
fn renumbered(mechanism: *mut CK_MECHANISM) -> Option<CK_MECHANISM> {
    // SAFETY: the caller gives one.
    let given = unsafe { *mechanism };
    Some(CK_MECHANISM { mechanism: play().real(given.mechanism)?, ..given })
}

unsafe extern "C" fn open_session(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    if play().lacks(Lack::ReadOnlySessions) && flags & CKF_RW_SESSION == 0 {
        return CKR_FUNCTION_FAILED;
    }
    genuine!(C_OpenSession(slot, flags, application, notify, session))
}

unsafe extern "C" fn login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
) -> CK_RV {
    let Some(name) = play().user else { return genuine!(C_Login(session, user, pin, length)) };
    // SAFETY: the caller gives as many bytes.
    let given = unsafe { std::slice::from_raw_parts(pin, length as usize) };
    let Some(rest) = given.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":")) else {
        return CKR_PIN_INCORRECT;
    };
    genuine!(C_Login(session, user, rest.as_ptr().cast_mut(), rest.len() as CK_ULONG))
}

/// The real list, as it is shown. Where only its length is asked for, that of the real one does.
unsafe extern "C" fn mechanism_list(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) -> CK_RV {
    let rv = genuine!(C_GetMechanismList(slot, list, count));
    if rv == CKR_OK && !list.is_null() {
        // SAFETY: the real module has written `count` mechanisms to `list`.
        let all = unsafe { std::slice::from_raw_parts_mut(list, *count as usize) };
        let play = play();
        let shown: Vec<_> = all.iter().filter_map(|kind| play.shown(*kind)).collect();
        all[..shown.len()].copy_from_slice(&shown);
        // SAFETY: the same.
        unsafe { *count = shown.len() as CK_ULONG };
    }
    rv
}

unsafe extern "C" fn mechanism_info(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO) -> CK_RV {
    match play().real(kind) {
        Some(real) => genuine!(C_GetMechanismInfo(slot, real, info)),
        None => CKR_MECHANISM_INVALID,
    }
}

unsafe extern "C" fn create_object(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let given = attributes(template, count);
    if let Some(rv) = refusal(given) {
        return rv;
    }
    if play().lacks(Lack::SecretImport) && number(given, CKA_CLASS) == Some(CKO_SECRET_KEY) {
        return CKR_TEMPLATE_INCONSISTENT;
    }
    genuine!(C_CreateObject(session, template, count, object))
}

unsafe extern "C" fn generate_key(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    if let Some(rv) = refusal(attributes(template, count)) {
        return rv;
    }
    match renumbered(mechanism) {
        Some(mut real) => genuine!(C_GenerateKey(session, &raw mut real, template, count, key)),
        None => CKR_MECHANISM_INVALID,
    }
}

unsafe extern "C" fn generate_key_pair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    if let Some(rv) = refusal(attributes(private, private_count)).or_else(|| refusal(attributes(public, public_count)))
    {
        return rv;
    }
    match renumbered(mechanism) {
        Some(mut real) => genuine!(C_GenerateKeyPair(
            session,
            &raw mut real,
            public,
            public_count,
            private,
            private_count,
            public_key,
            private_key
        )),
        None => CKR_MECHANISM_INVALID,
    }
}

unsafe extern "C" fn wrap_key(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    by: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    length: *mut CK_ULONG,
) -> CK_RV {
    if play().lacks(Lack::Wrapping) {
        return CKR_KEY_NOT_WRAPPABLE;
    }
    match renumbered(mechanism) {
        Some(mut real) => genuine!(C_WrapKey(session, &raw mut real, by, key, wrapped, length)),
        None => CKR_MECHANISM_INVALID,
    }
}

unsafe extern "C" fn unwrap_key(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    by: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    length: CK_ULONG,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    if play().lacks(Lack::Unwrapping) {
        return CKR_FUNCTION_NOT_SUPPORTED;
    }
    let given = attributes(template, count);
    if let Some(rv) = refusal(given) {
        return rv;
    }
    let mut heeded = given.to_vec();
    if play().lacks(Lack::UnwrapTemplates) {
        let asks_to_be_open = |attribute: &CK_ATTRIBUTE| {
            // SAFETY: an attribute of this kind is a CK_BBOOL.
            attribute.type_ == CKA_EXTRACTABLE && unsafe { attribute.pValue.cast::<CK_BBOOL>().read() } == CK_TRUE
        };
        if given.iter().any(asks_to_be_open) {
            return CKR_ATTRIBUTE_READ_ONLY;
        }
        // What nobody asked for is the same.
        for (type_, value) in [(CKA_SENSITIVE, &NO), (CKA_EXTRACTABLE, &YES)] {
            if given.iter().all(|attribute| attribute.type_ != type_) {
                let pValue = std::ptr::from_ref(value).cast_mut().cast();
                heeded.push(CK_ATTRIBUTE { type_, pValue, ulValueLen: size_of::<CK_BBOOL>() as CK_ULONG });
            }
        }
        for attribute in &mut heeded {
            match attribute.type_ {
                CKA_SENSITIVE => attribute.pValue = (&raw const NO).cast_mut().cast(),
                CKA_EXTRACTABLE => attribute.pValue = (&raw const YES).cast_mut().cast(),
                _ => {}
            }
        }
    }
    match renumbered(mechanism) {
        Some(mut real) => {
            genuine!(C_UnwrapKey(
                session,
                &raw mut real,
                by,
                wrapped,
                length,
                heeded.as_mut_ptr(),
                heeded.len() as CK_ULONG,
                key
            ))
        }
        None => CKR_MECHANISM_INVALID,
    }
}
