//! What people choose: labels, names, passphrases and hints, a line each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::derive::Label;
use strongroom::passphrase::{Hint, PassphraseError, check_new, normalized};
use strongroom::ring::check_name;
use strongroom::text::escaped;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(3, |&byte| byte == b'\n');
    let (first, second, third) = (lines.next(), lines.next(), lines.next());
    let text = |line: Option<&[u8]>| String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
    let (chosen, hint, known) = (text(first), text(second), text(third));

    let shown = escaped(&chosen);
    assert!(shown.chars().all(|c| !c.is_control()) && escaped(&shown) == shown, "fit for a terminal");
    if let Ok(label) = Label::new(&chosen) {
        assert_eq!(label.as_str(), chosen, "a label is never changed");
        assert!((1..=255).contains(&chosen.len()) && !chosen.contains('\0'));
    }
    if check_name(&chosen).is_ok() {
        assert_eq!(shown, chosen);
    }
    let hint = Hint::new(&hint).inspect(|hint| {
        assert_eq!(Hint::new(hint.as_str()).as_ref(), Ok(hint), "taking a hint changes it once");
        assert_eq!(escaped(hint.as_str()), hint.as_str());
    });
    if let Ok(passphrase) = normalized(first.unwrap_or_default()) {
        let again = normalized(passphrase.expose_secret()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.expose_secret(), passphrase.expose_secret(), "one form");
        assert!(passphrase.expose_secret().len() <= 3 * chosen.len() + 4, "the buffer is never too small");
        let hint = hint.unwrap_or_default();
        let judged = check_new(&passphrase, &hint, &[&known]);
        let told = !chosen.is_empty() && hint.as_str() == chosen && chosen.chars().all(char::is_alphanumeric);
        if told && passphrase.expose_str() == chosen {
            assert!(matches!(
                judged,
                Err(PassphraseError::TellingHint | PassphraseError::Short(_) | PassphraseError::Long(_))
            ));
        }
    }
});
