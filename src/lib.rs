//! Strongroom keeps a server's master secret in its TPM 2.0 or its PKCS#11 HSM.
#![deny(unsafe_code)]

pub mod backup;
pub mod bytes;
pub mod derive;
pub mod device;
pub mod durable;
pub mod passphrase;
pub mod ring;
pub mod secret;
pub mod store;
pub mod text;
pub mod wrap;
