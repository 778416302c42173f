//! `strongroom generate`: a new generation.

use strongroom::ceremony::{Answers, GeneratePlan, Place};

use crate::cli::Generate;
use crate::report::Stop;
use crate::secrets::Given;
use crate::terminal::Terminal;

pub fn run(args: Generate, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let plan = GeneratePlan::new(place, &args.file, args.passphrase.work_factor)?;
    let mut given = Given::read_new(&args.pin, None, &args.passphrase)?;
    terminal.plan(&plan.plan)?;
    if let Some(question) = plan.plan.question {
        terminal.confirm(question, args.yes.yes)?;
    }
    let known = [plan.plan.system.as_str(), &place.host];
    let (passphrase, hint) = given.new_passphrase(&known, terminal)?;
    let device = plan.device().clone();
    let pins = given.pins(&device.uri, &device.id, terminal);
    let answers = Answers { passphrase, hint, new_pin: None };
    plan.execute(&answers, &pins, &mut |step| terminal.step(&step))?;
    terminal.say("Keep the new backup where the old one is, and move what is derived at its own pace.");
    Ok(())
}
