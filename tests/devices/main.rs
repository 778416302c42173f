//! One suite, every device: what the trait promises, kept by each kind of hardware, what only one kind can do, and what
//! crosses between them.

#[path = "../common/mod.rs"]
mod common;
mod counter;
mod crossing;
mod guards;
mod kryoptic;
mod matrix;
mod mishaps;
mod nss;
mod opencryptoki;
mod pairs;
mod pcrs;
mod pins;
mod pkcs11;
mod plays;
mod proxy;
mod signed;
mod suite;
mod tpm;
mod uris;
