//! What is said when something did not happen: an id and an exit code for scripts, a line that says what, and a hint that
//! says what to do.

mod fault;
mod unsigned;
mod verdict;

use std::io::{self, Write};
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Serialize;
use strongroom::ceremony;
use strongroom::derive::InputError;
use strongroom::device::explain::UnknownCode;
use strongroom::device::{DeviceCode, KeyError, PcrsError, UriError};
use strongroom::durable::FileError;
use strongroom::passphrase::PassphraseError;

use crate::hygiene::HygieneError;
use crate::terminal::{Terminal, write_output};

/// Exit codes of what did not happen (0 is done), for scripts to act on. They never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Failed = 1,
    Usage = 2,
    /// Unreachable, busy or timed out: a retry may help.
    Unreachable = 3,
    /// Wrong passphrase or PIN.
    Wrong = 4,
    Refused = 5,
    Damaged = 6,
    /// `status --check` found a warning.
    Warnings = 7,
    /// The device won't; a person must act.
    Device = 8,
    Interrupted = 130,
}

impl Exit {
    /// Whether the log notes it, where nothing had begun: somebody was wrong, not let, or met what should not be. What makes no
    /// sense, or may work in a minute, is not worth an entry.
    pub fn is_notable(self) -> bool {
        match self {
            Exit::Wrong | Exit::Refused | Exit::Damaged | Exit::Device => true,
            Exit::Failed | Exit::Usage | Exit::Unreachable | Exit::Warnings | Exit::Interrupted => false,
        }
    }
}

/// Why a command stopped.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    #[error(transparent)]
    Ceremony(#[from] ceremony::Error),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Uri(#[from] UriError),
    #[error("{what} has nowhere to come from: there is no terminal")]
    NoTerminal { what: &'static str, flag: &'static str },
    #[error("the input ended before {what} was given")]
    NoAnswer { what: &'static str, flag: &'static str },
    #[error("{what} is not text")]
    NotText { what: &'static str },
    #[error("{what} in {from} can't be used: {why}")]
    SecretSource { what: &'static str, from: String, why: String },
    #[error("several devices may ask for a PIN: {devices}")]
    WhosePin { devices: String },
    #[error("a PIN was given for {0}, which takes no part in this")]
    NoSuchPin(String),
    #[error("the two {what} differ")]
    Differ { what: &'static str },
    #[error("the two entries of custodian {0} differ")]
    PartsDiffer(u8),
    #[error("the part of custodian {0} is empty")]
    PartEmpty(u8),
    /// By the rules for a passphrase, which a part is to the other custodians.
    #[error("custodian {custodian}: {source}")]
    Part { custodian: u8, source: PassphraseError },
    #[error("custodians {0} and {1} have typed the same part")]
    PartsAlike(u8, u8),
    #[error("the PIN must have 4 to 1,024 bytes")]
    PinLength,
    #[error("the token's PINs have {least} to {most} bytes")]
    PinRoom { least: usize, most: usize },
    #[error("no blank token was found")]
    NoBlankToken,
    #[error("several tokens may be meant: {0}")]
    BlankTokens(String),
    #[error(transparent)]
    Code(#[from] UnknownCode),
    #[error("answered no")]
    Declined,
    #[error("raw bytes are not written to a terminal")]
    RawToTerminal,
    #[error("no TPM and no token was found")]
    NothingFound,
    #[error("there is no device number {0}")]
    NoSuchChoice(String),
    #[error(transparent)]
    NoSuchPcrs(PcrsError),
    #[error("{path} can't be used as a key that signs PCR states: {source}")]
    PolicyKey { path: String, source: KeyError },
    #[error("{0} is neither a day nor a moment")]
    Moment(String),
    #[error("from line {line} on, the log can't be trusted: {why}")]
    Tampered { line: usize, why: String },
    #[error("can't write the result")]
    Output(#[source] io::Error),
    #[error("can't write {path}")]
    Write { path: String, source: FileError },
    /// The warnings have been printed.
    #[error("the check found something")]
    Warnings,
    /// It has been printed.
    #[error("a device is in trouble")]
    Trouble,
    /// What is wrong with it has been printed.
    #[error("the passphrase would not be taken")]
    Unacceptable,
}

macro_rules! through_ceremony {
    ($($error:ty),*) => {$(
        impl From<$error> for Stop {
            fn from(error: $error) -> Self {
                Stop::Ceremony(error.into())
            }
        }
    )*};
}
through_ceremony!(strongroom::store::StoreError, strongroom::durable::FileError, PassphraseError);

/// What a stop is called, for ever, and its exit code.
pub fn name(stop: &Stop) -> (&'static str, Exit) {
    let (id, exit, _) = verdict::of(stop);
    (id, exit)
}

/// An error as it is told to programs: the last object of what did not happen.
#[derive(JsonSchema, Serialize)]
pub struct Failure {
    error: Report,
}

/// What an error is for scripts and for people.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Report {
    /// The device's own code and its standard's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_code: Option<String>,
    /// The exit code.
    pub exit: u8,
    /// What to do.
    pub hint: String,
    /// What it is called, for ever.
    pub id: &'static str,
    /// What happened, in one line.
    pub message: String,
}

impl Report {
    /// Of what is wrong with a new passphrase.
    pub fn of_passphrase(error: PassphraseError) -> Self {
        Self::of(&anyhow::Error::from(Stop::from(error)))
    }

    /// Of what stopped one part of a command, which says it among other things.
    pub fn of_stop(stop: Stop) -> Self {
        Self::of(&anyhow::Error::from(stop))
    }

    /// Of whatever reached the edge.
    pub fn of(error: &anyhow::Error) -> Self {
        let (id, exit, hint) = match error.downcast_ref::<Stop>() {
            Some(stop) => verdict::of(stop),
            None if error.is::<HygieneError>() => ("unsafe-process", Exit::Refused, String::new()),
            None => ("failed", Exit::Failed, String::new()),
        };
        let code = error.chain().find_map(|cause| cause.downcast_ref::<DeviceCode>()).map(DeviceCode::to_string);
        Self { id, exit: exit as u8, message: message(error), hint, device_code: code }
    }
}

/// The chain in one line: each cause that says something new.
fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
    }
    message
}

/// Tells an error, and gives the code to exit with.
pub fn tell(error: &anyhow::Error, terminal: &Terminal) -> u8 {
    let report = Report::of(error);
    let exit = report.exit;
    match error.downcast_ref::<Stop>() {
        Some(Stop::Warnings | Stop::Trouble | Stop::Unacceptable) => {}
        Some(Stop::Output(source)) if source.kind() == io::ErrorKind::BrokenPipe => {}
        _ if terminal.is_json() => {
            let _ = terminal.object(&Failure { error: report });
        }
        _ => terminal.error(&report.message, &report.hint),
    }
    exit
}

/// What is said when the words made no sense: clap's own text, or one JSON object where `--json` is among them. Help and
/// version are no errors.
pub fn usage(error: &clap::Error) -> ExitCode {
    let json = error.use_stderr() && std::env::args_os().any(|word| word == "--json");
    if !json {
        // A reader that went away misses nothing that matters.
        let _ = error.print();
    } else {
        let text = error.to_string();
        let report = Report {
            id: "usage",
            exit: Exit::Usage as u8,
            message: text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
            hint: text
                .lines()
                .find_map(|line| line.strip_prefix("hint: "))
                .unwrap_or("see `strongroom --help`")
                .to_owned(),
            device_code: None,
        };
        print(report);
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8))
}

/// Prints an error where there is no terminal's rules to obey any more, or yet.
fn print(report: Report) {
    if let Ok(line) = serde_json::to_string(&Failure { error: report }) {
        let _ = write_output(format!("{line}\n").as_bytes());
    }
}

/// What is said when a signal ends the program.
pub fn interrupted(json: bool) {
    let hint = "nothing is lost; `strongroom status` says what was left unfinished";
    if json {
        let report = Report {
            id: "interrupted",
            exit: Exit::Interrupted as u8,
            message: "interrupted".to_owned(),
            hint: hint.to_owned(),
            device_code: None,
        };
        print(report);
    } else {
        let _ = writeln!(io::stderr(), "error: interrupted\nhint: {hint}");
    }
}
