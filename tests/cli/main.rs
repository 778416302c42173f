//! The command line as an administrator meets it: each failure that a user can see is a snapshot of what was said, with
//! the exit code, and most are checked to have changed nothing. Prompts are driven through a pseudo-terminal.
//!
//! `BLESS=1 cargo test --test cli` writes the snapshots anew; read every line of the difference before it is committed:
//! a message must say what happened and what to do, to somebody who is tired.

#[path = "../common/mod.rs"]
mod common;

mod plain;
mod snapshot;
mod tree;
mod world;

mod admin;
mod ailments;
mod audit;
mod automation;
mod bind;
mod blank;
mod check;
mod crew;
mod custodians;
mod devices;
mod doctor;
mod dry_runs;
mod explain;
mod files;
mod guests;
mod heal;
mod hygiene;
mod inputs;
mod interrupts;
mod other_makers;
mod output;
mod pads;
mod passphrases;
mod pins;
mod prompts;
mod quick;
mod restores;
mod rings;
mod schemas;
mod secrets;
mod signed;
mod ssoconfig;
mod targets;
mod unfinished;
mod verdicts;
mod wizard;
