//! What a ceremony says: the plan before, and each step as it happens. Front ends render these and add nothing.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::Wanted;
use crate::derive::GenerationId;

/// What a ceremony will do: a statement, agreed to before anything happens.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Plan {
    pub schema: &'static str,
    pub ceremony: &'static str,
    pub system: String,
    /// What will be different afterwards.
    pub changes: Vec<Statement>,
    /// What the admin should think about first.
    pub warnings: Vec<Statement>,
    /// What will be asked for, in the order in which one descriptor would be read.
    pub secrets: Vec<Wanted>,
    /// The question to be answered with yes; none where nothing needs to be asked.
    pub question: Option<&'static str>,
}

/// One sentence, with an id that scripts can tell it by.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Statement {
    pub id: &'static str,
    pub text: String,
}

impl Plan {
    pub(super) fn new(ceremony: &'static str, system: &str) -> Self {
        Self {
            schema: "strongroom.plan/1",
            ceremony,
            system: system.to_owned(),
            changes: Vec::new(),
            warnings: Vec::new(),
            secrets: Vec::new(),
            question: None,
        }
    }

    pub(super) fn change(&mut self, id: &'static str, text: impl Into<String>) {
        self.changes.push(Statement { id, text: text.into() });
    }

    pub(super) fn warning(&mut self, id: &'static str, text: impl Into<String>) {
        self.warnings.push(Statement { id, text: text.into() });
    }
}

/// One thing that a ceremony has done, or begins to do.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Work that takes a second or more begins; the next step ends it.
    Working {
        what: &'static str,
    },
    /// The log says of an earlier run only that it began: it was cut off.
    IntentClosed {
        entry: u64,
        ceremony: &'static str,
    },
    /// What an earlier run left unfinished was dropped.
    Dropped {
        number: u32,
    },
    FoundingDropped {
        system: String,
    },
    RootPinned {
        device: String,
        fingerprint: String,
    },
    /// How the device does it, where that is not as most do.
    WaysFound {
        device: String,
        ways: String,
    },
    GenerationMade {
        number: u32,
        id: GenerationId,
        device: String,
    },
    BackupWritten {
        path: String,
    },
    BackupReopened {
        path: String,
    },
    GenerationSealed {
        number: u32,
        id: GenerationId,
        device: String,
    },
    /// The device gives the generation's id.
    GenerationServed {
        number: u32,
        id: GenerationId,
        device: String,
    },
    /// A device did not answer or can't serve, and another does its part.
    PassedOver {
        device: String,
        because: String,
    },
    SealsKept {
        device: String,
    },
    DeviceAdded {
        device: String,
    },
    DeviceRemoved {
        device: String,
    },
    DeviceRepaired {
        device: String,
    },
    KeysDestroyed {
        device: String,
    },
    /// A token has a label and a security officer's PIN; it still lacks a user PIN.
    TokenInitialised {
        label: String,
    },
    UserPinSet {
        label: String,
    },
    /// It took the user PIN. Rings name it by this URI.
    TokenReady {
        label: String,
        uri: String,
    },
    /// Its seals open only while the PCRs hold what they hold now; with `signed_by`, what the key of that fingerprint has signed.
    Bound {
        device: String,
        pcrs: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        signed_by: Option<String>,
    },
    /// Its seals open whatever the PCRs hold.
    Unbound {
        device: String,
    },
    /// The secret out of the backup and the one that the device uses answered a fresh challenge alike.
    GenerationProved {
        number: u32,
        id: GenerationId,
        device: String,
    },
    /// The id was recomputed from the backup's secret; no device of this server holds it.
    GenerationWhole {
        number: u32,
        id: GenerationId,
    },
    GenerationRestored {
        number: u32,
        id: GenerationId,
        device: String,
    },
    GenerationActive {
        number: u32,
        id: GenerationId,
    },
    RingReplaced {
        path: String,
    },
    RingRecovered {
        commit: u64,
    },
    BackupRecorded {
        path: String,
    },
    /// No counter of the device shows whether the log's end was cut off.
    NotCounted {
        device: String,
        because: String,
    },
    TargetKeepsNoMode {},
    TargetSyncsNoDirectory {},
    PreambleDiffers {},
}

impl Step {
    /// Whether it is a warning rather than progress.
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Step::TargetKeepsNoMode {}
                | Step::TargetSyncsNoDirectory {}
                | Step::PreambleDiffers {}
                | Step::PassedOver { .. }
                | Step::SealsKept { .. }
                | Step::NotCounted { .. }
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Working { what } => f.write_str(what),
            Step::IntentClosed { entry, ceremony } => {
                write!(f, "{ceremony}, begun in entry {entry} of the log, was cut off; that is written down now")
            }
            Step::NotCounted { device, because } => {
                write!(f, "{device} does not count the log's entries ({because}): the journal is their witness")
            }
            Step::Dropped { number } => {
                write!(
                    f,
                    "generation {number}, left pending by an earlier run, is dropped; its number is not used again"
                )
            }
            Step::FoundingDropped { system } => {
                write!(f, "the unfinished set-up of system {system}, left by an earlier run, is dropped")
            }
            Step::RootPinned { device, fingerprint } => write!(f, "{device} pinned ({fingerprint})"),
            Step::WaysFound { device, ways } => write!(f, "{device} {ways}"),
            Step::GenerationMade { number, id, device } => write!(f, "generation {number} ({id}) made inside {device}"),
            Step::GenerationSealed { number, id, device } => {
                write!(f, "generation {number} ({id}) sealed on {device}")
            }
            Step::GenerationServed { number, id, device } => {
                write!(f, "generation {number} ({id}) is served by {device}")
            }
            Step::PassedOver { device, because } => write!(f, "{device} is passed over: {because}"),
            Step::SealsKept { device } => {
                write!(f, "copies of what was sealed on {device} stay usable with it: `strongroom generate` ends that")
            }
            Step::DeviceAdded { device } => write!(f, "{device} serves"),
            Step::DeviceRemoved { device } => write!(f, "{device} is removed from the ring"),
            Step::DeviceRepaired { device } => write!(f, "{device} holds every generation"),
            Step::Bound { device, pcrs, signed_by: None } => write!(f, "{device} is bound to {pcrs}"),
            Step::Bound { device, pcrs, signed_by: Some(key) } => {
                write!(f, "{device} is bound to {pcrs} as key {} signs it", key.get(..16).unwrap_or(key))
            }
            Step::Unbound { device } => write!(f, "{device} is bound to no PCRs"),
            Step::KeysDestroyed { device } => write!(f, "the ring's wrapping keys on {device} are destroyed"),
            Step::TokenInitialised { label } => write!(f, "the token `{label}` has its label and its officer's PIN"),
            Step::UserPinSet { label } => write!(f, "the token `{label}` has a user PIN"),
            Step::TokenReady { label, uri } => write!(f, "the token `{label}` took its user PIN: {uri}"),
            Step::BackupWritten { path } => write!(f, "backup written: {path}"),
            Step::BackupReopened { path } => write!(f, "backup re-opened: {path}"),
            Step::GenerationProved { number, id, device } => {
                write!(f, "generation {number} ({id}) proved on {device}")
            }
            Step::GenerationWhole { number, id } => {
                write!(f, "generation {number} ({id}) is whole in the backup")
            }
            Step::GenerationRestored { number, id, device } => {
                write!(f, "generation {number} ({id}) restored onto {device}")
            }
            Step::GenerationActive { number, id } => write!(f, "generation {number} ({id}) is active"),
            Step::RingReplaced { path } => write!(f, "the former ring is kept in {path}"),
            Step::RingRecovered { commit } => write!(f, "the ring is back, as commit {commit}"),
            Step::BackupRecorded { path } => write!(f, "drill recorded for {path}"),
            Step::TargetKeepsNoMode {} => {
                f.write_str("the backup's file system keeps no modes: whoever can mount it can read the file")
            }
            Step::TargetSyncsNoDirectory {} => {
                f.write_str("the backup's file system can't sync a directory: unmount it before you remove it")
            }
            Step::PreambleDiffers {} => {
                f.write_str("the text at the top of the backup was changed; what is inside is what counts")
            }
        }
    }
}
