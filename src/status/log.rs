//! What the log is worth, as far as it can be told without a PIN.

use schemars::JsonSchema;
use serde::Serialize;

use super::{DeviceStatus, Statement};
use crate::audit::verify::{Counter, Findings, State, recounted};
use crate::ceremony::{Error, Examination, Place};
use crate::device::Pinless;
use crate::store::Store;

/// The log in `strongroom status --json`. Fields are only ever added.
#[derive(Debug, JsonSchema, Serialize)]
pub struct LogStatus {
    pub entries: u64,
    /// The last entry that the master secret vouches for.
    pub vouched: Option<u64>,
    /// Whether a TPM's counter shows that the end was not cut off.
    pub counted: bool,
    /// Entries that were begun and are not concluded: at work, or cut off.
    pub open: Vec<u64>,
    /// The first line that can't be true.
    pub broken: Option<usize>,
    /// Why not all of it could be checked.
    pub unchecked: Option<String>,
}

/// Examines the log with the devices that answered, and adds what needs attention to `warnings`.
pub fn look(place: &Place, devices: &[DeviceStatus], warnings: &mut Vec<Statement>) -> Option<LogStatus> {
    let silent: Vec<String> =
        devices.iter().filter(|device| device.reachable != Some(true)).map(|device| device.id.clone()).collect();
    let pins = Pinless(place.signatures.clone());
    let examined = Examination::new(place).and_then(|it| it.without(silent.clone()).execute(&pins, &mut |_| {}));
    let mut warn = |text: String| warnings.push(Statement { id: "audit", text });
    if Store::open(&place.directory).is_ok_and(|store| !store.log_takes_refusals()) {
        warn(
            "the log is half full, and what is refused goes to the journal alone: see what is refused so often"
                .to_owned(),
        );
    }
    match examined {
        Ok((findings, unchecked)) => {
            if let Some(found) = &findings.broken {
                warn(format!("from line {} on, the log can't be trusted: {}", found.line, found.why));
            }
            for n in &findings.recounted {
                warn(format!("{}: compare the log with the journal", recounted(*n)));
            }
            Some(LogStatus::of(&findings, &silent, unchecked))
        }
        Err(error) => {
            warn(format!("the log can't be checked: {error}"));
            None
        }
    }
}

impl LogStatus {
    fn of(findings: &Findings, silent: &[String], unchecked: Option<Error>) -> Self {
        let unread = |counter: &Counter| match &counter.state {
            State::Unread(why) => Some(why.clone()),
            State::Witness { .. } | State::None | State::Differs => None,
        };
        Self {
            entries: findings.entries,
            vouched: findings.vouched,
            counted: findings.has_witness() && findings.broken.is_none(),
            open: findings.open.keys().copied().collect(),
            broken: findings.broken.as_ref().map(|found| found.line),
            unchecked: match (unchecked, silent.first()) {
                (Some(Error::NowhereToBeHad(_)), Some(device)) => Some(format!("{device} does not answer")),
                (Some(error), _) => Some(error.to_string()),
                (None, _) => findings.counters.iter().find_map(unread),
            },
        }
    }
}
