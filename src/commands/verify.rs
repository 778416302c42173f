//! `strongroom verify`: a drill.

use schemars::JsonSchema;
use serde::Serialize;
use strongroom::backup::Preamble;
use strongroom::ceremony::{Place, Verdict, Verify};
use strongroom::text::generations;

use crate::cli;
use crate::report::Stop;
use crate::secrets::{Asker, Given};
use crate::terminal::Terminal;

/// What a drill found: the last object of `verify --json`.
#[derive(JsonSchema, Serialize)]
pub struct Drill {
    schema: &'static str,
    #[serde(flatten)]
    verdict: Verdict,
}

/// What a backup says of itself, before it is opened. Not authenticated: what counts is inside.
#[derive(JsonSchema, Serialize)]
pub struct Preface<'p> {
    schema: &'static str,
    /// For people.
    lines: Vec<&'p str>,
    /// The reminder of the passphrase, which anybody who finds the file can read.
    hint: Option<&'p str>,
}

pub fn run(args: cli::Verify, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let verify = Verify::new(place, &args.file)?;
    if args.dry.dry_run {
        show(&verify.preamble, terminal)?;
        return terminal.dry_run(&verify.plan);
    }
    let mut given = Given::read(&args.pin, None, Some(&args.passphrase))?;
    show(&verify.preamble, terminal)?;
    // To people, that a drill is written down is not worth a plan.
    if terminal.is_json() {
        terminal.plan(&verify.plan)?;
    }
    let devices = verify.ring().map(Asker::all).unwrap_or_default();
    let pins = given.keyring(devices, place, terminal)?;
    let passphrase = given.passphrase(terminal)?;
    let verdict = pins.settle(verify.execute(&passphrase, &pins, &mut |step| terminal.step(&step)))?;
    if terminal.is_json() {
        return terminal.object(&Drill { schema: "strongroom.verify/1", verdict });
    }
    if let Some(because) = &verdict.unproved_because {
        terminal.warn(&format!("nothing was proved against a device: {because}"));
        let text = "the passphrase opens it, and {} can be had from it: it restores system {}";
        let text = text.replacen("{}", &generations(&verdict.whole), 1).replacen("{}", &verdict.system, 1);
        terminal.say(&text);
    } else if !verdict.apart.is_empty() {
        // `restore` would refuse, so that is not what to advise.
        let text = format!(
            "{}: another secret has that number here: the two grew apart; `strongroom restore --dir DIRECTORY` opens this one beside it",
            generations(&verdict.apart)
        );
        terminal.warn(&text);
    } else if !verdict.whole.is_empty() {
        let text = format!(
            "this server does not hold {}; `strongroom restore` adds what is missing",
            generations(&verdict.whole)
        );
        terminal.warn(&text);
    }
    Ok(())
}

/// What a backup says of itself, before its passphrase is asked for.
pub fn show(preamble: &Preamble, terminal: &Terminal) -> Result<(), Stop> {
    if terminal.is_json() {
        let lines = preamble.summary().collect();
        return terminal.object(&Preface { schema: "strongroom.preamble/1", lines, hint: preamble.hint() });
    }
    for line in preamble.summary() {
        terminal.say(line);
    }
    if let Some(hint) = preamble.hint() {
        terminal.say(&format!("{}{hint}", terminal.words().told));
    }
    Ok(())
}
