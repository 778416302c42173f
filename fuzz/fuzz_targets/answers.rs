//! Response codes of a TPM and return values of a module: whatever the number, it is kept and has a name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::device::fuzzing::{pkcs11, tpm};

fuzz_target!(|codes: (u32, u64)| {
    let (response, value) = codes;
    let code = tpm::answer(response).code.expect("the TPM's own code is kept");
    assert_eq!(code.value, u64::from(response));
    assert!(!code.name.is_empty());
    if let Some(error) = pkcs11::answer(value) {
        let code = error.code.expect("the module's own code is kept");
        assert_eq!(code.value, value);
        assert!(!code.name.is_empty());
    }
});
