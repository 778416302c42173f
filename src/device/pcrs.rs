//! Platform configuration registers: which ones a seal is bound to, and what they held.
//!
//! A TPM's PCRs hold digests of what the machine has booted (TPM 2.0 Part 1, section 17). What is written here is what
//! people type, `7` or `sha256:7+14`, and what the ring records.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Registers that every PC has (TCG PC Client Platform TPM Profile, section 4.6).
const LAST: u8 = 23;
/// Anybody may reset these two: for debugging, and for applications.
const RESETTABLE: [u8; 2] = [16, 23];

/// A set of PCRs with the same hash: at least one. Printed, and read, as `sha256:7+14`; without a bank, SHA-256's is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcrs {
    pub bank: Bank,
    numbers: BTreeSet<u8>,
}

/// The hash that a bank's PCRs are extended with. SHA-1 is left out: whoever can find collisions can boot something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bank {
    Sha256,
    Sha384,
    Sha512,
}

/// Why a text names no PCRs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PcrsError {
    #[error("no PCR is named")]
    None,
    #[error("`{0}` is no PCR: they are numbers from 0 to {LAST}, joined by `+`")]
    Number(String),
    #[error("PCR {0} is named twice")]
    Twice(u8),
    #[error("there is no bank `{0}`: sha256, sha384 and sha512 are known")]
    Bank(String),
    #[error("a bank of SHA-1 protects nothing")]
    Sha1,
}

impl Pcrs {
    /// PCRs by their numbers; none where a number is none of a PCR, is there twice, or there is none.
    pub fn of(bank: Bank, numbers: impl IntoIterator<Item = u8>) -> Option<Self> {
        let mut set = BTreeSet::new();
        let is_right = numbers.into_iter().all(|number| number <= LAST && set.insert(number));
        (is_right && !set.is_empty()).then_some(Self { bank, numbers: set })
    }

    /// The numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u8> {
        self.numbers.iter().copied()
    }

    /// Those that anybody may reset: being bound to them is worth nothing.
    pub fn resettable(&self) -> Vec<u8> {
        self.numbers().filter(|number| RESETTABLE.contains(number)).collect()
    }

    /// TPMS_PCR_SELECTION's bit map (TPM 2.0 Part 2, section 10.6.1): PCR 0 is the lowest bit of the first byte.
    pub fn bits(&self) -> [u8; 3] {
        let mut bits = [0; 3];
        for number in self.numbers() {
            bits[usize::from(number / 8)] |= 1 << (number % 8);
        }
        bits
    }
}

impl Bank {
    /// TPM_ALG_ID (TCG Algorithm Registry, section 6.2).
    pub fn algorithm(self) -> u16 {
        match self {
            Bank::Sha256 => 0x0b,
            Bank::Sha384 => 0x0c,
            Bank::Sha512 => 0x0d,
        }
    }

    /// How long its PCRs are, in bytes.
    pub fn size(self) -> usize {
        match self {
            Bank::Sha256 => 32,
            Bank::Sha384 => 48,
            Bank::Sha512 => 64,
        }
    }

    pub const ALL: [Bank; 3] = [Bank::Sha256, Bank::Sha384, Bank::Sha512];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Bank::Sha256 => "sha256",
            Bank::Sha384 => "sha384",
            Bank::Sha512 => "sha512",
        }
    }
}

impl fmt::Display for Pcrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers().map(|number| number.to_string()).collect();
        write!(f, "{}:{}", self.bank.name(), numbers.join("+"))
    }
}

impl FromStr for Pcrs {
    type Err = PcrsError;

    fn from_str(text: &str) -> Result<Self, PcrsError> {
        let (bank, list) = text.split_once(':').unwrap_or(("sha256", text));
        let bank = match bank.to_ascii_lowercase().as_str() {
            "sha256" => Bank::Sha256,
            "sha384" => Bank::Sha384,
            "sha512" => Bank::Sha512,
            "sha1" => return Err(PcrsError::Sha1),
            _ => return Err(PcrsError::Bank(bank.to_owned())),
        };
        let mut numbers = BTreeSet::new();
        for word in list.split('+') {
            let is_digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            let number = word.parse().ok().filter(|number| is_digits && *number <= LAST);
            let number = match number {
                Some(number) => number,
                None if list.is_empty() => return Err(PcrsError::None),
                None => return Err(PcrsError::Number(word.to_owned())),
            };
            if !numbers.insert(number) {
                return Err(PcrsError::Twice(number));
            }
        }
        Ok(Self { bank, numbers })
    }
}

impl Serialize for Pcrs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Pcrs {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Pcrs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^sha(256|384|512):[0-9]{1,2}(\+[0-9]{1,2})*$" })
    }
}

impl<'de> Deserialize<'de> for Pcrs {
    /// Exactly as it is printed: a ring has one form.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pcrs: Pcrs = text.parse().map_err(serde::de::Error::custom)?;
        match pcrs.to_string() == text {
            true => Ok(pcrs),
            false => Err(serde::de::Error::custom(format!("`{text}` should be `{pcrs}`"))),
        }
    }
}

/// What PCRs held when a seal was bound to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct PcrState {
    pub pcrs: Pcrs,
    /// In the order of their numbers, in lower-case hex.
    pub values: Vec<String>,
}

/// As it is spelled, before it is looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    pcrs: Pcrs,
    values: Vec<String>,
}

impl TryFrom<Unchecked> for PcrState {
    type Error = String;

    fn try_from(Unchecked { pcrs, values }: Unchecked) -> Result<Self, String> {
        let state = Self { pcrs, values };
        match state.concatenated() {
            Some(_) => Ok(state),
            None => Err(format!("the values are not those of {}", state.pcrs)),
        }
    }
}

impl PcrState {
    /// What the TPM hashes for TPM2_PolicyPCR: all the values, one after the other. None where it is not one of the right
    /// length for each PCR.
    pub fn concatenated(&self) -> Option<Vec<u8>> {
        let is_right = |value: &String| {
            let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            value.len() == 2 * self.pcrs.bank.size() && value.bytes().all(is_lower_hex)
        };
        let is_whole = self.values.len() == self.pcrs.numbers.len() && self.values.iter().all(is_right);
        if is_whole { hex::decode(self.values.concat()).ok() } else { None }
    }

    /// What is otherwise now.
    pub fn changes(&self, now: &PcrState) -> Vec<PcrChange> {
        let pairs = self.pcrs.numbers().zip(self.values.iter().zip(&now.values));
        pairs
            .filter(|(_, (then, now))| then != now)
            .map(|(number, (then, now))| PcrChange { number, sealed: then.clone(), now: now.clone() })
            .collect()
    }
}

/// A PCR that differs from what a seal was bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrChange {
    pub number: u8,
    /// In hex, what it held when the seal was made.
    pub sealed: String,
    /// In hex.
    pub now: String,
}

impl fmt::Display for PcrChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, sealed, now } = self;
        write!(f, "PCR {number} is {now}, the seal asks for {sealed} (usual cause: {})", usual_cause(*number))
    }
}

/// What as a rule changes a PCR (TCG PC Client Platform Firmware Profile, section 3.3.4; the UAPI Group's registry of PCRs).
pub fn usual_cause(number: u8) -> &'static str {
    match number {
        0 => "a firmware update",
        1 => "changed firmware settings or hardware",
        2 => "another extension card, or its firmware",
        3 => "changed settings of an extension card",
        4 => "an update of the boot loader or of a unified kernel image",
        5 => "a changed partition table or boot loader configuration",
        6 => "a wake-up from sleep, or the maker's own measurements",
        7 => "a switch of Secure Boot, or an update of its certificates (db, dbx, KEK)",
        8 => "changed commands of the boot loader, or another kernel command line",
        9 => "another kernel or initrd",
        10 => "the files that IMA measures",
        11 => "another unified kernel image, or a later phase of the boot",
        12 => "another kernel command line, credentials or system extensions",
        13 => "other system extensions",
        14 => "an update of shim, or of the machine owner's keys",
        15 => "another machine id, root file system or disk key",
        16 | 23 => "whoever resets it",
        17..=22 => "a measured launch of the operating system (TXT, SKINIT)",
        _ => "nothing that is known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_printed_in_one_form() {
        for (text, printed) in
            [("7", "sha256:7"), ("7+0+14", "sha256:0+7+14"), ("sha384:23", "sha384:23"), ("SHA512:4+11", "sha512:4+11")]
        {
            assert_eq!(text.parse::<Pcrs>().unwrap().to_string(), printed);
        }
        let number = |text: &str| Err(PcrsError::Number(text.to_owned()));
        for (text, error) in [
            ("", Err(PcrsError::None)),
            ("sha256:", Err(PcrsError::None)),
            ("24", number("24")),
            ("256", number("256")),
            ("+7", number("")),
            ("7+", number("")),
            ("07+7", Err(PcrsError::Twice(7))),
            ("-1", number("-1")),
            ("7,14", number("7,14")),
            ("all", number("all")),
            ("7+7", Err(PcrsError::Twice(7))),
            ("sha1:7", Err(PcrsError::Sha1)),
            ("sm3:7", Err(PcrsError::Bank("sm3".to_owned()))),
        ] {
            assert_eq!(text.parse::<Pcrs>().map(drop), error, "{text:?}");
        }
    }

    #[test]
    fn a_ring_has_one_form() {
        let read = |text: &str| serde_json::from_str::<Pcrs>(&format!("\"{text}\""));
        assert_eq!(read("sha256:0+7").unwrap(), "0+7".parse().unwrap());
        assert!(read("7+0").is_err() && read("sha256:7+0").is_err() && read("sha256:07").is_err());
    }

    #[test]
    fn bits_are_the_standards() {
        assert_eq!("0+7+8+23".parse::<Pcrs>().unwrap().bits(), [0x81, 0x01, 0x80]);
    }

    #[test]
    fn what_differs_is_told() {
        let state = |first, second| PcrState {
            pcrs: "7+14".parse().unwrap(),
            values: vec![hex::encode([first; 32]), hex::encode([second; 32])],
        };
        assert!(state(1, 2).changes(&state(1, 2)).is_empty());
        assert_eq!(state(1, 2).concatenated(), Some([[1; 32], [2; 32]].concat()));
        let short = PcrState { values: vec!["00".to_owned(); 2], ..state(1, 2) };
        let shouted = PcrState { values: vec!["AA".repeat(32); 2], ..state(1, 2) };
        assert_eq!((short.concatenated(), shouted.concatenated()), (None, None));
        let read = |state: &PcrState| serde_json::from_str::<PcrState>(&serde_json::to_string(state).unwrap());
        assert!(read(&state(1, 2)).is_ok_and(|read| read == state(1, 2)));
        assert!(read(&short).is_err() && read(&shouted).is_err());
        let changes = state(1, 2).changes(&state(1, 3));
        assert_eq!((changes.len(), changes[0].number), (1, 14));
        let text = changes[0].to_string();
        assert!(text.starts_with(&format!("PCR 14 is {}, the seal asks for {} (", "03".repeat(32), "02".repeat(32))));
        assert!(text.contains("shim"));
    }
}
