//! What each device can do, as it shows when it is asked: the table of docs/devices.md. `BLESS=1` writes it anew.

use std::fs;
use std::path::PathBuf;

use strongroom::device::{
    self, Bound, Device, DeviceError, Fault, Guard, Intent, Key, NoPin, PinRequest, PinSource, PolicyKey, Protection,
    Root, SignedPcrs,
};
use strongroom::secret::{Kek, Pin, SecretBytes};

use crate::common::isolate::this_test;
use crate::common::rack::{self, SHORT_PIN};
use crate::common::signer::Signer;
use crate::common::swtpm::Swtpm;
use crate::suite;

const DOCUMENT: &str = "docs/devices.md";
/// Where the table begins and ends in it.
const MARKS: [&str; 2] = ["<!-- the matrix, by tests/devices/matrix.rs -->\n", "<!-- the end of the matrix -->\n"];

/// More wrong PINs than any of those takes that lock.
const WRONG_PINS: usize = 11;

const WRONG_PIN: &str = "0000wron";

/// Whoever means it: sends the last try too.
struct Insists(&'static str);

impl PinSource for Insists {
    fn pin(&self, _: &PinRequest) -> Result<Pin, DeviceError> {
        Ok(Pin::new(SecretBytes::copy_of(self.0.as_bytes())))
    }

    fn may_use_last_try(&self) -> bool {
        true
    }

    fn call_to_the_pad(&self, _: &str, _: &str) -> Result<(), DeviceError> {
        unreachable!("none of them has one")
    }
}

/// A column: a device's name, and what it can do, in the order of [`ROWS`].
struct Column {
    name: &'static str,
    cells: Vec<String>,
}

const ROWS: [&str; 11] = [
    "makes the secret inside",
    "keeps it by",
    "what uses it can't take it out",
    "says that it made its keys",
    "gives it for a backup",
    "takes it in from a backup as",
    "guards a seal by",
    "binds a seal to PCRs",
    "or to what a key signs of them",
    "counts for the log",
    "wrong PINs",
];

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// Looks at the device at `uri`, whose PIN it is, and which is good for nothing afterwards.
fn column(name: &'static str, uri: &str, pin: &'static str) -> Column {
    let pins = Insists(pin);
    let mut device = device::open(&uri.parse().unwrap(), None, &pins).unwrap();
    let root = device.provision(&Intent::random()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let seal = suite::generate(&mut *device);
    let kek = Kek::random();
    let wrapped = device.export(&seal.export_part, &kek).unwrap();
    let taken_in = device.import(&wrapped, &kek, Protection::NONE).is_ok();
    let own = Pin::new(SecretBytes::copy_of(pin.as_bytes()));
    let has_own_pins = device.generate(Protection::pin(&own), &[0; 32]);
    let described = device.describe().unwrap();
    let (locks, vouches) = match &root {
        Root::Tpm { .. } => (true, true),
        Root::Pkcs11 { use_key, export_key, .. } => (use_key.locks_use, use_key.local && export_key.local),
    };
    let guard = match (&seal.use_part.0.guard, &has_own_pins) {
        (Guard::TokenPin {}, Err(_)) => "the token's PIN",
        (Guard::None {}, Ok(_)) => "a PIN of its own, or none",
        (guard, _) => panic!("{name}: {guard:?}"),
    };
    let banks = match described.pcr_banks.as_slice() {
        [] => "no".to_owned(),
        banks => banks.join(", "),
    };
    let counts = device.counter().is_some();
    let signed = asks_for_a_signature(&mut *device);
    drop(device);
    let guarded = has_own_pins.as_ref().unwrap_or(&seal);
    let cells = vec![
        yes(seal.birth.is_some()),
        seal.mechanism.clone(),
        if locks { yes(true) } else { "no: use implies export".to_owned() },
        yes(vouches),
        yes(true),
        if taken_in {
            serde_json::to_value(wrapped.algorithm).unwrap().as_str().unwrap().to_owned()
        } else {
            yes(false)
        },
        guard.to_owned(),
        banks,
        yes(signed),
        yes(counts),
        wrong_pins(uri, &root, |device| device.hmac(Key::Sealed(&guarded.use_part), b"m").err()),
    ];
    Column { name, cells }
}

/// Whether the device knows of states that are signed: it misses a signature, and not a way to look at one.
fn asks_for_a_signature(device: &mut dyn Device) -> bool {
    let key = PolicyKey::read(&Signer::ecdsa("P-256").public()).expect("a key");
    let signed = SignedPcrs { pcrs: "11".parse().expect("PCRs"), key };
    let error = device.foresee(Bound::Signed(&signed)).expect_err("nothing is signed");
    matches!(error.fault, Fault::Unsigned(_))
}

/// What the device tells while it gets wrong PINs.
fn wrong_pins(uri: &str, root: &Root, mut fails: impl FnMut(&mut dyn Device) -> Option<DeviceError>) -> String {
    let (mut low, mut last, mut locked, mut rest) = (None, None, None, None);
    for tried in 1..=WRONG_PINS {
        let wrong = Insists(WRONG_PIN);
        let mut device = device::open(&uri.parse().unwrap(), Some(root), &wrong).unwrap();
        fails(&mut *device).expect("it is refused");
        drop(device);
        let described = device::open(&uri.parse().unwrap(), Some(root), &NoPin).unwrap().describe().unwrap();
        let tries = described.tries.expect("it asks for a PIN");
        let first = |seen: &mut Option<usize>, is_so: bool| *seen = seen.or(is_so.then_some(tried));
        first(&mut low, tries.low);
        first(&mut last, tries.left == Some(1));
        first(&mut locked, tries.left == Some(0));
        rest = tries.recovery_seconds;
        if locked.is_some() {
            break;
        }
    }
    let told = [("few left", low), ("the last try", last), ("locked", locked)];
    let told = told.iter().filter_map(|(what, after)| after.map(|after| format!("{what} after {after}")));
    let told = match told.collect::<Vec<_>>().join(", ") {
        told if told.is_empty() => "nothing is told".to_owned(),
        told => told,
    };
    match (locked, rest) {
        (Some(_), Some(seconds)) => format!("{told}, another try after {seconds} s"),
        (Some(_), None) => told,
        (None, _) => format!("{told}, not locked after {WRONG_PINS}"),
    }
}

fn table(columns: &[Column]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let names = columns.iter().map(|column| column.name);
    let mut table = line([""].into_iter().chain(names).collect());
    table += &format!("|{}\n", "---|".repeat(columns.len() + 1));
    for (row, what) in ROWS.iter().enumerate() {
        let cells = columns.iter().map(|column| column.cells[row].as_str());
        table += &line([*what].into_iter().chain(cells).collect());
    }
    table
}

#[test]
fn what_each_device_can_do_is_in_the_docs() {
    rack::in_own_process(this_test!(), rack::full, || {
        let swtpm = Swtpm::start();
        let mut columns = vec![column("TPM 2.0 (swtpm)", &swtpm.uri(), SHORT_PIN)];
        let names = ["SoftHSM", "Kryoptic", "NSS softokn", "opencryptoki"];
        let tokens = names.iter().zip(rack::NAMES);
        columns.extend(tokens.map(|(name, token)| column(name, &rack::uri(token), rack::pin(token))));
        let table = table(&columns);
        println!("{table}");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
        let document = fs::read_to_string(&path).expect("the document is there");
        let (before, rest) = document.split_once(MARKS[0]).expect("it marks the table");
        let (shown, after) = rest.split_once(MARKS[1]).expect("it marks the end of the table");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, [before, MARKS[0], &table, MARKS[1], after].concat()).expect("it can be written");
        } else {
            assert_eq!(shown, table, "{DOCUMENT} tells it otherwise: BLESS=1 writes it anew");
        }
    });
}
