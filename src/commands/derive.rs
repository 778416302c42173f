//! `strongroom derive`: a key for a label.

use std::io::IsTerminal;

use serde::Serialize;
use strongroom::bytes;
use strongroom::ceremony::{Error, Place, sealed, serving};
use strongroom::derive::{GenerationId, Label, Length, Source};
use strongroom::device;
use strongroom::secret::DerivedKey;
use strongroom::store::{Store, StoreError};
use zeroize::Zeroizing;

use crate::cli::{Derive, Format};
use crate::report::Stop;
use crate::secrets::Given;
use crate::terminal::Terminal;

pub fn run(args: Derive, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let label = Label::new(&args.label)?;
    let length = Length::new(args.length)?;
    if args.format == Format::Raw && (terminal.is_json() || std::io::stdout().is_terminal()) {
        return Err(Stop::RawToTerminal);
    }
    let ring = Store::open(&place.directory)?.ring()?;
    let generation = match args.generation {
        Some(number) => {
            ring.usable().find(|generation| generation.number == number).ok_or(Error::NoGeneration(number))?
        }
        None => ring.active().ok_or_else(|| StoreError::NoRing(place.directory.clone()))?,
    };
    let record = serving(&ring);
    let part = sealed(generation, &record.id)?.use_part.clone();
    let pins = Given::read(&args.pin, None, None)?.pins(&record.uri, &record.id, terminal);
    let (expected, asked) = (generation.id, label.clone());
    let key = device::once(&record.uri, record.root(), &pins, move |device| {
        Source::sealed(device, &part, expected)?.key(&asked, length)
    })
    .map_err(|source| Error::Device { device: record.id.clone(), source })?;

    if terminal.is_json() {
        let text = encoded(&key, args.format);
        let key = std::str::from_utf8(&text).unwrap_or_default();
        let (number, id) = (generation.number, generation.id);
        return terminal.object(&Line {
            schema: "strongroom.derive/1",
            generation: number,
            id,
            label: label.as_str(),
            length: length.bytes(),
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

#[derive(Serialize)]
struct Line<'k> {
    schema: &'static str,
    generation: u32,
    id: GenerationId,
    label: &'k str,
    length: u16,
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
