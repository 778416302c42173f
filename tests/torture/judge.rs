//! The judge: what must hold after a crash, wherever it fell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::ceremony::Ceremony;
use crate::common::swtpm::Swtpm;
use crate::stage::{Run, Stage, remove};

/// The label under which keys are compared.
const LABEL: &str = "torture";

/// Why a ceremony does not pass.
#[derive(Debug)]
pub enum Complaint {
    /// A generation that was once active, and neither a device nor a proved backup gives it.
    Lost(String),
    /// Something else that was promised.
    Broken(String),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Complaint::Lost(what) => write!(f, "LOST: {what}"),
            Complaint::Broken(what) => write!(f, "broken promise: {what}"),
        }
    }
}

pub fn broken<T>(what: impl Into<String>) -> Result<T, Complaint> {
    Err(Complaint::Broken(what.into()))
}

/// What a ring is, apart from what differs from run to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No ring serves.
    None,
    /// What lies in its place is no ring, and says so.
    Damaged,
    Ring(Ring),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    system: String,
    role: String,
    term: u64,
    active: u64,
    /// Without what is pending.
    generations: Vec<u64>,
    /// Each device that holds a seal, and of which generations.
    devices: BTreeMap<String, Vec<u64>>,
    backups: BTreeSet<String>,
}

/// What `status` says.
pub struct Seen {
    pub shape: Shape,
    status: Option<Value>,
}

/// How things stood before the fault.
pub struct Before {
    pub shape: Shape,
    /// The key of each generation that was once active, by its id.
    pub keys: BTreeMap<String, String>,
}

impl Before {
    /// Looks at a stage that is in order.
    pub fn of(stage: &Stage) -> Before {
        let seen = look(stage).unwrap_or_else(|complaint| panic!("before the fault: {complaint}"));
        let derived = |number| derive(stage, number).unwrap_or_else(|run| panic!("before the fault: {run}"));
        let mut keys = stage.noted.clone();
        keys.extend(seen.generations().into_iter().map(|(number, id)| (id, derived(number))));
        Before { shape: seen.shape, keys }
    }
}

impl Seen {
    /// Numbers and ids of the generations that are, or were, active.
    pub fn generations(&self) -> Vec<(u64, String)> {
        let listed = self.status.iter().flat_map(|status| status["generations"].as_array()).flatten();
        listed
            .filter(|generation| matches!(self.shape, Shape::Ring(_)) && generation["state"] != "pending")
            .map(|generation| (number(&generation["number"]), string(&generation["id"])))
            .collect()
    }

    /// What it warns of, other than that all of this lies on one disk and is made in a hurry.
    fn warnings(&self) -> Vec<String> {
        let warnings = self.status.iter().flat_map(|status| status["warnings"].as_array()).flatten();
        let ids = warnings.map(|warning| string(&warning["id"]));
        ids.filter(|id| !["same-disk", "low-work"].contains(&id.as_str())).collect()
    }

    /// Paths of the proved backups that hold a generation.
    fn proved_backups(&self, number: u64) -> Vec<String> {
        let backups = self.status.iter().flat_map(|status| status["backups"].as_array()).flatten();
        let holds = |backup: &&Value| {
            let numbers = backup["generations"].as_array();
            !backup["proved"].is_null() && numbers.is_some_and(|numbers| numbers.contains(&number.into()))
        };
        backups.filter(holds).map(|backup| string(&backup["path"])).collect()
    }
}

/// Looks at the ring: it must be there whole, or not at all.
pub fn look(stage: &Stage) -> Result<Seen, Complaint> {
    let run = stage.run("status");
    match run.error().as_deref() {
        Some("no-ring") => return Ok(Seen { shape: Shape::None, status: None }),
        Some("ring-damaged" | "ring-lost") => return Ok(Seen { shape: Shape::Damaged, status: None }),
        Some(_) | None => {}
    }
    let Some(status) = run.lines().pop().filter(|_| run.succeeded()) else {
        return broken(format!("the ring is not whole: {run}"));
    };
    let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    let generations = list("generations").into_iter().filter(|generation| generation["state"] != "pending");
    let generations: Vec<u64> = generations.map(|generation| number(&generation["number"])).collect();
    let ring = status["active"].is_object().then(|| Ring {
        system: string(&status["system"]["name"]),
        role: string(&status["role"]),
        term: number(&status["term"]),
        active: number(&status["active"]["number"]),
        devices: list("devices").iter().filter_map(|device| sealed(device, &generations)).collect(),
        generations,
        backups: list("backups").iter().map(|backup| file_name(&string(&backup["path"]))).collect(),
    });
    Ok(Seen { shape: ring.map_or(Shape::None, Shape::Ring), status: Some(status) })
}

/// A device's name, and which of the generations it holds; none where it holds none.
fn sealed(device: &Value, generations: &[u64]) -> Option<(String, Vec<u64>)> {
    let seals = device["seals"].as_array().cloned().unwrap_or_default();
    let seals = seals.iter().filter(|seal| seal["state"] != "missing").map(|seal| number(&seal["generation"]));
    let seals: Vec<u64> = seals.filter(|number| generations.contains(number)).collect();
    (!seals.is_empty()).then(|| (string(&device["id"]), seals))
}

/// Judges a stage after a fault: `after` is the ring as the ceremony was to leave it, `run` the one that was broken.
/// Then runs the ceremony again.
pub fn after_a_fault(
    stage: &Stage,
    ceremony: &Ceremony,
    before: &Before,
    after: &Shape,
    run: &Run,
) -> Result<(), Complaint> {
    let seen = look(stage)?;
    if seen.shape != before.shape && seen.shape != *after {
        return broken(format!("the ring is neither the old nor the new one: {:?}", seen.shape));
    }
    if run.succeeded() && seen.shape != *after {
        return broken(format!("success was told, and the ring is {:?}", seen.shape));
    }
    log_is_whole(&seen)?;
    let mut keys = before.keys.clone();
    still_gives(stage, &seen, &mut keys)?;
    backed_up(&seen, &backups(stage)?)?;
    go_on(stage, ceremony, after)?;
    let seen = look(stage)?;
    if !seen.warnings().is_empty() {
        return broken(format!("after the next run, status still warns of {:?}", seen.warnings()));
    }
    still_gives(stage, &seen, &mut keys)?;
    backed_up(&seen, &backups(stage)?)
}

/// Judges a stage after a power cut. `told`: what the run had said by then; nothing that was said is taken back.
pub fn after_a_power_cut(stage: &Stage, before: &Before, after: &Shape, told: &Told) -> Result<(), Complaint> {
    let seen = look(stage)?;
    let (files, half_made) = look_at_backups(stage);
    let mut keys = before.keys.clone();
    still_gives(stage, &seen, &mut keys)?;
    backed_up(&seen, &files)?;
    // The device may have died of the same power cut.
    for id in keys.keys().chain(&told.active) {
        if !files.values().any(|ids| ids.contains(id)) {
            return Err(Complaint::Lost(format!("generation {id} was active, and is in no backup")));
        }
    }
    if let Some(complaint) = half_made {
        return Err(complaint);
    }
    let is_told = told.done || !told.active.is_empty();
    if is_told && seen.shape != *after {
        return broken(format!("it was told as done, and the ring is {:?}", seen.shape));
    }
    if seen.shape != before.shape && seen.shape != *after {
        return broken(format!("the ring is neither the old nor the new one: {:?}", seen.shape));
    }
    Ok(())
}

/// What a run has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The generations that it told as active.
    pub active: Vec<String>,
    /// That all is done.
    pub done: bool,
}

/// Every generation that was once active gives the key that it gave, from a device or from a proved backup. What is active
/// now is added to them.
pub fn still_gives(stage: &Stage, seen: &Seen, keys: &mut BTreeMap<String, String>) -> Result<(), Complaint> {
    let here = seen.generations();
    for (number, id) in &here {
        let key = match derive(stage, *number) {
            Ok(key) => key,
            Err(run) if keys.contains_key(id) => match from_a_backup(stage, id)? {
                Some(key) => return broken(format!("only a backup gives generation {id} ({key}): {run}")),
                None => return Err(Complaint::Lost(format!("generation {id}: {run}"))),
            },
            Err(run) => return broken(format!("the ring names generation {id}, and does not give it: {run}")),
        };
        if keys.entry(id.clone()).or_insert_with(|| key.clone()) != &key {
            return Err(Complaint::Lost(format!("generation {id} gives another key than before")));
        }
    }
    for (id, key) in keys.iter().filter(|(id, _)| here.iter().all(|(_, other)| other != *id)) {
        match from_a_backup(stage, id)? {
            Some(found) if found == *key => {}
            Some(_) => return Err(Complaint::Lost(format!("generation {id} out of its backup gives another key"))),
            None => return Err(Complaint::Lost(format!("generation {id} is in no ring and in no backup"))),
        }
    }
    Ok(())
}

/// A fault is not taken for tampering: the chain holds, and the TPM has counted what the log has, or one less.
pub fn log_is_whole(seen: &Seen) -> Result<(), Complaint> {
    let log = seen.status.iter().filter(|status| !status["log"].is_null());
    match log.clone().any(|status| !status["log"]["broken"].is_null()) || seen.warnings().contains(&"audit".to_owned())
    {
        true => {
            broken(format!("the log is told as tampered with: {:?}", log.map(|it| &it["warnings"]).collect::<Vec<_>>()))
        }
        false => Ok(()),
    }
}

/// What is active is in a backup that the ring says is proved, and that opens.
pub fn backed_up(seen: &Seen, files: &Files) -> Result<(), Complaint> {
    for (number, id) in seen.generations() {
        let proved = seen.proved_backups(number);
        let holds = |path: &String| files.get(&file_name(path)).is_some_and(|ids| ids.contains(&id));
        if !proved.iter().any(holds) {
            let what =
                format!("generation {number} ({id}) is or was active, and no proved backup holds it: {proved:?}");
            return Err(Complaint::Lost(what));
        }
    }
    Ok(())
}

/// Backups, with the ids of the generations in each.
type Files = BTreeMap<String, BTreeSet<String>>;

/// Every file that could be taken for a backup: each opens with the passphrase, whole, without any device.
pub fn backups(stage: &Stage) -> Result<Files, Complaint> {
    match look_at_backups(stage) {
        (files, None) => Ok(files),
        (_, Some(complaint)) => Err(complaint),
    }
}

/// Those that open, and what is wrong with one that does not.
fn look_at_backups(stage: &Stage) -> (Files, Option<Complaint>) {
    let (mut files, mut complaint) = (Files::new(), None);
    for entry in fs::read_dir(stage.files()).expect("a directory of ours") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        // A hidden one is never reported, and never taken for a backup.
        if name.starts_with('.') {
            continue;
        }
        match opened(stage, &format!("files/{name}")) {
            Ok(ids) => drop(files.insert(name, ids)),
            Err(found) => complaint = Some(found),
        }
    }
    (files, complaint)
}

/// The ids of the generations in a backup, found without any device. The same bytes are opened once.
fn opened(stage: &Stage, path: &str) -> Result<BTreeSet<String>, Complaint> {
    static OPENED: Mutex<BTreeMap<Vec<u8>, BTreeSet<String>>> = Mutex::new(BTreeMap::new());
    let known = || OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = fs::read(stage.dir().join(path)).expect("a file of ours");
    if let Some(ids) = known().get(&bytes) {
        return Ok(ids.clone());
    }
    let run = stage.run(&format!("--dir none verify {path}"));
    if !run.succeeded() {
        return broken(format!("a half-made file has a backup's name: {run}"));
    }
    let whole = run.lines().into_iter().filter(|line| line["step"] == "generation-whole");
    let ids: BTreeSet<String> = whole.map(|line| string(&line["id"])).collect();
    known().insert(bytes, ids.clone());
    Ok(ids)
}

/// A generation's key by way of a backup and a device that has never seen it.
fn from_a_backup(stage: &Stage, id: &str) -> Result<Option<String>, Complaint> {
    for (name, ids) in backups(stage)? {
        if !ids.contains(id) {
            continue;
        }
        let fresh = Swtpm::start();
        let spare = stage.dir().join("spare");
        remove(&spare);
        let dir = spare.display();
        stage.done(&format!("--dir {dir} restore --yes --device {} files/{name}", fresh.uri()));
        let status = stage.done(&format!("--dir {dir} status")).lines().pop().unwrap_or_default();
        let generations = status["generations"].as_array().cloned().unwrap_or_default();
        let Some(number) = generations.iter().find(|it| it["id"] == id).map(|it| number(&it["number"])) else {
            continue;
        };
        let run = stage.done(&format!("--dir {dir} derive --generation {number} {LABEL}"));
        return Ok(run.lines().pop().map(|line| string(&line["key"])));
    }
    Ok(None)
}

/// The next run: it finishes, or says what it found, and then a run after that does.
pub fn go_on(stage: &Stage, ceremony: &Ceremony, after: &Shape) -> Result<(), Complaint> {
    let again = stage.run(ceremony.line);
    if again.succeeded() {
        return Ok(());
    }
    // It has been done, and can't be done twice.
    let is_done = |run: &Run| matches!(run.code(), Some(2 | 5)) && look(stage).is_ok_and(|seen| seen.shape == *after);
    if again.error().as_deref() == Some("file-exists") {
        let drill = stage.run("verify files/new.backup");
        if !drill.succeeded() {
            return broken(format!("the file that is in the way is no backup: {drill}"));
        }
        let next = stage.run(&ceremony.again());
        return match next.succeeded() || is_done(&next) {
            true => Ok(()),
            false => broken(format!("after a drill of what was there: {next}")),
        };
    }
    match is_done(&again) {
        true => Ok(()),
        false => broken(format!("the next run: {again}")),
    }
}

/// A generation's key; the run, where there is none.
pub fn derive(stage: &Stage, number: u64) -> Result<String, Run> {
    let run = stage.run(&format!("derive --generation {number} {LABEL}"));
    match run.lines().pop().filter(|_| run.succeeded()) {
        Some(line) => Ok(string(&line["key"])),
        None => Err(run),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

fn file_name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
