//! A PKCS#11 token of the test's own: Kryoptic, with its tokens in a temporary directory. Unlike SoftHSM it locks PINs, and it can be told
//! to offer fewer mechanisms, as a poorer HSM does.
//!
//! `tests/kryoptic` is built by the first test that wants it, into target/kryoptic. It finds its configuration through KRYOPTIC_CONF:
//! see [`super::softhsm`].

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::isolate;
use super::outside::succeed;
use super::softhsm::{SO_PIN, USER_PIN};

/// Where Kryoptic is told its configuration.
pub const VARIABLE: &str = "KRYOPTIC_CONF";

/// A Kryoptic with its own configuration.
pub struct Kryoptic {
    dir: PathBuf,
    /// None in a child process: the parent keeps the directory.
    _owned: Option<TempDir>,
}

impl Kryoptic {
    /// Tokens with these labels, initialised, with both PINs set.
    pub fn new(labels: &[&str]) -> Kryoptic {
        let owned = tempfile::Builder::new()
            .prefix("strongroom-kryoptic-")
            .tempdir()
            .expect("a temporary directory for Kryoptic");
        let kryoptic = Kryoptic { dir: owned.path().to_owned(), _owned: Some(owned) };
        let (built, own) = (built(), kryoptic.module());
        // A file of its own for the module, since Strongroom lets one process at a time use a module's file.
        fs::hard_link(&built, &own).or_else(|_| fs::copy(&built, &own).map(drop)).expect("a file in our directory");
        kryoptic.configure(labels.len(), &[]);
        for (index, label) in labels.iter().enumerate() {
            let slot = (index + 1).to_string();
            kryoptic.pkcs11_tool_ok(&["--slot", &slot, "--init-token", "--label", label, "--so-pin", SO_PIN]);
            let officer = ["--login", "--login-type", "so", "--so-pin", SO_PIN];
            kryoptic.pkcs11_tool_ok(&[&["--slot", &slot, "--init-pin", "--pin", USER_PIN], &officer[..]].concat());
        }
        kryoptic
    }

    /// One token that nobody has initialised.
    pub fn blank() -> Kryoptic {
        let kryoptic = Kryoptic::new(&[]);
        kryoptic.configure(1, &[]);
        kryoptic
    }

    /// The same with one token, that lacks the mechanisms of these names.
    pub fn without(label: &str, mechanisms: &[&str]) -> Kryoptic {
        let kryoptic = Kryoptic::new(&[label]);
        kryoptic.configure(1, mechanisms);
        kryoptic
    }

    /// Tokens in slots 1 to `tokens`, all without the mechanisms of these names.
    fn configure(&self, tokens: usize, denied: &[&str]) {
        let mut text = String::new();
        for slot in 1..=tokens {
            let file = self.dir.join(format!("{slot}.sql"));
            text += &format!("[[slots]]\nslot = {slot}\ndbtype = \"sqlite\"\ndbargs = {file:?}\n");
            if !denied.is_empty() {
                text += &format!("mechanisms = {:?}\n", [&["DENY"], denied].concat());
            }
        }
        fs::write(self.conf(), text).expect("a file in our directory");
    }

    /// What KRYOPTIC_CONF is to be.
    pub fn conf(&self) -> PathBuf {
        self.dir.join("kryoptic.conf")
    }

    /// The module's file.
    pub fn module(&self) -> PathBuf {
        self.dir.join("kryoptic.so")
    }

    /// The device URI of the token `label`.
    pub fn uri(&self, label: &str) -> String {
        format!("pkcs11:token={label}?module-path={}", self.module().display())
    }

    /// `pkcs11-tool --module ... args`, where it has to work; returns its stdout.
    pub fn pkcs11_tool_ok(&self, args: &[&str]) -> String {
        let mut tool = Command::new("pkcs11-tool");
        tool.arg("--module").arg(self.module()).args(args).env(VARIABLE, self.conf());
        String::from_utf8_lossy(&succeed(&mut tool)).into_owned()
    }
}

/// Runs `body` in a process of its own (see [`isolate`]), in which the module uses the Kryoptic that `make` makes.
pub fn in_own_process(test: &str, make: impl FnOnce() -> Kryoptic, body: impl FnOnce(&Kryoptic)) {
    isolate::run(
        test,
        |child| {
            let kryoptic = make();
            child.env(VARIABLE, kryoptic.conf());
            kryoptic
        },
        || {
            let conf = PathBuf::from(env::var_os(VARIABLE).expect("set by the parent"));
            body(&Kryoptic { dir: conf.parent().expect("a file in a directory").to_owned(), _owned: None });
        },
    );
}

/// The module, built if it is not up to date. Cargo lets one at a time build, and the others wait.
fn built() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        // target/debug/deps, where this test is: the module goes beside it, with what it is made of.
        let test = env::current_exe().expect("this test binary has a path");
        let target = test.ancestors().nth(3).expect("in a directory of the build's").join("kryoptic");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kryoptic/Cargo.toml");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir"]).arg(&target);
        succeed(&mut build);
        target.join("debug/libkryoptic_pkcs11.so")
    };
    BUILT.get_or_init(build).clone()
}
