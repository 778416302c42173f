//! A directory of our own, opened once: names in it can't be redirected from outside.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::growing::{self, Growing};
use super::{FileError, PRIVATE, read_opened, split};

/// Mode of what holds nothing of ours.
const PUBLIC: Mode = PRIVATE.union(Mode::RGRP).union(Mode::ROTH);

/// An opened directory of our own: names in it can't be redirected from outside.
pub struct Directory {
    pub(super) opened: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory; never through a symbolic link in the last place.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => FileError::MissingDirectory(path.to_owned()),
            Errno::NOTDIR | Errno::LOOP if path.is_symlink() => FileError::Link(path.to_owned()),
            Errno::NOTDIR | Errno::LOOP => FileError::NoDirectory(path.to_owned()),
            error => FileError::io("can't open", path)(error),
        })?;
        Ok(Self { opened, path: path.to_owned() })
    }

    /// Makes a directory of mode 0700 where there is none, and makes its name durable: also where it is there, since the run
    /// that made it may have been killed before it came to that.
    pub fn create(path: &Path) -> Result<(), FileError> {
        let is_new = match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(Errno::NOENT) => return Err(FileError::MissingDirectory(split(path)?.0)),
            Err(Errno::ROFS) => return Err(FileError::ReadOnly(split(path)?.0)),
            Err(Errno::ACCESS | Errno::PERM) => return Err(FileError::NotWritable(split(path)?.0)),
            Err(error) => return Err(FileError::io("can't make", path)(error)),
        };
        // The directory above may be reached through a link: it is the real one whose names are synced.
        let above = split(path)?.0;
        let above = above.canonicalize().map_err(FileError::std("can't look at", &above))?;
        match Self::open(&above) {
            // Whoever set it up for a user who may not list what is beside it has made it long ago.
            Err(FileError::Io { source, .. }) if !is_new && source.kind() == ErrorKind::PermissionDenied => Ok(()),
            opened => opened?.sync(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn metadata(&self) -> Result<std::fs::Metadata, FileError> {
        let file = self.opened.try_clone().map(File::from).map_err(FileError::std("can't look at", &self.path))?;
        file.metadata().map_err(FileError::std("can't look at", &self.path))
    }

    /// Opens (and makes, mode 0600) a file to be locked. It never holds anything.
    pub fn lock_file(&self, name: &str) -> Result<OwnedFd, FileError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.opened, name, flags, PRIVATE)
            .map_err(FileError::io("can't open", &self.path.join(name)))
    }

    /// Runs `work` while no other process of ours does the like, with this directory. Waited for, for a few seconds.
    pub fn in_turn<T, E: From<FileError>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        growing::take(&self.opened, &self.path)?;
        let done = work();
        // By a call of its own: the directory stays open.
        let _ = flock(&self.opened, FlockOperation::Unlock);
        done
    }

    /// Reads a file of at most `limit` bytes; none where there is none. A file that is not a regular one of the
    /// directory's owner with mode 0600 is refused: `check` sees its metadata first.
    pub fn read(
        &self,
        name: &str,
        limit: u64,
        check: impl FnOnce(&Path, &std::fs::Metadata) -> Result<(), FileError>,
    ) -> Result<Option<Vec<u8>>, FileError> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        let path = self.path.join(name);
        check(&path, &file.metadata().map_err(FileError::std("can't look at", &path))?)?;
        read_opened(file.into(), &path, limit).map(Some)
    }

    /// The same of a file that is only ever added to: an addition that is going on is waited for.
    pub fn read_settled(
        &self,
        name: &str,
        limit: u64,
        check: impl FnOnce(&Path, &std::fs::Metadata) -> Result<(), FileError>,
    ) -> Result<Option<Vec<u8>>, FileError> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        let path = self.path.join(name);
        check(&path, &file.metadata().map_err(FileError::std("can't look at", &path))?)?;
        growing::settle(&file, &path)?;
        read_opened(file.into(), &path, limit).map(Some)
    }

    fn open_file(&self, name: &str) -> Result<Option<File>, FileError> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::openat(&self.opened, name, flags, Mode::empty()) {
            Ok(opened) => Ok(Some(opened.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(FileError::NotRegular(path)),
            Err(error) => Err(FileError::io("can't open", &path)(error)),
        }
    }

    /// Opens (and makes, mode 0600) a file that is only ever added to; others who add to it or read it whole wait until it
    /// is let go of. `check` sees its metadata first.
    pub fn growing(
        &self,
        name: &str,
        check: impl FnOnce(&Path, &std::fs::Metadata) -> Result<(), FileError>,
    ) -> Result<Growing<'_>, FileError> {
        let path = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = match rustix::fs::openat(&self.opened, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => rustix::fs::openat(&self.opened, name, flags | OFlags::CREATE, PRIVATE),
            opened => opened,
        };
        let opened = opened.map_err(|error| match error {
            Errno::LOOP => FileError::NotRegular(path.clone()),
            Errno::ROFS => FileError::ReadOnly(path.clone()),
            error => FileError::io("can't open", &path)(error),
        })?;
        Growing::lock(self, opened.into(), path, check)
    }

    /// Puts `content` in place of the file `name`, in one step. Callers hold a lock: the temporary name is fixed, so that
    /// a crash leaves at most one.
    pub fn replace(&self, name: &str, content: &[u8]) -> Result<(), FileError> {
        self.put(name, content, PRIVATE)
    }

    /// The same for what everybody may read (as far as the umask allows): man pages.
    pub fn replace_public(&self, name: &str, content: &[u8]) -> Result<(), FileError> {
        self.put(name, content, PUBLIC)
    }

    fn put(&self, name: &str, content: &[u8], mode: Mode) -> Result<(), FileError> {
        let path = self.path.join(name);
        let temporary = format!("{name}.new");
        self.remove(&temporary)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&self.opened, &temporary, flags, mode).map_err(FileError::io("can't write", &path))?;
        let mut file = File::from(file);
        file.write_all(content).map_err(FileError::std("can't write", &path))?;
        file.sync_all().map_err(FileError::std("can't sync", &path))?;
        rustix::fs::renameat(&self.opened, &temporary, &self.opened, name)
            .map_err(FileError::io("can't replace", &path))?;
        self.sync()
    }

    /// Gives the file `name` a second name in `directory`; the same file there already is fine.
    pub fn keep(&self, name: &str, directory: &Directory, kept: &str) -> Result<(), FileError> {
        match rustix::fs::linkat(&self.opened, name, &directory.opened, kept, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => directory.sync(),
            Err(error) => Err(FileError::io("can't keep", &self.path.join(name))(error)),
        }
    }

    /// Removes a file; that it is not there is fine.
    pub fn remove(&self, name: &str) -> Result<(), FileError> {
        match rustix::fs::unlinkat(&self.opened, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(FileError::io("can't remove", &self.path.join(name))(error)),
        }
    }

    /// The names of the files in it, sorted.
    pub fn names(&self) -> Result<Vec<String>, FileError> {
        let failed = FileError::io("can't list", &self.path);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(self.opened.as_fd()).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    pub fn sync(&self) -> Result<(), FileError> {
        rustix::fs::fsync(&self.opened).map_err(FileError::io("can't sync", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_leaves_no_temporary_file() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        std::fs::write(temporary.path().join("ring.json.new"), "left by a crash").unwrap();
        directory.replace("ring.json", b"one").unwrap();
        directory.replace("ring.json", b"two").unwrap();
        assert_eq!(directory.names().unwrap(), ["ring.json"]);
        assert_eq!(directory.read("ring.json", 10, |_, _| Ok(())).unwrap().unwrap(), b"two");
        assert_eq!(directory.read("other", 10, |_, _| Ok(())).unwrap(), None);
    }

    #[test]
    fn private_unless_told_otherwise() {
        use std::os::unix::fs::MetadataExt;
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        directory.replace("ring.json", b"one").unwrap();
        directory.replace_public("page.1", b"two").unwrap();
        let mode = |name: &str| std::fs::metadata(temporary.path().join(name)).unwrap().mode() & 0o7777;
        assert_eq!(mode("ring.json"), 0o600);
        // Whatever the umask of who runs the tests is, it takes away only.
        assert!(mode("page.1") & 0o600 == 0o600 && mode("page.1") & !0o644 == 0, "{:o}", mode("page.1"));
    }
}
