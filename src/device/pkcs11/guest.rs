//! A module is a guest in this process, and some don't behave: they install handlers for signals, change the working directory,
//! the mask for new files or the locale. What belongs to the program is put back after each call in which a module does such
//! things, if it does: while it is loaded and started, and when a session is opened and logged in.
//!
//! What a module prints is kept from the program's output by the program itself, which knows where that is to go.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};

/// What a person sends to end the program.
const ENDING: [c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
/// And what else is the program's: its own children, a reader that went away, being stopped, and how Rust tells of a stack that
/// is full. Signals for a module's own use (SIGALRM, SIGUSR1, real-time ones) are left to it.
const OTHERS: [c_int; 7] =
    [libc::SIGCHLD, libc::SIGPIPE, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGSEGV, libc::SIGBUS];

/// How ending signals are to be handled, while calls are under way; and how many are.
static UNDER_WAY: Mutex<(usize, Vec<Handler>)> = Mutex::new((0, Vec::new()));

/// Does `call`, which runs a module's code, and puts back what that has changed of the process.
pub fn undisturbed<T>(call: impl FnOnce() -> T) -> T {
    let before = {
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        // One at a time: what another sets for a moment, to see it, is not what was there before.
        let before = Process::now();
        if under_way.0 == 0 {
            under_way.1 = ENDING.iter().filter_map(|signal| Handler::of(*signal)).collect();
        }
        under_way.0 += 1;
        before
    };
    let done = call();
    {
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.0 -= 1;
    }
    before.restore();
    done
}

/// For whoever waits for such a call: a person can end the program while a module is at work, or hangs.
pub fn take_back_signals() {
    let under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
    if under_way.0 > 0 {
        under_way.1.iter().for_each(Handler::restore);
    }
}

/// What of the process is the program's.
struct Process {
    handlers: Vec<Handler>,
    directory: Option<(OwnedFd, CString)>,
    mask: Mode,
    locale: Option<CString>,
}

impl Process {
    fn now() -> Self {
        let handlers = ENDING.iter().chain(&OTHERS).filter_map(|signal| Handler::of(*signal)).collect();
        let here = rustix::fs::openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let directory = here.ok().and_then(|here| Some((here, rustix::process::getcwd(Vec::new()).ok()?)));
        // It can be read only by changing it: for that moment, to one that lets nobody else in.
        let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        rustix::process::umask(mask);
        Self { handlers, directory, mask, locale: locale() }
    }

    fn restore(self) {
        self.handlers.iter().for_each(Handler::restore);
        if let Some((here, name)) = self.directory
            && rustix::process::getcwd(Vec::new()).as_ref() != Ok(&name)
        {
            // Where it can't be gone back to, relative paths say that they lead nowhere.
            let _ = rustix::process::fchdir(here);
        }
        rustix::process::umask(self.mask);
        if let Some(before) = self.locale.filter(|before| locale().as_ref() != Some(before)) {
            // SAFETY: the name of a locale that was set before; the text outlives the call.
            unsafe { libc::setlocale(libc::LC_ALL, before.as_ptr()) };
        }
    }
}

/// The locale that C functions go by.
fn locale() -> Option<CString> {
    // SAFETY: without a name, it changes nothing, and gives a text that is copied at once, or null.
    unsafe {
        let name = libc::setlocale(libc::LC_ALL, ptr::null());
        (!name.is_null()).then(|| CStr::from_ptr(name).to_owned())
    }
}

/// What happens at a signal.
struct Handler {
    signal: c_int,
    action: libc::sigaction,
}

impl Handler {
    fn of(signal: c_int) -> Option<Self> {
        let mut action = MaybeUninit::zeroed();
        // SAFETY: without a new action, the present one is written to where there is room for it.
        let told = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
        // SAFETY: it was written, and zeros are an action too.
        (told == 0).then(|| Self { signal, action: unsafe { action.assume_init() } })
    }

    fn restore(&self) {
        let now = Self::of(self.signal).map(|now| now.action.sa_sigaction);
        if now != Some(self.action.sa_sigaction) {
            // SAFETY: what happened at this signal before can happen again: code stays where it is, a module's too.
            unsafe { libc::sigaction(self.signal, &self.action, ptr::null_mut()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn theirs(_: c_int) {}

    fn handler(signal: c_int) -> usize {
        Handler::of(signal).expect("a signal").action.sa_sigaction
    }

    /// All in one test: it is about the process. What else a guest may change would disturb the tests beside this one: tests/cli.
    #[test]
    fn handlers_that_a_guest_installs_are_put_back() {
        let before = [libc::SIGQUIT, libc::SIGCHLD, libc::SIGSEGV].map(handler);
        let install = |signal| {
            let theirs: extern "C" fn(c_int) = theirs;
            // SAFETY: a handler that does nothing.
            assert_ne!(unsafe { libc::signal(signal, theirs as libc::sighandler_t) }, libc::SIG_ERR);
        };
        let done = undisturbed(|| {
            [libc::SIGQUIT, libc::SIGCHLD, libc::SIGSEGV, libc::SIGUSR1].into_iter().for_each(install);
            take_back_signals();
            assert_eq!(handler(libc::SIGQUIT), before[0], "a call that hangs is no hindrance");
            assert_ne!(handler(libc::SIGCHLD), before[1]);
            install(libc::SIGQUIT);
            7
        });
        assert_eq!(done, 7);
        assert_eq!([libc::SIGQUIT, libc::SIGCHLD, libc::SIGSEGV].map(handler), before);
        assert_ne!(handler(libc::SIGUSR1), libc::SIG_DFL, "that one is its own");
    }
}
