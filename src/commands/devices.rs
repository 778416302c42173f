//! `strongroom device add`, `remove`, `repair`, `retry`: the devices of the ring.

use strongroom::ceremony::{DeviceAddPlan, DeviceRemovePlan, DeviceRepairPlan, Error, Place};
use strongroom::device::{DeviceUri, Root};
use strongroom::ring::DeviceRecord;
use strongroom::store::Store;

use crate::cli::{DeviceAdd, DeviceRemove, DeviceRepair, DeviceRetry};
use crate::report::Stop;
use crate::secrets::{Asker, Given, key_of};
use crate::terminal::Terminal;

pub fn add(args: DeviceAdd, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let uri = args.uri.parse::<DeviceUri>()?;
    let options = args.seal.options()?;
    let plan = DeviceAddPlan::new(place, &uri, &options)?;
    if args.dry.dry_run {
        return terminal.dry_run(&plan.plan);
    }
    let mut given = Given::read(&args.pin, Some(&args.new_pin), None)?;
    let (id, ..) = plan.device();
    let mut devices = Asker::all(plan.ring());
    devices.push(Asker::new(plan.device()));
    let pins = given.keyring(devices, place, terminal)?;
    terminal.plan(&plan.plan)?;
    if let Some(question) = plan.plan.question {
        terminal.confirm(question, args.yes.yes)?;
    }
    let new_pin = if options.with_pin { Some(given.new_pin(terminal)?) } else { None };
    if let Some(pin) = &new_pin {
        pins.know(&id, pin);
    }
    let ring = pins.settle(plan.execute(new_pin.as_ref(), &pins, &mut |step| terminal.step(&step)))?;
    if ring.device(&id).and_then(DeviceRecord::root).is_some_and(Root::lets_out) {
        terminal
            .say(&format!("Where {id} shall serve alone: strongroom device remove DEVICE, for each of the others."));
    }
    Ok(())
}

pub fn remove(args: DeviceRemove, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let plan = DeviceRemovePlan::new(place, &args.id, args.leave_keys)?;
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

pub fn repair(args: DeviceRepair, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let plan = DeviceRepairPlan::new(place, &args.id)?;
    if args.dry.dry_run {
        return terminal.dry_run(&plan.plan);
    }
    let mut given = Given::read(&args.pin, None, None)?;
    let pins = given.keyring(Asker::all(plan.ring()), place, terminal)?;
    terminal.plan(&plan.plan)?;
    pins.settle(plan.execute(&pins, &mut |step| terminal.step(&step)))?;
    Ok(())
}

pub fn retry(args: &DeviceRetry, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let store = Store::open(&place.directory)?;
    let ring = store.ring()?;
    let record = ring.device(&args.id).ok_or_else(|| Error::NoSuchDevice(args.id.clone()))?;
    let mut forgotten = 0;
    store.change_refusals(|refusals| forgotten = refusals.forget(&key_of(record)))?;
    place.record.noted(Vec::new());
    match forgotten {
        0 => terminal.say(&format!("Nothing is remembered of PINs that {} refused.", args.id)),
        _ => terminal.say(&format!("What {} refused is tried again from now on.", args.id)),
    }
    Ok(())
}
