//! The suite on a TPM whose seals are guarded: by a PIN, by PCRs, by what a key has signed of them, and by two of these.

use strongroom::device::{
    Bound, BoundTo, Counter, Description, Device, DeviceError, ExportPart, Intent, Key, Protection, Root, Seal,
};
use strongroom::secret::{Kek, Mac, Pin};
use strongroom::wrap::WrappedSecret;

use crate::common::signer::Signer;
use crate::common::swtpm::Swtpm;
use crate::signed::{Given, by};
use crate::suite;
use crate::tpm::{failures, fresh, pin};

const PIN: &str = "2468-seal";

/// A device that guards whatever it is told to seal: the suite knows of no guard.
struct Guarded<'p> {
    device: Box<dyn Device + 'p>,
    pin: Option<Pin>,
    bound: Option<BoundTo>,
}

impl Guarded<'_> {
    /// It really does.
    fn guards(&self, seal: &Seal) {
        for guard in [&seal.use_part.0.guard, &seal.export_part.0.guard] {
            assert_eq!(guard.has_own_pin(), self.pin.is_some());
            assert_eq!(guard.bound().map(Bound::to), self.bound);
        }
    }
}

impl Device for Guarded<'_> {
    fn describe(&mut self) -> Result<Description, DeviceError> {
        self.device.describe()
    }

    fn provision(&mut self, intent: &Intent) -> Result<Root, DeviceError> {
        self.device.provision(intent)
    }

    fn foresee(&mut self, bound: Bound<'_>) -> Result<(), DeviceError> {
        self.device.foresee(bound)
    }

    fn generate(&mut self, _: Protection<'_>, qualifier: &[u8; 32]) -> Result<Seal, DeviceError> {
        let protection = Protection { pin: self.pin.as_ref(), bound: self.bound.as_ref() };
        self.device.generate(protection, qualifier).inspect(|seal| self.guards(seal))
    }

    fn hmac(&mut self, key: Key<'_>, message: &[u8]) -> Result<Mac, DeviceError> {
        self.device.hmac(key, message)
    }

    fn export(&mut self, part: &ExportPart, kek: &Kek) -> Result<WrappedSecret, DeviceError> {
        self.device.export(part, kek)
    }

    fn retire(&mut self, intent: &Intent) -> Result<bool, DeviceError> {
        self.device.retire(intent)
    }

    fn import(&mut self, wrapped: &WrappedSecret, kek: &Kek, _: Protection<'_>) -> Result<Seal, DeviceError> {
        let protection = Protection { pin: self.pin.as_ref(), bound: self.bound.as_ref() };
        self.device.import(wrapped, kek, protection).inspect(|seal| self.guards(seal))
    }

    fn counter(&mut self) -> Option<&mut dyn Counter> {
        self.device.counter()
    }
}

/// Runs the suite behind a guard, whose kind has that name in a ring.
fn keeps_the_promises(kind: &str, with_pin: bool, bound: Option<BoundTo>, signer: Option<&Signer>) {
    let swtpm = Swtpm::start();
    let given = Given::new(with_pin.then_some(PIN));
    if let Some(signer) = signer {
        given.sign(&[signer.sign(&swtpm, "sha256:11")]);
    }
    let (device, _) = fresh(&swtpm, &given);
    let mut device = Guarded { device, pin: with_pin.then(|| pin(PIN)), bound };
    let recorded = serde_json::to_value(&suite::generate(&mut device).use_part.0.guard).expect("JSON");
    assert_eq!(recorded["kind"], kind);
    for promise in suite::ALL {
        promise(&mut device);
    }
    drop(device);
    assert_eq!((swtpm.loaded(), failures(&swtpm).as_str()), (Vec::new(), "0"), "nothing is left, and no try was burnt");
}

#[test]
fn behind_a_pin() {
    keeps_the_promises("pin", true, None, None);
}

#[test]
fn behind_pcrs_with_a_pin_and_without() {
    for (kind, with_pin) in [("pcrs", false), ("pcrs-pin", true)] {
        keeps_the_promises(kind, with_pin, Some(BoundTo::State("sha256:7+14".parse().expect("PCRs"))), None);
    }
}

#[test]
fn behind_signed_pcrs_with_a_pin_and_without() {
    for (signer, kind, with_pin) in [(Signer::rsa(), "signed", false), (Signer::ecdsa("P-256"), "signed-pin", true)] {
        keeps_the_promises(kind, with_pin, Some(by(&signer, "sha256:11")), Some(&signer));
    }
}
