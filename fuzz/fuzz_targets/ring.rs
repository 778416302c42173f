//! The ring, from the state directory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::ring::{Ring, State};

fuzz_target!(|text: &[u8]| {
    let Ok(ring) = Ring::parse(text) else { return };
    let printed = ring.print();
    assert_eq!(Ring::parse(&printed).as_ref(), Ok(&ring), "parse and print are inverse");
    let count = |state| ring.generations.iter().filter(|generation| generation.state == state).count();
    assert!(count(State::Active) <= 1 && count(State::Pending) <= 1);
    assert_eq!(ring.usable().count() + count(State::Pending), ring.generations.len());
    for generation in &ring.generations {
        assert!(generation.number <= ring.last_number);
        assert_eq!(ring.by_id(generation.id), ring.generation(generation.number));
    }
    for device in &ring.devices {
        let _ = (ring.asks_for_pin(&device.id), device.root().map(|root| root.fingerprint()));
    }
    if let Ok(next) = ring.next_number() {
        assert!(ring.generation(next).is_none(), "a number is never used twice");
    }
});
