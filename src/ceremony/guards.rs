//! What shall guard new seals: as an admin asks for it, and as a device is told.

use super::{Error, Opened, Place, Plan};
use crate::device::{Bound, BoundTo, Description, DeviceUri, Kind, Pinless, Protection, Root, SignedPcrs, usual_cause};
use crate::ring::Ring;
use crate::secret::Pin;

/// What an admin asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealOptions {
    /// A PIN of its own (TPM only).
    pub with_pin: bool,
    /// PCRs (TPM only).
    pub bound: Option<BoundTo>,
}

impl SealOptions {
    /// Refuses what a device of this kind has not.
    pub(super) fn fit(&self, kind: Kind) -> Result<(), Error> {
        match kind {
            Kind::Pkcs11 if self.with_pin => Err(Error::PinOnToken),
            Kind::Pkcs11 if self.bound.is_some() => Err(Error::PcrsOnToken),
            Kind::Pkcs11 | Kind::Tpm => Ok(()),
        }
    }
}

/// What guards the seals that are made on one device.
#[derive(Default)]
pub(super) struct Guards {
    pub pin: Option<Pin>,
    pub bound: Option<BoundTo>,
}

impl Guards {
    /// As the admin asked, with the PIN that was chosen.
    pub fn chosen(pin: Option<&Pin>, bound: Option<&BoundTo>) -> Self {
        Self { pin: pin.map(Pin::duplicate), bound: bound.cloned() }
    }

    pub fn protection(&self) -> Protection<'_> {
        Protection { pin: self.pin.as_ref(), bound: self.bound.as_ref() }
    }
}

/// Shows, before anybody is asked for anything, that what would be bound so on a device could be, and would open at once: the
/// device has such PCRs, and where their state has to be signed, the one that it is in is.
pub(super) fn foresee(
    place: &Place,
    (id, uri, root): (&str, &DeviceUri, Option<&Root>),
    device: &Description,
    bound: &BoundTo,
) -> Result<(), Error> {
    let bank = bound.pcrs().bank.name();
    if device.pcr_banks.iter().all(|has| has != bank) {
        let has = match device.pcr_banks.as_slice() {
            [] => "none".to_owned(),
            banks => banks.join(", "),
        };
        return Err(Error::NoBank { device: id.to_owned(), bank, has });
    }
    match bound {
        BoundTo::State(_) => Ok(()),
        BoundTo::Signed(signed) => {
            let pins = Pinless(place.signatures.clone());
            let mut opened = Opened::open(id, uri, root, &pins)?;
            let foreseen = opened.device.foresee(Bound::Signed(signed));
            foreseen.map_err(|source| Error::WouldNotOpen { device: id.to_owned(), source })
        }
    }
}

/// Where a ring has one device, shows that its PCRs let open what is sealed there, before anybody is asked for anything. Several
/// are tried in their turn, when it comes to it.
pub(super) fn may_open(place: &Place, ring: &Ring) -> Result<(), Error> {
    let mut serving = ring.in_service();
    let (Some(record), None) = (serving.next(), serving.next()) else { return Ok(()) };
    let bounds = ring.bounds(&record.id);
    if bounds.is_empty() {
        return Ok(());
    }
    let pins = Pinless(place.signatures.clone());
    let mut opened = Opened::recorded(record, &pins)?;
    bounds.into_iter().try_for_each(|bound| opened.device.foresee(bound)).map_err(opened.failed())
}

impl Plan {
    /// States that new seals on a device will be bound to PCRs, and what that means.
    pub(super) fn binds(&mut self, place: &Place, id: &str, bound: &BoundTo) {
        match bound {
            BoundTo::State(pcrs) => {
                let text = format!("what is sealed on {id} opens only while {pcrs} holds what it holds at that moment");
                self.change("pcrs-bound", text);
                for number in pcrs.numbers() {
                    let text = format!("PCR {number} usually changes with {}", usual_cause(number));
                    self.warning("pcr-changes", text);
                }
            }
            BoundTo::Signed(signed) => self.binds_to_signed(place, id, signed),
        }
        for number in bound.pcrs().resettable() {
            self.warning("pcr-resettable", format!("PCR {number} can be reset by anybody: it protects nothing"));
        }
        let before = match bound {
            BoundTo::State(_) => {
                "`strongroom unbind` before such a change, or `strongroom bind --from BACKUP_FILE` after it"
            }
            BoundTo::Signed(_) => "`strongroom unbind` before an update that nobody has signed",
        };
        self.warning("pcrs-and-updates", format!("{before}; {id} alone serves nobody in between"));
    }

    fn binds_to_signed(&mut self, place: &Place, id: &str, SignedPcrs { pcrs, key }: &SignedPcrs) {
        let fingerprint = hex::encode(key.fingerprint());
        let text = format!("what is sealed on {id} opens only while {pcrs} holds what the key below has signed");
        self.change("pcrs-bound", text);
        self.change("policy-key", format!("the key: {}, fingerprint {fingerprint}", key.kind()));
        let text =
            "whoever has the private key can sign any state, also one in which everybody gets in: know who keeps it";
        self.warning("policy-key-trusted", text);
        if let Some(file) = &place.signatures.file {
            let file = file.display();
            let text = format!(
                "whoever uses it has to name {file} too: --pcr-signature, or STRONGROOM_PCR_SIGNATURE in the environment"
            );
            self.warning("signatures-named", text);
        }
    }
}
