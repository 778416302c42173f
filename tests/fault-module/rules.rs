//! The rules: lines of text into what is to happen at which call.

use cryptoki_sys::{
    CK_FLAGS, CK_MECHANISM_TYPE, CK_RV, CKF_LOGIN_REQUIRED, CKF_PROTECTED_AUTHENTICATION_PATH, CKF_SO_PIN_FINAL_TRY,
    CKF_SO_PIN_LOCKED, CKF_TOKEN_INITIALIZED, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_INITIALIZED,
    CKF_USER_PIN_LOCKED, CKF_WRITE_PROTECTED,
};

use super::meddle::Meddling;

/// What a line makes happen.
#[derive(Clone)]
pub enum Action {
    Return(CK_RV),
    Answer(CK_RV),
    Delay(u64),
    Hang,
    KillBefore,
    KillAfter,
    DropSessions,
    Logout,
    /// For so many calls; none: for good.
    Vanish(Option<u64>),
    Move(u64),
    Flags(CK_FLAGS),
    NoFlags(CK_FLAGS),
    PinRoom(u64, u64),
    Meddle(Meddling),
    Serial(String),
    Hide(CK_MECHANISM_TYPE),
    Type(String),
}

/// A line about calls.
struct Rule {
    /// None: any function.
    name: Option<String>,
    first: u64,
    last: u64,
    action: Action,
}

/// What the token can't do, or does by other numbers, whatever the call: how it plays another maker's HSM.
#[derive(Default, Clone)]
pub struct Play {
    /// Mechanisms that it does not have.
    pub without: Vec<CK_MECHANISM_TYPE>,
    /// Mechanisms of the real module, and the numbers that it has them under here.
    pub renamed: Vec<(CK_MECHANISM_TYPE, CK_MECHANISM_TYPE)>,
    pub lacks: Vec<Lack>,
    /// Who logs in: the PIN is `NAME:PIN`.
    pub user: Option<String>,
}

/// A gap of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    ReadOnlySessions,
    SessionObjects,
    SecretImport,
    GenericSecrets,
    Wrapping,
    Unwrapping,
    UnwrapTemplates,
}

/// The whole file.
#[derive(Default)]
pub struct Rules {
    pub module: Option<String>,
    pub log: Option<String>,
    pub play: Play,
    rules: Vec<Rule>,
}

impl Play {
    pub fn lacks(&self, lack: Lack) -> bool {
        self.lacks.contains(&lack)
    }

    /// The number that the real module knows a mechanism by; none: this token has no such mechanism.
    pub fn real(&self, shown: CK_MECHANISM_TYPE) -> Option<CK_MECHANISM_TYPE> {
        match self.renamed.iter().find(|(_, other)| *other == shown) {
            Some((real, _)) => Some(*real),
            None if self.renamed.iter().any(|(real, _)| *real == shown) || self.without.contains(&shown) => None,
            None => Some(shown),
        }
    }

    /// The number that a mechanism of the real module is shown by.
    pub fn shown(&self, real: CK_MECHANISM_TYPE) -> Option<CK_MECHANISM_TYPE> {
        match self.renamed.iter().find(|(kind, _)| *kind == real) {
            Some((_, other)) => Some(*other),
            None => Some(real).filter(|kind| !self.without.contains(kind)),
        }
    }
}

impl Rules {
    /// Panics at a line that is none: a rule that says nothing would be a test that can't fail.
    pub fn parse(text: &str) -> Self {
        let mut rules = Rules::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            rules.take(line).unwrap_or_else(|| panic!("no rule: {line}"));
        }
        rules
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "module" => self.module = Some(rest.to_owned()),
            "log" => self.log = Some(rest.to_owned()),
            "user" => self.play.user = Some(rest.to_owned()),
            "renamed" => {
                let (real, shown) = rest.split_once(' ')?;
                self.play.renamed.push((number(real)?, number(shown)?));
            }
            "without" => match number(rest) {
                Some(kind) => self.play.without.push(kind),
                None => self.play.lacks.push(lack(rest)?),
            },
            name => {
                let (when, action) = rest.split_once(' ')?;
                let (first, last) = range(when)?;
                let name = (name != "*").then(|| name.to_owned());
                self.rules.push(Rule { name, first, last, action: Action::parse(action)? });
            }
        }
        Some(())
    }

    /// What happens at the `nth` call of `name`, which is the `total`th of all.
    pub fn actions(&self, name: &str, nth: u64, total: u64) -> Vec<Action> {
        let applies = |rule: &&Rule| {
            let count = match &rule.name {
                None => total,
                Some(of) if of == name => nth,
                Some(_) => return false,
            };
            (rule.first..=rule.last).contains(&count)
        };
        self.rules.iter().filter(applies).map(|rule| rule.action.clone()).collect()
    }
}

fn range(when: &str) -> Option<(u64, u64)> {
    match when.split_once('-') {
        None if when == "*" => Some((1, u64::MAX)),
        None => when.parse().ok().map(|nth| (nth, nth)),
        Some((first, "")) => Some((first.parse().ok()?, u64::MAX)),
        Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
    }
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        let (word, argument) = text.split_once(' ').unwrap_or((text, ""));
        Some(match (word, argument) {
            ("return", code) => Action::Return(number(code)?),
            ("answer", code) => Action::Answer(number(code)?),
            ("delay", ms) => Action::Delay(number(ms)?),
            ("hang", "") => Action::Hang,
            ("kill-before", "") => Action::KillBefore,
            ("kill-after", "") => Action::KillAfter,
            ("drop-sessions", "") => Action::DropSessions,
            ("logout", "") => Action::Logout,
            ("vanish", "") => Action::Vanish(None),
            ("vanish", calls) => Action::Vanish(Some(number(calls)?)),
            ("move", slots) => Action::Move(number(slots)?),
            ("flags", names) => Action::Flags(names.split(',').map(flag).sum::<Option<CK_FLAGS>>()?),
            ("no-flags", names) => Action::NoFlags(names.split(',').map(flag).sum::<Option<CK_FLAGS>>()?),
            ("meddle", what) => Action::Meddle(Meddling::parse(what)?),
            ("pin-room", room) => {
                let (least, most) = room.split_once(' ')?;
                Action::PinRoom(number(least)?, number(most)?)
            }
            ("serial", text) if text.len() <= 16 => Action::Serial(text.to_owned()),
            ("hide", kind) => Action::Hide(number(kind)?),
            ("type", pin) => Action::Type(pin.to_owned()),
            _ => return None,
        })
    }
}

fn lack(name: &str) -> Option<Lack> {
    Some(match name {
        "read-only-sessions" => Lack::ReadOnlySessions,
        "session-objects" => Lack::SessionObjects,
        "secret-import" => Lack::SecretImport,
        "generic-secrets" => Lack::GenericSecrets,
        "wrapping" => Lack::Wrapping,
        "unwrapping" => Lack::Unwrapping,
        "unwrap-templates" => Lack::UnwrapTemplates,
        _ => return None,
    })
}

fn flag(name: &str) -> Option<CK_FLAGS> {
    Some(match name {
        "COUNT_LOW" => CKF_USER_PIN_COUNT_LOW,
        "FINAL_TRY" => CKF_USER_PIN_FINAL_TRY,
        "LOCKED" => CKF_USER_PIN_LOCKED,
        "SO_FINAL_TRY" => CKF_SO_PIN_FINAL_TRY,
        "SO_LOCKED" => CKF_SO_PIN_LOCKED,
        "USER_PIN" => CKF_USER_PIN_INITIALIZED,
        "INITIALIZED" => CKF_TOKEN_INITIALIZED,
        "PAD" => CKF_PROTECTED_AUTHENTICATION_PATH,
        "LOGIN" => CKF_LOGIN_REQUIRED,
        "WRITE_PROTECTED" => CKF_WRITE_PROTECTED,
        _ => return None,
    })
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
