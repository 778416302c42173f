//! `strongroom device list`: what is there, and what each can do.

use std::ffi::OsStr;

use serde::Serialize;
use strongroom::device::{Candidate, Description, Kind, Probe, Trouble, discover, probe_module};

use crate::report::Stop;
use crate::terminal::Terminal;

pub fn list(terminal: &Terminal) -> Result<(), Stop> {
    let found = found(terminal);
    if terminal.is_json() {
        let devices = found.iter().map(Listed::from).collect();
        return terminal.object(&Listing { schema: "strongroom.devices/1", devices });
    }
    if found.is_empty() {
        return Err(Stop::NothingFound);
    }
    for candidate in &found {
        for line in lines(candidate) {
            terminal.result(&line)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Listing<'c> {
    schema: &'static str,
    devices: Vec<Listed<'c>>,
}

/// A candidate for programs: either what it is, or what is wrong with it.
#[derive(Serialize)]
struct Listed<'c> {
    uri: &'c str,
    description: Option<&'c Description>,
    trouble: Option<&'c Trouble>,
}

impl<'c> From<&'c Candidate> for Listed<'c> {
    fn from(candidate: &'c Candidate) -> Self {
        let (description, trouble) = (candidate.description.as_ref().ok(), candidate.description.as_ref().err());
        Self { uri: &candidate.uri, description, trouble }
    }
}

/// Every TPM and token that can be found; modules are looked at in processes of their own.
pub fn found(terminal: &Terminal) -> Vec<Candidate> {
    let Ok(program) = std::env::current_exe() else {
        terminal.warn("can't find this program's own file: tokens are not looked for");
        return Vec::new();
    };
    discover(&Probe { program, args: vec!["probe-module".into()] })
}

/// The other end of [`found`]: one module, in this process, which ends when the one that asked has ended.
pub fn probe(module: &OsStr, terminal: &Terminal) -> Result<(), Stop> {
    let kill = rustix::process::Signal::KILL;
    rustix::process::set_parent_process_death_signal(Some(kill)).map_err(|error| Stop::Output(error.into()))?;
    let found = probe_module(&module.to_string_lossy());
    terminal.object(&found)
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
