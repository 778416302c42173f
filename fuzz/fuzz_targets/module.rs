//! p11-kit's module configurations.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::device::fuzzing::pkcs11::module_line;

fuzz_target!(|configuration: &str| {
    if let Some(file) = module_line(configuration) {
        assert!(!file.is_empty() && file.trim() == file && !file.contains('\n'));
        assert!(configuration.contains(file));
        assert_eq!(module_line(&format!("{configuration}\nmodule: {file}")), Some(file), "the last line counts");
    }
    assert_eq!(module_line(&format!("{configuration}\nmodule: x.so")), Some("x.so"));
});
