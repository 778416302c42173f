//! Whether a terminal shows what a document says that it shows.
//!
//! `...` as a line stands for any lines, within a line for any text. What is different in each run is compared by its
//! shape: times just so; ids and keys by name: where the document has the same one twice, so must the run, and two that
//! differ must differ.

use std::collections::HashMap;

/// Shapes whose text stands for another text of the run: `x` is a hexadecimal digit.
const NAMED: [&str; 4] = [
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxx-xxxx-xxxx-xxxx",
];
/// Shapes that may hold anything; `d` is a digit.
const FREE: [&str; 2] = ["dddd-dd-ddTdd:dd:ddZ", "xxxxxxxx..."];

/// Which text of the run stands for which of the document, so far.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    run: HashMap<String, String>,
    document: HashMap<String, String>,
    /// Ids and keys are those of the document: they don't come from a device of this run.
    as_written: bool,
}

impl Bindings {
    pub fn as_written() -> Self {
        Bindings { as_written: true, ..Bindings::default() }
    }

    fn bind(&mut self, document: &str, run: &str) -> bool {
        if self.as_written {
            return document == run;
        }
        self.run.entry(document.to_owned()).or_insert_with(|| run.to_owned()) == run
            && self.document.entry(run.to_owned()).or_insert_with(|| document.to_owned()) == document
    }
}

/// Compares lines; what they bind is kept where they fit.
pub fn fits(document: &[String], run: &[String], bindings: &mut Bindings) -> bool {
    match (document.split_first(), run.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((any, rest)), _) if any.trim() == "..." => (0..=run.len()).any(|skipped| {
            let mut tried = bindings.clone();
            let found = fits(rest, &run[skipped..], &mut tried);
            if found {
                *bindings = tried;
            }
            found
        }),
        (Some(_), None) => false,
        (Some((line, rest)), Some((shown, shown_rest))) => {
            let mut tried = bindings.clone();
            let found = line_fits(line, shown, &mut tried) && fits(rest, shown_rest, &mut tried);
            if found {
                *bindings = tried;
            }
            found
        }
    }
}

/// One line, from a place that is not in the middle of a word.
fn line_fits(document: &str, run: &str, bindings: &mut Bindings) -> bool {
    line_fits_after(' ', document, run, bindings)
}

fn line_fits_after(before: char, document: &str, run: &str, bindings: &mut Bindings) -> bool {
    if !before.is_ascii_alphanumeric() {
        for shape in NAMED {
            if let (Some(said), Some(shown)) = (shaped(shape, document), shaped(shape, run)) {
                return bindings.bind(said, shown)
                    && line_fits_after('x', &document[said.len()..], &run[shown.len()..], bindings);
            }
        }
        if let (Some(said), Some(shown)) = (shaped(FREE[0], document), shaped(FREE[0], run)) {
            return line_fits_after('x', &document[said.len()..], &run[shown.len()..], bindings);
        }
        // The beginning of a hash, cut short in the document.
        if let Some(said) = shaped(FREE[1], document) {
            let hash = run.len() - run.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
            return hash >= 8 && line_fits_after('x', &document[said.len()..], &run[hash..], bindings);
        }
    }
    if let Some(rest) = document.strip_prefix("...") {
        let ends = run.char_indices().map(|(at, _)| at).chain([run.len()]);
        for end in ends {
            let mut tried = bindings.clone();
            let last = run[..end].chars().next_back().unwrap_or(before);
            if line_fits_after(last, rest, &run[end..], &mut tried) {
                *bindings = tried;
                return true;
            }
        }
        return false;
    }
    let (mut said, mut shown) = (document.chars(), run.chars());
    match (said.next(), shown.next()) {
        (None, None) => true,
        (Some(one), Some(other)) => one == other && line_fits_after(one, said.as_str(), shown.as_str(), bindings),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// The beginning of `text`, where it has that shape and is not the beginning of something longer.
fn shaped<'t>(shape: &str, text: &'t str) -> Option<&'t str> {
    let (shape_bytes, bytes) = (shape.as_bytes(), text.as_bytes());
    let fits = |(wanted, found): (&u8, &u8)| match wanted {
        b'x' => found.is_ascii_digit() || (b'a'..=b'f').contains(found),
        b'd' => found.is_ascii_digit(),
        other => other == found,
    };
    let whole = bytes.len() >= shape_bytes.len() && shape_bytes.iter().zip(bytes).all(fits);
    let after = bytes.get(shape_bytes.len()).copied().unwrap_or(b' ');
    (whole && !after.is_ascii_alphanumeric()).then(|| &text[..shape.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn fit(document: &str, run: &str) -> bool {
        fits(&lines(document), &lines(run), &mut Bindings::default())
    }

    #[test]
    fn dots_stand_for_text_and_for_lines() {
        assert!(fit("a ... c", "a b, b c") && fit("...", "") && fit("a\n...\nd", "a\nb\nc\nd"));
        assert!(fit("a...", "a") && fit("SHA256:01234567...)", "SHA256:fedcba9876543210)"));
        assert!(!fit("a ... c", "a b d") && !fit("a\n...\nd", "a\nb") && !fit("a", "a\nb") && !fit("a\nb", "a"));
    }

    #[test]
    fn the_same_id_is_the_same_everywhere() {
        let (one, two) = ("b457-388b-e025-5b0a", "bab8-b9a0-46f2-f795");
        let (mine, other) = ("0123-4567-89ab-cdef", "fedc-ba98-7654-3210");
        assert!(fit(&format!("({one})\n{two} {one}"), &format!("({mine})\n{other} {mine}")));
        assert!(!fit(&format!("{one} {one}"), &format!("{mine} {other}")), "one id became two");
        assert!(!fit(&format!("{one} {two}"), &format!("{mine} {mine}")), "two ids became one");
        assert!(fits(&lines(one), &lines(one), &mut Bindings::as_written()));
        assert!(!fits(&lines(one), &lines(mine), &mut Bindings::as_written()));
    }

    #[test]
    fn times_are_any_times_and_words_are_words() {
        assert!(fit("made 2026-11-23T02:58:52Z on db1", "made 2030-01-01T00:00:00Z on db1"));
        assert!(!fit("made on db1", "made on db2"));
    }
}
