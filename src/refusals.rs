//! What is remembered of refused PINs, so that a service that restarts does not burn try after try: which device refused,
//! and which file the PIN came from, by its identity. Never a PIN, and never a digest of one.
//!
//! `refused.json` in the state directory. A source that is remembered is not tried again until the file changes, another PIN
//! succeeds, or the admin says `device retry`.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many refusals are remembered; the oldest go first.
const MOST: usize = 64;
/// The format that this version reads and writes.
const FORMAT: u32 = 1;

/// A file that a PIN came from, told by all that changes when its content does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub path: String,
    pub filesystem: u64,
    pub inode: u64,
    pub size: u64,
    /// Of the content, in nanoseconds since 1970.
    pub modified: i128,
    /// Of the content, mode, owner or name, in nanoseconds since 1970.
    pub changed: i128,
}

impl Source {
    /// The identity of a credential that a service manager hands over anew at each start: its path and its size. All else
    /// changes though the content does not, and a service that restarts would burn try after try.
    pub fn of_credential(path: &str, found: &Metadata) -> Self {
        Self { path: path.to_owned(), filesystem: 0, inode: 0, size: found.size(), modified: 0, changed: 0 }
    }

    /// The identity of an opened file; none for what is no regular file: a pipe gives something else each time.
    pub fn of(path: &str, found: &Metadata) -> Option<Self> {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        found.is_file().then(|| Self {
            path: path.to_owned(),
            filesystem: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: nanoseconds(found.mtime(), found.mtime_nsec()),
            changed: nanoseconds(found.ctime(), found.ctime_nsec()),
        })
    }
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The fingerprint of the device as the ring pinned it, else its URI.
    pub device: String,
    pub source: Source,
    pub at: Timestamp,
}

/// All that are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusals {
    format: u32,
    refusals: Vec<Refusal>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { format: FORMAT, refusals: Vec::new() }
    }
}

impl Refusals {
    /// Reads them; none where the text is not what this version writes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let refusals: Self = serde_json::from_slice(text).ok()?;
        (refusals.format == FORMAT).then_some(refusals)
    }

    /// As they lie on the disk.
    pub fn print(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("refusals have no keys that JSON can't write");
        text.push(b'\n');
        text
    }

    /// The refusal of what this very source gives, if it is remembered.
    pub fn of_source(&self, device: &str, source: &Source) -> Option<&Refusal> {
        self.of_device(device).find(|refusal| refusal.source == *source)
    }

    pub fn of_device(&self, device: &str) -> impl Iterator<Item = &Refusal> {
        self.refusals.iter().filter(move |refusal| refusal.device == device)
    }

    /// Remembers one; what was remembered of the same path is out of date.
    pub fn remember(&mut self, refusal: Refusal) {
        let same = |old: &Refusal| old.device == refusal.device && old.source.path == refusal.source.path;
        self.refusals.retain(|old| !same(old));
        self.refusals.push(refusal);
        let surplus = self.refusals.len().saturating_sub(MOST);
        self.refusals.drain(..surplus);
    }

    /// Forgets what a device refused. Gives how many there were.
    pub fn forget(&mut self, device: &str) -> usize {
        let before = self.refusals.len();
        self.refusals.retain(|refusal| refusal.device != device);
        before - self.refusals.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, size: u64) -> Source {
        Source { path: path.to_owned(), filesystem: 1, inode: 2, size, modified: 3, changed: 4 }
    }

    fn refusal(device: &str, source: Source) -> Refusal {
        Refusal { device: device.to_owned(), source, at: "2026-11-25T10:00:00Z".parse().unwrap() }
    }

    #[test]
    fn a_source_is_refused_until_it_changes() {
        let mut refusals = Refusals::default();
        refusals.remember(refusal("a", source("/pin", 5)));
        assert!(refusals.of_source("a", &source("/pin", 5)).is_some());
        assert!(refusals.of_source("a", &source("/pin", 6)).is_none(), "the file changed");
        assert!(refusals.of_source("b", &source("/pin", 5)).is_none(), "another device");
        refusals.remember(refusal("a", source("/pin", 6)));
        assert_eq!(refusals.of_device("a").count(), 1, "what was known of the path is out of date");
        assert_eq!(Refusals::parse(&refusals.print()).as_ref(), Some(&refusals));
        assert_eq!((refusals.forget("b"), refusals.forget("a"), refusals.forget("a")), (0, 1, 0));
    }

    #[test]
    fn the_oldest_go_first() {
        let mut refusals = Refusals::default();
        for number in 0..MOST + 3 {
            refusals.remember(refusal("a", source(&format!("/pin{number}"), 5)));
        }
        assert_eq!(refusals.of_device("a").count(), MOST);
        assert!(refusals.of_source("a", &source("/pin2", 5)).is_none());
        assert!(refusals.of_source("a", &source("/pin3", 5)).is_some());
    }

    #[test]
    fn a_file_is_known_by_what_changes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        let look = || Source::of("pin", &std::fs::metadata(&path).unwrap());
        std::fs::write(&path, "1234").unwrap();
        let first = look();
        assert_eq!(first, look());
        std::fs::write(&path, "12345").unwrap();
        assert_ne!(first, look());
        assert_eq!(Source::of("null", &std::fs::metadata("/dev/null").unwrap()), None);
    }

    #[test]
    fn another_format_is_nothing_to_go_by() {
        assert_eq!(Refusals::parse(b"{\"format\": 2, \"refusals\": []}"), None);
        assert_eq!(Refusals::parse(b"{\"format\": 1, \"refusals\": [], \"more\": 1}"), None);
        assert_eq!(Refusals::parse(b""), None);
    }
}
