//! Who signs PCR states: with openssl, by the documented algorithm, and with systemd's own tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::swtpm::Swtpm;

const MEASURE: &str = "/lib/systemd/systemd-measure";

/// A pair of keys, in a directory of its own.
pub struct Signer {
    dir: TempDir,
    fingerprint: String,
}

impl Signer {
    /// As `openssl genpkey` takes it: RSA of 2048 bits.
    pub fn rsa() -> Signer {
        Signer::of(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
    }

    /// On the curve `P-256`, `P-384` ...
    pub fn ecdsa(curve: &str) -> Signer {
        Signer::of(&["-algorithm", "EC", "-pkeyopt", &format!("ec_paramgen_curve:{curve}")])
    }

    pub fn of(kind: &[&str]) -> Signer {
        let dir = tempfile::Builder::new().prefix("strongroom-signer-").tempdir().expect("a temporary directory");
        let mut signer = Signer { dir, fingerprint: String::new() };
        let (private, public) = (signer.path("private.pem"), signer.public());
        run("openssl", &[&["genpkey", "-quiet"], kind, &["-out", text(&private)]].concat());
        run("openssl", &["pkey", "-in", text(&private), "-pubout", "-out", text(&public)]);
        let der = run("openssl", &["pkey", "-pubin", "-in", text(&public), "-outform", "DER"]);
        signer.fingerprint = hex::encode(Sha256::digest(inner(&der)));
        signer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The public key's PEM file.
    pub fn public(&self) -> PathBuf {
        self.path("public.pem")
    }

    /// In hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A signature of the state that `pcrs` (`sha256:11`) of a TPM are in, as systemd writes it.
    pub fn sign(&self, swtpm: &Swtpm, pcrs: &str) -> String {
        self.entry(pcrs, &policy(swtpm, pcrs))
    }

    /// The same of a policy's digest.
    pub fn entry(&self, pcrs: &str, policy: &[u8]) -> String {
        let message = self.path("policy");
        fs::write(&message, policy).expect("a file of ours");
        let signature = run("openssl", &["dgst", "-sha256", "-sign", text(&self.path("private.pem")), text(&message)]);
        let numbers = pcrs.split_once(':').expect("a bank").1.replace('+', ",");
        let (key, policy, signature) = (&self.fingerprint, hex::encode(policy), STANDARD.encode(signature));
        format!(r#"{{"pcrs":[{numbers}],"pkfp":"{key}","pol":"{policy}","sig":"{signature}"}}"#)
    }

    /// What `systemd-measure sign` prints for a kernel image: the states of PCR 11 in each phase of its boot. It needs a TPM,
    /// and does nothing with it but compute.
    pub fn measure(&self, swtpm: &Swtpm, image: &Path) -> String {
        let device = format!("--tpm2-device={}", swtpm.tcti());
        let private = format!("--private-key={}", self.path("private.pem").display());
        let public = format!("--public-key={}", self.public().display());
        let image = format!("--linux={}", image.display());
        let signed = run(MEASURE, &["sign", &image, "--bank=sha256", &private, &public, &device]);
        // What it computes with, it leaves there.
        swtpm.flush();
        String::from_utf8(signed).expect("JSON is text")
    }
}

/// A file of signatures of the bank `bank`.
pub fn file(bank: &str, entries: &[String]) -> String {
    format!("{{\"{bank}\":[{}]}}\n", entries.join(","))
}

/// The digest of TPM2_PolicyPCR for what `pcrs` of a TPM hold, by the TPM's tools.
pub fn policy(swtpm: &Swtpm, pcrs: &str) -> Vec<u8> {
    swtpm.tool_ok(&["tpm2_startauthsession", "-S", "session"]);
    swtpm.tool_ok(&["tpm2_policypcr", "-Q", "-S", "session", "-l", &pcrs.replace('+', ","), "-L", "digest"]);
    swtpm.tool_ok(&["tpm2_flushcontext", "session"]);
    fs::read(swtpm.work_dir().join("digest")).expect("the tool's file")
}

/// Measures what a boot of a kernel image measures into PCR 11 of the SHA-256 bank: each section's name (the kernel's is all that
/// there is) and content by systemd-stub, then the phases by systemd-pcrphase.
pub fn boot(swtpm: &Swtpm, image: &Path, phases: &[&str]) {
    measure(swtpm, b".linux\0");
    measure(swtpm, &fs::read(image).expect("an image"));
    for phase in phases {
        boot_phase(swtpm, phase);
    }
}

/// One more phase begins.
pub fn boot_phase(swtpm: &Swtpm, phase: &str) {
    measure(swtpm, phase.as_bytes());
}

fn measure(swtpm: &Swtpm, what: &[u8]) {
    swtpm.tool_ok(&["tpm2_pcrextend", &format!("11:sha256={}", hex::encode(Sha256::digest(what)))]);
}

/// What follows the algorithm in a SubjectPublicKeyInfo: the last BIT STRING's content, which ends the whole.
fn inner(der: &[u8]) -> &[u8] {
    let (_, rest) = length(&der[1..]);
    let (algorithm, rest) = length(&rest[1..]);
    let (bits, content) = length(&rest[algorithm + 1..]);
    assert_eq!(bits, content.len(), "nothing follows");
    &content[1..]
}

fn length(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes[0] {
        short @ ..0x80 => (short.into(), &bytes[1..]),
        long => {
            let (octets, rest) = bytes[1..].split_at(usize::from(long & 0x7f));
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("can't run {program}: {error}; run ci/setup"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
