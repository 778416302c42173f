//! A TPM that is busy, forgets, locks, fails, or is not heard; and a bus that changes what passes.

use strongroom::device::{Intent, NoPin, Protection, Root, Seal};

use crate::common::meddler::{Act, Meddler, RETRY};
use crate::common::swtpm::Swtpm;
use crate::{hmac, pin, pinned};

const LOAD: u32 = 0x157;

/// A TPM with a root, and a seal in it that `guard` guards (none: nothing).
fn with_seal(guard: Option<&str>) -> (Swtpm, Root, Seal) {
    let swtpm = Swtpm::start();
    let uri = swtpm.uri().parse().expect("a device URI");
    let mut device = strongroom::device::open(&uri, None, &NoPin).expect("it opens");
    let root = device.provision(&Intent::random()).expect("it is provisioned");
    let guard = guard.map(pin);
    let protection = guard.as_ref().map_or(Protection::None, Protection::Pin);
    let seal = device.generate(protection, &[7; 32]).expect("it makes a secret");
    drop(device);
    (swtpm, root, seal)
}

/// The library sends a command again by itself: one busy moment is not even seen.
#[test]
fn a_tpm_that_says_retry_once_is_asked_again() {
    let (swtpm, root, seal) = with_seal(None);
    let bus = Meddler::start(&swtpm, |command| match (command.code, command.nth_of_code) {
        (LOAD, 1) => Act::Answer(RETRY),
        _ => Act::Pass,
    });
    hmac(pinned(&bus.uri(), &root, &NoPin).as_mut(), &seal.use_part).expect("an HMAC");
    assert_eq!(bus.count(LOAD), 2);
    drop(bus);
    assert_eq!(swtpm.loaded(), Vec::<String>::new());
}
