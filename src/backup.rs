//! The backup file: a preamble that people can read, then an armored age file (scrypt recipient), and nothing after it.
//!
//! ```text
//! # Strongroom backup: the master secret of system payroll (2b1c...), generations 1-3, active 3
//! # made 2026-11-22T21:00:00Z on db1; restore with: strongroom restore FILE
//! # password hint: the usual one, with the year
//! # by hand: sed -n '/^-----BEGIN/,$p' FILE | age -d      (then see docs/backup-format.md)
//! -----BEGIN AGE ENCRYPTED FILE-----
//! ```
//!
//! Every byte of the age file is authenticated by it. The preamble is not, and is never trusted: what counts is repeated
//! inside ([`Contents`], as JSON), and a difference is reported. `docs/backup-format.md` is the format's full text.

mod armor;
mod contents;

use age::scrypt;
use jiff::Timestamp;
use zeroize::Zeroizing;

pub use armor::check_memory;
pub use contents::{Contents, Entry, FORMAT, Made};

use crate::secret::Passphrase;
use crate::text::{escaped, generations};

/// Largest backup file, in bytes.
pub const MAX_FILE: u64 = 1 << 20;
/// The work factor of new backups: log2 of scrypt's N. 0.7 seconds and 256 MiB.
pub const WORK_FACTOR: u8 = 18;
/// The work factors that may be asked for; more than the upper one is refused by readers as well.
pub const WORK_FACTORS: std::ops::RangeInclusive<u8> = 10..=20;
/// Below this, `status` warns.
pub const LOW_WORK_FACTOR: u8 = 16;

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";

/// Why a file is not a backup that opens.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("the file is empty")]
    Empty,
    #[error("this is not a Strongroom backup")]
    Foreign,
    /// It once was a backup: cut off, changed, or something added.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    #[error("the backup has format {0}, this version reads {format}", format = contents::FORMAT)]
    Format(u32),
    #[error("the backup's work factor is {found}; the limit is {limit}", limit = WORK_FACTORS.end())]
    Work { found: u32 },
    #[error("opening the backup takes {needed_mib} MiB of memory, and {available_mib} MiB are free")]
    Memory { needed_mib: u64, available_mib: u64 },
    #[error("wrong passphrase")]
    WrongPassphrase,
}

/// What a backup says of itself before it is opened: not authenticated, for people only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preamble {
    /// The lines, without `# `, fit for a terminal.
    pub lines: Vec<String>,
    /// log2 of scrypt's N, read from the age header; within the limit.
    pub work_factor: u8,
}

impl Preamble {
    /// The hint, where the preamble has one.
    pub fn hint(&self) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(HINT))
    }

    /// The lines worth showing before the passphrase: what it is, when and where it was made.
    pub fn summary(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter(|line| !line.starts_with(BY_HAND) && !line.starts_with(HINT)).map(String::as_str)
    }
}

const HINT: &str = "password hint: ";
const BY_HAND: &str = "by hand: ";

/// Looks at a file without opening it: refuses what can't be a backup, and work that this machine can't do, before
/// anybody is asked for a passphrase.
pub fn look(file: &[u8]) -> Result<Preamble, BackupError> {
    let parts = Parts::of(file)?;
    let work_factor = armor::work_factor(&parts.armored)?;
    if work_factor > u32::from(*WORK_FACTORS.end()) {
        return Err(BackupError::Work { found: work_factor });
    }
    let work_factor = u8::try_from(work_factor).expect("at most 20");
    armor::check_memory(work_factor)?;
    Ok(Preamble { lines: parts.preamble.iter().map(|line| escaped(line)).collect(), work_factor })
}

/// Opens a backup: one pass of scrypt. Gives what is inside, and whether the preamble says the same.
pub fn open(file: &[u8], passphrase: &Passphrase) -> Result<(Contents, bool), BackupError> {
    let parts = Parts::of(file)?;
    look(file)?;
    let plain = armor::decrypt(&parts.armored, passphrase)?;
    let contents = Contents::parse(&plain)?;
    let agrees = preamble(&contents) == parts.preamble;
    Ok((contents, agrees))
}

/// Makes a backup file's bytes: one pass of scrypt with N = 2^`work_factor`.
pub fn seal(contents: &Contents, passphrase: &Passphrase, work_factor: u8) -> Result<Vec<u8>, BackupError> {
    let mut recipient = scrypt::Recipient::new(age_passphrase(passphrase));
    recipient.set_work_factor(work_factor);
    let plain: Zeroizing<Vec<u8>> = contents.print();
    let armored = age::encrypt_and_armor(&recipient, &plain)
        .map_err(|error| BackupError::Damaged(format!("it can't be encrypted: {error}")))?;
    let mut file: String = preamble(contents).iter().map(|line| format!("# {line}\n")).collect();
    file.push_str(&armored);
    if file.len() as u64 > MAX_FILE {
        return Err(BackupError::Damaged(format!("it would be larger than {MAX_FILE} bytes")));
    }
    Ok(file.into_bytes())
}

fn age_passphrase(passphrase: &Passphrase) -> age::secrecy::SecretString {
    passphrase.expose_str().to_owned().into()
}

/// The preamble's lines for these contents, without `# `.
fn preamble(contents: &Contents) -> Vec<String> {
    let numbers: Vec<u32> = contents.generations.iter().map(|entry| entry.number).collect();
    let mut lines = vec![
        format!(
            "Strongroom backup: the master secret of system {} ({}), {}, active {}",
            contents.system.name,
            contents.system.id,
            generations(&numbers),
            contents.active
        ),
        format!("made {} on {}; restore with: strongroom restore FILE", seconds(contents.made.at), contents.made.host),
    ];
    if !contents.hint.is_empty() {
        lines.push(format!("{HINT}{}", contents.hint));
    }
    lines.push(format!("{BY_HAND}sed -n '/^-----BEGIN/,$p' FILE | age -d      (then see docs/backup-format.md)"));
    lines
}

/// `2026-11-22T21:00:00Z`: times are kept to the second.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A file's two parts.
struct Parts {
    preamble: Vec<String>,
    /// From BEGIN to END, lines ended by LF.
    armored: String,
}

impl Parts {
    /// Every line before BEGIN starts with `# `; there is one BEGIN; nothing follows END. CRLF is accepted.
    fn of(file: &[u8]) -> Result<Self, BackupError> {
        let damaged = |what: &str| BackupError::Damaged(what.to_owned());
        if file.iter().all(u8::is_ascii_whitespace) {
            return Err(BackupError::Empty);
        }
        let text = std::str::from_utf8(file).map_err(|_| match file.starts_with(b"# Strongroom backup") {
            true => damaged("it is not text"),
            false => BackupError::Foreign,
        })?;
        let ours = text.starts_with("# Strongroom backup");
        let text = text.replace("\r\n", "\n");
        let begins = text.lines().filter(|line| *line == BEGIN).count();
        let (before, armored) = match begins {
            0 if ours => return Err(damaged("it has no encrypted part")),
            0 => return Err(BackupError::Foreign),
            1 => split_at_line(&text, BEGIN),
            _ => return Err(damaged("it has more than one encrypted part")),
        };
        let preamble = before.lines().map(|line| line.strip_prefix("# ").map(str::to_owned)).collect::<Option<_>>();
        let preamble = preamble
            .ok_or_else(|| if ours { damaged("a line before it was changed") } else { BackupError::Foreign })?;
        let Some((inside, after)) = armored.split_once(END) else {
            return Err(damaged("its end is missing"));
        };
        if !after.is_empty() && after != "\n" {
            return Err(damaged("something follows its end"));
        }
        Ok(Self { preamble, armored: format!("{inside}{END}\n") })
    }
}

/// Cuts before the first line that is exactly `line`. The preamble may hold the same words within a line.
fn split_at_line<'t>(text: &'t str, line: &str) -> (&'t str, &'t str) {
    let mut start = 0;
    for each in text.split_inclusive('\n') {
        if each.trim_end_matches('\n') == line {
            break;
        }
        start += each.len();
    }
    text.split_at(start)
}

#[cfg(test)]
mod tests {
    use super::contents::tests::sample;
    use super::*;
    use crate::passphrase::normalized;

    const LIGHT: u8 = 10;

    fn passphrase(text: &str) -> Passphrase {
        normalized(text.as_bytes()).ok().unwrap()
    }

    fn file() -> Vec<u8> {
        seal(&sample(&[1, 2, 3]), &passphrase("tannen kiesel"), LIGHT).unwrap()
    }

    fn opened(file: &[u8]) -> Result<bool, BackupError> {
        open(file, &passphrase("tannen kiesel")).map(|(_, agrees)| agrees)
    }

    #[test]
    fn opens_what_it_seals() {
        let file = file();
        let seen = look(&file).unwrap();
        assert_eq!(seen.hint(), Some("the usual one, with the year"));
        assert_eq!(seen.work_factor, LIGHT);
        assert_eq!(seen.summary().count(), 2);
        assert!(seen.lines[0].contains("generations 1-3, active 3"));
        assert!(opened(&file).unwrap());
        assert!(matches!(open(&file, &passphrase("other")), Err(BackupError::WrongPassphrase)));
    }

    #[test]
    fn accepts_crlf_and_reports_a_changed_preamble() {
        let text = String::from_utf8(file()).unwrap();
        assert!(opened(text.replace('\n', "\r\n").as_bytes()).unwrap());
        assert!(!opened(text.replace("on db1", "on db2").as_bytes()).unwrap());
        let armor_only = &text[text.find(BEGIN).unwrap()..];
        assert!(!opened(armor_only.as_bytes()).unwrap());
        assert_eq!(
            look(text.replace("usual", "\u{1b}[2Jusual").as_bytes()).unwrap().hint(),
            Some("the \\u{1b}[2Jusual one, with the year")
        );
    }

    #[test]
    fn a_hint_may_look_like_the_beginning() {
        let mut contents = sample(&[1]);
        contents.hint = format!("x {BEGIN}");
        let file = seal(&contents, &passphrase("tannen kiesel"), LIGHT).unwrap();
        assert!(opened(&file).unwrap());
    }

    #[test]
    fn tells_damage_from_foreign_files() {
        let text = String::from_utf8(file()).unwrap();
        let damaged = |text: &str| matches!(opened(text.as_bytes()), Err(BackupError::Damaged(_)));
        assert!(damaged(&text[..text.len() / 2]));
        assert!(damaged(&text[..200]));
        assert!(damaged(&format!("{text}more")));
        assert!(damaged(&format!("{text}{text}")));
        assert!(damaged(&text.replacen("# made", "made", 1)));
        assert!(matches!(opened(b""), Err(BackupError::Empty)));
        assert!(matches!(opened(b"\n\n"), Err(BackupError::Empty)));
        for foreign in [&b"hello"[..], b"\x7fELF\xff\xfe", b"# Some other file\nwith text\n"] {
            assert!(matches!(opened(foreign), Err(BackupError::Foreign)));
        }
    }

    /// Whatever bit is flipped in the encrypted part, it is damage or a wrong passphrase, never data.
    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let file = file();
        let start = String::from_utf8_lossy(&file).find(BEGIN).unwrap();
        for place in (start..file.len()).step_by(7) {
            let mut changed = file.clone();
            changed[place] ^= 1 << (place % 7);
            assert!(opened(&changed).is_err() || changed == file, "byte {place}");
        }
    }

    #[test]
    fn absurd_work_is_refused_before_it_is_done() {
        let text = String::from_utf8(file()).unwrap();
        let (preamble, armored) = text.split_at(text.find(BEGIN).unwrap());
        let mut inside = Vec::new();
        std::io::Read::read_to_end(&mut age::armor::ArmoredReader::new(armored.as_bytes()), &mut inside).unwrap();
        let place = inside.windows(4).position(|window| window == b" 10\n").unwrap();
        for (absurd, seen) in [(" 21\n", 21), (" 63\n", 63), (" 4000000\n", 4_000_000)] {
            let changed = [&inside[..place], absurd.as_bytes(), &inside[place + 4..]].concat();
            let file = format!("{preamble}{}", armored_again(&changed));
            assert!(matches!(look(file.as_bytes()), Err(BackupError::Work { found }) if found == seen));
        }
        for bad in [" 010\n", " 1x\n", " \n", " 99999999999\n"] {
            let changed = [&inside[..place], bad.as_bytes(), &inside[place + 4..]].concat();
            let file = format!("{preamble}{}", armored_again(&changed));
            assert!(matches!(look(file.as_bytes()), Err(BackupError::Damaged(_))), "{bad:?}");
        }
    }

    fn armored_again(bytes: &[u8]) -> String {
        use std::io::Write;
        let mut armored = age::armor::ArmoredWriter::wrap_output(Vec::new(), age::armor::Format::AsciiArmor).unwrap();
        armored.write_all(bytes).unwrap();
        String::from_utf8(armored.finish().unwrap()).unwrap()
    }
}
