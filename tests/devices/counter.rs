//! The counter that shows when a log's end was cut off: on a TPM, and on no token.

use strongroom::device::{Counter, DeviceUri, Fault, Intent, Key, NoPin, Protection, Root, open};
use uuid::Uuid;

use crate::common::proxy::Proxy;
use crate::common::swtpm::Swtpm;
use crate::tpm::forge;

const SYSTEM: Uuid = Uuid::from_u128(7);
const OTHER: Uuid = Uuid::from_u128(8);

const NV_READ: u32 = 0x14e;

fn with_root() -> (Swtpm, Root) {
    let swtpm = Swtpm::start();
    let uri: DeviceUri = swtpm.uri().parse().expect("a device URI");
    let root = open(&uri, None, &NoPin).and_then(|mut device| device.provision(&Intent::random()));
    (swtpm, root.expect("it is provisioned"))
}

/// Runs `work` with the counter of the TPM at `uri`, and looks for what it left loaded.
fn counting<T>(swtpm: &Swtpm, root: &Root, work: impl FnOnce(&mut dyn Counter) -> T) -> T {
    let mut device = open(&swtpm.uri().parse().expect("a device URI"), Some(root), &NoPin).expect("it opens");
    let done = work(device.counter().expect("a TPM has one"));
    drop(device);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
    done
}

fn indices(swtpm: &Swtpm) -> usize {
    let listing = swtpm.tool_ok(&["tpm2_getcap", "handles-nv-index"]);
    String::from_utf8_lossy(&listing).lines().count()
}

#[test]
fn counts_up_by_one_and_remembers() {
    let (mut swtpm, root) = with_root();
    let first = counting(&swtpm, &root, |counter| {
        assert_eq!(counter.read(SYSTEM).unwrap(), None);
        let first = counter.make(SYSTEM).unwrap();
        assert_eq!(counter.read(SYSTEM).unwrap(), None, "it has not counted yet");
        counter.count_to(SYSTEM, first).unwrap();
        assert_eq!(counter.read(SYSTEM).unwrap(), Some(first));
        counter.count_to(SYSTEM, first).unwrap();
        assert_eq!(counter.read(SYSTEM).unwrap(), Some(first), "a call that is made again counts once");
        counter.count_to(SYSTEM, first + 1).unwrap();
        first
    });
    // A power cut right after it: each count is on the flash.
    swtpm.power_cycle();
    counting(&swtpm, &root, |counter| {
        assert_eq!(counter.read(SYSTEM).unwrap(), Some(first + 1));
        for value in [0, first, first + 3] {
            assert!(matches!(counter.count_to(SYSTEM, value).unwrap_err().fault, Fault::Failed(_)), "{value}");
        }
        assert_eq!(counter.read(SYSTEM).unwrap(), Some(first + 1));
    });
    assert_eq!(indices(&swtpm), 1, "what was made for a moment is gone");
}

#[test]
fn one_that_is_made_anew_begins_above_where_it_was() {
    let (swtpm, root) = with_root();
    counting(&swtpm, &root, |counter| {
        let first = counter.make(SYSTEM).unwrap();
        for value in first..first + 5 {
            counter.count_to(SYSTEM, value).unwrap();
        }
        let other = counter.make(OTHER).unwrap();
        counter.count_to(OTHER, other).unwrap();
        let again = counter.make(SYSTEM).unwrap();
        assert!(again > first + 4, "{again}");
        counter.count_to(SYSTEM, again).unwrap();
        assert_eq!(counter.read(OTHER).unwrap(), Some(other), "each system has its own");
    });
    assert_eq!(indices(&swtpm), 2);
}

#[test]
fn one_that_went_astray_counts_for_nothing() {
    let (swtpm, root) = with_root();
    counting(&swtpm, &root, |counter| {
        let first = counter.make(SYSTEM).unwrap();
        let other = counter.make(OTHER).unwrap();
        counter.count_to(OTHER, other).unwrap();
        assert!(matches!(counter.count_to(SYSTEM, first).unwrap_err().fault, Fault::Failed(_)));
        assert_eq!(counter.read(SYSTEM).unwrap(), None);
        let again = counter.make(SYSTEM).unwrap();
        counter.count_to(SYSTEM, again).unwrap();
    });
}

#[test]
fn an_owner_with_a_password_keeps_no_counter() {
    let (swtpm, root) = with_root();
    swtpm.tool_ok(&["tpm2_changeauth", "-c", "owner", "secret"]);
    let fault = counting(&swtpm, &root, |counter| counter.make(SYSTEM).unwrap_err().fault);
    let why = "no counter can be made: the TPM's owner hierarchy has a password";
    assert_eq!(fault, Fault::Failed(why.to_owned()));
}

#[test]
fn what_somebody_else_keeps_there_is_left_alone() {
    let (swtpm, root) = with_root();
    counting(&swtpm, &root, |counter| counter.make(SYSTEM).map(drop)).unwrap();
    let listing = swtpm.tool_ok(&["tpm2_getcap", "handles-nv-index"]);
    let index = String::from_utf8(listing).unwrap().trim_start_matches("- ").trim().to_owned();
    swtpm.tool_ok(&["tpm2_nvundefine", &index]);
    swtpm.tool_ok(&["tpm2_nvdefine", "--attributes", "authread|authwrite|no_da|nt=counter", "--size", "8", &index]);
    counting(&swtpm, &root, |counter| {
        assert_eq!(counter.read(SYSTEM).unwrap(), None, "ours is not there");
        for failed in [counter.make(SYSTEM).map(drop), counter.count_to(SYSTEM, 1)] {
            let fault = failed.unwrap_err().fault;
            assert!(matches!(&fault, Fault::Failed(why) if why.contains("somebody else's")), "{fault:?}");
        }
    });
    assert_eq!(indices(&swtpm), 1);
}

/// Whoever sits on the bus can't set an answer back.
#[test]
fn a_value_that_was_changed_on_the_way_is_refused() {
    let (swtpm, root) = with_root();
    let first = counting(&swtpm, &root, |counter| {
        let first = counter.make(SYSTEM).unwrap();
        counter.count_to(SYSTEM, first).unwrap();
        first
    });
    let changing = |change: fn(&[u8], &mut [u8])| {
        let ports = forge(&swtpm, change);
        let uri: DeviceUri = format!("tpm:{}", ports.tcti()).parse().expect("a device URI");
        let mut device = open(&uri, Some(&root), &NoPin).expect("it opens");
        device.counter().expect("a TPM has one").read(SYSTEM)
    };
    assert_eq!(changing(|_, _| ()).unwrap(), Some(first), "unchanged, it passes");
    // A response: tag, length, code, length of the parameters, then the buffer's own length and its eight bytes.
    let refused = changing(|asked, answered| {
        if asked[6..10] == NV_READ.to_be_bytes() {
            answered[23] ^= 1;
        }
    });
    assert!(refused.is_err());
}

/// A key that is derived costs what it did.
#[test]
fn daily_use_does_not_count() {
    let (swtpm, root) = with_root();
    let proxy = Proxy::start(&swtpm);
    let mut device = open(&proxy.uri().parse().expect("a device URI"), Some(&root), &NoPin).expect("it opens");
    let seal = device.generate(Protection::NONE, &[7; 32]).expect("it makes a secret");
    device.hmac(Key::Sealed(&seal.use_part), b"message").expect("an HMAC");
    drop(device);
    let nv = [0x12a, 0x122, 0x134, 0x14e, 0x169];
    assert!(proxy.commands().iter().all(|command| !nv.contains(command)));
}
