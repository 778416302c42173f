//! A passphrase in parts. Each of several people types one, unseen by the others; joined by `-` the parts are the
//! passphrase of the backup, so that `age -d` opens it too, and whoever comes later needs no Strongroom to know how.
//!
//! What this is worth: nobody opens the backup alone. But who knows the other parts, with the file, has one part left to
//! guess, on a machine of their own. So each part has to pass for a passphrase by itself, not the joined one alone.

use strongroom::passphrase::{self, Hint, PassphraseError};
use strongroom::secret::{Passphrase, SecretBytes};

use super::{ask_hint, persevere, warn_of_keyboards};
use crate::report::Stop;
use crate::terminal::Terminal;

const WHAT: &str = "a custodian's part";
/// A passphrase from a file is no secret of several people; but that is how a machine would be given it.
const FLAG: &str = "--passphrase-file or --passphrase-fd, the parts joined by `-`, and without --custodians";

/// A new one: each part judged as a passphrase and typed twice, then the hint.
pub fn new(count: u8, given: Option<Hint>, known: &[&str], terminal: &Terminal) -> Result<(Passphrase, Hint), Stop> {
    let first = given.clone().unwrap_or_default();
    let unseen = terminal.unseen(WHAT, FLAG)?;
    let mut parts: Vec<Passphrase> = Vec::new();
    for custodian in 1..=count {
        let part = persevere(terminal, |terminal| {
            let part = ask(custodian, count, "", terminal)?;
            passphrase::check_new(&part, &first, known).map_err(|source| Stop::Part { custodian, source })?;
            let again = ask(custodian, count, ", again", terminal)?;
            match part.expose_secret() == again.expose_secret() {
                true => Ok(part),
                false => Err(Stop::PartsDiffer(custodian)),
            }
        })?;
        // The second of the two would know the first one's part: there is no going on with either.
        if let Some((other, _)) = (1..).zip(&parts).find(|(_, other)| other.expose_secret() == part.expose_secret()) {
            return Err(Stop::PartsAlike(other, custodian));
        }
        parts.push(part);
    }
    drop(unseen);
    let joined = joined(&parts)?;
    passphrase::check_new(&joined, &first, known)?;
    warn_of_keyboards(&joined, terminal);
    let hint = match given {
        Some(hint) => hint,
        None => persevere(terminal, |terminal| {
            let hint = ask_hint(terminal)?;
            // All of them passed without a hint: what makes one weak now is the hint, and nobody types a part again for it.
            let tells = |secret| passphrase::check_new(secret, &hint, known).is_err();
            match parts.iter().chain([&joined]).any(tells) {
                true => Err(PassphraseError::TellingHint.into()),
                false => Ok(hint),
            }
        })?,
    };
    Ok((joined, hint))
}

/// That of a backup that exists: each part once.
pub fn existing(count: u8, terminal: &Terminal) -> Result<Passphrase, Stop> {
    let _unseen = terminal.unseen(WHAT, FLAG)?;
    let part = |custodian| persevere(terminal, |terminal| ask(custodian, count, "", terminal));
    joined(&(1..=count).map(part).collect::<Result<Vec<_>, _>>()?)
}

/// A part; an empty one would leave the rest to the others.
fn ask(custodian: u8, count: u8, again: &str, terminal: &Terminal) -> Result<Passphrase, Stop> {
    let question = format!("Part of custodian {custodian} of {count}{again}: ");
    let typed = terminal.ask_secret(&question, WHAT, FLAG)?;
    if typed.is_empty() {
        return Err(Stop::PartEmpty(custodian));
    }
    passphrase::normalized(typed.expose_secret()).map_err(|source| Stop::Part { custodian, source })
}

fn joined(parts: &[Passphrase]) -> Result<Passphrase, Stop> {
    let parts: Vec<&[u8]> = parts.iter().map(Passphrase::expose_secret).collect();
    let len = parts.iter().map(|part| part.len()).sum::<usize>() + parts.len().saturating_sub(1);
    let mut whole = SecretBytes::zeroed(len);
    let mut rest = whole.as_mut();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            rest[0] = b'-';
            rest = &mut rest[1..];
        }
        let (here, after) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = after;
    }
    Ok(passphrase::normalized(whole.expose_secret())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(parts: &[&str]) -> Result<String, Stop> {
        let parts: Result<Vec<_>, _> = parts.iter().map(|part| passphrase::normalized(part.as_bytes())).collect();
        joined(&parts?).map(|whole| whole.expose_str().to_owned())
    }

    #[test]
    fn parts_are_joined_as_anybody_would() {
        assert_eq!(join(&["one", "two", "three"]).unwrap(), "one-two-three");
        assert_eq!(join(&["ends with -", "- begins with"]).unwrap(), "ends with --- begins with");
        assert_eq!(join(&["Zu\u{308}rich", "\u{308}x"]).unwrap(), "Zürich-\u{308}x");
    }
}
