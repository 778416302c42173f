//! a. Every system call on the state directory and on the backups' directory, in turn: the process is killed in its place,
//! or gets EIO or ENOSPC from it.

use serde_json::json;

use crate::ceremony;
use crate::judge::{self, Before};
use crate::share::{Seed, Share};
use crate::stage::Device;
use crate::strace::{Call, FAULTS, Fault, Trace};
use crate::table::{self, Row};

/// A disk that fails when the backup's name is synced is not taken for one that can't sync names.
pub fn a_backups_name_that_is_not_synced_is_a_failure() {
    let ceremony = ceremony::called("generate");
    let mut stage = ceremony.stage(Device::Tpm);
    let whole = Trace::record(&stage, ceremony.line);
    let directory = format!("fsync({} )", stage.files().display());
    let sync = whole.calls.iter().find(|call| call.what() == directory).expect("the directory is synced");
    for fault in [Fault::Eio, Fault::Enospc] {
        stage.put_back();
        let broken = Trace::broken(&stage, ceremony.line, sync, fault);
        assert!(broken.struck(sync) && broken.run.code() == Some(1), "{}", broken.run);
        assert!(!stage.files().join("new.backup").exists(), "it can't be relied on, and is gone");
        stage.done(ceremony.line);
    }
}

/// A disk that fails under the state directory is not taken for a server without a ring: its drill would prove nothing, and
/// say that all is well.
pub fn a_state_that_cant_be_read_is_not_none() {
    let ceremony = ceremony::called("verify");
    let mut stage = ceremony.stage(Device::Tpm);
    let whole = Trace::record(&stage, ceremony.line);
    let looks = whole.on_files(&stage).into_iter().filter(|call| call.name == "statx" || call.name.starts_with("open"));
    for look in looks.filter(|call| call.what().contains("/state")) {
        stage.put_back();
        let broken = Trace::broken(&stage, ceremony.line, &look, Fault::Eio);
        assert!(broken.struck(&look), "{}: {}", look.what(), broken.run);
        // What is remembered of PINs is not needed for it.
        let has_proved = broken.run.lines().last().is_some_and(|last| last["proved"] == json!([1]));
        assert!(broken.run.code() == Some(1) || has_proved, "{}: {}", look.what(), broken.run);
    }
}

pub fn break_all(device: Device, seed: &mut Seed) {
    for ceremony in ceremony::chosen() {
        let mut stage = ceremony.stage(device);
        let before = Before::of(&stage);
        let whole = Trace::record(&stage, ceremony.line);
        assert!(whole.run.succeeded(), "{}", whole.run);
        let after = judge::look(&stage).unwrap_or_else(|complaint| panic!("{}: {complaint}", ceremony.name)).shape;
        let calls = whole.on_files(&stage);
        assert!(calls.len() > 20, "{}: strace saw only {} calls on files", ceremony.name, calls.len());
        for fault in FAULTS {
            let points: Vec<Call> = calls.iter().filter(|call| fault.fits(call)).cloned().collect();
            let points = Share::chosen().of(points, seed);
            for call in &points {
                table::stop_after_a_loss();
                stage.put_back();
                let broken = Trace::broken(&stage, ceremony.line, call, fault);
                let here =
                    format!("{} on {device}, {} {} (no. {})", ceremony.name, fault.name(), call.what(), call.nth);
                assert!(broken.struck(call), "{here}: it was another call\n{}", broken.run);
                assert!(fault != Fault::Kill || broken.run.was_killed(), "{here}: it lived\n{}", broken.run);
                // What is not on the disk may not be told as done.
                let unsynced = call.name == "fsync" && fault != Fault::Kill;
                assert!(!unsynced || !broken.run.succeeded(), "{here}: success was told\n{}", broken.run);
                let verdict = judge::after_a_fault(&stage, ceremony, &before, &after, &broken.run);
                table::judged(&here, verdict, || broken.run.to_string());
            }
            table::row(Row { ceremony: ceremony.name, device, fault: fault.name(), points: points.len() });
        }
    }
}
