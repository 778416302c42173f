//! What the process does to itself, since it holds the one key that must never leak: seen from outside.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::child::Owned;
use crate::common::pty::Pty;
use crate::common::wait;
use crate::prompts::SOON;
use crate::world::{STRONGROOM, World};

/// A strongroom that waits for a passphrase.
fn at_a_prompt(world: &World) -> Pty {
    let mut pty = world.terminal("verify payroll.backup");
    pty.expect("Passphrase: ", SOON);
    pty
}

fn end(mut pty: Pty) {
    pty.interrupt();
    assert_eq!(pty.finish().status.code(), Some(130));
}

/// The process that holds a passphrase leaves no core, however it ends.
#[test]
fn no_core_dump_while_a_secret_is_typed() {
    let world = World::new();
    let pty = at_a_prompt(&world);
    let limits = fs::read_to_string(format!("/proc/{}/limits", pty.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    end(pty);
}

/// Neither a debugger of the same user nor a crash handler gets at its memory, from before it knows a secret.
#[test]
fn not_dumpable_before_the_first_secret_is_read() {
    let world = World::new();
    let trace = world.path("trace");
    let trace_to = trace.to_str().unwrap();
    let line = "verify --passphrase-file pass payroll.backup";
    let strace = ["strace", "-f", "-qq", "-o", trace_to, "-e", "trace=prctl,openat", STRONGROOM];
    let shot = world.run_as(line, world.wrapped(&strace, line));
    assert_eq!(shot.code, Some(0), "{shot}");
    let calls = fs::read_to_string(&trace).unwrap();
    let first =
        |what: &str| calls.lines().position(|call| call.contains(what)).unwrap_or_else(|| panic!("{what}: {calls}"));
    let disabled = first("prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE) = 0");
    assert!(disabled < first("\"pass\""), "{calls}");
    assert_eq!(calls.matches("PR_SET_DUMPABLE").count(), 1, "it stays so: {calls}");
}

/// Where a secret is about to be typed, there is memory for it that is never swapped out.
#[test]
fn secrets_are_locked_in_memory() {
    let world = World::new();
    let pty = at_a_prompt(&world);
    // The prompt is shown a moment before the memory is asked for.
    let locked = wait::until("locked memory", SOON, || Some(locked_kib(pty.id())).filter(|&locked| locked > 0));
    assert!(locked >= 4, "{locked} KiB: less than a line at a terminal may have");
    let sleeper = Owned::spawn(Command::new("sleep").arg("60").stdout(Stdio::null()), "coreutils");
    assert_eq!(locked_kib(sleeper.id()), 0, "another process has none");
    end(pty);
}

/// VmLck of proc(5).
fn locked_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
}
