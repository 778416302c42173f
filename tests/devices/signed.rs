//! Seals that open in whatever state a key has signed: with systemd's own signatures, with others', with none, and what it
//! costs.

use std::fs;
use std::path::{Path, PathBuf};

use strongroom::device::{
    Bound, BoundTo, DeviceError, Fault, Guard, NoPin, PinRequest, PinSource, PolicyKey, Protection, Root, Seal,
    Signatures, Unsigned,
};
use strongroom::secret::{Kek, Pin};
use tempfile::TempDir;

use crate::common::proxy::Proxy;
use crate::common::signer::{self, Signer};
use crate::common::swtpm::Swtpm;
use crate::pcrs::{POLICY_AUTH_VALUE, POLICY_PCR, extend};
use crate::tpm::{
    FLUSH_CONTEXT, GET_CAPABILITY, HMAC, LOAD, READ_PUBLIC, START_AUTH_SESSION, again, failures, fault, fresh, hmac,
    pin,
};

const LOAD_EXTERNAL: u32 = 0x167;
const POLICY_AUTHORIZE: u32 = 0x16a;
const VERIFY_SIGNATURE: u32 = 0x177;
const POLICY_GET_DIGEST: u32 = 0x189;

/// What an admin gives: a file of signatures, a place for tickets, and perhaps a PIN.
pub struct Given {
    dir: TempDir,
    pin: Option<&'static str>,
}

impl Given {
    pub fn new(pin: Option<&'static str>) -> Given {
        let dir = tempfile::Builder::new().prefix("strongroom-signed-").tempdir().expect("a temporary directory");
        Given { dir, pin }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("signatures.json")
    }

    fn tickets(&self) -> PathBuf {
        self.dir.path().join("tickets.json")
    }

    fn write(&self, signatures: &str) {
        fs::write(self.file(), signatures).expect("a file of ours");
    }

    pub fn sign(&self, entries: &[String]) {
        self.write(&signer::file("sha256", entries));
    }
}

impl PinSource for Given {
    fn pin(&self, _: &PinRequest) -> Result<Pin, DeviceError> {
        Ok(pin(self.pin.expect("no PIN is asked for")))
    }

    fn call_to_the_pad(&self, _: &str, _: &str) -> Result<(), DeviceError> {
        panic!("a TPM has no keys to type on")
    }

    fn may_use_last_try(&self) -> bool {
        false
    }

    fn signatures(&self) -> Signatures {
        Signatures { file: Some(self.file()), tickets: Some(self.dir.path().to_owned()) }
    }
}

pub fn by(signer: &Signer, pcrs: &str) -> BoundTo {
    let key = PolicyKey::read(&signer.public()).expect("a key");
    BoundTo::asked(Some(pcrs.parse().expect("PCRs")), Some(key)).expect("it is something")
}

fn asked(bound: &BoundTo) -> Bound<'_> {
    match bound {
        BoundTo::Signed(signed) => Bound::Signed(signed),
        BoundTo::State(_) => panic!("nobody signs it"),
    }
}

/// A seal that is bound to what `signer` signs of `pcrs`; the present state is signed.
fn sealed(swtpm: &Swtpm, signer: &Signer, pcrs: &str, given: &Given) -> (Root, Seal) {
    given.write(&signer::file(pcrs.split_once(':').unwrap().0, &[signer.sign(swtpm, pcrs)]));
    let (mut device, root) = fresh(swtpm, given);
    let (guard, bound) = (given.pin.map(pin), by(signer, pcrs));
    let protection = Protection { pin: guard.as_ref(), bound: Some(&bound) };
    device.foresee(asked(&bound)).expect("it would open");
    let seal = device.generate(protection, &[7; 32]).expect("it makes a secret");
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
    (root, seal)
}

/// In a fresh process: an HMAC, and an export.
fn use_and_export(swtpm: &Swtpm, root: &Root, seal: &Seal, given: &Given) -> Result<String, DeviceError> {
    let mut device = again(&swtpm.uri(), root, given);
    let mac = hmac(device.as_mut(), &seal.use_part);
    match device.export(&seal.export_part, &Kek::random()) {
        Ok(_) => assert!(mac.is_ok()),
        Err(error) => assert_eq!(Some(&error.fault), mac.as_ref().err().map(|error| &error.fault)),
    }
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
    mac
}

fn why(result: Result<String, DeviceError>) -> Unsigned {
    match fault(result) {
        Fault::Unsigned(why) => *why,
        other => panic!("{other:?}"),
    }
}

/// An image that systemd signs, of some size.
fn image(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, name.repeat(100)).expect("a file of ours");
    path
}

const PHASES: [&str; 4] = ["enter-initrd", "leave-initrd", "sysinit", "ready"];

#[test]
fn what_systemd_signs_opens_in_each_phase_of_each_image() {
    let (mut swtpm, signer, given) = (Swtpm::start(), Signer::rsa(), Given::new(None));
    let (one, two) = (image(given.dir.path(), "one"), image(given.dir.path(), "two"));
    signer::boot(&swtpm, &one, &PHASES[..1]);
    given.write(&signer.measure(&swtpm, &one));
    let (mut device, root) = fresh(&swtpm, &given);
    let bound = by(&signer, "sha256:11");
    let seal = device.generate(Protection { pin: None, bound: Some(&bound) }, &[7; 32]).expect("it makes a secret");
    drop(device);
    let mac = use_and_export(&swtpm, &root, &seal, &given).expect("it opens");
    for phase in &PHASES[1..] {
        signer::boot_phase(&swtpm, phase);
        assert_eq!(use_and_export(&swtpm, &root, &seal, &given).expect("it opens"), mac);
    }
    signer::boot_phase(&swtpm, "shutdown");
    assert!(
        matches!(why(use_and_export(&swtpm, &root, &seal, &given)), Unsigned::State { signed, .. } if signed.len() == 4)
    );

    // An update: another image, whose signature is not there yet, and then is.
    swtpm.reboot();
    signer::boot(&swtpm, &two, &PHASES);
    assert!(matches!(why(use_and_export(&swtpm, &root, &seal, &given)), Unsigned::State { .. }));
    given.write(&signer.measure(&swtpm, &two));
    assert_eq!(use_and_export(&swtpm, &root, &seal, &given).expect("it opens"), mac);
    // Back to the old one, with the old signatures.
    swtpm.reboot();
    signer::boot(&swtpm, &one, &PHASES);
    assert!(matches!(why(use_and_export(&swtpm, &root, &seal, &given)), Unsigned::State { .. }));
    given.write(&signer.measure(&swtpm, &one));
    assert_eq!(use_and_export(&swtpm, &root, &seal, &given).expect("it opens"), mac);
}

#[test]
fn each_kind_of_key_opens_with_a_pin_and_without() {
    for (signer, pcrs, pin) in [
        (Signer::rsa(), "sha256:7+14", Some("1234")),
        (Signer::ecdsa("P-256"), "sha256:11", None),
        (Signer::ecdsa("P-256"), "sha384:7", Some("1234")),
        (Signer::ecdsa("P-384"), "sha256:0+11", None),
    ] {
        let (swtpm, given) = (Swtpm::start(), Given::new(pin));
        let (root, seal) = sealed(&swtpm, &signer, pcrs, &given);
        let guard = &seal.use_part.0.guard;
        assert_eq!(matches!(guard, Guard::SignedPin { .. }), pin.is_some());
        let mac = use_and_export(&swtpm, &root, &seal, &given).expect("it opens");
        assert_eq!(use_and_export(&swtpm, &root, &seal, &given).expect("it opens"), mac);
        if pin.is_some() {
            let wrong = Given { pin: Some("4321"), ..Given::new(None) };
            fs::copy(given.file(), wrong.file()).unwrap();
            let mut device = again(&swtpm.uri(), &root, &wrong);
            assert_eq!(fault(hmac(device.as_mut(), &seal.use_part)), Fault::WrongPin { tries_left: Some(2) });
        }
        let (bank, numbers) = pcrs.split_once(':').unwrap();
        let (first, _) = numbers.split_once('+').unwrap_or((numbers, ""));
        let digest = "ab".repeat(if bank == "sha384" { 48 } else { 32 });
        swtpm.tool_ok(&["tpm2_pcrextend", &format!("{first}:{bank}={digest}")]);
        assert!(matches!(why(use_and_export(&swtpm, &root, &seal, &given)), Unsigned::State { .. }));
        assert_eq!(failures(&swtpm), if pin.is_some() { "1" } else { "0" }, "no try was burnt but the wrong PIN");
    }
}

#[test]
fn what_is_not_the_keys_own_signature_of_the_state_does_not_open() {
    let (swtpm, signer, other, given) = (Swtpm::start(), Signer::rsa(), Signer::rsa(), Given::new(None));
    let (root, seal) = sealed(&swtpm, &signer, "sha256:11", &given);
    let open = || use_and_export(&swtpm, &root, &seal, &given);
    let right = signer.sign(&swtpm, "sha256:11");
    let mac = open().expect("it opens");

    given.sign(&[signer.entry("sha256:11", &[7; 32])]);
    let Unsigned::State { signed, now, .. } = why(open()) else { panic!("another state is told") };
    assert_eq!((signed, now), (vec!["07".repeat(8)], vec![(11, "00".repeat(32))]));
    given.sign(&[other.sign(&swtpm, "sha256:11")]);
    assert!(matches!(why(open()), Unsigned::OtherKey { others, .. } if others == [&other.fingerprint()[..16]]));
    // Another's signature, said to be by this key.
    given.sign(&[other.sign(&swtpm, "sha256:11").replace(other.fingerprint(), signer.fingerprint())]);
    assert!(matches!(why(open()), Unsigned::Bad { .. }));
    // Another state's signature, said to be of this one.
    let policy = hex::encode(signer::policy(&swtpm, "sha256:11"));
    given.sign(&[signer.entry("sha256:11", &[7; 32]).replace(&"07".repeat(32), &policy)]);
    assert!(matches!(why(open()), Unsigned::Bad { .. }));
    // One bit, though the TPM's ticket for the right one is at hand.
    let at = right.find("\"sig\":\"").unwrap() + 20;
    let changed = format!("{}{}{}", &right[..at], if &right[at..=at] == "A" { "B" } else { "A" }, &right[at + 1..]);
    given.sign(&[changed]);
    assert!(matches!(why(open()), Unsigned::Bad { .. }));
    given.sign(&[signer.sign(&swtpm, "sha256:7")]);
    assert!(matches!(why(open()), Unsigned::OtherPcrs { others, .. } if others == ["sha256:7"]));
    given.write(&signer::file("sha384", std::slice::from_ref(&right)));
    assert!(matches!(why(open()), Unsigned::OtherPcrs { others, .. } if others == ["sha384:11"]));
    given.write("[]");
    assert!(matches!(why(open()), Unsigned::File { .. }));
    fs::remove_file(given.file()).unwrap();
    assert!(matches!(why(open()), Unsigned::NoFile { .. }));

    given.sign(&[other.sign(&swtpm, "sha256:11"), signer.entry("sha256:11", &[7; 32]), right]);
    assert_eq!(open().expect("it opens, in whatever company"), mac);
}

#[test]
fn ecdsa_signatures_that_were_changed_do_not_open() {
    let (swtpm, signer, given) = (Swtpm::start(), Signer::ecdsa("P-256"), Given::new(None));
    let (root, seal) = sealed(&swtpm, &signer, "sha256:11", &given);
    let policy = signer::policy(&swtpm, "sha256:11");
    let right = signer.entry("sha256:11", &policy);
    let wrong = Signer::ecdsa("P-256").entry("sha256:11", &policy);
    let signature = |entry: &str| entry.split("\"sig\":\"").nth(1).unwrap().trim_end_matches("\"}").to_owned();
    given.sign(&[right.replace(&signature(&right), &signature(&wrong))]);
    assert!(matches!(why(use_and_export(&swtpm, &root, &seal, &given)), Unsigned::Bad { .. }));
    given.sign(&[right.replace(&signature(&right), "AAAA")]);
    assert!(matches!(why(use_and_export(&swtpm, &root, &seal, &given)), Unsigned::Bad { .. }));
}

#[test]
fn what_would_not_open_is_foreseen_and_a_key_that_the_tpm_does_not_take() {
    let (swtpm, signer, given) = (Swtpm::start(), Signer::rsa(), Given::new(None));
    let (mut device, _) = fresh(&swtpm, &given);
    let mut foresee = |signer: &Signer| {
        let bound = by(signer, "sha256:11");
        let seen = device.foresee(asked(&bound));
        assert_eq!(seen.is_ok(), given.file().exists() && fs::read_to_string(given.file()).unwrap().contains("right"));
        seen.err().map(|error| match error.fault {
            Fault::Unsigned(why) => *why,
            other => panic!("{other:?}"),
        })
    };
    assert!(matches!(foresee(&signer), Some(Unsigned::NoFile { .. })));
    given.sign(&[signer.entry("sha256:11", &[7; 32])]);
    assert!(matches!(foresee(&signer), Some(Unsigned::State { now, .. }) if now == [(11, "00".repeat(32))]));
    let policy = signer::policy(&swtpm, "sha256:11");
    let other = Signer::rsa();
    given.sign(&[other.entry("sha256:11", &policy).replace(other.fingerprint(), signer.fingerprint())]);
    assert!(matches!(foresee(&signer), Some(Unsigned::Bad { .. })));
    // swtpm takes RSA keys of 3072 bits at most.
    let large = Signer::of(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"]);
    given.sign(&[large.entry("sha256:11", &policy)]);
    assert!(matches!(foresee(&large), Some(Unsigned::KeyRefused { kind, .. }) if kind == "RSA 4096"));
    given.sign(&[signer.entry("sha256:11", &policy).replace('{', "{\"note\":\"right\",")]);
    assert_eq!(foresee(&signer), None);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
}

/// The minimum: those without PCRs, and PolicyPCR and PolicyAuthorize. The first time, four more look at the signature.
#[test]
fn a_cold_hmac_is_eight_commands_once_the_signature_is_known() {
    let known =
        [READ_PUBLIC, START_AUTH_SESSION, LOAD, POLICY_PCR, POLICY_AUTHORIZE, HMAC, FLUSH_CONTEXT, FLUSH_CONTEXT];
    let mut first = known.to_vec();
    first.splice(4..4, [POLICY_GET_DIGEST, LOAD_EXTERNAL, VERIFY_SIGNATURE, FLUSH_CONTEXT]);
    let (mut swtpm, signer, given) = (Swtpm::start(), Signer::rsa(), Given::new(None));
    let (root, seal) = sealed(&swtpm, &signer, "sha256:11", &given);
    fs::remove_file(given.tickets()).expect("it was kept when the seal was made");
    let cold = |proxy: &Proxy, times: usize| {
        proxy.forget();
        let mut device = again(&proxy.uri(), &root, &given);
        for _ in 0..times {
            hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
        }
        drop(device);
        proxy.commands()
    };
    let proxy = Proxy::start(&swtpm);
    assert_eq!(cold(&proxy, 1), first);
    assert_eq!(cold(&proxy, 1), known);
    assert_eq!(cold(&proxy, 3).len(), known.len() + 2 * 3, "the next are three");
    drop(proxy);
    swtpm.reboot();
    let proxy = Proxy::start(&swtpm);
    assert_eq!(cold(&proxy, 1), known, "the TPM's word survives a reset");

    // Nothing depends on it: one that is wrong, and one that can't be read, cost commands only.
    let tickets = fs::read_to_string(given.tickets()).expect("they are kept");
    let digest = tickets.split("\"digest\": \"").nth(1).unwrap().split('"').next().unwrap();
    fs::write(given.tickets(), tickets.replace(digest, "AAAA")).unwrap();
    let mut after_a_wrong_one = first.clone();
    after_a_wrong_one.insert(4, POLICY_AUTHORIZE);
    assert_eq!(cold(&proxy, 1), after_a_wrong_one);
    assert_eq!(cold(&proxy, 1), known, "the right one took its place");
    for odd in ["odd", &tickets.replace(digest, &"AAAA".repeat(30))] {
        fs::write(given.tickets(), odd).unwrap();
        assert_eq!(cold(&proxy, 1), first);
    }
}

#[test]
fn with_a_pin_two_commands_more() {
    let (swtpm, signer, given) = (Swtpm::start(), Signer::ecdsa("P-256"), Given::new(Some("1234")));
    let (root, seal) = sealed(&swtpm, &signer, "sha256:11", &given);
    // What is sealed was not used yet, but exported: the signature is known.
    let proxy = Proxy::start(&swtpm);
    let mut device = again(&proxy.uri(), &root, &given);
    hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    drop(device);
    let expected = [
        READ_PUBLIC,
        GET_CAPABILITY,
        START_AUTH_SESSION,
        LOAD,
        POLICY_PCR,
        POLICY_AUTHORIZE,
        POLICY_AUTH_VALUE,
        HMAC,
        FLUSH_CONTEXT,
        FLUSH_CONTEXT,
    ];
    assert_eq!(proxy.commands(), expected);
}

#[test]
fn another_tpms_ticket_is_no_ticket_and_a_cleared_one_says_so() {
    let (signer, given) = (Signer::rsa(), Given::new(None));
    let (one, two) = (Swtpm::start(), Swtpm::start());
    let first = sealed(&one, &signer, "sha256:11", &given);
    let second = sealed(&two, &signer, "sha256:11", &given);
    for _ in 0..2 {
        use_and_export(&one, &first.0, &first.1, &given).expect("it opens");
        use_and_export(&two, &second.0, &second.1, &given).expect("it opens");
    }
    assert_eq!(fs::read_to_string(given.tickets()).unwrap().matches("\"tpm\"").count(), 2);
    one.clear();
    assert!(matches!(
        fault(use_and_export(&one, &first.0, &first.1, &given)),
        Fault::Cleared(_) | Fault::NotThisDevice(_)
    ));
}

#[test]
fn states_that_change_while_it_is_loaded_are_noticed_and_signed_ones_served() {
    let (swtpm, signer, given) = (Swtpm::start(), Signer::rsa(), Given::new(None));
    let (root, seal) = sealed(&swtpm, &signer, "sha256:11", &given);
    let mut device = again(&swtpm.uri(), &root, &given);
    let mac = hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    extend(&swtpm, 11);
    assert!(matches!(why(hmac(device.as_mut(), &seal.use_part)), Unsigned::State { .. }));
    given.sign(&[signer.sign(&swtpm, "sha256:11")]);
    assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("an HMAC"), mac);
}

/// The object's own policy, next to what the TPM computes in a session of the tools, and to the Name that they give the key.
#[test]
fn policies_are_those_of_the_tools() {
    for (signer, kind, pin) in [(Signer::rsa(), "rsa", None), (Signer::ecdsa("P-256"), "ecc", Some("1234"))] {
        let (swtpm, given) = (Swtpm::start(), Given::new(pin));
        let (_, seal) = sealed(&swtpm, &signer, "sha256:11", &given);
        let public = signer.public();
        let key = ["-u", public.to_str().unwrap(), "-c", "key", "-n", "name"];
        swtpm.tool_ok(&[&["tpm2_loadexternal", "-Q", "-C", "o", "-G", kind][..], &key].concat());
        swtpm.flush();
        for (part, exports) in [(&seal.use_part.0, false), (&seal.export_part.0, true)] {
            swtpm.tool_ok(&["tpm2_startauthsession", "-S", "session"]);
            swtpm.tool_ok(&["tpm2_policypcr", "-Q", "-S", "session", "-l", "sha256:11", "-L", "pcr"]);
            swtpm.tool_ok(&["tpm2_policyauthorize", "-Q", "-S", "session", "-L", "digest", "-i", "pcr", "-n", "name"]);
            if pin.is_some() {
                swtpm.tool_ok(&["tpm2_policyauthvalue", "-S", "session", "-L", "digest"]);
            }
            if exports {
                swtpm.tool_ok(&["tpm2_policycommandcode", "-S", "session", "-L", "digest", "TPM2_CC_Duplicate"]);
            }
            swtpm.tool_ok(&["tpm2_flushcontext", "session"]);
            let digest = fs::read(swtpm.work_dir().join("digest")).unwrap();
            let sized = [&[0, 32][..], &digest].concat();
            assert!(part.blob.0.windows(34).any(|window| window == sized), "{kind}, {exports}");
        }
    }
}

#[test]
fn a_guard_that_was_changed_in_the_ring_is_damage() {
    let (swtpm, signer, given) = (Swtpm::start(), Signer::rsa(), Given::new(None));
    let (root, seal) = sealed(&swtpm, &signer, "sha256:11", &given);
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    let Guard::Signed { bound } = &seal.use_part.0.guard else { panic!("it is signed") };
    let mut other_key = bound.clone();
    other_key.key = PolicyKey::read(&Signer::ecdsa("P-256").public()).unwrap();
    for guard in [Guard::None {}, Guard::Signed { bound: other_key }] {
        let mut changed = seal.clone();
        changed.use_part.0.guard = guard;
        assert!(matches!(fault(hmac(device.as_mut(), &changed.use_part)), Fault::Damaged(_)));
    }
}
