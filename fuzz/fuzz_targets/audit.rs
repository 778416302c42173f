//! The audit log (`audit.log` in the state directory).
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::audit::chain::End;
use strongroom::audit::verify::{Counted, Keys, Reading, judge};
use strongroom::audit::{Chain, Entry};

fuzz_target!(|text: &[u8]| {
    for line in text.split(|byte| *byte == b'\n') {
        if let Ok(entry) = Entry::parse(line) {
            assert_eq!(entry.print(), line, "parse and print are inverse");
        }
    }
    let chain = Chain::read(text);
    let numbers: Vec<u64> = chain.links.iter().map(|link| link.entry.n).collect();
    assert!(numbers.iter().copied().eq(1..=chain.last()), "whatever is believed is counted from 1");
    let reading = Reading { device: "tpm1".to_owned(), fingerprint: "x".to_owned(), counted: Counted::Value(1) };
    let findings = judge(&chain, &Keys::new(), &[reading]);
    assert!(findings.vouched.is_none() && findings.broken.is_some(), "nobody vouches, and what was counted is missing");

    // Whatever lies there, what is added after it follows it.
    let Some(end) = End::of(0, text) else { return };
    let Some(mut next) = chain.links.last().map(|link| link.entry.clone()) else { return };
    (next.n, next.previous, next.counter, next.vouched, next.tag) =
        (end.n.saturating_add(1), end.previous, None, None, None);
    next.of = None;
    let mut longer = text.to_vec();
    if end.torn {
        longer.push(b'\n');
    }
    longer.extend(next.print());
    longer.push(b'\n');
    let after = Chain::read(&longer);
    assert!(after.last() >= chain.last(), "nothing is lost");
    if chain.broken.is_none() && Entry::parse(&next.print()).is_ok() {
        assert_eq!((after.last(), after.broken), (chain.last() + 1, None));
    }
});
