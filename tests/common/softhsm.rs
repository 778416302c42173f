//! A PKCS#11 token of the test's own: SoftHSM, with its tokens in a temporary directory.
//!
//! SoftHSM finds its configuration through SOFTHSM2_CONF, so a test that loads the module into its own process needs a process of
//! its own: [`in_own_process`]. For programs that a test starts, set `SOFTHSM2_CONF` to [`SoftHsm::conf`].

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::{faulty, isolate};

/// The user PIN of every token made here.
pub const USER_PIN: &str = "1234-user";
/// The security officer's PIN of every token made here.
pub const SO_PIN: &str = "5678-officer";

const LABEL: &str = "STRONGROOM_TEST_TOKEN";
const MODULE: &str = "STRONGROOM_TEST_MODULE";
const HINT: &str = "run ci/setup";

/// A SoftHSM with its own configuration.
pub struct SoftHsm {
    dir: PathBuf,
    module: PathBuf,
    label: Option<String>,
    /// None in a child process: the parent keeps the directory.
    _owned: Option<TempDir>,
}

impl SoftHsm {
    /// One token, initialised, with both PINs set.
    pub fn new(label: &str) -> SoftHsm {
        SoftHsm::make(Some(label))
    }

    /// No token: only the free slot, which C_OpenSession refuses.
    pub fn uninitialised() -> SoftHsm {
        SoftHsm::make(None)
    }

    fn make(label: Option<&str>) -> SoftHsm {
        let owned = tempfile::Builder::new()
            .prefix("strongroom-softhsm-")
            .tempdir()
            .expect("a temporary directory for SoftHSM");
        let dir = owned.path().to_owned();
        let module = new_token(&dir, label);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(dir.join("pin"))
            .and_then(|mut file| writeln!(file, "{USER_PIN}"))
            .expect("a file in our temporary directory");
        SoftHsm { dir, module, label: label.map(str::to_owned), _owned: Some(owned) }
    }

    /// What SOFTHSM2_CONF is to be.
    pub fn conf(&self) -> PathBuf {
        self.dir.join("softhsm2.conf")
    }

    /// Where the tokens are, a directory each.
    pub fn tokens_dir(&self) -> PathBuf {
        self.dir.join("tokens")
    }

    /// libsofthsm2.so
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// A file, mode 0600, with the user PIN as its first line.
    pub fn pin_file(&self) -> PathBuf {
        self.dir.join("pin")
    }

    /// The device URI of the token that this was made with; without one, of whatever is in the slot.
    pub fn uri(&self) -> String {
        match &self.label {
            Some(label) => self.uri_of(label),
            None => format!("pkcs11:model=SoftHSM%20v2?module-path={}", self.module.display()),
        }
    }

    /// The device URI of the token `label`.
    pub fn uri_of(&self, label: &str) -> String {
        format!("pkcs11:token={label}?module-path={}", self.module.display())
    }

    /// One more token, with the same PINs.
    pub fn add_token(&self, label: &str) {
        new_token(&self.dir, Some(label));
    }

    /// Initialises the token again: same slot, serial, label and PINs; its objects are gone.
    pub fn wipe(&self) {
        let label = self.label.as_deref().expect("a token to wipe");
        let output = self.run(
            "softhsm2-util",
            &["--init-token", "--token", label, "--label", label, "--pin", USER_PIN, "--so-pin", SO_PIN],
        );
        assert!(output.status.success(), "the token can't be wiped: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// `pkcs11-tool --module ... args`
    pub fn pkcs11_tool(&self, args: &[&str]) -> Output {
        let module = self.module.to_str().expect("a module path in UTF-8");
        self.run("pkcs11-tool", &[&["--module", module], args].concat())
    }

    /// The same where it has to work; returns its stdout.
    pub fn pkcs11_tool_ok(&self, args: &[&str]) -> String {
        let output = self.pkcs11_tool(args);
        assert!(
            output.status.success(),
            "pkcs11-tool {args:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        Command::new(program)
            .args(args)
            .env("SOFTHSM2_CONF", self.conf())
            .output()
            .unwrap_or_else(|e| panic!("can't run {program}: {e}; {HINT}"))
    }

    fn inherited() -> SoftHsm {
        let path = |name| PathBuf::from(env::var_os(name).expect("set by the parent"));
        SoftHsm {
            dir: path("SOFTHSM2_CONF").parent().expect("a file in a directory").to_owned(),
            module: path(MODULE),
            label: env::var(LABEL).ok(),
            _owned: None,
        }
    }
}

/// Runs `body` in a process of its own (see [`isolate`]), in which the module uses the SoftHSM that `make` makes.
///
/// ```ignore
/// #[test]
/// fn softhsm_keeps_its_secret() {
///     in_own_process(this_test!(), || SoftHsm::new("payroll"), |hsm| keeps_its_secret(&hsm.uri()));
/// }
/// ```
pub fn in_own_process(test: &str, make: impl FnOnce() -> SoftHsm, body: impl FnOnce(&SoftHsm)) {
    isolate::run(
        test,
        |child| {
            let hsm = make();
            child.env("SOFTHSM2_CONF", hsm.conf()).env(MODULE, hsm.module());
            child.env(faulty::VARIABLE, faulty::rules_of(&hsm));
            match &hsm.label {
                Some(label) => child.env(LABEL, label),
                None => child.env_remove(LABEL),
            };
            hsm
        },
        || body(&SoftHsm::inherited()),
    );
}

/// Runs softhsm-config/new-token on `dir`; returns the module that it found.
fn new_token(dir: &Path, label: Option<&str>) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/softhsm-config/new-token");
    let mut command = Command::new(script);
    command.arg(dir);
    if let Some(label) = label {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        assert!(plain, "keep to labels that a URI takes as they are: {label}");
        command.args([label, USER_PIN, SO_PIN]);
    }
    let output = command.output().unwrap_or_else(|e| panic!("can't run {script}: {e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("SOFTHSM2_MODULE=").map(PathBuf::from))
        .expect("new-token names the module")
}
