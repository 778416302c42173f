//! A process of its own for one test.
//!
//! Environment variables are a process's, and `cargo test` runs the tests of a binary as threads of one process. A test
//! that needs its own environment (SoftHSM looks for SOFTHSM2_CONF) runs itself again in a child: the parent prepares
//! and owns what the test needs, the child has the environment from birth and runs the body. Under `cargo nextest` this works too.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use super::child;

const CHILD: &str = "STRONGROOM_TEST_CHILD";

/// The path of the test function that this is written in, as the test binary knows it. Not for use within closures.
macro_rules! this_test {
    () => {{
        fn here() {}
        let path = ::std::any::type_name_of_val(&here);
        // binary::module::test::here -> module::test
        let path = path.strip_suffix("::here").expect("a function within the test");
        path.split_once("::").expect("a test within a binary").1
    }};
}
pub(crate) use this_test;

/// Whether this process is the child that runs the body of `test`.
pub fn is_child(test: &str) -> bool {
    env::var_os(CHILD).is_some_and(|child| child == test)
}

/// Runs `body` in a process of its own. `test` is `this_test!()`; `prepare` runs in the parent, sets the child's environment,
/// and returns what is to live as long as the child.
pub fn run<T>(test: &str, prepare: impl FnOnce(&mut Command) -> T, body: impl FnOnce()) {
    let start = || {
        let mut command = Command::new(this_binary());
        let alive = prepare(&mut command);
        (command, alive)
    };
    start_or_be(test, start, body);
}

/// The same through another program, as `env` and `unshare` are: `start` gives it with its arguments, to which this test binary
/// and its own are added.
pub fn run_through<T>(test: &str, start: impl FnOnce() -> (Command, T), body: impl FnOnce()) {
    let start = || {
        let (mut command, alive) = start();
        command.arg(this_binary());
        (command, alive)
    };
    start_or_be(test, start, body);
}

fn start_or_be<T>(test: &str, start: impl FnOnce() -> (Command, T), body: impl FnOnce()) {
    if is_child(test) {
        return body();
    }
    let (mut command, _alive) = start();
    command.args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]).env(CHILD, test);
    let output = child::tie_to_this_thread(&mut command).output().expect("this test binary can be run again");

    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // A wrong name runs no test at all, successfully: so the count is looked at too.
    assert!(
        output.status.success() && stdout.contains("test result: ok. 1 passed;"),
        "{test}, in a process of its own, ended with {}\n--- its stdout\n{stdout}\n--- its stderr\n{stderr}",
        output.status
    );
}

fn this_binary() -> PathBuf {
    env::current_exe().expect("this test binary has a path")
}
