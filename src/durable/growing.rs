//! A file that is only ever added to: each addition is one write, synced before it counts.

use std::fs::{File, Metadata};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Directory, FileError};

/// How long to wait for another process of ours.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// A file of our own, open for additions, and locked: it is nobody else's turn until it is dropped.
pub struct Growing<'d> {
    directory: &'d Directory,
    file: File,
    path: PathBuf,
}

impl<'d> Growing<'d> {
    pub(super) fn lock(
        directory: &'d Directory,
        file: File,
        path: PathBuf,
        check: impl FnOnce(&Path, &Metadata) -> Result<(), FileError>,
    ) -> Result<Self, FileError> {
        let found = file.metadata().map_err(FileError::std("can't look at", &path))?;
        if !found.is_file() {
            return Err(FileError::NotRegular(path));
        }
        check(&path, &found)?;
        wait_for(&file, FlockOperation::NonBlockingLockExclusive, PATIENCE)
            .map_err(FileError::io("can't lock", &path))?;
        Ok(Self { directory, file, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its last `limit` bytes, or all of it where it is shorter; and where they begin.
    pub fn tail(&self, limit: u64) -> Result<(u64, Vec<u8>), FileError> {
        let failed = FileError::std("can't read", &self.path);
        let length = self.file.metadata().map_err(&failed)?.len();
        let start = length.saturating_sub(limit);
        let mut tail = vec![0; usize::try_from(length - start).expect("a tail that memory holds")];
        self.file.read_exact_at(&mut tail, start).map_err(&failed)?;
        Ok((start, tail))
    }

    /// Adds `content` at its end, in one write, and syncs it; the first addition makes its name durable too.
    ///
    /// A write that was cut short (no room left) stays as it is: what is in the file is never taken back.
    pub fn add(&mut self, content: &[u8]) -> Result<(), FileError> {
        let failed = FileError::std("can't write", &self.path);
        let is_first = self.file.metadata().map_err(&failed)?.size() == 0;
        let written = self.file.write(content).map_err(&failed)?;
        if written < content.len() {
            // The next write says why, and gives the reason: no room, or a limit.
            self.file.write_all(&content[written..]).map_err(&failed)?;
        }
        self.file.sync_all().map_err(FileError::std("can't sync", &self.path))?;
        if is_first { self.directory.sync() } else { Ok(()) }
    }
}

/// Waits until nobody adds to `file`, to read it whole.
pub(super) fn settle(file: &File, path: &Path) -> Result<(), FileError> {
    wait_for(file, FlockOperation::NonBlockingLockShared, PATIENCE).map_err(FileError::io("can't lock", path))
}

/// Waits for a directory's turn.
pub(super) fn take(directory: &OwnedFd, path: &Path) -> Result<(), FileError> {
    wait_for(directory, FlockOperation::NonBlockingLockExclusive, PATIENCE).map_err(FileError::io("can't lock", path))
}

/// Takes a lock. An addition takes a few milliseconds: it is waited for, but not for ever, since who adds may have been stopped.
fn wait_for(file: impl AsFd, lock: FlockOperation, patience: Duration) -> Result<(), Errno> {
    let start = Instant::now();
    loop {
        match flock(&file, lock) {
            Err(Errno::WOULDBLOCK) if start.elapsed() < patience => thread::sleep(PAUSE),
            done => return done,
        }
    }
}

impl Drop for Growing<'_> {
    /// Lets go of the lock by a call of its own: a close that fails would keep it, and this process's next addition waiting.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(_: &Path, _: &Metadata) -> Result<(), FileError> {
        Ok(())
    }

    #[test]
    fn only_grows_and_is_the_owners_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        directory.growing("log", any).unwrap().add(b"one\n").unwrap();
        let mut growing = directory.growing("log", any).unwrap();
        growing.add(b"two\n").unwrap();
        assert_eq!(growing.tail(100).unwrap(), (0, b"one\ntwo\n".to_vec()));
        assert_eq!(growing.tail(4).unwrap(), (4, b"two\n".to_vec()));
        assert_eq!(std::fs::metadata(growing.path()).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn one_adds_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let growing = directory.growing("log", any).unwrap();
        let other = File::open(growing.path()).unwrap();
        // Whoever adds may have been stopped: nobody waits for ever.
        for lock in [FlockOperation::NonBlockingLockShared, FlockOperation::NonBlockingLockExclusive] {
            assert_eq!(wait_for(&other, lock, 2 * PAUSE), Err(Errno::WOULDBLOCK));
        }
        drop(growing);
        assert!(flock(&other, FlockOperation::NonBlockingLockShared).is_ok());
    }

    #[test]
    fn links_and_what_is_no_file_are_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        std::fs::write(temporary.path().join("elsewhere"), "").unwrap();
        std::os::unix::fs::symlink("elsewhere", temporary.path().join("log")).unwrap();
        assert!(matches!(directory.growing("log", any), Err(FileError::NotRegular(_))));
        let pipe = temporary.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        assert!(matches!(directory.growing("pipe", any), Err(FileError::NotRegular(_))));
    }
}
