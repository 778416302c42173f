//! The wire: what an eavesdropper on the TPM's bus gets, which must be nothing, and how much passes, which must be little.
//!
//! A recording proxy stands between client and swtpm. What is looked for, and how, is the same for Strongroom and for the
//! control: the TPM tools, doing the same in sessions that do not encrypt. There, everything must be found.

mod common;

use std::fs;

use common::outside::{PASSPHRASE, Server, age_opens, base64, openssl_hmac, secrets};
use common::proxy::Proxy;
use common::swtpm::{Swtpm, tpm2_tool};
use serde_json::Value;

const PIN: &str = "2468-wire";
const LABEL: &str = "backups/db1";

/// Something that must not be seen, and what it is called.
type Secret = (String, Vec<u8>);

/// The names of those secrets that passed, either way. Halves count too.
fn seen(proxy: &Proxy, secrets: &[Secret]) -> Vec<String> {
    let passed = |bytes: &[u8]| {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        proxy.contains(first) || proxy.contains(second)
    };
    assert!(!proxy.bytes().is_empty(), "nothing passed at all: this proves nothing");
    secrets.iter().filter(|(_, bytes)| passed(bytes)).map(|(name, _)| name.clone()).collect()
}

/// A TPM, a tap on its bus, and servers that know it only through the tap.
struct Bus {
    // Dropped in this order: the tap ends before the TPM does.
    proxy: Proxy,
    swtpm: Swtpm,
}

impl Bus {
    fn new() -> Bus {
        let swtpm = Swtpm::start();
        Bus { proxy: Proxy::start(&swtpm), swtpm }
    }

    fn server(&self) -> Server {
        let server = Server::with_tpm(self.proxy.uri());
        server.write_secret("pin", PIN.as_bytes());
        server
    }

    /// A tool's command line that has to work, through the tap.
    fn tool(&self, args: &[&str]) -> Vec<u8> {
        let output = tpm2_tool(&self.proxy.tcti(), &self.swtpm.work_dir(), args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// What is still loaded in the TPM, asked past the tap; what was recorded is forgotten. (One client at a time: the
    /// tap's has to be gone before another one is served.)
    fn loaded(&self) -> Vec<String> {
        self.proxy.forget();
        self.swtpm.loaded()
    }
}

/// Everything that Strongroom does with a TPM, with or without a PIN. Gives the secrets that it did it with.
fn whole_life(bus: &Bus, with_pin: bool) -> Vec<Secret> {
    let (new_pin, pin): (&[&str], &[&str]) = match with_pin {
        true => (&["--with-pin", "--new-pin-file", "pin"], &["--pin-file", "pin"]),
        false => (&[], &[]),
    };
    let light = ["--work-factor", "10"];
    let server = bus.server();
    server.init("first.backup", new_pin);
    let mut keys = vec![server.derive(LABEL, 32, pin), server.derive(LABEL, 64, pin)];
    server.ok_with_passphrase(&[&["generate", "--yes", "second.backup"], &light[..], pin].concat());
    keys.push(server.derive(LABEL, 32, pin));
    server.ok_with_passphrase(&[&["backup", "third.backup"], &light[..], pin].concat());
    server.ok_with_passphrase(&[&["verify", "third.backup"], pin].concat());
    server.ok(&["status"]);

    let other = bus.server();
    other.restore(&server.path("third.backup"), new_pin);
    assert_eq!(other.derive(LABEL, 32, pin), keys[2]);

    // What carries secrets did pass.
    let sent = bus.proxy.commands();
    for (code, name) in [(0x153, "Create"), (0x14b, "Duplicate"), (0x155, "HMAC"), (0x167, "LoadExternal")] {
        assert!(sent.contains(&code), "no TPM2_{name}");
    }

    let mut found = vec![("passphrase".to_owned(), PASSPHRASE.into()), ("PIN".to_owned(), PIN.into())];
    let contents = age_opens(&server.path("third.backup"));
    assert_eq!(secrets(&contents).len(), 2);
    for (index, secret) in secrets(&contents).into_iter().enumerate() {
        found.push((format!("secret {}", index + 1), secret));
    }
    for backup in ["first.backup", "second.backup", "third.backup"] {
        found.push((format!("KEK of {backup}"), base64(&age_opens(&server.path(backup))["kek"])));
    }
    for (index, key) in keys.iter().flat_map(|key| key.chunks(32)).enumerate() {
        found.push((format!("derived key, block {index}"), key.to_vec()));
    }
    if with_pin {
        let auths: Vec<_> = [&server, &other].into_iter().flat_map(|server| auth_values(&server.ring())).collect();
        assert_eq!(auths.len(), 8, "two servers, two generations, two parts");
        found.extend(auths);
    }
    found
}

/// The auth value of every part in a ring, computed as the design says.
fn auth_values(ring: &Value) -> Vec<Secret> {
    let mut found = Vec::new();
    for generation in ring["generations"].as_array().expect("a list") {
        for part in ["use", "export"] {
            let guard = &generation["seals"][0]["seal"][part]["guard"];
            assert_eq!(guard["kind"], "pin");
            found.push((format!("auth value of {part} part {}", generation["number"]), auth_value(guard)));
        }
    }
    found
}

/// HMAC-SHA-256(salt, PIN), trailing zero bytes trimmed.
fn auth_value(guard: &Value) -> Vec<u8> {
    let salt = hex::decode(guard["salt"].as_str().expect("a salt")).expect("hex");
    let mut auth = openssl_hmac(&salt, PIN.as_bytes());
    while auth.last() == Some(&0) {
        auth.pop();
    }
    auth
}

#[test]
fn nothing_secret_passes_without_a_pin() {
    let bus = Bus::new();
    let secrets = whole_life(&bus, false);
    assert_eq!(seen(&bus.proxy, &secrets), [""; 0]);
    assert_eq!(bus.loaded(), [""; 0]);
}

#[test]
fn nothing_secret_passes_with_a_pin() {
    let bus = Bus::new();
    let secrets = whole_life(&bus, true);
    assert_eq!(seen(&bus.proxy, &secrets), [""; 0]);
    assert_eq!(bus.loaded(), [""; 0]);
}

/// The control: the same search over the same tap finds everything, once a session does not encrypt. Were it not so, the two
/// tests above would prove nothing.
#[test]
fn a_session_that_does_not_encrypt_is_caught() {
    let bus = Bus::new();
    let server = bus.server();
    server.init("payroll.backup", &["--with-pin", "--new-pin-file", "pin"]);
    let ring = server.ring();
    let seal = &ring["generations"][0]["seals"][0]["seal"]["use"];
    let auth = auth_value(&seal["guard"]);
    let secret = secrets(&age_opens(&server.path("payroll.backup"))).remove(0);
    // The message that HKDF sends for a key of one block, so that the answer is the key.
    let message = [b"strongroom/v1/key\0", LABEL.as_bytes(), b"\0\0\x20\x01"].concat();
    let key = server.derive(LABEL, 32, &["--pin-file", "pin"]);
    assert_eq!(openssl_hmac(&secret, &message), key);

    let looked_for = [
        ("secret, into the TPM".to_owned(), secret.clone()),
        ("auth value".to_owned(), auth.clone()),
        ("derived key".to_owned(), key.clone()),
        ("PIN".to_owned(), PIN.into()),
        ("passphrase".to_owned(), PASSPHRASE.into()),
    ];
    let names: Vec<_> = looked_for.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(seen(&bus.proxy, &looked_for), [""; 0], "not from Strongroom");
    bus.proxy.forget();

    let work = bus.swtpm.work_dir();
    let blob = base64(&seal["blob"]);
    let (public, private) = blob.split_at(2 + usize::from(u16::from_be_bytes([blob[0], blob[1]])));
    let files: [(&str, &[u8]); 5] = [
        ("use.pub", public),
        ("use.priv", private),
        ("message", &message),
        ("secret", &secret),
        ("passphrase", PASSPHRASE.as_bytes()),
    ];
    for (name, bytes) in files {
        fs::write(work.join(name), bytes).unwrap();
    }
    let root = ["-C", "0x81000001"];
    let auth_hex = format!("hex:{}", hex::encode(&auth));

    // As init and restore hand the secret over, and as a PIN is set and given: all in the clear.
    seal_and_unseal(&bus, "secret", &auth_hex);
    seal_and_unseal(&bus, "passphrase", &format!("str:{PIN}"));
    // As derive does it.
    bus.tool(&[&["tpm2_load", "-Q", "-u", "use.pub", "-r", "use.priv", "-c", "use.ctx"], &root[..]].concat());
    flush(&bus);
    assert_eq!(bus.tool(&["tpm2_hmac", "-c", "use.ctx", "-p", &auth_hex, "message"]), key);

    assert_eq!(seen(&bus.proxy, &looked_for), names);
}

/// Seals a file's content under the storage root key, behind an auth value, and gets it out again.
fn seal_and_unseal(bus: &Bus, file: &str, auth: &str) {
    let root = ["-C", "0x81000001"];
    let create = ["tpm2_create", "-Q", "-i", file, "-p", auth, "-u", "sealed.pub", "-r", "sealed.priv"];
    bus.tool(&[&create[..], &root].concat());
    flush(bus);
    bus.tool(&[&["tpm2_load", "-Q", "-u", "sealed.pub", "-r", "sealed.priv", "-c", "sealed.ctx"], &root[..]].concat());
    flush(bus);
    let content = bus.tool(&["tpm2_unseal", "-c", "sealed.ctx", "-p", auth]);
    assert_eq!(content, fs::read(bus.swtpm.work_dir().join(file)).unwrap());
    flush(bus);
}

/// There is no resource manager: what the tools load stays loaded, and three objects are all that fit.
fn flush(bus: &Bus) {
    bus.tool(&["tpm2_flushcontext", "-t"]);
}

/// What a cold `derive` may cost: a real chip takes milliseconds for each command.
#[test]
fn a_derive_takes_few_commands_and_leaves_nothing_loaded() {
    const NAMES: [(u32, &str); 6] = [
        (0x155, "HMAC"),
        (0x157, "Load"),
        (0x165, "FlushContext"),
        (0x173, "ReadPublic"),
        (0x176, "StartAuthSession"),
        (0x17a, "GetCapability"),
    ];
    let pin_flags: [(&str, &[&str], &[&str], usize); 2] = [
        ("without a PIN", &[], &[], 6),
        ("with a PIN", &["--with-pin", "--new-pin-file", "pin"], &["--pin-file", "pin"], 7),
    ];
    for (name, new_pin, pin, limit) in pin_flags {
        let bus = Bus::new();
        let server = bus.server();
        server.init("payroll.backup", new_pin);
        bus.proxy.forget();
        server.derive(LABEL, 32, pin);
        let sent = bus.proxy.commands();
        let words: Vec<_> = sent
            .iter()
            .map(|code| NAMES.iter().find(|(known, _)| known == code).map_or("something else", |(_, name)| name))
            .collect();
        assert!(sent.len() <= limit, "derive {name} takes {} commands: {words:?}", sent.len());
        assert!(bus.proxy.responses().iter().all(|code| *code == 0));
        assert_eq!(bus.loaded(), [""; 0], "derive {name}");

        // Each block more is one command more.
        server.derive(LABEL, 1024, pin);
        assert_eq!(bus.proxy.commands().len(), sent.len() + 31);
        assert_eq!(bus.loaded(), [""; 0]);
    }
}
