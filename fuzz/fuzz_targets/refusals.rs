//! What is remembered of refused PINs (`refused.json` in the state directory).
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::refusals::Refusals;

fuzz_target!(|text: &[u8]| {
    let Some(refusals) = Refusals::parse(text) else { return };
    assert_eq!(Refusals::parse(&refusals.print()).as_ref(), Some(&refusals), "parse and print are inverse");
    let mut forgotten = refusals.clone();
    let count = refusals.of_device("a").count();
    assert_eq!((forgotten.forget("a"), forgotten.of_device("a").count()), (count, 0));
});
