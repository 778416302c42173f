//! A wrapped secret (RFC 3394, RFC 5649): a KEK, a secret, and a blob from anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::secret::{KEY_BYTES, Kek, MasterSecret, SecretBytes};
use strongroom::wrap::{WrapAlgorithm, WrappedSecret};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = serde_json::from_slice::<WrappedSecret>(bytes) {
        let again = serde_json::to_vec(&read).expect("it is text");
        assert_eq!(serde_json::from_slice::<WrappedSecret>(&again).ok(), Some(read));
    }
    let Some((kek, rest)) = bytes.split_at_checked(KEY_BYTES) else { return };
    let kek = Kek::new(SecretBytes::copy_of(kek));
    for algorithm in WrapAlgorithm::ALL {
        if let Some((secret, _)) = rest.split_at_checked(KEY_BYTES) {
            let secret_bytes = MasterSecret::new(SecretBytes::copy_of(secret));
            let wrapped = WrappedSecret::wrap_as(algorithm, &secret_bytes, &kek);
            let opened = wrapped.unwrap(&kek).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(opened.expose_secret(), secret);
            // The blob that comes from outside is this one, changed by what follows.
            let mut changed = wrapped.clone();
            for (byte, change) in changed.wrapped.0.iter_mut().zip(&rest[KEY_BYTES..]) {
                *byte ^= change;
            }
            assert_eq!(changed.unwrap(&kek).is_ok(), changed == wrapped, "every byte is authenticated");
        }
        if let Ok(foreign) = WrappedSecret::of(algorithm, rest)
            && let Ok(secret) = foreign.unwrap(&kek)
        {
            assert_eq!(WrappedSecret::wrap_as(algorithm, &secret, &kek), foreign);
        }
    }
});
