//! `strongroom status`: how things stand. Never prompts.

use strongroom::ceremony::Place;
use strongroom::status::{Depth, DeviceStatus, LogStatus, SealState, Status};
use strongroom::text::{escaped, generations};

use crate::cli;
use crate::report::Stop;
use crate::terminal::Terminal;

pub fn run(args: &cli::Status, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let depth = if args.quick { Depth::Ring } else { Depth::Devices };
    let status = Status::of(place, depth)?;
    if terminal.is_json() {
        terminal.object(&status)?;
    } else if args.check {
        for warning in &status.warnings {
            terminal.result(&format!("{}: {}", warning.id, escaped(&warning.text)))?;
        }
    } else {
        for line in lines(&status) {
            terminal.result(&escaped(&line))?;
        }
    }
    if args.check && !status.warnings.is_empty() {
        return Err(Stop::Warnings);
    }
    Ok(())
}

fn lines(status: &Status) -> Vec<String> {
    let mut lines = vec![
        format!("system   {} ({})", status.system.name, status.system.id),
        format!("role     {}, term {}; the master is {}", status.role, status.term, status.master),
    ];
    match &status.active {
        Some(active) => {
            let days = match active.age_days {
                0 => "today".to_owned(),
                1 => "1 day ago".to_owned(),
                days => format!("{days} days ago"),
            };
            lines.push(format!("active   generation {} ({}), made {days}", active.number, active.short_id));
        }
        None => lines.push("active   none yet".to_owned()),
    }
    lines.push("devices".to_owned());
    for device in &status.devices {
        lines.push(format!("  {}  {}  {}", device.id, device.uri, device.state));
        lines.extend(device.notes.iter().map(|note| format!("        {note}")));
        lines.extend(seals(device).into_iter().map(|line| format!("        {line}")));
    }
    lines.push("generations".to_owned());
    for generation in &status.generations {
        let from = match generation.restored {
            Some(when) => format!("made on {}, restored {when}", generation.made_on),
            None => format!("made on {}", generation.made_on),
        };
        let guard = if generation.pin { ", PIN" } else { "" };
        lines.push(format!(
            "  {:>3}  {}  {:<7}  {}, {from}{guard}",
            generation.number, generation.short_id, generation.state, generation.created
        ));
    }
    lines.push("backups".to_owned());
    if status.backups.is_empty() {
        lines.push("  none".to_owned());
    }
    for backup in &status.backups {
        let proved = match backup.proved {
            Some(when) => format!("proved {when}"),
            None => "never proved".to_owned(),
        };
        lines.push(format!("  {}  {}, made {}, {proved}", backup.path, generations(&backup.generations), backup.made));
    }
    lines.extend(status.log.as_ref().map(log));
    if !status.warnings.is_empty() {
        lines.push("warnings".to_owned());
        lines.extend(status.warnings.iter().map(|warning| format!("  {}", warning.text)));
    }
    lines
}

fn log(log: &LogStatus) -> String {
    let vouched = match log.vouched {
        Some(n) => format!("vouched for up to {n}"),
        None => "none vouched for".to_owned(),
    };
    let end = match (&log.unchecked, log.counted) {
        (Some(because), _) => format!("not all checked: {because}"),
        (None, true) => "and counted by a TPM".to_owned(),
        (None, false) => "and counted by the journal alone".to_owned(),
    };
    format!("log      {} entries, {vouched}, {end}", log.entries)
}

/// What of the ring's generations a device was shown to serve, and what not.
fn seals(device: &DeviceStatus) -> Vec<String> {
    let of = |state: SealState| -> Vec<u32> {
        device.seals.iter().filter(|seal| seal.state == state).map(|seal| seal.generation).collect()
    };
    let named = [
        (SealState::Good, "serves"),
        (SealState::NotChecked, "not checked:"),
        (SealState::Missing, "lacks"),
        (SealState::PcrsChanged, "DOES NOT OPEN, its PCRs have changed:"),
        (SealState::NotSigned, "DOES NOT OPEN, the machine's state is not signed:"),
        (SealState::Failed, "FAILS:"),
    ];
    let signed = device.signed_by.iter().map(|key| format!(" as key {} signs it", key.get(..16).unwrap_or(key)));
    let signed: String = signed.collect();
    let mut lines: Vec<String> = device.bound.iter().map(|pcrs| format!("bound to {pcrs}{signed}")).collect();
    for (state, word) in named {
        let numbers = of(state);
        if !numbers.is_empty() {
            lines.push(format!("{word} {}", generations(&numbers)));
        }
    }
    lines
}
