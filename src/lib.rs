//! Strongroom keeps a server's master secret in its TPM 2.0 or its PKCS#11 HSM, hands the administrator a backup under a
//! passphrase, and derives keys from the secret for everything else.
//!
//! # What is protected, and from whom
//!
//! The *master secret*, an HMAC key of 256 bits. It is made inside the device and used inside the device.
//!
//! - Who has the disk has nothing: seals work on their device only.
//! - Who listens between processor and TPM has nothing: sessions are salted and encrypt both ways.
//! - Who has a use part can derive keys and can't get the secret out, unless a token does not enforce that.
//! - Who has a backup has nothing, as long as its passphrase holds. With the passphrase: everything.
//! - Root on the running server has everything. Nothing here changes that.
//!
//! `docs/threat-model.md` says all of it, device by device.
//!
//! # The nouns
//!
//! | noun | what it is | where |
//! |---|---|---|
//! | system | all servers that share one master secret; one is its master, the others are members | [`ring::System`] |
//! | generation | one numbered master secret; it *is* its id, which is derived from it | [`ring::Generation`] |
//! | device | a TPM or a token, named by a URI | [`device::Device`], [`device::DeviceUri`] |
//! | seal | one generation as one device keeps it: a use part and an export part | [`device::Seal`] |
//! | ring | the state of this server: devices, generations, seals, backups | [`ring::Ring`] |
//! | backup | a file under a passphrase that holds every generation | [`backup::Contents`] |
//! | ceremony | an operation that changes the ring or makes a backup: a plan, then its execution | [`ceremony`] |
//!
//! # Where to start reading
//!
//! 1. [`device`]: the one joint. [`device::Device`] has nine methods: things that both kinds of hardware do
//!    natively, and one that gives its [`device::Counter`], which only a TPM has. Everything else is plain code over it, and [`device::open`] alone knows which kinds there are.
//! 2. [`mod@derive`]: what a key is, in twenty lines. All that Strongroom asks a device for in daily use is HMAC-SHA-256.
//! 3. [`ring`]: the state and its rules. It touches nothing: no file, no device, no clock.
//! 4. [`backup`] and [`wrap`]: the formats. `docs/backup-format.md` is their full text.
//! 5. [`ceremony`]: make, back up, re-open, prove, and only then commit. What is old goes last.
//! 6. [`store`] and [`durable`]: how a commit becomes a rename, and what is synced when.
//! 7. [`audit`]: what is written down of all that, and why nobody can take it back. `docs/audit-log.md`.
//! 8. [`secret`]: secrets as types. `grep expose_secret` finds every place that touches one.
//!
//! Arrows point one way: ceremonies use audit, ring, store, backup, derive and device; these use secret and durable. Only `device`
//! knows device crates, only [`durable`] opens files for writing, and nothing in this library prompts or prints.
//!
//! # An example without a device
//!
//! What `strongroom derive` does inside a device can be done on the host with a secret out of a backup. The secret here is
//! the published one of `tests/samples`, so it protects nothing.
//!
//! ```
//! use strongroom::bytes;
//! use strongroom::derive::{Label, Length, Source};
//! use strongroom::secret::{KEY_BYTES, MasterSecret, SecretBytes};
//!
//! let published = "D07tkun1F2Xbss7wdiBa4CUU42Y+IBMPauPjodji6i0=";
//! let mut secret = SecretBytes::zeroed(KEY_BYTES);
//! assert_eq!(bytes::from_base64(&published, secret.as_mut()), Some(KEY_BYTES));
//! let secret = MasterSecret::new(secret);
//!
//! let mut source = Source::on_host(&secret);
//! assert_eq!(source.id()?.to_string(), "a93b-9cbf-4a47-c91f");
//! let key = source.key(&Label::new("example")?, Length::new(32)?)?;
//! assert_eq!(bytes::hex(key.expose_secret()), "ce0419e85f7fed3176a3363c3ad44bc374cdcd44fdd46a1fdebc15119e932b82");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What never changes
//!
//! Ids and derived keys, for the same secret, label and length. Backups and rings of every released version, which later
//! ones open. Exit codes, error ids and the fields of `--json`, which are only ever added to. Format 1 gains and loses
//! nothing: what needs that is format 2. The Rust API is not part of this promise yet.
#![deny(unsafe_code)]

pub mod audit;
pub mod backup;
pub mod bytes;
pub mod ceremony;
pub mod derive;
pub mod device;
pub mod durable;
pub mod passphrase;
pub mod refusals;
pub mod ring;
pub mod secret;
pub mod status;
pub mod store;
pub mod text;
pub mod wrap;
