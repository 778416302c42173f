//! What is outside: Strongroom as the program that admins run, and Debian's tools beside it. Nothing in here uses the crate.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::pty::{Piped, Pty};
use super::softhsm::SoftHsm;
use super::wait;

/// A passphrase that passes for a good one.
pub const PASSPHRASE: &str = "wrong horse battery staple jumps";

/// A server: a state directory, a directory for files, and the device that it uses.
pub struct Server {
    dir: TempDir,
    device: String,
    /// SOFTHSM2_CONF, where the device is one.
    softhsm: Option<PathBuf>,
    passphrase_file: PathBuf,
    program: PathBuf,
}

impl Server {
    /// A server with a TPM at `uri`.
    pub fn with_tpm(uri: String) -> Server {
        Server::new(uri, None)
    }

    /// A server with that token; its PIN comes from `pin-source`.
    pub fn with_hsm(hsm: &SoftHsm) -> Server {
        let uri = format!("{}&pin-source={}", hsm.uri(), hsm.pin_file().display());
        Server::new(uri, Some(hsm.conf()))
    }

    /// A server with the device at a URI; a SoftHSM needs its SOFTHSM2_CONF.
    pub fn new(device: String, softhsm: Option<PathBuf>) -> Server {
        let dir = tempfile::Builder::new().prefix("strongroom-server-").tempdir().expect("a temporary directory");
        let passphrase_file = dir.path().join("passphrase");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_strongroom"));
        let server = Server { dir, device, softhsm, passphrase_file, program };
        server.write_secret("passphrase", PASSPHRASE.as_bytes());
        server
    }

    /// The same server with the program as a package installs it: a copy, written in one go. The linker writes here and
    /// there, and the kernel maps what it left in smaller pieces: that costs each start some 4 % of a `derive`.
    pub fn installed(mut self) -> Server {
        let installed = self.path("strongroom");
        fs::copy(&self.program, &installed).expect("a file in our temporary directory");
        self.program = installed;
        self
    }

    pub fn device(&self) -> &str {
        &self.device
    }

    /// A file of this server's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file with mode 0600, as secrets must have it.
    pub fn write_secret(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(bytes)).expect("a file in our temporary directory");
        path
    }

    /// `strongroom args`, in the server's directory.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(self.dir.path()).env("STRONGROOM_DIR", self.path("state"));
        // What the machine that runs the tests has set is not the test's.
        for name in ["STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "TSS2_LOG"] {
            command.env_remove(name);
        }
        if let Some(conf) = &self.softhsm {
            command.env("SOFTHSM2_CONF", conf);
        }
        command
    }

    /// `strongroom args` where it has to work; returns its stdout.
    pub fn ok(&self, args: &[&str]) -> Vec<u8> {
        succeed(&mut self.command(args))
    }

    /// The same for a command that takes the passphrase.
    pub fn ok_with_passphrase(&self, args: &[&str]) -> Vec<u8> {
        succeed(self.command(args).arg("--passphrase-file").arg(&self.passphrase_file))
    }

    /// `strongroom init` with the lightest work factor, and `more` arguments.
    pub fn init(&self, backup: &str, more: &[&str]) {
        let args = ["init", "--device", &self.device, "--name", "payroll", "--work-factor", "10", backup];
        self.ok_with_passphrase(&[&args, more].concat());
    }

    /// `strongroom restore` of a file, without questions, and with `more` arguments.
    pub fn restore(&self, backup: &Path, more: &[&str]) {
        let backup = backup.to_str().expect("a path in UTF-8");
        let args = ["restore", "--yes", "--device", &self.device, backup];
        self.ok_with_passphrase(&[&args, more].concat());
    }

    /// `strongroom derive`; returns the key's bytes.
    pub fn derive(&self, label: &str, length: usize, more: &[&str]) -> Vec<u8> {
        let length = length.to_string();
        let args = ["derive", "--length", &length, "--format", "hex"];
        let printed = self.ok(&[&args[..], more, &["--", label]].concat());
        hex::decode(String::from_utf8_lossy(&printed).trim_end()).expect("hex")
    }

    /// The ring, as it lies on the disk.
    pub fn ring(&self) -> Value {
        let text = fs::read(self.path("state/ring.json")).expect("a ring");
        serde_json::from_slice(&text).expect("JSON")
    }
}

/// Runs a program that has to work; returns its stdout.
pub fn succeed(command: &mut Command) -> Vec<u8> {
    let output = run(command, None);
    assert_success(command, &output);
    output.stdout
}

/// The same for a program that reads `input`.
pub fn succeed_on(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let output = run(command, Some(input));
    assert_success(command, &output);
    output.stdout
}

fn run(command: &mut Command, input: Option<&[u8]>) -> Output {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let hint = "run ci/setup";
    let mut child = command.spawn().unwrap_or_else(|e| panic!("can't run {:?}: {e}; {hint}", command.get_program()));
    if let Some(input) = input {
        // What is written here fits into a pipe, so nobody waits for anybody.
        child.stdin.take().expect("piped").write_all(input).expect("the program reads its input");
    }
    child.wait_with_output().expect("a child of ours can be waited for")
}

fn assert_success(command: &Command, output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}\n{stderr}", output.status);
}

/// What Debian's `age` finds in a backup, by the line that stands in each one.
pub fn age_opens(backup: &Path) -> Value {
    age_opens_with(backup, PASSPHRASE)
}

/// The same for one under another passphrase.
pub fn age_opens_with(backup: &Path, passphrase: &str) -> Value {
    let mut shell = Command::new("sh");
    shell.args(["-c", "sed '/^#/d' \"$1\" | age -d", "sh"]).arg(backup);
    let mut pty = Pty::spawn_piping(shell, &[Piped::Stdin, Piped::Stdout, Piped::Stderr]);
    // age reads passphrases from the terminal only.
    pty.expect("Enter passphrase", wait::LIMIT);
    pty.send_hidden(passphrase);
    let end = pty.finish();
    let stderr = String::from_utf8_lossy(&end.stderr);
    assert!(end.status.success(), "age does not open it: {stderr}\n{}", end.transcript);
    serde_json::from_slice(&end.stdout).expect("JSON")
}

/// An armored file that Debian's `age` makes of `plain` under the passphrase.
pub fn age_seals(plain: &Path, armored: &Path) {
    let mut age = Command::new("age");
    age.args(["--passphrase", "--armor", "--output"]).arg(armored).arg(plain);
    let mut pty = Pty::spawn(age);
    pty.expect("Enter passphrase", wait::LIMIT);
    pty.send_hidden(PASSPHRASE);
    pty.expect("Confirm passphrase", wait::LIMIT);
    pty.send_hidden(PASSPHRASE);
    let end = pty.finish();
    assert!(end.status.success(), "{}", end.transcript);
}

fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    succeed_on(Command::new("openssl").args(args), input)
}

/// RFC 3394 by openssl, with the RFC's initial value.
fn aes_key_wrap(way: &str, kek: &[u8], input: &[u8]) -> Vec<u8> {
    openssl(&["enc", way, "-id-aes256-wrap", "-K", &hex::encode(kek), "-iv", "a6a6a6a6a6a6a6a6"], input)
}

pub fn openssl_wraps(kek: &[u8], secret: &[u8]) -> Vec<u8> {
    aes_key_wrap("-e", kek, secret)
}

pub fn openssl_unwraps(kek: &[u8], wrapped: &[u8]) -> Vec<u8> {
    aes_key_wrap("-d", kek, wrapped)
}

/// HMAC-SHA-256 by openssl.
pub fn openssl_hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let key = format!("hexkey:{}", hex::encode(secret));
    openssl(&["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary"], message)
}

/// HKDF-Expand by openssl over the info that the backup format's recipe gives for `purpose` and `label`.
pub fn openssl_derives(secret: &[u8], purpose: &str, label: &str, length: usize) -> Vec<u8> {
    let info = [format!("strongroom/v1/{purpose}\0{label}\0").as_bytes(), &(length as u16).to_be_bytes()].concat();
    let (key, info) = (format!("hexkey:{}", hex::encode(secret)), format!("hexinfo:{}", hex::encode(info)));
    let mut args = vec!["kdf", "-binary", "-keylen"];
    let length = length.to_string();
    args.push(&length);
    for option in ["digest:SHA256", "mode:EXPAND_ONLY", &key, &info] {
        args.extend(["-kdfopt", option]);
    }
    args.push("HKDF");
    openssl(&args, b"")
}

/// The bytes behind a string of standard base64 in a JSON document.
pub fn base64(value: &Value) -> Vec<u8> {
    use base64::Engine;
    let text = value.as_str().unwrap_or_else(|| panic!("not a string: {value}"));
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

pub fn to_base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Every generation's secret, out of a backup's contents, by openssl.
pub fn secrets(contents: &Value) -> Vec<Vec<u8>> {
    let kek = base64(&contents["kek"]);
    let generations = contents["generations"].as_array().expect("a list");
    generations.iter().map(|entry| openssl_unwraps(&kek, &base64(&entry["wrapped"]))).collect()
}
