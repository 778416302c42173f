//! b. Every command to a TPM and every call to a PKCS#11 module, in turn: the process is killed before the device has it,
//! or when the device has done it and nobody has heard of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::ceremony::{self, Ceremony};
use crate::common::faulty::{self, Faulty};
use crate::common::meddler::{Act, Meddler};
use crate::common::wait;
use crate::judge::{self, Before, Shape};
use crate::share::{Seed, Share};
use crate::stage::{Device, Run, Stage};
use crate::table::{self, Row};

pub fn break_all(device: Device, seed: &mut Seed) {
    for ceremony in ceremony::chosen() {
        let mut buses = Buses::of(ceremony, device);
        let (before, after) = (Before::of(&buses.stage), buses.count());
        for (bus, fault) in [(Device::Tpm, "kill -9 at a TPM command"), (Device::Token, "kill -9 at a PKCS#11 call")] {
            let count = buses.counted(bus);
            let points: Vec<(usize, bool)> = (1..=count).flat_map(|nth| [(nth, false), (nth, true)]).collect();
            let points = Share::chosen().of(points, seed);
            for (nth, is_done) in &points {
                table::stop_after_a_loss();
                buses.stage.put_back();
                let run = buses.run_to(bus, *nth, *is_done);
                let when = if *is_done { "after" } else { "before" };
                let here = format!("{} on {device}, {fault}, {when} no. {nth} of {count}", ceremony.name);
                assert!(run.was_killed(), "{here}: it lived\n{run}");
                let verdict = judge::after_a_fault(&buses.stage, ceremony, &before, &after, &run);
                table::judged(&here, verdict, || run.to_string());
            }
            // A ceremony that has nothing to do with a device is not broken at it.
            if count > 0 {
                table::row(Row { ceremony: ceremony.name, device, fault, points: points.len() });
            }
        }
    }
}

/// A stage whose devices are both reached through somebody who can kill at a command.
struct Buses<'c> {
    // The meddler lets go of its TPM before that ends.
    meddler: Meddler,
    faulty: Faulty,
    stage: Stage,
    ceremony: &'c Ceremony,
    /// The process to be killed; 0: it does not run yet.
    victim: Arc<AtomicU32>,
    counts: [usize; 2],
}

impl<'c> Buses<'c> {
    fn of(ceremony: &'c Ceremony, device: Device) -> Self {
        let mut stage = Stage::new(device);
        let meddler = Meddler::start(&stage.tpm, |_| Act::Pass);
        let faulty = Faulty::before(&stage.hsm);
        stage.tpm_uri = meddler.uri();
        stage.module = Some(faulty::module());
        stage.environment.push((faulty::VARIABLE, faulty.rules().display().to_string()));
        ceremony.prepare(&mut stage);
        Self { meddler, faulty, stage, ceremony, victim: Arc::new(AtomicU32::new(0)), counts: [0; 2] }
    }

    /// Runs the whole ceremony, and counts what each device is asked. Gives the ring as it is then.
    fn count(&mut self) -> Shape {
        self.stage.put_back();
        self.harmless();
        self.stage.done(self.ceremony.line);
        self.counts = [self.meddler.commands().len(), self.faulty.calls().len()];
        judge::look(&self.stage).unwrap_or_else(|complaint| panic!("{complaint}")).shape
    }

    fn counted(&self, bus: Device) -> usize {
        match bus {
            Device::Tpm => self.counts[0],
            Device::Token => self.counts[1],
        }
    }

    fn harmless(&self) {
        self.meddler.decide(|_| Act::Pass);
        self.faulty.set(&[]);
        self.faulty.forget();
    }

    /// Runs the ceremony to the `nth` command to a device, and kills it before that or after.
    fn run_to(&self, bus: Device, nth: usize, is_done: bool) -> Run {
        self.harmless();
        self.victim.store(0, Ordering::SeqCst);
        match bus {
            Device::Tpm => {
                let victim = Arc::clone(&self.victim);
                self.meddler.decide(move |command| {
                    let victim = Arc::clone(&victim);
                    match (command.nth == nth, is_done) {
                        (false, _) => Act::Pass,
                        (true, true) => Act::Then(Box::new(move || kill(&victim))),
                        (true, false) => {
                            kill(&victim);
                            Act::HangUp
                        }
                    }
                });
            }
            Device::Token => {
                let when = if is_done { "kill-after" } else { "kill-before" };
                self.faulty.set(&[&format!("* {nth} {when}")]);
            }
        }
        let child = self.stage.command(self.ceremony.line).spawn().expect("a program that is there");
        self.victim.store(child.id(), Ordering::SeqCst);
        let output = child.wait_with_output().expect("a child of ours can be waited for");
        self.harmless();
        Run::of(self.ceremony.line, output)
    }
}

/// Kills the process as soon as its id is known.
fn kill(victim: &AtomicU32) {
    let id = wait::until("the process to have an id", wait::LIMIT, || match victim.load(Ordering::SeqCst) {
        0 => None,
        id => Pid::from_raw(id.cast_signed()),
    });
    kill_process(id, Signal::KILL).expect("a child of ours can be killed");
}
