//! A backup file, from the disk: its preamble, its armor, the age header's bounds, and what is inside. It opens for one
//! passphrase, and only where scrypt costs next to nothing, so that the work does not eat up the time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::backup;
use strongroom::passphrase::normalized;
use strongroom::text::escaped;

const PASSPHRASE: &[u8] = b"throw-away granite teapot orbit";
const CHEAP: u8 = 4;

fuzz_target!(|file: &[u8]| {
    let Ok(preamble) = backup::look(file) else { return };
    assert!(backup::WORK_FACTORS.end() >= &preamble.work_factor);
    for line in preamble.hint().into_iter().chain(preamble.summary()) {
        assert_eq!(escaped(line), line, "fit for a terminal");
    }
    if preamble.work_factor > CHEAP {
        return;
    }
    let passphrase = normalized(PASSPHRASE).expect("it is text");
    if let Ok((contents, agrees)) = backup::open(file, &passphrase) {
        contents.check_ids_on_host().expect("what opens is what was sealed");
        let again = backup::seal(&contents, &passphrase, 1).expect("what fitted still fits");
        let (read, told) = backup::open(&again, &passphrase).unwrap_or_else(|error| panic!("{error}"));
        assert!(told, "a preamble agrees with what it was made of");
        assert_eq!(*read.print(), *contents.print());
        assert!(agrees || file != again);
    }
});
