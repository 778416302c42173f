//! The only place that opens files for writing: whatever is said to be saved has been fsynced, file and directory.
//!
//! Three ways in: [`write_new`] makes a file that must not be there yet (a backup), [`Directory::replace`] puts a new
//! content in place of an old one in one step (the ring; and man pages, which everybody may read). Both leave either the
//! old state or the new one, whole. [`Directory::growing`] is for a file that is only ever added to (the log): a crash
//! leaves what was there, and at most a part of what was added.

mod directory;
mod growing;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Advice, AtFlags, Mode, OFlags, RenameFlags, StatVfsMountFlags};
use rustix::io::Errno;

pub use directory::Directory;
pub use growing::Growing;

/// Mode of all that is kept: the owner's alone.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Room that a target must have left before a ceremony begins, in bytes: the largest backup.
const ROOM: u64 = 1 << 20;

/// What went wrong with a file, and which.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The target of a new file is there already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    #[error("{} is not a directory", .0.display())]
    NoDirectory(PathBuf),
    #[error("{} is a symbolic link", .0.display())]
    Link(PathBuf),
    #[error("there is no directory {}", .0.display())]
    MissingDirectory(PathBuf),
    #[error("{} lies on a read-only file system", .0.display())]
    ReadOnly(PathBuf),
    #[error("no permission to write in {}", .0.display())]
    NotWritable(PathBuf),
    #[error("{} has no room left", .0.display())]
    NoRoom(PathBuf),
    #[error("`-` is no file: a backup lies on a disk, and is opened there again to be proved")]
    Standard,
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    #[error("{} is {bytes} bytes long; the limit is {limit}", .path.display())]
    TooLarge { path: PathBuf, bytes: u64, limit: u64 },
    #[error("{doing} {}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
}

impl FileError {
    fn io(doing: &'static str, path: &Path) -> impl Fn(Errno) -> FileError {
        move |error| Self::Io { doing, path: path.to_owned(), source: error.into() }
    }

    fn std(doing: &'static str, path: &Path) -> impl Fn(std::io::Error) -> FileError {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// What the target's file system could not do for a new file: told, not fatal (USB sticks, network shares).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shortcomings {
    /// It keeps no modes: others on the machine that mounts it may be able to read the file.
    pub no_mode: bool,
    /// It can't sync a directory: after a power cut the file's name may be missing.
    pub no_directory_sync: bool,
}

/// Looks whether `path` can become a new file, without writing: before anybody is asked for anything.
pub fn check_new(path: &Path) -> Result<(), FileError> {
    let (directory, _) = split(path)?;
    match rustix::fs::lstat(path) {
        Ok(_) => return Err(FileError::Exists(path.to_owned())),
        Err(Errno::NOENT) => {}
        Err(Errno::NOTDIR) => return Err(FileError::NoDirectory(directory)),
        Err(error) => return Err(FileError::io("can't look at", path)(error)),
    }
    let room = match rustix::fs::statvfs(&directory) {
        Ok(room) => room,
        Err(Errno::NOENT) => return Err(FileError::MissingDirectory(directory)),
        Err(error) => return Err(FileError::io("can't look at", &directory)(error)),
    };
    if !directory.is_dir() {
        return Err(FileError::NoDirectory(directory));
    }
    if room.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(FileError::ReadOnly(directory));
    }
    match rustix::fs::accessat(rustix::fs::CWD, &directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => {}
        Err(Errno::ROFS) => return Err(FileError::ReadOnly(directory)),
        Err(_) => return Err(FileError::NotWritable(directory)),
    }
    if room.f_bavail.saturating_mul(room.f_frsize) < ROOM || (room.f_files > 0 && room.f_favail == 0) {
        return Err(FileError::NoRoom(directory));
    }
    Ok(())
}

/// Writes a file that must not be there yet, and syncs it and its directory. Nothing is ever overwritten: the content
/// gets its name only when it is whole.
pub fn write_new(path: &Path, content: &[u8]) -> Result<Shortcomings, FileError> {
    let (directory, name) = split(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&directory, flags, Mode::empty()).map_err(FileError::io("can't open", &directory))?;
    let mut file = match rustix::fs::openat(&opened, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, PRIVATE) {
        Ok(file) => Unnamed { file: file.into(), name: None, directory: &opened },
        // FAT, NFS and others have no unnamed files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
            let hidden = format!(".{}.{}.tmp", name, hex::encode(crate::secret::random_array::<6>()));
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(&opened, &hidden, flags, PRIVATE)
                .map_err(FileError::io("can't make a file in", &directory))?;
            Unnamed { file: file.into(), name: Some(hidden), directory: &opened }
        }
        Err(error) => return Err(FileError::io("can't make a file in", &directory)(error)),
    };
    file.file.write_all(content).map_err(FileError::std("can't write", path))?;
    file.file.sync_all().map_err(FileError::std("can't sync", path))?;
    file.publish(&name).map_err(|error| match error {
        Errno::EXIST => FileError::Exists(path.to_owned()),
        error => FileError::io("can't give its name to", path)(error),
    })?;
    let settled = (|| {
        let mode = file.file.metadata().map_err(FileError::std("can't look at", path))?.mode();
        let no_directory_sync = !sync(&opened, path)?;
        Ok(Shortcomings { no_mode: mode & 0o7777 != PRIVATE.bits(), no_directory_sync })
    })();
    settled.inspect_err(|_| {
        // It has its name, and may not keep it: whoever is told of a failure finds no file either.
        let _ = rustix::fs::unlinkat(&opened, &name, AtFlags::empty());
    })
}

/// Makes a file that is there durable, with its name: whoever wrote it may have been cut off, or never have synced it.
pub fn secure(path: &Path) -> Result<Shortcomings, FileError> {
    let path = path.canonicalize().map_err(FileError::std("can't look at", path))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(FileError::io("can't open", &path))?;
    let content = sync(&file, &path)?;
    let (directory, _) = split(&path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let name = match rustix::fs::open(&directory, flags, Mode::empty()) {
        Ok(opened) => sync(&opened, &path)?,
        // Who may look up a name need not be allowed to list them.
        Err(Errno::ACCESS) => false,
        Err(error) => return Err(FileError::io("can't open", &directory)(error)),
    };
    Ok(Shortcomings { no_mode: false, no_directory_sync: !content || !name })
}

/// Syncs the file at `path`, or the directory that it is in. False: the file system can't.
fn sync(opened: &OwnedFd, path: &Path) -> Result<bool, FileError> {
    match rustix::fs::fsync(opened) {
        Ok(()) | Err(Errno::ROFS) => Ok(true),
        // There is no such call there. Any other error is one: the disk has failed, or is full.
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF) => Ok(false),
        Err(error) => Err(FileError::io("can't sync", path)(error)),
    }
}

/// A file that has no name yet, or a hidden one; the hidden name goes away with it unless it is published.
struct Unnamed<'d> {
    file: File,
    name: Option<String>,
    directory: &'d OwnedFd,
}

impl Unnamed<'_> {
    /// Gives the file its name, refusing to clobber: by link; where it has a hidden name already, by
    /// renameat2(RENAME_NOREPLACE), which network file systems lack, by a second name, which FAT lacks, or, where neither is
    /// to be had, by taking the name with O_EXCL first and renaming over it.
    fn publish(&mut self, name: &str) -> Result<(), Errno> {
        let Some(hidden) = &self.name else {
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            return rustix::fs::linkat(rustix::fs::CWD, path, self.directory, name, AtFlags::SYMLINK_FOLLOW);
        };
        match rustix::fs::renameat_with(self.directory, hidden, self.directory, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match rustix::fs::linkat(self.directory, hidden, self.directory, name, AtFlags::empty()) {
                    Ok(()) => rustix::fs::unlinkat(self.directory, hidden, AtFlags::empty())?,
                    Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {
                        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                        rustix::fs::openat(self.directory, name, flags, PRIVATE)?;
                        rustix::fs::renameat(self.directory, hidden, self.directory, name)?;
                    }
                    Err(error) => return Err(error),
                }
            }
            other => other?,
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some(hidden) = &self.name {
            // Best effort: a hidden file that stays behind holds ciphertext only and is never taken for a backup.
            let _ = rustix::fs::unlinkat(self.directory, hidden, AtFlags::empty());
        }
    }
}

/// Removes a file that this run has made and syncs its directory.
pub fn remove(path: &Path) -> Result<(), FileError> {
    let (directory, _) = split(path)?;
    rustix::fs::unlink(path).map_err(FileError::io("can't remove", path))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&directory, flags, Mode::empty()).map_err(FileError::io("can't open", &directory))?;
    let _ = rustix::fs::fsync(opened);
    Ok(())
}

/// Reads a whole file of at most `limit` bytes, from the disk rather than from what the kernel remembers of it.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    if path.as_os_str() == "-" {
        return Err(FileError::Standard);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => FileError::Missing(path.to_owned()),
        error => FileError::io("can't open", path)(error),
    })?;
    // Advice, not a promise: some file systems (tmpfs) have no other copy.
    let _ = rustix::fs::fadvise(&opened, 0, None, Advice::DontNeed);
    read_opened(opened, path, limit)
}

fn read_opened(opened: OwnedFd, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = File::from(opened);
    let found = file.metadata().map_err(FileError::std("can't look at", path))?;
    if !found.is_file() {
        return Err(FileError::NotRegular(path.to_owned()));
    }
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).map_err(FileError::std("can't read", path))?;
    let bytes = found.len().max(content.len() as u64);
    if bytes > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), bytes, limit });
    }
    Ok(content)
}

fn split(path: &Path) -> Result<(PathBuf, String), FileError> {
    if path.as_os_str() == "-" {
        return Err(FileError::Standard);
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => return Err(FileError::NotRegular(path.to_owned())),
    };
    name.map(|name| (directory, name.to_owned())).ok_or_else(|| FileError::NotRegular(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_never_clobbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backup");
        assert!(check_new(&path).is_ok());
        assert_eq!(write_new(&path, b"first").unwrap(), Shortcomings::default());
        assert!(matches!(check_new(&path), Err(FileError::Exists(_))));
        assert!(matches!(write_new(&path, b"second"), Err(FileError::Exists(_))));
        assert_eq!(read(&path, 100).unwrap(), b"first");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_is_made_durable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backup");
        assert!(secure(&path).is_err());
        std::fs::write(&path, "copied").unwrap();
        assert_eq!(secure(&path).unwrap(), Shortcomings::default());
        // A file system that can't sync is told, and no failure.
        assert!(secure(Path::new("/proc/self/status")).unwrap().no_directory_sync);
    }

    #[test]
    fn a_hidden_name_is_published_or_goes_away() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        for (published, left) in [(false, vec![]), (true, vec!["backup".to_owned()])] {
            let file = File::create(temporary.path().join(".hidden")).unwrap();
            let mut unnamed = Unnamed { file, name: Some(".hidden".to_owned()), directory: &directory.opened };
            if published {
                unnamed.publish("backup").unwrap();
            }
            drop(unnamed);
            assert_eq!(directory.names().unwrap(), left);
        }
        let file = File::create(temporary.path().join(".hidden")).unwrap();
        let mut unnamed = Unnamed { file, name: Some(".hidden".to_owned()), directory: &directory.opened };
        assert_eq!(unnamed.publish("backup"), Err(Errno::EXIST));
    }

    #[test]
    fn targets_are_checked_before_anything_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/backup");
        assert!(matches!(check_new(&missing), Err(FileError::MissingDirectory(_))));
        assert!(matches!(check_new(Path::new("-")), Err(FileError::Standard)));
        assert!(matches!(check_new(Path::new("/")), Err(FileError::NotRegular(_))));
        std::fs::write(directory.path().join("file"), "").unwrap();
        let below = directory.path().join("file/backup");
        assert!(matches!(check_new(&below), Err(FileError::NoDirectory(_))));
        assert!(check_new(Path::new("/proc/backup")).is_err());
    }

    #[test]
    fn reading_has_a_limit_and_wants_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, [7; 11]).unwrap();
        assert!(matches!(read(&path, 10), Err(FileError::TooLarge { bytes: 11, limit: 10, .. })));
        assert_eq!(read(&path, 11).unwrap().len(), 11);
        assert!(matches!(read(directory.path(), 10), Err(FileError::NotRegular(_))));
        assert!(matches!(read(Path::new("/dev/zero"), 10), Err(FileError::NotRegular(_))));
        assert!(matches!(read(&directory.path().join("none"), 10), Err(FileError::Missing(_))));
    }
}
