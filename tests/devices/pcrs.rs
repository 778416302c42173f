//! Seals that are bound to PCRs: what opens them, what does not, what it costs, and that the policies are those of the TPM
//! tools.

use strongroom::device::{Bound, BoundTo, Fault, Guard, Intent, Key, Kind, NoPin, Protection, Root, Seal, open};
use strongroom::secret::Kek;

use crate::common::proxy::Proxy;
use crate::common::swtpm::Swtpm;
use crate::suite;
use crate::tpm::{
    FLUSH_CONTEXT, GET_CAPABILITY, HMAC, LOAD, Pins, READ_PUBLIC, START_AUTH_SESSION, again, failures, fault, forge,
    fresh, hmac, pin, uri,
};

const PCR_READ: u32 = 0x17e;
pub const POLICY_PCR: u32 = 0x17f;
pub const POLICY_AUTH_VALUE: u32 = 0x16b;

/// A TPM, and a seal in it that is bound to `pcrs`, and has the PIN.
fn bound(pcrs: &str, guard: Option<&str>) -> (Swtpm, Root, Seal) {
    let swtpm = Swtpm::start();
    let (mut device, root) = fresh(&swtpm, &NoPin);
    let (guard, pcrs) = (guard.map(pin), now(pcrs));
    let protection = Protection { pin: guard.as_ref(), bound: Some(&pcrs) };
    let seal = device.generate(protection, &[7; 32]).expect("it makes a secret");
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
    (swtpm, root, seal)
}

/// To be bound to what these hold.
fn now(pcrs: &str) -> BoundTo {
    BoundTo::State(pcrs.parse().expect("PCRs"))
}

/// What a boot would do: extends a PCR of the SHA-256 bank.
pub fn extend(swtpm: &Swtpm, number: u8) {
    swtpm.tool_ok(&["tpm2_pcrextend", &format!("{number}:sha256={}", "ab".repeat(32))]);
}

#[test]
fn the_same_state_opens_it_and_another_does_not() {
    let (mut swtpm, root, seal) = bound("sha256:7+14", None);
    let kek = Kek::random();
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    let mac = hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("the policy is satisfied anew"), mac);
    let wrapped = device.export(&seal.export_part, &kek).expect("it exports");
    assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("an HMAC"), mac);
    drop(device);

    // One that it is not bound to.
    extend(&swtpm, 8);
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("an HMAC"), mac);
    drop(device);

    extend(&swtpm, 14);
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    let used = fault(hmac(device.as_mut(), &seal.use_part));
    let exported = fault(device.export(&seal.export_part, &kek));
    assert_eq!(used, exported);
    let Fault::PcrsChanged(changes) = used else { panic!("{used:?}") };
    assert_eq!((changes.len(), changes[0].number), (1, 14), "PCR 7 is as it was");
    assert_eq!(changes[0].sealed, "00".repeat(32));
    let shown = String::from_utf8(swtpm.tool_ok(&["tpm2_pcrread", "sha256:14"])).unwrap().to_lowercase();
    assert!(shown.contains(&changes[0].now), "{shown}, {changes:?}");
    // What was exported before is sealed for how it is now.
    let pcrs = now("7+14");
    let anew = device.import(&wrapped, &kek, Protection { pin: None, bound: Some(&pcrs) }).expect("it takes it in");
    assert_eq!(hmac(device.as_mut(), &anew.use_part).expect("an HMAC"), mac);
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());

    // A reboot brings the old state back, and nothing was spoilt.
    swtpm.reboot();
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    assert_eq!(hmac(device.as_mut(), &seal.use_part).expect("an HMAC"), mac);
    assert!(matches!(fault(hmac(device.as_mut(), &anew.use_part)), Fault::PcrsChanged(_)));
}

#[test]
fn pcrs_that_change_while_it_is_loaded_are_noticed() {
    let (swtpm, root, seal) = bound("7", None);
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    // The simulator takes one client at a time, and a connection for each command: between two, another gets in.
    extend(&swtpm, 7);
    assert!(matches!(fault(hmac(device.as_mut(), &seal.use_part)), Fault::PcrsChanged(changes) if changes.len() == 1));
}

#[test]
fn with_a_pin_both_are_asked_for() {
    let (swtpm, root, seal) = bound("7", Some("1234"));
    assert!(matches!(&seal.use_part.0.guard, Guard::PcrsPin { .. }));
    let pins = Pins::with("1234");
    let mut device = again(&swtpm.uri(), &root, &pins);
    let mac = hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    let kek = Kek::random();
    device.export(&seal.export_part, &kek).expect("it exports");
    assert_eq!((hmac(device.as_mut(), &seal.use_part).expect("an HMAC"), pins.asked.get()), (mac, 1));
    drop(device);

    let wrong = Pins::with("4321");
    let mut device = again(&swtpm.uri(), &root, &wrong);
    assert_eq!(fault(hmac(device.as_mut(), &seal.use_part)), Fault::WrongPin { tries_left: Some(2) });
    drop(device);
    extend(&swtpm, 7);
    let mut device = again(&swtpm.uri(), &root, &pins);
    assert!(matches!(fault(hmac(device.as_mut(), &seal.use_part)), Fault::PcrsChanged(_)));
    drop(device);
    assert_eq!((swtpm.loaded(), failures(&swtpm)), (Vec::new(), "1".to_owned()), "the PCRs burn no try");
}

/// The minimum (see the table of the policies): one command more than without PCRs, two with a PIN, and for the counters.
#[test]
fn a_cold_hmac_is_seven_commands() {
    let cold = [READ_PUBLIC, START_AUTH_SESSION, LOAD, POLICY_PCR, HMAC, FLUSH_CONTEXT, FLUSH_CONTEXT];
    let (swtpm, root, seal) = bound("7", None);
    let proxy = Proxy::start(&swtpm);
    let mut device = again(&proxy.uri(), &root, &NoPin);
    hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    drop(device);
    assert_eq!(proxy.commands(), cold);
    proxy.forget();
    let mut device = again(&proxy.uri(), &root, &NoPin);
    for _ in 0..3 {
        hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    }
    drop(device);
    assert_eq!(proxy.commands().len(), cold.len() + 2 * 2, "the next are two");

    let (swtpm, root, seal) = bound("7", Some("1234"));
    let proxy = Proxy::start(&swtpm);
    let pins = Pins::with("1234");
    let mut device = again(&proxy.uri(), &root, &pins);
    hmac(device.as_mut(), &seal.use_part).expect("an HMAC");
    drop(device);
    let mut with_pin = cold.to_vec();
    with_pin.insert(1, GET_CAPABILITY);
    with_pin.insert(5, POLICY_AUTH_VALUE);
    assert_eq!(proxy.commands(), with_pin);
}

#[test]
fn nothing_secret_is_on_the_bus() {
    let swtpm = Swtpm::start();
    let proxy = Proxy::start(&swtpm);
    let pins = Pins::with("a PIN of some length");
    let mut device = open(&uri(&proxy.uri()), None, &pins).expect("it opens");
    device.provision(&Intent::random()).expect("it is provisioned");
    let (guard, pcrs) = (pin(&pins.pin.borrow()), now("7"));
    for pin in [None, Some(&guard)] {
        let seal = device.generate(Protection { pin, bound: Some(&pcrs) }, &[7; 32]).expect("it makes a secret");
        let kek = Kek::random();
        let wrapped = device.export(&seal.export_part, &kek).expect("it exports");
        let mac = device.hmac(Key::Sealed(&seal.use_part), b"the message, a label").expect("an HMAC");
        let secret = wrapped.unwrap(&kek).expect("it unwraps");
        for (secret, what) in [
            (secret.expose_secret(), "the secret"),
            (guard.expose_secret(), "the PIN"),
            (mac.expose_secret(), "the HMAC"),
            (b"the message, a label", "the message"),
        ] {
            assert!(!proxy.contains(secret), "{what} was on the bus");
        }
        let blob = &seal.use_part.0.blob.0;
        let public = 2 + usize::from(u16::from_be_bytes([blob[0], blob[1]]));
        assert!(proxy.contains(&blob[..public]), "what is public was");
    }
}

/// More than TPM2_PCR_Read gives at a time, and a bank of another size.
#[test]
fn all_of_them_and_other_banks() {
    for pcrs in ["0+1+2+3+4+5+6+7+8+9+10+11+12+13+14+15+16+17+18+19+20+21+22+23", "sha384:0+7", "sha512:7+23"] {
        let (swtpm, root, seal) = bound(pcrs, None);
        let mut device = again(&swtpm.uri(), &root, &NoPin);
        hmac(device.as_mut(), &seal.use_part).unwrap_or_else(|error| panic!("{pcrs}: {error}"));
        let Some(Bound::State(bound)) = seal.use_part.0.guard.bound() else { panic!("it is bound") };
        drop(device);
        let shown = String::from_utf8(swtpm.tool_ok(&["tpm2_pcrread", &bound.pcrs.to_string().replace('+', ",")]));
        let shown = shown.unwrap().to_lowercase();
        let values: Vec<&str> =
            shown.lines().filter_map(|line| line.split_once("0x")).map(|(_, hex)| hex.trim()).collect();
        assert_eq!(values, bound.values, "{pcrs}");
    }
}

/// The object's own policy, next to what the TPM computes in a trial session of the tools.
#[test]
fn policies_are_those_of_the_tools() {
    for (pcrs, guard) in [("sha256:7", None), ("sha256:0+7+14", Some("1234")), ("sha384:7", None)] {
        let (swtpm, _, seal) = bound(pcrs, guard);
        for (part, exports) in [(&seal.use_part.0, false), (&seal.export_part.0, true)] {
            swtpm.tool_ok(&["tpm2_startauthsession", "-S", "session"]);
            swtpm.tool_ok(&["tpm2_policypcr", "-S", "session", "-l", &pcrs.replace('+', ","), "-L", "digest"]);
            if guard.is_some() {
                swtpm.tool_ok(&["tpm2_policyauthvalue", "-S", "session", "-L", "digest"]);
            }
            if exports {
                swtpm.tool_ok(&["tpm2_policycommandcode", "-S", "session", "-L", "digest", "TPM2_CC_Duplicate"]);
            }
            swtpm.tool_ok(&["tpm2_flushcontext", "session"]);
            let digest = std::fs::read(swtpm.work_dir().join("digest")).unwrap();
            let mut sized = vec![0, 32];
            sized.extend(&digest);
            assert!(part.blob.0.windows(34).any(|window| window == sized), "{pcrs}, {exports}");
        }
    }
}

#[test]
fn a_guard_that_was_changed_in_the_ring_is_damage() {
    let (swtpm, root, seal) = bound("7", None);
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    let mut unbound = seal.clone();
    unbound.use_part.0.guard = Guard::None {};
    assert!(matches!(fault(hmac(device.as_mut(), &unbound.use_part)), Fault::Damaged(_)));
    let mut other = seal.clone();
    let Guard::Pcrs { bound } = &mut other.use_part.0.guard else { panic!("it is bound") };
    bound.values[0] = "11".repeat(32);
    assert!(matches!(fault(hmac(device.as_mut(), &other.use_part)), Fault::Damaged(_)));
    suite::answers(device.as_mut(), &seal.use_part);
}

/// Who sits on the bus can't say which state a seal is bound to: what is read comes with an HMAC.
#[test]
fn a_forged_reading_is_noticed() {
    let swtpm = Swtpm::start();
    let root = fresh(&swtpm, &NoPin).1;
    let forger = forge(&swtpm, |command, answer| {
        // TPM2_PCR_Read. Header (10), length (4), counter (4), selection (10), count (4), length (2): a byte of the digest.
        if command[6..10] == PCR_READ.to_be_bytes() {
            answer[34] ^= 1;
        }
    });
    let pcrs = now("7");
    let mut device = again(&format!("tpm:{}", forger.tcti()), &root, &NoPin);
    let forged = device.generate(Protection { pin: None, bound: Some(&pcrs) }, &[7; 32]);
    assert!(fault(forged).to_string().contains("changed on its way"));
    drop(device);
    let mut device = again(&swtpm.uri(), &root, &NoPin);
    device.generate(Protection { pin: None, bound: Some(&pcrs) }, &[7; 32]).expect("it makes a secret");
}

#[test]
fn the_description_tells_the_banks() {
    let swtpm = Swtpm::start();
    let (mut device, _) = fresh(&swtpm, &NoPin);
    let description = device.describe().expect("it describes itself");
    assert_eq!(description.kind, Kind::Tpm);
    assert_eq!(description.pcr_banks, ["sha256", "sha384", "sha512"]);
}

/// The PCRs of another TPM say nothing of what this one has sealed: which TPM it is comes first.
#[test]
fn another_tpms_pcrs_are_not_looked_at() {
    let (_swtpm, root, seal) = bound("7", None);
    let other = Swtpm::start();
    drop(fresh(&other, &NoPin));
    extend(&other, 7);
    let proxy = Proxy::start(&other);
    let guard = &seal.use_part.0.guard;
    let foreseen = again(&proxy.uri(), &root, &NoPin).foresee(guard.bound().expect("PCRs"));
    assert!(matches!(fault(foreseen), Fault::NotThisDevice(_)));
    assert!(!proxy.commands().contains(&PCR_READ));
}
