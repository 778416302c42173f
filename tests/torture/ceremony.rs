//! The ceremonies that are broken, as data: what there is before, and what is run.

use std::fs;

use crate::common::signer::{self, Signer};
use crate::judge::Before;
use crate::stage::{Device, Run, Stage, remove};

pub struct Ceremony {
    pub name: &'static str,
    /// `files/new.backup` is what it makes.
    pub line: &'static str,
    /// What there is before, on a stage with two empty devices.
    before: fn(&mut Stage),
}

const CEREMONIES: &[Ceremony] = &[
    Ceremony { name: "init", line: "init --device $DEVICE --name payroll files/new.backup", before: nothing },
    Ceremony { name: "generate", line: "generate --yes files/new.backup", before: founded },
    Ceremony { name: "backup", line: "backup files/new.backup", before: founded },
    Ceremony { name: "verify", line: "verify files/one.backup", before: founded },
    Ceremony { name: "verify, finishing", line: "verify files/two.backup", before: pending },
    Ceremony { name: "restore", line: "restore --yes --device $DEVICE files/one.backup", before: lost },
    Ceremony { name: "restore, adding", line: "restore --yes --activate files/two.backup", before: one_behind },
    Ceremony { name: "restore --replace", line: "restore --yes --replace files/one.backup", before: another_systems },
    Ceremony { name: "generate, two devices", line: "generate --yes files/new.backup", before: on_both },
    Ceremony { name: "device add", line: "device add --yes $OTHER", before: founded },
    Ceremony { name: "device remove", line: "device remove --yes $ID", before: on_both },
    Ceremony { name: "device repair", line: "device repair $ID", before: left_behind },
    Ceremony { name: "bind", line: "bind --yes --pcrs 7", before: on_both },
    Ceremony { name: "bind, signed", line: "bind --yes", before: on_both_signed },
    Ceremony { name: "recover", line: "recover --yes", before: damaged },
    Ceremony { name: "restore, healing", line: "restore --yes --device $DEVICE files/one.backup", before: damaged },
];

impl Ceremony {
    /// A stage on which it can be run again and again.
    pub fn stage(&self, device: Device) -> Stage {
        let mut stage = Stage::new(device);
        self.prepare(&mut stage);
        stage
    }

    pub fn prepare(&self, stage: &mut Stage) {
        (self.before)(stage);
        stage.keep();
    }

    /// The same with another file, where the first run's is in the way.
    pub fn again(&self) -> String {
        self.line.replace("new.backup", "again.backup")
    }
}

/// All of them, or the one that `STRONGROOM_TORTURE_ONLY` names.
pub fn chosen() -> impl Iterator<Item = &'static Ceremony> {
    match std::env::var("STRONGROOM_TORTURE_ONLY") {
        Ok(name) => vec![called(&name)].into_iter(),
        Err(_) => CEREMONIES.iter().collect::<Vec<_>>().into_iter(),
    }
}

/// The ceremony of that name.
pub fn called(name: &str) -> &'static Ceremony {
    CEREMONIES.iter().find(|ceremony| ceremony.name == name).unwrap_or_else(|| panic!("no ceremony is called {name}"))
}

fn nothing(_: &mut Stage) {}

/// A ring with generation 1, and `one.backup`.
fn founded(stage: &mut Stage) {
    stage.done("init --device $DEVICE --name payroll files/one.backup");
}

/// Generation 2 waits for the drill of `two.backup`: the run was killed before the commit that activates it. Each commit
/// renames the ring, and its copy for the history.
fn pending(stage: &mut Stage) {
    founded(stage);
    let line = "generate --yes files/two.backup";
    let strace = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=renameat:signal=KILL:when=3"];
    let output = stage.wrapped(&strace.map(str::to_owned), line).output().expect("strace is there");
    let run = Run::of(line, output);
    let ring = fs::read_to_string(stage.state().join("ring.json")).expect("a ring");
    assert!(run.was_killed() && ring.contains("\"pending\"") && stage.files().join("two.backup").exists(), "{run}");
}

/// The server is gone; its backup is not.
fn lost(stage: &mut Stage) {
    founded(stage);
    stage.noted = Before::of(stage).keys;
    stage.lose();
}

/// Generation 2 is in `two.backup`, and not in the ring: another server of the system made it, on the other device.
fn one_behind(stage: &mut Stage) {
    founded(stage);
    stage.done("--dir elsewhere restore --yes --device $OTHER files/one.backup");
    stage.done("--dir elsewhere generate --yes files/two.backup");
    remove(&stage.dir().join("elsewhere"));
}

/// The ring is that of system billing, `one.backup` that of system payroll.
fn another_systems(stage: &mut Stage) {
    lost(stage);
    stage.done("init --device $DEVICE --name billing files/billing.backup");
}

/// A ring on both devices.
fn on_both(stage: &mut Stage) {
    founded(stage);
    stage.done("device add --yes $OTHER");
}

/// The same, bound to what is signed, as it is to be again. The TPM knows the signature: that its ticket could not be written would
/// be no failure.
fn on_both_signed(stage: &mut Stage) {
    on_both(stage);
    let signer = Signer::ecdsa("P-256");
    let signed = signer::file("sha256", &[signer.sign(&stage.tpm, "sha256:11")]);
    for (name, content) in [("key.pem", fs::read(signer.public()).expect("a key")), ("signed.json", signed.into())] {
        fs::write(stage.dir().join(name), content).expect("a file of ours");
    }
    // For `status` too, which is asked afterwards.
    let path = stage.dir().join("signed.json").display().to_string();
    stage.environment.push(("STRONGROOM_PCR_SIGNATURE", path));
    stage.done("bind --yes --pcr-public-key key.pem");
}

/// The first device lacks generation 2.
fn left_behind(stage: &mut Stage) {
    on_both(stage);
    stage.done("generate --yes --leave-behind $ID files/two.backup");
}

/// Half of the ring is gone.
fn damaged(stage: &mut Stage) {
    founded(stage);
    stage.noted = Before::of(stage).keys;
    let path = stage.state().join("ring.json");
    let text = fs::read(&path).expect("a ring");
    fs::write(&path, &text[..text.len() / 2]).expect("a file of ours");
}
