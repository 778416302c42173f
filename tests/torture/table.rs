//! The table: what was tried, and that nothing was lost. A loss ends everything.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::judge::Complaint;
use crate::stage::Device;

static LOST: AtomicBool = AtomicBool::new(false);

/// A line of the table.
pub struct Row<'r> {
    pub ceremony: &'r str,
    pub device: Device,
    pub fault: &'r str,
    pub points: usize,
}

/// `ci/torture` gathers these lines. Only what passed gets here.
pub fn row(row: Row<'_>) {
    println!("| {:<21} | {:<7} | {:<26} | {:>6} | {:>4} |", row.ceremony, row.device, row.fault, row.points, 0);
}

/// Takes a verdict; the first that is not good ends the test, and soon the others.
pub fn judged(here: &str, verdict: Result<(), Complaint>, more: impl FnOnce() -> String) {
    if let Err(complaint) = verdict {
        LOST.store(true, Ordering::SeqCst);
        panic!("{here}: {complaint}\n{}", more());
    }
}

/// Called before each point.
pub fn stop_after_a_loss() {
    assert!(!LOST.load(Ordering::SeqCst), "stopped: another test has found a loss");
}
