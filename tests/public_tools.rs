//! Public formats, public tools: what Strongroom makes is opened, recomputed and looked at with what Debian ships, and what is
//! made with those tools alone, Strongroom takes.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::outside::{
    PASSPHRASE, Server, age_opens, age_seals, base64, openssl_derives, openssl_hmac, openssl_unwraps, openssl_wraps,
    secrets, succeed, to_base64,
};
use common::softhsm::{SoftHsm, USER_PIN};
use common::swtpm::Swtpm;
use serde_json::{Value, json};

/// Labels at the edges of what is allowed, and those that a shell or a careless encoding would change.
const LABELS: [&str; 5] =
    ["backups/db1", "x", "  blanks before and after  ", "Zürich ключ 鍵 🔑", "it's \"quoted\" $HOME \\0 %00 --length"];

const LENGTHS: [usize; 4] = [1, 32, 33, 1024];

/// The whole recipe of the backup's preamble, on a server with two generations: every key that `derive` prints is what age
/// and openssl give.
fn recomputes(server: &Server) {
    server.init("first.backup", &[]);
    server.ok_with_passphrase(&["generate", "--yes", "--work-factor", "10", "second.backup"]);

    let contents = age_opens(&server.path("second.backup"));
    let secrets = secrets(&contents);
    assert_eq!(secrets.len(), 2);
    assert_eq!(
        secrets[0],
        self::secrets(&age_opens(&server.path("first.backup")))[0],
        "each backup has a KEK of its own"
    );

    for (entry, secret) in contents["generations"].as_array().unwrap().iter().zip(&secrets) {
        assert_eq!((entry["algorithm"].as_str(), secret.len()), (Some("A256KW"), 32));
        let id = hex::encode(openssl_derives(secret, "generation-id", "", 16));
        assert_eq!(entry["id"], id.as_str());
        let number = entry["number"].to_string();
        let of_ring = server.ring()["generations"].as_array().unwrap().iter().find(|g| g["id"] == id.as_str()).cloned();
        assert_eq!(of_ring.expect("the ring has it")["number"].to_string(), number);
    }
    let longest = "é".repeat(127) + "e";
    for label in LABELS.into_iter().chain([longest.as_str()]) {
        assert_eq!(server.derive(label, 32, &[]), openssl_derives(&secrets[1], "key", label, 32), "{label:?}");
    }
    for length in LENGTHS {
        let expected = openssl_derives(&secrets[0], "key", "backups/db1", length);
        assert_eq!(server.derive("backups/db1", length, &["--generation", "1"]), expected, "{length} bytes");
    }
}

#[test]
fn age_and_openssl_recompute_what_a_tpm_derived() {
    let swtpm = Swtpm::start();
    recomputes(&Server::with_tpm(swtpm.uri()));
}

#[test]
fn age_and_openssl_recompute_what_an_hsm_derived() {
    let hsm = SoftHsm::new("payroll");
    recomputes(&Server::with_hsm(&hsm));
}

/// The recipe of `docs/audit-log.md`: chain and tags by openssl, the counter by tpm2-tools.
#[test]
fn openssl_and_tpm2_tools_check_the_log() {
    let swtpm = Swtpm::start();
    let server = Server::with_tpm(swtpm.uri());
    server.init("first.backup", &[]);
    server.ok_with_passphrase(&["generate", "--yes", "--work-factor", "10", "second.backup"]);
    let secrets = secrets(&age_opens(&server.path("second.backup")));
    let log = fs::read_to_string(server.path("state/audit.log")).unwrap();
    let sha256 = |bytes: &[u8]| {
        let path = swtpm.work_dir().join("hashed");
        fs::write(&path, bytes).unwrap();
        hex::encode(succeed(Command::new("openssl").args(["dgst", "-sha256", "-binary"]).arg(path)))
    };

    let mut before = "strongroom audit log, format 1";
    let mut counted = 0;
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["previous"], sha256(before.as_bytes()).as_str());
        before = line;
        let Some(tag) = entry["tag"].as_str() else { continue };
        let vouched =
            |secret: &&Vec<u8>| entry["vouched"] == hex::encode(openssl_derives(secret, "generation-id", "", 16));
        let secret = secrets.iter().find(vouched).expect("one of the two vouches");
        let key = openssl_derives(secret, "audit", "", 32);
        assert_eq!(hex::encode(openssl_hmac(&key, &line.as_bytes()[..line.len() - 74])), tag);
        counted = entry["counter"]["value"].as_u64().expect("a TPM counts");
    }
    assert_eq!(log.lines().count(), 4);

    let id = server.ring()["system"]["id"].as_str().unwrap().replace('-', "");
    let policy = sha256(&[b"strongroom/v1/audit-counter\0", &hex::decode(id).unwrap()[..]].concat());
    let index = format!("0x0184{}", &policy[..4]);
    let value = swtpm.tool_ok(&["tpm2_nvread", "-C", &index, &index]);
    assert_eq!(value, counted.to_be_bytes());
    let public = String::from_utf8(swtpm.tool_ok(&["tpm2_nvreadpublic", &index])).unwrap();
    assert!(public.to_lowercase().contains(&policy), "{public}");
    // Written since: TPMA_NV_WRITTEN.
    assert!(public.contains("0x22040014"), "{public}");
}

#[test]
fn tpm2_tools_see_the_storage_root_key_that_is_pinned() {
    let swtpm = Swtpm::start();
    let server = Server::with_tpm(swtpm.uri());
    server.init("payroll.backup", &[]);
    let pinned = &server.ring()["devices"][0]["anchor"]["pinned"];
    assert_eq!(pinned["handle"], 0x8100_0001_u32);

    swtpm.tool_ok(&["tpm2_readpublic", "-Q", "-c", "0x81000001", "-o", "root.pub", "-n", "root.name"]);
    let read = |name: &str| fs::read(swtpm.work_dir().join(name)).unwrap();
    assert_eq!(base64(&pinned["public"]), read("root.pub"));
    assert_eq!(base64(&pinned["name"]), read("root.name"));
    // The fingerprint that people compare is a plain hash of that file.
    let sum = succeed(Command::new("sha256sum").arg(swtpm.work_dir().join("root.pub")));
    let contents = age_opens(&server.path("payroll.backup"));
    assert_eq!(contents["devices"], json!([format!("SHA256:{}", String::from_utf8_lossy(&sum[..64]))]));
}

#[test]
fn tpm2_tools_use_the_use_part_and_give_the_same_hmac() {
    let swtpm = Swtpm::start();
    let server = Server::with_tpm(swtpm.uri());
    server.init("payroll.backup", &[]);
    let secret = &secrets(&age_opens(&server.path("payroll.backup")))[0];
    load(&swtpm, &server, "use");

    let message = b"any message";
    fs::write(swtpm.work_dir().join("message"), message).unwrap();
    let hmac = swtpm.tool_ok(&["tpm2_hmac", "-c", "use.ctx", "message"]);
    assert_eq!(hmac, openssl_hmac(secret, message));
    assert_eq!(attributes(&swtpm, "use"), "fixedtpm|fixedparent|userwithauth|adminwithpolicy|noda|sign");

    swtpm.flush();
    load(&swtpm, &server, "export");
    assert_eq!(attributes(&swtpm, "export"), "sensitivedataorigin|adminwithpolicy|noda|sign");
    let refused = swtpm.tool(&["tpm2_hmac", "-c", "export.ctx", "message"]);
    assert!(!refused.status.success(), "the export part is for export only");
}

/// Loads a part of generation 1's seal, as `PART.ctx`.
fn load(swtpm: &Swtpm, server: &Server, part: &str) {
    let blob = base64(&server.ring()["generations"][0]["seals"][0]["seal"][part]["blob"]);
    let (public, private) = blob.split_at(2 + usize::from(u16::from_be_bytes([blob[0], blob[1]])));
    fs::write(swtpm.work_dir().join("part.pub"), public).unwrap();
    fs::write(swtpm.work_dir().join("part.priv"), private).unwrap();
    let context = format!("{part}.ctx");
    swtpm.tool_ok(&["tpm2_load", "-Q", "-C", "0x81000001", "-u", "part.pub", "-r", "part.priv", "-c", &context]);
    swtpm.flush();
}

/// The attributes of a loaded part, in the tools' words.
fn attributes(swtpm: &Swtpm, part: &str) -> String {
    let text = swtpm.tool_ok(&["tpm2_readpublic", "-c", &format!("{part}.ctx")]);
    let text = String::from_utf8(text).unwrap();
    let (_, after) = text.split_once("attributes:").expect("it has attributes");
    after.lines().find_map(|line| line.trim().strip_prefix("value: ")).expect("a value").to_owned()
}

#[test]
fn pkcs11_tool_shows_what_the_wrapping_keys_are() {
    let hsm = SoftHsm::new("payroll");
    let server = Server::with_hsm(&hsm);
    server.init("payroll.backup", &[]);
    let login = ["--token-label", "payroll", "--login", "--pin", USER_PIN];
    let listing = hsm.pkcs11_tool_ok(&[&login[..], &["--list-objects"]].concat());

    let pinned = &server.ring()["devices"][0]["anchor"]["pinned"];
    let objects: Vec<&str> = listing.split("Secret Key Object; ").skip(1).collect();
    assert_eq!(objects.len(), 2, "two wrapping keys, and no master secret: {listing}");
    for role in ["use_key", "export_key"] {
        let id = pinned[role]["id"].as_str().unwrap();
        let object = objects.iter().find(|object| field(object, "ID") == id).expect("the ring's key is on the token");
        assert!(object.starts_with("AES length 32\n"), "{object}");
        // No encrypt, decrypt, sign, verify or derive; and no key that has ever been outside.
        assert_eq!(field(object, "Usage"), "wrap, unwrap");
        assert_eq!(field(object, "Access"), "sensitive, always sensitive, never extractable, local");
    }
}

/// `NAME: value` in pkcs11-tool's description of an object.
fn field<'o>(object: &'o str, name: &str) -> &'o str {
    let line = object.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name}: {object}")).trim()
}

/// A backup that no Strongroom has ever seen: a secret by openssl, wrapped by openssl, in JSON, sealed by age.
fn made_by_hand(dir: &Path) -> (Vec<u8>, PathBuf) {
    let random = |bytes: &str| succeed(Command::new("openssl").args(["rand", bytes]));
    let (secret, kek) = (random("32"), random("32"));
    let id = hex::encode(openssl_derives(&secret, "generation-id", "", 16));
    let wrapped = openssl_wraps(&kek, &secret);
    assert_eq!(openssl_unwraps(&kek, &wrapped), secret);
    let fingerprint = format!("SHA256:{}", "0".repeat(64));
    let contents = json!({
        "format": 1,
        "system": { "id": "2b1c4c52-5a1e-4f3f-9d0b-6f1f0c3d9a11", "name": "by hand" },
        "term": 7,
        "master": "db1",
        "made": { "at": "2026-11-22T21:00:00Z", "host": "db1" },
        "devices": [fingerprint],
        "hint": "",
        "active": 3,
        "last_number": 3,
        "kek": to_base64(&kek),
        "generations": [{
            "number": 3,
            "id": id,
            "created": "2026-11-22T20:00:00Z",
            "origin": { "host": "db1", "kind": "tpm", "device": fingerprint },
            "algorithm": "A256KW",
            "wrapped": to_base64(&wrapped),
        }],
    });
    let (plain, backup) = (dir.join("contents.json"), dir.join("by-hand.backup"));
    fs::write(&plain, contents.to_string()).unwrap();
    age_seals(&plain, &backup);
    (secret, backup)
}

#[test]
fn a_backup_made_by_hand_restores() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, backup) = made_by_hand(dir.path());
    let expected = openssl_derives(&secret, "key", "disk/data", 64);

    let (swtpm, hsm) = (Swtpm::start(), SoftHsm::new("payroll"));
    for server in [Server::with_tpm(swtpm.uri()), Server::with_hsm(&hsm)] {
        server.restore(&backup, &[]);
        assert_eq!(server.derive("disk/data", 64, &[]), expected, "{}", server.device());
        assert_eq!(server.derive("disk/data", 64, &["--generation", "3"]), expected);
        let status: Value = serde_json::from_slice(&server.ok(&["status", "--json"])).unwrap();
        let status = status.to_string();
        assert!(status.contains("by hand") && !status.contains(PASSPHRASE), "{status}");
    }
}
