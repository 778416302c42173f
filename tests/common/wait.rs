//! Waiting with an end: for what happens in another process, where there is nothing to block on.

use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough that only something broken reaches it, also with two cores and a debug build's scrypt.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Asks `probe` again and again until it answers, or `limit` has passed.
pub fn within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        // The clock is read first, so that the last probe comes after the limit.
        let over = start.elapsed() >= limit;
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if over {
            return None;
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The same, where giving up is the test's failure.
pub fn until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    within(limit, probe).unwrap_or_else(|| panic!("gave up after {limit:?} of waiting for {what}"))
}

/// The child's end, if it comes in time.
pub fn exit(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    within(limit, || child.try_wait().expect("a child of ours can be waited for"))
}
