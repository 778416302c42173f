//! What the commands cost, next to what one would use without Strongroom: over the same simulators, in the same run, taking
//! turns, so that whatever slows the machine down slows all of them down. `ci/bench` runs it.
//!
//! Prints one table, and fails where a limit is passed. Times are those of whole processes, from start to end. Counts are what
//! a real device adds its own milliseconds to.

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::outside::{PASSPHRASE, Server, base64, openssl_hmac, succeed};
use common::proxy::Proxy;
use common::signer::{self, Signer};
use common::softhsm::{SoftHsm, USER_PIN};
use common::swtpm::{Swtpm, tpm2_tool};
use strongroom::backup;

const PIN: &str = "2468-bench";
const LABEL: &str = "backups/db1";
const SIGNED: &[&str] = &["--pcr-public-key", "key.pem"];
const WITH_NEW_PIN: &[&str] = &["--with-pin", "--new-pin-file", "pin"];

/// What can guard a seal on a TPM: the flags of `init`, and the fewest commands that a derive can do with over ESYS and without
/// a resource manager: ReadPublic, StartAuthSession, what the policy takes, Load, HMAC, and two flushes.
const GUARDS: [(&str, &[&str], usize); 6] = [
    ("nothing", &[], 6),
    ("a PIN", WITH_NEW_PIN, 6),
    ("PCRs", &["--pcrs", "7"], 7),
    ("PCRs and a PIN", &["--pcrs", "7", "--with-pin", "--new-pin-file", "pin"], 8),
    ("signed PCRs", SIGNED, 8),
    ("signed PCRs and a PIN", &["--pcr-public-key", "key.pem", "--with-pin", "--new-pin-file", "pin"], 9),
];

/// A line of the table.
struct Row {
    what: String,
    ours: String,
    theirs: String,
    ratio: Option<f64>,
    limit: String,
    within: bool,
}

impl Row {
    /// Time against time: ours at most (or less than) `limit` times theirs.
    fn against(what: &str, ours: Duration, theirs: Duration, limit: Limit) -> Row {
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        let (limit, within) = match limit {
            Limit::LessThan(limit) => (format!("< {limit}"), ratio < limit),
            Limit::AtMost(limit) => (format!("<= {limit}"), ratio <= limit),
        };
        Row { what: what.to_owned(), ours: ms(ours), theirs: ms(theirs), ratio: Some(ratio), limit, within }
    }

    /// A count, or a time, that has a limit of its own; theirs is for comparison, where there is one.
    fn count(what: &str, ours: usize, theirs: Option<usize>, limit: usize) -> Row {
        let theirs = theirs.map(|count| count.to_string()).unwrap_or_default();
        let limit_text = format!("<= {limit}");
        Row {
            what: what.to_owned(),
            ours: ours.to_string(),
            theirs,
            ratio: None,
            limit: limit_text,
            within: ours <= limit,
        }
    }
}

#[derive(Clone, Copy)]
enum Limit {
    LessThan(f64),
    AtMost(f64),
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn main() -> ExitCode {
    let start = Instant::now();
    let mut rows = Vec::new();
    for (name, part) in [
        ("TPM", on_a_tpm as fn(&mut Vec<Row>)),
        ("guards", by_guard),
        ("HSM", on_an_hsm),
        ("generate", generate),
        ("start", starting),
    ] {
        eprintln!("measuring: {name}");
        part(&mut rows);
    }
    print(&rows);
    println!("medians; measured in {} s", start.elapsed().as_secs());
    match rows.iter().all(|row| row.within) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn print(rows: &[Row]) {
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or_default();
    println!("{:width$}  {:>10}  {:>10}  {:>6}  {:>7}", "what", "ours", "theirs", "ratio", "limit");
    for row in rows {
        let ratio = row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let verdict = if row.within { "ok" } else { "FAIL" };
        let Row { what, ours, theirs, limit, .. } = row;
        println!("{what:width$}  {ours:>10}  {theirs:>10}  {ratio:>6}  {limit:>7}  {verdict}");
    }
}

/// Lets the contenders take turns, `rounds` times; the median time of each. What is done `between` is not timed.
fn medians<const N: usize>(
    rounds: usize,
    mut contenders: [&mut dyn FnMut(); N],
    mut between: impl FnMut(),
) -> [Duration; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (index, contender) in contenders.iter_mut().enumerate() {
            let start = Instant::now();
            contender();
            times[index].push(start.elapsed());
            between();
        }
    }
    times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    })
}

/// Runs a program that has to work, with nothing on its streams to slow it down.
fn silently(command: &mut Command) {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.unwrap_or_else(|e| panic!("can't run {:?}: {e}; run ci/setup", command.get_program()));
    assert!(status.success(), "{command:?} ended with {status}");
}

fn derive(server: &Server, pin: &[&str]) {
    silently(&mut server.command([&["derive", LABEL], pin].concat()));
}

/// A server with the TPM at `uri`, and a system on it.
fn founded(uri: String, new_pin: &[&str]) -> Server {
    let server = Server::with_tpm(uri).installed();
    server.write_secret("pin", PIN.as_bytes());
    server.init("payroll.backup", new_pin);
    server
}

/// What others do on the TPM: the same HMAC with the same key by the TPM tools, and the ways to unlock a secret by a TPM
/// that Debian ships.
struct Others {
    dir: PathBuf,
    tcti: String,
    /// `-p` of tpm2_hmac.
    auth: String,
}

impl Others {
    /// Takes generation 1's use part out of a server's ring, and encrypts something with each of the others.
    fn prepare(swtpm: &Swtpm, server: &Server) -> Others {
        let dir = swtpm.work_dir();
        let seal = &server.ring()["generations"][0]["seals"][0]["seal"]["use"];
        let blob = base64(&seal["blob"]);
        let (public, private) = blob.split_at(2 + usize::from(u16::from_be_bytes([blob[0], blob[1]])));
        let message = [b"strongroom/v1/key\0", LABEL.as_bytes(), b"\0\0\x20\x01"].concat();
        for (name, bytes) in [("use.pub", public), ("use.priv", private), ("message", &message), ("plain", &[7; 32])] {
            fs::write(dir.join(name), bytes).expect("a file in our temporary directory");
        }
        let auth = match seal["guard"]["salt"].as_str() {
            Some(salt) => openssl_hmac(&hex::decode(salt).expect("hex"), PIN.as_bytes()),
            None => Vec::new(),
        };
        let auth = format!("hex:{}", hex::encode(auth));
        let others = Others { dir, tcti: swtpm.tcti(), auth };
        // systemd 252 takes the TCTI string for a device, and loads the TCTI as the tools do.
        let device = format!("--tpm2-device={}", others.tcti);
        others.run(&["systemd-creds", "encrypt", "--with-key=tpm2", &device, "--name=x", "plain", "x.cred"]);
        swtpm.flush();
        others.run(&["sh", "-c", "clevis encrypt tpm2 '{}' <plain >x.jwe"]);
        swtpm.flush();
        others
    }

    /// The same through a tap.
    fn through(&self, proxy: &Proxy) -> Others {
        Others { dir: self.dir.clone(), tcti: proxy.tcti(), auth: self.auth.clone() }
    }

    fn run(&self, args: &[&str]) {
        let output = tpm2_tool(&self.tcti, &self.dir, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn load_and_hmac(&self) {
        self.run(&["tpm2_load", "-Q", "-C", "0x81000001", "-u", "use.pub", "-r", "use.priv", "-c", "use.ctx"]);
        match self.auth.as_str() {
            "hex:" => self.run(&["tpm2_hmac", "-c", "use.ctx", "message"]),
            auth => self.run(&["tpm2_hmac", "-c", "use.ctx", "-p", auth, "message"]),
        }
    }

    fn systemd_creds(&self) {
        let device = format!("--tpm2-device={}", self.tcti);
        self.run(&["systemd-creds", "decrypt", &device, "--name=x", "x.cred", "-"]);
    }

    fn clevis(&self) {
        self.run(&["sh", "-c", "clevis decrypt tpm2 <x.jwe"]);
    }
}

/// A cold `derive`, without and with a PIN.
fn on_a_tpm(rows: &mut Vec<Row>) {
    let swtpm = Swtpm::start();
    let server = founded(swtpm.uri(), &[]);
    let others = Others::prepare(&swtpm, &server);
    let [ours, tools, creds, clevis] = medians(
        15,
        [&mut || derive(&server, &[]), &mut || others.load_and_hmac(), &mut || others.systemd_creds(), &mut || {
            others.clevis()
        }],
        // Strongroom leaves nothing loaded; the others rely on a resource manager, which this TPM does not have.
        || swtpm.flush(),
    );
    let faster = Limit::LessThan(1.0);
    rows.push(Row::against("derive, TPM / tpm2_load + tpm2_hmac", ours, tools, faster));
    rows.push(Row::against("derive, TPM / systemd-creds decrypt", ours, creds, faster));
    rows.push(Row::against("derive, TPM / clevis decrypt", ours, clevis, faster));

    let proxy = Proxy::start(&swtpm);
    let tapped = founded(proxy.uri(), &[]);
    let others = others.through(&proxy);
    let count = |work: &dyn Fn()| {
        proxy.forget();
        work();
        let count = proxy.commands().len();
        proxy.forget();
        swtpm.flush();
        count
    };
    let ours = count(&|| derive(&tapped, &[]));
    rows.push(Row::count("  TPM commands / tpm2_load + tpm2_hmac", ours, Some(count(&|| others.load_and_hmac())), 6));
    rows.push(Row::count("  TPM commands / systemd-creds decrypt", ours, Some(count(&|| others.systemd_creds())), 6));
    rows.push(Row::count("  TPM commands / clevis decrypt", ours, Some(count(&|| others.clevis())), 6));
    drop(proxy);

    let swtpm = Swtpm::start();
    let pin = ["--pin-file", "pin"];
    let server = founded(swtpm.uri(), WITH_NEW_PIN);
    let others = Others::prepare(&swtpm, &server);
    let [ours, tools] = medians(15, [&mut || derive(&server, &pin), &mut || others.load_and_hmac()], || swtpm.flush());
    rows.push(Row::against("derive with a PIN, TPM / tpm2_load + tpm2_hmac", ours, tools, faster));
}

/// The commands of a cold `derive`, next to the fewest, for everything that can guard a seal. One more is allowed: a PIN has the
/// lockout counter read before it is sent.
fn by_guard(rows: &mut Vec<Row>) {
    const NAMED: &[&str] = &["--pcr-signature", "signed.json"];
    let signer = Signer::rsa();
    for (what, flags, fewest) in GUARDS {
        let swtpm = Swtpm::start();
        let proxy = Proxy::start(&swtpm);
        let server = Server::with_tpm(proxy.uri()).installed();
        server.write_secret("pin", PIN.as_bytes());
        server.write_secret("key.pem", &fs::read(signer.public()).expect("a key"));
        server.write_secret("signed.json", signer::file("sha256", &[signer.sign(&swtpm, "sha256:11")]).as_bytes());
        server.init("payroll.backup", &[flags, NAMED].concat());
        proxy.forget();
        let pin: &[&str] = if flags.contains(&"--with-pin") { &["--pin-file", "pin"] } else { &[] };
        derive(&server, &[pin, NAMED].concat());
        let what = format!("derive, guarded by {what}: TPM commands / fewest");
        rows.push(Row::count(&what, proxy.commands().len(), Some(fewest), fewest + 1));
    }
}

/// A cold `derive` with SoftHSM, against an HMAC by pkcs11-tool with a key that lies on the token already.
fn on_an_hsm(rows: &mut Vec<Row>) {
    let hsm = SoftHsm::new("payroll");
    let server = Server::with_hsm(&hsm).installed();
    server.init("payroll.backup", &[]);
    let login = ["--token-label", "payroll", "--login", "--pin", USER_PIN];
    let make = ["--keygen", "--key-type", "GENERIC:32", "--label", "bench", "--id", "01", "--usage-sign"];
    hsm.pkcs11_tool_ok(&[&login[..], &make].concat());
    let message = server.write_secret("message", &[7; 48]);

    let sign = |module: &Path| {
        let mut command = Command::new("pkcs11-tool");
        command.arg("--module").arg(module).args(login).args(["--sign", "--mechanism", "SHA256-HMAC", "--id", "01"]);
        command.arg("--input-file").arg(&message).args(["--output-file", "/dev/null"]);
        command.env("SOFTHSM2_CONF", hsm.conf());
        command
    };
    let [ours, tool] = medians(201, [&mut || derive(&server, &[]), &mut || silently(&mut sign(hsm.module()))], || ());
    rows.push(Row::against("derive, SoftHSM / pkcs11-tool --sign", ours, tool, Limit::AtMost(1.0)));

    let spy = spy();
    let uri = format!("pkcs11:token=payroll?module-path={}&pin-source={}", spy.display(), hsm.pin_file().display());
    let spied = Server::new(uri, Some(hsm.conf()));
    let log = spied.path("spy.log");
    let watched = |mut command: Command| {
        command.env("PKCS11SPY", hsm.module()).env("PKCS11SPY_OUTPUT", &log);
        succeed(&mut command);
        let text = fs::read_to_string(&log).expect("the spy's log");
        fs::remove_file(&log).expect("the spy's log");
        text.lines().filter(|line| line.split_once(": C_").is_some_and(|(number, _)| is_number(number))).count()
    };
    let passphrase = spied.write_secret("passphrase", PASSPHRASE.as_bytes());
    let mut init = spied.command(["init", "--device", spied.device(), "--name", "spied", "--work-factor", "10"]);
    init.arg("--passphrase-file").arg(passphrase).arg("spied.backup");
    watched(init);
    let ours = watched(spied.command(["derive", LABEL]));
    rows.push(Row::count("  PKCS#11 calls", ours, Some(watched(sign(&spy))), 24));
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// OpenSC's module that writes down every call and passes it on: where Debian puts it depends on the architecture.
fn spy() -> PathBuf {
    let libraries = fs::read_dir("/usr/lib").expect("a directory").filter_map(Result::ok);
    let found = libraries.map(|entry| entry.path().join("pkcs11/pkcs11-spy.so")).find(|path| path.exists());
    found.expect("pkcs11-spy.so: run ci/setup")
}

/// `generate` against the two passes of scrypt that it can't avoid: one to write the backup, one to open it again. Each round
/// makes a second generation: every one that is in the ring already is exported and proved too, and costs its time.
fn generate(rows: &mut Vec<Row>) {
    let swtpm = Swtpm::start();
    let server = founded(swtpm.uri(), &[]);
    let passphrase = strongroom::passphrase::normalized(PASSPHRASE.as_bytes()).expect("a good passphrase");
    let file = fs::read(server.path("payroll.backup")).expect("the backup");
    let (contents, _) = backup::open(&file, &passphrase).expect("it opens");
    let shell = |line: &str| silently(Command::new("sh").args(["-c", line]).current_dir(server.path("")));
    shell("cp -a state founded");

    let [ours, passes] = medians(
        7,
        [
            &mut || {
                let args = ["generate", "--yes", "--passphrase-file", "passphrase", "second.backup"];
                silently(&mut server.command(args));
            },
            &mut || {
                let sealed = backup::seal(&contents, &passphrase, backup::WORK_FACTOR).expect("it is sealed");
                backup::open(&sealed, &passphrase).expect("it opens");
            },
        ],
        || shell("rm -rf state second.backup && cp -a founded state"),
    );
    rows.push(Row::against("generate, TPM / two passes of scrypt", ours, passes, Limit::AtMost(1.2)));
}

fn starting(rows: &mut Vec<Row>) {
    let server = Server::with_tpm("tpm:".to_owned()).installed();
    let [time] = medians(51, [&mut || silently(&mut server.command(["--version"]))], || ());
    let limit = Duration::from_millis(10);
    rows.push(Row {
        what: "strongroom --version".to_owned(),
        ours: ms(time),
        theirs: String::new(),
        ratio: None,
        limit: "< 10 ms".to_owned(),
        within: time < limit,
    });
}
