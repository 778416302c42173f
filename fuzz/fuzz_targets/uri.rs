//! A device's URI, from an argument or a ring. Each `$` stands for a PIN that went astray.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::device::DeviceUri;

const PIN: &str = "Pin9876";

fuzz_target!(|text: &str| {
    let text = text.replace('$', PIN);
    match text.parse::<DeviceUri>() {
        Ok(uri) => {
            let printed = uri.to_string();
            assert_eq!(printed.parse::<DeviceUri>().as_ref(), Ok(&uri), "parse and print are inverse");
            let json = serde_json::to_vec(&uri).expect("a URI is text");
            assert_eq!(serde_json::from_slice::<DeviceUri>(&json).ok(), Some(uri));
        }
        Err(error) => assert!(!text.starts_with("pkcs11:") || !error.to_string().contains(PIN), "{error}"),
    }
});
