//! A disk as a file system may leave it at a power cut: rebuilt from the calls of one run.
//!
//! What a run changes is a list of steps. A step is on the disk for certain once its sync has come back: a write once its
//! file was synced, a name once its directory was. Every other step that was begun may be on the disk or not, each for
//! itself and in any order: a name (made, linked, moved, removed) is there or not, and a move is one step; what was
//! written is there, or the file has zero length, or half of it is there, or the length is and the bytes are zero.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file or directory, whatever its names.
pub type Inode = usize;
/// The directory in which all of it lies.
pub const ROOT: Inode = 0;
/// The file that each name in each directory stands for.
pub type Names = BTreeMap<(Inode, String), Inode>;
/// What is in a file, where that is not what was in it before.
type Contents = HashMap<Inode, Vec<u8>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Write {
        file: Inode,
        bytes: Vec<u8>,
    },
    Name {
        directory: Inode,
        name: String,
        file: Inode,
    },
    Move {
        directory: Inode,
        from: String,
        to: String,
        file: Inode,
    },
    Unname {
        directory: Inode,
        name: String,
    },
    Sync {
        inode: Inode,
    },
    /// A line that it wrote to its standard output.
    Told {
        line: Value,
    },
    /// It ended, and said that all went well.
    Done,
}

#[derive(Clone, Debug)]
struct Node {
    is_directory: bool,
    mode: u32,
    /// What was in it before.
    content: Vec<u8>,
}

/// What a disk holds: the path of each file and directory, its mode, and what is in a file.
pub type Tree = BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>;

/// One run, or several in a row, as the disk saw them.
#[derive(Clone)]
pub struct Recording {
    nodes: Vec<Node>,
    names: Names,
    pub steps: Vec<Step>,
}

impl Recording {
    /// The disk before: the directories `parts` in `root`, all of it durable.
    pub fn before(root: &Path, parts: &[&str]) -> Recording {
        let node = Node { is_directory: true, mode: 0o700, content: Vec::new() };
        let mut recording = Recording { nodes: vec![node], names: Names::new(), steps: Vec::new() };
        for part in parts.iter().filter(|part| root.join(part).exists()) {
            recording.take_in(ROOT, part, &root.join(part));
        }
        recording
    }

    fn take_in(&mut self, directory: Inode, name: &str, path: &Path) {
        let found = fs::metadata(path).expect("a file of ours");
        let content = if found.is_dir() { Vec::new() } else { fs::read(path).expect("a file of ours") };
        let mode = found.permissions().mode() & 0o7777;
        let inode = self.add_node(found.is_dir(), mode, content);
        self.names.insert((directory, name.to_owned()), inode);
        if found.is_dir() {
            for entry in fs::read_dir(path).expect("a directory of ours") {
                let entry = entry.expect("an entry");
                self.take_in(inode, &entry.file_name().to_string_lossy(), &entry.path());
            }
        }
    }

    fn add_node(&mut self, is_directory: bool, mode: u32, content: Vec<u8>) -> Inode {
        self.nodes.push(Node { is_directory, mode, content });
        self.nodes.len() - 1
    }

    /// A file with nothing in it, which has no name yet.
    pub fn add_file(&mut self, mode: u32) -> Inode {
        self.add_node(false, mode, Vec::new())
    }

    /// A directory that has no name yet.
    pub fn add_directory(&mut self) -> Inode {
        self.add_node(true, 0o700, Vec::new())
    }

    /// Whether a step changes the disk for certain only after a sync of this inode.
    fn waits_for(step: &Step) -> Option<Inode> {
        match step {
            Step::Write { file, .. } => Some(*file),
            Step::Name { directory, .. } | Step::Move { directory, .. } | Step::Unname { directory, .. } => {
                Some(*directory)
            }
            Step::Sync { .. } | Step::Told { .. } | Step::Done => None,
        }
    }

    /// The steps before `end` that no sync has made certain.
    fn open_at(&self, end: usize) -> Vec<usize> {
        let synced = |at: usize, inode| self.steps[at..end].contains(&Step::Sync { inode });
        (0..end).filter(|at| Self::waits_for(&self.steps[*at]).is_some_and(|inode| !synced(*at, inode))).collect()
    }

    /// Every disk that a power cut after the first `end` steps can leave; where there are more than [`MOST`], those with
    /// none, with all, with all but one and with only one of the open steps.
    pub fn disks(&self, end: usize) -> Vec<Tree> {
        let open = self.open_at(end);
        let ways = |at: usize| match &self.steps[at] {
            Step::Write { .. } => WRITTEN,
            _ => NAMED,
        };
        let all: Option<usize> = open
            .iter()
            .map(|at| ways(*at).len())
            .try_fold(1, |product: usize, ways| product.checked_mul(ways).filter(|product| *product <= MOST));
        let mut choices: Vec<HashMap<usize, Kept>> = Vec::new();
        if all.is_some() {
            choices.push(HashMap::new());
            for at in &open {
                let longer = |choice: &HashMap<usize, Kept>, kept| {
                    let mut choice = choice.clone();
                    choice.insert(*at, kept);
                    choice
                };
                choices =
                    choices.iter().flat_map(|choice| ways(*at).iter().map(move |kept| longer(choice, *kept))).collect();
            }
        } else {
            for rest in [Kept::Not, Kept::Whole] {
                let same: HashMap<usize, Kept> = open.iter().map(|at| (*at, rest)).collect();
                for at in &open {
                    for kept in ways(*at) {
                        let mut choice = same.clone();
                        choice.insert(*at, *kept);
                        choices.push(choice);
                    }
                }
            }
        }
        choices.iter().map(|choice| self.tree(end, |at| choice.get(&at).copied().unwrap_or(Kept::Whole))).collect()
    }

    /// The disk as a process sees it after the last step.
    pub fn now(&self) -> Tree {
        self.tree(self.steps.len(), |_| Kept::Whole)
    }

    /// Names and contents after the first `end` steps, of which each is kept as `kept` says.
    fn after(&self, end: usize, kept: impl Fn(usize) -> Kept) -> (Names, Contents) {
        let mut names = self.names.clone();
        let mut contents = Contents::new();
        for (at, step) in self.steps[..end].iter().enumerate() {
            let kept = kept(at);
            match step {
                Step::Write { file, bytes } => {
                    let content = contents.entry(*file).or_insert_with(|| self.nodes[*file].content.clone());
                    match kept {
                        Kept::Whole => content.extend(bytes),
                        Kept::Half => content.extend(&bytes[..bytes.len() / 2]),
                        Kept::Zeros => content.resize(content.len() + bytes.len(), 0),
                        Kept::Not => {}
                    }
                }
                _ if kept == Kept::Not => {}
                Step::Name { directory, name, file } => drop(names.insert((*directory, name.clone()), *file)),
                Step::Move { directory, from, to, file } => {
                    let from = (*directory, from.clone());
                    if names.get(&from) == Some(file) {
                        names.remove(&from);
                    }
                    names.insert((*directory, to.clone()), *file);
                }
                Step::Unname { directory, name } => drop(names.remove(&(*directory, name.clone()))),
                Step::Sync { .. } | Step::Told { .. } | Step::Done => {}
            }
        }
        (names, contents)
    }

    fn tree(&self, end: usize, kept: impl Fn(usize) -> Kept) -> Tree {
        let (names, contents) = self.after(end, kept);
        let mut tree = Tree::new();
        let mut waiting = vec![(ROOT, PathBuf::new())];
        while let Some((directory, path)) = waiting.pop() {
            for ((_, name), inode) in names.iter().filter(|((parent, _), _)| *parent == directory) {
                let (node, path) = (&self.nodes[*inode], path.join(name));
                if node.is_directory {
                    waiting.push((*inode, path.clone()));
                    tree.insert(path, (node.mode, None));
                } else {
                    let content = contents.get(inode).unwrap_or(&node.content).clone();
                    tree.insert(path, (node.mode, Some(content)));
                }
            }
        }
        tree
    }

    /// The names as a process sees them after the last step.
    pub fn names(&self) -> Names {
        self.after(self.steps.len(), |_| Kept::Whole).0
    }
}

/// More disks than this for one power cut are not all tried.
pub const MOST: usize = 256;

/// What of a step is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Not,
    Whole,
    Half,
    Zeros,
}

const NAMED: &[Kept] = &[Kept::Not, Kept::Whole];
const WRITTEN: &[Kept] = &[Kept::Not, Kept::Whole, Kept::Half, Kept::Zeros];

/// What lies under `parts` of `root` on the real disk.
pub fn read(root: &Path, parts: &[&str]) -> Tree {
    Recording::before(root, parts).now()
}

/// Puts a disk in place of what lies there.
pub fn write(root: &Path, parts: &[&str], tree: &Tree) {
    for part in parts {
        crate::stage::remove(&root.join(part));
    }
    for (path, (mode, content)) in tree {
        let path = root.join(path);
        match content {
            None => fs::DirBuilder::new().mode(*mode).create(&path).expect("a directory of ours"),
            Some(content) => {
                let file = fs::OpenOptions::new().write(true).create_new(true).mode(*mode).open(&path);
                file.and_then(|mut file| std::io::Write::write_all(&mut file, content)).expect("a file of ours");
            }
        }
    }
}
