//! A TPM 2.0 of the test's own: swtpm, with its state in a temporary directory.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::child::{Owned, close_the_rest};
use super::wait;

const HINT: &str = "run ci/setup";
/// The pairs of ports that simulators get: 10000 to 31999.
const FIRST_PORT: u16 = 10_000;
const PAIRS: u32 = 11_000;

/// A running swtpm. One client at a time: a second one connects and waits until the first is gone.
pub struct Swtpm {
    // Fields are dropped in this order: the process, then its files, then the hold on its ports.
    process: Option<Owned>,
    dir: TempDir,
    ports: PortPair,
}

impl Swtpm {
    /// A new TPM, started up (TPM2_Startup is done), with nothing in it.
    pub fn start() -> Swtpm {
        let dir =
            tempfile::Builder::new().prefix("strongroom-swtpm-").tempdir().expect("a temporary directory for swtpm");
        for sub in ["state", "work"] {
            fs::create_dir(dir.path().join(sub)).expect("a directory in our temporary directory");
        }
        let mut swtpm = Swtpm { process: None, dir, ports: PortPair::reserve() };
        swtpm.power_on();
        swtpm
    }

    /// The TCTI configuration as the TPM tools take it.
    pub fn tcti(&self) -> String {
        self.ports.tcti()
    }

    /// The device URI as Strongroom takes it.
    pub fn uri(&self) -> String {
        format!("tpm:{}", self.tcti())
    }

    pub fn port(&self) -> u16 {
        self.ports.command
    }

    /// Where swtpm keeps its NV memory. A directory named TMP2-00.permall in here makes the next NV write fail.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The current directory of [`Swtpm::tool`], for the tools' files.
    pub fn work_dir(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The power goes, without TPM2_Shutdown, and comes back: sessions and loaded objects are gone, and after the good use of
    /// a PIN the TPM counts a failure. The ports stay the same.
    pub fn power_cycle(&mut self) {
        self.power_off();
        self.power_on();
    }

    /// The machine is shut down in order, and started.
    pub fn reboot(&mut self) {
        self.tool_ok(&["tpm2_shutdown", "--clear"]);
        self.power_cycle();
    }

    /// Gone, until [`Swtpm::power_on`]: connections are refused.
    pub fn power_off(&mut self) {
        self.process = None;
    }

    pub fn power_on(&mut self) {
        assert!(self.process.is_none(), "swtpm is on already");
        let PortPair { command, control, .. } = self.ports;
        let log = self.dir.path().join("swtpm.log");
        let output = fs::File::create(&log).expect("a file in our temporary directory");
        let mut process = Owned::spawn(
            close_the_rest(&mut Command::new("swtpm"))
                .args(["socket", "--tpm2", "--flags", "startup-clear,not-need-init"])
                .arg("--tpmstate")
                .arg(format!("dir={}", self.state_dir().display()))
                .args(["--server", &format!("type=tcp,port={command},bindaddr=127.0.0.1")])
                .args(["--ctrl", &format!("type=tcp,port={control},bindaddr=127.0.0.1")])
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("an open file can be opened twice"))
                .stderr(output),
            HINT,
        );
        // The ports are held for it, so whoever answers is ours.
        let answers = wait::within(Duration::from_secs(20), || {
            if let Ok(Some(status)) = process.try_wait() {
                return Some(Err(status));
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, control)).ok()?;
            TcpStream::connect((Ipv4Addr::LOCALHOST, command)).ok()?;
            Some(Ok(()))
        });
        match answers {
            Some(Ok(())) => self.process = Some(process),
            other => {
                panic!("swtpm does not answer ({other:?}); it says: {}", fs::read_to_string(&log).unwrap_or_default())
            }
        }
    }

    /// TPM2_Clear: a new owner seed, so everything under the storage root key is lost.
    pub fn clear(&self) {
        self.tool_ok(&["tpm2_clear", "-c", "p"]);
    }

    /// The tools' command line `args` against this TPM. There is no resource manager: what a tool loads stays loaded ([`Swtpm::flush`]).
    pub fn tool(&self, args: &[&str]) -> Output {
        tpm2_tool(&self.tcti(), &self.work_dir(), args)
    }

    /// The same where it has to work; returns its stdout.
    pub fn tool_ok(&self, args: &[&str]) -> Vec<u8> {
        let output = self.tool(args);
        assert!(
            output.status.success(),
            "{args:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Handles of the objects and sessions that are loaded: none, when everybody has cleaned up.
    pub fn loaded(&self) -> Vec<String> {
        ["handles-transient", "handles-loaded-session"].into_iter().flat_map(|kind| self.handles(kind)).collect()
    }

    /// Handles of the objects that stay.
    pub fn persistent(&self) -> Vec<String> {
        self.handles("handles-persistent")
    }

    /// Flushes what the tools left.
    pub fn flush(&self) {
        for kind in ["-t", "-l", "-s"] {
            self.tool_ok(&["tpm2_flushcontext", kind]);
        }
    }

    fn handles(&self, kind: &str) -> Vec<String> {
        let listing = self.tool_ok(&["tpm2_getcap", kind]);
        String::from_utf8_lossy(&listing)
            .lines()
            .filter_map(|line| line.strip_prefix("- ").map(str::to_owned))
            .collect()
    }
}

/// Runs `args` against the TPM at `tcti`, in the directory `dir`.
pub fn tpm2_tool(tcti: &str, dir: &Path, args: &[&str]) -> Output {
    Command::new(args[0])
        .args(&args[1..])
        .env("TPM2TOOLS_TCTI", tcti)
        .current_dir(dir)
        .output()
        .unwrap_or_else(|e| panic!("can't run {}: {e}; {HINT}", args[0]))
}

/// Two neighbouring ports, as TPM simulators have them: commands on the first, control on the second. They are below those
/// that the kernel gives to clients: thousands of short connections leave all of those unusable for a minute.
///
/// They stay reserved while this lives, so parallel tests do not race for them. The sockets are bound and do not listen. At the bind
/// SO_REUSEADDR is off, so nobody else can have the port; then it is set, so a listener that sets it too (swtpm, and
/// Rust's TcpListener) may bind the same port, and another reservation, without it, may not.
pub struct PortPair {
    pub command: u16,
    pub control: u16,
    _held: [OwnedFd; 2],
}

impl PortPair {
    pub fn reserve() -> PortPair {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Test binaries that run at the same time begin in different places.
        let start = std::process::id().wrapping_mul(2_654_435_761) % PAIRS;
        wait::until("two free ports", Duration::from_secs(20), || {
            let pair = (start + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % PAIRS;
            let command = FIRST_PORT + 2 * u16::try_from(pair).expect("within the range");
            let control = command + 1;
            Some(PortPair { command, control, _held: [bind(command)?, bind(control)?] })
        })
    }

    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.command)
    }
}

/// A socket bound to `port`; none where somebody else has it.
fn bind(port: u16) -> Option<OwnedFd> {
    let on: libc::c_int = 1;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the descriptor is checked before it is owned; every pointer is to a live value of the size that is given with it.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(socket >= 0, "no socket to be had");
        let socket = OwnedFd::from_raw_fd(socket);
        let fd = socket.as_raw_fd();
        let bound = libc::bind(fd, (&raw const address).cast(), length) == 0
            && libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_REUSEADDR,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            ) == 0;
        bound.then_some(socket)
    }
}
