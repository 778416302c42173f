//! How things stand: the ring, its devices as they answer now, its backups, and what needs attention. Asks for no PIN,
//! changes nothing.

mod devices;
mod log;

use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::backup::LOW_WORK_FACTOR;
pub use devices::{DeviceStatus, SealState, SealStatus};
pub use log::LogStatus;

use crate::ceremony::{Error, Place, Statement};
use crate::derive::GenerationId;
use crate::ring::{BackupRecord, Generation, Ring, Role, State, System};
use crate::store::{Store, same_disk};

/// A drill older than this is nagged about, in days.
const DRILL_DAYS: i64 = 90;
/// A secret older than this is nagged about, in days.
const SECRET_DAYS: i64 = 365;

/// `strongroom status --json`. Fields are only ever added.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Status {
    pub schema: &'static str,
    /// Where the ring is: for a front end that watches it.
    pub directory: String,
    pub system: System,
    pub role: Role,
    pub term: u64,
    pub master: String,
    pub active: Option<Active>,
    pub devices: Vec<DeviceStatus>,
    pub generations: Vec<GenerationStatus>,
    pub backups: Vec<BackupStatus>,
    /// None where it can't be checked at all, where there is no ring yet that it could be the log of, and where devices
    /// are not asked.
    pub log: Option<LogStatus>,
    pub warnings: Vec<Statement>,
}

#[derive(Debug, JsonSchema, Serialize)]
pub struct Active {
    pub number: u32,
    pub id: GenerationId,
    pub short_id: String,
    pub age_days: i64,
}

#[derive(Debug, JsonSchema, Serialize)]
pub struct GenerationStatus {
    pub number: u32,
    pub id: GenerationId,
    pub short_id: String,
    pub state: String,
    pub created: Timestamp,
    pub made_on: String,
    pub restored: Option<Timestamp>,
    /// Whether a PIN of its own guards its seals.
    pub pin: bool,
}

#[derive(Debug, JsonSchema, Serialize)]
pub struct BackupStatus {
    pub path: String,
    pub generations: Vec<u32>,
    pub made: Timestamp,
    pub proved: Option<Timestamp>,
    /// Whether a file is at that path now.
    pub present: bool,
}

/// How closely is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The ring alone: for an overview that is refreshed often, and must not wait for a device.
    Ring,
    /// The devices are asked too, every seal is opened that opens without a PIN, and the log is checked.
    Devices,
}

impl Status {
    pub fn of(place: &Place, depth: Depth) -> Result<Self, Error> {
        let store = Store::open(&place.directory)?;
        let founding = store.founding()?;
        let (ring, served) = match (store.read()?, &founding) {
            (Some(ring), _) => (ring, true),
            (None, Some(founding)) => (founding.clone(), false),
            (None, None) => (store.ring()?, true),
        };
        let now = Timestamp::now();
        let mut warnings = Vec::new();
        if let Some(warning) = unfinished(&ring, founding.is_some(), served) {
            warnings.push(warning);
        }
        let refusals = store.refusals()?;
        let look = |record| devices::look(record, &ring, depth, (&refusals, &place.signatures), &mut warnings);
        let devices: Vec<DeviceStatus> = ring.devices.iter().map(look).collect();
        let log = match depth {
            Depth::Devices if served => log::look(place, &devices, &mut warnings),
            Depth::Devices | Depth::Ring => None,
        };
        judge_backups(&ring, place, now, &mut warnings);
        let active = ring.active().map(|generation| Active {
            number: generation.number,
            id: generation.id,
            short_id: generation.id.to_string(),
            age_days: days(now, generation.created),
        });
        if let Some(active) = active.as_ref().filter(|active| active.age_days > SECRET_DAYS) {
            let text = format!(
                "generation {} is {} days old: `strongroom generate` makes a new one",
                active.number, active.age_days
            );
            warnings.push(Statement { id: "old-secret", text });
        }
        let generations = ring.generations.iter().map(of_generation).collect();
        let backups = ring.backups.iter().map(of_backup).collect();
        Ok(Self {
            schema: "strongroom.status/1",
            directory: crate::ceremony::absolute(&place.directory),
            system: ring.system,
            role: ring.role,
            term: ring.term,
            master: ring.master,
            active,
            devices,
            generations,
            backups,
            log,
            warnings,
        })
    }
}

/// What an earlier run has left, and how to go on. `is_founding`: a ring is being founded; `served`: another one is there that
/// serves.
fn unfinished(ring: &Ring, is_founding: bool, served: bool) -> Option<Statement> {
    let (id, text) = match (is_founding, ring.pending()) {
        (true, _) if served => {
            ("unfinished", "a restore was cut off; run it again, or leave it: the ring is whole".to_owned())
        }
        (true, Some(_)) => (
            "unfinished",
            format!(
                "the set-up of system {} was cut off: `strongroom verify` its backup to finish it, or run it again",
                ring.system.name
            ),
        ),
        (true, None) => ("unfinished", format!("the set-up of system {} was cut off: run it again", ring.system.name)),
        (false, Some(pending)) => (
            "pending",
            format!(
                "generation {} is pending: `strongroom verify` its backup to finish it; the next `strongroom generate` drops it",
                pending.number
            ),
        ),
        (false, None) => return None,
    };
    Some(Statement { id, text })
}

fn of_backup(backup: &BackupRecord) -> BackupStatus {
    BackupStatus {
        path: backup.path.clone(),
        generations: backup.generations.clone(),
        made: backup.made,
        proved: backup.proved,
        present: Path::new(&backup.path).exists(),
    }
}

fn of_generation(generation: &Generation) -> GenerationStatus {
    let state = match generation.state {
        State::Pending => "pending",
        State::Active => "active",
        State::Kept => "kept",
    };
    GenerationStatus {
        number: generation.number,
        id: generation.id,
        short_id: generation.id.to_string(),
        state: state.to_owned(),
        created: generation.created,
        made_on: generation.origin.host.clone(),
        restored: generation.restored,
        pin: generation.has_pin(),
    }
}

fn judge_backups(ring: &Ring, place: &Place, now: Timestamp, warnings: &mut Vec<Statement>) {
    let Some(active) = ring.active() else { return };
    if !active.seals.is_empty() && !active.can_leave() {
        let text = format!(
            "no device lets generation {} out: no backup and no new generation can be made here; keep the backups that are there",
            active.number
        );
        warnings.push(Statement { id: "nothing-lets-out", text });
    }
    let covering: Vec<_> = ring
        .backups
        .iter()
        .filter(|backup| backup.proved.is_some() && backup.generations.contains(&active.number))
        .collect();
    let mut warn = |id, text: String| warnings.push(Statement { id, text });
    if covering.is_empty() {
        warn(
            "no-backup",
            format!("no proved backup holds generation {}: `strongroom backup FILE` makes one", active.number),
        );
        return;
    }
    if let Some(newest) = covering.iter().filter_map(|backup| backup.proved).max()
        && days(now, newest) > DRILL_DAYS
    {
        warn(
            "old-drill",
            format!("the last drill was {} days ago: `strongroom verify` a copy of the backup", days(now, newest)),
        );
    }
    for backup in covering.iter().filter(|backup| backup.work_factor < LOW_WORK_FACTOR) {
        warn("low-work", format!("{} was made with a low work factor ({})", backup.path, backup.work_factor));
    }
    let on_state_disk = |path: &str| same_disk(&place.directory, Path::new(path));
    if covering.iter().all(|backup| on_state_disk(&backup.path) == Some(true)) {
        let text = "every backup lies on the state's own disk: copy one elsewhere, and `strongroom verify` the copy";
        warn("same-disk", text.to_owned());
    }
}

fn days(now: Timestamp, then: Timestamp) -> i64 {
    (now.as_second() - then.as_second()).max(0) / 86_400
}
