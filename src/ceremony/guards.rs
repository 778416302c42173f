//! What shall guard new seals: as an admin asks for it, and as a device is told.

use super::{Error, Plan};
use crate::device::{Description, Kind, Pcrs, Protection, usual_cause};
use crate::secret::Pin;

/// What an admin asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealOptions {
    /// A PIN of its own (TPM only).
    pub with_pin: bool,
    /// What these PCRs hold when the seal is made (TPM only).
    pub pcrs: Option<Pcrs>,
}

impl SealOptions {
    /// Refuses what a device of this kind has not.
    pub(super) fn fit(&self, kind: Kind) -> Result<(), Error> {
        match kind {
            Kind::Pkcs11 if self.with_pin => Err(Error::PinOnToken),
            Kind::Pkcs11 if self.pcrs.is_some() => Err(Error::PcrsOnToken),
            Kind::Pkcs11 | Kind::Tpm => Ok(()),
        }
    }
}

/// What guards the seals that are made on one device.
#[derive(Default)]
pub(super) struct Guards {
    pub pin: Option<Pin>,
    pub pcrs: Option<Pcrs>,
}

impl Guards {
    /// As the admin asked, with the PIN that was chosen.
    pub fn chosen(pin: Option<&Pin>, pcrs: Option<&Pcrs>) -> Self {
        Self { pin: pin.map(Pin::duplicate), pcrs: pcrs.cloned() }
    }

    pub fn protection(&self) -> Protection<'_> {
        Protection { pin: self.pin.as_ref(), pcrs: self.pcrs.as_ref() }
    }
}

impl Plan {
    /// States that new seals on a device will be bound to PCRs, and what that means. Refuses where it has no such PCRs.
    pub(super) fn binds(&mut self, id: &str, device: &Description, pcrs: &Pcrs) -> Result<(), Error> {
        let bank = pcrs.bank.name();
        if device.pcr_banks.iter().all(|has| has != bank) {
            let has = match device.pcr_banks.as_slice() {
                [] => "none".to_owned(),
                banks => banks.join(", "),
            };
            return Err(Error::NoBank { device: id.to_owned(), bank, has });
        }
        let text = format!("what is sealed on {id} opens only while {pcrs} holds what it holds at that moment");
        self.change("pcrs-bound", text);
        for number in pcrs.numbers() {
            let text = format!("PCR {number} usually changes with {}", usual_cause(number));
            self.warning("pcr-changes", text);
        }
        for number in pcrs.resettable() {
            self.warning("pcr-resettable", format!("PCR {number} can be reset by anybody: it protects nothing"));
        }
        self.warning(
            "pcrs-and-updates",
            format!("`strongroom unbind` before such a change, or `strongroom bind --from BACKUP_FILE` after it; {id} alone serves nobody in between"),
        );
        Ok(())
    }
}
