//! Running strongroom under strace: to see what it asks the kernel for, and to break one of the answers.
//!
//! strace follows the first thread only: that is the one that works on files, and `when=` counts for each thread. All
//! strings come in hex, so that what is written is had to the last byte.

use std::fs;
use std::path::{Path, PathBuf};

use crate::stage::{Run, Stage};

/// What is looked at: every call with a path or a descriptor.
const LOOKED_AT: &str = "%file,%desc";
/// Calls in which a full disk can show.
const WRITING: [&str; 14] = [
    "open",
    "openat",
    "write",
    "pwrite64",
    "writev",
    "fsync",
    "fdatasync",
    "renameat",
    "renameat2",
    "rename",
    "linkat",
    "mkdir",
    "mkdirat",
    "ftruncate",
];

/// What happens instead of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill,
    Eio,
    Enospc,
}

pub const FAULTS: [Fault; 3] = [Fault::Kill, Fault::Eio, Fault::Enospc];

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill -9 at a system call",
            Fault::Eio => "EIO from a system call",
            Fault::Enospc => "ENOSPC from a system call",
        }
    }

    /// As strace takes it.
    fn injected_into(self, call: &Call) -> String {
        let instead = match self {
            Fault::Kill => "signal=KILL",
            Fault::Eio => "error=EIO",
            Fault::Enospc => "error=ENOSPC",
        };
        format!("inject={}:{instead}:when={}", call.name, call.nth)
    }

    /// Whether it can happen at that call.
    pub fn fits(self, call: &Call) -> bool {
        match self {
            Fault::Kill | Fault::Eio => true,
            Fault::Enospc => {
                let makes = !call.name.starts_with("open") || call.makes_a_file();
                WRITING.contains(&call.name.as_str()) && makes
            }
        }
    }
}

/// A system call as strace tells it.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    /// Its arguments as strace wrote them, with every string in hex.
    pub args: String,
    /// What it returned; none where it did not return.
    pub result: Option<i64>,
    /// Counts the calls of this name, from 1.
    pub nth: usize,
}

impl Call {
    /// The paths of the descriptors in it, as `-y` shows them.
    fn paths(&self) -> Vec<String> {
        self.args.split('<').skip(1).filter_map(|rest| Some(text(&decode(rest.split('>').next()?)))).collect()
    }

    /// The strings in it.
    pub fn strings(&self) -> Vec<Vec<u8>> {
        self.args.split('"').skip(1).step_by(2).map(decode).collect()
    }

    /// Its n-th argument.
    pub fn arg(&self, n: usize) -> &str {
        self.args.split(", ").nth(n).unwrap_or_default()
    }

    /// The descriptor that its n-th argument is.
    pub fn descriptor(&self, n: usize) -> Option<i64> {
        self.arg(n).split('<').next()?.parse().ok()
    }

    /// Whether it is about a file in one of the directories.
    fn is_within(&self, directories: &[PathBuf], current: &Path) -> bool {
        let within = |path: &Path| directories.iter().any(|directory| path.starts_with(directory));
        if self.paths().iter().any(|path| within(Path::new(path))) {
            return true;
        }
        // The directory above, in which the state directory gets its name.
        if self.descriptor(0).is_some() && self.paths().first().is_some_and(|path| Path::new(path) == current) {
            return true;
        }
        // A path that is given as one, and not what is read or written.
        let named = !matches!(self.name.as_str(), "read" | "write" | "readlink" | "pread64" | "pwrite64");
        named && self.strings().iter().any(|string| within(&current.join(text(string))))
    }

    /// Whether it opens a file that was not there.
    pub fn makes_a_file(&self) -> bool {
        self.name.starts_with("open") && ["O_CREAT", "O_TMPFILE"].iter().any(|flag| self.args.contains(flag))
    }

    /// What it is, without what differs from run to run.
    pub fn what(&self) -> String {
        let names = match self.name.as_str() {
            "open" | "openat" | "renameat" | "renameat2" | "linkat" | "unlink" | "unlinkat" | "mkdir" | "mkdirat" => {
                self.strings().iter().map(|string| text(string)).collect::<Vec<_>>().join(" -> ")
            }
            _ => String::new(),
        };
        let path = self.paths().into_iter().next().unwrap_or_default();
        // An unnamed file is shown by its inode's number.
        let path = path.split('#').next().unwrap_or_default();
        format!("{}({path} {})", self.name, without_random(&names))
    }
}

/// A run under strace.
pub struct Trace {
    pub run: Run,
    pub calls: Vec<Call>,
}

impl Trace {
    /// Records a run.
    pub fn record(stage: &Stage, line: &str) -> Trace {
        Trace::with(stage, line, &[])
    }

    /// Records a run on a file system that lacks something (`lacks`: errors to be injected), with a fault or without.
    pub fn lacking(stage: &Stage, line: &str, lacks: &[String], fault: Option<(&Call, Fault)>) -> Trace {
        let fault = fault.map(|(call, fault)| fault.injected_into(call));
        Trace::with(stage, line, &[lacks, fault.as_slice()].concat())
    }

    /// Records a run in which the call's place is taken by a fault.
    pub fn broken(stage: &Stage, line: &str, call: &Call, fault: Fault) -> Trace {
        Trace::with(stage, line, &[fault.injected_into(call)])
    }

    fn with(stage: &Stage, line: &str, injected: &[String]) -> Trace {
        let path = stage.dir().join("trace");
        let mut wrapper: Vec<String> =
            ["strace", "-y", "-xx", "-s", "1200000", "-o"].into_iter().map(str::to_owned).collect();
        wrapper.push(path.display().to_string());
        wrapper.extend(["-e".to_owned(), format!("trace={LOOKED_AT}")]);
        for expression in injected {
            wrapper.extend(["-e".to_owned(), expression.clone()]);
        }
        let output = stage.wrapped(&wrapper, line).output().expect("strace; run ci/setup");
        let text = fs::read_to_string(&path).expect("strace writes what it saw; run ci/setup");
        Trace { run: Run::of(line, output), calls: parse(&text) }
    }

    /// The calls that are about the state directory and the backups' directory. Of the reads that a file is read with, the
    /// first and the last: those between meet the same disk and the same code.
    pub fn on_files(&self, stage: &Stage) -> Vec<Call> {
        let directories = [stage.state(), stage.files()];
        // A debug build asks by fcntl whether its descriptors are still open; execve starts the program.
        let calls = self.calls.iter().filter(|call| call.name != "fcntl" && call.name != "execve");
        let calls: Vec<&Call> = calls.filter(|call| call.is_within(&directories, stage.dir())).collect();
        let reads = |at: usize, other: Option<usize>| {
            let other = other.and_then(|other| calls.get(other));
            calls[at].name == "read" && other.is_some_and(|other| other.what() == calls[at].what())
        };
        let is_between = |at: usize| reads(at, at.checked_sub(1)) && reads(at, Some(at + 1));
        (0..calls.len()).filter(|at| !is_between(*at)).map(|at| calls[at].clone()).collect()
    }

    /// Whether the fault took the place of `call`, and of no other.
    pub fn struck(&self, call: &Call) -> bool {
        let found = self.calls.iter().find(|found| found.name == call.name && found.nth == call.nth);
        found.is_some_and(|found| found.what() == call.what())
    }
}

fn parse(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in text.lines() {
        // What a call would have given is not known where it was killed.
        let line = line.replace("<unfinished ...>", "");
        // Signals and the end are told in lines of their own.
        let Some((name, rest)) = line.split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let (args, result) = match rest.rsplit_once(" = ") {
            Some((args, result)) => (args.trim_end().trim_end_matches(')'), result),
            // It was killed in it, before the call.
            None => (rest, "?"),
        };
        let result = result.split([' ', '<']).next().and_then(|number| number.parse().ok());
        let nth = calls.iter().filter(|call| call.name == name).count() + 1;
        calls.push(Call { name: name.to_owned(), args: args.to_owned(), result, nth });
    }
    calls
}

/// `\x2f\x74` is `/t`.
fn decode(hex: &str) -> Vec<u8> {
    hex::decode(hex.replace("\\x", "")).unwrap_or_else(|_| panic!("not strace's hex: {hex}"))
}

/// What is kept aside, and a file that is hidden, has a random number of eight hex digits or more in its name.
fn without_random(names: &str) -> String {
    let is_random = |part: &&str| part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let plain = |part| if is_random(&part) { "*" } else { part };
    names.split(['-', '.']).map(plain).collect::<Vec<_>>().join(".")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
