//! PKCS#11 modules: each is loaded and initialised once a process, in this one place.
//!
//! C_Initialize and C_Finalize are a process's, not a caller's (PKCS#11 3.1, sections 5.4.1 and 5.4.2): a second
//! C_Initialize gives CKR_CRYPTOKI_ALREADY_INITIALIZED, and C_Finalize ends every session of everyone. So users are
//! counted, and nobody finalises but for recovery, alone: what a module has open ends with its sessions, and with the process.
//! One that is finalised and initialised again may do worse: opencryptoki forgets that it has closed the file that it locks,
//! and goes on to lock, and to close, whatever of ours has that number by then. A library once loaded stays in memory: some
//! crash the program when unloaded.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::slot::{Slot, TokenInfo};

use super::guest::undisturbed;
use super::{clock, error, p11kit};
use crate::device::{DeviceError, Fault};

/// All modules that this process has loaded.
static LOADED: Mutex<Vec<&'static Library>> = Mutex::new(Vec::new());

/// A module in memory.
struct Library {
    path: PathBuf,
    calls: Pkcs11,
    users: Mutex<Users>,
}

struct Users {
    count: usize,
    /// Whether we initialised it. False where other code of this process did: then it is not ours to finalise.
    ours: bool,
    /// What C_Initialize was given.
    init: Option<CString>,
}

/// A module that is initialised, and in use as long as this lives.
pub struct Module {
    library: &'static Library,
}

impl Module {
    /// Loads the module at `path`, and calls nothing in it but what gives its functions.
    pub fn load(path: &Path) -> Result<(), DeviceError> {
        load(path).map(drop)
    }

    /// Loads and initialises the module, unless that is done.
    pub fn open(installed: &p11kit::Library) -> Result<Self, DeviceError> {
        let library = load(&installed.file)?;
        let mut users = library.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.count == 0 && !users.ours {
            users.init.clone_from(&installed.init);
            users.ours = library.initialise(users.init.as_deref())?;
        }
        users.count += 1;
        drop(users);
        Ok(Self { library })
    }

    pub fn calls(&self) -> &'static Pkcs11 {
        &self.library.calls
    }

    /// What the token in `slot` says of itself.
    pub fn token_info(&self, slot: Slot) -> cryptoki::error::Result<TokenInfo> {
        match self.calls().get_token_info(slot) {
            Err(Error::ParseInt(_) | Error::Utf8(_)) => clock::token_info_without(self.path(), slot),
            told => told,
        }
    }

    pub fn path(&self) -> &'static Path {
        &self.library.path
    }

    /// C_Finalize and C_Initialize: for a library that has lost track of its tokens. It ends every session of this
    /// process; so false, and nothing is done, where others use the module too.
    pub fn restart(&self) -> Result<bool, DeviceError> {
        let users = self.library.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.count > 1 || !users.ours {
            return Ok(false);
        }
        // It may say that it is not initialised: that is why we are here.
        drop(undisturbed(|| self.library.calls.clone().finalize()));
        self.library.initialise(users.init.as_deref())
    }
}

impl Library {
    /// C_Initialize, given `init`. False where other code of this process had done it.
    #[allow(unsafe_code)]
    fn initialise(&self, init: Option<&CStr>) -> Result<bool, DeviceError> {
        let flags = CInitializeFlags::OS_LOCKING_OK;
        let arguments = match init {
            None => CInitializeArgs::new(flags),
            // SAFETY: what pReserved points to is between the module and whoever configured it. By p11-kit's configuration, it
            // is this text as a C string; it outlives the call.
            Some(init) => unsafe { CInitializeArgs::new_with_reserved(flags, NonNull::from(init).cast()) },
        };
        match undisturbed(|| self.calls.initialize(arguments)) {
            Ok(()) => Ok(true),
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(false),
            Err(source) => {
                let what = format!("the PKCS#11 module {} can't be initialised", self.path.display());
                Err(error::because(Fault::Unreachable(what), &source))
            }
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.library.users.lock().unwrap_or_else(PoisonError::into_inner).count -= 1;
    }
}

fn load(path: &Path) -> Result<&'static Library, DeviceError> {
    // By its own name: two links to one library are one module.
    let path = path.canonicalize().and_then(|real| std::fs::File::open(&real).map(|_| real)).map_err(|error| {
        let path = path.display().to_string();
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Fault::NoPermission { path, group: None },
            _ => Fault::Unreachable(format!("there is no PKCS#11 module {path}: {error}")),
        }
    })?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = loaded.iter().find(|library| library.path == path) {
        return Ok(library);
    }
    let calls = undisturbed(|| Pkcs11::new(&path)).map_err(|source| {
        let what = format!("{} can't be loaded as a PKCS#11 module: {source}", path.display());
        DeviceError::from(Fault::Unreachable(what))
    })?;
    let users = Mutex::new(Users { count: 0, ours: false, init: None });
    let library = Box::leak(Box::new(Library { path, calls, users }));
    loaded.push(library);
    Ok(library)
}
