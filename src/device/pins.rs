//! Where a device's PINs come from, and whoever is called to its PIN pad.

use super::{DeviceError, Fault, Kind, Signatures};
use crate::secret::Pin;

/// Where PINs come from, and signatures of PCR states. Asked only when a device needs one, after its identity and its counters
/// have been checked.
pub trait PinSource {
    /// The PIN for a device. Error: [`Fault::PinMissing`] where there is none to be had.
    fn pin(&self, request: &PinRequest) -> Result<Pin, DeviceError>;

    /// Tells whoever is in front of `device` to type `what` on its own PIN pad, which asks for it right after. Error:
    /// [`Fault::PinMissing`] where nobody is to be asked.
    fn call_to_the_pad(&self, device: &str, what: &str) -> Result<(), DeviceError>;

    /// Whether the admin allowed the last try to be used (`--use-last-try`).
    fn may_use_last_try(&self) -> bool;

    /// Where signatures of PCR states are: unless told otherwise, where systemd looks.
    fn signatures(&self) -> Signatures {
        Signatures::default()
    }
}

/// Where the PINs of several devices come from: for each the source of its own, since a PIN that is tried on another device
/// burns a try there.
pub trait PinSources {
    /// The source for the device that the ring calls `device`.
    fn of(&self, device: &str) -> &dyn PinSource;
}

/// What a [`PinSource`] is told, for its prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinRequest {
    /// How the device is called: a token's label, or `the TPM`.
    pub device: String,
    pub kind: Kind,
    pub tries_left: Option<u32>,
}

impl PinRequest {
    /// What is asked for.
    pub fn question(&self) -> String {
        match self.kind {
            Kind::Pkcs11 => format!("User PIN of {}", self.device),
            Kind::Tpm => "PIN of the master secret".to_owned(),
        }
    }
}

/// A source with no PIN at all, for what must never prompt (`status`, `device list`).
pub struct NoPin;

impl PinSource for NoPin {
    fn pin(&self, request: &PinRequest) -> Result<Pin, DeviceError> {
        Err(Fault::PinMissing { device: request.device.clone() }.into())
    }

    fn call_to_the_pad(&self, device: &str, _: &str) -> Result<(), DeviceError> {
        Err(Fault::PinMissing { device: device.to_owned() }.into())
    }

    fn may_use_last_try(&self) -> bool {
        false
    }
}

impl PinSources for NoPin {
    fn of(&self, _: &str) -> &dyn PinSource {
        self
    }
}

/// The same, where signatures are looked for elsewhere.
pub struct Pinless(pub Signatures);

impl PinSource for Pinless {
    fn pin(&self, request: &PinRequest) -> Result<Pin, DeviceError> {
        NoPin.pin(request)
    }

    fn call_to_the_pad(&self, device: &str, what: &str) -> Result<(), DeviceError> {
        NoPin.call_to_the_pad(device, what)
    }

    fn may_use_last_try(&self) -> bool {
        NoPin.may_use_last_try()
    }

    fn signatures(&self) -> Signatures {
        self.0.clone()
    }
}

impl PinSources for Pinless {
    fn of(&self, _: &str) -> &dyn PinSource {
        self
    }
}
