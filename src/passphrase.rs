//! What a new passphrase and its hint must be.
//!
//! A backup outlives the device, and its passphrase is then all that guards the secret: so a new one is checked for what
//! a guesser with the file could do, and the hint, which anybody who finds the file can read, must not give it away. A
//! passphrase that *opens* a backup is only brought into the same form (NFC), never judged.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::secret::{Passphrase, SecretBytes, fill_random};
use crate::text::is_invisible;

/// Limits of a passphrase, in bytes of UTF-8 (NFC).
pub const MIN_BYTES: usize = 10;
pub const MAX_BYTES: usize = 1024;
/// Longest hint, in characters.
pub const MAX_HINT: usize = 200;
/// Words of a passphrase that Strongroom makes: 110 bits.
pub const WORDS: usize = 10;

/// The strength that a new passphrase must have: zxcvbn's best.
pub const STRONG: u8 = 4;

/// How many characters the strength estimate looks at; more would only cost time.
const JUDGED: usize = 100;
/// Words of the hint shorter than this say nothing about the passphrase.
const TELLING: usize = 4;

/// Why a passphrase or hint is not taken. Never repeats it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    #[error("the passphrase is not UTF-8")]
    NotUtf8,
    #[error("the passphrase holds a control character")]
    ControlCharacter,
    #[error("the passphrase is too short: {0} bytes")]
    Short(usize),
    #[error("the passphrase is too long: {0} bytes")]
    Long(usize),
    /// zxcvbn's own words on why, where it has any.
    #[error("the passphrase can be guessed (strength {score} of {STRONG}){}", because(.reason))]
    Weak { score: u8, reason: Option<String> },
    #[error("the hint has {0} characters; the limit is {MAX_HINT}")]
    LongHint(usize),
    #[error("the hint holds a character that can't be shown")]
    UnprintableHint,
    #[error("the hint gives the passphrase away")]
    TellingHint,
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {}", reason.trim_end_matches('.').to_lowercase())).unwrap_or_default()
}

/// A hint: one line, printable, at most 200 characters. Public by nature.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hint(String);

impl Hint {
    pub fn new(text: &str) -> Result<Self, PassphraseError> {
        let text = text.trim();
        match text.chars().count() {
            count if count > MAX_HINT => return Err(PassphraseError::LongHint(count)),
            _ => {}
        }
        if text.chars().any(|c| c.is_control() || is_invisible(c)) {
            return Err(PassphraseError::UnprintableHint);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Brings what was typed or read into the form that a backup is opened with: UTF-8, NFC, no control characters.
pub fn normalized(bytes: &[u8]) -> Result<Passphrase, PassphraseError> {
    let text = std::str::from_utf8(bytes).map_err(|_| PassphraseError::NotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(PassphraseError::ControlCharacter);
    }
    // Composing never lengthens text to more than three times its bytes (UAX #15, section 14), so this never reallocates.
    let mut composed = Zeroizing::new(String::with_capacity(3 * text.len() + 4));
    composed.extend(text.nfc());
    Ok(Passphrase::new(SecretBytes::copy_of(composed.as_bytes())))
}

/// What a new passphrase is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// How hard it is to guess, 0 to [`STRONG`].
    pub score: u8,
    /// Why it is not taken, if it is not.
    pub problem: Option<PassphraseError>,
}

/// Judges a new passphrase. `known` are words that a guesser would try first: the system's name, the host's, the hint.
pub fn judge(passphrase: &Passphrase, hint: &Hint, known: &[&str]) -> Judgement {
    let text = passphrase.expose_str();
    let mut known: Vec<&str> = known.to_vec();
    known.extend(hint.0.split_whitespace());
    let judged = Zeroizing::new(text.chars().take(JUDGED).collect::<String>());
    let estimate = zxcvbn::zxcvbn(&judged, &known);
    let score = u8::from(estimate.score());
    let problem = match text.len() {
        len @ 0..MIN_BYTES => Some(PassphraseError::Short(len)),
        len if len > MAX_BYTES => Some(PassphraseError::Long(len)),
        _ if gives_away(hint, text) => Some(PassphraseError::TellingHint),
        _ if score < STRONG => {
            let reason = estimate.feedback().and_then(|feedback| feedback.warning()).map(|warning| warning.to_string());
            Some(PassphraseError::Weak { score, reason })
        }
        _ => None,
    };
    Judgement { score, problem }
}

/// Refuses a new passphrase that [`judge`] finds fault with.
pub fn check_new(passphrase: &Passphrase, hint: &Hint, known: &[&str]) -> Result<(), PassphraseError> {
    judge(passphrase, hint, known).problem.map_or(Ok(()), Err)
}

/// Whether the passphrase is hard to type on another keyboard or system.
pub fn is_hard_to_type(passphrase: &Passphrase) -> bool {
    !passphrase.expose_secret().is_ascii()
}

/// What is said of one that [`is_hard_to_type`].
pub const HARD_TO_TYPE: &str = "the passphrase has characters that not every keyboard can type";

/// A strong one: ten words of the 2,048 of BIP 39, drawn evenly, joined by `-`.
pub fn suggest() -> Passphrase {
    let words = bip39::Language::English.word_list();
    let mut text = Zeroizing::new(String::with_capacity(WORDS * 9));
    for index in 0..WORDS {
        let mut draw = [0; 2];
        fill_random(&mut draw);
        if index > 0 {
            text.push('-');
        }
        // 2,048 divides 65,536: no word is likelier than another.
        text.push_str(words[usize::from(u16::from_be_bytes(draw)) % words.len()]);
        zeroize::Zeroize::zeroize(&mut draw);
    }
    Passphrase::new(SecretBytes::copy_of(text.as_bytes()))
}

/// The hint holds the passphrase, or a good part of it: the whole, without regard to case and blanks; a word of the hint
/// that makes up half of it; or words of it that together make up half, in whatever order.
fn gives_away(hint: &Hint, passphrase: &str) -> bool {
    let plain = |text: &str| -> Zeroizing<String> {
        Zeroizing::new(text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect())
    };
    let (told, secret) = (plain(&hint.0), plain(passphrase));
    if secret.is_empty() || told.is_empty() {
        return false;
    }
    let half = |word: &str| {
        let word = plain(word);
        let letters = word.chars().count();
        letters >= TELLING && secret.contains(word.as_str()) && letters * 2 >= secret.chars().count()
    };
    let words = |text: &str| -> Vec<Zeroizing<String>> {
        text.split(|c: char| !c.is_alphanumeric()).map(plain).filter(|word| word.chars().count() >= TELLING).collect()
    };
    let told_words = words(&hint.0);
    let shared: usize =
        words(passphrase).iter().filter(|word| told_words.contains(word)).map(|word| word.chars().count()).sum();
    shared * 2 >= secret.chars().count()
        || told.contains(secret.as_str())
        || hint.0.split_whitespace().any(half)
        || (secret.contains(told.as_str()) && half(&hint.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, hint: &str) -> Result<(), PassphraseError> {
        check_new(&normalized(text.as_bytes())?, &Hint::new(hint)?, &["payroll", "db1"])
    }

    #[test]
    fn takes_strong_ones() {
        check("correct horse battery staple orbit", "").unwrap();
        check("Vq8-tannen-Kiesel-71-morgen", "the usual one, with the year").unwrap();
        for _ in 0..20 {
            let passphrase = suggest();
            assert_eq!(passphrase.expose_str().split('-').count(), WORDS);
            check_new(&passphrase, &Hint::default(), &[]).unwrap();
        }
    }

    #[test]
    fn refuses_weak_ones() {
        assert_eq!(check("short", ""), Err(PassphraseError::Short(5)));
        assert_eq!(check(&"x".repeat(1025), ""), Err(PassphraseError::Long(1025)));
        assert_eq!(check("tab\tin the middle of it", ""), Err(PassphraseError::ControlCharacter));
        for weak in ["password123", "payrollpayroll", "1234567890123", "db1payroll2026"] {
            assert!(matches!(check(weak, ""), Err(PassphraseError::Weak { .. })), "{weak}");
        }
        assert_eq!(normalized(b"\xff\xfe").err(), Some(PassphraseError::NotUtf8));
    }

    #[test]
    fn composes_to_one_form() {
        let composed = normalized("Zürich".as_bytes()).unwrap();
        let decomposed = normalized("Zu\u{308}rich".as_bytes()).unwrap();
        assert_eq!(composed.expose_secret(), decomposed.expose_secret());
        assert!(is_hard_to_type(&composed));
    }

    #[test]
    fn hints_must_not_tell() {
        let strong = "Vq8-tannen-Kiesel-71-morgen";
        let words = "morgen, Kiesel, tannen";
        for telling in [strong, "it is vq8 tannen kiesel 71 morgen", "tannenkiesel71 and so on", words] {
            assert_eq!(check(strong, telling), Err(PassphraseError::TellingHint), "{telling}");
        }
        for fine in ["", "the usual one, with the year", "safe 3, tannen"] {
            check(strong, fine).unwrap();
        }
        assert_eq!(Hint::new(&"x".repeat(201)), Err(PassphraseError::LongHint(201)));
        assert_eq!(Hint::new("two\nlines"), Err(PassphraseError::UnprintableHint));
        assert_eq!(Hint::new("\u{202e}reversed"), Err(PassphraseError::UnprintableHint));
        assert_eq!(Hint::new("  blanks  ").unwrap().as_str(), "blanks");
    }
}
