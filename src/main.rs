//! `strongroom`, the command: parse, run, report, exit.
#![deny(unsafe_code)]

mod cli;
mod commands;
mod hygiene;
mod report;
mod secrets;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::terminal::Terminal;

fn main() -> ExitCode {
    let hardened = hygiene::harden();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report::usage(&error),
    };
    let terminal = Terminal::new(&cli.global);
    let outcome = hardened.map_err(anyhow::Error::from).and_then(|()| Ok(commands::run(cli, &terminal)?));
    terminal.rest();
    match outcome {
        Ok(()) => hygiene::leave(0),
        Err(error) => hygiene::leave(report::tell(&error, &terminal)),
    }
}
