//! From strace's calls to the steps of a [`Recording`].

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use crate::disk::{Inode, Names, ROOT, Recording, Step};
use crate::strace::Call;

impl Recording {
    /// Adds what a run did. `root` is where it ran.
    pub fn add_run(&mut self, root: &Path, calls: &[Call], succeeded: bool) {
        let names = self.names();
        let mut process = Process { recording: self, root, names, open: HashMap::new() };
        for call in calls {
            if let Some(result) = call.result.filter(|result| *result >= 0) {
                process.called(call, result);
            }
        }
        if succeeded {
            self.steps.push(Step::Done);
        }
    }

    /// The inode that a path names after the last step.
    pub fn inode(&self, path: &str) -> Inode {
        let names = self.names();
        let place = find(&names, Path::new("/"), ROOT, Path::new(path)).unwrap_or_else(|| panic!("no {path}"));
        names[&place]
    }
}

/// The process whose calls are followed: what it has open, and the names as it sees them, synced or not.
struct Process<'r> {
    recording: &'r mut Recording,
    root: &'r Path,
    names: Names,
    open: HashMap<i64, Inode>,
}

/// A directory, and a name in it; an empty one is the directory itself.
type Place = (Inode, String);

impl Process<'_> {
    fn called(&mut self, call: &Call, result: i64) {
        match call.name.as_str() {
            "open" => self.opened(call, result, None, 0),
            "openat" => self.opened(call, result, Some(0), 1),
            "close" => {
                call.descriptor(0).and_then(|descriptor| self.open.remove(&descriptor));
            }
            "fcntl" if call.arg(1).starts_with("F_DUPFD") => {
                if let Some(inode) = self.inode_of(call, 0) {
                    self.open.insert(result, inode);
                }
            }
            "write" => self.wrote(call, result),
            "fsync" | "fdatasync" => {
                if let Some(inode) = self.inode_of(call, 0) {
                    self.recording.steps.push(Step::Sync { inode });
                }
            }
            "mkdir" => self.made_directory(call, None),
            "mkdirat" => self.made_directory(call, Some(0)),
            "linkat" => self.linked(call),
            "renameat" | "renameat2" => self.moved(call),
            "unlink" => self.removed(call, None),
            "unlinkat" => self.removed(call, Some(0)),
            // The rest changes nothing on a disk, or is never called: the comparison with the real directory shows it.
            _ => {}
        }
    }

    /// The file that the n-th argument is a descriptor of.
    fn inode_of(&self, call: &Call, n: usize) -> Option<Inode> {
        self.open.get(&call.descriptor(n)?).copied()
    }

    /// The place that the call's n-th string names, seen from the directory that the argument `at` is a descriptor of.
    fn place(&self, call: &Call, at: Option<usize>, n: usize) -> Option<Place> {
        let path = PathBuf::from(String::from_utf8_lossy(&call.strings()[n]).into_owned());
        let from = match at.and_then(|at| call.descriptor(at)) {
            // AT_FDCWD is no number.
            None => ROOT,
            Some(_) if path.is_absolute() => ROOT,
            Some(descriptor) => *self.open.get(&descriptor)?,
        };
        find(&self.names, self.root, from, &path)
    }

    fn name(&mut self, (directory, name): Place, file: Inode) {
        self.names.insert((directory, name.clone()), file);
        self.recording.steps.push(Step::Name { directory, name, file });
    }

    /// The flags come after the path, which is the argument no. `path`, and the mode after them.
    fn opened(&mut self, call: &Call, result: i64, at: Option<usize>, path: usize) {
        self.open.remove(&result);
        let Some(place) = self.place(call, at, 0) else { return };
        let flags = call.arg(path + 1);
        assert!(!flags.contains("O_TRUNC"), "nothing is overwritten: {}", call.what());
        let mode = u32::from_str_radix(call.arg(path + 2), 8).unwrap_or(0);
        let known = if place.1.is_empty() { Some(place.0) } else { self.names.get(&place).copied() };
        let inode = match known {
            Some(_) if flags.contains("O_TMPFILE") => self.recording.add_file(mode),
            Some(known) => known,
            None => {
                assert!(flags.contains("O_CREAT"), "made by a call that is not followed: {}", call.what());
                let file = self.recording.add_file(mode);
                self.name(place, file);
                file
            }
        };
        self.open.insert(result, inode);
    }

    fn wrote(&mut self, call: &Call, result: i64) {
        let bytes = call.strings().swap_remove(0);
        if call.descriptor(0) == Some(1) {
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line = serde_json::from_slice(line).expect("each line is written in one go");
                self.recording.steps.push(Step::Told { line });
            }
        } else if let Some(file) = self.inode_of(call, 0) {
            assert_eq!(i64::try_from(bytes.len()), Ok(result), "a whole write, seen whole: {}", call.what());
            self.recording.steps.push(Step::Write { file, bytes });
        }
    }

    fn made_directory(&mut self, call: &Call, at: Option<usize>) {
        if let Some(place) = self.place(call, at, 0) {
            let directory = self.recording.add_directory();
            self.name(place, directory);
        }
    }

    fn linked(&mut self, call: &Call) {
        let Some(place) = self.place(call, Some(2), 1) else { return };
        let from = String::from_utf8_lossy(&call.strings()[0]).into_owned();
        let file = match from.strip_prefix("/proc/self/fd/") {
            Some(descriptor) => descriptor.parse().ok().and_then(|descriptor: i64| self.open.get(&descriptor).copied()),
            None => self.place(call, Some(0), 0).and_then(|known| self.names.get(&known).copied()),
        };
        self.name(place, file.unwrap_or_else(|| panic!("a link to what is not known: {}", call.what())));
    }

    fn moved(&mut self, call: &Call) {
        let Some((directory, from)) = self.place(call, Some(0), 0) else { return };
        let to = self.place(call, Some(2), 1).expect("a place of ours");
        assert_eq!(to.0, directory, "no move between directories: {}", call.what());
        let file = self.names.remove(&(directory, from.clone())).expect("what is moved was there");
        self.names.insert(to.clone(), file);
        self.recording.steps.push(Step::Move { directory, from, to: to.1, file });
    }

    fn removed(&mut self, call: &Call, at: Option<usize>) {
        if let Some((directory, name)) = self.place(call, at, 0) {
            self.names.remove(&(directory, name.clone()));
            self.recording.steps.push(Step::Unname { directory, name });
        }
    }
}

/// Where a path leads; none: outside of what is recorded.
fn find(names: &Names, root: &Path, from: Inode, path: &Path) -> Option<(Inode, String)> {
    let (mut place, path) = match path.is_absolute() {
        true => (ROOT, path.strip_prefix(root).ok()?),
        false => (from, path),
    };
    let parts: Vec<String> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let Some((last, above)) = parts.split_last() else { return Some((place, String::new())) };
    for part in above {
        place = *names.get(&(place, part.clone()))?;
    }
    // In the directory of the run itself, only what is recorded counts.
    let is_recorded = place != ROOT || ["state", "files"].contains(&last.as_str());
    is_recorded.then(|| (place, last.clone()))
}
