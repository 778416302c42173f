//! What is kept between calls: the rules as last read, the counts, and the sessions that are open.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use cryptoki_sys::{
    CK_MECHANISM_TYPE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CKR_DEVICE_REMOVED, CKR_TOKEN_NOT_PRESENT,
};

use super::real;
use super::rules::{Action, Play, Rules};

const VARIABLE: &str = "STRONGROOM_FAULT_RULES";

static STATE: Mutex<Option<State>> = Mutex::new(None);

#[derive(Default)]
struct State {
    text: String,
    rules: Rules,
    counts: BTreeMap<&'static str, u64>,
    total: u64,
    /// The last session that each slot gave.
    sessions: BTreeMap<CK_SLOT_ID, CK_SESSION_HANDLE>,
    /// Calls for which the token is gone; none: it is there.
    vanished: Option<u64>,
    /// How many slots further on the token is told to be.
    moved: u64,
}

/// A call that has returned.
pub struct Done {
    pub rv: CK_RV,
    /// The token was not there.
    pub vanished: bool,
    pub actions: Vec<Action>,
}

/// The real module's path, if there are rules.
pub fn module() -> Option<String> {
    std::env::var_os(VARIABLE)?;
    with(|state| state.rules.module.clone())
}

/// Whether a rule hides this mechanism from the list now.
pub fn is_hidden(kind: CK_MECHANISM_TYPE) -> bool {
    with(|state| {
        let nth = state.counts.get("C_GetMechanismList").copied().unwrap_or(1).max(1);
        let actions = state.rules.actions("C_GetMechanismList", nth, state.total);
        actions.iter().any(|action| matches!(action, Action::Hide(hidden) if *hidden == kind))
    })
}

/// How the token plays.
pub fn play() -> Play {
    with(|state| state.rules.play.clone())
}

/// The PIN that a rule types at the next call of `name`.
pub fn typed_pin(name: &str) -> Option<Vec<u8>> {
    with(|state| {
        let nth = state.counts.get(name).copied().unwrap_or(0) + 1;
        let actions = state.rules.actions(name, nth, state.total + 1);
        actions.into_iter().find_map(|action| match action {
            Action::Type(pin) => Some(pin.into_bytes()),
            _ => None,
        })
    })
}

/// The slot that the caller is told instead of the real module's.
pub fn told_slot(slot: CK_SLOT_ID) -> CK_SLOT_ID {
    slot + with(|state| state.moved)
}

/// The real module's slot that the caller means.
pub fn real_slot(slot: CK_SLOT_ID) -> CK_SLOT_ID {
    slot.wrapping_sub(with(|state| state.moved))
}

pub fn opened(slot: CK_SLOT_ID, session: CK_SESSION_HANDLE) {
    with(|state| state.sessions.insert(slot, session));
}

pub fn finalized() {
    with(|state| state.sessions.clear());
}

/// One call, as the rules have it; `pass` is how it goes to the real module.
///
/// No lock is held while it is there, or while it waits: other threads go on.
pub fn call(name: &'static str, pass: impl FnOnce() -> CK_RV) -> Done {
    let actions = with(|state| state.count(name));
    let mut forged = None;
    for action in &actions {
        match action {
            Action::Delay(ms) => thread::sleep(Duration::from_millis(*ms)),
            Action::Hang => loop {
                thread::park();
            },
            Action::KillBefore => die(),
            Action::DropSessions => drop_sessions(),
            Action::Logout => log_out(),
            Action::Meddle(what) => what.happen(),
            Action::Vanish(calls) => {
                drop_sessions();
                with(|state| state.vanished = Some(calls.unwrap_or(u64::MAX)));
            }
            Action::Move(slots) => {
                drop_sessions();
                with(|state| state.moved += slots);
            }
            Action::Return(rv) => forged = Some(*rv),
            Action::Answer(_)
            | Action::KillAfter
            | Action::Flags(_)
            | Action::NoFlags(_)
            | Action::PinRoom(..)
            | Action::Serial(_)
            | Action::Hide(_)
            | Action::Type(_) => {}
        }
    }
    let vanished = with(|state| state.is_gone(name));
    let mut rv = match (forged, vanished) {
        (Some(rv), _) | (None, Some(rv)) => rv,
        (None, None) => pass(),
    };
    let mut is_forged = forged.is_some() || vanished.is_some();
    for action in &actions {
        match action {
            Action::Answer(code) => (rv, is_forged) = (*code, true),
            Action::KillAfter => {
                with(|state| state.log(name, rv, is_forged));
                die();
            }
            _ => {}
        }
    }
    with(|state| state.log(name, rv, is_forged));
    Done { rv, vanished: vanished.is_some(), actions }
}

impl State {
    /// Counts the call, and gives what is to happen at it.
    fn count(&mut self, name: &'static str) -> Vec<Action> {
        self.total += 1;
        let nth = self.counts.entry(name).or_insert(0);
        *nth += 1;
        self.rules.actions(name, *nth, self.total)
    }

    /// What a call to a token that has vanished returns.
    fn is_gone(&mut self, name: &str) -> Option<CK_RV> {
        let rv = match name {
            "C_Initialize" | "C_Finalize" | "C_GetInfo" => return None,
            "C_GetSlotList" | "C_GetSlotInfo" | "C_GetTokenInfo" | "C_GetMechanismList" | "C_OpenSession" => {
                CKR_TOKEN_NOT_PRESENT
            }
            _ => CKR_DEVICE_REMOVED,
        };
        self.vanished = self.vanished.filter(|calls| *calls > 0)?.checked_sub(1);
        Some(rv)
    }

    fn log(&self, name: &str, rv: CK_RV, forged: bool) {
        let Some(path) = &self.rules.log else { return };
        let line = format!("{} {name} {rv:#x}{}\n", std::process::id(), if forged { " forged" } else { "" });
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("a log that can be written");
    }
}

/// The state, with the rules as they are now.
fn with<T>(work: impl FnOnce(&mut State) -> T) -> T {
    let mut guard: MutexGuard<'_, Option<State>> = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let state = guard.get_or_insert_default();
    let path = std::env::var_os(VARIABLE).unwrap_or_else(|| panic!("{VARIABLE} is not set"));
    let text = fs::read_to_string(path).expect("rules that can be read");
    if text != state.text {
        state.rules = Rules::parse(&text);
        (state.text, state.total, state.vanished, state.moved) = (text, 0, None, 0);
        state.counts.clear();
    }
    work(state)
}

fn drop_sessions() {
    let open = with(|state| std::mem::take(&mut state.sessions));
    let close = real().C_CloseAllSessions.expect("a whole module");
    for slot in open.into_keys() {
        // SAFETY: a number goes in, nothing comes out.
        unsafe { close(slot) };
    }
}

fn log_out() {
    let open = with(|state| state.sessions.clone());
    let log_out = real().C_Logout.expect("a whole module");
    for session in open.into_values() {
        // SAFETY: the same.
        unsafe { log_out(session) };
    }
}

fn die() -> ! {
    // SAFETY: both take numbers. The signal can't be caught, so the second is not reached.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
        libc::_exit(1)
    }
}
