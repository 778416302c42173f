//! The state directory: where the ring lies, who may change it, and what is kept of what it was.
//!
//! ```text
//! ring.json          the ring that serves: it has an active generation
//! ring.next.json     a ring that is being founded (init, restore): no active generation yet
//! lock               held by whoever changes something; empty
//! history/           copies of the last rings, by their commit number; the one that serves is among them
//! refused.json       which PIN sources were refused
//! tickets.json       what TPMs have said of signatures: see device/tpm/tickets.rs, which writes it
//! audit.log          what was done, and what was refused: only ever added to
//! replaced/          other systems' rings that `restore --replace` put aside
//! ```
//!
//! A commit is a rename; readers take no lock. A founding ring becomes the ring in the same rename that makes it
//! complete, so there is never a moment without the old one or the new one.

mod history;
mod log;

use std::fs::Metadata;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

pub use history::Current;
pub use log::MAX_LOG;

use crate::durable::{Directory, FileError};
use crate::refusals::Refusals;
use crate::ring::{Ring, RingError};

/// Largest ring, in bytes.
pub const MAX_RING: u64 = 64 << 20;
/// Where the ring lies unless told otherwise.
pub const DEFAULT_DIRECTORY: &str = "/var/lib/strongroom";

const RING: &str = "ring.json";
const FOUNDING: &str = "ring.next.json";
const LOCK: &str = "lock";
const REFUSED: &str = "refused.json";
const MAX_REFUSED: u64 = 1 << 20;
const HISTORY: &str = "history";

/// Why the state can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the state directory {} belongs to another user", .0.display())]
    NotAdministrator(PathBuf),
    #[error("others may write to {}, which holds the state directory", .0.display())]
    OpenAncestor(PathBuf),
    #[error("{} has mode {mode:04o}; only its owner may read or write it (mode {wanted:04o})", .path.display())]
    LooseMode { path: PathBuf, mode: u32, wanted: u32 },
    #[error("{} belongs to another user", .0.display())]
    ForeignFile(PathBuf),
    #[error("there is no ring in {}", .0.display())]
    NoRing(PathBuf),
    #[error("the ring in {} is missing, and its history is there", .0.display())]
    Lost(PathBuf),
    #[error("another strongroom is changing the ring in {}", .0.display())]
    Busy(PathBuf),
    #[error("the ring was changed by another strongroom in the meantime")]
    Changed,
    #[error("can't read the ring {}", .path.display())]
    Ring { path: PathBuf, source: RingError },
    /// The ring was changed.
    #[error("the ring was changed, and its copy for the history could not be made")]
    Unkept(#[source] Box<StoreError>),
    #[error("the log {} is full: it has 64 MiB, and nobody reads more", .0.display())]
    FullLog(PathBuf),
    #[error(transparent)]
    File(#[from] FileError),
}

/// The state directory, opened and found to be the administrator's.
pub struct Store {
    directory: Directory,
}

/// The state directory while nobody else may change it.
pub struct Locked<'s> {
    store: &'s Store,
    #[allow(dead_code, reason = "held for its Drop")]
    lock: OwnedFd,
}

impl Store {
    /// Opens the state directory: owned by the caller, mode 0700, and nobody else may rename what leads to it. Where there
    /// is no directory, there is no ring.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_there(path).map_err(|error| match error {
            StoreError::File(FileError::MissingDirectory(_)) => StoreError::NoRing(path.to_owned()),
            error => error,
        })
    }

    fn open_there(path: &Path) -> Result<Self, StoreError> {
        // To anybody else a directory of mode 0700 is one that can't be opened.
        let directory = Directory::open(path).map_err(|error| match error {
            FileError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                StoreError::NotAdministrator(path.to_owned())
            }
            error => error.into(),
        })?;
        let found = directory.metadata()?;
        if found.uid() != geteuid().as_raw() {
            return Err(StoreError::NotAdministrator(path.to_owned()));
        }
        private(path, &found, 0o700)?;
        check_ancestors(path)?;
        Ok(Self { directory })
    }

    /// Whether a state directory could be opened or made there, without making it.
    pub fn check_place(path: &Path) -> Result<Option<Self>, StoreError> {
        match Self::open_there(path) {
            Ok(store) => Ok(Some(store)),
            Err(StoreError::File(FileError::MissingDirectory(_))) => {
                check_ancestors(path)?;
                match crate::durable::check_new(path) {
                    Ok(()) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the state directory where it is missing (its parent must be there), and opens it.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        Directory::create(path)?;
        Self::open(path)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the ring lies.
    pub fn ring_path(&self) -> PathBuf {
        self.path().join(RING)
    }

    /// The ring that serves; none where there is none yet.
    pub fn read(&self) -> Result<Option<Ring>, StoreError> {
        self.parse(RING)
    }

    /// The ring that serves, or an error that says there is none.
    pub fn ring(&self) -> Result<Ring, StoreError> {
        match self.read()? {
            Some(ring) => Ok(ring),
            None if self.last_good()?.is_some() => Err(StoreError::Lost(self.path().to_owned())),
            None => Err(StoreError::NoRing(self.path().to_owned())),
        }
    }

    /// The ring that serves, if it is still the one that a plan was made with.
    pub fn ring_of(&self, planned: &Ring) -> Result<Ring, StoreError> {
        let ring = self.ring()?;
        if ring.commit == planned.commit { Ok(ring) } else { Err(StoreError::Changed) }
    }

    /// What a founding that was cut off left behind; none where that ring was completed after all.
    pub fn founding(&self) -> Result<Option<Ring>, StoreError> {
        let Some(founding) = self.parse(FOUNDING)? else { return Ok(None) };
        let completed = match self.read() {
            Ok(ring) => ring.is_some_and(|ring| ring.system.id == founding.system.id && ring.commit > founding.commit),
            // One that is damaged says nothing of it.
            Err(StoreError::Ring { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok((!completed).then_some(founding))
    }

    /// Takes the lock; [`StoreError::Busy`] at once where another has it. What the last holder did is durable from here on:
    /// it may have been killed after a rename and before its sync, and what is built on that must not be taken back.
    pub fn lock(&self) -> Result<Locked<'_>, StoreError> {
        let lock = self.directory.lock_file(LOCK)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                self.directory.sync()?;
                Ok(Locked { store: self, lock })
            }
            Err(Errno::WOULDBLOCK) => Err(StoreError::Busy(self.path().to_owned())),
            Err(error) => {
                Err(FileError::Io { doing: "can't lock", path: self.path().join(LOCK), source: error.into() }.into())
            }
        }
    }

    /// What is remembered of refused PINs. A memory that can't be read is none: it must not keep anybody from the ring.
    pub fn refusals(&self) -> Result<Refusals, StoreError> {
        let text = self.directory.read(REFUSED, MAX_REFUSED, |_, _| Ok(()))?;
        Ok(text.and_then(|text| Refusals::parse(&text)).unwrap_or_default())
    }

    /// Changes what is remembered of refused PINs. Not under the ring's lock: while a ceremony has it, a service may be refused
    /// again and again; and none shall find it taken for this.
    pub fn change_refusals(&self, change: impl FnOnce(&mut Refusals)) -> Result<(), StoreError> {
        self.directory.in_turn(|| {
            let before = self.refusals()?;
            let mut after = before.clone();
            change(&mut after);
            if after != before {
                self.directory.replace(REFUSED, &after.print())?;
            }
            Ok(())
        })
    }

    fn parse(&self, name: &str) -> Result<Option<Ring>, StoreError> {
        let mut loose = Ok(());
        let content = self.directory.read(name, MAX_RING, |path, found| {
            loose = owned_and_private(path, found, 0o600);
            Ok(())
        })?;
        loose?;
        let parse = |text: Vec<u8>| {
            Ring::parse(&text).map_err(|source| StoreError::Ring { path: self.path().join(name), source })
        };
        content.map(parse).transpose()
    }
}

impl Locked<'_> {
    /// The store under the lock.
    pub fn store(&self) -> &Store {
        self.store
    }

    /// Makes `ring` the state: the commit point of every ceremony. A founded ring replaces the one that serves, and is
    /// copied into the history; one that is still being founded is kept beside it.
    ///
    /// `ring.commit` is raised. What was written is read back and compared.
    pub fn commit(&self, ring: &mut Ring) -> Result<(), StoreError> {
        ring.commit += 1;
        let name = if ring.is_founded() { RING } else { FOUNDING };
        let path = || self.store.path().join(name);
        ring.check().map_err(|source| StoreError::Ring { path: path(), source })?;
        let text = ring.print();
        if text.len() as u64 > MAX_RING {
            // It could be written, and never be read again.
            return Err(StoreError::Ring { path: path(), source: RingError::Large(text.len()) });
        }
        self.store.directory.replace(name, &text)?;
        let read_back = self.store.parse(name)?;
        if read_back.as_ref() != Some(ring) {
            let source = RingError::Broken("what was written does not read back the same".to_owned());
            return Err(StoreError::Ring { path: path(), source });
        }
        if ring.is_founded() {
            // Whatever is said of this must not be taken for a ring that stayed as it was.
            self.keep(ring)
                .and_then(|()| self.abandon_founding())
                .map_err(|error| StoreError::Unkept(Box::new(error)))?;
        }
        Ok(())
    }

    /// Removes what a founding left behind.
    pub fn abandon_founding(&self) -> Result<(), StoreError> {
        self.store.directory.remove(FOUNDING)?;
        Ok(self.store.directory.sync()?)
    }
}

/// Whether the filesystem that holds the state also holds `path`; none where that can't be told.
pub fn same_disk(state: &Path, path: &Path) -> Option<bool> {
    let device = |path: &Path| std::fs::metadata(path).ok().map(|found| found.dev());
    Some(device(state)? == device(path)?)
}

fn owned_and_private(path: &Path, found: &Metadata, wanted: u32) -> Result<(), StoreError> {
    if found.uid() != geteuid().as_raw() {
        return Err(StoreError::ForeignFile(path.to_owned()));
    }
    private(path, found, wanted)
}

fn private(path: &Path, found: &Metadata, wanted: u32) -> Result<(), StoreError> {
    match found.mode() & 0o7777 {
        mode if mode == wanted => Ok(()),
        mode => Err(StoreError::LooseMode { path: path.to_owned(), mode, wanted }),
    }
}

/// No directory above may be one in which others can rename what is ours, unless it is sticky (as /tmp is).
fn check_ancestors(path: &Path) -> Result<(), StoreError> {
    let io = |source| FileError::Io { doing: "can't look at", path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(io)?;
    // Through the links that lead there: it is the real directories that count.
    let parent = absolute.parent().unwrap_or(Path::new("/"));
    let Ok(real) = parent.canonicalize() else {
        return Err(FileError::MissingDirectory(parent.to_owned()).into());
    };
    for ancestor in real.ancestors() {
        let found = std::fs::metadata(ancestor).map_err(io)?;
        let sticky = found.mode() & 0o1000 != 0;
        let foreign = found.uid() != 0 && found.uid() != geteuid().as_raw();
        if foreign || (found.mode() & 0o022 != 0 && !sticky) {
            return Err(StoreError::OpenAncestor(ancestor.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::ring::State;
    use crate::ring::tests::{founded, founding, generation};

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("state")).unwrap();
        (directory, store)
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_founding_ring_stands_beside_until_it_is_founded() {
        let (_directory, store) = store();
        let locked = store.lock().unwrap();
        let mut ring = founding();
        locked.commit(&mut ring).unwrap();
        assert_eq!(store.read().unwrap(), None);
        assert_eq!(store.founding().unwrap().as_ref(), Some(&ring));
        ring.pend(generation(1, State::Pending)).unwrap();
        locked.commit(&mut ring).unwrap();
        let before = std::fs::read(store.path().join(FOUNDING)).unwrap();
        ring.activate(1).unwrap();
        locked.commit(&mut ring).unwrap();
        assert_eq!(store.read().unwrap().as_ref(), Some(&ring));
        assert_eq!(store.founding().unwrap(), None);
        // A crash between the rename and the removal leaves it behind: it is known to be over.
        locked.store().directory.replace(FOUNDING, &before).unwrap();
        assert_eq!(store.founding().unwrap(), None);
    }

    #[test]
    fn a_ring_that_could_not_be_read_again_is_not_written() {
        let (_directory, store) = store();
        let locked = store.lock().unwrap();
        let mut ring = founded(1);
        locked.commit(&mut ring).unwrap();
        let mut huge = ring.clone();
        huge.master = "x".repeat(MAX_RING as usize);
        let refused = locked.commit(&mut huge);
        assert!(matches!(refused, Err(StoreError::Ring { source: RingError::Large(_), .. })));
        assert_eq!(store.read().unwrap().as_ref(), Some(&ring));
    }

    #[test]
    fn one_changes_at_a_time() {
        let (directory, store) = store();
        let locked = store.lock().unwrap();
        let other = Store::open(&directory.path().join("state")).unwrap();
        assert!(matches!(other.lock(), Err(StoreError::Busy(_))));
        drop(locked);
        assert!(other.lock().is_ok());
    }

    #[test]
    fn a_refusal_is_remembered_while_a_ceremony_is_at_work() {
        let (directory, store) = store();
        let _locked = store.lock().unwrap();
        let found = std::fs::metadata(directory.path()).unwrap();
        let others = Store::open(store.path()).unwrap();
        for (store, path) in [(&store, "/a"), (&others, "/b"), (&store, "/c")] {
            let source = crate::refusals::Source::of_credential(path, &found);
            let refusal = crate::refusals::Refusal { device: "x".to_owned(), source, at: crate::ring::tests::now() };
            store.change_refusals(|refusals| refusals.remember(refusal)).unwrap();
        }
        assert_eq!(store.refusals().unwrap().of_device("x").count(), 3);
    }

    #[test]
    fn loose_modes_are_refused() {
        let (directory, store) = store();
        let path = directory.path().join("state");
        store.lock().unwrap().commit(&mut founded(1)).unwrap();
        mode(&path.join(RING), 0o640);
        assert!(matches!(store.read(), Err(StoreError::LooseMode { mode: 0o640, wanted: 0o600, .. })));
        mode(&path.join(RING), 0o600);
        assert!(store.read().unwrap().is_some());
        mode(&path, 0o750);
        assert!(matches!(Store::open(&path), Err(StoreError::LooseMode { mode: 0o750, .. })));
        mode(&path, 0o700);
        mode(directory.path(), 0o777);
        assert!(matches!(Store::open(&path), Err(StoreError::OpenAncestor(_))));
        mode(directory.path(), 0o1777);
        assert!(Store::open(&path).is_ok(), "sticky: nobody else can rename what is in it");
    }

    #[test]
    fn links_are_not_followed() {
        let (directory, store) = store();
        let link = directory.path().join("link");
        symlink(store.path(), &link).unwrap();
        assert!(matches!(Store::open(&link), Err(StoreError::File(FileError::Link(_)))));
        std::fs::write(directory.path().join("elsewhere"), founded(1).print()).unwrap();
        symlink(directory.path().join("elsewhere"), store.path().join(RING)).unwrap();
        assert!(matches!(store.read(), Err(StoreError::File(FileError::NotRegular(_)))));
    }
}
