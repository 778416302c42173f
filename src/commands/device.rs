//! `strongroom device list`: what is there, and what each can do.

use std::ffi::OsStr;

use schemars::JsonSchema;
use serde::Serialize;
use strongroom::ceremony::Place;
use strongroom::device::{Candidate, Description, Kind, Probe, Trouble, discover, probe_module};
use strongroom::ring::Ring;
use strongroom::store::Store;

use crate::report::Stop;
use crate::terminal::Terminal;

pub fn list(place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let found = found();
    // Who may not read the ring, or has none, sees the devices all the same.
    let ring = Store::open(&place.directory).and_then(|store| store.ring()).ok();
    if terminal.is_json() {
        let devices = found.iter().map(|candidate| Listed::of(candidate, ring.as_ref())).collect();
        return terminal.object(&Listing { schema: "strongroom.devices/1", devices });
    }
    if found.is_empty() {
        return Err(Stop::NothingFound);
    }
    for candidate in &found {
        for line in lines(candidate) {
            terminal.result(&line)?;
        }
        if let Some(name) = ring.as_ref().and_then(|ring| known_as(candidate, ring)) {
            terminal.result(&format!("    {name} in the ring of this server"))?;
        }
    }
    Ok(())
}

/// The TPMs and tokens that were found: `device list --json`.
#[derive(JsonSchema, Serialize)]
pub struct Listing<'c> {
    schema: &'static str,
    devices: Vec<Listed<'c>>,
}

/// A candidate for programs: either what it is, or what is wrong with it.
#[derive(JsonSchema, Serialize)]
struct Listed<'c> {
    uri: &'c str,
    description: Option<&'c Description>,
    trouble: Option<&'c Trouble>,
    /// Its name in the ring of this server, if it is one of its devices.
    ring_device: Option<&'c str>,
}

impl<'c> Listed<'c> {
    fn of(candidate: &'c Candidate, ring: Option<&'c Ring>) -> Self {
        let (description, trouble) = (candidate.description.as_ref().ok(), candidate.description.as_ref().err());
        let ring_device = ring.and_then(|ring| known_as(candidate, ring));
        Self { uri: &candidate.uri, description, trouble, ring_device }
    }
}

/// The name that the ring has for a device.
fn known_as<'r>(candidate: &Candidate, ring: &'r Ring) -> Option<&'r str> {
    let description = candidate.description.as_ref().ok()?;
    let known = ring.devices.iter().find(|record| record.root().is_some_and(|root| root.is_of(description)));
    known.map(|record| record.id.as_str())
}

/// Every TPM and token that can be found; modules are looked at in processes of their own.
pub fn found() -> Vec<Candidate> {
    discover(&this_program("probe-module"))
}

/// This very program, whatever it is called and wherever it is, with a command that only its children are given.
pub fn this_program(command: &str) -> Probe {
    Probe { program: "/proc/self/exe".into(), args: vec![command.into(), "--".into()] }
}

/// The other end of [`found`]: one module, in this process, which ends when the one that asked has ended.
pub fn probe(module: &OsStr, terminal: &Terminal) -> Result<(), Stop> {
    end_with_parent()?;
    let found = probe_module(&module.to_string_lossy());
    terminal.object(&found)
}

/// Ends this process when the one that started it has ended.
pub fn end_with_parent() -> Result<(), Stop> {
    let kill = rustix::process::Signal::KILL;
    rustix::process::set_parent_process_death_signal(Some(kill)).map_err(|error| Stop::Output(error.into()))
}

/// A candidate for people: what it is, then what it can do and what to know.
pub fn lines(candidate: &Candidate) -> Vec<String> {
    let found = match &candidate.description {
        Ok(found) => found,
        Err(why) => return vec![candidate.uri.clone(), format!("    can't be used: {}", why.message)],
    };
    let mut lines = vec![format!("{}  {}", candidate.uri, found.name())];
    match found.lacks.as_slice() {
        [] if found.kind == Kind::Tpm => {
            lines.push("    can keep the secret; a PIN is possible, not needed".to_owned())
        }
        [] => lines.push("    can keep the secret; asks for its user PIN".to_owned()),
        lacks => lines.push(format!("    can't keep the secret: it lacks {}", lacks.join(", "))),
    }
    if let Some(tries) = found.tries.and_then(|tries| tries.left) {
        lines.push(format!("    takes {tries} wrong PINs before it locks"));
    }
    lines.extend(found.notes.iter().map(|note| format!("    {note}")));
    lines
}
