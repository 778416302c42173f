//! `strongroom bind` and `unbind`: seals and PCRs.

use strongroom::ceremony::{BindAnswers, BindPlan, Binding, Place};

use super::verify;
use crate::cli::{Bind, NewPin, Unbind};
use crate::report::Stop;
use crate::secrets::{Asker, Given};
use crate::terminal::Terminal;

pub fn bind(args: Bind, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let bound = args.signed.bound(args.pcrs)?;
    let plan = BindPlan::new(place, &Binding::To(bound), &args.device, args.from.as_deref())?;
    if args.dry.dry_run {
        return terminal.dry_run(&plan.plan);
    }
    let mut given = Given::read(&args.pin, Some(&NewPin::from(args.new_pin)), Some(&args.passphrase))?;
    if let Some(preamble) = &plan.preamble {
        verify::show(preamble, terminal)?;
    }
    execute(plan, &mut given, args.yes.yes, place, terminal)
}

pub fn unbind(args: Unbind, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let plan = BindPlan::new(place, &Binding::Nothing, &args.device, None)?;
    if args.dry.dry_run {
        return terminal.dry_run(&plan.plan);
    }
    let mut given = Given::read(&args.pin, None, None)?;
    execute(plan, &mut given, args.yes.yes, place, terminal)
}

fn execute(plan: BindPlan, given: &mut Given, yes: bool, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let pins = given.keyring(Asker::all(plan.ring()), place, terminal)?;
    terminal.plan(&plan.plan)?;
    if let Some(question) = plan.plan.question {
        terminal.confirm(question, yes)?;
    }
    let mut answers = BindAnswers::default();
    if plan.preamble.is_some() {
        answers.passphrase = Some(given.passphrase(terminal)?);
    }
    if let Some(id) = plan.wants_new_pin() {
        let pin = given.new_pin(terminal)?;
        pins.know(id, &pin);
        answers.new_pin = Some(pin);
    }
    pins.settle(plan.execute(&answers, &pins, &mut |step| terminal.step(&step)))?;
    Ok(())
}
