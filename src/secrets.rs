//! Where secrets come from: files and descriptors that flags name, `pin-source`, systemd credentials, and the terminal,
//! in this order. Never arguments, never the environment.

mod custodians;
mod keyring;
mod source;

use std::path::Path;

pub use keyring::{Asker, Keyring, key_of};
use source::{LIMIT, Read, credential, from_fd, from_file, from_flags};

use strongroom::ceremony::Error;
use strongroom::passphrase::{self, Hint};
use strongroom::secret::{Passphrase, Pin, SecretBytes};

use crate::cli::{NewPassphrase, NewPin, OfDevice, PassphraseArgs, PassphraseSource, PinArgs};
use crate::report::Stop;
use crate::terminal::Terminal;

/// How often a person may try to choose a passphrase or a PIN.
const ATTEMPTS: usize = 3;
const MIN_PIN: usize = 4;

const PASSPHRASE: &str = "the passphrase";
const PASSPHRASE_FLAG: &str = "--passphrase-file or --passphrase-fd";
const NEW_PIN_FLAG: &str = "--new-pin-file or --new-pin-fd";

/// What the flags name, read at once: one descriptor may serve several, a line each, PIN first.
#[derive(Default)]
pub struct Given {
    pins: Vec<OfDevice<Read>>,
    new_pin: Option<Pin>,
    passphrase: Option<SecretBytes>,
    /// How many people know a part of the passphrase each, where it has parts.
    custodians: Option<u8>,
    hint: Option<Hint>,
    use_last_try: bool,
}

impl Given {
    pub fn read(pin: &PinArgs, new_pin: Option<&NewPin>, passphrase: Option<&PassphraseArgs>) -> Result<Self, Stop> {
        let mut given = Self { use_last_try: pin.use_last_try, ..Self::default() };
        for OfDevice { device, what } in &pin.pin_file {
            given.pins.push(OfDevice { device: device.clone(), what: from_file("the PIN", what)? });
        }
        for OfDevice { device, what } in &pin.pin_fd {
            given.pins.push(OfDevice { device: device.clone(), what: from_fd("the PIN", *what)? });
        }
        if let Some(args) = new_pin {
            given.new_pin = from_flags("the new PIN", &args.new_pin_file, args.new_pin_fd)?.map(Pin::new);
        }
        if let Some(args) = passphrase {
            given.passphrase = from_flags(PASSPHRASE, &args.source.passphrase_file, args.source.passphrase_fd)?;
            given.custodians = args.custodians;
        }
        Ok(given)
    }

    /// The same for a backup that is to be made: its hint is looked at too.
    pub fn read_new(pin: &PinArgs, new_pin: Option<&NewPin>, args: &NewPassphrase) -> Result<Self, Stop> {
        let hint = hint(args)?;
        Ok(Self { hint, ..Self::read(pin, new_pin, Some(&args.source))? })
    }

    /// The passphrase of a backup that exists.
    pub fn passphrase(&mut self, terminal: &Terminal) -> Result<Passphrase, Stop> {
        if let Some(count) = self.custodians {
            return custodians::existing(count, terminal);
        }
        let bytes = match self.passphrase.take() {
            Some(bytes) => bytes,
            None => match credential("strongroom.passphrase", PASSPHRASE)? {
                Some(read) => read.bytes,
                None => terminal.ask_secret(terminal.words().passphrase, PASSPHRASE, PASSPHRASE_FLAG)?,
            },
        };
        Ok(passphrase::normalized(bytes.expose_secret())?)
    }

    /// A new passphrase and its hint: judged, and at a terminal asked for twice. `known` are words that a guesser tries
    /// first.
    pub fn new_passphrase(&mut self, known: &[&str], terminal: &Terminal) -> Result<(Passphrase, Hint), Stop> {
        let given_hint = self.hint.take();
        if let Some(count) = self.custodians {
            return custodians::new(count, given_hint, known, terminal);
        }
        let bytes = match self.passphrase.take() {
            Some(bytes) => Some(bytes),
            None => credential("strongroom.passphrase", PASSPHRASE)?.map(|read| read.bytes),
        };
        if let Some(bytes) = bytes {
            let (passphrase, hint) = (passphrase::normalized(bytes.expose_secret())?, given_hint.unwrap_or_default());
            passphrase::check_new(&passphrase, &hint, known)?;
            warn_of_keyboards(&passphrase, terminal);
            return Ok((passphrase, hint));
        }
        remark(terminal.words().before_new, terminal);
        persevere(terminal, |terminal| {
            let (passphrase, made) = choose(terminal)?;
            let unhinted = given_hint.clone().unwrap_or_default();
            passphrase::check_new(&passphrase, &unhinted, known)?;
            if !made {
                let again = terminal.ask_secret(terminal.words().again, PASSPHRASE, PASSPHRASE_FLAG)?;
                same(&passphrase, again, "passphrases")?;
            }
            warn_of_keyboards(&passphrase, terminal);
            let hint = match &given_hint {
                Some(hint) => hint.clone(),
                None => ask_hint(terminal)?,
            };
            passphrase::check_new(&passphrase, &hint, known)?;
            Ok((passphrase, hint))
        })
    }

    /// A new PIN for a seal on a TPM.
    pub fn new_pin(&mut self, terminal: &Terminal) -> Result<Pin, Stop> {
        if let Some(pin) = self.new_pin.take() {
            return check_pin(pin);
        }
        persevere(terminal, |terminal| {
            let pin = check_pin(Pin::new(terminal.ask_secret("New PIN: ", "the new PIN", NEW_PIN_FLAG)?))?;
            let again = terminal.ask_secret("New PIN again: ", "the new PIN", NEW_PIN_FLAG)?;
            match pin.expose_secret() == again.expose_secret() {
                true => Ok(pin),
                false => Err(Stop::Differ { what: "PINs" }),
            }
        })
    }

    /// The sources of PINs for the devices that a command may use.
    pub fn keyring<'t>(
        &mut self,
        devices: Vec<Asker>,
        directory: &Path,
        terminal: &'t Terminal,
    ) -> Result<Keyring<'t>, Stop> {
        Keyring::new(std::mem::take(&mut self.pins), devices, self.use_last_try, directory, terminal)
    }
}

/// A passphrase as it was given or typed, to be judged.
pub fn to_be_judged(args: &PassphraseSource, terminal: &Terminal) -> Result<SecretBytes, Stop> {
    match from_flags(PASSPHRASE, &args.passphrase_file, args.passphrase_fd)? {
        Some(bytes) => Ok(bytes),
        None => terminal.ask_secret("Passphrase: ", PASSPHRASE, PASSPHRASE_FLAG),
    }
}

/// What `--hint` gives: no secret, so it is looked at in a dry run too.
pub fn hint(args: &NewPassphrase) -> Result<Option<Hint>, Stop> {
    Ok(args.hint.as_deref().map(Hint::new).transpose()?)
}

/// Asks at the terminal until an answer is taken, three times at most.
fn persevere<T>(terminal: &Terminal, mut attempt: impl FnMut(&Terminal) -> Result<T, Stop>) -> Result<T, Stop> {
    for _ in 1..ATTEMPTS {
        match attempt(terminal) {
            Err(
                stop @ (Stop::Differ { .. }
                | Stop::PinLength
                | Stop::Ceremony(Error::Passphrase(_))
                | Stop::PartsDiffer(_)
                | Stop::PartEmpty(_)
                | Stop::Part { .. }),
            ) => terminal.show(&format!("{stop}. Once more."))?,
            outcome => return outcome,
        }
    }
    attempt(terminal)
}

/// What comes before a question. Where there is no terminal, the question is what says so, and what answers instead.
fn remark(line: Option<&str>, terminal: &Terminal) {
    if let Some(line) = line {
        let _ = terminal.show(line);
    }
}

fn ask_hint(terminal: &Terminal) -> Result<Hint, Stop> {
    remark(terminal.words().before_hint, terminal);
    Ok(Hint::new(&terminal.ask(terminal.words().hint, "the hint", "--hint")?)?)
}

/// A passphrase that a person types, or one that is made for them and typed back; true: it was made.
fn choose(terminal: &Terminal) -> Result<(Passphrase, bool), Stop> {
    let typed = terminal.ask_secret(terminal.words().new, PASSPHRASE, PASSPHRASE_FLAG)?;
    if !typed.is_empty() {
        return Ok((passphrase::normalized(typed.expose_secret())?, false));
    }
    let made = passphrase::suggest();
    terminal.show("Write this down, and keep it apart from the backup file:")?;
    terminal.show("")?;
    terminal.show_secret(&made)?;
    terminal.show("")?;
    let typed = terminal.ask_secret("Now type it: ", PASSPHRASE, PASSPHRASE_FLAG)?;
    same(&made, typed, "passphrases")?;
    Ok((made, true))
}

fn same(passphrase: &Passphrase, again: SecretBytes, what: &'static str) -> Result<(), Stop> {
    let again = passphrase::normalized(again.expose_secret())?;
    match passphrase.expose_secret() == again.expose_secret() {
        true => Ok(()),
        false => Err(Stop::Differ { what }),
    }
}

fn warn_of_keyboards(passphrase: &Passphrase, terminal: &Terminal) {
    if passphrase::is_hard_to_type(passphrase) {
        terminal.warn(passphrase::HARD_TO_TYPE);
    }
}

fn check_pin(pin: Pin) -> Result<Pin, Stop> {
    match pin.expose_secret().len() {
        MIN_PIN..=LIMIT => Ok(pin),
        _ => Err(Stop::PinLength),
    }
}
