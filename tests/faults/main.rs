//! What goes wrong between Strongroom and a device: what the device answers, what Strongroom makes of it, and how often
//! it sent what. On real devices, with somebody in between who goes wrong on order.

#[path = "../common/mod.rs"]
mod common;
mod deadline;
mod guarded;
mod pkcs11;
mod tpm;

use std::cell::{Cell, RefCell};

use strongroom::device::{Device, DeviceError, DeviceUri, Key, PinRequest, PinSource, Root, UsePart, open};
use strongroom::secret::{Pin, SecretBytes};

/// A PIN source that counts how often it is asked.
struct Pins {
    pin: RefCell<&'static str>,
    last_try: bool,
    asked: Cell<usize>,
}

impl Pins {
    fn with(pin: &'static str) -> Self {
        Self { pin: RefCell::new(pin), last_try: false, asked: Cell::new(0) }
    }
}

impl PinSource for Pins {
    fn pin(&self, _: &PinRequest) -> Result<Pin, DeviceError> {
        self.asked.set(self.asked.get() + 1);
        Ok(pin(&self.pin.borrow()))
    }

    fn call_to_the_pad(&self, _: &str, _: &str) -> Result<(), DeviceError> {
        Ok(())
    }

    fn may_use_last_try(&self) -> bool {
        self.last_try
    }
}

fn pin(text: &str) -> Pin {
    Pin::new(SecretBytes::copy_of(text.as_bytes()))
}

/// Opened as a ring opens it: with what it pinned.
fn pinned<'p>(uri: &str, root: &Root, pins: &'p dyn PinSource) -> Box<dyn Device + 'p> {
    let uri: DeviceUri = uri.parse().expect("a device URI");
    open(&uri, Some(root), pins).expect("it opens")
}

fn hmac(device: &mut dyn Device, part: &UsePart) -> Result<String, DeviceError> {
    device.hmac(Key::Sealed(part), b"message").map(|mac| hex::encode(mac.expose_secret()))
}

/// The name that a standard gives to what the device answered.
fn code(error: &DeviceError) -> &str {
    &error.code.as_ref().expect("the device said why").name
}
