//! A TPM's seal out of a ring, a storage root key's public area, and the creation data that TPM2_Create gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::bytes::Hex;
use strongroom::device::fuzzing::tpm;
use strongroom::device::{Guard, PcrState, PolicyKey, Root, SignedPcrs};

const KEY: &str = include_str!("../seeds/policy_key/p256.pem");

fuzz_target!(|bytes: &[u8]| {
    let bound = PcrState { pcrs: "7".parse().expect("PCRs"), values: vec!["00".repeat(32)] };
    let key = PolicyKey::from_pem(KEY.as_bytes()).expect("a key");
    let signed = Guard::Signed { bound: SignedPcrs { pcrs: "11".parse().expect("PCRs"), key } };
    for guard in [Guard::None {}, Guard::Pin { salt: Hex([7; 32]) }, Guard::Pcrs { bound }, signed] {
        if let Some(part) = tpm::part(bytes, guard) {
            assert_eq!(part.blob.0, bytes, "read and written unchanged");
        }
    }
    if let Some(Root::Tpm { public, .. }) = tpm::storage_root(bytes) {
        assert_eq!(&public.0[2..], bytes);
    }
    if let Some((lengths, [fill, ..])) = bytes.split_first_chunk::<8>() {
        let length = |at: usize| u16::from_be_bytes([lengths[at], lengths[at + 1]]);
        let lengths = [length(0), length(2), length(4), length(6)];
        if let Some(data) = tpm::creation_data(lengths, *fill) {
            // TPML_PCR_SELECTION's count, four lengths, the locality, parentNameAlg.
            let fixed = 4 + 4 * 2 + 1 + 2;
            assert_eq!(data.len(), fixed + lengths.map(usize::from).iter().sum::<usize>());
        }
    }
});
