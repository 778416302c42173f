//! `strongroom restore`: the same secret onto this server's device.

use strongroom::ceremony::{Answers, Place, Restore, RestoreOptions};
use strongroom::passphrase::Hint;

use super::verify;
use crate::cli;
use crate::report::Stop;
use crate::secrets::Given;
use crate::terminal::Terminal;

pub fn run(args: cli::Restore, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let options = RestoreOptions {
        device: args.device.as_deref().map(str::parse).transpose()?,
        member: args.member,
        replace: args.replace,
        activate: args.activate,
        with_pin: args.with_pin,
    };
    let restore = Restore::new(place, &args.file, options)?;
    let mut given = Given::read(&args.pin, Some(&args.new_pin), Some(&args.passphrase))?;
    verify::show(&restore.preamble, terminal)?;
    let passphrase = given.passphrase(terminal)?;
    let plan = restore.open(&passphrase)?;
    terminal.plan(&plan.plan)?;
    if args.dry_run {
        terminal.say("Nothing was changed: this was a dry run.");
        return Ok(());
    }
    if let Some(question) = plan.plan.question {
        terminal.confirm(question, args.yes.yes)?;
    }
    let new_pin = if plan.wants_new_pin() { Some(given.new_pin(terminal)?) } else { None };
    let (uri, id) = plan.device();
    let pins = given.pins(&uri, &id, terminal);
    if let Some(pin) = &new_pin {
        pins.know(pin);
    }
    let answers = Answers { passphrase, hint: Hint::default(), new_pin };
    plan.execute(&answers, &pins, &mut |step| terminal.step(&step))?;
    Ok(())
}
