//! `strongroom init`: the wizard, or all of it by flags.

use strongroom::ceremony::{Answers, InitPlan, Place, SealOptions};
use strongroom::device::{BoundTo, Candidate, DeviceUri, Kind};

use super::device;
use crate::cli::Init;
use crate::report::Stop;
use crate::secrets::{self, Asker, Given};
use crate::terminal::Terminal;

pub fn run(args: Init, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let asked = args.device.as_deref().map(str::parse::<DeviceUri>).transpose()?;
    let work_factor = args.passphrase.work_factor;
    InitPlan::check_place(place, &args.file, work_factor)?;
    // A dry run reads no secret: what gives them is left for the run that needs them.
    let mut given = match args.dry.dry_run {
        false => Given::read_new(&args.pin, Some(&args.new_pin), &args.passphrase)?,
        true => secrets::hint(&args.passphrase).map(|_| Given::default())?,
    };

    let mut options = args.seal.options()?;
    let (uri, name) = match asked {
        Some(uri) => (uri, args.name.unwrap_or_else(|| place.host.clone())),
        None => {
            let uri = choose_device(terminal)?;
            let name = match args.name {
                Some(name) => name,
                None => choose_name(place, terminal)?,
            };
            if uri.kind() == Kind::Tpm {
                choose_guards(&mut options, terminal)?;
            }
            (uri, name)
        }
    };
    let plan = InitPlan::new(place, &name, &uri, &options, &args.file, work_factor)?;
    if args.dry.dry_run {
        return terminal.dry_run(&plan.plan);
    }
    let pins = given.keyring(vec![Asker::new(plan.device())], place, terminal)?;
    terminal.plan(&plan.plan)?;

    let (passphrase, hint) = given.new_passphrase(&[&name, &place.host], terminal)?;
    let new_pin = if options.with_pin { Some(given.new_pin(terminal)?) } else { None };
    if let Some(pin) = &new_pin {
        pins.know(&plan.device().0, pin);
    }
    let answers = Answers { passphrase, hint, new_pin };
    let generation = pins.settle(plan.execute(&answers, &pins, &mut |step| terminal.step(&step)))?;

    terminal.say("");
    terminal.say(&format!("System {name} is made, and {generation} serves it. What to do next:"));
    let kept = match args.passphrase.source.custodians {
        Some(_) => "each part of its passphrase to a place of its own",
        None => "its passphrase to a third",
    };
    terminal.say(&format!("  1. Copy {} to two places away from this server, {kept}.", args.file.display()));
    terminal.say("  2. Drill now, and every three months: strongroom verify COPY_OF_THE_BACKUP");
    terminal.say(&format!("  3. Derive the first key: strongroom derive --generation {} LABEL", generation.number));
    Ok(())
}

/// Looks for TPMs and tokens, tells what each can do, and asks which one it shall be.
pub(super) fn choose_device(terminal: &Terminal) -> Result<DeviceUri, Stop> {
    if !terminal.is_there() {
        return Err(Stop::NoTerminal { what: "the device", flag: "--device" });
    }
    terminal.show("Looking for TPMs and tokens ...")?;
    let found: Vec<Candidate> = device::found();
    if found.is_empty() {
        return Err(Stop::NothingFound);
    }
    for (index, candidate) in found.iter().enumerate() {
        for (row, line) in device::lines(candidate).into_iter().enumerate() {
            let lead = if row == 0 { format!("{:>3}. ", index + 1) } else { "     ".to_owned() };
            terminal.show(&format!("{lead}{line}"))?;
        }
    }
    let fit = |candidate: &Candidate| {
        candidate.description.as_ref().is_ok_and(|found| found.lacks.is_empty() && found.exports)
    };
    let first = found.iter().position(fit).map(|index| index + 1);
    let question = match first {
        Some(first) => format!("Which one shall keep the secret? [{first}] "),
        None => "Which one shall keep the secret? ".to_owned(),
    };
    let answer = terminal.ask(&question, "the device", "--device")?;
    let number = match (answer.trim(), first) {
        ("", Some(first)) => first,
        (text, _) => text.parse().map_err(|_| Stop::NoSuchChoice(text.to_owned()))?,
    };
    let chosen = number.checked_sub(1).and_then(|index: usize| found.get(index));
    Ok(chosen.ok_or_else(|| Stop::NoSuchChoice(number.to_string()))?.uri.parse()?)
}

fn choose_name(place: &Place, terminal: &Terminal) -> Result<String, Stop> {
    let answer = terminal.ask(&format!("Name of the system [{}]: ", place.host), "the name", "--name")?;
    let answer = answer.trim();
    Ok(if answer.is_empty() { place.host.clone() } else { answer.to_owned() })
}

/// What a TPM can guard the secret with beyond itself, as far as no flag has said it. By default nothing: a server that stands
/// alone shall start alone, and start after an update.
fn choose_guards(options: &mut SealOptions, terminal: &Terminal) -> Result<(), Stop> {
    if !options.with_pin {
        options.with_pin =
            is_yes(&terminal.ask("Guard the secret with a PIN as well? [y/N] ", "the answer", "--with-pin")?);
    }
    if options.bound.is_none() {
        terminal.show(
            "Bound to PCRs, the secret opens only while the machine starts as it did today; `7` is Secure Boot.",
        )?;
        let answer = terminal.ask("Bind it to PCRs? [none] ", "the answer", "--pcrs")?;
        options.bound = match answer.trim() {
            "" | "none" => None,
            pcrs => Some(BoundTo::State(pcrs.parse().map_err(Stop::NoSuchPcrs)?)),
        };
    }
    Ok(())
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
