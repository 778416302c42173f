//! c. Power cuts, by record and replay: one run is recorded, and every disk that a power cut at any moment of it can leave
//! is put in place and judged. See [`crate::disk`] for what a power cut can leave.
//!
//! The devices need replay only where a storage root key or wrapping keys are made or destroyed: until the run has told of
//! it, every disk is judged with the device as it was and as it became.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::ceremony::{self, Ceremony};
use crate::disk::{self, Recording, Step, Tree};
use crate::judge::{self, Before, Complaint, Shape, Told};
use crate::share::{Seed, Share};
use crate::stage::{Device, Stage};
use crate::strace::{Call, Fault, Trace};
use crate::table::{self, Row};

const PARTS: &[&str] = &["state", "files"];

pub fn cut_all(device: Device, seed: &mut Seed) {
    for ceremony in ceremony::chosen() {
        table::stop_after_a_loss();
        let mut scene = Scene::of(ceremony, device);
        let recording = scene.record();
        let (points, complaints) = scene.judge(&recording, 0, seed);
        let here = format!("{} on {device}, power cut", ceremony.name);
        for (disk, complaint) in complaints {
            table::judged(&here, Err(complaint), || disk);
        }
        table::row(Row { ceremony: ceremony.name, device, fault: "power cut", points });
    }
}

/// What a file system can lack where a backup is written: then it has a hidden name until it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// FAT.
    UnnamedFiles,
    /// Network file systems.
    UnnamedFilesAndRenameat2,
}

/// `generate` with its backup on a lesser file system: power cuts at any moment, and a kill before each call on the backups'
/// directory that could make a difference.
pub fn cut_on_a_lesser_file_system(lack: Lack, seed: &mut Seed) {
    let mut scene = Scene::of(ceremony::called("generate"), Device::Tpm);
    let line = scene.ceremony.line;
    scene.stage.put_back();
    let usual = Trace::record(&scene.stage, line);
    let tmpfile = usual.calls.iter().find(|call| call.args.contains("O_TMPFILE")).expect("an unnamed file");
    let mut lacks = vec![format!("inject={}:error=EOPNOTSUPP:when={}", tmpfile.name, tmpfile.nth)];
    match lack {
        Lack::UnnamedFiles => {}
        Lack::UnnamedFilesAndRenameat2 => lacks.push("inject=renameat2:error=EINVAL".to_owned()),
    }
    scene.stage.put_back();
    let mut recording = Recording::before(scene.stage.dir(), PARTS);
    let whole = Trace::lacking(&scene.stage, line, &lacks, None);
    recording.add_run(scene.stage.dir(), &whole.calls, whole.run.succeeded());
    scene.settle(&recording);
    let hidden = |step: &Step| matches!(step, Step::Name { name, .. } if name.starts_with(".new.backup"));
    assert!(recording.steps.iter().any(hidden), "it had a hidden name: {}", whole.run);
    let (points, complaints) = scene.judge(&recording, 0, seed);
    for (disk, complaint) in complaints {
        table::judged(&format!("power cut, {lack:?}"), Err(complaint), || disk);
    }
    assert!(points > 20, "{points}");
    let on_files = whole.on_files(&scene.stage).into_iter().filter(|call| call.what().contains("/files"));
    // The first call of a name that is injected already can't be injected once more.
    for call in
        on_files.filter(|call| !call.name.starts_with("open") && !["read", "renameat2"].contains(&call.name.as_str()))
    {
        scene.stage.put_back();
        let killed = Trace::lacking(&scene.stage, line, &lacks, Some((&call, Fault::Kill)));
        assert!(killed.run.was_killed(), "{}: {}", call.what(), killed.run);
        let verdict = judge::after_a_fault(&scene.stage, scene.ceremony, &scene.before, &scene.after, &killed.run);
        table::judged(&format!("{} {lack:?}", call.what()), verdict, || killed.run.to_string());
    }
}

/// Kill a run before each change and each sync, let the next run finish, and cut the power at its end: what the first
/// left unsynced, the next must not build on.
pub fn cut_after_a_kill(device: Device, seed: &mut Seed) {
    for ceremony in ceremony::chosen() {
        let mut scene = Scene::of(ceremony, device);
        let changes = |call: &Call| {
            call.makes_a_file()
                || ["write", "fsync", "renameat", "renameat2", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat"]
                    .contains(&call.name.as_str())
        };
        let whole = scene.whole();
        let calls: Vec<Call> = whole.on_files(&scene.stage).into_iter().filter(changes).collect();
        let mut points = 0;
        for call in Share::chosen().of(calls, seed) {
            table::stop_after_a_loss();
            points += scene.cut_after_a_kill(&call, seed);
        }
        table::row(Row { ceremony: ceremony.name, device, fault: "kill, next run, power cut", points });
    }
}

/// A run that is killed before it syncs a directory: the next one must not build on the name that it finds there. With
/// `generate` that is its backup's, and the next run a drill; with `init` the state directory's, in the one above; with
/// `device repair` the ring's, and the next run has nothing left to do.
pub fn a_name_that_was_not_synced_is_not_built_on(name: &str, directory: &str) {
    let mut scene = Scene::of(ceremony::called(name), Device::Tpm);
    let whole = scene.whole();
    let directory = scene.stage.dir().join(directory).components().collect::<PathBuf>();
    let sync = format!("fsync({} )", directory.display());
    let syncs: Vec<&Call> = whole.calls.iter().filter(|call| call.what() == sync).collect();
    assert!(!syncs.is_empty(), "the directory is synced");
    for sync in syncs {
        assert!(scene.cut_after_a_kill(sync, &mut Seed::chosen(name)) > 0);
    }
}

/// A ceremony on a stage: before, and after.
pub struct Scene<'c> {
    ceremony: &'c Ceremony,
    stage: Stage,
    before: Before,
    after: Shape,
}

impl<'c> Scene<'c> {
    pub fn of(ceremony: &'c Ceremony, device: Device) -> Self {
        let stage = ceremony.stage(device);
        let before = Before::of(&stage);
        let after = before.shape.clone();
        Self { ceremony, stage, before, after }
    }

    /// Records the whole ceremony.
    pub fn record(&mut self) -> Recording {
        self.stage.put_back();
        let mut recording = Recording::before(self.stage.dir(), PARTS);
        assert!(self.run(self.ceremony.line, &mut recording), "{}", self.ceremony.name);
        self.settle(&recording);
        recording
    }

    /// Records a run that is killed, and those after it, until all is done.
    fn record_going_on(&mut self, call: &Call) -> Recording {
        self.stage.put_back();
        let mut recording = Recording::before(self.stage.dir(), PARTS);
        let killed = Trace::broken(&self.stage, self.ceremony.line, call, Fault::Kill);
        assert!(killed.run.was_killed() && killed.struck(call), "{}", killed.run);
        recording.add_run(self.stage.dir(), &killed.calls, false);
        let again = self.ceremony.again();
        let in_the_way = self.stage.files().join("new.backup").exists() && again != self.ceremony.line;
        // A file in the way gets its drill. Where that finishes the ceremony, it can't be done again.
        if in_the_way {
            assert!(self.run("verify files/new.backup", &mut recording), "{}: the drill", self.ceremony.name);
        } else {
            // Where the killed run had come to its last sync, the next finds all of it done, and refuses. It promises nothing.
            let done = self.run(self.ceremony.line, &mut recording);
            let shape = judge::look(&self.stage).unwrap_or_else(|complaint| panic!("{complaint}")).shape;
            assert!(done || shape == self.after, "{}: the next run", self.ceremony.name);
        }
        self.settle(&recording);
        recording
    }

    /// Runs it whole; gives the calls.
    fn whole(&mut self) -> Trace {
        self.stage.put_back();
        let whole = Trace::record(&self.stage, self.ceremony.line);
        assert!(whole.run.succeeded(), "{}", whole.run);
        self.after = judge::look(&self.stage).unwrap_or_else(|complaint| panic!("{complaint}")).shape;
        whole
    }

    /// Judges the disks that a power cut leaves after a run was killed at `call` and the next one has finished. Gives how
    /// many there were.
    fn cut_after_a_kill(&mut self, call: &Call, seed: &mut Seed) -> usize {
        let here = format!("{}, kill at {}, next run, power cut", self.ceremony.name, call.what());
        let after = self.after.clone();
        let recording = self.record_going_on(call);
        let (points, complaints) = self.judge(&recording, recording.steps.len(), seed);
        self.after = after;
        for (disk, complaint) in complaints {
            table::judged(&here, Err(complaint), || disk);
        }
        points
    }

    fn run(&self, line: &str, recording: &mut Recording) -> bool {
        let trace = Trace::record(&self.stage, line);
        recording.add_run(self.stage.dir(), &trace.calls, trace.run.succeeded());
        trace.run.succeeded()
    }

    /// What was recorded is what lies there; the ring as it is now is the one that was to be.
    fn settle(&mut self, recording: &Recording) {
        let real = disk::read(self.stage.dir(), PARTS);
        assert!(
            recording.now() == real,
            "the recording missed something: {:?}, {:?}",
            names(&recording.now()),
            names(&real)
        );
        self.after = judge::look(&self.stage).unwrap_or_else(|complaint| panic!("{complaint}")).shape;
        self.stage.keep_devices("after");
    }

    /// Judges the disks of every power cut from the step `first` on. Gives how many there were, and each that was not as it must be.
    pub fn judge(&mut self, recording: &Recording, first: usize, seed: &mut Seed) -> (usize, Vec<(String, Complaint)>) {
        let changed = |step: &Step| matches!(told_step(step), Some("root-pinned" | "keys-destroyed"));
        let changed = recording.steps.iter().position(changed);
        let mut disks: BTreeMap<(&str, Tree), Told> = BTreeMap::new();
        for end in first..=recording.steps.len() {
            let told = told(&recording.steps[..end]);
            for tree in recording.disks(end) {
                let devices: &[&str] = match changed {
                    Some(changed) if end <= changed => &["kept", "after"],
                    _ => &["after"],
                };
                for device in devices {
                    // The later, the more was told of the same disk.
                    disks.insert((device, tree.clone()), told.clone());
                }
            }
        }
        let (points, mut complaints) = (disks.len(), Vec::new());
        let mut current = "";
        for ((devices, tree), told) in disks {
            if current != devices {
                self.stage.put_back_devices(devices);
                current = devices;
            }
            disk::write(self.stage.dir(), PARTS, &tree);
            let mut verdict = judge::after_a_power_cut(&self.stage, &self.before, &self.after, &told);
            if verdict.is_ok() && (Share::chosen() == Share::All || seed.below(10) == 0) {
                verdict = judge::go_on(&self.stage, self.ceremony, &self.after);
                current = "";
            }
            if let Err(complaint) = verdict {
                complaints.push((format!("{told:?}, devices {devices}, on the disk: {:#?}", names(&tree)), complaint));
            }
        }
        (points, complaints)
    }
}

fn names(tree: &Tree) -> Vec<String> {
    let size =
        |content: &Option<Vec<u8>>| content.as_ref().map_or("directory".to_owned(), |bytes| bytes.len().to_string());
    tree.iter().map(|(path, (mode, content))| format!("{} {mode:o} {}", path.display(), size(content))).collect()
}

fn told_step(step: &Step) -> Option<&str> {
    match step {
        Step::Told { line } => line["step"].as_str(),
        _ => None,
    }
}

fn told(steps: &[Step]) -> Told {
    let active = steps.iter().filter_map(|step| match step {
        Step::Told { line } if line["step"] == "generation-active" => line["id"].as_str().map(str::to_owned),
        _ => None,
    });
    Told { active: active.collect(), done: steps.contains(&Step::Done) }
}
