//! Waiting for a device that may come to itself: pauses that grow, with an end.

use std::thread;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long one call of a device waits in all. Its work may take as long again, within the deadline of 30 seconds.
pub const FOR_A_CALL: Duration = Duration::from_secs(10);

/// What is left of the waiting.
pub struct Patience {
    start: Instant,
    limit: Duration,
    pause: Duration,
}

impl Patience {
    /// Ends `limit` from now.
    pub fn of(limit: Duration) -> Self {
        Self { start: Instant::now(), limit, pause: FIRST_PAUSE }
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
        let mut patience = Patience::of(Duration::from_millis(100));
        // 20 and 40 milliseconds; the next 80 would be too much, on a busy machine the second already.
        assert!((0..3).any(|_| !patience.wait()));
        assert!(!patience.wait(), "for good");
    }
}
