//! `strongroom derive`: a key for a label.

use schemars::JsonSchema;
use serde::Serialize;
use strongroom::bytes;
use strongroom::ceremony::{Error, Place, may_be_passed_over};
use strongroom::derive::{GenerationId, Label, Length, Source};
use strongroom::device::{self, Kind, PinSources};
use strongroom::ring::{Generation, Ring};
use strongroom::secret::DerivedKey;
use strongroom::store::{Store, StoreError};
use zeroize::Zeroizing;

use crate::cli::{Derive, Format};
use crate::report::Stop;
use crate::secrets::{Asker, Given, Keyring};
use crate::terminal::Terminal;

pub fn run(args: Derive, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let label = Label::new(&args.label)?;
    let length = Length::new(args.length)?;
    if args.format == Format::Raw && (terminal.is_json() || terminal.shows_results()) {
        return Err(Stop::RawToTerminal);
    }
    let ring = Store::open(&place.directory)?.ring()?;
    if ring.devices.iter().any(|record| record.uri.kind() == Kind::Pkcs11) {
        terminal.watch();
    }
    let generation = match args.generation {
        Some(number) => {
            ring.usable().find(|generation| generation.number == number).ok_or(Error::NoGeneration(number))?
        }
        None => ring.active().ok_or_else(|| StoreError::NoRing(place.directory.clone()))?,
    };
    let pins = Given::read(&args.pin, None, None)?.keyring(Asker::all(&ring), place, terminal)?;
    let (key, device) = pins.settle(from_any(&ring, generation, &label, length, &pins, terminal))?;

    if terminal.is_json() {
        let text = encoded(&key, args.format);
        let key = std::str::from_utf8(&text).unwrap_or_default();
        let (number, id) = (generation.number, generation.id);
        return terminal.object(&Derived {
            schema: "strongroom.derive/1",
            generation: number,
            id,
            label: label.as_str(),
            length: length.bytes(),
            device: &device,
            key,
        });
    }
    terminal.say(&format!("derived from {generation}"));
    let mut text = encoded(&key, args.format);
    if args.format != Format::Raw {
        text.push(b'\n');
    }
    terminal.write(&text)
}

/// The key from the first device that holds the generation and can serve; says which ones could not. Gives the device too.
fn from_any(
    ring: &Ring,
    generation: &Generation,
    label: &Label,
    length: Length,
    pins: &Keyring<'_>,
    terminal: &Terminal,
) -> Result<(DerivedKey, String), Error> {
    let mut first = None;
    for record in ring.in_service() {
        let Some(seal) = generation.seal_on(&record.id) else { continue };
        let (part, expected, label) = (seal.use_part.clone(), generation.id, label.clone());
        let key = device::once(&record.uri, record.root(), pins.of(&record.id), move |device| {
            Source::sealed(device, &part, expected)?.key(&label, length)
        });
        match key {
            Ok(key) => return Ok((key, record.id.clone())),
            Err(source) => {
                let goes_on = may_be_passed_over(&source.fault);
                if goes_on && generation.seals.len() > 1 {
                    terminal.warn(&format!("{} does not serve: {source}", record.id));
                }
                let error = Error::Device { device: record.id.clone(), source };
                if !goes_on {
                    return Err(error);
                }
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or(Error::NowhereToBeHad(generation.number)))
}

/// A key that was derived: `derive --json`.
#[derive(JsonSchema, Serialize)]
pub struct Derived<'k> {
    schema: &'static str,
    /// The number of the generation that it was derived from.
    generation: u32,
    id: GenerationId,
    label: &'k str,
    /// In bytes.
    length: u16,
    /// The device that derived it, by its name in the ring.
    device: &'k str,
    /// In hex, or as `--format` says. A secret.
    key: &'k str,
}

/// The key as it is printed; wiped when it is not needed any more.
fn encoded(key: &DerivedKey, format: Format) -> Zeroizing<Vec<u8>> {
    let bytes = key.expose_secret();
    let mut text = Zeroizing::new(Vec::with_capacity(2 * bytes.len() + 1));
    match format {
        Format::Raw => text.extend_from_slice(bytes),
        Format::Base64 => text.extend_from_slice(Zeroizing::new(bytes::base64(bytes)).as_bytes()),
        Format::Hex => text.extend_from_slice(Zeroizing::new(bytes::hex(bytes)).as_bytes()),
    }
    text
}
