//! Seals that open in whatever state a key has signed: made, used, explained, and made otherwise again.

use serde_json::Value;

use crate::common::signer::{self, Signer};
use crate::snapshot::{self, Shot};
use crate::world::World;

const DERIVE: &str = "derive --generation 1 backups";
const INIT: &str = "init --device $TPM --name payroll --passphrase-file pass --pcr-public-key key.pem payroll.backup";

/// A server, and who signs its states: the public key is in `key.pem`, the signatures in `signed.json`.
struct Signed {
    world: World,
    signer: Signer,
}

impl Signed {
    /// The present state of PCR 11 is signed.
    fn by(world: World, signer: Signer) -> Signed {
        world.file("key.pem", std::fs::read(signer.public()).expect("a key"));
        let signed = Signed { world, signer };
        signed.sign("sha256:11");
        signed
    }

    fn sign(&self, pcrs: &str) {
        self.write(&[self.signer.sign(self.world.tpm.as_ref().expect("a TPM"), pcrs)]);
    }

    fn write(&self, entries: &[String]) {
        self.world.file("signed.json", signer::file("sha256", entries));
    }

    /// Another kernel.
    fn update(&self) {
        let value = format!("11:sha256={}", "ab".repeat(32));
        self.world.tpm.as_ref().expect("a TPM").tool_ok(&["tpm2_pcrextend", &value]);
    }

    fn run(&self, line: &str) -> Shot {
        let line = format!("{line} --pcr-signature signed.json");
        self.world.run(&line)
    }

    fn done(&self, line: &str) -> Shot {
        let shot = self.run(line);
        assert_eq!(shot.code, Some(0), "{shot}");
        shot
    }

    fn refused(&self, line: &str) -> Shot {
        let shot = self.world.unchanged(|| self.run(line));
        assert_eq!(shot.code, Some(8), "{shot}");
        shot
    }

    /// As it is compared: keys, and what they sign, are others in each run.
    fn plain(&self, shots: &[Shot]) -> String {
        let text = shots.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let fingerprint = self.signer.fingerprint();
        text.replace(fingerprint, "FINGERPRINT").replace(&fingerprint[..16], "KEY")
    }

    fn compare(&self, name: &str, shots: &[Shot]) {
        snapshot::check_text(name, &self.plain(shots));
    }

    fn key(&self, generation: u32) -> String {
        self.done(&format!("derive --quiet --generation {generation} backups")).stdout
    }

    fn status(&self) -> Value {
        self.done("status --json").json().remove(0)
    }

    fn warnings(&self) -> Vec<String> {
        let status = self.status();
        let ids = status["warnings"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned());
        ids.filter(|id| id != "same-disk" && id != "low-work").collect()
    }
}

#[test]
fn an_update_that_was_signed_needs_nothing_to_be_bound_anew() {
    let it = Signed::by(World::fresh(), Signer::rsa());
    let mut shots = vec![it.done(&format!("{INIT} --dry-run")), it.done(INIT)];
    let before = it.key(1);
    let ring = it.world.read("state/ring.json");
    shots.push(it.done("status"));
    it.update();
    shots.push(it.refused(DERIVE));
    assert_eq!(it.warnings(), ["not-signed"]);
    shots.push(it.run("status --check"));
    shots.push(it.refused("bind --yes"));
    shots.push(it.refused("generate --yes --passphrase-file none two.backup"));
    it.sign("sha256:11");
    assert_eq!((it.key(1), it.warnings()), (before, vec![]));
    assert_eq!(it.world.read("state/ring.json"), ring);
    it.compare("signed", &shots);
}

#[test]
fn each_way_to_have_no_signature_has_words_of_its_own() {
    let it = Signed::by(World::fresh(), Signer::rsa());
    let (other, tpm) = (Signer::rsa(), it.world.tpm.as_ref().unwrap());
    it.done(INIT);
    let right = it.world.read("signed.json");
    let policy = signer::policy(tpm, "sha256:11");
    let mut shots = vec![it.world.unchanged(|| it.world.run(DERIVE))];
    assert_eq!(shots[0].code, Some(8), "{}", shots[0]);
    let mut refused = |signatures: String| {
        it.world.file("signed.json", signatures);
        let mut shot = it.refused(DERIVE);
        shot.stderr = shot.stderr.replace(&other.fingerprint()[..16], "OTHER");
        shots.push(shot);
    };
    refused("{\"sha256\": [".to_owned());
    refused(signer::file("sha256", &[other.entry("sha256:11", &policy)]));
    refused(signer::file("sha256", &[it.signer.entry("sha256:7", &policy)]));
    refused(signer::file("sha384", &[it.signer.entry("sha256:11", &policy)]));
    let states: Vec<String> = (1..=7).map(|state| it.signer.entry("sha256:11", &[state; 32])).collect();
    refused(signer::file("sha256", &states));
    let forged = other.entry("sha256:11", &policy).replace(other.fingerprint(), it.signer.fingerprint());
    refused(signer::file("sha256", &[forged]));
    it.compare("signatures", &shots);
    it.world.file("signed.json", right);
    it.key(1);
}

/// The doctor sees it too, and nothing is sealed or written for that.
#[test]
fn the_doctor_looks_for_the_signature() {
    let it = Signed::by(World::with_pin(), Signer::rsa());
    it.done("bind --yes --pcr-public-key key.pem --pin-file pin");
    let signed = it.world.unchanged(|| it.done("doctor"));
    it.update();
    let shots = [signed, it.refused("doctor"), it.world.unchanged(|| it.world.run("doctor"))];
    assert_eq!(shots.each_ref().map(|shot| shot.code), [Some(0), Some(8), Some(8)]);
    assert_eq!(it.warnings(), ["not-signed"], "status says it too, and asks for no PIN");
    it.compare("doctor-signed", &shots);
}

#[test]
fn what_would_not_open_is_not_made_and_nobody_is_asked() {
    let it = Signed::by(World::fresh(), Signer::ecdsa("P-256"));
    it.write(&[it.signer.entry("sha256:11", &[7; 32])]);
    // No passphrase, and nowhere to ask for one: that would be said if it came to it.
    let init = it.refused("init --device $TPM --name payroll --pcr-public-key key.pem payroll.backup");
    it.compare("not-foreseen", &[init]);
    let other = World::on_both();
    std::fs::copy(other.path("payroll.backup"), it.world.path("other.backup")).unwrap();
    let restore = it.refused("restore --device $TPM --pcr-public-key key.pem other.backup");
    assert!(restore.stderr.contains("has not signed the state"), "{restore}");
    it.world.done("init --device $TPM --name payroll --passphrase-file pass payroll.backup");
    for line in ["bind --pcr-public-key key.pem", "generate --pcr-public-key key.pem two.backup"] {
        let shot = it.refused(line);
        assert!(shot.stderr.contains("has not signed the state"), "{shot}");
    }
    let token = Signed { world: other, signer: it.signer };
    token.world.file("key.pem", std::fs::read(token.signer.public()).unwrap());
    token.world.all_refused(
        "signed-token",
        2,
        &[
            "bind --yes --device hsm1 --pcr-public-key key.pem",
            "device add --pcr-public-key key.pem pkcs11:token=other",
        ],
    );
}

#[test]
fn keys_that_can_not_be_used_are_told_apart() {
    let world = World::new();
    let make = |name: &str, kind: &[&str]| {
        world.file(name, std::fs::read(Signer::of(kind).public()).expect("a key"));
    };
    make("weak.pem", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    make("exponent.pem", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_pubexp:3"]);
    make("ed25519.pem", &["-algorithm", "ED25519"]);
    make("p521.pem", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]);
    let public = world.read("weak.pem");
    world.file("private.pem", public.replace("PUBLIC", "PRIVATE"));
    world.file("certificate.pem", public.replace("PUBLIC KEY", "CERTIFICATE"));
    world.file("large.pem", " ".repeat(100_000));
    let names = ["none", "weak", "exponent", "ed25519", "p521", "private", "certificate", "large"];
    let lines = names.map(|name| format!("bind --pcr-public-key {name}.pem"));
    world.all_refused("policy-keys", 2, &lines.each_ref().map(String::as_str));
}

#[test]
fn a_key_that_the_tpm_does_not_take_is_told_before_anything_is_made() {
    let it = Signed::by(World::fresh(), Signer::of(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"]));
    it.compare("policy-key-refused", &[it.refused(INIT)]);
}

#[test]
fn from_any_binding_to_any_other() {
    let it = Signed::by(World::new(), Signer::ecdsa("P-384"));
    let before = it.key(1);
    let guard = || {
        let ring: Value = serde_json::from_str(&it.world.read("state/ring.json")).unwrap();
        let newest = ring["generations"].as_array().unwrap().last().unwrap().clone();
        newest["seals"][0]["seal"]["use"]["guard"]["kind"].as_str().unwrap().to_owned()
    };
    let mut shots = vec![it.done("bind --yes --pcr-public-key key.pem")];
    for (line, kind) in [
        ("bind --yes --pcrs 7", "pcrs"),
        ("bind --yes --pcr-public-key key.pem", "signed"),
        ("unbind --yes", "none"),
        // It remembers the key.
        ("bind --yes", "signed"),
        ("generate --yes --passphrase-file pass two.backup", "signed"),
        ("generate --yes --pcrs 7 --passphrase-file pass three.backup", "pcrs"),
        ("generate --yes --pcr-public-key key.pem --passphrase-file pass four.backup", "signed"),
        ("bind --yes --from four.backup --passphrase-file pass --pcrs 7", "pcrs"),
        ("bind --yes --from four.backup --passphrase-file pass --pcr-public-key key.pem", "signed"),
    ] {
        shots.push(it.done(line));
        assert_eq!((guard(), it.key(1)), (kind.to_owned(), before.clone()), "{line}");
    }
    it.compare("signed-and-not", &shots);
    let status = it.status();
    assert_eq!(status["devices"][0]["bound"], "sha256:11");
    assert_eq!(status["devices"][0]["signed_by"], it.signer.fingerprint());
    let bound = it.done("bind --yes --json");
    let step = bound.json().into_iter().find(|line| line["step"] == "bound").expect("the step");
    assert_eq!(
        (&step["pcrs"], &step["signed_by"]),
        (&status["devices"][0]["bound"], &status["devices"][0]["signed_by"])
    );

    let other = Signed::by(World::fresh(), Signer::rsa());
    std::fs::copy(it.world.path("four.backup"), other.world.path("four.backup")).unwrap();
    other.done("restore --yes --device $TPM --pcr-public-key key.pem --passphrase-file pass four.backup");
    assert_eq!(other.key(1), before);
    other.update();
    other.refused(DERIVE);
}

#[test]
fn a_pin_stays_and_another_device_serves_meanwhile() {
    let it = Signed::by(World::with_pin(), Signer::rsa());
    it.done("bind --yes --pcr-public-key key.pem --pin-file pin");
    let derive = "derive --quiet --generation 1 --pin-file pin backups";
    let before = it.done(derive).stdout;
    it.update();
    it.refused("derive --generation 1 --pin-file pin backups");
    it.sign("sha256:11");
    assert_eq!(it.done(derive).stdout, before);
    assert_eq!(it.run("derive --generation 1 --pin-file pass backups").code, Some(4));

    let both = Signed::by(World::on_both(), Signer::rsa());
    both.done("bind --yes --pcr-public-key key.pem --pin-file pin");
    both.update();
    let derived = both.done("derive --generation 1 --pin-file pin backups");
    assert!(derived.stderr.contains("tpm1 does not serve: key"), "{derived}");
    both.sign("sha256:11");
    both.world.edit_ring(|ring| ring.replacen("\"blob\": \"", "\"blob\": \"AAAA", 1));
    both.done("device repair --pin-file pin tpm1");
    assert_eq!(both.status()["devices"][0]["signed_by"], both.signer.fingerprint());
}

/// Services name no file: it is where systemd puts it, or where the environment says.
#[test]
fn signatures_are_found_where_systemd_looks() {
    let it = Signed::by(World::fresh(), Signer::rsa());
    it.done(INIT);
    let right = it.key(1);
    it.world.file("odd.json", "{}");
    let there = |script: &str| {
        let script = format!(
            "mkdir -p /run/systemd && mount -t tmpfs none /etc/systemd && mount -t tmpfs none /run/systemd && {script} && exec \"$0\" \"$@\""
        );
        let mut command = it.world.in_namespace("--mount", &script, "derive --quiet --generation 1 backups");
        command.env_remove("STRONGROOM_PCR_SIGNATURE");
        it.world.run_as("derive", command)
    };
    let in_run = "cp signed.json /run/systemd/tpm2-pcr-signature.json";
    let found = there(in_run);
    assert_eq!((found.code, found.stdout.as_str()), (Some(0), right.as_str()), "{found}");
    let first = there(&format!("{in_run} && cp odd.json /etc/systemd/tpm2-pcr-signature.json"));
    assert!(first.code == Some(8) && first.stderr.contains("/etc/systemd/"), "{first}");
    let mut command = it.world.command(DERIVE);
    command.env("STRONGROOM_PCR_SIGNATURE", it.world.path("signed.json"));
    assert_eq!(it.world.run_as(DERIVE, command).code, Some(0));
}

/// A ticket that can't be written costs commands, and nothing else.
#[test]
fn tickets_that_can_not_be_kept_are_done_without() {
    let it = Signed::by(World::fresh(), Signer::rsa());
    it.done(INIT);
    let right = it.key(1);
    let tickets = it.world.path("state/tickets.json");
    std::fs::remove_file(&tickets).expect("they are kept");
    std::fs::create_dir(&tickets).unwrap();
    assert_eq!(it.key(1), right);
    std::fs::remove_dir(&tickets).unwrap();
    assert_eq!(it.key(1), right);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&tickets).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    it.done("audit verify");
}
