//! What a log is worth: its chain, the tags that the ring's generations can be asked about, and what TPMs have counted.
//! Pure: keys and counters were read before.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::{Break, Chain, Link, Piece, Why};
use super::entry::{Count, What};
use crate::derive::GenerationId;
use crate::secret::DerivedKey;

/// The audit keys of the ring's generations, and of those that it had; none where no device could be asked.
pub type Keys = BTreeMap<GenerationId, Option<DerivedKey>>;

/// What one TPM of the ring says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Its id in the ring.
    pub device: String,
    pub fingerprint: String,
    pub counted: Counted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    Value(u64),
    /// It keeps no counter for this system.
    Nothing,
    /// It was not asked, or did not say.
    Unread(String),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    pub entries: u64,
    /// The last entry whose tag is right: it and all before it are what was written.
    pub vouched: Option<u64>,
    /// Generations that vouched, and whose keys could not be had.
    pub unknown: BTreeSet<GenerationId>,
    pub counters: Vec<Counter>,
    pub open: BTreeMap<u64, What>,
    pub pieces: Vec<Piece>,
    /// Entries that begin to be counted anew, and found no ring: somebody had removed the counter. What was cut off before
    /// them, no counter tells any more.
    pub recounted: BTreeSet<u64>,
    /// The first line that can't be true.
    pub broken: Option<Break>,
}

/// What an entry of [`Findings::recounted`] means.
pub fn recounted(n: u64) -> String {
    format!("before entry {n} somebody removed the TPM's counter, and with it what tells of entries that were cut off")
}

impl Findings {
    /// Whether a counter covers all that is vouched for: a token may have vouched for the last entries, and counts nothing.
    pub fn has_witness(&self) -> bool {
        self.counters.iter().any(|counter| match counter.state {
            State::Witness { n, .. } => self.vouched.is_none_or(|vouched| n >= vouched),
            State::None | State::Unread(_) | State::Differs => false,
        })
    }
}

/// One TPM's counter next to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    pub device: String,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing was cut off after entry `n`, the last that it counted, or is about to count.
    Witness {
        n: u64,
        value: u64,
    },
    /// It keeps none, and the log names none.
    None,
    Unread(String),
    /// The log does not hold all that it has counted, or the counter is not what it was.
    Differs,
}

/// Judges a log.
pub fn judge(chain: &Chain, keys: &Keys, readings: &[Reading]) -> Findings {
    let mut findings = Findings {
        entries: chain.last(),
        vouched: None,
        unknown: BTreeSet::new(),
        counters: Vec::new(),
        open: chain.open.clone(),
        pieces: chain.pieces.clone(),
        recounted: BTreeSet::new(),
        broken: None,
    };
    let mut counts = Counts::default();
    for link in &chain.links {
        let judged = judge_tag(link, keys, &mut findings).and_then(|()| counts.take(link, keys));
        if let Err(why) = judged {
            findings.broken = Some(Break { line: link.line, why });
            return findings;
        }
    }
    findings.recounted = counts.recounted.clone();
    findings.broken.clone_from(&chain.broken);
    let after = chain.links.last().map_or(1, |link| link.line + 1);
    for reading in readings {
        let state = match counts.state(reading) {
            Ok(state) => state,
            Err(why) => {
                findings.broken.get_or_insert(Break { line: after, why });
                State::Differs
            }
        };
        findings.counters.push(Counter { device: reading.device.clone(), state });
    }
    findings
}

fn judge_tag(link: &Link, keys: &Keys, findings: &mut Findings) -> Result<(), Why> {
    let Some(generation) = link.entry.vouched else { return Ok(()) };
    match keys.get(&generation).and_then(Option::as_ref) {
        Some(key) if link.entry.is_vouched_by(key) => findings.vouched = Some(link.entry.n),
        Some(_) => return Err(Why::Tag(generation)),
        None => drop(findings.unknown.insert(generation)),
    }
    Ok(())
}

/// What the log says that each TPM has counted, by fingerprint.
#[derive(Default)]
struct Counts<'c> {
    last: BTreeMap<&'c str, (u64, &'c Count)>,
    /// Those of which a part can't be checked, since a generation of the ring can't be asked.
    unsure: BTreeMap<&'c str, GenerationId>,
    /// See [`Findings::recounted`].
    recounted: BTreeSet<u64>,
}

impl<'c> Counts<'c> {
    /// Each TPM counts up by one from entry to entry, beginning with one that says it is the first.
    fn take(&mut self, link: &'c Link, keys: &Keys) -> Result<(), Why> {
        let (Some(count), Some(generation)) = (&link.entry.counter, link.entry.vouched) else { return Ok(()) };
        let device = count.device.as_str();
        match keys.get(&generation) {
            Some(Some(_)) => {}
            Some(None) => {
                self.unsure.insert(device, generation);
                return Ok(());
            }
            // What a generation vouches for that the ring does not have, anybody can have written.
            None => return Ok(()),
        }
        if count.first {
            self.unsure.remove(device);
            if self.last.contains_key(device) && !founds(link.entry.what) {
                self.recounted.insert(link.entry.n);
            }
        }
        match self.last.insert(device, (link.entry.n, count)) {
            _ if count.first || self.unsure.contains_key(device) => Ok(()),
            None => Err(Why::NoFirst),
            Some((_, before)) if count.value == before.value.saturating_add(1) => Ok(()),
            Some((_, before)) => Err(Why::Gap { before: before.value, found: count.value }),
        }
    }

    fn state(&self, reading: &Reading) -> Result<State, Why> {
        let fingerprint = reading.fingerprint.as_str();
        if let Some(generation) = self.unsure.get(fingerprint) {
            return Ok(State::Unread(format!("generation {generation} could not be asked what it vouched for")));
        }
        state(self.last.get(fingerprint).copied(), &reading.counted)
    }
}

/// Whether a ceremony founds a ring or puts one back, and so begins to count by itself.
fn founds(what: What) -> bool {
    match what {
        What::Init | What::Restore | What::Recover => true,
        What::Generate
        | What::Backup
        | What::Verify
        | What::DeviceAdd
        | What::DeviceRemove
        | What::DeviceRepair
        | What::DeviceRetry
        | What::Bind
        | What::Unbind
        | What::Derive => false,
    }
}

/// What the last counted entry of a log, with its number, is next to what the TPM says.
fn state(logged: Option<(u64, &Count)>, counted: &Counted) -> Result<State, Why> {
    match (logged, counted) {
        (_, Counted::Unread(why)) => Ok(State::Unread(why.clone())),
        (None, Counted::Nothing) => Ok(State::None),
        (None, Counted::Value(_)) => Err(Why::NoFirst),
        // An entry is on the disk before it is counted: a crash in between leaves the log one ahead.
        (Some((n, Count { value, first: true, .. })), Counted::Nothing) => Ok(State::Witness { n, value: *value }),
        (Some(_), Counted::Nothing) => Err(Why::CounterGone),
        (Some((n, count)), Counted::Value(value))
            if count.value == *value || count.value.checked_sub(1) == Some(*value) =>
        {
            Ok(State::Witness { n, value: count.value })
        }
        (Some((_, count)), Counted::Value(value)) if count.value < *value => {
            Err(Why::CutOff { logged: count.value, counted: *value })
        }
        (Some(_), Counted::Value(_)) => Err(Why::CounterGone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::tests::{add, changed, log, outcome};
    use crate::audit::entry::tests::{entry, generation, key};
    use crate::audit::entry::{Entry, Phase};

    fn keys() -> Keys {
        BTreeMap::from([(generation(7), Some(key(1)))])
    }

    fn reading(counted: Counted) -> Reading {
        Reading { device: "tpm1".to_owned(), fingerprint: "SHA256:aa".to_owned(), counted }
    }

    fn found(text: &[u8], counted: Counted) -> Findings {
        judge(&Chain::read(text), &keys(), &[reading(counted)])
    }

    fn why(text: &[u8], counted: u64) -> Option<(usize, Why)> {
        found(text, Counted::Value(counted)).broken.map(|found| (found.line, found.why))
    }

    /// The log without its last `count` lines.
    fn cut(count: usize) -> Vec<u8> {
        changed(|lines| lines.truncate(lines.len() - count))
    }

    #[test]
    fn a_log_that_nobody_touched_is_vouched_for_to_its_end() {
        let findings = found(&log(), Counted::Value(7));
        assert_eq!((findings.broken, findings.vouched, findings.entries), (None, Some(7), 7));
        assert_eq!(findings.counters[0].state, State::Witness { n: 7, value: 7 });
    }

    #[test]
    fn a_log_that_is_cut_off_is_short_of_what_the_tpm_counted() {
        let cut_off = |line, logged| Some((line, Why::CutOff { logged, counted: 7 }));
        assert_eq!(why(&cut(1), 7), cut_off(7, 6));
        assert_eq!(why(&cut(2), 7), cut_off(6, 6));
        assert_eq!(why(&cut(4), 7), cut_off(4, 5));
        assert_eq!(why(&cut(6), 7), Some((2, Why::NoFirst)));
        assert_eq!(why(b"", 7), Some((1, Why::NoFirst)), "even where nothing is left");
    }

    #[test]
    fn one_ahead_is_a_crash_and_two_are_not() {
        assert_eq!(why(&log(), 6), None);
        assert_eq!(found(&log(), Counted::Value(6)).counters[0].state, State::Witness { n: 7, value: 7 });
        assert_eq!(why(&log(), 5), Some((8, Why::CounterGone)));
        assert_eq!(found(&log(), Counted::Nothing).broken.unwrap().why, Why::CounterGone);
    }

    #[test]
    fn what_was_cut_off_stays_missing_when_the_log_goes_on() {
        for (lines, line) in [(2, 6), (1, 7)] {
            let mut text = cut(lines);
            add(&mut text, entry(What::Backup, Phase::Intent), false);
            let n = Chain::read(&text).last();
            add(&mut text, outcome(What::Backup, n, Some(8)), true);
            assert_eq!(why(&text, 8), Some((line + 1, Why::Gap { before: 6, found: 8 })));
        }
        let mut text = Vec::new();
        add(&mut text, entry(What::Backup, Phase::Intent), false);
        add(&mut text, outcome(What::Backup, 1, Some(8)), true);
        assert_eq!(why(&text, 8), Some((2, Why::NoFirst)), "a log begun anew does not count on");
    }

    /// Who may remove the counter could cut off the end, and let the next ceremony make another one.
    #[test]
    fn a_counter_that_was_removed_is_remembered() {
        let mut text = cut(2);
        let n = Chain::read(&text).last();
        add(&mut text, entry(What::Backup, Phase::Intent), false);
        let mut anew = outcome(What::Backup, n + 1, Some(8));
        anew.counter.as_mut().unwrap().first = true;
        add(&mut text, anew, true);
        let findings = found(&text, Counted::Value(8));
        assert_eq!((findings.broken, findings.recounted), (None, BTreeSet::from([n + 2])));
        assert_eq!(found(&log(), Counted::Value(7)).recounted, BTreeSet::new());
    }

    #[test]
    fn without_a_counter_the_chain_alone_can_not_tell_what_was_cut_off() {
        let findings = found(&cut(2), Counted::Unread("not asked".to_owned()));
        assert_eq!((findings.broken, findings.vouched), (None, Some(5)));
        assert_eq!(findings.counters[0].state, State::Unread("not asked".to_owned()));
        assert_eq!(found(b"", Counted::Nothing).counters[0].state, State::None);
    }

    #[test]
    fn a_changed_entry_with_a_hash_for_everything_after_it_has_a_wrong_tag() {
        // Whoever can write the log can also chain it anew, but has no key.
        let mut text = Vec::new();
        for line in String::from_utf8(log()).unwrap().lines() {
            let mut entry = Entry::parse(line.as_bytes()).unwrap();
            if entry.n == 4 {
                entry.user = "nobody".to_owned();
            }
            add(&mut text, entry, false);
        }
        assert_eq!(Chain::read(&text).broken, None);
        assert_eq!(why(&text, 7), Some((5, Why::Tag(generation(7)))));
    }

    #[test]
    fn every_flipped_bit_of_the_last_line_is_found() {
        let text = log();
        let last = text.len() - text.split(|byte| *byte == b'\n').rev().nth(1).unwrap().len() - 1;
        for at in last..text.len() - 1 {
            for bit in [0, 5] {
                let mut flipped = text.clone();
                flipped[at] ^= 1 << bit;
                assert!(why(&flipped, 7).is_some(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn what_nobody_vouches_for_yet_is_told_apart() {
        let mut text = log();
        add(&mut text, entry(What::Backup, Phase::Intent), false);
        let findings = found(&text, Counted::Value(7));
        assert_eq!((findings.entries, findings.vouched, findings.broken), (8, Some(7), None));
        assert_eq!(findings.open, BTreeMap::from([(8, What::Backup)]));
    }

    #[test]
    fn where_a_generation_can_not_be_asked_nothing_is_made_of_what_was_counted() {
        let keys = BTreeMap::from([(generation(7), None)]);
        for counted in [7, 9] {
            let findings = judge(&Chain::read(&log()), &keys, &[reading(Counted::Value(counted))]);
            assert_eq!((findings.vouched, findings.broken), (None, None));
            assert!(matches!(&findings.counters[0].state, State::Unread(why) if why.contains("0707-0707")));
            assert_eq!(findings.unknown, BTreeSet::from([generation(7)]));
        }
    }

    /// A generation that left the ring with `restore --replace`: the new ring counts on by itself.
    #[test]
    fn a_ring_that_is_founded_counts_from_its_own_first_entry() {
        let mut text = log();
        add(&mut text, entry(What::Restore, Phase::Intent), false);
        let mut founded = outcome(What::Restore, 8, Some(8));
        founded.counter.as_mut().unwrap().first = true;
        add(&mut text, founded, true);
        // The entries before are another generation's.
        let text = String::from_utf8(text).unwrap();
        let mut other = Vec::new();
        for line in text.lines() {
            let mut entry = Entry::parse(line.as_bytes()).unwrap();
            let vouched = entry.tag.take().is_some();
            entry.vouched = None;
            let end = crate::audit::chain::End::of(0, &other).unwrap();
            (entry.n, entry.previous) = (end.n + 1, end.previous);
            match (vouched, entry.what) {
                (true, What::Restore) => entry.vouch(generation(7), &key(1)),
                (true, _) => entry.vouch(generation(9), &key(9)),
                (false, _) => {}
            }
            other.extend(entry.print());
            other.push(b'\n');
        }
        let findings = found(&other, Counted::Value(8));
        assert_eq!((findings.broken, findings.vouched), (None, Some(9)));
        assert_eq!(findings.counters[0].state, State::Witness { n: 9, value: 8 });
    }

    #[test]
    fn a_generation_that_is_not_here_can_not_be_asked() {
        let mut text = log();
        let mut other = outcome(What::Verify, 0, None);
        other.of = None;
        let end = crate::audit::chain::End::of(0, &text).unwrap();
        (other.n, other.previous) = (end.n + 1, end.previous);
        other.vouch(generation(9), &key(9));
        text.extend(other.print());
        text.push(b'\n');
        let findings = found(&text, Counted::Value(7));
        assert_eq!((findings.vouched, findings.broken), (Some(7), None));
        assert_eq!(findings.unknown, BTreeSet::from([generation(9)]));
    }
}
