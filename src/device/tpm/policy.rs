//! What guards an object: policy digests and auth values, computed on the host, so that no trial session is needed.

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::bytes::Hex;
use crate::device::{Guard, Protection};
use crate::secret::{Pin, SecretBytes, random_array};

const CC_DUPLICATE: u32 = 0x14b;
const CC_POLICY_AUTH_VALUE: u32 = 0x16b;
const CC_POLICY_COMMAND_CODE: u32 = 0x16c;

/// Whether a guard asks for a PIN at export, and so PolicyAuthValue comes before PolicyCommandCode(Duplicate).
pub fn asks_for_pin(guard: &Guard) -> bool {
    matches!(guard, Guard::Pin { .. })
}

/// The authPolicy of an export part: PolicyAuthValue where a PIN guards it, then PolicyCommandCode(TPM2_Duplicate).
///
/// TPM 2.0 Part 1, section 19.7: each assertion replaces the digest by SHA256(digest || command code || arguments).
pub fn export_policy(with_pin: bool) -> [u8; 32] {
    let mut digest = [0; 32];
    if with_pin {
        digest = extend(digest, &[CC_POLICY_AUTH_VALUE]);
    }
    extend(digest, &[CC_POLICY_COMMAND_CODE, CC_DUPLICATE])
}

fn extend(digest: [u8; 32], words: &[u32]) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update(digest);
    for word in words {
        hash.update(word.to_be_bytes());
    }
    hash.finalize().into()
}

/// A fresh guard for one part, and the auth value that goes with it. Each part has a salt of its own.
pub fn new_guard(protection: Protection<'_>) -> (Guard, SecretBytes) {
    match protection {
        Protection::None => (Guard::None {}, SecretBytes::zeroed(0)),
        Protection::Pin(pin) => {
            let salt = Hex(random_array());
            let auth = auth_value(&salt, pin);
            (Guard::Pin { salt }, auth)
        }
    }
}

/// HMAC-SHA-256(salt, PIN) without trailing zero bytes, which a TPM drops too (TPM 2.0 Part 1, section 19.6.5).
pub fn auth_value(salt: &Hex<32>, pin: &Pin) -> SecretBytes {
    let mut hmac = <Hmac<Sha256>>::new_from_slice(&salt.0).expect("HMAC takes keys of any length");
    hmac.update(pin.expose_secret());
    let mut output = hmac.finalize().into_bytes();
    let mut auth = SecretBytes::copy_of(&output);
    output[..].zeroize();
    let len = auth.expose_secret().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    auth.truncate(len);
    auth
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `tpm2_startauthsession; [tpm2_policyauthvalue;] tpm2_policycommandcode TPM2_CC_Duplicate` give them.
    #[test]
    fn digests_are_those_of_the_tools() {
        let hex = |with_pin| hex::encode(export_policy(with_pin));
        assert_eq!(hex(false), "bef56b8c1cc84e11edd717528d2cd99356bd2bbf8f015209c3f84aeeaba8e8a2");
        assert_eq!(hex(true), "09bd2ec618ec5d4688b2861cd8aedbbce1c1dd0b9e31e4a12f837750b33831e2");
    }

    #[test]
    fn an_auth_value_is_salted_and_trimmed() {
        let pin = |text: &[u8]| Pin::new(SecretBytes::copy_of(text));
        // printf 1234 | openssl dgst -sha256 -mac HMAC -macopt hexkey:4242...42
        let auth = auth_value(&Hex([0x42; 32]), &pin(b"1234"));
        assert_eq!(
            hex::encode(auth.expose_secret()),
            "ee583cab72665ba12300820cd309b10811bda3886d8f5ad99b3393e99b4293af"
        );
        let (mut trimmed, mut whole) = (0, 0);
        for number in 0..2000_u32 {
            let auth = auth_value(&Hex([7; 32]), &pin(&number.to_be_bytes()));
            assert_ne!(auth.expose_secret().last(), Some(&0));
            if auth.len() < 32 { trimmed += 1 } else { whole += 1 }
        }
        assert!(trimmed > 0 && whole > 1900, "one in 256 is shorter: {trimmed} of 2000");
    }

    #[test]
    fn parts_do_not_share_a_salt() {
        let pin = Pin::new(SecretBytes::copy_of(b"1234"));
        assert_ne!(new_guard(Protection::Pin(&pin)).0, new_guard(Protection::Pin(&pin)).0);
        assert_eq!(new_guard(Protection::None).0, Guard::None {});
    }
}
