//! A server: a store on the disk, and a model of all that it ever promised.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use strongroom::device::Kind;
use strongroom::ring::{Generation, Ring, State};
use strongroom::store::{Current, Locked, Store};
use tempfile::TempDir;
use uuid::Uuid;

use crate::acts::{Act, Change, Cut};
use crate::changes::{change, seed};
use crate::forms;

/// How many rings a store keeps.
const KEPT: usize = 16;

pub struct World {
    dir: TempDir,
    promised: Promised,
    /// How many copies for the history were cut off since the last commit that was not.
    cut_off: usize,
    /// Whether the last commit of a ring that serves was cut off.
    is_cut_off: bool,
}

/// What must hold for ever.
#[derive(Default)]
struct Promised {
    /// The last ring that was seen to serve.
    serving: Option<Ring>,
    /// The newest copy in the history: of the one that serves, unless its commit was cut off before.
    kept: Option<Ring>,
    /// Of the system that serves: what was once active.
    active: Vec<Generation>,
    /// The system that serves, and the highest number that it ever gave here. (One that was replaced and comes back comes
    /// with a backup, which says the highest number that it knows.)
    given: Option<(Uuid, u32)>,
}

/// The ring that serves, and the one that is being founded.
type Both = (Option<Ring>, Option<Ring>);

impl World {
    pub fn new() -> World {
        let dir = tempfile::Builder::new().prefix("strongroom-rules-").tempdir().expect("a temporary directory");
        let world = World { dir, promised: Promised::default(), cut_off: 0, is_cut_off: false };
        Store::create(&world.state()).expect("a state directory");
        world
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The copies in the history, and what was begun there.
    fn history(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let files = fs::read_dir(self.state().join("history")).into_iter().flatten();
        let files = files.map(|entry| entry.expect("it lists").path());
        files.partition(|path| path.extension().is_some_and(|extension| extension == "json"))
    }

    /// A process starts, does one thing, and ends, or dies in the middle of it.
    pub fn perform(&mut self, act: &Act) {
        let store = Store::open(&self.state()).expect("the state directory is in order");
        let locked = store.lock().expect("who died holds no lock");
        let now = both(&store);
        assert_eq!(now.0, self.promised.serving, "what serves is what was committed last");
        match &act.change {
            Change::AbandonFounding => locked.abandon_founding().expect("it goes"),
            Change::ForgetHistory => self.forget(&locked),
            Change::Damage { is_removed } => self.damage(&store, &locked, *is_removed),
            Change::Found { system } => {
                let begun = forms::founding(*system, now.0.as_ref());
                self.commit(&store, &locked, now, begun, act.cut);
            }
            other => {
                // A ring that is being founded is worked on first, as ceremonies do.
                let ring = now.1.as_ref().or(now.0.as_ref());
                if let Some(next) = ring.and_then(|ring| change(other, ring)) {
                    self.commit(&store, &locked, now, next, act.cut);
                }
            }
        }
        self.look(&store);
    }

    /// Commits `next`, or leaves on the disk what a commit that died at `cut` leaves; then looks at what that is.
    fn commit(&mut self, store: &Store, locked: &Locked<'_>, (serving, founding): Both, mut next: Ring, cut: Cut) {
        if let (Some(pending), Some((system, given))) = (next.pending(), self.promised.given) {
            let is_new = serving.as_ref().is_none_or(|ring| ring.pending().is_none());
            let is_free = system != next.system.id || pending.number > given;
            assert!(!is_new || is_free, "{} was given before: {given}", pending.number);
        }
        let is_founded = next.is_founded();
        let name = if is_founded { "ring.json" } else { "ring.next.json" };
        let is_renamed = match cut {
            Cut::BeforeAnything => false,
            Cut::Writing(thousandths) => {
                put(&self.state().join(format!("{name}.new")), begun(&next.print(), thousandths));
                false
            }
            Cut::Nowhere => {
                locked.commit(&mut next).expect("a ring that keeps the rules is taken");
                true
            }
            Cut::Renamed(_) | Cut::Kept => {
                next.commit += 1;
                put(&self.state().join(name), &next.print());
                true
            }
        };
        let copy = self.state().join(format!("history/ring-{:08}.json", next.commit));
        match cut {
            Cut::Renamed(thousandths) if is_founded => {
                let unfinished = PathBuf::from(format!("{}.new", copy.display()));
                put(&unfinished, begun(&next.print(), thousandths));
            }
            Cut::Kept if is_founded => put(&copy, &next.print()),
            Cut::Nowhere | Cut::BeforeAnything | Cut::Writing(_) | Cut::Renamed(_) | Cut::Kept => {}
        }

        if is_founded {
            self.is_cut_off = cut != Cut::Nowhere && (is_renamed || self.is_cut_off);
        }
        match cut {
            Cut::Nowhere if is_founded => self.cut_off = 0,
            Cut::Renamed(_) => self.cut_off += 1,
            Cut::Nowhere | Cut::BeforeAnything | Cut::Writing(_) | Cut::Kept => {}
        }

        let expected = match (is_renamed, is_founded) {
            (false, _) => (serving.clone(), founding.clone()),
            (true, true) => (Some(next.clone()), None),
            (true, false) => (serving.clone(), Some(next.clone())),
        };
        assert_eq!(both(store), expected, "the old state or the new one");
        if is_renamed && is_founded {
            self.promise(serving.as_ref(), founding.as_ref(), next, !matches!(cut, Cut::Renamed(_)));
        }
    }

    /// What a ring promises that serves from now on.
    fn promise(&mut self, former: Option<&Ring>, founding: Option<&Ring>, ring: Ring, is_kept: bool) {
        assert!(former.is_none_or(|former| former.commit < ring.commit), "commits are counted on");
        if let Some((system, given)) = self.promised.given {
            assert!(system != ring.system.id || ring.last_number >= given, "a burnt number is forgotten");
        }
        self.promised.given = Some((ring.system.id, ring.last_number));
        // A ring that was founded anew does not hold what another one did: that is what --replace says.
        if founding.is_some() {
            self.promised.active.clear();
        }
        if is_kept {
            self.promised.kept = Some(ring.clone());
        }
        self.promised.serving = Some(ring);
    }

    fn forget(&mut self, locked: &Locked<'_>) {
        let Some(serving) = &self.promised.serving else { return };
        locked.forget_history(serving).expect("it goes");
        // Ceremonies do it after a commit that was not cut off; otherwise there is no copy to be left.
        self.promised.kept = self.promised.kept.take().filter(|kept| kept == serving);
    }

    /// The ring that serves is gone or is no ring any more; the last good one is put back.
    fn damage(&mut self, store: &Store, locked: &Locked<'_>, is_removed: bool) {
        let Some(mut last) = self.promised.kept.clone() else { return };
        match is_removed {
            true => fs::remove_file(store.ring_path()).expect("it is there"),
            false => fs::write(store.ring_path(), "{").expect("it is there"),
        }
        match store.current().expect("it can be looked at") {
            Current::Lost => assert!(is_removed),
            Current::Damaged(_) => assert!(!is_removed),
            other @ (Current::Nothing | Current::Ring(_)) => panic!("{other:?}"),
        }
        assert_eq!(store.last_good().expect("it can be looked for").as_ref(), Some(&last));
        if !is_removed {
            locked.put_damaged_aside().expect("there is room");
        }
        let serving = self.promised.serving.take();
        if serving.as_ref() != Some(&last) {
            // Two things went wrong, one after the other: what the last commit promised is in the backups alone.
            self.promised.active.retain(|once| last.usable().any(|here| here.id == once.id));
            self.promised.given = Some((last.system.id, last.last_number));
        }
        locked.commit(&mut last).expect("what was good is taken");
        (self.cut_off, self.is_cut_off) = (0, false);
        self.promise(None, None, last, true);
    }

    /// What must hold whenever anybody looks.
    fn look(&mut self, store: &Store) {
        assert_eq!(store.last_good().expect("it can be looked for"), self.promised.kept, "the last good one is kept");
        let (kept, unfinished) = self.history();
        assert!(unfinished.len() <= self.cut_off, "what was cut off is cleared away: {unfinished:?}");
        assert!(kept.len() <= KEPT + 1);
        let serving = store.read().expect("it reads");
        for path in kept {
            let former = Ring::parse(&fs::read(&path).expect("it reads")).unwrap_or_else(|error| panic!("{error}"));
            assert!(former.is_founded(), "what is kept once served");
            // A commit that was cut off leaves this to the next one.
            let is_over =
                serving == self.promised.kept && serving.as_ref().is_some_and(|ring| ring.supersedes(&former));
            assert!(!is_over || self.is_cut_off, "seals outlive those that took their place");
        }
        let Some(ring) = serving else { return };
        assert_eq!(Ring::parse(&ring.print()).as_ref(), Ok(&ring));
        let in_state = |state| ring.generations.iter().filter(|one| one.state == state).count();
        assert_eq!((in_state(State::Active), in_state(State::Pending) <= 1), (1, true));
        for once in &self.promised.active {
            let here = ring.by_id(once.id).expect("what was once active stays");
            assert!(here.number == once.number && here.state != State::Pending, "and stays usable");
        }
        for generation in &ring.generations {
            // Whatever devices came and went, each seal is the one that its device made of this very secret.
            assert!(!generation.seals.is_empty());
            for sealed in &generation.seals {
                let guard = &sealed.seal.use_part.0.guard;
                assert_eq!(*sealed, forms::seal(seed(generation), &sealed.device, guard));
                assert!(ring.device(&sealed.device).is_some_and(|device| device.uri.kind() == Kind::Tpm));
            }
        }
        let active = ring.active().expect("one is");
        if self.promised.active.iter().all(|once| once.id != active.id) {
            self.promised.active.push(active.clone());
        }
    }
}

fn both(store: &Store) -> Both {
    (store.read().expect("it reads"), store.founding().expect("it reads"))
}

/// The first thousandths of a text.
fn begun(text: &[u8], thousandths: u16) -> &[u8] {
    &text[..text.len() * usize::from(thousandths) / 1000]
}

/// Writes a file as the store does, below directories as it makes them.
fn put(path: &Path, content: &[u8]) {
    let directory = path.parent().expect("a file in a directory");
    if !directory.exists() {
        fs::create_dir(directory).expect("a directory");
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("a directory of ours");
    }
    fs::write(path, content).expect("room");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a file of ours");
}
