//! What the child process that looks at a PKCS#11 module prints: JSON, after code of somebody else's ran there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::device::Candidate;

fuzz_target!(|text: &[u8]| {
    let Ok(candidates) = serde_json::from_slice::<Vec<Candidate>>(text) else { return };
    let printed = serde_json::to_vec(&candidates).expect("they have no keys that JSON can't write");
    assert_eq!(serde_json::from_slice::<Vec<Candidate>>(&printed).ok().as_ref(), Some(&candidates));
    for description in candidates.iter().filter_map(|candidate| candidate.description.as_ref().ok()) {
        assert!(!description.name().is_empty());
    }
});
