//! What a ceremony will ask for: a front end builds its form from it, and a script its input.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::Plan;
use super::crew::Looks;
use crate::device::{Description, DeviceUri, Kind, PinRequest, TokenLabel};
use crate::ring::{DeviceRecord, Generation, Ring};

/// A secret that will be asked for, unless a systemd credential gives it.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Wanted {
    pub id: WantedId,
    /// Whose PIN it is; none for a passphrase.
    pub device: Option<String>,
    /// What a prompt says.
    pub text: String,
    /// Whether it is chosen now: to be typed twice, and judged.
    pub new: bool,
    /// Whether nothing goes without it. A PIN that is not required is that of a device which others can stand in for: without
    /// it, that device is passed over. Where that goes for all that are listed, one of them is needed.
    pub required: bool,
}

/// What kind of secret it is. `--ID-file` and `--ID-fd` give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WantedId {
    /// A token's security officer's.
    SoPin,
    Pin,
    NewPin,
    Passphrase,
}

/// Whose PINs a ceremony on a ring needs.
pub struct PinsOf<'r> {
    ring: &'r Ring,
    looks: &'r Looks,
    /// By device: whether nothing goes without it.
    wanted: BTreeMap<&'r str, bool>,
}

impl<'r> PinsOf<'r> {
    /// Nobody's yet; `looks` is what was seen of the ring's devices.
    pub fn none(ring: &'r Ring, looks: &'r Looks) -> Self {
        Self { ring, looks, wanted: BTreeMap::new() }
    }

    /// This device has to serve.
    pub fn of(mut self, id: &'r str) -> Self {
        if self.ring.device(id).is_some_and(|record| self.asks(record)) {
            self.wanted.insert(id, true);
        }
        self
    }

    /// For each of these generations, one device has to serve that holds it: those that [`super::crew::Crew::any`] would come
    /// to, `but` one.
    pub fn of_any(mut self, generations: impl Iterator<Item = &'r Generation>, but: Option<&str>) -> Self {
        for generation in generations {
            let holders = self.holders(generation, but);
            for record in &holders {
                if self.asks(record) {
                    *self.wanted.entry(&record.id).or_default() |= holders.len() == 1;
                } else if self.ring.bound(&record.id).is_none() {
                    // It serves, and asks nobody. Whether what is bound to PCRs opens, nobody knows before it is tried.
                    break;
                }
            }
        }
        self
    }

    /// For each of these generations, every device serves that holds it and can; one at least.
    pub fn of_each(mut self, generations: impl Iterator<Item = &'r Generation>) -> Self {
        for generation in generations {
            let holders: Vec<&DeviceRecord> = self.holders(generation, None);
            for record in &holders {
                if self.asks(record) {
                    *self.wanted.entry(&record.id).or_default() |= holders.len() == 1;
                }
            }
        }
        self
    }

    /// The same where it may not come to that.
    pub fn of_any_perhaps(self, generations: impl Iterator<Item = &'r Generation>, but: Option<&str>) -> Self {
        let sure = self.wanted.clone();
        let mut all = self.of_any(generations, but);
        for (id, required) in &mut all.wanted {
            *required = sure.get(id).copied().unwrap_or(false);
        }
        all
    }

    /// The devices that hold a generation and are not known to be away.
    fn holders(&self, generation: &Generation, but: Option<&str>) -> Vec<&'r DeviceRecord> {
        let holders = self.ring.devices.iter().filter(|record| generation.seal_on(&record.id).is_some());
        holders.filter(|record| but != Some(&*record.id) && !self.looks.is_away(&record.id)).collect()
    }

    fn asks(&self, record: &DeviceRecord) -> bool {
        match &record.uri {
            DeviceUri::Tpm(_) => self.ring.asks_for_pin(&record.id),
            DeviceUri::Pkcs11(_) => asks(&record.uri, self.looks.of(&record.id)),
        }
    }
}

/// Whether a device asks somebody for a PIN before it does anything: a token does, unless its URI names a file for it, or it
/// is known to want none.
fn asks(uri: &DeviceUri, known: Option<&Description>) -> bool {
    match uri {
        DeviceUri::Tpm(_) => false,
        DeviceUri::Pkcs11(_) if known.is_some_and(|device| device.pin_pad) => true,
        DeviceUri::Pkcs11(uri) => uri.pin_source().is_none() && known.is_none_or(|device| device.needs_pin),
    }
}

impl Plan {
    pub(super) fn wants_pins(&mut self, pins: PinsOf<'_>) {
        for record in &pins.ring.devices {
            if let Some(required) = pins.wanted.get(&*record.id) {
                self.wants_pin(&record.id, &record.uri, pins.looks.of(&record.id), *required);
            }
        }
    }

    /// A device that is new to the ring.
    pub(super) fn wants_pin_of_new(&mut self, id: &str, uri: &DeviceUri, device: &Description) {
        if asks(uri, Some(device)) {
            self.wants_pin(id, uri, Some(device), true);
        }
    }

    fn wants_pin(&mut self, id: &str, uri: &DeviceUri, known: Option<&Description>, required: bool) {
        if known.is_some_and(|device| device.pin_pad) {
            return self.warning("pin-pad", format!("{id} wants its PIN on its own PIN pad"));
        }
        let device = match uri {
            DeviceUri::Tpm(_) => id.to_owned(),
            DeviceUri::Pkcs11(uri) => uri.token().map_or_else(|| id.to_owned(), |label| format!("the token `{label}`")),
        };
        let text = PinRequest { device, kind: uri.kind(), tries_left: None }.question();
        self.secrets.push(Wanted { id: WantedId::Pin, device: Some(id.to_owned()), text, new: false, required });
    }

    pub(super) fn wants_new_pin(&mut self, id: &str) {
        let request = PinRequest { device: id.to_owned(), kind: Kind::Tpm, tries_left: None };
        let text = format!("New {}", request.question());
        self.secrets.push(Wanted {
            id: WantedId::NewPin,
            device: Some(id.to_owned()),
            text,
            new: true,
            required: true,
        });
    }

    /// The PINs of a token that is initialised: its security officer has one already, which may be an empty one, or gets one too.
    pub(super) fn wants_pins_of_token(&mut self, label: &TokenLabel, has_officer: bool, is_empty: bool) {
        let mut want = |id, text: &str, new| {
            let text = format!("{text} of the token `{label}`");
            self.secrets.push(Wanted { id, device: None, text, new, required: true });
        };
        match (has_officer, is_empty) {
            (true, true) => {}
            (true, false) => want(WantedId::SoPin, "Security officer's PIN", false),
            (false, _) => want(WantedId::SoPin, "New security officer's PIN", true),
        }
        want(WantedId::NewPin, "New user PIN", true);
    }

    /// The passphrase of a backup that is to be made.
    pub(super) fn wants_new_passphrase(&mut self) {
        self.wants_the_passphrase("Passphrase for the backup", true);
    }

    /// The passphrase of a backup that exists.
    pub(super) fn wants_passphrase(&mut self) {
        self.wants_the_passphrase("Passphrase of the backup", false);
    }

    fn wants_the_passphrase(&mut self, text: &str, new: bool) {
        let text = text.to_owned();
        self.secrets.push(Wanted { id: WantedId::Passphrase, device: None, text, new, required: true });
    }
}
