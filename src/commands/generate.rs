//! `strongroom generate`: a new generation.

use strongroom::ceremony::{Answers, GeneratePlan, Place};

use crate::cli::Generate;
use crate::report::Stop;
use crate::secrets::{self, Asker, Given};
use crate::terminal::Terminal;

pub fn run(args: Generate, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let bound = args.signed.bound(args.pcrs)?;
    let plan = GeneratePlan::new(place, &args.file, &args.leave_behind, bound, args.passphrase.work_factor)?;
    if args.dry.dry_run {
        secrets::hint(&args.passphrase)?;
        return terminal.dry_run(&plan.plan);
    }
    let mut given = Given::read_new(&args.pin, None, &args.passphrase)?;
    let pins = given.keyring(Asker::all(plan.ring()), place, terminal)?;
    terminal.plan(&plan.plan)?;
    if let Some(question) = plan.plan.question {
        terminal.confirm(question, args.yes.yes)?;
    }
    let known = [plan.plan.system.as_str(), &place.host];
    let (passphrase, hint) = given.new_passphrase(&known, terminal)?;
    let answers = Answers { passphrase, hint, new_pin: None };
    pins.settle(plan.execute(&answers, &pins, &mut |step| terminal.step(&step)))?;
    terminal.say("Keep the new backup where the old one is, and move what is derived at its own pace.");
    Ok(())
}
