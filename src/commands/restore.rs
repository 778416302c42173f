//! `strongroom restore`: the same secret onto this server's device.

use strongroom::ceremony::{Error, Place, Restore, RestoreOptions};

use super::{init, verify};
use crate::cli;
use crate::report::Stop;
use crate::secrets::{Asker, Given};
use crate::terminal::Terminal;

pub fn run(args: cli::Restore, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let options = RestoreOptions {
        device: args.device.as_deref().map(str::parse).transpose()?,
        member: args.member,
        replace: args.replace,
        activate: args.activate,
        seal: args.seal.options()?,
        leave: args.leave_behind,
    };
    let restore = match Restore::new(place, &args.file, options.clone()) {
        // A fresh server: whoever is there is asked, as `init` asks.
        Err(Error::NoDevice) if terminal.is_there() => {
            let device = Some(init::choose_device(terminal)?);
            Restore::new(place, &args.file, RestoreOptions { device, ..options })
        }
        outcome => outcome,
    }?;
    let mut given = Given::read(&args.pin, Some(&args.new_pin), Some(&args.passphrase))?;
    verify::show(&restore.preamble, terminal)?;
    let passphrase = given.passphrase(terminal)?;
    let plan = restore.open(&passphrase)?;
    if args.dry.dry_run {
        return terminal.dry_run(&plan.plan);
    }
    terminal.plan(&plan.plan)?;
    if let Some(question) = plan.plan.question {
        terminal.confirm(question, args.yes.yes)?;
    }
    let new_pin = if plan.wants_new_pin() { Some(given.new_pin(terminal)?) } else { None };
    let devices = plan.devices();
    let first = devices.first().map(|(id, _, _)| id.clone()).unwrap_or_default();
    let pins = given.keyring(devices.into_iter().map(Asker::new).collect(), place, terminal)?;
    if let Some(pin) = &new_pin {
        pins.know(&first, pin);
    }
    pins.settle(plan.execute(new_pin.as_ref(), &pins, &mut |step| terminal.step(&step)))?;
    Ok(())
}
