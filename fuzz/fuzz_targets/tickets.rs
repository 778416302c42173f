//! What is remembered of signatures that a TPM has verified (`tickets.json` in the state directory).
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::device::fuzzing::tpm;

fuzz_target!(|text: &[u8]| {
    let Some(printed) = tpm::tickets(text) else { return };
    assert_eq!(tpm::tickets(&printed).as_ref(), Some(&printed), "parse and print are inverse");
});
