//! `strongroom recover`: the last good ring, put back.

use strongroom::ceremony::{Place, RecoverPlan};

use crate::cli::Recover;
use crate::report::Stop;
use crate::secrets::{Asker, Given};
use crate::terminal::Terminal;

pub fn run(args: Recover, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let plan = RecoverPlan::new(place)?;
    if args.dry.dry_run {
        return terminal.dry_run(&plan.plan);
    }
    let mut given = Given::read(&args.pin, None, None)?;
    let pins = given.keyring(Asker::all(plan.ring()), place, terminal)?;
    terminal.plan(&plan.plan)?;
    if let Some(question) = plan.plan.question {
        terminal.confirm(question, args.yes.yes)?;
    }
    pins.settle(plan.execute(&pins, &mut |step| terminal.step(&step)))?;
    Ok(())
}
