//! `strongroom device init`: a blank token made ready.

use strongroom::ceremony::{DeviceInitPlan, Place, TokenPins};
use strongroom::device::{Candidate, DeviceError, DeviceUri, Fault, Kind, PinRequest, PinSource, TokenLabel};
use strongroom::secret::Pin;

use super::device;
use crate::cli::DeviceInit;
use crate::report::Stop;
use crate::secrets::Given;
use crate::terminal::Terminal;

pub fn run(args: DeviceInit, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let uri = match &args.uri {
        Some(uri) => uri.parse()?,
        None => the_one_meant(args.label.as_ref())?,
    };
    let plan = DeviceInitPlan::new(place, &uri, args.label.as_ref(), args.pins.empty_so_pin)?;
    if args.dry.dry_run {
        return terminal.dry_run(&plan.plan);
    }
    let mut given = if plan.wants_pins() { Given::read_of_token(&args.pins)? } else { Given::default() };
    terminal.plan(&plan.plan)?;
    if let Some(question) = plan.plan.question {
        terminal.confirm(question, args.yes.yes)?;
    }
    let is_ring_here = !plan.plan.system.is_empty();
    let mut pins = TokenPins { officers: None, user: None };
    if plan.wants_pins() {
        pins.officers = Some(given.officers_pin(!plan.has_officer(), plan.pin_room(), terminal)?);
        pins.user = Some(given.user_pin(plan.pin_room(), terminal)?);
    }
    let pads = Pads { terminal, use_last_try: args.pins.use_last_try };
    let named = plan.execute(&pins, &pads, &mut |step| terminal.step(&step))?;
    terminal.say(&match is_ring_here {
        true => format!("Next: strongroom device add '{named}'"),
        false => format!("Next: strongroom init --device '{named}' BACKUP_FILE"),
    });
    Ok(())
}

/// The URI of the token that p11-kit's modules show by that label, which may be one that was begun; else of the one that is
/// blank.
fn the_one_meant(label: Option<&TokenLabel>) -> Result<DeviceUri, Stop> {
    let found = device::found();
    let called = |label: &str| -> Vec<&str> {
        let is_called = |candidate: &&Candidate| {
            let description = candidate.description.as_ref().ok();
            description.is_some_and(|found| found.kind == Kind::Pkcs11 && found.label.as_deref() == Some(label))
        };
        found.iter().filter(is_called).map(|candidate| candidate.uri.as_str()).collect()
    };
    let mut meant = label.map(|label| called(&label.to_string())).unwrap_or_default();
    if meant.is_empty() {
        meant = called("");
    }
    match meant.as_slice() {
        [one] => Ok(one.parse()?),
        [] => Err(Stop::NoBlankToken),
        several => Err(Stop::BlankTokens(several.join(", "))),
    }
}

/// Calls to a PIN pad. It is asked for no PIN: those of a new token are chosen before.
struct Pads<'t> {
    terminal: &'t Terminal,
    use_last_try: bool,
}

impl PinSource for Pads<'_> {
    fn pin(&self, request: &PinRequest) -> Result<Pin, DeviceError> {
        Err(Fault::PinMissing { device: request.device.clone() }.into())
    }

    fn call_to_the_pad(&self, _: &str, what: &str) -> Result<(), DeviceError> {
        self.terminal.call_to_the_pad(what);
        Ok(())
    }

    fn may_use_last_try(&self) -> bool {
        self.use_last_try
    }
}
