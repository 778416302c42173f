//! `strongroom`, the command: parse, run, report, exit.
#![deny(unsafe_code)]

mod cli;
mod commands;
mod hygiene;
mod report;
mod secrets;
mod ssoconfig;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::terminal::{Terminal, words};

fn main() -> ExitCode {
    let hardened = hygiene::harden();
    let line: Vec<OsString> = std::env::args_os().collect();
    let (parsed, words) = match ssoconfig::is_called(&line) {
        true => (ssoconfig::parse(&line[1..]), &ssoconfig::WORDS),
        false => (Cli::try_parse_from(line), &words::STRONGROOM),
    };
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return report::usage(&error),
    };
    secrets::credentials();
    // Where no descriptor is to spare, results go where they always do.
    let _ = terminal::keep_output();
    let terminal = Terminal::new(&cli.global, words);
    let outcome = hardened.map_err(anyhow::Error::from).and_then(|()| Ok(commands::run(cli, &terminal)?));
    terminal.rest();
    match outcome {
        Ok(()) => {
            terminal.end();
            hygiene::leave(0)
        }
        Err(error) => hygiene::leave(report::tell(&error, &terminal)),
    }
}
