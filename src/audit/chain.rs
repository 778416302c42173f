//! The chain: each entry holds the hash of what stands before it, so that nothing can be changed, dropped, moved or put in
//! between without every later entry being written anew.
//!
//! `previous` is SHA-256 of all bytes from the first byte of the entry before to the line's end before this entry, that
//! line's end not counted. As a rule that is the line before. Where a crash has left a piece of a line, the piece is
//! covered together with the entry that it follows. What stands before the first entry is a fixed text.

use std::collections::BTreeMap;
use std::ops::Range;

use super::entry::{Entry, EntryError, FORMAT, Phase, What, hash};
use crate::bytes::Hex;
use crate::derive::GenerationId;

/// What the first entry follows.
const BEGINNING: &[u8] = b"strongroom audit log, format 1";
const _: () = assert!(FORMAT == 1, "the beginning names the format");

/// A log, read up to its end or to the first line that can't be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub links: Vec<Link>,
    /// Pieces of lines that crashes have left.
    pub pieces: Vec<Piece>,
    /// Intents that are not concluded, in their order.
    pub open: BTreeMap<u64, What>,
    pub broken: Option<Break>,
    /// Entries after that: not proved by anything.
    pub after: Vec<Link>,
}

/// An entry that follows the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// From 1.
    pub line: usize,
    pub entry: Entry,
    /// Of the line's bytes: what the journal has of it.
    pub hash: Hex<32>,
}

/// A part of a line that a crash cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub line: usize,
    pub bytes: usize,
}

/// Where the chain breaks: all before stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    pub line: usize,
    pub why: Why,
}

/// Why a line can't be true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("the line is no entry: {0}")]
    NoEntry(EntryError),
    #[error("it is entry {found}, where entry {expected} belongs: entries were dropped, put in, or moved")]
    Number { expected: u64, found: u64 },
    #[error("it does not follow the line before: that one was changed, or this one")]
    Previous,
    #[error("it concludes entry {0}, which began something else, or was concluded before")]
    Of(u64),
    #[error("its tag is not that of generation {0}: it was changed, or it was not written by whoever has the secret")]
    Tag(GenerationId),
    #[error("the TPM had counted {before} before it, and {found} with it: entries in between are gone")]
    Gap { before: u64, found: u64 },
    #[error("the TPM has counted entries that are gone: the log does not have the first of them")]
    NoFirst,
    #[error("entries are missing: the TPM has counted {counted}, the log ends at {logged}")]
    CutOff { logged: u64, counted: u64 },
    #[error("the TPM's counter is not the one that the log was counted with: it was cleared or removed")]
    CounterGone,
}

impl Chain {
    /// Reads a whole log.
    pub fn read(text: &[u8]) -> Self {
        let mut chain =
            Self { links: Vec::new(), pieces: Vec::new(), open: BTreeMap::new(), broken: None, after: Vec::new() };
        let mut unread: Vec<(usize, Range<usize>, EntryError)> = Vec::new();
        let mut before: Option<usize> = None;
        for (line, range) in lines(text) {
            match Entry::parse(&text[range.clone()]) {
                Err(error) => unread.push((line, range, error)),
                Ok(entry) => {
                    if chain.broken.is_some() {
                        chain.after.push(Link { line, hash: hash(&text[range]), entry });
                        continue;
                    }
                    if let Err(why) = chain.follow(&entry, text, before, range.start) {
                        // A line that is no entry, and that nothing covers, is where it broke.
                        chain.broken = Some(match unread.drain(..).next() {
                            Some((line, _, error)) => Break { line, why: Why::NoEntry(error) },
                            None => Break { line, why },
                        });
                        chain.after.push(Link { line, hash: hash(&text[range]), entry });
                        continue;
                    }
                    chain.pieces.extend(unread.drain(..).map(|(line, range, _)| Piece { line, bytes: range.len() }));
                    before = Some(range.start);
                    chain.links.push(Link { line, hash: hash(&text[range]), entry });
                }
            }
        }
        if chain.broken.is_some() {
            return chain;
        }
        // A crash leaves a line without its end. One with its end was whole once.
        let whole = text.ends_with(b"\n");
        if let Some((line, _, error)) = unread.iter().find(|(_, range, _)| whole || range.end != text.len()) {
            chain.broken = Some(Break { line: *line, why: Why::NoEntry(error.clone()) });
        } else {
            chain.pieces.extend(unread.into_iter().map(|(line, range, _)| Piece { line, bytes: range.len() }));
        }
        chain
    }

    fn follow(&mut self, entry: &Entry, text: &[u8], before: Option<usize>, start: usize) -> Result<(), Why> {
        let expected = self.last() + 1;
        if entry.n != expected {
            return Err(Why::Number { expected, found: entry.n });
        }
        if entry.previous != previous(text, before, start) {
            return Err(Why::Previous);
        }
        match (entry.phase, entry.of) {
            (Phase::Intent, _) => drop(self.open.insert(entry.n, entry.what)),
            (Phase::Outcome | Phase::Closed, Some(of)) => {
                self.open.remove(&of).filter(|what| *what == entry.what).ok_or(Why::Of(of))?;
            }
            (Phase::Outcome | Phase::Closed, None) => {}
        }
        Ok(())
    }

    /// The number of the last entry; 0 where there is none.
    pub fn last(&self) -> u64 {
        self.links.last().map_or(0, |link| link.entry.n)
    }
}

/// What the next entry has to hold: learnt from the log's end alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub n: u64,
    pub previous: Hex<32>,
    /// Whether the last line lacks its end: a crash cut it off.
    pub torn: bool,
}

impl End {
    /// Looks at `tail`, the last bytes of a log, which begin at `start` in it. None where there is no entry in them.
    pub fn of(start: u64, tail: &[u8]) -> Option<Self> {
        // Whatever was cut off at the beginning of the tail is not taken for a line.
        let skip = if start == 0 { 0 } else { 1 };
        let found: Vec<_> = lines(tail).skip(skip).collect();
        let last = found.into_iter().rev().find_map(|(_, range)| {
            let entry = Entry::parse(&tail[range.clone()]).ok()?;
            Some((entry.n, range.start))
        });
        let torn = !tail.is_empty() && !tail.ends_with(b"\n");
        let end = if torn { tail.len() + 1 } else { tail.len() };
        match last {
            Some((n, at)) => Some(Self { n, previous: previous(tail, Some(at), end), torn }),
            None if start == 0 => Some(Self { n: 0, previous: previous(tail, None, end), torn }),
            None => None,
        }
    }
}

/// What an entry that begins at `start` says of what is before it: of the entry that begins at `before`, and of what was
/// left between them. Where the line before has no end, `start` is where its end will be, and one more.
fn previous(text: &[u8], before: Option<usize>, start: usize) -> Hex<32> {
    match (before, start) {
        (Some(before), _) => hash(&text[before..start - 1]),
        (None, 0) => hash(BEGINNING),
        (None, _) => hash(&[BEGINNING, b"\n", &text[..start - 1]].concat()),
    }
}

/// The lines of a text with their numbers, without their ends. A last line without an end is one too.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut start = 0;
    text.split_inclusive(|byte| *byte == b'\n').enumerate().map(move |(index, line)| {
        let range = start..start + line.strip_suffix(b"\n").unwrap_or(line).len();
        start += line.len();
        (index + 1, range)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::audit::entry::tests::{entry, generation, key};
    use crate::audit::entry::{Count, Outcome};

    /// Adds an entry as the log does.
    pub fn add(text: &mut Vec<u8>, mut entry: Entry, vouched: bool) {
        let end = End::of(0, text).unwrap();
        entry.n = end.n + 1;
        entry.previous = end.previous;
        if vouched {
            entry.vouch(generation(7), &key(1));
        }
        if end.torn {
            text.push(b'\n');
        }
        text.extend(entry.print());
        text.push(b'\n');
    }

    pub fn outcome(what: What, of: u64, counter: Option<u64>) -> Entry {
        let mut done = entry(what, Phase::Outcome);
        (done.of, done.outcome) = (Some(of), Some(Outcome::Done));
        done.counter = counter.map(|value| Count { device: "SHA256:aa".to_owned(), value, first: value == 5 });
        done
    }

    /// Six entries, three of them vouched for and counted: init, a refusal in between, generate, verify.
    pub fn log() -> Vec<u8> {
        let mut text = Vec::new();
        add(&mut text, entry(What::Init, Phase::Intent), false);
        add(&mut text, outcome(What::Init, 1, Some(5)), true);
        add(&mut text, entry(What::Generate, Phase::Intent), false);
        let mut refused = entry(What::Generate, Phase::Outcome);
        (refused.outcome, refused.error) = (Some(Outcome::Refused), Some("ring-busy".to_owned()));
        add(&mut text, refused, false);
        add(&mut text, outcome(What::Generate, 3, Some(6)), true);
        add(&mut text, entry(What::Verify, Phase::Intent), false);
        add(&mut text, outcome(What::Verify, 6, Some(7)), true);
        text
    }

    /// A log with its lines changed by `change`.
    pub fn changed(change: impl FnOnce(&mut Vec<String>)) -> Vec<u8> {
        let mut lines: Vec<String> = String::from_utf8(log()).unwrap().lines().map(str::to_owned).collect();
        change(&mut lines);
        (lines.join("\n") + "\n").into_bytes()
    }

    fn broken_at(text: &[u8]) -> (usize, Why) {
        let found = Chain::read(text).broken.expect("it is found");
        (found.line, found.why)
    }

    #[test]
    fn a_log_that_nobody_touched_is_whole() {
        let chain = Chain::read(&log());
        assert_eq!(chain.links[6].line, 7);
        assert_eq!((chain.last(), chain.open.len(), chain.pieces.len(), chain.broken), (7, 0, 0, None));
        assert_eq!(Chain::read(b"").last(), 0);
    }

    #[test]
    fn a_changed_line_is_found() {
        assert_eq!(broken_at(&changed(|lines| lines[3] = lines[3].replace("alice", "bobby"))), (5, Why::Previous));
        assert!(matches!(
            broken_at(&changed(|lines| lines[3].insert(0, ' '))),
            (4, Why::NoEntry(EntryError::Spelling))
        ));
        assert!(matches!(broken_at(&changed(|lines| lines[6] = "7".to_owned())), (7, Why::NoEntry(_))));
        assert!(matches!(broken_at(&changed(|lines| lines[0] = String::new())), (1, Why::NoEntry(_))));
    }

    #[test]
    fn every_flipped_bit_but_the_last_lines_is_found() {
        // The last line has nobody to cover it but its tag: `verify` has the test of that.
        let text = log();
        let last = text.len() - text.split(|byte| *byte == b'\n').rev().nth(1).unwrap().len() - 2;
        for at in (0..last).step_by(7) {
            for bit in [0, 5] {
                let mut flipped = text.clone();
                flipped[at] ^= 1 << bit;
                assert!(Chain::read(&flipped).broken.is_some(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn dropped_moved_and_doubled_lines_are_found() {
        assert_eq!(broken_at(&changed(|lines| drop(lines.remove(3)))), (4, Why::Number { expected: 4, found: 5 }));
        assert_eq!(broken_at(&changed(|lines| drop(lines.remove(0)))), (1, Why::Number { expected: 1, found: 2 }));
        assert_eq!(broken_at(&changed(|lines| lines.swap(3, 4))), (4, Why::Number { expected: 4, found: 5 }));
        let doubled = changed(|lines| lines.insert(3, lines[2].clone()));
        assert_eq!(broken_at(&doubled), (4, Why::Number { expected: 4, found: 3 }));
    }

    #[test]
    fn an_inserted_line_is_found() {
        // With a right number and a right hash of its own: what stands after it does not follow it.
        let mut text = Vec::new();
        add(&mut text, entry(What::Init, Phase::Intent), false);
        let mut other = text.clone();
        add(&mut other, entry(What::Backup, Phase::Intent), false);
        let inserted = String::from_utf8(other).unwrap().lines().nth(1).unwrap().to_owned();
        let text = changed(|lines| lines.insert(1, inserted));
        assert_eq!(broken_at(&text), (3, Why::Number { expected: 3, found: 2 }));
    }

    #[test]
    fn an_outcome_needs_its_own_intent() {
        for (what, of) in [(What::Generate, 1), (What::Init, 2), (What::Init, 9)] {
            let mut text = Vec::new();
            add(&mut text, entry(What::Init, Phase::Intent), false);
            add(&mut text, outcome(what, of, None), false);
            assert_eq!(broken_at(&text), (2, Why::Of(of)));
        }
    }

    #[test]
    fn what_a_crash_cuts_off_at_any_byte_is_told_and_covered() {
        let whole = log();
        let before = whole.len() - whole.split(|byte| *byte == b'\n').rev().nth(1).unwrap().len() - 1;
        for length in before..whole.len() {
            let mut text = whole[..length].to_vec();
            let chain = Chain::read(&text);
            assert_eq!(chain.broken, None, "{length}");
            // All but the line's end: it is whole.
            let entries = if length == whole.len() - 1 { 7 } else { 6 };
            assert_eq!(chain.last(), entries);
            let piece = Piece { line: 7, bytes: length - before };
            assert_eq!(chain.pieces, if length == before || entries == 7 { vec![] } else { vec![piece] });
            add(&mut text, entry(What::Backup, Phase::Intent), false);
            assert!(text.starts_with(&whole[..length]), "nothing is taken back");
            let after = Chain::read(&text);
            assert_eq!((after.last(), &after.broken), (entries + 1, &None));
            assert_eq!(after.pieces, chain.pieces, "it is told for ever");
            if !after.pieces.is_empty() {
                text[before] ^= 1;
                assert!(Chain::read(&text).broken.is_some(), "and covered");
            }
        }
    }

    #[test]
    fn a_crash_in_the_first_line_and_one_after_another_are_covered() {
        let mut text = b"{\"format\":1,\"n\"".to_vec();
        assert_eq!(Chain::read(&text).pieces, [Piece { line: 1, bytes: 15 }]);
        text.extend(b"\n{\"for");
        assert!(Chain::read(&text).broken.is_some(), "the first piece has its end, and nothing covers it yet");
        add(&mut text, entry(What::Init, Phase::Intent), false);
        let chain = Chain::read(&text);
        assert_eq!((chain.last(), chain.pieces.len(), chain.broken), (1, 2, None));
    }

    #[test]
    fn the_end_is_learnt_from_the_last_bytes() {
        let text = log();
        let whole = End::of(0, &text).unwrap();
        let last = text.split(|byte| *byte == b'\n').rev().nth(1).unwrap().len();
        for start in [1, text.len() - last - 2] {
            assert_eq!(End::of(start as u64, &text[start..]), Some(whole.clone()));
        }
        let start = text.len() - last;
        assert_eq!(End::of(start as u64, &text[start..]), None, "half a line is none");
        assert_eq!(End::of(0, b"").unwrap().n, 0);
    }
}
