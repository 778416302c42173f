//! A server of the test's own: a directory with the state, the backups and the secrets, and the devices.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::common::child;
use crate::common::faulty::{self, Faulty};
use crate::common::kryoptic::{self, Kryoptic};
use crate::common::pty::{Piped, Pty};
use crate::common::softhsm::SoftHsm;
use crate::common::swtpm::Swtpm;
use crate::plain::Names;
use crate::snapshot::{self, Shot};
use crate::tree;

pub const STRONGROOM: &str = env!("CARGO_BIN_EXE_strongroom");

/// What `file("pass")` holds: the passphrase of every backup that a world makes of itself.
pub const PASSPHRASE: &str = "three dull knives under blue snow";
/// What `file("pin")` holds: the PIN of a world whose secret has one.
pub const PIN: &str = "2468-seal";

/// A server. Commands run in its directory, so that messages show short paths, without a terminal.
pub struct World {
    // The devices end before their directory goes.
    pub tpm: Option<Swtpm>,
    pub hsm: Option<SoftHsm>,
    pub kryoptic: Option<Kryoptic>,
    /// What stands before the token's module, if anything does.
    pub faulty: Option<Faulty>,
    dir: TempDir,
}

impl World {
    /// No device, no ring; the passphrase in `pass`.
    pub fn bare() -> World {
        let dir = tempfile::Builder::new().prefix("strongroom-cli-").tempdir().expect("a temporary directory");
        let world = World { tpm: None, hsm: None, kryoptic: None, faulty: None, dir };
        world.file("pass", format!("{PASSPHRASE}\n"));
        world
    }

    /// A TPM, and no ring.
    pub fn fresh() -> World {
        World { tpm: Some(Swtpm::start()), ..World::bare() }
    }

    /// A TPM that keeps generation 1 of system payroll, and `payroll.backup`.
    pub fn new() -> World {
        let world = World::fresh();
        world.done("init --device $TPM --name payroll --passphrase-file pass payroll.backup");
        world
    }

    /// The same with a PIN, which is in `pin`.
    pub fn with_pin() -> World {
        let world = World::fresh();
        world.file("pin", format!("{PIN}\n"));
        world.done(
            "init --device $TPM --with-pin --new-pin-file pin --name payroll --passphrase-file pass payroll.backup",
        );
        world
    }

    /// A token, and no ring; the user PIN is in `pin`.
    pub fn fresh_token() -> World {
        let world = World { hsm: Some(SoftHsm::new("payroll")), ..World::bare() };
        world.file("pin", format!("{}\n", crate::common::softhsm::USER_PIN));
        world
    }

    /// The same behind the fault module.
    pub fn faulty_token() -> World {
        World::fresh_token().with_faults()
    }

    /// A module that shows one blank token, behind the fault module; PINs for it in `so` and `pin`.
    pub fn blank_token() -> World {
        let world = World { hsm: Some(SoftHsm::uninitialised()), ..World::bare() };
        world.file("so", format!("{}\n", crate::common::softhsm::SO_PIN));
        world.file("pin", format!("{}\n", crate::common::softhsm::USER_PIN));
        world.with_faults()
    }

    fn with_faults(mut self) -> World {
        self.faulty = self.hsm.as_ref().map(Faulty::before);
        self
    }

    /// The fault module.
    pub fn faults(&self) -> &Faulty {
        self.faulty.as_ref().expect("a world with the fault module")
    }

    /// A token that keeps generation 1 of system payroll, and `payroll.backup`.
    pub fn token() -> World {
        let world = World::fresh_token();
        world.done("init --device $HSM --name payroll --pin-file pin --passphrase-file pass payroll.backup");
        world
    }

    /// The same with a token that counts wrong PINs, and locks.
    pub fn locking_token() -> World {
        let world = World { kryoptic: Some(Kryoptic::new(&["payroll"])), ..World::bare() };
        world.file("pin", format!("{}\n", crate::common::softhsm::USER_PIN));
        world.done("init --device $KRYOPTIC --name payroll --pin-file pin --passphrase-file pass payroll.backup");
        world
    }

    /// A TPM that keeps generation 1 of system payroll, and `payroll.backup`; and a token, its user PIN in `pin`, that the
    /// ring does not know.
    pub fn two_devices() -> World {
        let mut world = World::new();
        world.hsm = Some(SoftHsm::new("payroll"));
        world.file("pin", format!("{}\n", crate::common::softhsm::USER_PIN));
        world
    }

    /// A ring on the TPM and on the token.
    pub fn on_both() -> World {
        let world = World::two_devices();
        world.done("device add --yes --pin-file pin $HSM");
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that only its owner can read.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| std::io::Write::write_all(&mut file, content.as_ref()))
            .expect("a file in our directory");
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file in our directory")
    }

    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("a file of ours");
    }

    /// Changes `ring.json` as an editor would.
    pub fn edit_ring(&self, edit: impl FnOnce(String) -> String) {
        let before = self.read("state/ring.json");
        let after = edit(before.clone());
        assert_ne!(before, after, "the edit changed nothing");
        self.file("state/ring.json", after);
    }

    /// Copies the state directory, to be put back later.
    pub fn keep_state(&self, name: &str) {
        copy(&self.path("state"), &self.path(name));
    }

    pub fn put_back_state(&self, name: &str) {
        fs::remove_dir_all(self.path("state")).expect("a directory of ours");
        fs::rename(self.path(name), self.path("state")).expect("a directory of ours");
    }

    /// The words of `line`, with `$TPM`, `$HSM` and `$KRYOPTIC` for the devices' URIs, and `$MODULE` for the token's module.
    fn words(&self, line: &str) -> Vec<String> {
        let mut line = line.to_owned();
        if let Some(tpm) = &self.tpm {
            line = line.replace("$TPM", &tpm.uri());
        }
        if let Some(hsm) = &self.hsm {
            let (uri, module) = match &self.faulty {
                Some(faulty) => (faulty.uri("payroll"), faulty.path()),
                None => (hsm.uri(), hsm.module()),
            };
            line = line.replace("$HSM", &uri).replace("$MODULE", &module.display().to_string());
        }
        if let Some(kryoptic) = &self.kryoptic {
            line = line.replace("$KRYOPTIC", &kryoptic.uri("payroll"));
        }
        snapshot::split(&line)
    }

    /// `strongroom line`, in a clean environment. Backups are made with a low work factor, for speed.
    pub fn command(&self, line: &str) -> Command {
        self.wrapped(&[STRONGROOM], line)
    }

    /// The same in a namespace of its own (an option of unshare(1)), prepared by `script`, which ends by `exec "$0" "$@"`.
    /// Root makes it as root; others where the system allows user namespaces, which a container may not.
    pub fn in_namespace(&self, namespace: &str, script: &str, line: &str) -> Command {
        let mut wrapper = vec!["unshare", namespace];
        if !rustix::process::geteuid().is_root() {
            wrapper.push("--map-root-user");
        }
        wrapper.extend(["sh", "-c", script, STRONGROOM]);
        self.wrapped(&wrapper, line)
    }

    /// The same through other programs; the last word of `wrapper` starts strongroom.
    pub fn wrapped(&self, wrapper: &[&str], line: &str) -> Command {
        let words = self.words(line);
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).args(&words);
        if words.first().is_some_and(|verb| ["init", "generate", "rotate", "backup"].contains(&verb.as_str()))
            && !words.contains(&"--work-factor".to_owned())
        {
            command.args(["--work-factor", "10"]);
        }
        command.current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("STRONGROOM_DIR", self.path("state"));
        if let Some(hsm) = &self.hsm {
            command.env("SOFTHSM2_CONF", hsm.conf());
        }
        if let Some(kryoptic) = &self.kryoptic {
            command.env(kryoptic::VARIABLE, kryoptic.conf());
        }
        if let Some(faulty) = &self.faulty {
            command.env(faulty::VARIABLE, faulty.rules());
        }
        command
    }

    /// Runs `strongroom line` with nobody at a terminal.
    pub fn run(&self, line: &str) -> Shot {
        self.run_as(line, self.command(line))
    }

    /// Runs `strongroom line`, which is killed right before the system call that `when` names, as strace's `inject=`.
    pub fn killed_before(&self, when: &str, line: &str) {
        let inject = format!("inject={when}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject, STRONGROOM];
        let killed = self.run_as(line, self.wrapped(&strace, line));
        assert_eq!(killed.code, None, "{killed}");
    }

    /// The same with fd 0 from a file of this world.
    pub fn run_reading(&self, file: &str, line: &str) -> Shot {
        let mut command = self.command(line);
        command.stdin(fs::File::open(self.path(file)).expect("a file of ours"));
        self.shoot(line, command)
    }

    /// Runs `command`, which is shown as `line`.
    pub fn run_as(&self, line: &str, mut command: Command) -> Shot {
        command.stdin(Stdio::null());
        self.shoot(line, command)
    }

    fn shoot(&self, line: &str, mut command: Command) -> Shot {
        // SAFETY: one system call. A session of its own has no terminal, whoever runs the tests where.
        unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(|_| ())?)) };
        let output: Output = child::tie_to_this_thread(&mut command).output().expect("a program that is there");
        let text = |bytes: &[u8]| self.names().plain(&String::from_utf8_lossy(bytes));
        Shot {
            line: line.to_owned(),
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            raw: output.stdout,
        }
    }

    /// Runs what has to work.
    pub fn done(&self, line: &str) -> Shot {
        let shot = self.run(line);
        assert_eq!(shot.code, Some(0), "{shot}");
        shot
    }

    /// Runs what must fail with `code` and change nothing, and compares what was said.
    pub fn refused(&self, name: &str, code: i32, line: &str) {
        let shot = self.unchanged(|| self.run(line));
        assert_eq!(shot.code, Some(code), "{shot}");
        snapshot::check(name, &[shot]);
    }

    /// Several of them, in one snapshot.
    pub fn all_refused(&self, name: &str, code: i32, lines: &[&str]) {
        // The devices are looked at once, before the first and after the last.
        let each = |line: &&str| {
            let (before, log) = (tree::listing(self.dir.path()), tree::log(self.dir.path()));
            let shot = self.run(line);
            tree::same(&before, &tree::listing(self.dir.path()));
            tree::only_refused(&log, &tree::log(self.dir.path()));
            shot
        };
        let shots: Vec<Shot> = self.unchanged(|| lines.iter().map(each).collect());
        for shot in &shots {
            assert_eq!(shot.code, Some(code), "{shot}");
        }
        snapshot::check(name, &shots);
    }

    /// Runs `act`, and shows that it changed nothing: neither the state nor any backup, nor what stays on the devices.
    pub fn unchanged<T>(&self, act: impl FnOnce() -> T) -> T {
        let (before, log) = (self.inventory(), tree::log(self.dir.path()));
        let outcome = act();
        tree::same(&before, &self.inventory());
        tree::only_refused(&log, &tree::log(self.dir.path()));
        outcome
    }

    fn inventory(&self) -> Vec<String> {
        let mut found = tree::listing(self.dir.path());
        if let Some(tpm) = &self.tpm {
            for kind in ["handles-persistent", "handles-nv-index", "handles-transient", "handles-loaded-session"] {
                let listing = tpm.tool(&["tpm2_getcap", kind]).stdout;
                found.push(format!("{kind}: {}", String::from_utf8_lossy(&listing).replace('\n', " ")));
            }
        }
        if let Some(hsm) = &self.hsm {
            found.extend(tree::listing(&hsm.tokens_dir()));
        }
        found
    }

    /// `strongroom line` at a terminal that shows no colours.
    pub fn terminal(&self, line: &str) -> Pty {
        self.terminal_piping(line, &[])
    }

    pub fn terminal_piping(&self, line: &str, piped: &[Piped]) -> Pty {
        let mut command = self.command(line);
        command.env("TERM", "dumb");
        Pty::spawn_piping(command, piped)
    }

    /// What the terminal showed, in the form that snapshots have.
    pub fn plain(&self, transcript: &str) -> String {
        self.names().plain(&transcript.replace("\r\n", "\n"))
    }

    fn names(&self) -> Names {
        let mut names = vec![(self.dir.path().display().to_string(), "DIR")];
        if let Some(tpm) = &self.tpm {
            names.push((tpm.uri(), "$TPM"));
            names.push((tpm.tcti(), "$TCTI"));
        }
        if let Some(faulty) = &self.faulty {
            names.push((faulty.uri("payroll"), "$HSM"));
            names.push((faulty.path().display().to_string(), "MODULE"));
        }
        if let Some(hsm) = &self.hsm {
            names.push((hsm.uri(), "$HSM"));
            // Messages show where the module is in the end.
            for module in [hsm.module().to_owned(), hsm.module().canonicalize().expect("a module that is there")] {
                names.push((module.display().to_string(), "MODULE"));
            }
        }
        if let Some(kryoptic) = &self.kryoptic {
            names.push((kryoptic.uri("payroll"), "$KRYOPTIC"));
        }
        Names(names)
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.is_ok_and(|status| status.success()), "can't copy {}", from.display());
}
