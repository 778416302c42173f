//! `strongroom backup`: one more backup.

use strongroom::ceremony::{Answers, BackupPlan, Place};

use crate::cli::Backup;
use crate::report::Stop;
use crate::secrets::{self, Asker, Given};
use crate::terminal::Terminal;

pub fn run(args: Backup, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let plan = BackupPlan::new(place, &args.file, args.passphrase.work_factor)?;
    if args.dry.dry_run {
        secrets::hint(&args.passphrase)?;
        return terminal.dry_run(&plan.plan);
    }
    let mut given = Given::read_new(&args.pin, None, &args.passphrase)?;
    let pins = given.keyring(Asker::all(plan.ring()), place, terminal)?;
    terminal.plan(&plan.plan)?;
    let known = [plan.plan.system.as_str(), &place.host];
    let (passphrase, hint) = given.new_passphrase(&known, terminal)?;
    let answers = Answers { passphrase, hint, new_pin: None };
    pins.settle(plan.execute(&answers, &pins, &mut |step| terminal.step(&step)))?;
    Ok(())
}
