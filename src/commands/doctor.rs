//! `strongroom doctor`: everything between the user and a working device, each with a verdict and a remedy.

use std::mem;

use schemars::JsonSchema;
use serde::Serialize;
use strongroom::ceremony::{Error, Place};
use strongroom::device::checkup::{Check, News, Verdict, checkup, in_child, nowhere, self_test};
use strongroom::device::{Candidate, DeviceUri, Kind, PinSources, Pinless, Root, open};
use strongroom::ring::{DeviceRecord, Ring};
use strongroom::store::{Store, StoreError};
use strongroom::text::escaped;

use super::device;
use crate::cli::Doctor;
use crate::report::{Report, Stop};
use crate::secrets::{Asker, Given, Keyring};
use crate::terminal::Terminal;

/// A device to look at.
struct Patient {
    uri: DeviceUri,
    /// What the ring knows of it, where it is one of its devices.
    record: Option<DeviceRecord>,
}

/// What is between the user and devices: `doctor --json`.
#[derive(JsonSchema, Serialize)]
pub struct Findings {
    schema: &'static str,
    /// Whether any check found trouble: then the exit code is 8.
    trouble: bool,
    /// What is about no device: the ring, and where none is found.
    checks: Vec<Check>,
    devices: Vec<OfDevice>,
}

#[derive(JsonSchema, Serialize)]
struct OfDevice {
    uri: String,
    /// Its name in the ring of this server, if it is one of its devices.
    ring_device: Option<String>,
    checks: Vec<Check>,
}

pub fn run(args: Doctor, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let (ring, mut checks) = match Store::open(&place.directory).and_then(|store| store.ring()) {
        Ok(ring) => (Some(ring), Vec::new()),
        Err(StoreError::NoRing(_)) => (None, Vec::new()),
        Err(error) => (None, vec![of_ring(error)]),
    };
    let patients = patients(&args.devices, ring.as_ref())?;
    let tokens = patients.iter().filter_map(|patient| patient.record.as_ref());
    let tokens = tokens.filter(|record| record.uri.kind() == Kind::Pkcs11);
    let askers = ring.iter().flat_map(|ring| tokens.clone().map(|record| Asker::recorded(ring, record))).collect();
    let pins = Given::read(&args.pin, None, None)?.keyring(askers, place, terminal)?;

    if patients.is_empty() {
        checks.extend(nowhere());
    }
    let mut told = Told { terminal, skipped: Vec::new() };
    if !checks.is_empty() {
        told.line("this server")?;
    }
    for check in &checks {
        told.check(check)?;
    }
    told.rest()?;
    let mut devices = Vec::new();
    for patient in &patients {
        devices.push(patient.look((ring.as_ref(), place), &pins, &mut told)?);
    }
    let all = || checks.iter().chain(devices.iter().flat_map(|device| &device.checks));
    let troubles = all().filter(|check| check.is_trouble()).count();
    if terminal.is_json() {
        terminal.object(&Findings { schema: "strongroom.doctor/1", trouble: troubles > 0, checks, devices })?;
    } else {
        terminal.result(&match troubles {
            0 => "no trouble was found".to_owned(),
            1 => "1 trouble was found".to_owned(),
            several => format!("{several} troubles were found"),
        })?;
    }
    if troubles > 0 { Err(Stop::Trouble) } else { Ok(()) }
}

/// The other end: one device, in this process, which ends when the one that asked has ended.
pub fn check(uri: &str, pinned: Option<&str>, terminal: &Terminal) -> Result<(), Stop> {
    device::end_with_parent()?;
    let pinned: Option<Root> =
        pinned.map(serde_json::from_str).transpose().map_err(|error| Stop::Output(error.into()))?;
    let mut said = Ok(());
    checkup(&uri.parse()?, pinned.as_ref(), &mut |news: News| {
        if said.is_ok() {
            said = terminal.object(&news);
        }
    });
    said
}

/// Those that were named, else the ring's, else what can be found.
fn patients(named: &[String], ring: Option<&Ring>) -> Result<Vec<Patient>, Stop> {
    let records = ring.map_or(&[][..], |ring| &ring.devices);
    let recorded = |record: &DeviceRecord| Patient { uri: record.uri.clone(), record: Some(record.clone()) };
    if !named.is_empty() {
        return named.iter().map(|name| patient(name, records)).collect();
    }
    if !records.is_empty() {
        return Ok(records.iter().map(recorded).collect());
    }
    let mut found = device::found();
    // Soft tokens always have a blank slot to spare: that is trouble only where there is nothing else.
    if found.iter().any(|candidate| !is_nameless(candidate)) {
        found.retain(|candidate| !is_nameless(candidate));
    }
    let found = found.into_iter();
    Ok(found.filter_map(|candidate| Some(Patient { uri: candidate.uri.parse().ok()?, record: None })).collect())
}

/// Whether it is a token that nobody has given a name.
fn is_nameless(candidate: &Candidate) -> bool {
    candidate.description.as_ref().is_ok_and(|found| found.label.as_deref() == Some(""))
}

fn patient(name: &str, records: &[DeviceRecord]) -> Result<Patient, Stop> {
    if let Some(record) = records.iter().find(|record| record.id == name) {
        return Ok(Patient { uri: record.uri.clone(), record: Some(record.clone()) });
    }
    // What looks like a name is one, of no device that is there.
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !records.is_empty() {
        return Err(Error::NoSuchDevice(name.to_owned()).into());
    }
    let uri: DeviceUri = name.parse()?;
    let record = records.iter().find(|record| record.uri == uri).cloned();
    Ok(Patient { uri, record })
}

/// A ring that can't be read. Who is not its administrator sees the devices all the same.
fn of_ring(error: StoreError) -> Check {
    let is_ours = !matches!(error, StoreError::NotAdministrator(_));
    let verdict = if is_ours { Verdict::Trouble } else { Verdict::Note };
    of_report(verdict, "ring", Report::of_stop(error.into()))
}

fn of_report(verdict: Verdict, id: &str, report: Report) -> Check {
    Check { code: report.device_code, ..Check::new(id, verdict, report.message, Some(&report.hint)) }
}

impl Patient {
    fn look(
        &self,
        (ring, place): (Option<&Ring>, &Place),
        pins: &Keyring<'_>,
        told: &mut Told<'_>,
    ) -> Result<OfDevice, Stop> {
        let ring_device = self.record.as_ref().map(|record| record.id.clone());
        let uri = self.uri.to_string();
        told.line(&match &ring_device {
            Some(id) => format!("{id}  {uri}"),
            None => uri.clone(),
        })?;
        let mut checks = Vec::new();
        let mut said = Ok(());
        let mut tell = |check: Check| {
            if said.is_ok() {
                said = told.check(&check);
            }
            checks.push(check);
        };
        let probe = device::this_program("check-device");
        in_child(&probe, &self.uri, self.pinned(), &mut tell);
        said?;
        let of_the_ring = ring.map(|ring| self.pcrs(ring, place, &checks)).unwrap_or_default();
        for check in of_the_ring.into_iter().chain(self.self_test(pins, &checks)) {
            told.check(&check)?;
            checks.push(check);
        }
        told.rest()?;
        Ok(OfDevice { uri, ring_device, checks })
    }

    fn pinned(&self) -> Option<&Root> {
        self.record.as_ref().and_then(|record| record.root())
    }

    /// Whether the PCRs let open what the ring has sealed on a TPM: no PIN is needed to see that. Nothing where nothing is bound.
    fn pcrs(&self, ring: &Ring, place: &Place, before: &[Check]) -> Vec<Check> {
        let check = |verdict, text: String, remedy| Check::new("pcrs", verdict, text, remedy);
        let Some(record) = &self.record else { return Vec::new() };
        let mut bounds = ring.bounds(&record.id);
        let mut found = Vec::new();
        // One that is locked still has its PCRs.
        let is_ill = before.iter().any(|check| check.is_trouble() && check.id != "lockout");
        if is_ill && !bounds.is_empty() {
            found.push(check(Verdict::Skipped, "what comes before it is in trouble".to_owned(), None));
            bounds.clear();
        }
        let pins = Pinless(place.signatures.clone());
        for bound in bounds {
            let foreseen = open(&self.uri, self.pinned(), &pins).and_then(|mut device| device.foresee(bound));
            found.push(match foreseen.map_err(|source| Error::Device { device: record.id.clone(), source }) {
                Ok(()) => check(Verdict::Ok, format!("they hold what the seals ask for: {}", bound.to()), None),
                Err(error) => of_report(Verdict::Trouble, "pcrs", Report::of_stop(error.into())),
            });
        }
        if let Some(before) = &record.unbound {
            let text = format!("it was bound to {before}, and is not now");
            found.push(check(Verdict::Note, text, Some("`strongroom bind` binds it again")));
        }
        found
    }

    /// A token's self-test, where a flag gave its PIN: what `pin-source` or a credential has might be a wrong one.
    fn self_test(&self, pins: &Keyring<'_>, before: &[Check]) -> Vec<Check> {
        let skipped = |why: &str| vec![Check::new("self-test", Verdict::Skipped, why, None)];
        match (self.uri.kind(), &self.record, self.pinned()) {
            (Kind::Tpm, ..) => Vec::new(),
            (Kind::Pkcs11, ..) if before.iter().any(Check::is_trouble) => skipped("what comes before it is in trouble"),
            (Kind::Pkcs11, Some(record), Some(_)) if !pins.was_given(&record.id) => {
                skipped("it takes the user PIN: --pin-file or --pin-fd")
            }
            (Kind::Pkcs11, Some(record), Some(root)) => {
                let id = &record.id;
                let tested = self_test(&self.uri, root, pins.of(id));
                let tested = tested.map_err(|source| Error::Device { device: id.clone(), source });
                match pins.settle(tested) {
                    Ok(lines) => lines,
                    Err(stop) => vec![of_report(Verdict::Trouble, "self-test", Report::of_stop(stop))],
                }
            }
            (Kind::Pkcs11, ..) => {
                skipped("it takes a ring's wrapping keys: `init` and `device add` make them, and run it")
            }
        }
    }
}

/// What was found, for people, as it comes. Neighbours that were skipped for one reason are told together.
struct Told<'t> {
    terminal: &'t Terminal,
    skipped: Vec<Check>,
}

impl Told<'_> {
    fn line(&self, line: &str) -> Result<(), Stop> {
        if self.terminal.is_json() { Ok(()) } else { self.terminal.result(&escaped(line)) }
    }

    fn check(&mut self, check: &Check) -> Result<(), Stop> {
        let word = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Trouble => "TROUBLE",
            Verdict::Skipped => {
                if self.skipped.first().is_some_and(|first| first.text != check.text) {
                    self.rest()?;
                }
                self.skipped.push(check.clone());
                return Ok(());
            }
        };
        self.rest()?;
        let code = check.code.as_ref().filter(|code| !check.text.contains(*code));
        let code = code.map(|code| format!(": {code}")).unwrap_or_default();
        self.line(&format!("  {word:<7}  {}: {}{code}", check.id, check.text))?;
        match &check.remedy {
            Some(remedy) => self.line(&format!("           to do: {remedy}")),
            None => Ok(()),
        }
    }

    /// Tells what was skipped.
    fn rest(&mut self) -> Result<(), Stop> {
        let skipped = mem::take(&mut self.skipped);
        let Some(first) = skipped.first() else { return Ok(()) };
        let ids: Vec<&str> = skipped.iter().map(|check| check.id.as_str()).collect();
        self.line(&format!("  skipped  {}: {}", ids.join(", "), first.text))
    }
}
