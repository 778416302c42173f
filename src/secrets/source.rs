//! The files and descriptors that secrets are read from: one line, 1 KiB at most, not readable by everybody.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use strongroom::refusals::Source;
use strongroom::secret::SecretBytes;
use zeroize::Zeroize;

use crate::report::Stop;

/// Longest secret that a file or descriptor may hold, in bytes.
pub const LIMIT: usize = 1024;

/// A secret as it was read, and where from.
pub struct Read {
    pub bytes: SecretBytes,
    /// For messages: a path, or a descriptor's number.
    pub from: String,
    /// The file itself, where it was a regular one.
    pub source: Option<Source>,
}

/// What a pair of flags names; none where neither was given.
pub fn from_flags(what: &'static str, file: &Option<PathBuf>, fd: Option<i32>) -> Result<Option<SecretBytes>, Stop> {
    match (file, fd) {
        (Some(path), _) => from_file(what, path).map(|read| Some(read.bytes)),
        (None, Some(fd)) => from_fd(what, fd).map(|read| Some(read.bytes)),
        (None, None) => Ok(None),
    }
}

/// Where systemd has put this service's credentials. Asked for first while nobody else's code has run: a library may change
/// the environment.
pub fn credentials() -> Option<&'static Path> {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    DIRECTORY.get_or_init(|| std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)).as_deref()
}

/// systemd's credentials (systemd.exec(5), LoadCredential=).
pub fn credential(name: &str, what: &'static str) -> Result<Option<Read>, Stop> {
    let Some(directory) = credentials() else { return Ok(None) };
    let path = directory.join(name);
    let Ok(found) = path.metadata() else { return Ok(None) };
    let read = from_file(what, &path)?;
    let source = Source::of_credential(&read.from, &found);
    Ok(Some(Read { source: Some(source), ..read }))
}

pub fn from_file(what: &'static str, path: &Path) -> Result<Read, Stop> {
    let refused = |why: String| Stop::SecretSource { what, from: path.display().to_string(), why };
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    let found = file.metadata().map_err(|error| refused(error.to_string()))?;
    if found.is_dir() {
        return Err(refused("it is a directory".to_owned()));
    }
    if found.is_file() && found.mode() & 0o007 != 0 {
        return Err(refused("everybody can read or write it".to_owned()));
    }
    let bytes = first_line(file.as_fd()).map_err(refused)?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let source = Source::of(&absolute.display().to_string(), &found);
    Ok(Read { bytes, source, from: path.display().to_string() })
}

#[allow(unsafe_code)]
pub fn from_fd(what: &'static str, fd: i32) -> Result<Read, Stop> {
    let refused = |why: String| Stop::SecretSource { what, from: format!("descriptor {fd}"), why };
    if fd < 0 || !Path::new(&format!("/proc/self/fd/{fd}")).exists() {
        return Err(refused("it is not open".to_owned()));
    }
    // SAFETY: the descriptor is open, as was just seen, and nothing here closes it.
    let opened = unsafe { BorrowedFd::borrow_raw(fd) };
    // Whoever started this program has left it open; what the program has opened itself closes on exec.
    if rustix::io::fcntl_getfd(opened).is_ok_and(|flags| flags.contains(rustix::io::FdFlags::CLOEXEC)) {
        return Err(refused("it is not open".to_owned()));
    }
    let bytes = first_line(opened).map_err(refused)?;
    Ok(Read { bytes, from: format!("descriptor {fd}"), source: behind(opened, fd) })
}

/// The file that a descriptor was opened on: a service that restarts may give it the same one each time.
fn behind(opened: BorrowedFd<'_>, fd: i32) -> Option<Source> {
    let found = File::from(opened.try_clone_to_owned().ok()?).metadata().ok()?;
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    Source::of(&path.display().to_string(), &found)
}

/// Reads one line, byte by byte: what follows it may be another secret, for another reader.
fn first_line(fd: BorrowedFd<'_>) -> Result<SecretBytes, String> {
    let mut line = SecretBytes::zeroed(LIMIT);
    let mut len = 0;
    loop {
        let mut byte = [0];
        match rustix::io::read(fd, &mut byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if len == LIMIT => return Err(format!("its first line is longer than {LIMIT} bytes")),
            Ok(_) => {
                line.as_mut()[len] = byte[0];
                len += 1;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).to_string()),
        }
        byte.zeroize();
    }
    line.truncate(len);
    if line.is_empty() {
        return Err("its first line is empty".to_owned());
    }
    Ok(line)
}
