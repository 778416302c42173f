//! The ring's devices as they answer now: is each there, is it the one, do its seals open, can its PIN still be tried.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Depth, Statement};
use crate::ceremony::{Error, Opened};
use crate::derive::Source;
use crate::device::{Bound, Description, Fault, Pcrs, Pinless, Root, Signatures, Tries};
use crate::refusals::Refusals;
use crate::ring::{DeviceRecord, Ring};

#[derive(Debug, JsonSchema, Serialize)]
pub struct DeviceStatus {
    pub id: String,
    pub uri: String,
    /// `ready`, or why not; `not asked` where only the ring was looked at.
    pub state: String,
    /// None: it was not asked.
    pub reachable: Option<bool>,
    pub fingerprint: Option<String>,
    pub description: Option<Description>,
    pub notes: Vec<String>,
    /// The PCRs that new seals on it are bound to.
    pub bound: Option<Pcrs>,
    /// The fingerprint, in hex, of the key that signs what these may hold; none: seals are bound to what they held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Each generation, in the order of their numbers.
    pub seals: Vec<SealStatus>,
}

/// What is known of a generation's seal on a device.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct SealStatus {
    pub generation: u32,
    pub state: SealState,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SealState {
    /// It opens, and gives the generation's id.
    Good,
    /// It would take a PIN, or the device does not answer, or was not asked.
    NotChecked,
    /// There is none.
    Missing,
    /// It is bound to PCRs, and they hold something else.
    PcrsChanged,
    /// It is bound to PCRs, and no signature of what they hold could be used.
    NotSigned,
    Failed,
}

/// Looks at one device, and adds what needs attention to `warnings`.
pub fn look(
    record: &DeviceRecord,
    ring: &Ring,
    depth: Depth,
    (refusals, signatures): (&Refusals, &Signatures),
    warnings: &mut Vec<Statement>,
) -> DeviceStatus {
    let id = &record.id;
    let bound = ring.bound(id);
    let mut warn = |id: &'static str, text: String| warnings.push(Statement { id, text });
    let mut status = DeviceStatus {
        id: id.clone(),
        uri: record.uri.to_string(),
        state: "not asked".to_owned(),
        reachable: None,
        fingerprint: record.root().map(Root::fingerprint),
        description: None,
        notes: Vec::new(),
        signed_by: bound.as_ref().and_then(|bound| Some(hex::encode(bound.key()?.fingerprint()))),
        bound: bound.map(|bound| bound.pcrs().clone()),
        seals: Vec::new(),
    };
    match depth {
        Depth::Ring => status.seals = seals(ring, id, None),
        Depth::Devices => ask(record, ring, signatures, &mut status, &mut warn),
    }
    if ring.being_added().any(|begun| begun.id == *id) && ring.is_founded() {
        status.state = "being added".to_owned();
        let text =
            format!("the adding of {id} was cut off: `strongroom device add '{}'` again, or remove it", record.uri);
        warn("unfinished-device", text);
        return status;
    }
    // Once, however many generations there are: the cause is the machine's state.
    if let Some(seal) = status.seals.iter().find(|seal| seal.state == SealState::PcrsChanged) {
        let because = seal.because.as_deref().unwrap_or("they have changed");
        let text = format!("what is sealed on {id} does not open: {because}; `strongroom bind --from BACKUP_FILE`");
        warn("pcrs-changed", text);
    }
    if let Some(seal) = status.seals.iter().find(|seal| seal.state == SealState::NotSigned) {
        let because = seal.because.as_deref().unwrap_or("the state that the machine is in is not signed");
        let text = format!("what is sealed on {id} does not open: {because}; `strongroom doctor` says what helps");
        warn("not-signed", text);
    }
    if let Some(pcrs) = &record.unbound {
        warn("unbound", format!("{id} was bound to {pcrs}, and is not now: `strongroom bind` binds it again"));
    }
    for seal in &status.seals {
        let number = seal.generation;
        match (seal.state, &seal.because) {
            (SealState::Failed, because) => {
                let because = because.as_deref().unwrap_or("it does not open");
                warn(
                    "seal",
                    format!("{id} does not serve generation {number}: {because}; `strongroom device repair {id}`"),
                );
            }
            (SealState::Missing, _) if ring.usable().any(|generation| generation.number == number) => {
                warn("left-behind", format!("{id} lacks generation {number}: `strongroom device repair {id}`"));
            }
            (
                SealState::Good
                | SealState::NotChecked
                | SealState::Missing
                | SealState::PcrsChanged
                | SealState::NotSigned,
                _,
            ) => {}
        }
    }
    let key = status.fingerprint.clone().unwrap_or_else(|| record.uri.to_string());
    for refusal in refusals.of_device(&key) {
        let (path, at) = (&refusal.source.path, refusal.at);
        let text = format!("{id} refused the PIN in {path} on {at}: put the right one into it, or `device retry {id}`");
        warn("pin-refused", text);
    }
    status
}

/// Asks the device itself.
fn ask(
    record: &DeviceRecord,
    ring: &Ring,
    signatures: &Signatures,
    status: &mut DeviceStatus,
    warn: &mut impl FnMut(&'static str, String),
) {
    let id = &record.id;
    // A TPM counts wrong PINs for all who use it: what it counts matters here only where a PIN guards the secret.
    let pin = ring.asks_for_pin(id);
    let pins = Pinless(signatures.clone());
    let looked = Opened::recorded(record, &pins).and_then(|mut opened| {
        let description = opened.device.describe().map_err(|source| Error::Device { device: id.clone(), source })?;
        Ok((opened, description))
    });
    status.reachable = Some(looked.is_ok());
    match looked {
        Ok((mut opened, description)) => {
            status.state = "ready".to_owned();
            if let Some(tries) = description.tries.filter(|_| pin) {
                status.state = of_tries(&tries);
                if tries.low || tries.left.is_some_and(|left| left <= 1) {
                    warn("tries-low", format!("{id}: few PIN tries are left before it locks"));
                }
            }
            status.seals = seals(ring, id, Some(&mut opened));
            status.notes.clone_from(&description.notes);
            status.description = Some(description);
        }
        Err(error) => {
            status.state = match &error {
                Error::Device { source, .. } => source.fault.to_string(),
                other => other.to_string(),
            };
            warn("device", error.to_string());
            status.seals = seals(ring, id, None);
        }
    }
}

fn of_tries(tries: &Tries) -> String {
    let next = match (tries.recovery_seconds, tries.left == tries.max) {
        (Some(seconds), false) => format!(", the next comes back within {} minutes", seconds.div_ceil(60)),
        _ => String::new(),
    };
    match tries.left {
        Some(0) => format!("locked: too many wrong PINs{next}"),
        Some(1) => format!("ready, 1 PIN try left{next}"),
        Some(left) => format!("ready, {left} PIN tries left{next}"),
        None => "ready".to_owned(),
    }
}

/// Opens what opens without a PIN, and recomputes its id; of what takes one, looks at the PCRs that it is bound to. A device that
/// stops answering is not asked again.
fn seals(ring: &Ring, device: &str, mut opened: Option<&mut Opened<'_>>) -> Vec<SealStatus> {
    let mut seals = Vec::new();
    // One answer for all that is bound alike.
    let mut met: Vec<Bound<'_>> = Vec::new();
    for generation in &ring.generations {
        let of = |state, because| SealStatus { generation: generation.number, state, because };
        let Some(seal) = generation.seal_on(device) else {
            seals.push(of(SealState::Missing, None));
            continue;
        };
        let guard = &seal.use_part.0.guard;
        let Some(open) = opened.as_mut() else {
            seals.push(of(SealState::NotChecked, None));
            continue;
        };
        let device = open.device.as_mut();
        let found = match (guard.asks_for_pin(), guard.bound()) {
            (false, _) => {
                Source::sealed(device, &seal.use_part, generation.id).and_then(|mut source| source.id()).map(Some)
            }
            (true, Some(bound)) if !met.contains(&bound) => device.foresee(bound).map(|()| {
                met.push(bound);
                None
            }),
            (true, _) => Ok(None),
        };
        match found {
            Ok(None) => seals.push(of(SealState::NotChecked, None)),
            Ok(Some(found)) if found == generation.id => seals.push(of(SealState::Good, None)),
            Ok(Some(found)) => seals.push(of(SealState::Failed, Some(format!("its seal gives generation {found}")))),
            Err(error) => {
                let gone = matches!(error.fault, Fault::Unreachable(_) | Fault::TimedOut { .. } | Fault::Busy(_));
                let state = match (gone, &error.fault) {
                    (true, _) => SealState::NotChecked,
                    (false, Fault::PcrsChanged(_)) => SealState::PcrsChanged,
                    (false, Fault::Unsigned(_)) => SealState::NotSigned,
                    (false, _) => SealState::Failed,
                };
                seals.push(of(state, Some(error.to_string())));
                if gone {
                    opened = None;
                }
            }
        }
    }
    seals
}
