//! What the tests share: real simulators, each test with its own, and ways to watch them.
//!
//! A simulator that is missing is a failure, never a skip: `ci/setup` installs them. Everything here cleans up after itself
//! on Drop, and what Drop does not get to do (the test is killed) the kernel does: see [`child`].

// Each test binary compiles its own copy of this module and uses a part of it.
#![allow(dead_code, unused_imports, unused_macros)]

pub mod child;
pub mod faulty;
pub mod isolate;
pub mod kryoptic;
pub mod meddler;
pub mod outside;
pub mod proxy;
pub mod pty;
pub mod rack;
pub mod signer;
pub mod softhsm;
pub mod swtpm;
pub mod wait;
