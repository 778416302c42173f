//! The log with a real TPM: what it counts, and what is made up for after a crash. How the command keeps it is in `cli`.

#[path = "common/mod.rs"]
mod common;

use common::swtpm::Swtpm;
use strongroom::audit::verify::{Counted, Findings, Keys, Reading, State, judge};
use strongroom::audit::{Chain, Counting, Log, Outcome, Phase, Voucher, What, Written};
use strongroom::derive::{GenerationId, Source};
use strongroom::device::{Counter, Device, DeviceError, Fault, Intent, NoPin, Protection, Seal, open};
use strongroom::store::Store;
use uuid::Uuid;

const SYSTEM: Uuid = Uuid::from_u128(7);

/// A state directory with a log, and a TPM with a generation.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    device: Box<dyn Device>,
    fingerprint: String,
    generation: GenerationId,
    seal: Seal,
    swtpm: Swtpm,
}

/// The TPM's own counter, cut off before it counts: what a crash right after the entry's sync leaves.
struct CutOff<'c>(&'c mut dyn Counter);

impl Counter for CutOff<'_> {
    fn read(&mut self, system: Uuid) -> Result<Option<u64>, DeviceError> {
        self.0.read(system)
    }

    fn make(&mut self, system: Uuid) -> Result<u64, DeviceError> {
        self.0.make(system)
    }

    fn count_to(&mut self, _: Uuid, _: u64) -> Result<(), DeviceError> {
        Err(Fault::Failed("cut off".to_owned()).into())
    }
}

impl Bench {
    fn new() -> Self {
        let swtpm = Swtpm::start();
        let mut device = open(&swtpm.uri().parse().unwrap(), None, &NoPin).unwrap();
        let root = device.provision(&Intent::random()).unwrap();
        let seal = device.generate(Protection::NONE, &[7; 32]).unwrap();
        let generation =
            Source::unproved(device.as_mut(), strongroom::device::Key::Sealed(&seal.use_part)).id().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("state")).unwrap();
        Self { dir, store, device, fingerprint: root.fingerprint(), generation, seal, swtpm }
    }

    fn key(&mut self) -> strongroom::secret::DerivedKey {
        let source = Source::sealed(self.device.as_mut(), &self.seal.use_part, self.generation);
        source.and_then(|mut source| source.audit_key()).unwrap()
    }

    /// A ceremony's two entries. `cut_off`: a crash before the second is counted.
    fn ceremony(&mut self, cut_off: bool, begins: bool) -> Written {
        let key = self.key();
        let log = Log::of(&self.store, "db1");
        let intent = log.add(log.entry(What::Backup, Phase::Intent), None).unwrap();
        let mut done = log.entry(What::Backup, Phase::Outcome);
        (done.of, done.outcome) = (Some(intent.entry.n), Some(Outcome::Done));
        let real = self.device.counter().expect("a TPM has one");
        let mut crash = CutOff(&mut *real);
        let counter: &mut dyn Counter = if cut_off { &mut crash } else { real };
        let counting = Counting { counter, fingerprint: self.fingerprint.clone(), system: SYSTEM, begins };
        log.add(done, Some(Voucher { generation: self.generation, key, counting: Some(counting) })).unwrap()
    }

    fn judge(&mut self) -> Findings {
        let text = self.store.read_log().unwrap().unwrap_or_default();
        let value = self.device.counter().expect("a TPM has one").read(SYSTEM).unwrap();
        let counted = value.map_or(Counted::Nothing, Counted::Value);
        let reading = Reading { device: "tpm1".to_owned(), fingerprint: self.fingerprint.clone(), counted };
        let keys = Keys::from([(self.generation, Some(self.key()))]);
        judge(&Chain::read(&text), &keys, &[reading])
    }

    fn why(&mut self) -> Option<String> {
        self.judge().broken.map(|found| found.why.to_string())
    }

    fn change_log(&self, change: impl FnOnce(&mut Vec<String>)) {
        let path = self.dir.path().join("state/audit.log");
        let mut lines: Vec<String> = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        change(&mut lines);
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
}

#[test]
fn every_entry_is_vouched_for_and_counted() {
    let mut bench = Bench::new();
    for round in 1..=3 {
        let written = bench.ceremony(false, round == 1);
        assert!(written.uncounted.is_none());
        let count = written.entry.counter.expect("it is counted");
        assert_eq!(count.first, round == 1);
        let findings = bench.judge();
        assert_eq!((findings.vouched, findings.broken), (Some(2 * round), None));
        assert_eq!(findings.counters[0].state, State::Witness { n: 2 * round, value: count.value });
        assert!(findings.open.is_empty());
    }
}

/// Wherever it is cut off, the log is at most one ahead, and the next entry makes up for it.
#[test]
fn a_count_that_was_cut_off_is_made_up_for() {
    let mut bench = Bench::new();
    for cut_off in [true, true, false, true, false, true, true, false] {
        assert_eq!(bench.ceremony(cut_off, false).uncounted.is_some(), cut_off);
        assert_eq!(bench.why(), None);
    }
    // And it is no way in: what was counted in the end is missed.
    bench.change_log(|lines| lines.truncate(lines.len() - 2));
    assert!(bench.why().expect("it is found").contains("the TPM has counted"));
}

#[test]
fn a_log_that_is_cut_off_is_short_of_what_the_tpm_counted_now_and_later() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.ceremony(false, false);
    }
    bench.change_log(|lines| lines.truncate(4));
    assert!(bench.why().expect("it is found").contains("the TPM has counted"));
    bench.ceremony(false, false);
    assert!(bench.why().expect("it is found").contains("entries in between are gone"));
}

#[test]
fn a_log_that_was_removed_does_not_begin_again_unseen() {
    let mut bench = Bench::new();
    bench.ceremony(false, false);
    let path = bench.dir.path().join("state/audit.log");
    std::fs::remove_file(&path).unwrap();
    assert!(bench.why().expect("it is found").contains("does not have the first of them"));
    bench.ceremony(false, false);
    assert!(bench.why().expect("it is found").contains("does not have the first of them"));
    // Where a ring is founded, a log begins, and goes on from what was counted before.
    std::fs::remove_file(&path).unwrap();
    bench.ceremony(false, true);
    assert_eq!(bench.why(), None);
}

/// Who puts something else in the counter's place does not make it one that can't be read, of which nothing follows.
#[test]
fn a_counter_whose_place_was_taken_is_missed() {
    let mut bench = Bench::new();
    bench.ceremony(false, false);
    bench.ceremony(false, false);
    let listing = bench.swtpm.tool_ok(&["tpm2_getcap", "handles-nv-index"]);
    let index = String::from_utf8(listing).unwrap().trim_start_matches("- ").trim().to_owned();
    bench.swtpm.tool_ok(&["tpm2_nvundefine", &index]);
    bench.swtpm.tool_ok(&["tpm2_nvdefine", "--attributes", "ownerread|ownerwrite", "--size", "8", &index]);
    assert!(bench.why().expect("it is found").contains("cleared or removed"));
    // The log goes on, and says so as long as it is.
    assert!(bench.ceremony(false, false).uncounted.is_some());
    assert!(bench.why().expect("it is found").contains("cleared or removed"));
}
