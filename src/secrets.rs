//! Where secrets come from: files and descriptors that flags name, `pin-source`, systemd credentials, and the terminal,
//! in this order. Never arguments, never the environment.

mod custodians;
mod keyring;
mod source;

pub use keyring::{Asker, Keyring, key_of};
pub use source::credentials;
use source::{LIMIT, Read, credential, from_fd, from_file, from_flags};

use strongroom::ceremony::{Error, Place};
use strongroom::passphrase::{self, Hint};
use strongroom::secret::{Passphrase, Pin, SecretBytes};

use crate::cli::{NewPassphrase, NewPin, OfDevice, PassphraseArgs, PassphraseSource, PinArgs, TokenPins};
use crate::report::Stop;
use crate::terminal::Terminal;

/// How often a person may try to choose a passphrase or a PIN.
const ATTEMPTS: usize = 3;
const MIN_PIN: usize = 4;

/// How many bytes a token's PINs have, least and most; none where it does not say.
type PinRoom = Option<(usize, usize)>;

const PASSPHRASE: &str = "the passphrase";
const PASSPHRASE_FLAG: &str = "--passphrase-file or --passphrase-fd";
const SO_PIN: &str = "the security officer's PIN";
const SO_PIN_FLAG: &str = "--so-pin-file or --so-pin-fd";
const NEW_PIN_FLAG: &str = "--new-pin-file or --new-pin-fd";

/// What the flags name, read at once: one descriptor may serve several, a line each, PIN first.
#[derive(Default)]
pub struct Given {
    pins: Vec<OfDevice<Read>>,
    new_pin: Option<Pin>,
    officers_pin: Option<Pin>,
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

    /// The PINs of a token that is initialised.
    pub fn read_of_token(args: &TokenPins) -> Result<Self, Stop> {
        let officers_pin = match args.empty_so_pin {
            true => Some(Pin::new(SecretBytes::zeroed(0))),
            false => from_flags(SO_PIN, &args.so_pin_file, args.so_pin_fd)?.map(Pin::new),
        };
        let new_pin = from_flags("the new PIN", &args.new_pin_file, args.new_pin_fd)?.map(Pin::new);
        Ok(Self { officers_pin, new_pin, ..Self::default() })
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
        chosen("PIN", "the new PIN", NEW_PIN_FLAG, None, terminal)
    }

    /// The PIN of a token's security officer: a new one, or the one that it has. `room` is what the token has for a PIN.
    pub fn officers_pin(&mut self, new: bool, room: PinRoom, terminal: &Terminal) -> Result<Pin, Stop> {
        match (self.officers_pin.take(), new) {
            (Some(pin), true) => check_room(pin, room),
            (Some(pin), false) => Ok(pin),
            (None, true) => chosen("security officer's PIN", SO_PIN, SO_PIN_FLAG, room, terminal),
            (None, false) => terminal.ask_secret("Security officer's PIN: ", SO_PIN, SO_PIN_FLAG).map(Pin::new),
        }
    }

    /// A new user PIN for a token.
    pub fn user_pin(&mut self, room: PinRoom, terminal: &Terminal) -> Result<Pin, Stop> {
        match self.new_pin.take() {
            Some(pin) => check_room(pin, room),
            None => chosen("user PIN", "the new PIN", NEW_PIN_FLAG, room, terminal),
        }
    }

    /// The sources of PINs for the devices that a command may use.
    pub fn keyring<'t>(
        &mut self,
        devices: Vec<Asker>,
        place: &Place,
        terminal: &'t Terminal,
    ) -> Result<Keyring<'t>, Stop> {
        Keyring::new(std::mem::take(&mut self.pins), devices, self.use_last_try, place, terminal)
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
                | Stop::PinRoom { .. }
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

/// A new PIN, typed twice.
fn chosen(name: &str, what: &'static str, flag: &'static str, room: PinRoom, terminal: &Terminal) -> Result<Pin, Stop> {
    persevere(terminal, |terminal| {
        let pin = check_room(Pin::new(terminal.ask_secret(&format!("New {name}: "), what, flag)?), room)?;
        let again = terminal.ask_secret(&format!("New {name} again: "), what, flag)?;
        match pin.expose_secret() == again.expose_secret() {
            true => Ok(pin),
            false => Err(Stop::Differ { what: "PINs" }),
        }
    })
}

fn check_room(pin: Pin, room: PinRoom) -> Result<Pin, Stop> {
    match room {
        Some((least, most)) if !(least..=most).contains(&pin.expose_secret().len()) => {
            Err(Stop::PinRoom { least, most })
        }
        Some(_) | None => check_pin(pin),
    }
}

fn check_pin(pin: Pin) -> Result<Pin, Stop> {
    match pin.expose_secret().len() {
        MIN_PIN..=LIMIT => Ok(pin),
        _ => Err(Stop::PinLength),
    }
}
