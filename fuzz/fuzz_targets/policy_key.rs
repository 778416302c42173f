//! A key that signs PCR states: a PEM file, and its DER as a ring has it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::device::PolicyKey;
use strongroom::device::fuzzing::tpm;

fuzz_target!(|bytes: &[u8]| {
    for key in [PolicyKey::from_pem(bytes), PolicyKey::from_der(bytes)].into_iter().flatten() {
        let text = serde_json::to_string(&key).expect("a key is printed");
        assert_eq!(serde_json::from_str::<PolicyKey>(&text).ok().as_ref(), Some(&key), "print and parse are inverse");
        assert!(tpm::policy_key_name(&key).is_some_and(|name| name.len() == 34), "a TPM can be told of it");
    }
    if let Ok(key) = PolicyKey::from_der(bytes) {
        let text = serde_json::to_string(&key).expect("a key is printed");
        assert_eq!(strongroom::bytes::base64(bytes), text.trim_matches('"'), "read and written unchanged");
    }
});
