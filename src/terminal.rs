//! The terminal, and its rules. Nobody else prompts or decides where text goes.
//!
//! 1. Standard output is for results: what `status`, `derive` and `device list` print, and with `--json` every step and
//!    error, one object a line. It is kept from whatever a PKCS#11 module prints, which goes to standard error.
//! 2. Standard error is for people: plans, steps, warnings, errors and their hints. `--quiet` leaves errors.
//! 3. Questions, and what only the person in front of it may see, go to the terminal itself (`/dev/tty`), never to a pipe.
//!    Where there is none, the error names the flag that answers instead. What is to be typed on a device's own PIN pad is
//!    said on standard error, in any case.
//! 4. What is typed in secret is not echoed. However the program ends, Ctrl-C included, the echo comes back.
//! 5. Colour and spinners only on a terminal; `NO_COLOR` and `--color` are obeyed.
//! 6. A reader that goes away (`| head`) ends the program quietly.

mod output;
mod tty;
pub mod words;

use std::cell::{OnceCell, RefCell};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::Serialize;
use strongroom::ceremony::{Plan, Step};
use strongroom::secret::{Passphrase, SecretBytes};
use strongroom::text::escaped;
use zeroize::Zeroizing;

use crate::cli::{Color, Global};
use crate::report::Stop;
pub use output::{keep as keep_output, write as write_output};
use words::Words;

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default();
const GREEN: Style = AnsiColor::Green.on_default();

/// A step as it is told to programs.
#[derive(JsonSchema, Serialize)]
pub struct StepLine<'s> {
    schema: &'static str,
    #[serde(flatten)]
    step: &'s Step,
    /// For people.
    text: String,
    /// Whether it is something that people should look at, rather than progress.
    warning: bool,
}

/// How this run speaks.
pub struct Terminal {
    quiet: bool,
    json: bool,
    colour: bool,
    words: &'static Words,
    spinner: RefCell<Option<ProgressBar>>,
    watched: OnceCell<()>,
}

impl Terminal {
    pub fn new(global: &Global, words: &'static Words) -> Self {
        let colour = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                io::stderr().is_terminal() && !refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        let (quiet, json) = (global.quiet, global.json);
        Self { quiet, json, colour, words, spinner: RefCell::default(), watched: OnceCell::new() }
    }

    /// What questions about a backup's passphrase say in this run.
    pub fn words(&self) -> &'static Words {
        self.words
    }

    /// Ends a run in which all went well.
    pub fn end(&self) {
        self.rest();
        if let Some(line) = self.words.end {
            self.say(line);
        }
    }

    /// Whether results go to a terminal.
    pub fn shows_results(&self) -> bool {
        output::is_terminal()
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// From now on, a signal ends the program with the terminal as it was. A `derive` that asks nothing, and of a TPM, does
    /// without the thread that this takes. Where modules are loaded it comes before them: they are kept from what is handled.
    pub fn watch(&self) {
        // Where there can be no thread, signals do what they always do.
        self.watched.get_or_init(|| drop(tty::watch_signals(self.json)));
    }

    /// A line of a result, to standard output.
    pub fn result(&self, line: &str) -> Result<(), Stop> {
        self.write(format!("{line}\n").as_bytes())
    }

    /// Bytes of a result, to standard output.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Stop> {
        self.rest();
        output::write(bytes).map_err(Stop::Output)
    }

    /// A secret that was asked for as a result, on a line of its own.
    pub fn secret(&self, passphrase: &Passphrase) -> Result<(), Stop> {
        self.write(&Zeroizing::new([passphrase.expose_secret(), b"\n"].concat()))
    }

    /// A result as one JSON object on a line.
    pub fn object(&self, value: &impl Serialize) -> Result<(), Stop> {
        let text = serde_json::to_string(value).map_err(|error| Stop::Output(error.into()))?;
        self.result(&text)
    }

    /// States a plan: to people, what will change and what to think about first; with `--json`, the plan itself.
    pub fn plan(&self, plan: &Plan) -> Result<(), Stop> {
        self.watch();
        if self.json {
            return self.object(plan);
        }
        self.say("What will change:");
        for change in &plan.changes {
            self.say(&format!("  - {}", change.text));
        }
        for warning in &plan.warnings {
            self.warn(&warning.text);
        }
        Ok(())
    }

    /// States the plan of a dry run, what would be asked for, and that it was one.
    pub fn dry_run(&self, plan: &Plan) -> Result<(), Stop> {
        self.plan(plan)?;
        if !plan.secrets.is_empty() {
            self.say("What will be asked for:");
        }
        for secret in &plan.secrets {
            let whose = secret.device.as_ref().map(|device| format!(" ({device})")).unwrap_or_default();
            let spare = if secret.required { "" } else { ", unless another device serves" };
            self.say(&format!("  - {}{whose}{spare}", secret.text));
        }
        self.say("Nothing was changed: this was a dry run.");
        Ok(())
    }

    /// Tells a step as it happens. What a reader that went away would have missed is not worth stopping a ceremony for.
    pub fn step(&self, step: &Step) {
        self.watch();
        self.rest();
        if self.json {
            let (text, warning) = (step.to_string(), step.is_warning());
            let _ = self.object(&StepLine { schema: "strongroom.step/1", step, text, warning });
            return;
        }
        match step {
            Step::Working { what } => self.spin(what),
            step if step.is_warning() => self.warn(&step.to_string()),
            step => self.note(GREEN, "ok", &step.to_string()),
        }
    }

    /// A line for people.
    pub fn say(&self, text: &str) {
        if !self.quiet && !self.json {
            self.rest();
            let _ = writeln!(io::stderr(), "{}", escaped(text));
        }
    }

    /// Something that people should look at.
    pub fn warn(&self, text: &str) {
        self.note(YELLOW, "warning:", text);
    }

    /// Calls somebody to a device's PIN pad, which waits. It is a question, which `--quiet` and `--json` leave too; whoever is
    /// to answer it may have no terminal here.
    pub fn call_to_the_pad(&self, what: &str) {
        self.watch();
        self.rest();
        let _ = writeln!(io::stderr(), "type {} on its PIN pad", escaped(what));
    }

    fn note(&self, style: Style, word: &str, text: &str) {
        if !self.quiet && !self.json {
            self.rest();
            let _ = writeln!(io::stderr(), "{} {}", self.painted(style, word), escaped(text));
        }
    }

    /// An error: what happened, and what to do.
    pub fn error(&self, message: &str, hint: &str) {
        self.rest();
        let mut text = format!("{} {}\n", self.painted(RED, "error:"), escaped(message));
        if !hint.is_empty() {
            text.push_str(&format!("{} {}\n", self.painted(CYAN, "hint:"), escaped(hint)));
        }
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn painted(&self, style: Style, word: &str) -> String {
        if self.colour { format!("{style}{word}{style:#}") } else { word.to_owned() }
    }

    /// Shows that work goes on, on a terminal that can.
    fn spin(&self, what: &str) {
        if self.quiet || !io::stderr().is_terminal() {
            return;
        }
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        spinner.enable_steady_tick(Duration::from_millis(100));
        *self.spinner.borrow_mut() = Some(spinner);
    }

    /// Ends what [`Terminal::spin`] began.
    pub fn rest(&self) {
        if let Some(spinner) = self.spinner.borrow_mut().take() {
            spinner.finish_and_clear();
        }
    }

    /// Whether there is somebody to ask.
    pub fn is_there(&self) -> bool {
        tty::open().is_ok()
    }

    /// Shows something to the person at the terminal, and to nobody else.
    pub fn show(&self, text: &str) -> Result<(), Stop> {
        self.rest();
        let mut tty = tty::open().map_err(|_| Stop::NoTerminal { what: "this", flag: "a terminal" })?;
        writeln!(tty, "{}", escaped(text)).map_err(Stop::Output)
    }

    /// Shows a secret that was just made to the person at the terminal.
    pub fn show_secret(&self, passphrase: &Passphrase) -> Result<(), Stop> {
        self.rest();
        let mut tty = tty::open().map_err(|_| Stop::NoTerminal { what: "the passphrase", flag: "a terminal" })?;
        let shown = tty.write_all(b"    ").and_then(|()| tty.write_all(passphrase.expose_secret()));
        shown.and_then(|()| tty.write_all(b"\n")).map_err(Stop::Output)
    }

    /// Asks for a line; `flag` is what would have answered.
    pub fn ask(&self, question: &str, what: &'static str, flag: &'static str) -> Result<String, Stop> {
        let line = self.line(question, what, flag, false)?;
        String::from_utf8(line.expose_secret().to_vec()).map_err(|_| Stop::NotText { what })
    }

    /// Asks for a secret, which is not echoed.
    pub fn ask_secret(&self, question: &str, what: &'static str, flag: &'static str) -> Result<SecretBytes, Stop> {
        self.line(question, what, flag, true)
    }

    /// While what this gives lives, nothing that is typed is shown, between questions either; what was typed ahead at its
    /// end is thrown away.
    pub fn unseen(&self, what: &'static str, flag: &'static str) -> Result<tty::Asking, Stop> {
        self.watch();
        self.rest();
        let tty = tty::open().map_err(|_| Stop::NoTerminal { what, flag })?;
        tty::Asking::begin(&tty, tty::Echo::OffBetween).map_err(Stop::Output)
    }

    /// Asks a question whose answer is no unless it is yes.
    pub fn confirm(&self, question: &str, yes: bool) -> Result<(), Stop> {
        if yes {
            return Ok(());
        }
        match self.ask(&format!("{question} [y/N] "), "the answer", "--yes")?.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Stop::Declined),
        }
    }

    fn line(&self, question: &str, what: &'static str, flag: &'static str, hidden: bool) -> Result<SecretBytes, Stop> {
        self.watch();
        self.rest();
        let mut tty = tty::open().map_err(|_| Stop::NoTerminal { what, flag })?;
        let echo = if hidden { tty::Echo::Off } else { tty::Echo::On };
        let asking = tty::Asking::begin(&tty, echo).map_err(Stop::Output)?;
        write!(tty, "{}", escaped(question)).and_then(|()| tty.flush()).map_err(Stop::Output)?;
        let line = tty::read_line(&tty).map_err(Stop::Output);
        if hidden || matches!(line, Ok(None)) {
            // The line's end was not echoed either, or there was none.
            let _ = writeln!(tty);
        }
        drop(asking);
        line?.ok_or(Stop::NoAnswer { what, flag })
    }
}
