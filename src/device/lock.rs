//! The lock of a device that no kernel resource manager stands in front of: held from open to close, so that our own
//! processes take turns. A socket TPM serves one client at a time and has three object slots; a soft token rewrites its
//! files at every login.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use super::{DeviceError, DeviceUri, Fault, Kind};

/// How long to wait for another process of ours.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Held while it lives; the kernel lets go of it when the process ends, however it ends.
pub struct DeviceLock(#[allow(dead_code, reason = "held for its Drop")] Option<Arc<OwnedFd>>);

/// The locks of modules that this process holds: its tokens may be in one module, which serves them side by side.
static HELD: Mutex<BTreeMap<PathBuf, Weak<OwnedFd>>> = Mutex::new(BTreeMap::new());

/// Takes the lock of the device that `uri` names; at once where a kernel resource manager makes it needless. After ten
/// seconds: [`Fault::Busy`].
///
/// The file lies in a directory of the caller's own, so that no other user can hold it.
pub fn hold(uri: &DeviceUri) -> Result<DeviceLock, DeviceError> {
    if let DeviceUri::Tpm(uri) = uri
        && uri.is_resource_managed()
    {
        return Ok(DeviceLock(None));
    }
    let name = match uri {
        DeviceUri::Tpm(uri) => format!("tpm {}", uri.tcti()),
        // One lock a module: several URIs can name one token, and it is the module's files that must not be shared.
        DeviceUri::Pkcs11(uri) => format!("pkcs11 {}", uri.module_name()),
    };
    let path = directory()?.join(format!("{}.lock", hex::encode(&Sha256::digest(name)[..16])));
    if uri.kind() == Kind::Tpm {
        return take(&path).map(|file| DeviceLock(Some(Arc::new(file))));
    }
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = held.get(&path).and_then(Weak::upgrade) {
        return Ok(DeviceLock(Some(file)));
    }
    let file = Arc::new(take(&path)?);
    held.insert(path, Arc::downgrade(&file));
    Ok(DeviceLock(Some(file)))
}

fn take(path: &Path) -> Result<OwnedFd, DeviceError> {
    let failed = |error: Errno| Fault::Failed(format!("can't lock {}: {error}", path.display()));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    let start = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {
                let seconds = PATIENCE.as_secs();
                let what = format!("the device is busy: another strongroom has been using it for {seconds} seconds");
                return Err(Fault::Busy(what).into());
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error).into()),
        }
    }
}

/// Where the user's directory of locks is: for root in `/run`. In `/run/lock` everybody may make files: who makes root's
/// directory first, after each start of the machine, would keep root from its devices.
fn base(user: u32) -> &'static Path {
    let places: &[&str] = if user == 0 { &["/run", "/run/lock"] } else { &["/run/lock"] };
    let takes_files = |place: &Path| rustix::fs::access(place, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    // A service may be let at the directory alone, and must meet there who is let at all.
    let will_do = |place: &&Path| takes_files(&place.join(name(user))) || takes_files(place);
    places.iter().map(Path::new).find(will_do).unwrap_or(Path::new("/tmp"))
}

fn name(user: u32) -> String {
    format!("strongroom-{user}")
}

fn directory() -> Result<PathBuf, DeviceError> {
    let user = geteuid().as_raw();
    let path = base(user).join(name(user));
    let failed = |what: String| DeviceError::from(Fault::Failed(format!("{}: {what}", path.display())));
    match rustix::fs::mkdir(&path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed(format!("can't make the directory for device locks: {error}"))),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| failed(error.to_string()))?;
    let found = File::from(opened).metadata().map_err(|error| failed(error.to_string()))?;
    if found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(failed("is not a private directory of this user".to_owned()));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_make_roots_directory_of_locks() {
        let user = geteuid().as_raw();
        let mode = base(user).metadata().unwrap().mode();
        assert!(mode & 0o1000 != 0 || mode & 0o022 == 0, "sticky, or nobody else's: {mode:o}");
        assert!(user != 0 || mode & 0o022 == 0, "{mode:o}");
    }
}
