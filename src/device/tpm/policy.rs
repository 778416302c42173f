//! What guards an object: policy digests and auth values, computed on the host, so that no trial session is needed.
//!
//! None has a TPM2_PolicyOR. What an OR of branches would say, that a key may be used one way and exported another, two objects
//! say: each part has one policy, and fewer commands.

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::approval;
use crate::bytes::Hex;
use crate::device::{Bound, Guard, PcrState, PolicyKey};
use crate::secret::{Pin, SecretBytes, random_array};

const CC_DUPLICATE: u32 = 0x14b;
const CC_POLICY_AUTHORIZE: u32 = 0x16a;
const CC_POLICY_AUTH_VALUE: u32 = 0x16b;
const CC_POLICY_COMMAND_CODE: u32 = 0x16c;
const CC_POLICY_PCR: u32 = 0x17f;

/// The authPolicy of a use part; none where its auth value alone guards it: TPM2_PolicyPCR or TPM2_PolicyAuthorize, and
/// TPM2_PolicyAuthValue where there is a PIN too.
pub fn use_policy(guard: &Guard) -> Option<[u8; 32]> {
    let bound = of_bound(guard.bound()?);
    Some(if guard.has_own_pin() { extend(bound, &[CC_POLICY_AUTH_VALUE]) } else { bound })
}

/// The authPolicy of an export part: TPM2_PolicyPCR or TPM2_PolicyAuthorize where PCRs guard it, TPM2_PolicyAuthValue where a
/// PIN does, then TPM2_PolicyCommandCode(TPM2_Duplicate).
///
/// TPM 2.0 Part 1, section 19.7: each assertion replaces the digest by SHA256(digest || command code || arguments).
pub fn export_policy(guard: &Guard) -> [u8; 32] {
    let mut digest = guard.bound().map_or([0; 32], of_bound);
    if guard.has_own_pin() {
        digest = extend(digest, &[CC_POLICY_AUTH_VALUE]);
    }
    extend(digest, &[CC_POLICY_COMMAND_CODE, CC_DUPLICATE])
}

fn of_bound(bound: Bound<'_>) -> [u8; 32] {
    match bound {
        Bound::State(state) => of_pcrs(state),
        Bound::Signed(signed) => of_key(&signed.key),
    }
}

/// After TPM2_PolicyAuthorize (TPM 2.0 Part 3, section 23.16), whatever came before it: the digest begins anew, and takes in the
/// key's Name and then the policyRef, which is empty.
fn of_key(key: &PolicyKey) -> [u8; 32] {
    let name = approval::name(key).expect("a key that was looked at has a Name");
    let begun = Sha256::new().chain_update([0; 32]).chain_update(CC_POLICY_AUTHORIZE.to_be_bytes()).chain_update(name);
    Sha256::digest(begun.finalize()).into()
}

/// After TPM2_PolicyPCR alone (TPM 2.0 Part 3, section 23.7): the selection is a TPML_PCR_SELECTION of one bank. What systemd
/// signs.
pub fn of_pcrs(bound: &PcrState) -> [u8; 32] {
    let [first, second, third] = bound.pcrs.bits();
    let mut arguments = CC_POLICY_PCR.to_be_bytes().to_vec();
    arguments.extend(1_u32.to_be_bytes());
    arguments.extend(bound.pcrs.bank.algorithm().to_be_bytes());
    arguments.extend([3, first, second, third]);
    Sha256::new().chain_update([0; 32]).chain_update(arguments).chain_update(pcr_digest(bound)).finalize().into()
}

/// What TPM2_PolicyPCR is given, and compares: the hash of the values by the session's hash, whatever the bank's is. A state
/// that is not whole fits no PCRs.
pub fn pcr_digest(bound: &PcrState) -> [u8; 32] {
    Sha256::digest(bound.concatenated().unwrap_or_default()).into()
}

fn extend(digest: [u8; 32], words: &[u32]) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update(digest);
    for word in words {
        hash.update(word.to_be_bytes());
    }
    hash.finalize().into()
}

/// A fresh guard for one part, and the auth value that goes with it. Each part has a salt of its own.
pub fn new_guard(pin: Option<&Pin>, bound: Option<Bound<'_>>) -> (Guard, SecretBytes) {
    let salted = pin.map(|pin| {
        let salt = Hex(random_array());
        (salt, auth_value(&salt, pin))
    });
    let Some((salt, auth)) = salted else {
        let guard = match bound {
            None => Guard::None {},
            Some(Bound::State(state)) => Guard::Pcrs { bound: state.clone() },
            Some(Bound::Signed(signed)) => Guard::Signed { bound: signed.clone() },
        };
        return (guard, SecretBytes::zeroed(0));
    };
    let guard = match bound {
        None => Guard::Pin { salt },
        Some(Bound::State(state)) => Guard::PcrsPin { bound: state.clone(), salt },
        Some(Bound::Signed(signed)) => Guard::SignedPin { bound: signed.clone(), salt },
    };
    (guard, auth)
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

    const PIN: Guard = Guard::Pin { salt: Hex([1; 32]) };

    /// As `tpm2_startauthsession; [tpm2_policyauthvalue;] tpm2_policycommandcode TPM2_CC_Duplicate` give them.
    #[test]
    fn digests_are_those_of_the_tools() {
        let hex = |guard| hex::encode(export_policy(guard));
        assert_eq!(hex(&Guard::None {}), "bef56b8c1cc84e11edd717528d2cd99356bd2bbf8f015209c3f84aeeaba8e8a2");
        assert_eq!(hex(&PIN), "09bd2ec618ec5d4688b2861cd8aedbbce1c1dd0b9e31e4a12f837750b33831e2");
        assert_eq!((use_policy(&Guard::None {}), use_policy(&PIN)), (None, None));
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
        assert_ne!(new_guard(Some(&pin), None).0, new_guard(Some(&pin), None).0);
        assert_eq!(new_guard(None, None).0, Guard::None {});
    }
}
