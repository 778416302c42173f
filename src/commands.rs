//! The commands: words in, a library call, a report out. A verb is a file.

mod audit;
mod backup;
mod bind;
mod derive;
mod device;
mod device_init;
mod devices;
mod doctor;
mod explain;
mod generate;
mod init;
mod paper;
mod passphrase;
mod recover;
mod restore;
mod schema;
mod status;
mod verify;

use std::path::PathBuf;

use strongroom::audit::{Record, What};
use strongroom::ceremony::Place;
use strongroom::device::Signatures;
use strongroom::store::DEFAULT_DIRECTORY;

use crate::cli::{
    Audit, Backup, Bind, Cli, Command, Device, DeviceAdd, DeviceRemove, DeviceRepair, DryRun, Generate, Init,
    Passphrase, Recover, Unbind, Verify,
};
use crate::report::{self, Stop};
use crate::terminal::Terminal;

/// Runs what was asked for.
pub fn run(cli: Cli, terminal: &Terminal) -> Result<(), Stop> {
    let place = place(&cli);
    if !matches!(cli.command, Command::Derive(_)) {
        terminal.watch();
    }
    let outcome = perform(cli.command, &place, terminal);
    if let Err(stop) = &outcome {
        // Every error of every verb passes here, by the name that it has for scripts.
        let (id, exit) = report::name(stop);
        place.record.failed(id, exit.is_notable());
    }
    outcome
}

fn perform(command: Command, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    match command {
        Command::Init(args) => init::run(args, place, terminal),
        Command::Generate(args) => generate::run(args, place, terminal),
        Command::Backup(args) => backup::run(args, place, terminal),
        Command::Verify(args) => verify::run(args, place, terminal),
        Command::Restore(args) => restore::run(args, place, terminal),
        Command::Recover(args) => recover::run(args, place, terminal),
        Command::Bind(args) => bind::bind(args, place, terminal),
        Command::Unbind(args) => bind::unbind(args, place, terminal),
        Command::Status(args) => status::run(&args, place, terminal),
        Command::Derive(args) => derive::run(args, place, terminal),
        Command::Audit(Audit::Show(args)) => audit::show(&args, place, terminal),
        Command::Audit(Audit::Verify(args)) => audit::verify(&args, place, terminal),
        Command::Device(Device::List) => device::list(place, terminal),
        Command::Device(Device::Init(args)) => device_init::run(args, place, terminal),
        Command::Device(Device::Add(args)) => devices::add(args, place, terminal),
        Command::Device(Device::Remove(args)) => devices::remove(args, place, terminal),
        Command::Device(Device::Repair(args)) => devices::repair(args, place, terminal),
        Command::Device(Device::Retry(args)) => devices::retry(&args, place, terminal),
        Command::Passphrase(Passphrase::Check(args)) => passphrase::check(&args, place, terminal),
        Command::Passphrase(Passphrase::Suggest) => passphrase::suggest(terminal),
        Command::Doctor(args) => doctor::run(args, place, terminal),
        Command::Explain(args) => explain::run(&args, terminal),
        Command::Schema { name } => schema::run(name, terminal),
        Command::Completions { shell } => paper::completions(shell, terminal),
        Command::Man { directory } => paper::man(&directory),
        Command::ProbeModule { module } => device::probe(&module, terminal),
        Command::CheckDevice { uri, pinned } => doctor::check(&uri, pinned.as_deref(), terminal),
    }
}

/// `--dir`, `$STRONGROOM_DIR`, `$STATE_DIRECTORY` (systemd; the first of several), else the default.
pub fn directory(cli: &Cli) -> PathBuf {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let systemd = || {
        let value = named("STATE_DIRECTORY")?.into_string().ok()?;
        value.split(':').next().map(PathBuf::from)
    };
    cli.global
        .dir
        .clone()
        .or_else(|| named("STRONGROOM_DIR").map(PathBuf::from))
        .or_else(systemd)
        .unwrap_or_else(|| PathBuf::from(DEFAULT_DIRECTORY))
}

fn place(cli: &Cli) -> Place {
    let directory = directory(cli);
    let host = host();
    let (verb, what) = recorded(&cli.command);
    // Only a restore: it may be what brings a server back whose disk is full.
    let goes_on = matches!(&cli.command, Command::Restore(args) if args.no_audit);
    let record = Record::new(verb, what, &directory, &host, goes_on);
    let signatures = Signatures { file: cli.global.pcr_signature.clone(), tickets: Some(directory.clone()) };
    Place { directory, host, record, signatures }
}

/// What a verb is called in the log; none: it changes nothing, and is told to the journal only where it was refused.
fn recorded(command: &Command) -> (&'static str, Option<What>) {
    let what = match command {
        Command::Init(_) => What::Init,
        Command::Generate(_) => What::Generate,
        Command::Backup(_) => What::Backup,
        Command::Verify(_) => What::Verify,
        Command::Restore(_) => What::Restore,
        Command::Recover(_) => What::Recover,
        Command::Bind(_) => What::Bind,
        Command::Unbind(_) => What::Unbind,
        Command::Derive(_) => What::Derive,
        Command::Device(Device::Add(_)) => What::DeviceAdd,
        Command::Device(Device::Remove(_)) => What::DeviceRemove,
        Command::Device(Device::Repair(_)) => What::DeviceRepair,
        Command::Device(Device::Retry(_)) => What::DeviceRetry,
        Command::Status(_) => return ("status", None),
        Command::Device(Device::List) => return ("device list", None),
        // It changes a token that is in no ring, and so in no ring's log.
        Command::Device(Device::Init(_)) => return ("device init", None),
        Command::Audit(Audit::Show(_)) => return ("audit show", None),
        Command::Audit(Audit::Verify(_)) => return ("audit verify", None),
        Command::Passphrase(Passphrase::Check(_)) => return ("passphrase check", None),
        Command::Passphrase(Passphrase::Suggest) => return ("passphrase suggest", None),
        Command::Doctor(_) => return ("doctor", None),
        Command::Explain(_) => return ("explain", None),
        Command::Schema { .. } => return ("schema", None),
        Command::Completions { .. } => return ("completions", None),
        Command::Man { .. } => return ("man", None),
        Command::ProbeModule { .. } => return ("probe-module", None),
        Command::CheckDevice { .. } => return ("check-device", None),
    };
    (what.name(), (!is_idle(command)).then_some(what))
}

/// A dry run that reads no secret: it is no attempt, and a front end may make one at every keystroke. (A restore's reads the
/// passphrase, which can be wrong.)
fn is_idle(command: &Command) -> bool {
    const DRY: DryRun = DryRun { dry_run: true };
    matches!(
        command,
        Command::Init(Init { dry: DRY, .. })
            | Command::Generate(Generate { dry: DRY, .. })
            | Command::Backup(Backup { dry: DRY, .. })
            | Command::Verify(Verify { dry: DRY, .. })
            | Command::Recover(Recover { dry: DRY, .. })
            | Command::Bind(Bind { dry: DRY, .. })
            | Command::Unbind(Unbind { dry: DRY, .. })
            | Command::Device(
                Device::Add(DeviceAdd { dry: DRY, .. })
                    | Device::Remove(DeviceRemove { dry: DRY, .. })
                    | Device::Repair(DeviceRepair { dry: DRY, .. })
            )
    )
}

/// This server's name, as the kernel knows it.
fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
