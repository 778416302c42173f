//! The commands: words in, a library call, a report out. A verb is a file.

mod backup;
mod derive;
mod device;
mod devices;
mod generate;
mod init;
mod paper;
mod recover;
mod restore;
mod status;
mod verify;

use std::path::PathBuf;

use strongroom::ceremony::Place;
use strongroom::store::DEFAULT_DIRECTORY;

use crate::cli::{Cli, Command, Device, Global};
use crate::report::Stop;
use crate::terminal::Terminal;

/// Runs what was asked for.
pub fn run(cli: Cli, terminal: &Terminal) -> Result<(), Stop> {
    let place = place(&cli.global);
    match cli.command {
        Command::Init(args) => init::run(args, &place, terminal),
        Command::Generate(args) => generate::run(args, &place, terminal),
        Command::Backup(args) => backup::run(args, &place, terminal),
        Command::Verify(args) => verify::run(args, &place, terminal),
        Command::Restore(args) => restore::run(args, &place, terminal),
        Command::Recover(args) => recover::run(args, &place, terminal),
        Command::Status(args) => status::run(&args, &place, terminal),
        Command::Derive(args) => derive::run(args, &place, terminal),
        Command::Device(Device::List) => device::list(&place, terminal),
        Command::Device(Device::Add(args)) => devices::add(args, &place, terminal),
        Command::Device(Device::Remove(args)) => devices::remove(args, &place, terminal),
        Command::Device(Device::Repair(args)) => devices::repair(args, &place, terminal),
        Command::Device(Device::Retry(args)) => devices::retry(&args, &place, terminal),
        Command::Completions { shell } => paper::completions(shell, terminal),
        Command::Man { directory } => paper::man(&directory),
        Command::ProbeModule { module } => device::probe(&module, terminal),
    }
}

/// `--dir`, `$STRONGROOM_DIR`, `$STATE_DIRECTORY` (systemd; the first of several), else the default.
fn place(global: &Global) -> Place {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let systemd = || {
        let value = named("STATE_DIRECTORY")?.into_string().ok()?;
        value.split(':').next().map(PathBuf::from)
    };
    let directory = global
        .dir
        .clone()
        .or_else(|| named("STRONGROOM_DIR").map(PathBuf::from))
        .or_else(systemd)
        .unwrap_or_else(|| PathBuf::from(DEFAULT_DIRECTORY));
    Place { directory, host: host() }
}

/// This server's name, as the kernel knows it.
fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
