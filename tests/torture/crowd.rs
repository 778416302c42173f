//! Two to eight processes at once: they derive while one generates.

use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::share::Share;
use crate::stage::{Device, Stage};
use crate::table::{self, Row};

pub fn derive_while_one_generates(device: Device) {
    let stage = Stage::new(device);
    stage.done("init --device $DEVICE --name payroll files/1.backup");
    let crowds = match Share::chosen() {
        Share::All => vec![1, 2, 3, 4, 5, 6, 7],
        Share::Tenth | Share::Thirtieth => vec![1, 7],
    };
    let mut points = 0;
    for (others, generation) in crowds.into_iter().zip(2..) {
        points += at_once(&stage, others, generation);
    }
    table::row(Row { ceremony: "generate and derive", device, fault: "2 to 8 processes at once", points });
}

/// One makes a generation, the others derive all the while, and once more when it is done. Gives how many keys there were.
fn at_once(stage: &Stage, others: usize, new: u64) -> usize {
    let (committed, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let derive = || {
            let mut count = 0;
            loop {
                // What is read here was so before the derive started.
                let (must_be_new, is_last) = (committed.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
                let run = stage.run("derive torture");
                assert!(run.succeeded(), "beside {others} others: {run}");
                let generation = run.lines()[0]["generation"].as_u64();
                assert!(generation == Some(new) || generation == Some(new - 1), "{run}");
                assert!(!must_be_new || generation == Some(new), "it started after the commit of {new}: {run}");
                count += 1;
                if is_last {
                    return count;
                }
            }
        };
        let crowd: Vec<_> = (0..others).map(|_| scope.spawn(derive)).collect();
        let mut child = stage.command(&format!("generate --yes files/{new}.backup")).spawn().expect("a program");
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            let line: Value = serde_json::from_str(&line.expect("UTF-8")).expect("JSON");
            if line["step"] == "generation-active" {
                committed.store(true, Ordering::SeqCst);
            }
        }
        let output = child.wait_with_output().expect("a child of ours can be waited for");
        ended.store(true, Ordering::SeqCst);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(committed.load(Ordering::SeqCst));
        crowd.into_iter().map(|one| one.join().expect("no derive failed")).sum()
    })
}
