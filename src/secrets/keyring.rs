//! PINs for the devices of one command: for each device its own, since a PIN that is tried on another burns a try there.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use strongroom::ceremony::{Error, Place};
use strongroom::device::{DeviceError, DeviceUri, Fault, Kind, PinRequest, PinSource, PinSources, Signatures};
use strongroom::refusals::{Refusal, Refusals, Source};
use strongroom::ring::{DeviceRecord, Ring};
use strongroom::secret::Pin;
use strongroom::store::Store;

use super::source::{Read, credential, from_file};
use crate::cli::OfDevice;
use crate::report::Stop;
use crate::terminal::Terminal;

/// A device that a command may use, as far as PINs go.
pub struct Asker {
    pub id: String,
    pub uri: DeviceUri,
    /// What refusals are remembered under.
    key: String,
    /// Whether it asks for a PIN, as far as is known.
    asks: bool,
}

impl Asker {
    /// A device of the ring.
    pub fn recorded(ring: &Ring, record: &DeviceRecord) -> Self {
        let asks = ring.asks_for_pin(&record.id) || record.uri.kind() == Kind::Pkcs11;
        let key = key_of(record);
        Self { id: record.id.clone(), uri: record.uri.clone(), key, asks }
    }

    /// Every device of the ring that serves.
    pub fn all(ring: &Ring) -> Vec<Self> {
        ring.in_service().map(|record| Self::recorded(ring, record)).collect()
    }

    /// A device that is new to the ring.
    pub fn new((id, uri, asks): (String, DeviceUri, bool)) -> Self {
        Self { key: uri.to_string(), id, uri, asks }
    }
}

/// What refusals of a device are remembered under: what the ring pinned, so that another device of the same name is not
/// taken for it.
pub fn key_of(record: &DeviceRecord) -> String {
    record.root().map_or_else(|| record.uri.to_string(), strongroom::device::Root::fingerprint)
}

/// The sources of PINs for all devices of a command.
pub struct Keyring<'t> {
    pins: Vec<(String, Pins<'t>)>,
    directory: PathBuf,
    terminal: &'t Terminal,
}

impl<'t> Keyring<'t> {
    /// Hands out what the flags gave. A PIN that names no device is for the one that asks for one; where several do, it has
    /// to say whose it is.
    pub fn new(
        given: Vec<OfDevice<Read>>,
        devices: Vec<Asker>,
        use_last_try: bool,
        place: &Place,
        terminal: &'t Terminal,
    ) -> Result<Self, Stop> {
        let asking = asking(&devices);
        let refusals = Store::open(&place.directory).and_then(|store| store.refusals()).unwrap_or_default();
        let pins = devices.into_iter().map(|device| {
            let source = match &device.uri {
                DeviceUri::Pkcs11(uri) => uri.pin_source().map(Path::to_owned),
                DeviceUri::Tpm(_) => None,
            };
            let pins = Pins {
                name: (asking.len() > 1).then(|| device.id.clone()),
                given: RefCell::new(None),
                held: RefCell::new(None),
                asked: Cell::new(false),
                source,
                credential: format!("strongroom.pin.{}", device.id),
                refused: refusals.of_device(&device.key).cloned().collect(),
                key: device.key,
                use_last_try,
                signatures: place.signatures.clone(),
                terminal,
            };
            (device.id, pins)
        });
        let keyring = Self { pins: pins.collect(), directory: place.directory.clone(), terminal };
        for OfDevice { device, what } in given {
            let whose = match (device, asking.as_slice()) {
                (Some(device), _) => device,
                (None, [one]) => one.clone(),
                (None, []) => match keyring.pins.first() {
                    Some((first, _)) => first.clone(),
                    None => continue,
                },
                (None, several) => return Err(Stop::WhosePin { devices: several.join(", ") }),
            };
            let pins = keyring.pins.iter().find(|(id, _)| *id == whose).map(|(_, pins)| pins);
            *pins.ok_or(Stop::NoSuchPin(whose))?.given.borrow_mut() = Some(what);
        }
        Ok(keyring)
    }

    /// Whether a flag gave a PIN for a device.
    pub fn was_given(&self, device: &str) -> bool {
        self.pins.iter().any(|(id, pins)| id == device && pins.given.borrow().is_some())
    }

    /// Makes a PIN known that was just chosen for a new seal.
    pub fn know(&self, device: &str, pin: &Pin) {
        if let Some((_, pins)) = self.pins.iter().find(|(id, _)| id == device) {
            *pins.held.borrow_mut() = Some(Held { pin: pin.duplicate(), origin: Origin::Chosen });
        }
    }

    /// What came of the command: a PIN that was refused is remembered by the file that it came from, and one that was typed
    /// and taken ends what is remembered of that device.
    pub fn settle<T>(&self, outcome: Result<T, Error>) -> Result<T, Stop> {
        let change: Box<dyn FnOnce(&mut Refusals)> = match &outcome {
            Err(Error::Device { device, source }) if matches!(source.fault, Fault::WrongPin { .. }) => {
                match self.refused(device) {
                    Some(refusal) => Box::new(move |refusals| refusals.remember(refusal)),
                    None => return Ok(outcome?),
                }
            }
            Err(_) => return Ok(outcome?),
            Ok(_) => {
                let over: Vec<String> =
                    self.pins.iter().filter(|(_, pins)| pins.is_over()).map(|(_, p)| p.key.clone()).collect();
                if over.is_empty() {
                    return Ok(outcome?);
                }
                Box::new(move |refusals| {
                    for key in &over {
                        refusals.forget(key);
                    }
                })
            }
        };
        // What can't be remembered is said: the next run may burn a try.
        if let Err(error) = Store::open(&self.directory).and_then(|store| store.change_refusals(change)) {
            self.terminal.warn(&format!("can't remember which PIN was refused: {error}"));
        }
        Ok(outcome?)
    }

    fn refused(&self, device: &str) -> Option<Refusal> {
        let (_, pins) = self.pins.iter().find(|(id, _)| id == device)?;
        match &pins.held.borrow().as_ref()?.origin {
            Origin::File(Some(source)) => {
                let at = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default();
                Some(Refusal { device: pins.key.clone(), source: source.clone(), at })
            }
            Origin::File(None) | Origin::Typed | Origin::Chosen => None,
        }
    }
}

/// The devices that a PIN without a name may be for: those that ask for one and, unless all of them have, have no file of
/// their own for it.
fn asking(devices: &[Asker]) -> Vec<String> {
    let has_source = |one: &Asker| matches!(&one.uri, DeviceUri::Pkcs11(uri) if uri.pin_source().is_some());
    let names = |with_source: bool| -> Vec<String> {
        let fitting = devices.iter().filter(|one| one.asks && (with_source || !has_source(one)));
        fitting.map(|one| one.id.clone()).collect()
    };
    let without = names(false);
    if without.is_empty() { names(true) } else { without }
}

impl PinSources for Keyring<'_> {
    fn of(&self, device: &str) -> &dyn PinSource {
        match self.pins.iter().find(|(id, _)| id == device) {
            Some((_, pins)) => pins,
            None => &strongroom::device::NoPin,
        }
    }
}

/// PINs for one device: what was given, else `pin-source`, else a credential, else the terminal. Asks at most once; what was
/// given stays known for the run.
struct Pins<'t> {
    /// The ring's name of the device, where several may ask: two TPMs are told apart by nothing else.
    name: Option<String>,
    given: RefCell<Option<Read>>,
    held: RefCell<Option<Held>>,
    asked: Cell<bool>,
    source: Option<PathBuf>,
    credential: String,
    key: String,
    refused: Vec<Refusal>,
    use_last_try: bool,
    signatures: Signatures,
    terminal: &'t Terminal,
}

/// A PIN, and where it came from.
struct Held {
    pin: Pin,
    origin: Origin,
}

enum Origin {
    /// A file, if it was a regular one: then it can be told again.
    File(Option<Source>),
    Typed,
    /// Chosen in this run for a new seal.
    Chosen,
}

impl Pins<'_> {
    /// Whether something is remembered that this run has shown to be over.
    fn is_over(&self) -> bool {
        let typed =
            matches!(self.held.borrow().as_ref().map(|held| &held.origin), Some(Origin::Typed | Origin::File(_)));
        self.asked.get() && typed && !self.refused.is_empty()
    }

    fn find(&self, request: &PinRequest) -> Result<Held, DeviceError> {
        let refused = |stop: Stop| match stop {
            Stop::NoTerminal { .. } | Stop::NoAnswer { .. } => {
                DeviceError::from(Fault::PinMissing { device: request.device.clone() })
            }
            stop => Fault::PinSource(stop.to_string()).into(),
        };
        let given = match (self.given.borrow_mut().take(), &self.source) {
            (Some(given), _) => Some(given),
            (None, Some(path)) => Some(from_file("the PIN", path).map_err(refused)?),
            (None, None) => credential(&self.credential, "the PIN").map_err(refused)?,
        };
        if let Some(Read { bytes, from, source }) = given {
            let is_known = source.as_ref().is_some_and(|source| self.refused.iter().any(|old| old.source == *source));
            if !is_known {
                return Ok(Held { pin: Pin::new(bytes), origin: Origin::File(source) });
            }
            if !self.terminal.is_there() {
                return Err(Fault::PinRefusedBefore { device: request.device.clone(), from }.into());
            }
            self.terminal.warn(&format!("the PIN in {from} was refused before, and is not sent again"));
        }
        let tries = match request.tries_left {
            Some(left) => format!(" ({left} tries left)"),
            None => String::new(),
        };
        let name = self.name.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
        let question = format!("{}{name}{tries}: ", request.question());
        let asked = self.terminal.ask_secret(&question, "the PIN", "--pin-file or --pin-fd");
        let pin = asked.map_err(refused)?;
        if pin.is_empty() {
            return Err(Fault::PinMissing { device: request.device.clone() }.into());
        }
        Ok(Held { pin: Pin::new(pin), origin: Origin::Typed })
    }
}

impl PinSource for Pins<'_> {
    fn pin(&self, request: &PinRequest) -> Result<Pin, DeviceError> {
        self.asked.set(true);
        if let Some(held) = &*self.held.borrow() {
            return Ok(held.pin.duplicate());
        }
        let held = self.find(request)?;
        let pin = held.pin.duplicate();
        *self.held.borrow_mut() = Some(held);
        Ok(pin)
    }

    fn call_to_the_pad(&self, device: &str, what: &str) -> Result<(), DeviceError> {
        if self.given.borrow_mut().take().is_some() {
            self.terminal.warn(&format!("the PIN that was given is not used: {device} takes it on its own PIN pad"));
        }
        self.terminal.call_to_the_pad(what);
        Ok(())
    }

    fn may_use_last_try(&self) -> bool {
        self.use_last_try
    }

    fn signatures(&self) -> Signatures {
        self.signatures.clone()
    }
}
