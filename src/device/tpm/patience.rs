//! Waiting for a TPM that is busy with itself.
//!
//! RETRY, YIELDED and TESTING say that a command was not begun, NV_RATE and NV_UNAVAILABLE that it could not be (TPM 2.0
//! Part 2, section 6.6.3): the same may be sent again, and no try at a PIN was counted. The library sends each command
//! up to five times by itself, without a pause; a self-test takes longer than that.

use std::thread;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long one call waits in all. Its work may take as long again, within the deadline of 30 seconds.
const FOR_A_CALL: Duration = Duration::from_secs(10);
/// How long a flush waits: what it is for is done, and others may need the slot.
const FOR_A_FLUSH: Duration = Duration::from_secs(2);

/// What is left of the waiting.
pub struct Patience {
    start: Instant,
    limit: Duration,
    pause: Duration,
}

impl Patience {
    pub fn for_a_call() -> Self {
        Self { start: Instant::now(), limit: FOR_A_CALL, pause: FIRST_PAUSE }
    }

    pub fn for_a_flush() -> Self {
        Self { limit: FOR_A_FLUSH, ..Self::for_a_call() }
    }

    /// Pauses, longer each time; false, at once, when the patience is at an end.
    pub fn wait(&mut self) -> bool {
        if self.start.elapsed() + self.pause > self.limit {
            return false;
        }
        thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends() {
        let mut patience = Patience { limit: Duration::from_millis(100), ..Patience::for_a_call() };
        // 20 and 40 milliseconds; the next 80 would be too much, on a busy machine the second already.
        assert!((0..3).any(|_| !patience.wait()));
        assert!(!patience.wait(), "for good");
    }
}
