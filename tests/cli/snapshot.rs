//! Snapshots: what was asked for, how it ended, and all that was said, in a file that people read.

use std::fmt;
use std::path::PathBuf;

/// One run of a command.
#[derive(Clone)]
pub struct Shot {
    pub line: String,
    /// None where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Standard output as it was.
    pub raw: Vec<u8>,
}

impl Shot {
    /// Each line of standard output as JSON.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        String::from_utf8_lossy(&self.raw).lines().map(parse).collect()
    }
}

impl Shot {
    fn outcome(&self) -> String {
        let mut outcome = match self.code {
            Some(code) => format!("exit code {code}\n"),
            None => "ended by a signal\n".to_owned(),
        };
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                outcome.push_str(&format!("-- {name}\n{text}"));
                if !text.ends_with('\n') {
                    outcome.push_str("\n-- (no end of line)\n");
                }
            }
        }
        outcome
    }
}

impl fmt::Display for Shot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ strongroom {}\n{}", self.line, self.outcome())
    }
}

/// Compares runs with `snapshots/NAME.txt`; with `BLESS=1` in the environment, writes the file. Neighbours that ended alike
/// are told together.
pub fn check(name: &str, shots: &[Shot]) {
    let alike = shots.chunk_by(|one, next| one.outcome() == next.outcome());
    let told = alike.map(|shots| {
        let lines: String = shots.iter().map(|shot| format!("$ strongroom {}\n", shot.line)).collect();
        lines + &shots[0].outcome()
    });
    check_text(name, &told.collect::<Vec<_>>().join("\n"));
}

pub fn check_text(name: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots").join(format!("{name}.txt"));
    if std::env::var_os("BLESS").is_some_and(|bless| bless == "1") {
        return std::fs::write(&path, found).expect("the snapshots' directory");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == found,
        "what is said is not what {} has (BLESS=1 writes it anew):\n{}",
        path.display(),
        difference(&expected, found)
    );
}

/// The lines that begin and end alike, and between them what was expected (-) and what came (+).
fn difference(expected: &str, found: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let alike = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[alike..], &new[alike..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let lines =
        |sign: &str, lines: &[&str]| -> String { lines.iter().map(|line| format!("{sign} {line}\n")).collect() };
    lines(" ", &old[..alike])
        + &lines("-", &old_rest[..old_rest.len() - tail])
        + &lines("+", &new_rest[..new_rest.len() - tail])
        + &lines(" ", &old_rest[old_rest.len() - tail..])
}

/// The words of a command line; single quotes hold a word together, as in a shell.
pub fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for sign in line.chars() {
        match sign {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            sign => word.get_or_insert_default().push(sign),
        }
    }
    assert!(!quoted, "a quote is open in {line}");
    words.extend(word);
    words
}

#[test]
fn splits_words_and_shows_differences() {
    assert_eq!(split("derive  '' 'a b'c"), ["derive", "", "a bc"]);
    assert_eq!(difference("a\nb\nc\n", "a\nx\ny\nc\n"), "  a\n- b\n+ x\n+ y\n  c\n");
}
