//! What the process does to itself before anything else: it holds the one key that must never leak.

use std::io;

/// Why this process must not run.
#[derive(Debug, thiserror::Error)]
pub enum HygieneError {
    #[error("strongroom must not be installed with set-uid, set-gid or file capabilities")]
    Privileged,
    #[error("can't keep this process out of core dumps")]
    Dumpable(#[source] io::Error),
}

/// Refuses to run with borrowed rights, keeps the process out of core dumps and away from debuggers, and keeps the TSS
/// quiet unless it was asked to speak. Call it first, while there is one thread.
#[allow(unsafe_code)]
pub fn harden() -> Result<(), HygieneError> {
    // SAFETY: getauxval reads what the kernel gave this process; it has no preconditions.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return Err(HygieneError::Privileged);
    }
    let not_dumpable = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(not_dumpable).map_err(|error| HygieneError::Dumpable(error.into()))?;
    let nothing = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, nothing)
        .map_err(|error| HygieneError::Dumpable(error.into()))?;
    if std::env::var_os("TSS2_LOG").is_none() {
        // SAFETY: the process has one thread still. libtss2 reads the variable at its first call.
        unsafe { std::env::set_var("TSS2_LOG", "all+NONE") };
    }
    one_heap();
    Ok(())
}

/// One heap for all threads, grown in large steps. glibc gives every thread a heap of its own and grows it page by page: a
/// hundred mprotect calls while a device's libraries start up, which is 3 % of a `derive`. Contention does not matter here,
/// since one thread waits for the other.
#[allow(unsafe_code)]
fn one_heap() {
    const STEP: libc::c_int = 256 * 1024;
    // SAFETY: mallopt takes numbers and keeps none of our memory. Where it refuses, nothing is lost but time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TOP_PAD, STEP);
    }
}

/// Ends the process at once. By now everything is written and every secret is wiped; what is left are the exit handlers of
/// libraries, which free their tables one by one: half a millisecond of a `derive`, for memory that goes away anyway. Or they do
/// what they like, such as to end it with another code.
#[allow(unsafe_code)]
pub fn leave(code: u8) -> ! {
    // SAFETY: _exit takes a number and does not return; nothing of ours waits to be flushed or dropped.
    unsafe { libc::_exit(i32::from(code)) }
}
