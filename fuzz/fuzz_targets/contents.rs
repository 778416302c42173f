//! What is inside a backup: JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::backup::Contents;
use strongroom::text::escaped;

fuzz_target!(|plain: &[u8]| {
    match Contents::parse(plain) {
        Err(error) => {
            let said = error.to_string();
            assert_eq!(escaped(&said), said, "no text out of the file is repeated as it is");
        }
        Ok(contents) => {
            let printed = contents.print();
            let again = Contents::parse(&printed).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(*again.print(), *printed);
            assert!(contents.entry(contents.active).is_some());
            // Damage is found, not met by a panic.
            let _ = contents.check_ids_on_host();
        }
    }
});
