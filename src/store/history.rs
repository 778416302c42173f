//! What is kept of rings: a copy of each of the last ones, the one that serves among them, so that a `ring.json` that was
//! damaged or lost can be put back; and rings that were replaced.

use std::path::PathBuf;

use super::{HISTORY, Locked, MAX_RING, RING, Store, StoreError, owned_and_private};
use crate::durable::{Directory, FileError};
use crate::ring::{Ring, RingError};

/// How many rings are kept.
const KEPT: usize = 16;
const REPLACED: &str = "replaced";

/// What lies where the ring should be.
#[derive(Debug)]
pub enum Current {
    /// No ring, and none ever was.
    Nothing,
    Ring(Box<Ring>),
    /// No ring, and a history of one.
    Lost,
    /// A file that is no ring, and why.
    Damaged(RingError),
}

impl Store {
    /// Looks at what is there, damage told apart from everything else that can go wrong.
    pub fn current(&self) -> Result<Current, StoreError> {
        match self.read() {
            Ok(Some(ring)) => Ok(Current::Ring(Box::new(ring))),
            Ok(None) if self.last_good()?.is_some() => Ok(Current::Lost),
            Ok(None) => Ok(Current::Nothing),
            Err(StoreError::Ring { source: damage @ (RingError::Syntax(_) | RingError::Broken(_)), .. }) => {
                Ok(Current::Damaged(damage))
            }
            Err(error) => Err(error),
        }
    }

    /// The newest ring of the history that can be read: a copy of the one that serves, where nothing was lost.
    pub fn last_good(&self) -> Result<Option<Ring>, StoreError> {
        let Some(history) = self.history()? else { return Ok(None) };
        let (names, _) = kept(history.names()?);
        let mut unread = None;
        for name in names.iter().rev() {
            // One that can't be read is passed over: an older one is better than none.
            match history.read(name, MAX_RING, |_, _| Ok(())) {
                Ok(content) => {
                    if let Some(Ok(ring)) = content.map(|text| Ring::parse(&text)) {
                        return Ok(Some(ring));
                    }
                }
                Err(error) => drop(unread.get_or_insert(error)),
            }
        }
        // Where none can be read, nobody knows that there was none.
        unread.map_or(Ok(None), |error| Err(error.into()))
    }

    /// The rings that were replaced and kept aside, those that can be read.
    pub fn replaced(&self) -> Result<Vec<Ring>, StoreError> {
        let Some(replaced) = self.private_directory(REPLACED)? else { return Ok(Vec::new()) };
        let mut rings = Vec::new();
        for name in replaced.names()? {
            let content = replaced.read(&name, MAX_RING, |_, _| Ok(()))?;
            rings.extend(content.and_then(|text| Ring::parse(&text).ok()));
        }
        Ok(rings)
    }

    fn history(&self) -> Result<Option<Directory>, StoreError> {
        self.private_directory(HISTORY)
    }

    fn private_directory(&self, name: &str) -> Result<Option<Directory>, StoreError> {
        let path = self.path().join(name);
        match Directory::open(&path) {
            Ok(history) => {
                let found = history.metadata()?;
                owned_and_private(&path, &found, 0o700)?;
                Ok(Some(history))
            }
            Err(FileError::MissingDirectory(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Locked<'_> {
    /// Keeps a copy of the ring that was just committed. Drops the oldest beyond [`KEPT`], and those that it supersedes: at
    /// every commit, so that a run that is cut off before leaves it to the next one.
    pub(super) fn keep(&self, ring: &Ring) -> Result<(), StoreError> {
        let history = self.subdirectory(HISTORY)?;
        history.replace(&name_of(ring), &ring.print())?;
        let (names, others) = kept(history.names()?);
        let surplus = names.len().saturating_sub(KEPT);
        for (index, name) in names.iter().enumerate() {
            // The ring is committed: that a copy can't be read any more is no reason to say that it failed.
            let former = || Ring::parse(&history.read(name, MAX_RING, |_, _| Ok(())).ok()??).ok();
            if index < surplus || former().is_some_and(|former| ring.supersedes(&former)) {
                history.remove(name)?;
            }
        }
        // What runs that were cut off began to copy: seals lie in it too, which shall not outlive their ring.
        let is_begun = |name: &&String| name.strip_suffix(".new").and_then(commit_of).is_some();
        for unfinished in others.iter().filter(is_begun) {
            history.remove(unfinished)?;
        }
        Ok(history.sync()?)
    }

    /// Forgets the former rings, which are another system's, or kept aside. `ring` is the one that serves.
    pub fn forget_history(&self, ring: &Ring) -> Result<(), StoreError> {
        let history = self.subdirectory(HISTORY)?;
        for name in history.names()? {
            if name != name_of(ring) {
                history.remove(&name)?;
            }
        }
        Ok(history.sync()?)
    }

    /// Puts the ring of another system, or of another device, where `restore --replace` leaves it. Gives its new path.
    pub fn put_aside(&self, ring: &Ring) -> Result<PathBuf, StoreError> {
        self.keep_aside(&format!("{}-{:08}.json", ring.system.id, ring.commit))
    }

    /// Puts a damaged ring where somebody may look at it later. Gives its new path.
    pub fn put_damaged_aside(&self) -> Result<PathBuf, StoreError> {
        let name = format!("damaged-{}.json", hex::encode(crate::secret::random_array::<4>()));
        self.keep_aside(&name)
    }

    fn keep_aside(&self, name: &str) -> Result<PathBuf, StoreError> {
        let replaced = self.subdirectory(REPLACED)?;
        self.store.directory.keep(RING, &replaced, name)?;
        Ok(self.store.path().join(REPLACED).join(name))
    }

    fn subdirectory(&self, name: &str) -> Result<Directory, StoreError> {
        let path = self.store.path().join(name);
        Directory::create(&path)?;
        Ok(Directory::open(&path)?)
    }
}

fn name_of(ring: &Ring) -> String {
    format!("ring-{:08}.json", ring.commit)
}

/// The copies among `names`, the oldest first, and what else there is. By number: names sort only as long as their
/// numbers have eight digits.
fn kept(names: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut kept, others): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| commit_of(name).is_some());
    kept.sort_by_key(|name| commit_of(name));
    (kept, others)
}

/// The commit of the ring that a file in the history is a copy of; none where it is no copy.
fn commit_of(name: &str) -> Option<u64> {
    name.strip_prefix("ring-")?.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::tests::founded;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("state")).unwrap();
        (directory, store)
    }

    #[test]
    fn the_ring_that_serves_is_in_the_history_too() {
        let (_directory, store) = store();
        assert!(matches!(store.current(), Ok(Current::Nothing)));
        let mut ring = founded(1);
        let locked = store.lock().unwrap();
        for commit in 1..=20 {
            locked.commit(&mut ring).unwrap();
            assert_eq!((ring.commit, store.last_good().unwrap().as_ref()), (commit, Some(&ring)));
        }
        assert_eq!(std::fs::read_dir(store.path().join(HISTORY)).unwrap().count(), KEPT);
        locked.forget_history(&ring).unwrap();
        assert_eq!(std::fs::read_dir(store.path().join(HISTORY)).unwrap().count(), 1);
        assert_eq!(store.last_good().unwrap().as_ref(), Some(&ring));
    }

    /// Each copy has a temporary name of its own, so nothing else would ever clear it away.
    #[test]
    fn what_was_cut_off_is_cleared_away() {
        let (_directory, store) = store();
        let mut ring = founded(1);
        let locked = store.lock().unwrap();
        locked.commit(&mut ring).unwrap();
        let history = store.path().join(HISTORY);
        for (name, is_ours) in [("ring-00000001.json.new", true), ("ring.json.new", false), ("note", false)] {
            std::fs::write(history.join(name), "{").unwrap();
            locked.commit(&mut ring).unwrap();
            assert_eq!(history.join(name).exists(), !is_ours, "{name}");
        }
    }

    #[test]
    fn a_copy_does_not_share_what_happens_to_the_ring() {
        let (_directory, store) = store();
        let mut ring = founded(2);
        store.lock().unwrap().commit(&mut ring).unwrap();
        std::fs::write(store.path().join(RING), "{").unwrap();
        assert!(matches!(store.current(), Ok(Current::Damaged(RingError::Syntax(_)))));
        assert_eq!(store.last_good().unwrap().as_ref(), Some(&ring));
        std::fs::remove_file(store.path().join(RING)).unwrap();
        assert!(matches!(store.current(), Ok(Current::Lost)));
        assert!(matches!(store.ring(), Err(StoreError::Lost(_))));
    }

    #[test]
    fn an_older_ring_is_better_than_none() {
        let (_directory, store) = store();
        let mut ring = founded(1);
        let locked = store.lock().unwrap();
        locked.commit(&mut ring).unwrap();
        let first = ring.clone();
        locked.commit(&mut ring).unwrap();
        std::fs::write(store.path().join(HISTORY).join(name_of(&ring)), "").unwrap();
        assert_eq!(store.last_good().unwrap(), Some(first));
    }

    #[test]
    fn a_copy_that_can_not_be_read_is_passed_over() {
        let (_directory, store) = store();
        let mut ring = founded(1);
        let locked = store.lock().unwrap();
        locked.commit(&mut ring).unwrap();
        std::fs::create_dir(store.path().join("history/ring-00000099.json")).unwrap();
        locked.commit(&mut ring).unwrap();
        assert_eq!(store.last_good().unwrap().as_ref(), Some(&ring));
        for commit in 1..=2 {
            std::fs::remove_file(store.path().join(format!("history/ring-{commit:08}.json"))).unwrap();
        }
        assert!(store.last_good().is_err(), "nobody knows what it was");
    }

    #[test]
    fn the_history_is_in_the_order_of_commits() {
        let (_directory, store) = store();
        let locked = store.lock().unwrap();
        let mut ring = founded(1);
        for commit in [7, 99_999_999, 100_000_000] {
            ring.commit = commit - 1;
            locked.commit(&mut ring).unwrap();
            assert_eq!(store.last_good().unwrap().as_ref(), Some(&ring), "{commit}");
        }
        ring.commit = u64::MAX - 1;
        assert!(matches!(locked.commit(&mut ring), Err(StoreError::Ring { source: RingError::Broken(_), .. })));
    }

    /// What was sealed anew leaves the history too, unless there is something in it that nothing else has.
    #[test]
    fn superseded_seals_leave_the_history() {
        let (_directory, store) = store();
        let locked = store.lock().unwrap();
        let mut ring = founded(2);
        locked.commit(&mut ring).unwrap();
        locked.commit(&mut ring).unwrap();
        let kept = || std::fs::read_dir(store.path().join(HISTORY)).unwrap().count();
        assert_eq!(kept(), 2);
        ring.generations[1].seals[0].seal.mechanism = "sealed anew".to_owned();
        let mut fewer = ring.clone();
        fewer.generations.remove(0);
        fewer.commit = 7;
        locked.commit(&mut fewer).unwrap();
        assert_eq!(kept(), 3, "generation 1 is nowhere else");
        ring.commit = 8;
        locked.commit(&mut ring).unwrap();
        assert_eq!(kept(), 2, "the one that serves, and the one that has less and nothing old");
    }

    #[test]
    fn what_is_replaced_is_kept_aside() {
        let (_directory, store) = store();
        let locked = store.lock().unwrap();
        let mut former = founded(2);
        locked.commit(&mut former).unwrap();
        let aside = locked.put_aside(&former).unwrap();
        let mut ring = founded(1);
        ring.system.id = uuid::Uuid::from_u128(8);
        locked.commit(&mut ring).unwrap();
        assert_eq!(Ring::parse(&std::fs::read(aside).unwrap()).unwrap(), former);
    }
}
