//! A token that goes wrong on order: the fault module (`tests/fault-module`, which has the rules' syntax) in front of
//! SoftHSM.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::softhsm::SoftHsm;

/// The variable that names the rules to the module. Set it for programs; [`super::softhsm::in_own_process`] sets it for
/// its child.
pub const VARIABLE: &str = "STRONGROOM_FAULT_RULES";

/// The fault module, with rules of its own.
pub struct Faulty {
    /// A file of its own for the module, since Strongroom lets one process at a time use a module's file.
    module: PathBuf,
    real: PathBuf,
    rules: PathBuf,
    log: PathBuf,
}

/// A line of the module's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub pid: u32,
    pub name: String,
    pub rv: u64,
    /// The real module was not asked, or answered something else.
    pub forged: bool,
}

impl Faulty {
    /// In front of that SoftHSM; at first nothing goes wrong.
    pub fn before(hsm: &SoftHsm) -> Faulty {
        let rules = rules_of(hsm);
        let own = rules.with_extension("so");
        if !own.exists() {
            // Where the build is on another file system, it is copied.
            let linked = fs::hard_link(module(), &own).or_else(|_| fs::copy(module(), &own).map(drop));
            linked.expect("a file in our temporary directory");
        }
        let faulty = Faulty { module: own, real: hsm.module().to_owned(), log: rules.with_extension("log"), rules };
        faulty.set(&[]);
        faulty
    }

    /// The device URI of the token `label` through the fault module.
    pub fn uri(&self, label: &str) -> String {
        format!("pkcs11:token={label}?module-path={}", self.module.display())
    }

    /// The module's file.
    pub fn path(&self) -> &Path {
        &self.module
    }

    /// The value of [`VARIABLE`].
    pub fn rules(&self) -> &Path {
        &self.rules
    }

    /// Goes wrong as these rules say from now on, and counts from one.
    pub fn set(&self, lines: &[&str]) {
        let head = format!("module {}\nlog {}\n", self.real.display(), self.log.display());
        let text = lines.iter().fold(head, |text, line| text + line + "\n");
        // In one step: the module may read at any time. The number makes it another text, also with the same rules.
        let count = fs::read_to_string(&self.rules).ok().and_then(|old| number(&old)).unwrap_or(0) + 1;
        let new = self.rules.with_extension("new");
        fs::write(&new, format!("# {count}\n{text}")).expect("a file in our temporary directory");
        fs::rename(&new, &self.rules).expect("the same");
    }

    /// The calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(|line| Call::parse(line).unwrap_or_else(|| panic!("no log: {line}"))).collect()
    }

    /// How often `name` was called.
    pub fn count(&self, name: &str) -> usize {
        self.calls().iter().filter(|call| call.name == name).count()
    }

    /// The names of the calls so far.
    pub fn names(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.name).collect()
    }

    /// Forgets the calls so far.
    pub fn forget(&self) {
        let _ = fs::remove_file(&self.log);
    }
}

impl Call {
    fn parse(line: &str) -> Option<Call> {
        let mut words = line.split(' ');
        let pid = words.next()?.parse().ok()?;
        let name = words.next()?.to_owned();
        let rv = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
        Some(Call { pid, name, rv, forged: words.next().is_some() })
    }
}

/// Where the rules of the fault module before this SoftHSM are.
pub fn rules_of(hsm: &SoftHsm) -> PathBuf {
    hsm.conf().with_file_name("faults")
}

fn number(rules: &str) -> Option<u32> {
    rules.lines().next()?.strip_prefix("# ")?.parse().ok()
}

/// The module as cargo built it: target/debug/examples, beside target/debug/deps, where this test is.
pub fn module() -> PathBuf {
    let test = env::current_exe().expect("this test binary has a path");
    let target = test.parent().and_then(Path::parent).expect("in a directory of the build's");
    let module = target.join("examples/libfault_module.so");
    assert!(module.exists(), "{} is missing: cargo build --example fault-module", module.display());
    module
}
