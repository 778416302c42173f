//! Devices: the one joint between Strongroom and hardware.
//!
//! [`Device`] is what a TPM 2.0 and a PKCS#11 token both do natively; everything else is plain code over it. Blobs are
//! opaque to everyone but the device that made them. [`open`] is the one place that knows which kinds exist, and
//! [`checkup`] beside it, which looks at what `open` takes for granted.

mod blank;
pub mod checkup;
mod child;
mod counter;
mod discover;
mod error;
pub mod explain;
mod lock;
mod patience;
mod pcrs;
mod pins;
mod pkcs11;
mod signatures;
mod signed;
mod thread;
mod tpm;
mod uri;

/// Doors for `fuzz/` into parsers of what devices answer, which are nobody else's business. Not an API.
#[doc(hidden)]
pub mod fuzzing {
    pub use super::pkcs11::fuzzing as pkcs11;
    pub use super::tpm::fuzzing as tpm;
}

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use blank::{blank_token, init_token, prove_user_pin, set_user_pin};
pub use child::Probe;
pub use counter::Counter;
pub use discover::{Candidate, Trouble, discover, probe_module};
pub use error::{DeviceCode, DeviceError, Fault};
pub use pcrs::{Bank, PcrChange, PcrState, Pcrs, PcrsError, usual_cause};
pub use pins::{NoPin, PinRequest, PinSource, PinSources, Pinless};
pub use pkcs11::{BlankToken, LabelError, TokenIdentity, TokenLabel, Ways, WrappingKey};
pub use signatures::{PcrSignature, PcrSignatures, SignatureFile, Signatures, Unsigned};
pub use signed::{Bound, BoundTo, Curve, KeyBits, KeyError, PolicyKey, SignedPcrs};
pub use uri::{DeviceUri, Kind, Pkcs11Uri, TpmUri, UriError};

use crate::bytes::{Base64, Hex};
use crate::secret::{Kek, Mac, Pin};
use crate::wrap::WrappedSecret;

/// What every kind of hardware does for Strongroom. Opened by [`open`], used by one caller at a time.
///
/// Every method may fail with any [`DeviceError`]; whatever a call loaded into the device it also flushes, or keeps for
/// the next call of the same kind and flushes on drop.
pub trait Device {
    /// What the device is and can do; with something pinned, only if it is the one. Asks for no PIN, changes nothing.
    fn describe(&mut self) -> Result<Description, DeviceError>;

    /// Makes what this ring's seals hang from where it is missing, and gives it to be pinned. TPM: the storage root key,
    /// made and persisted where none is, else used as it is. PKCS#11: logs in, makes the two wrapping keys of `intent`
    /// where they are missing, and self-tests the mechanisms. Idempotent.
    fn provision(&mut self, intent: &Intent) -> Result<Root, DeviceError>;

    /// Whether what is bound so opens in the state that the machine is in, as far as that can be told: a device that has no such
    /// guard says no, and so does a TPM whose PCRs hold something else, or what was not signed. Asks for no PIN, changes
    /// nothing.
    fn foresee(&mut self, bound: Bound<'_>) -> Result<(), DeviceError>;

    /// Makes a new master secret inside the device. `qualifier` goes into the birth evidence (TPM 2.0: `outsideInfo`).
    fn generate(&mut self, protection: Protection<'_>, qualifier: &[u8; 32]) -> Result<Seal, DeviceError>;

    /// HMAC-SHA-256 of `message` (at most 1,024 bytes) under a key, inside the device: 32 bytes.
    fn hmac(&mut self, key: Key<'_>, message: &[u8]) -> Result<Mac, DeviceError>;

    /// Lets the secret out, under `kek`. Takes the export part alone: a use part can't be exported.
    fn export(&mut self, part: &ExportPart, kek: &Kek) -> Result<WrappedSecret, DeviceError>;

    /// Destroys what [`Device::provision`] made for this ring alone, as far as it is there: a token's two wrapping keys, which
    /// ends every seal under them. False where nothing was: a TPM's storage root key is others' as well.
    fn retire(&mut self, intent: &Intent) -> Result<bool, DeviceError>;

    /// Takes a secret in, and seals it. The new seal is not proved: callers compare its id.
    fn import(&mut self, wrapped: &WrappedSecret, kek: &Kek, protection: Protection<'_>) -> Result<Seal, DeviceError>;

    /// What counts for the log; none: this kind of device keeps no counter.
    fn counter(&mut self) -> Option<&mut dyn Counter>;
}

/// Which key an HMAC is under.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    /// A generation as this device keeps it.
    Sealed(&'a UsePart),
    /// A secret out of a backup, taken into the device for the moment and forgotten at once.
    Wrapped(&'a WrappedSecret, &'a Kek),
}

/// What shall guard a new seal, beyond the device itself (a token still asks for its user PIN).
#[derive(Clone, Copy, Default)]
pub struct Protection<'a> {
    /// A PIN of the seal's own (TPM only: a token's user PIN guards all that it holds).
    pub pin: Option<&'a Pin>,
    /// PCRs (TPM only): what they hold at that moment, or what of them is signed.
    pub bound: Option<&'a BoundTo>,
}

impl<'a> Protection<'a> {
    /// Nothing more.
    pub const NONE: Protection<'static> = Protection { pin: None, bound: None };

    pub fn pin(pin: &'a Pin) -> Self {
        Self { pin: Some(pin), bound: None }
    }
}

/// What guards a seal that exists: as the ring records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Guard {
    /// The device alone.
    None {},
    /// A PIN: the object's authValue is HMAC-SHA-256(salt, PIN), trailing zero bytes trimmed.
    Pin { salt: Hex<32> },
    /// What PCRs hold: the object's policy begins with TPM2_PolicyPCR.
    Pcrs { bound: PcrState },
    /// Both.
    PcrsPin { bound: PcrState, salt: Hex<32> },
    /// What PCRs hold, as a key has signed it: the object's policy begins with TPM2_PolicyAuthorize.
    Signed { bound: SignedPcrs },
    /// That and a PIN.
    SignedPin { bound: SignedPcrs, salt: Hex<32> },
    /// The token's user PIN.
    TokenPin {},
}

impl Guard {
    /// Whether whoever uses it has to give a PIN, the seal's own or the token's.
    pub fn asks_for_pin(&self) -> bool {
        self.has_own_pin() || matches!(self, Guard::TokenPin {})
    }

    /// Whether it has a PIN of its own.
    pub fn has_own_pin(&self) -> bool {
        self.salt().is_some()
    }

    /// What its own PIN is salted with.
    pub fn salt(&self) -> Option<&Hex<32>> {
        match self {
            Guard::Pin { salt } | Guard::PcrsPin { salt, .. } | Guard::SignedPin { salt, .. } => Some(salt),
            Guard::None {} | Guard::Pcrs { .. } | Guard::Signed { .. } | Guard::TokenPin {} => None,
        }
    }

    /// The PCRs that it is bound to, and what they have to hold.
    pub fn bound(&self) -> Option<Bound<'_>> {
        match self {
            Guard::Pcrs { bound } | Guard::PcrsPin { bound, .. } => Some(Bound::State(bound)),
            Guard::Signed { bound } | Guard::SignedPin { bound, .. } => Some(Bound::Signed(bound)),
            Guard::None {} | Guard::Pin { .. } | Guard::TokenPin {} => None,
        }
    }
}

/// One half of a seal: ciphertext that only its device can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// TPM 2.0: TPM2B_PUBLIC, then TPM2B_PRIVATE, as tpm2-tools write them. PKCS#11: what C_WrapKey gave.
    pub blob: Base64,
    /// TPM 2.0: the object's Name, compared at every load. PKCS#11: none; the generation's id is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Base64>,
    pub guard: Guard,
}

/// The half that can be used and never exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsePart(pub Part);

/// The half that can be exported; used in ceremonies only. Empty where the device lets no secret out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExportPart(pub Part);

impl UsePart {
    /// Whether loading it proves what it is (a TPM's Name commits to the secret).
    pub fn proves_itself(&self) -> bool {
        self.0.name.is_some()
    }
}

impl ExportPart {
    pub fn is_empty(&self) -> bool {
        self.0.blob.0.is_empty()
    }
}

/// One generation as one device keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// How it is sealed: `TPM2_HMAC`, the wrap mechanism's name such as `CKM_AES_KEY_WRAP`, or `token object`.
    pub mechanism: String,
    #[serde(rename = "use")]
    pub use_part: UsePart,
    #[serde(rename = "export")]
    pub export_part: ExportPart,
    /// Evidence of birth inside the device; none where the secret was taken in from a backup.
    pub birth: Option<Birth>,
}

/// What the device said when it made the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Birth {
    /// TPM2_Create's creationData (TPM2B_CREATION_DATA), creationHash and creationTicket (TPMT_TK_CREATION), marshalled.
    Tpm { data: Base64, hash: Base64, ticket: Base64 },
    /// The new key's attributes as read back from the token.
    Pkcs11 { local: bool, always_sensitive: bool, never_extractable: bool, key_gen_mechanism: String },
}

/// The wrapping keys that a ring means to have on a token: their CKA_IDs, recorded before the keys are made, so that a
/// crash in between leaves nothing unknown. A TPM needs none of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    pub use_key: Hex<16>,
    pub export_key: Hex<16>,
}

impl Intent {
    pub fn random() -> Self {
        Self { use_key: Hex(crate::secret::random_array()), export_key: Hex(crate::secret::random_array()) }
    }
}

/// What a ring pins of a device: compared before each session, before any PIN goes there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Root {
    /// The storage root key: its persistent handle, its whole public area (TPM2B_PUBLIC), and the Name of it. `endorsement` is
    /// the Name of the TPM's endorsement key, where it could be had: it outlives what the rest does not.
    Tpm {
        handle: u32,
        public: Base64,
        name: Base64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endorsement: Option<Base64>,
    },
    /// The token and the two wrapping keys on it, with their attributes as read back; and the ways that its self-test has shown,
    /// where they are not CKM_AES_KEY_WRAP for everything.
    Pkcs11 {
        token: TokenIdentity,
        use_key: WrappingKey,
        export_key: WrappingKey,
        #[serde(default, skip_serializing_if = "Ways::is_default")]
        ways: Ways,
    },
}

impl Root {
    /// Whether what a device says of itself is what was pinned: nothing that it says was authenticated.
    pub fn is_of(&self, device: &Description) -> bool {
        match self {
            Root::Tpm { name, .. } => device.kind == Kind::Tpm && device.root.as_deref() == Some(&hex::encode(&name.0)),
            Root::Pkcs11 { token, .. } => {
                device.serial.as_deref() == Some(&token.serial)
                    && device.label.as_deref() == Some(&token.label)
                    && device.manufacturer == token.manufacturer
                    && device.model == token.model
            }
        }
    }

    /// Whether it is the same device's. What only one of the two has is not compared.
    pub fn is_same_tpm(&self, other: &Root) -> bool {
        match (self, other) {
            (Root::Tpm { public: one, .. }, Root::Tpm { public: other, .. }) => one == other,
            (Root::Tpm { .. } | Root::Pkcs11 { .. }, _) => false,
        }
    }

    /// Whether the device lets out what it seals. One that does not serves, and can neither make a generation nor a backup.
    pub fn lets_out(&self) -> bool {
        match self {
            Root::Tpm { .. } => true,
            Root::Pkcs11 { ways, .. } => ways.let_out(),
        }
    }

    /// What the device does with secrets, for people; none: as most do.
    pub fn ways(&self) -> Option<String> {
        match self {
            Root::Tpm { .. } => None,
            Root::Pkcs11 { ways, .. } => (!ways.is_default()).then(|| ways.summary()),
        }
    }

    /// A short public name for this very device: `SHA256:` and the hash of what is pinned. Goes into backups.
    pub fn fingerprint(&self) -> String {
        use sha2::{Digest, Sha256};
        let pinned = match self {
            Root::Tpm { public, .. } => public.0.clone(),
            Root::Pkcs11 { token, use_key, export_key, .. } => {
                let mut text = [&token.manufacturer, "\0", &token.model, "\0", &token.serial, "\0", &token.label, "\0"]
                    .concat()
                    .into_bytes();
                text.extend(use_key.id.0);
                text.extend(export_key.id.0);
                text
            }
        };
        format!("SHA256:{}", hex::encode(Sha256::digest(pinned)))
    }
}

/// What a device is, as it says itself. Nothing here is a secret; nothing here was authenticated.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    pub kind: Kind,
    pub uri: String,
    pub manufacturer: String,
    pub model: String,
    pub firmware: String,
    /// PKCS#11 only.
    pub label: Option<String>,
    /// PKCS#11 only.
    pub serial: Option<String>,
    /// TPM: the storage root key's Name in hex, none where there is no such key yet. PKCS#11: the CKA_IDs of the ring's
    /// use key and export key, none on a token that the ring does not know.
    pub root: Option<String>,
    /// Retry counters, where the device tells them without a PIN.
    pub tries: Option<Tries>,
    /// Whether the device asks for a PIN before it does anything with keys.
    pub needs_pin: bool,
    /// What the main job needs and this device lacks; empty: it can do the job.
    pub lacks: Vec<String>,
    /// What an admin should know, such as "use implies export".
    pub notes: Vec<String>,
    /// How secrets are kept on it, come in and leave: on a token that is set up, as its self-test has shown.
    #[serde(default)]
    pub ways: Option<String>,
    /// Whether secrets can leave it for a backup, as far as it says without a PIN. One that lets none out can only be one more
    /// device of a ring.
    #[serde(default = "yes")]
    pub exports: bool,
    /// The banks of PCRs that seals can be bound to, `sha256`; none on a token.
    #[serde(default)]
    pub pcr_banks: Vec<String>,
    /// Whether its PIN is typed on its own PIN pad, and nowhere else.
    #[serde(default)]
    pub pin_pad: bool,
}

fn yes() -> bool {
    true
}

impl Description {
    /// What people call it: `TPM (IBM SW TPM, firmware 1.2)` or `token payroll (SoftHSM v2)`.
    pub fn name(&self) -> String {
        match (&self.kind, &self.label) {
            (Kind::Pkcs11, Some(label)) if !label.is_empty() => {
                format!("token {label} ({} {})", self.manufacturer, self.model)
            }
            (Kind::Pkcs11, _) => format!("token ({} {})", self.manufacturer, self.model),
            (Kind::Tpm, _) => format!("TPM ({} {}, firmware {})", self.manufacturer, self.model, self.firmware),
        }
    }
}

/// Retry counters of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tries {
    /// Wrong PINs that the device still takes before it locks; none where it says only "low".
    pub left: Option<u32>,
    /// After how many it locks.
    pub max: Option<u32>,
    /// Seconds until one try comes back (TPM: TPM_PT_LOCKOUT_INTERVAL).
    pub recovery_seconds: Option<u32>,
    /// PKCS#11: CKF_USER_PIN_COUNT_LOW.
    pub low: bool,
}

/// Opens the device that `uri` names, on a thread of its own, with a deadline of 30 seconds for each call.
///
/// With `pinned`, what the ring pinned is compared first: a device that is not the one is [`Fault::NotThisDevice`], and
/// no PIN ever reaches it. Without it (a device new to the ring), [`Device::provision`] gives what to pin.
pub fn open<'p>(
    uri: &DeviceUri,
    pinned: Option<&Root>,
    pins: &'p dyn PinSource,
) -> Result<Box<dyn Device + 'p>, DeviceError> {
    thread::spawn(pins, opener(uri, pinned)).map(|device| Box::new(device) as Box<dyn Device>)
}

/// Opens the device that `uri` names as [`open`] does, does one piece of `work` with it, and closes it: the way for a
/// process that is here for one key. All of it has 30 seconds, a PIN's typing not counted.
pub fn once<T: Send + 'static>(
    uri: &DeviceUri,
    pinned: Option<&Root>,
    pins: &dyn PinSource,
    work: impl FnOnce(&mut dyn Device) -> Result<T, DeviceError> + Send + 'static,
) -> Result<T, DeviceError> {
    thread::once(pins, opener(uri, pinned), work)
}

/// What opens the device, on its thread: the one match over the kinds of devices.
fn opener(
    uri: &DeviceUri,
    pinned: Option<&Root>,
) -> impl FnOnce(thread::SentPins) -> Result<Box<dyn Device>, DeviceError> + Send + 'static {
    let (uri, pinned) = (uri.clone(), pinned.cloned());
    move |pins| {
        let lock = lock::hold(&uri)?;
        Ok(match &uri {
            DeviceUri::Tpm(uri) => Box::new(tpm::Tpm::open(uri, pinned, pins, lock)?),
            DeviceUri::Pkcs11(uri) => Box::new(pkcs11::Token::open(uri, pinned, pins, lock)?),
        })
    }
}
