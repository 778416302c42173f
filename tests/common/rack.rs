//! Modules side by side, as p11-kit is configured with them: what `module-name=` and p11-kit's proxy lead to, and the one way to
//! NSS, whose C_Initialize wants to be told where its database is.
//!
//! p11-kit's directories are the system's, and so are those of opencryptoki, its daemon and its shared memory. A rack is in
//! namespaces of its own, where it has others in their places, and all of it ends with them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::isolate;
use super::kryoptic::{self, Kryoptic};
use super::outside::succeed;
use super::softhsm::{SoftHsm, USER_PIN};

/// opencryptoki takes PINs of four to eight bytes.
pub const SHORT_PIN: &str = "1234user";
const OPENCRYPTOKI_SO_PIN: &str = "87654321";

/// Debian's place of softokn.
pub const NSS: &str = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";
/// Debian's place of opencryptoki.
const OPENCRYPTOKI: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/libopencryptoki.so";

/// What stands in the rack.
pub struct Rack {
    dir: TempDir,
    /// Run in the namespaces, before anything else.
    script: String,
    environment: Vec<(&'static str, PathBuf)>,
    softhsm: Option<SoftHsm>,
    kryoptic: Option<Kryoptic>,
}

impl Rack {
    pub fn new() -> Rack {
        let dir = tempfile::Builder::new().prefix("strongroom-rack-").tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("modules")).expect("a directory in ours");
        let script = "mount --bind \"$RACK/modules\" /usr/share/p11-kit/modules\n\
                      [ ! -d /etc/pkcs11 ] || mount -t tmpfs none /etc/pkcs11\n";
        Rack { dir, script: script.to_owned(), environment: Vec::new(), softhsm: None, kryoptic: None }
    }

    /// SoftHSM, by the name `softhsm2`, with a token for each label.
    pub fn softhsm(mut self, labels: &[&str]) -> Rack {
        let softhsm = SoftHsm::new(labels[0]);
        labels[1..].iter().for_each(|label| softhsm.add_token(label));
        self.configure("softhsm2", &format!("module: {}\n", softhsm.module().display()));
        self.environment.push(("SOFTHSM2_CONF", softhsm.conf()));
        self.softhsm = Some(softhsm);
        self
    }

    /// Kryoptic, by the name `kryoptic`.
    pub fn kryoptic(mut self, labels: &[&str]) -> Rack {
        let kryoptic = Kryoptic::new(labels);
        self.configure("kryoptic", &format!("module: {}\n", kryoptic.module().display()));
        self.environment.push((kryoptic::VARIABLE, kryoptic.conf()));
        self.kryoptic = Some(kryoptic);
        self
    }

    /// NSS softokn, by the name `nss`. Its own two slots are without a database; those that it is told of begin at 4.
    pub fn nss(self, labels: &[&str]) -> Rack {
        let pin = self.dir.path().join("pin");
        fs::write(&pin, USER_PIN).expect("a file in our directory");
        let mut tokens = Vec::new();
        for (index, label) in labels.iter().enumerate() {
            let database = format!("sql:{}", self.dir.path().join(label).display());
            fs::create_dir(self.dir.path().join(label)).expect("a directory in ours");
            succeed(Command::new("certutil").args(["-N", "-d", &database, "-f"]).arg(&pin));
            tokens.push(format!("0x{:x}=[configDir='{database}' tokenDescription='{label}']", index + 4));
        }
        self.configure("nss", &format!("module: {NSS}\nx-init-reserved: tokens=<{}>\n", tokens.join(" ")));
        self
    }

    /// opencryptoki's soft token, by the name `opencryptoki`, with its daemon. User PINs are [`SHORT_PIN`].
    pub fn opencryptoki(mut self, labels: &[&str]) -> Rack {
        self.configure("opencryptoki", &format!("module: {OPENCRYPTOKI}\n"));
        let etc = self.dir.path().join("opencryptoki");
        fs::create_dir(&etc).expect("a directory in ours");
        let slot = |(index, label)| format!("slot {index}\n{{\nstdll = libpkcs11_sw.so\ntokname = {label}\n}}\n");
        let slots: String = labels.iter().enumerate().map(slot).collect();
        let conf = format!("version opencryptoki-3.1\n{slots}");
        fs::write(etc.join("opencryptoki.conf"), conf).expect("a file in our directory");
        self.script += "mount --bind \"$RACK/opencryptoki\" /etc/opencryptoki\n\
                        for place in /var/lib/opencryptoki /run /dev/shm; do mount -t tmpfs none $place; done\n\
                        mkdir -p /run/lock/opencryptoki /var/log/opencryptoki\n";
        for label in labels {
            self.script += &format!("mkdir -p /run/lock/opencryptoki/{label} /var/lib/opencryptoki/{label}/TOK_OBJ\n");
        }
        self.script += "chgrp -R pkcs11 /run/lock/opencryptoki /var/lib/opencryptoki\n\
                        chmod -R 0770 /run/lock/opencryptoki /var/lib/opencryptoki\n\
                        pkcsslotd\n";
        for (slot, label) in labels.iter().enumerate() {
            let tool = format!("pkcs11-tool --module {OPENCRYPTOKI} --slot {slot} --so-pin {OPENCRYPTOKI_SO_PIN}");
            self.script += &format!("{tool} --init-token --label {label} >&2\n");
            self.script += &format!("{tool} --init-pin --login --login-type so --pin {SHORT_PIN} >&2\n");
        }
        self
    }

    fn configure(&self, name: &str, text: &str) {
        let file = self.dir.path().join(format!("modules/{name}.module"));
        fs::write(file, text).expect("a file in our directory");
    }

    /// A program in the namespaces: the last word of it starts it.
    fn enter(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--ipc", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]);
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["sh", "-ec", &format!("{}exec \"$@\"", self.script), "sh"]);
        command.env("RACK", self.dir.path()).envs(self.environment.iter().cloned());
        command
    }
}

/// The modules of [`full`], and the labels of their tokens.
pub const NAMES: [&str; 4] = ["softhsm2", "kryoptic", "nss", "opencryptoki"];

/// All modules, with a token each, whose label is the module's name.
pub fn full() -> Rack {
    let [softhsm, kryoptic, nss, opencryptoki] = NAMES;
    Rack::new().softhsm(&[softhsm]).kryoptic(&[kryoptic]).nss(&[nss]).opencryptoki(&[opencryptoki])
}

/// The device URI of that module's token.
pub fn uri(name: &str) -> String {
    format!("pkcs11:token={name}?module-name={name}")
}

/// The user PIN of that module's token.
pub fn pin(name: &str) -> &'static str {
    if name == "opencryptoki" { SHORT_PIN } else { USER_PIN }
}

/// Runs `body` in a process of its own (see [`isolate`]), to which p11-kit is configured with what `make` put into the rack.
pub fn in_own_process(test: &str, make: impl FnOnce() -> Rack, body: impl FnOnce()) {
    let start = || {
        let rack = make();
        (rack.enter(), rack)
    };
    isolate::run_through(test, start, body);
}

/// In the child: the file of the module that p11-kit knows by that name.
pub fn module(name: &str) -> PathBuf {
    let configuration =
        fs::read_to_string(format!("/usr/share/p11-kit/modules/{name}.module")).expect("it is in the rack");
    let file = configuration.lines().find_map(|line| line.strip_prefix("module: ")).expect("it names a file");
    PathBuf::from(file)
}
