//! The way out: TPM2_Duplicate of an export part to nobody, and what the host makes of the blob.
//!
//! TPM 2.0 Part 3, section 13.1 (Duplicate); Part 1, section 23.3.2.3 (the inner wrapper):
//!
//! ```text
//! blob            = AES-128-CFB(key, IV 0, TPM2B_DIGEST(integrity) || sensitive)
//! integrity       = SHA256(sensitive || Name)
//! sensitive       = TPM2B_SENSITIVE(type 0x0008, auth value, seed, secret)
//! public area     holds unique = SHA256(seed || secret)
//! ```
//!
//! The key goes in as the first parameter, which the session encrypts. With the new parent NULL there is no outer wrapper.

use aes::Aes128;
use cfb_mode::BufDecryptor;
use cfb_mode::cipher::KeyIvInit;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tss_esapi::Context;
use tss_esapi::constants::CommandCode;
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, Data, Public, SymmetricDefinitionObject};

use super::approval::Approvals;
use super::error::told;
use super::object::{Object, take_sized};
use super::pcrs;
use super::session::{flushed, with_policy};
use crate::device::{DeviceError, Fault, Guard};
use crate::secret::{KEY_BYTES, MasterSecret, SecretBytes};

/// Bytes of the inner wrapper's key.
const WRAPPER_BYTES: usize = 16;
/// TPM_ALG_KEYEDHASH, the sensitive area's type.
const KEYEDHASH: &[u8] = &[0x00, 0x08];

/// Lets the secret of an export part out into locked host memory. `guard` is what its policy asks for besides the command,
/// `auth` its auth value; `approvals`, and the TPM's fingerprint, are for one that asks for a signature.
///
/// `session` authorizes the load, and then encrypts the duplication without authorizing it. It must be tied to nothing:
/// the encryption key of a session that authorizes would contain the auth value even where the policy asks for none, and
/// the TPM would answer success with a blob that can't be opened.
pub fn duplicate(
    context: &mut Context,
    root: KeyHandle,
    session: AuthSession,
    object: Object,
    (guard, auth): (&Guard, &SecretBytes),
    (approvals, tpm): (&mut Approvals, &str),
) -> Result<MasterSecret, DeviceError> {
    let (public, name) = (object.public.clone(), object.name.clone());
    let wrapper = SecretBytes::random(WRAPPER_BYTES);
    let key = ObjectHandle::from(object.load(context, root, (Some(session), None, None))?);
    let mut blob = flushed(context, key, |context| {
        with_policy(context, root, |context, policy| {
            pcrs::assert(context, policy, guard, approvals, tpm)?;
            if guard.has_own_pin() {
                let auth = Auth::try_from(auth.expose_secret()).map_err(told)?;
                context.tr_set_auth(key, auth).map_err(told)?;
                context.policy_auth_value(policy).map_err(told)?;
            }
            context.policy_command_code(policy, CommandCode::Duplicate).map_err(told)?;
            let wrapper = Data::try_from(wrapper.expose_secret()).map_err(told)?;
            let sessions = (Some(AuthSession::from(policy)), Some(session), None);
            let (_, blob, _) = context
                .execute_with_sessions(sessions, |context| {
                    context.duplicate(key, ObjectHandle::Null, Some(wrapper), SymmetricDefinitionObject::AES_128_CFB)
                })
                .map_err(told)?;
            Ok(SecretBytes::copy_of(blob.value()))
        })
    })?;
    open(&wrapper, &mut blob, &name, &public)
        .ok_or_else(|| Fault::Failed("the TPM exported a blob that does not open".to_owned()).into())
}

/// Opens what TPM2_Duplicate gave, in place: strictly, and only if it is the secret that the public area commits to.
fn open(wrapper: &SecretBytes, blob: &mut SecretBytes, name: &[u8], public: &Public) -> Option<MasterSecret> {
    let cipher = BufDecryptor::<Aes128>::new_from_slices(wrapper.expose_secret(), &[0; 16]);
    cipher.ok()?.decrypt(blob.as_mut());
    parse(blob.expose_secret(), name, public)
}

/// Reads a blob whose inner wrapper is off.
pub fn parse(plain: &[u8], name: &[u8], public: &Public) -> Option<MasterSecret> {
    let (integrity, sensitive) = take_sized(plain)?;
    let expected = Sha256::new().chain_update(sensitive).chain_update(name).finalize();
    if !bool::from(integrity.ct_eq(expected.as_slice())) {
        return None;
    }
    let (sensitive, []) = take_sized(sensitive)? else { return None };
    // The auth value, which a PIN gave, is left behind here.
    let (_auth, rest) = take_sized(sensitive.strip_prefix(KEYEDHASH)?)?;
    let (seed, rest) = take_sized(rest)?;
    let (secret, []) = take_sized(rest)? else { return None };
    let Public::KeyedHash { unique, .. } = public else { return None };
    let commitment = Sha256::new().chain_update(seed).chain_update(secret).finalize();
    let fits = secret.len() == KEY_BYTES && commitment.as_slice() == unique.value();
    fits.then(|| MasterSecret::new(SecretBytes::copy_of(secret)))
}

#[cfg(test)]
mod tests {
    use tss_esapi::attributes::ObjectAttributes;
    use tss_esapi::structures::Digest;

    use super::*;
    use crate::device::tpm::object::push_sized;
    use crate::device::tpm::seal::hmac_key;

    const NAME: &[u8] = b"\x00\x0bthe Name";

    fn wrapper() -> SecretBytes {
        SecretBytes::copy_of(&[9; WRAPPER_BYTES])
    }

    fn sensitive(kind: &[u8], secret: &[u8]) -> Vec<u8> {
        let mut area = kind.to_vec();
        for field in [b"auth", &[5; 32][..], secret] {
            push_sized(&mut area, field);
        }
        let mut sized = Vec::new();
        push_sized(&mut sized, &area);
        sized
    }

    /// Wraps as the TPM does.
    fn wrap(sensitive: &[u8], name: &[u8]) -> SecretBytes {
        let mut blob = Vec::new();
        push_sized(&mut blob, &Sha256::new().chain_update(sensitive).chain_update(name).finalize());
        blob.extend(sensitive);
        cfb_mode::BufEncryptor::<Aes128>::new_from_slices(&[9; 16], &[0; 16]).unwrap().encrypt(&mut blob);
        SecretBytes::copy_of(&blob)
    }

    fn public(secret: &[u8]) -> Public {
        let unique = Sha256::new().chain_update([5; 32]).chain_update(secret).finalize();
        hmac_key(ObjectAttributes::from(0), Digest::default(), Digest::try_from(&unique[..]).unwrap()).unwrap()
    }

    #[test]
    fn opens_what_a_tpm_wraps() {
        let mut blob = wrap(&sensitive(KEYEDHASH, &[7; 32]), NAME);
        let secret = open(&wrapper(), &mut blob, NAME, &public(&[7; 32])).expect("it opens");
        assert_eq!(secret.expose_secret(), [7; 32]);
    }

    #[test]
    fn a_changed_bit_does_not_open() {
        let good = wrap(&sensitive(KEYEDHASH, &[7; 32]), NAME);
        for bit in 0..good.len() * 8 {
            let mut bad = SecretBytes::copy_of(good.expose_secret());
            bad.as_mut()[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&wrapper(), &mut bad, NAME, &public(&[7; 32])).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn only_the_recorded_secret_in_exactly_this_form() {
        let opens =
            |sensitive: &[u8], public: &Public| open(&wrapper(), &mut wrap(sensitive, NAME), NAME, public).is_some();
        assert!(!opens(&sensitive(KEYEDHASH, &[7; 32]), &public(&[8; 32])), "another secret than the Name says");
        assert!(!opens(&sensitive(KEYEDHASH, &[7; 31]), &public(&[7; 31])), "a shorter one");
        assert!(!opens(&sensitive(&[0x00, 0x25], &[7; 32]), &public(&[7; 32])), "a key of another type");
        let longer = [&sensitive(KEYEDHASH, &[7; 32])[..], &[0]].concat();
        assert!(!opens(&longer, &public(&[7; 32])), "something behind it");
        let mut other = wrap(&sensitive(KEYEDHASH, &[7; 32]), b"another Name");
        assert!(open(&wrapper(), &mut other, NAME, &public(&[7; 32])).is_none());
    }
}
