//! What TPM2_Duplicate gives, its inner wrapper off: as it comes, and with the right hash in front of it, without which
//! nothing behind it would ever be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use strongroom::device::fuzzing::tpm;

const NAME: &[u8] = b"\x00\x0bthe Name";
/// The public area (TPMT_PUBLIC) of an HMAC key up to its last field, `unique`.
const AREA: &[u8] = b"\x00\x08\x00\x0b\x00\x04\x04\xa0\x00\x00\x00\x05\x00\x0b\x00\x20";

fuzz_target!(|bytes: &[u8]| {
    // The seed and the secret that the public area commits to; the rest is the sensitive area.
    let Some((committed, sensitive)) = bytes.split_at_checked(64) else { return };
    let area = [AREA, Sha256::digest(committed).as_slice()].concat();
    assert!(tpm::duplicated(sensitive, NAME, &area).is_none(), "a hash that nobody made");
    let integrity = Sha256::new().chain_update(sensitive).chain_update(NAME).finalize();
    let blob = [&[0, 32][..], &integrity, sensitive].concat();
    if let Some(secret) = tpm::duplicated(&blob, NAME, &area) {
        assert_eq!(secret.expose_secret(), &committed[32..]);
        assert!(tpm::duplicated(&blob, b"\x00\x0bother", &area).is_none());
        assert!(tpm::duplicated(&[&blob[..], &[0]].concat(), NAME, &area).is_none());
    }
});
