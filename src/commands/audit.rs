//! `strongroom audit show` and `audit verify`: the record, and what it is worth.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;
use strongroom::audit::chain::{Break, Link};
use strongroom::audit::verify::{Findings, State, recounted};
use strongroom::audit::{Chain, Entry};
use strongroom::ceremony::{Examination, Place};
use strongroom::store::Store;
use strongroom::text::escaped;

use crate::cli::{AuditShow, AuditVerify};
use crate::report::Stop;
use crate::secrets::{Asker, Given};
use crate::terminal::Terminal;

pub fn show(args: &AuditShow, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let since = args.since.as_deref().map(moment).transpose()?;
    let chain = Chain::read(&Store::open(&place.directory)?.read_log()?.unwrap_or_default());
    let wanted = |link: &&Link| {
        let entry = &link.entry;
        since.is_none_or(|since| entry.time >= since) && args.what.is_none_or(|what| entry.what == what)
    };
    let links: Vec<&Link> = chain.links.iter().chain(&chain.after).filter(wanted).collect();
    let skipped = args.last.map_or(0, |last| links.len().saturating_sub(last));
    for link in &links[skipped..] {
        match terminal.is_json() {
            true => terminal.object(&Shown::of(link))?,
            false => terminal.result(&escaped(&line(&link.entry)))?,
        }
    }
    for piece in &chain.pieces {
        terminal.warn(&format!("line {} is a piece of {} bytes: a crash cut it off", piece.line, piece.bytes));
    }
    if let Some(found) = &chain.broken {
        terminal.warn(&format!("from line {} on, the log can't be trusted: {}", found.line, found.why));
    }
    Ok(())
}

/// A day, or a moment with its offset.
fn moment(text: &str) -> Result<Timestamp, Stop> {
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(day).ok_or_else(|| Stop::Moment(text.to_owned()))
}

/// An entry of the log: each line of `audit show --json`.
#[derive(JsonSchema, Serialize)]
pub struct Shown<'l> {
    schema: &'static str,
    /// Of the file, from 1.
    line: usize,
    /// Of the line: what the journal has as STRONGROOM_SHA256.
    sha256: String,
    entry: &'l Entry,
}

impl<'l> Shown<'l> {
    fn of(link: &'l Link) -> Self {
        Self { schema: "strongroom.audit/1", line: link.line, sha256: link.hash.to_string(), entry: &link.entry }
    }
}

/// An entry for people.
fn line(entry: &Entry) -> String {
    let who = match &entry.login {
        Some(login) if *login != entry.user => format!("{login} as {}", entry.user),
        _ => entry.user.clone(),
    };
    let mut line =
        format!("{:>5}  {}  {:<13} {entry}; {who} on {}", entry.n, entry.time, entry.what.name(), entry.host);
    let generations: Vec<String> = entry.generations.iter().map(ToString::to_string).collect();
    if !generations.is_empty() {
        line.push_str(&format!("; {}", generations.join(", ")));
    }
    line
}

pub fn verify(args: &AuditVerify, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let examination = Examination::new(place)?;
    let mut given = Given::read(&args.pin, None, None)?;
    let pins = given.keyring(Asker::all(examination.ring()), place, terminal)?;
    let (findings, incomplete) = pins.settle(examination.execute(&pins, &mut |step| terminal.step(&step)))?;
    match terminal.is_json() {
        true => terminal.object(&Verdict::of(&findings))?,
        false => tell(&findings, terminal)?,
    }
    match findings.broken {
        Some(Break { line, why }) => Err(Stop::Tampered { line, why: why.to_string() }),
        None => incomplete.map_or(Ok(()), |error| Err(error.into())),
    }
}

fn tell(findings: &Findings, terminal: &Terminal) -> Result<(), Stop> {
    let last = findings.entries;
    terminal.result(&format!("entries  {last}"))?;
    match findings.vouched {
        Some(n) => terminal.result(&format!("vouched  up to entry {n}, by the master secret"))?,
        None => terminal.result("vouched  nothing yet")?,
    }
    for line in witnesses(findings) {
        terminal.result(&format!("end      {}", escaped(&line)))?;
    }
    for piece in &findings.pieces {
        terminal.say(&format!("Line {} is a piece of {} bytes that a crash cut off.", piece.line, piece.bytes));
    }
    for (n, what) in &findings.open {
        terminal.say(&format!("Entry {n} ({what}) was begun and is not concluded: it is at work, or was cut off."));
    }
    for n in &findings.recounted {
        terminal.warn(&format!("{}; whether any are missing, only the journal can tell", recounted(*n)));
    }
    for generation in &findings.unknown {
        terminal.warn(&format!("{generation} vouched for entries, and could not be asked"));
    }
    if findings.broken.is_none() {
        terminal.say("Who is root and has the device can write all of it anew. Against that, the copy in the journal is the witness:");
        terminal.say("journalctl -t strongroom -o json has STRONGROOM_SHA256, `strongroom audit show --json` the same as sha256.");
    }
    Ok(())
}

/// What shows that nothing was cut off, device by device.
fn witnesses(findings: &Findings) -> Vec<String> {
    let mut lines = Vec::new();
    for counter in &findings.counters {
        let device = &counter.device;
        match &counter.state {
            State::Witness { n, value } => {
                lines.push(format!("nothing is missing up to entry {n}: {device} has counted {value}"));
            }
            State::None => lines.push(format!("{device} does not count the entries")),
            State::Unread(why) => lines.push(format!("{device} was not asked what it counted: {why}")),
            State::Differs => {}
        }
    }
    if !findings.has_witness() && findings.broken.is_none() {
        let last = findings.entries;
        lines.push(format!("whether something came after entry {last}, only the journal can tell"));
    }
    lines
}

/// `strongroom audit verify --json`. Fields are only ever added.
#[derive(JsonSchema, Serialize)]
pub struct Verdict<'f> {
    schema: &'static str,
    entries: u64,
    /// The last entry that the master secret vouches for, and all before it.
    vouched: Option<u64>,
    /// What shows that the end was not cut off: `counter` or `journal`.
    witness: &'static str,
    counters: Vec<CounterVerdict<'f>>,
    /// Entries that were begun and are not concluded.
    open: Vec<u64>,
    /// Lines that a crash cut off.
    pieces: Vec<usize>,
    /// Entries that begin to be counted anew, since the counter had been removed.
    recounted: Vec<u64>,
    /// Generations that vouched and could not be asked.
    unknown: Vec<String>,
    broken: Option<Broken>,
}

#[derive(JsonSchema, Serialize)]
struct CounterVerdict<'f> {
    device: &'f str,
    /// `witness`, `none`, `unread` or `differs`.
    state: &'static str,
    /// The last entry that it counted.
    entry: Option<u64>,
    value: Option<u64>,
}

/// The first line that can't be true; what stands before it holds.
#[derive(JsonSchema, Serialize)]
struct Broken {
    line: usize,
    why: String,
}

impl<'f> Verdict<'f> {
    fn of(findings: &'f Findings) -> Self {
        let counter = |counter: &'f strongroom::audit::verify::Counter| {
            let (state, entry, value) = match counter.state {
                State::Witness { n, value } => ("witness", Some(n), Some(value)),
                State::None => ("none", None, None),
                State::Unread(_) => ("unread", None, None),
                State::Differs => ("differs", None, None),
            };
            CounterVerdict { device: &counter.device, state, entry, value }
        };
        Self {
            schema: "strongroom.audit-verify/1",
            entries: findings.entries,
            vouched: findings.vouched,
            witness: if findings.has_witness() { "counter" } else { "journal" },
            counters: findings.counters.iter().map(counter).collect(),
            open: findings.open.keys().copied().collect(),
            pieces: findings.pieces.iter().map(|piece| piece.line).collect(),
            recounted: findings.recounted.iter().copied().collect(),
            unknown: findings.unknown.iter().map(|generation| generation.0.to_string()).collect(),
            broken: findings.broken.as_ref().map(|found| Broken { line: found.line, why: found.why.to_string() }),
        }
    }
}
