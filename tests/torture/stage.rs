//! The stage: a server that can be put back to where it was, with its files and both of its devices, as often as needed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::child;
use crate::common::softhsm::SoftHsm;
use crate::common::swtpm::Swtpm;

pub const STRONGROOM: &str = env!("CARGO_BIN_EXE_strongroom");
const PASSPHRASE: &str = "three dull knives under blue snow";
/// The user and the group that nobody else has.
const NOBODY: u32 = 65534;

/// The device that a ceremony is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Tpm,
    Token,
}

impl Device {
    fn id(self) -> &'static str {
        match self {
            Device::Tpm => "tpm1",
            Device::Token => "hsm1",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Device::Tpm => "swtpm",
            Device::Token => "SoftHSM",
        })
    }
}

/// `state/` is the state directory, `files/` the backups' directory, `kept/` what [`Stage::put_back`] puts back.
pub struct Stage {
    // The devices end before their directory goes.
    pub tpm: Swtpm,
    pub hsm: SoftHsm,
    device: Device,
    /// The URI under which the TPM is reached, where it is not its own.
    pub tpm_uri: String,
    /// The module that the token is reached through, and what it has to know; none: SoftHSM's own.
    pub module: Option<PathBuf>,
    pub environment: Vec<(&'static str, String)>,
    /// The program, open for a user who may not be able to walk to it; none: run as who runs the tests.
    nobody: Option<File>,
    /// Keys of generations that were once active, by their ids, which the ring does not tell any more.
    pub noted: BTreeMap<String, String>,
    dir: TempDir,
}

impl Stage {
    /// Two empty devices, and nothing else.
    pub fn new(device: Device) -> Stage {
        let dir = tempfile::Builder::new().prefix("strongroom-torture-").tempdir().expect("a temporary directory");
        for sub in ["files", "kept"] {
            fs::create_dir(dir.path().join(sub)).expect("a directory of ours");
        }
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.path().join("pass"));
        file.and_then(|mut file| std::io::Write::write_all(&mut file, PASSPHRASE.as_bytes())).expect("a file of ours");
        let (tpm, hsm) = (Swtpm::start(), SoftHsm::new("payroll"));
        let tpm_uri = tpm.uri();
        Stage {
            tpm,
            hsm,
            device,
            tpm_uri,
            module: None,
            environment: Vec::new(),
            nobody: None,
            noted: BTreeMap::new(),
            dir,
        }
    }

    /// From here on the commands run as nobody, to whom all of it belongs.
    pub fn hand_to_nobody(&mut self) {
        assert!(rustix::process::geteuid().is_root(), "run the tests as root: one takes on another user's id");
        let program = File::open(STRONGROOM).expect("the program that is tested");
        // Without O_CLOEXEC it is open in the program too.
        rustix::io::fcntl_setfd(&program, rustix::io::FdFlags::empty()).expect("a descriptor of ours");
        self.nobody = Some(program);
        for path in [self.dir.path().to_owned(), self.hsm_dir()] {
            give(&path, NOBODY);
        }
    }

    /// The token's directory becomes root's, which all may read: what keeps SoftHSM from truncating a token at a login.
    pub fn make_token_read_only(&self) {
        give(&self.hsm.tokens_dir(), 0);
        succeed(Command::new("chmod").args(["-R", "a+rX,go-w"]).arg(self.hsm.tokens_dir()));
    }

    fn hsm_dir(&self) -> PathBuf {
        self.hsm.pin_file().parent().expect("a file in a directory").to_owned()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    fn uri_of(&self, device: Device) -> String {
        match device {
            Device::Tpm => self.tpm_uri.clone(),
            Device::Token => {
                let module = self.module.as_deref().unwrap_or(self.hsm.module());
                let pin = self.hsm.pin_file();
                format!("pkcs11:token=payroll?module-path={}&pin-source={}", module.display(), pin.display())
            }
        }
    }

    /// `$DEVICE` is the URI of the device that this stage is about, `$ID` its name in a ring, `$OTHER` the URI of the other one. What never changes is
    /// added: the passphrase, and the lightest work factor.
    pub fn words(&self, line: &str) -> Vec<String> {
        let other = match self.device {
            Device::Tpm => Device::Token,
            Device::Token => Device::Tpm,
        };
        let name = |word: &str| match word {
            "$DEVICE" => self.uri_of(self.device),
            "$OTHER" => self.uri_of(other),
            "$ID" => self.device.id().to_owned(),
            word => word.to_owned(),
        };
        let mut words: Vec<String> = ["--json"].into_iter().chain(line.split_whitespace()).map(name).collect();
        let has = |verbs: &[&str]| words.iter().any(|word| verbs.contains(&word.as_str()));
        let (seals, opens) = (has(&["init", "generate", "backup"]), has(&["verify", "restore"]) && !has(&["audit"]));
        if seals || opens {
            words.extend(["--passphrase-file", "pass"].map(str::to_owned));
        }
        if seals {
            words.extend(["--work-factor", "10"].map(str::to_owned));
        }
        words
    }

    pub fn command(&self, line: &str) -> Command {
        self.wrapped(&[], line)
    }

    /// The same through another program, which gets strongroom's words after its own.
    pub fn wrapped(&self, wrapper: &[String], line: &str) -> Command {
        let mut words = wrapper.to_vec();
        match &self.nobody {
            Some(program) => {
                let ids = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
                words.extend(ids.map(str::to_owned));
                words.push(format!("/proc/self/fd/{}", program.as_raw_fd()));
            }
            None => words.push(STRONGROOM.to_owned()),
        }
        words.extend(self.words(line));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("STRONGROOM_DIR", self.state()).env("SOFTHSM2_CONF", self.hsm.conf());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        child::tie_to_this_thread(&mut command);
        command
    }

    pub fn run(&self, line: &str) -> Run {
        Run::of(line, self.command(line).output().expect("a program that is there"))
    }

    /// Runs what has to work.
    pub fn done(&self, line: &str) -> Run {
        let run = self.run(line);
        assert!(run.succeeded(), "{run}");
        run
    }

    /// The server is gone with its devices; another one has new ones. The backups are still there.
    pub fn lose(&mut self) {
        remove(&self.state());
        self.tpm.power_off();
        remove(&self.tpm.state_dir());
        fs::create_dir(self.tpm.state_dir()).expect("a directory of ours");
        self.tpm.power_on();
        self.hsm.wipe();
    }

    /// Keeps all of it as it is now.
    pub fn keep(&mut self) {
        self.tpm.power_off();
        for (here, kept) in self.parts() {
            remove(&kept);
            if here.exists() {
                copy(&here, &kept);
            }
        }
        self.tpm.power_on();
    }

    /// Puts all of it back to where it was when it was kept.
    pub fn put_back(&mut self) {
        self.tpm.power_off();
        for (here, kept) in self.parts() {
            remove(&here);
            if kept.exists() {
                copy(&kept, &here);
            }
        }
        self.tpm.power_on();
    }

    /// Keeps the devices alone, under another name.
    pub fn keep_devices(&mut self, name: &str) {
        self.tpm.power_off();
        for (here, kept) in self.devices_of(name) {
            remove(&kept);
            copy(&here, &kept);
        }
        self.tpm.power_on();
    }

    pub fn put_back_devices(&mut self, name: &str) {
        self.tpm.power_off();
        for (here, kept) in self.devices_of(name) {
            remove(&here);
            copy(&kept, &here);
        }
        self.tpm.power_on();
    }

    fn parts(&self) -> Vec<(PathBuf, PathBuf)> {
        let kept = self.dir.path().join("kept");
        let mut parts = vec![(self.state(), kept.join("state")), (self.files(), kept.join("files"))];
        parts.extend(self.devices_of("kept"));
        parts
    }

    fn devices_of(&self, name: &str) -> [(PathBuf, PathBuf); 2] {
        let kept = |part: &str| self.dir.path().join(format!("{name}-{part}"));
        [(self.tpm.state_dir(), kept("tpm")), (self.hsm.tokens_dir(), kept("tokens"))]
    }
}

/// How a run of strongroom ended, and what it said.
#[derive(Clone)]
pub struct Run {
    line: String,
    output: Output,
}

impl Run {
    pub fn of(line: &str, output: Output) -> Run {
        Run { line: line.to_owned(), output }
    }

    pub fn succeeded(&self) -> bool {
        self.output.status.success()
    }

    pub fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Whether `kill -9` ended it.
    pub fn was_killed(&self) -> bool {
        self.output.status.signal() == Some(libc::SIGKILL)
    }

    /// The lines of JSON that it wrote; one that was cut off does not count.
    pub fn lines(&self) -> Vec<Value> {
        self.output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// The id of the error that it ended with.
    pub fn error(&self) -> Option<String> {
        let last = self.lines().pop()?;
        Some(last["error"]["id"].as_str()?.to_owned())
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&self.output.stdout), text(&self.output.stderr));
        write!(f, "strongroom {}\n  ended with {}\n{out}{err}", self.line, self.output.status)
    }
}

pub fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("can't run {:?}: {e}", command.get_program()));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn copy(from: &Path, to: &Path) {
    succeed(Command::new("cp").arg("-a").args([from, to]));
}

pub fn remove(path: &Path) {
    if path.exists() {
        fs::remove_dir_all(path).expect("a directory of ours");
    }
}

fn give(path: &Path, owner: u32) {
    chown(path, Some(owner), Some(owner)).expect("root may give files away");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory of ours") {
            give(&entry.expect("an entry").path(), owner);
        }
    }
}
