//! What a token says of itself (CK_TOKEN_INFO): its name, its counters, and the URI under which it is offered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::device::DeviceUri;
use strongroom::device::fuzzing::pkcs11::{TokenInfo, token};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let mut told = TokenInfo {
        label: [b' '; 32],
        manufacturer: [b' '; 32],
        model: [b' '; 16],
        serial: [b' '; 16],
        flags: 0,
        slot: 0,
    };
    let mut numbers = [0; 16];
    for field in [&mut told.label[..], &mut told.manufacturer, &mut told.model, &mut told.serial, &mut numbers] {
        let Some((taken, left)) = rest.split_at_checked(field.len()) else { return };
        field.copy_from_slice(taken);
        rest = left;
    }
    let number = |at: usize| u64::from_le_bytes(numbers[at..at + 8].try_into().expect("eight bytes"));
    (told.flags, told.slot) = (number(0), number(8));
    let Some(token) = token(&told, "somehsm") else { return };
    for field in [&token.identity.label, &token.identity.manufacturer, &token.identity.model, &token.identity.serial] {
        assert_eq!(field.trim_matches([' ', '\0']), field);
    }
    assert!(token.tries.left.is_none_or(|left| left <= 1) && !token.name.is_empty());
    let uri: DeviceUri = token.uri.parse().unwrap_or_else(|error| panic!("{}: {error}", token.uri));
    assert_eq!(uri.to_string(), token.uri, "a token is offered under a URI that names it");
});
