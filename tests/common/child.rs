//! Children that do not outlive their test.
//!
//! Drop ends them by id. When the test process itself is killed, there is no Drop, and PR_SET_PDEATHSIG does it. That signal
//! fires when the *thread* that started the child ends, so start a child in the thread that keeps it.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Makes the kernel kill the child when the thread that starts it ends.
pub fn tie_to_this_thread(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let tie = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the kernel knew: the child then has another parent already.
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec, only system calls are made: no allocation, no lock.
    unsafe { command.pre_exec(tie) }
}

/// Makes the child hold nothing open but its standard streams. The TPM library's sockets are not closed on exec, so a
/// child that is started while one is open would keep the connection alive.
pub fn close_the_rest(command: &mut Command) -> &mut Command {
    let close = || {
        // SAFETY: numbers go in; only flags of descriptors change.
        let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
        if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec, one system call is made.
    unsafe { command.pre_exec(close) }
}

/// A child that is killed and waited for on Drop.
pub struct Owned(Child);

impl Owned {
    /// Starts it, tied to this thread; panics with `hint` if there is no such program.
    pub fn spawn(command: &mut Command, hint: &str) -> Owned {
        match tie_to_this_thread(command).spawn() {
            Ok(child) => Owned(child),
            Err(e) => panic!("can't start {:?}: {e}; {hint}", command.get_program()),
        }
    }
}

impl Deref for Owned {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Owned {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Both fail only for a child that was waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
