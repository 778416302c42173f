//! `strongroom backup`: one more backup.

use strongroom::ceremony::{Answers, BackupPlan, Place};

use crate::cli::Backup;
use crate::report::Stop;
use crate::secrets::Given;
use crate::terminal::Terminal;

pub fn run(args: Backup, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let plan = BackupPlan::new(place, &args.file, args.passphrase.work_factor)?;
    let mut given = Given::read_new(&args.pin, None, &args.passphrase)?;
    terminal.plan(&plan.plan)?;
    let known = [plan.plan.system.as_str(), &place.host];
    let (passphrase, hint) = given.new_passphrase(&known, terminal)?;
    let device = plan.device().clone();
    let pins = given.pins(&device.uri, &device.id, terminal);
    let answers = Answers { passphrase, hint, new_pin: None };
    plan.execute(&answers, &pins, &mut |step| terminal.step(&step))?;
    Ok(())
}
