//! Tokens that keep their keys in files: the set-up that can't lose one (softhsm-config/README.md), and our own processes
//! taking turns.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::child;
use crate::common::faulty::{self, Faulty};
use crate::common::outside::{PASSPHRASE, Server};
use crate::common::softhsm::{SoftHsm, USER_PIN};

/// nobody: anybody but root would do.
const USER: u32 = 65534;

/// A server whose service is no administrator of the machine.
struct Service {
    hsm: SoftHsm,
    dir: tempfile::TempDir,
    program: PathBuf,
}

impl Service {
    /// A token, and a directory of the user's own, with its secrets.
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "run the tests as root: one takes on another user's id");
        let hsm = SoftHsm::new("payroll");
        let dir = tempfile::Builder::new().prefix("strongroom-service-").tempdir().expect("a temporary directory");
        // The user need not be let in where the program was built.
        let program = dir.path().join("strongroom");
        fs::copy(env!("CARGO_BIN_EXE_strongroom"), &program).expect("a file in our temporary directory");
        let service = Self { hsm, dir, program };
        for (name, text) in [("pin", USER_PIN), ("pass", PASSPHRASE)] {
            fs::write(service.path(name), text).expect("a file in our temporary directory");
            fs::set_permissions(service.path(name), fs::Permissions::from_mode(0o600)).expect("a file of ours");
            own(&service.path(name), USER);
        }
        own(service.dir.path(), USER);
        // Traversable, as a directory in /etc is.
        let above = service.hsm.tokens_dir().parent().expect("a directory of ours").to_owned();
        fs::set_permissions(above, fs::Permissions::from_mode(0o755)).expect("a directory of ours");
        service
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The token's files to `user`; where that is not the service's, the service may read them and no more.
    fn tokens_to(&self, user: u32) {
        for path in files(&self.hsm.tokens_dir()) {
            let mode = fs::metadata(&path).expect("a file of ours").mode() & 0o700;
            chown(&path, Some(user), Some(USER)).expect("root may");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode | (mode & 0o500) >> 3)).expect("root may");
        }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--clear-groups");
        command.arg(&self.program).args(words).current_dir(self.dir.path()).env_clear();
        command.env("STRONGROOM_DIR", self.path("state")).env("SOFTHSM2_CONF", self.hsm.conf()).stdin(Stdio::null());
        child::tie_to_this_thread(&mut command).output().expect("setpriv is there: run ci/setup")
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?} ended with {}\n{stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn init(&self) -> Output {
        let uri = self.hsm.uri();
        let words = ["init", "--device", &uri, "--name", "payroll", "--pin-file", "pin", "--passphrase-file", "pass"];
        self.run(&[&words[..], &["--work-factor", "10", "1.backup"]].concat())
    }

    fn derive(&self) -> String {
        self.ok(&["derive", "--generation", "1", "--pin-file", "pin", "disk"])
    }

    /// Every file of the token, as it is: contents, owner, mode and time of change.
    fn tokens(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32, u32, i64, i64)> {
        let state = |path: PathBuf| {
            let found = fs::metadata(&path).expect("a file of ours");
            let bytes = if found.is_file() { fs::read(&path).expect("root may") } else { Vec::new() };
            (path, (bytes, found.uid(), found.mode(), found.mtime(), found.mtime_nsec()))
        };
        files(&self.hsm.tokens_dir()).into_iter().map(state).collect()
    }
}

fn own(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).expect("root may");
}

/// A directory and all that is below it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).expect("a directory of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Set up once with the right to write, and then without: every use works, and nothing of the token is ever rewritten.
/// The last lines show that it is, where the right is there.
#[test]
fn a_token_that_is_not_ours_to_write_serves_and_stays_as_it_is() {
    let service = Service::new();
    service.tokens_to(USER);
    let made = service.init();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = service.derive();

    service.tokens_to(0);
    let before = service.tokens();
    for round in 2..=4 {
        assert_eq!(service.derive(), key);
        let backup = format!("{round}.backup");
        let words = ["--pin-file", "pin", "--passphrase-file", "pass"];
        let more = ["--yes", "--work-factor", "10", &backup];
        service.ok(&[&["generate"], &words[..], &more].concat());
        service.ok(&[&["verify"], &words[..], &[&backup]].concat());
        service.ok(&["status"]);
    }
    assert!(service.tokens() == before, "something wrote to the token");

    service.tokens_to(USER);
    let before = service.tokens();
    assert_eq!(service.derive(), key);
    assert!(service.tokens() != before, "a login rewrites a token that may be written");
}

/// Making keys is what needs the right to write: refused with what to do, and nothing is half done.
#[test]
fn init_says_that_a_token_takes_no_key() {
    let service = Service::new();
    service.tokens_to(0);
    let before = service.tokens();
    let refused = service.init();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(8), "{said}");
    let (_, error) = said.split_once("error: ").unwrap_or_else(|| panic!("no error: {said}"));
    assert_eq!(
        error,
        "hsm1: the token `payroll` does not keep a use key: it is write-protected or full, or this user may not write \
         its files: CKR_GENERAL_ERROR (0x5)\nhint: lift the write protection while keys are made, or let this user write \
         the token's files; then run it again\n"
    );
    assert!(service.tokens() == before && !service.path("1.backup").exists());

    service.tokens_to(USER);
    assert!(service.init().status.success(), "it goes on where it was stopped");
}

/// Our own processes take turns: the calls of each are in a row, from the library's start to its end.
#[test]
fn eight_derives_at_once_take_turns() {
    const PROCESSES: usize = 8;
    let hsm = SoftHsm::new("payroll");
    let faulty = Faulty::before(&hsm);
    let uri = format!("{}&pin-source={}", faulty.uri("payroll"), hsm.pin_file().display());
    let server = Server::new(uri, Some(hsm.conf()));
    let command = |words: &[&str]| {
        let mut command = server.command(words);
        command
            .env(faulty::VARIABLE, faulty.rules())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let pass = server.path("passphrase").display().to_string();
    let uri = server.device();
    let made =
        command(&["init", "--device", uri, "--work-factor", "10", "--passphrase-file", &pass, "1.backup"]).output();
    let made = made.expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    faulty.forget();
    let derive = ["derive", "--generation", "1", "disk"];
    let started: Vec<_> = (0..PROCESSES).map(|_| command(&derive).spawn().expect("it runs")).collect();
    let mut pids: Vec<u32> = started.iter().map(std::process::Child::id).collect();
    let outputs: Vec<_> = started.into_iter().map(|child| child.wait_with_output().expect("a child of ours")).collect();
    for output in &outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, outputs[0].stdout);
    }

    let calls = faulty.calls();
    let turns: Vec<_> = calls.chunk_by(|one, next| one.pid == next.pid).collect();
    for turn in &turns {
        let ends = [turn.first(), turn.last()].map(|call| call.expect("a turn has calls").name.as_str());
        assert_eq!(ends, ["C_Initialize", "C_CloseSession"], "{turn:?}");
        // With C_GetInterface and C_GetFunctionList, which the module does not count, a cold derive is 21 calls.
        assert_eq!(turn.len(), 19, "{turn:?}");
    }
    let mut took_turns: Vec<u32> = turns.iter().map(|turn| turn[0].pid).collect();
    took_turns.sort_unstable();
    pids.sort_unstable();
    assert_eq!(took_turns, pids);
}
