//! What one run of the program writes into the log: handed to the ceremonies, which begin and conclude it, and kept at the edge,
//! which knows what an error is called.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::entry::{Entry, Outcome, Phase, What};
use super::journal::{Event, Message};
use super::who::Who;
use super::{AuditError, Log, Voucher, Written};
use crate::bytes::Hex;
use crate::derive::GenerationId;
use crate::device::DeviceError;
use crate::store::{Locked, Store};

/// The record of one run. Clones are the same record.
#[derive(Debug, Clone)]
pub struct Record(Rc<Run>);

#[derive(Debug)]
struct Run {
    /// As it was typed: `status` has no entries, and can be refused all the same.
    verb: &'static str,
    what: Option<What>,
    directory: PathBuf,
    host: String,
    /// Whether it goes on where the log can't be written.
    lenient: bool,
    stage: Cell<Stage>,
    /// Whether a ring is founded.
    founds: Cell<bool>,
    devices: RefCell<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Nothing,
    /// The intent's number; none where it could not be written, and that was allowed.
    Begun(Option<u64>),
    Concluded,
}

/// An intent that an earlier run left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    pub n: u64,
    pub what: What,
}

impl Record {
    pub fn new(verb: &'static str, what: Option<What>, directory: &Path, host: &str, lenient: bool) -> Self {
        Self(Rc::new(Run {
            verb,
            what,
            directory: directory.to_owned(),
            host: host.to_owned(),
            lenient,
            stage: Cell::new(Stage::Nothing),
            founds: Cell::new(false),
            devices: RefCell::new(Vec::new()),
        }))
    }

    pub fn what(&self) -> Option<What> {
        self.0.what
    }

    /// A ring is founded, and does not go on from the one before: neither does what is counted.
    pub fn found(&self) {
        self.0.founds.set(true);
    }

    pub fn founds(&self) -> bool {
        self.0.founds.get()
    }

    /// Writes the intent, before anything is changed; before that, closes what earlier runs left open, and gives it. `devices`
    /// are those of the ring.
    ///
    /// Whoever has the ring's lock knows that nobody else is at work.
    pub fn begin(&self, locked: &Locked<'_>, devices: Vec<String>) -> Result<Vec<Closed>, AuditError> {
        let Some(what) = self.0.what else { return Ok(Vec::new()) };
        self.0.devices.replace(devices);
        let log = Log::of(locked.store(), &self.0.host);
        let begun = self.close_open(&log).and_then(|closed| {
            let mut intent = log.entry(what, Phase::Intent);
            intent.devices.clone_from(&self.0.devices.borrow());
            let written = self.write(&log, intent, None)?;
            self.0.stage.set(Stage::Begun(Some(written.entry.n)));
            Ok(closed)
        });
        match begun {
            Err(error) if self.0.lenient => {
                self.0.stage.set(Stage::Begun(None));
                self.tell(Event::Unwritten, &format!("{what} goes on without the log: {}", causes(&error)), None);
                Ok(Vec::new())
            }
            begun => begun,
        }
    }

    fn close_open(&self, log: &Log<'_>) -> Result<Vec<Closed>, AuditError> {
        let mut closed = Vec::new();
        for (n, what) in log.open()? {
            let mut entry = log.entry(what, Phase::Closed);
            entry.of = Some(n);
            self.write(log, entry, None)?;
            closed.push(Closed { n, what });
        }
        Ok(closed)
    }

    /// Says that it was done, and which devices the ring has now: after the commit, before success is reported. Gives why the device did not count it, where it did
    /// not.
    pub fn done(
        &self,
        store: &Store,
        generations: Vec<GenerationId>,
        devices: Vec<String>,
        voucher: Option<Voucher<'_>>,
    ) -> Result<Option<DeviceError>, AuditError> {
        let Some(what) = self.0.what else { return Ok(None) };
        self.0.devices.replace(devices);
        let log = Log::of(store, &self.0.host);
        let entry = self.outcome(log.entry(what, Phase::Outcome), Outcome::Done, generations, None);
        let stage = self.0.stage.replace(Stage::Concluded);
        if stage == Stage::Begun(None) {
            // What has no intent has no outcome in the log either.
            self.tell(event(&entry), &format!("{what} was done, and is not in the log"), None);
            return Ok(None);
        }
        match self.write(&log, entry, voucher) {
            Ok(written) => Ok(written.uncounted),
            Err(error) if self.0.lenient => {
                let text = format!("{what} was done, and is not in the log: {}", causes(&error));
                self.tell(Event::Unwritten, &text, None);
                Ok(None)
            }
            Err(error) => Err(AuditError::Unconcluded(Box::new(error))),
        }
    }

    /// Says that something was done that changes no ring: it is written down where there is a log, and told in any case.
    pub fn noted(&self, generations: Vec<GenerationId>) {
        let Some(what) = self.0.what else { return };
        self.0.stage.set(Stage::Concluded);
        self.note(what, Outcome::Done, generations, None);
    }

    /// Says that it was not done, with the error's id: concludes the intent, or notes what was refused before there was one,
    /// if it is `notable`. Nothing can be done about a log that does not take it: the error that is reported is the first one.
    pub fn failed(&self, error: &str, notable: bool) {
        const NOT_ADMINISTRATOR: &str = "not-administrator";
        match (self.0.what, self.0.stage.replace(Stage::Concluded)) {
            (_, Stage::Concluded) => {}
            (_, Stage::Nothing) if error == NOT_ADMINISTRATOR => {
                let text = format!("{} was refused: not the administrator of the state directory", self.0.verb);
                self.tell(Event::NotAdministrator, &text, None);
            }
            (Some(what), Stage::Nothing) if notable => {
                self.note(what, Outcome::Refused, Vec::new(), Some(error));
            }
            (_, Stage::Nothing) => {}
            (Some(what), Stage::Begun(of)) => {
                if let (Some(_), Ok(store)) = (of, Store::open(&self.0.directory)) {
                    let log = Log::of(&store, &self.0.host);
                    let mut entry =
                        self.outcome(log.entry(what, Phase::Outcome), Outcome::Failed, Vec::new(), Some(error));
                    entry.of = of;
                    if self.write(&log, entry, None).is_ok() {
                        return;
                    }
                }
                self.tell(Event::Unwritten, &format!("{what} failed ({error}), and is not in the log"), None);
            }
            (None, Stage::Begun(_)) => {}
        }
    }

    /// A single entry, where there is a log to take it. Else to the journal alone.
    fn note(&self, what: What, outcome: Outcome, generations: Vec<GenerationId>, error: Option<&str>) {
        let noted = match Store::check_place(&self.0.directory) {
            Ok(Some(store)) if outcome == Outcome::Done || store.log_takes_refusals() => {
                let log = Log::of(&store, &self.0.host);
                let entry = self.outcome(log.entry(what, Phase::Outcome), outcome, generations.clone(), error);
                self.write(&log, entry, None).is_ok()
            }
            Ok(_) | Err(_) => false,
        };
        if !noted {
            let told = match error {
                Some(error) => format!("{what} was refused: {error}"),
                None => format!("{what} was done"),
            };
            self.tell(kind(what, Phase::Outcome, Some(outcome), error), &told, None);
        }
    }

    fn outcome(
        &self,
        mut entry: Entry,
        outcome: Outcome,
        generations: Vec<GenerationId>,
        error: Option<&str>,
    ) -> Entry {
        if let Stage::Begun(of) = self.0.stage.get() {
            entry.of = of;
        }
        entry.outcome = Some(outcome);
        entry.error = error.map(str::to_owned);
        entry.generations = generations;
        entry.devices.clone_from(&self.0.devices.borrow());
        entry
    }

    /// Into the log, and a copy to the journal.
    fn write(&self, log: &Log<'_>, entry: Entry, voucher: Option<Voucher<'_>>) -> Result<Written, AuditError> {
        let written = log.add(entry, voucher)?;
        let text = format!("{} {} (entry {})", written.entry.what, written.entry, written.entry.n);
        self.tell(event(&written.entry), &text, Some((&written.entry, written.hash)));
        Ok(written)
    }

    /// To the journal; `entry` is in the log, where the journal's copy of it is the witness.
    fn tell(&self, event: Event, text: &str, entry: Option<(&Entry, Hex<32>)>) {
        let who = Who::here();
        let mut fields = vec![
            ("STRONGROOM_VERB", self.0.verb.to_owned()),
            ("STRONGROOM_DIRECTORY", self.0.directory.display().to_string()),
            ("STRONGROOM_USER", who.user),
        ];
        fields.extend(who.login.map(|login| ("STRONGROOM_LOGIN", login)));
        if let Some((entry, hash)) = entry {
            fields.push(("STRONGROOM_N", entry.n.to_string()));
            fields.push(("STRONGROOM_SHA256", hash.to_string()));
            fields.push(("STRONGROOM_ENTRY", String::from_utf8_lossy(&entry.print()).into_owned()));
        }
        Message { event, text: text.to_owned(), fields }.tell();
    }
}

/// An error and its causes, in one line.
fn causes(error: &AuditError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}

fn event(entry: &Entry) -> Event {
    kind(entry.what, entry.phase, entry.outcome, entry.error.as_deref())
}

/// Which event it is: first by what is worth waking somebody for, then by the ceremony.
fn kind(what: What, phase: Phase, outcome: Option<Outcome>, error: Option<&str>) -> Event {
    match phase {
        Phase::Intent => return Event::Begun,
        Phase::Closed => return Event::CutOff,
        Phase::Outcome => {}
    }
    match error {
        Some("wrong-passphrase") => return Event::WrongPassphrase,
        Some("wrong-pin" | "last-try" | "locked-out") => return Event::WrongPin,
        Some("proof-failed" | "seal-damaged" | "other-device") => return Event::WrongSecret,
        Some(_) | None => {}
    }
    let done = match outcome {
        Some(Outcome::Refused) => return Event::Refused,
        Some(Outcome::Done) | None => true,
        Some(Outcome::Failed) => false,
    };
    match (what, done) {
        (What::Init, true) => Event::Initialized,
        (What::Init, false) => Event::InitFailed,
        (What::Generate, true) => Event::Generated,
        (What::Generate, false) => Event::GenerateFailed,
        (What::Backup, true) => Event::BackedUp,
        (What::Backup, false) => Event::BackupFailed,
        (What::Verify, true) => Event::Verified,
        (What::Verify, false) => Event::VerifyFailed,
        (What::Restore, true) => Event::Restored,
        (What::Restore, false) => Event::RestoreFailed,
        (What::Recover, true) => Event::Recovered,
        (What::Recover, false) => Event::RecoverFailed,
        (
            What::DeviceAdd | What::DeviceRemove | What::DeviceRepair | What::DeviceRetry | What::Bind | What::Unbind,
            done,
        ) => match done {
            true => Event::DevicesChanged,
            false => Event::DevicesChangeFailed,
        },
        (What::Derive, _) => Event::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Chain;

    /// Who failed holds the ring's lock no more when it is known what the error is called.
    #[test]
    fn an_intent_is_concluded_once_whoever_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("state")).unwrap();
        let record = || Record::new("generate", Some(What::Generate), store.path(), "db1", false);
        let (slow, quick) = (record(), record());
        slow.begin(&store.lock().unwrap(), Vec::new()).unwrap();
        let closed = quick.begin(&store.lock().unwrap(), Vec::new()).unwrap();
        assert_eq!(closed, [Closed { n: 1, what: What::Generate }]);
        slow.failed("wrong-pin", true);
        quick.failed("wrong-pin", true);
        let chain = Chain::read(&store.read_log().unwrap().unwrap());
        assert_eq!((chain.last(), &chain.broken, chain.open.len()), (5, &None, 0));
        let of: Vec<Option<u64>> = chain.links.iter().map(|link| link.entry.of).collect();
        assert_eq!(of, [None, Some(1), None, None, Some(3)]);
    }

    /// A service that is refused at each restart fills half of it at most: ceremonies have room for years.
    #[test]
    fn refusals_leave_room_for_ceremonies() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("state")).unwrap();
        let record = || Record::new("generate", Some(What::Generate), store.path(), "db1", false);
        let entries = || Chain::read(&store.read_log().unwrap().unwrap()).after.len();
        record().failed("file-exists", true);
        let text = store.read_log().unwrap().unwrap();
        let path = store.path().join("audit.log");
        std::fs::write(&path, [&vec![b'x'; 32 << 20][..], b"\n", &text].concat()).unwrap();
        record().failed("file-exists", true);
        assert_eq!(entries(), 1, "to the journal alone");
        record().begin(&store.lock().unwrap(), Vec::new()).unwrap();
        assert_eq!(entries(), 2);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(crate::store::MAX_LOG + 1).unwrap();
        let full = record().begin(&store.lock().unwrap(), Vec::new());
        assert!(matches!(full, Err(AuditError::Store(crate::store::StoreError::FullLog(_)))), "{full:?}");
    }
}
