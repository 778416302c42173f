//! Signatures of PCR states, in systemd's format; and each as it is told to a TPM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::device::fuzzing::tpm;
use strongroom::device::{PcrSignatures, PolicyKey};

const KEYS: [&str; 2] = [include_str!("../seeds/policy_key/rsa.pem"), include_str!("../seeds/policy_key/p256.pem")];

fuzz_target!(|text: &[u8]| {
    let Ok(signatures) = PcrSignatures::parse(text) else { return };
    for one in &signatures.0 {
        assert!(one.pcrs.numbers().next().is_some() && !one.signature.is_empty());
        for key in KEYS {
            let key = PolicyKey::from_pem(key.as_bytes()).expect("a key");
            if let Some(length) = tpm::policy_signature(&key, &one.signature) {
                assert!(length <= 256, "no longer than an RSA key of 2048 bits, or two coordinates");
            }
        }
    }
});
