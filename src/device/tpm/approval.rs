//! Signed states: the TPM is shown that the state it is in is one that a key has signed.
//!
//! TPM 2.0 Part 3, section 23.16 (PolicyAuthorize). In a session whose policy is TPM2_PolicyPCR alone so far, with whatever the
//! PCRs hold:
//!
//! ```text
//! PolicyGetDigest                what was to be signed; left out where a ticket is at hand, and its policy is tried
//! LoadExternal, VerifySignature  the TPM's own word for the signature: a ticket
//! PolicyAuthorize                the session's policy is the signed one, so from now on it is `signed by the key`
//! ```
//!
//! systemd signs the bare TPM2_PolicyPCR, so nothing may come before it; the PIN and the command's code come after.

use sha2::{Digest as _, Sha256};
use spki::der::asn1::UintRef;
use spki::der::{Decode, Reader, SliceReader};
use tss_esapi::Context;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::PolicySession;
use tss_esapi::structures::{
    Digest, EccParameter, EccPoint, EccScheme, EccSignature, KeyDerivationFunctionScheme, Name, Nonce, Public,
    PublicBuilder, PublicEccParameters, PublicKeyRsa, PublicRsaParameters, RsaExponent, RsaScheme, RsaSignature,
    Signature, SymmetricDefinitionObject, Ticket as _, VerifiedTicket,
};
use tss_esapi::traits::Marshall;
use tss_esapi::tss2_esys::{TPM2B_DIGEST, TPMT_TK_VERIFIED};

use super::error::{BAD_SIGNATURE, CURVE, ECC_POINT, KEY, KEY_SIZE, SIZE, TICKET, VALUE, answer, told, told_as};
use super::object::name_of;
use super::session::flushed;
use super::tickets::{Ticket, Tickets};
use super::{pcrs, policy};
use crate::bytes::{Base64, Hex};
use crate::device::{
    Curve, DeviceError, Fault, KeyBits, PcrSignature, PcrState, PolicyKey, SignatureFile, Signatures, SignedPcrs,
    Unsigned,
};

/// TPM_ST_VERIFIED and TPM_RH_OWNER: what every ticket of ours says of itself. (The null hierarchy gives no ticket.)
const VERIFIED: u16 = 0x8022;
const OWNER: u32 = 0x4000_0001;

/// Where signatures come from, and the tickets that are known.
pub struct Approvals {
    signatures: Signatures,
    /// None: not read yet.
    tickets: Option<Tickets>,
    /// What the TPM has said since, to be kept.
    new: Vec<Ticket>,
}

impl Approvals {
    pub fn new(signatures: Signatures) -> Self {
        Self { signatures, tickets: None, new: Vec::new() }
    }

    /// Asserts in `session`, a fresh one, that what the PCRs hold is signed. `tpm` is the TPM's fingerprint. Three commands where
    /// the signature is known from before.
    pub fn assert(
        &mut self,
        context: &mut Context,
        session: PolicySession,
        signed: &SignedPcrs,
        tpm: &str,
    ) -> Result<(), DeviceError> {
        let file = self.signatures.read().map_err(unsigned)?;
        // Nothing is asked of the TPM that no signature could answer.
        let candidates = file.of(signed).map_err(unsigned)?;
        let key = name(&signed.key)?;
        let selection = pcrs::selection(signed.pcrs.bank, signed.pcrs.numbers())?;
        context.policy_pcr(session, Digest::default(), selection).map_err(told)?;
        if let Some(ticket) = self.known(&candidates, tpm)
            && is_taken(authorize(context, session, &ticket.policy.0, &key, &ticket.digest.0))?
        {
            return Ok(());
        }
        let digest = context.policy_get_digest(session).map_err(told)?;
        let policy = <[u8; 32]>::try_from(digest.value())
            .map_err(|_| Fault::Failed("the TPM's policy is not one by SHA-256".to_owned()))?;
        let signature = file.of_state(signed, &policy).map_err(unsigned)?;
        let verified = verify(context, &signed.key, signature, &file)?;
        if !is_taken(authorize(context, session, &policy, &key, &verified))? {
            return Err(being_changed().into());
        }
        self.keep(Ticket { digest: Base64(verified), ..ticket_for(signature, tpm) });
        Ok(())
    }

    /// The latest ticket for one of these signatures.
    fn known(&mut self, candidates: &[&PcrSignature], tpm: &str) -> Option<Ticket> {
        let read = || self.signatures.tickets.as_deref().map(Tickets::read).unwrap_or_default();
        let tickets = &*self.tickets.get_or_insert_with(read);
        let of = |ticket: &&Ticket, one: &PcrSignature| {
            Ticket { digest: ticket.digest.clone(), ..ticket_for(one, tpm) } == **ticket
        };
        tickets.iter().find(|ticket| candidates.iter().any(|one| of(ticket, one))).cloned()
    }

    fn keep(&mut self, ticket: Ticket) {
        self.new.push(ticket.clone());
        self.tickets.get_or_insert_default().remember(ticket);
    }

    /// What is to be kept, once.
    pub fn take_new(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.new)
    }
}

/// What is said where PCRs change between two of our commands: now they may hold what is signed.
pub fn being_changed() -> Fault {
    Fault::Busy("the TPM's PCRs are being changed".to_owned())
}

/// Shows that the state that a TPM is in, `now`, is signed, and that the TPM says so.
pub fn foresee(
    context: &mut Context,
    signed: &SignedPcrs,
    signatures: &Signatures,
    now: &PcrState,
) -> Result<(), DeviceError> {
    let file = signatures.read().map_err(unsigned)?;
    let signature = file.of_state(signed, &policy::of_pcrs(now)).map_err(|mut why| {
        add_state(&mut why, now);
        unsigned(why)
    })?;
    verify(context, &signed.key, signature, &file).map(drop)
}

/// Whether a refusal has room for what the PCRs hold.
pub fn is_about_state(why: &Unsigned) -> bool {
    matches!(why, Unsigned::State { .. })
}

/// Adds to a refusal what the PCRs hold.
pub fn add_state(why: &mut Unsigned, state: &PcrState) {
    if let Unsigned::State { now, .. } = why {
        *now = state.pcrs.numbers().zip(state.values.iter().cloned()).collect();
    }
}

fn unsigned(why: Unsigned) -> DeviceError {
    Fault::Unsigned(Box::new(why)).into()
}

/// A ticket for a signature, without what the TPM says.
fn ticket_for(signature: &PcrSignature, tpm: &str) -> Ticket {
    Ticket {
        tpm: tpm.to_owned(),
        key: Hex(signature.key),
        policy: Hex(signature.policy),
        signature: Hex(Sha256::digest(&signature.signature).into()),
        digest: Base64(Vec::new()),
    }
}

/// TPM2_PolicyAuthorize; the policyRef is empty, as systemd's is.
fn authorize(
    context: &mut Context,
    session: PolicySession,
    policy: &[u8; 32],
    key: &[u8],
    ticket: &[u8],
) -> Result<(), DeviceError> {
    let policy = Digest::try_from(&policy[..]).map_err(told)?;
    let key = Name::try_from(key.to_vec()).map_err(told)?;
    let ticket = verified_ticket(ticket)?;
    context.policy_authorize(session, policy, Nonce::default(), &key, ticket).map_err(told)
}

/// Whether the TPM took it. It says no both to a ticket that is not its own and to one for another policy than the session's
/// (reference code, PolicyAuthorize.c); the session stays as it was.
fn is_taken(done: Result<(), DeviceError>) -> Result<bool, DeviceError> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if matches!(answer(&error), Some(VALUE | TICKET | SIZE)) => Ok(false),
        Err(error) => Err(error),
    }
}

pub fn verified_ticket(digest: &[u8]) -> Result<VerifiedTicket, DeviceError> {
    let digest = TPM2B_DIGEST::from(Digest::try_from(digest).map_err(told)?);
    VerifiedTicket::try_from(TPMT_TK_VERIFIED { tag: VERIFIED, hierarchy: OWNER, digest }).map_err(told)
}

/// The TPM's word for a signature: a ticket's digest.
fn verify(
    context: &mut Context,
    key: &PolicyKey,
    signature: &PcrSignature,
    file: &SignatureFile,
) -> Result<Vec<u8>, DeviceError> {
    let bad = || Fault::Unsigned(Box::new(Unsigned::Bad { path: file.path().to_owned(), key: key.to_string() }));
    let given = given(key, &signature.signature).ok_or_else(bad)?;
    // What is signed is the hash of the policy and the (empty) policyRef.
    let digest = Digest::try_from(&Sha256::digest(signature.policy)[..]).map_err(told)?;
    let loaded = load(context, key)?;
    flushed(context, loaded.into(), |context| {
        let ticket = context
            .verify_signature(loaded, digest, given)
            .map_err(|error| told_as(error, |answer| matches!(answer, BAD_SIGNATURE | SIZE | VALUE).then(bad)))?;
        Ok(ticket.digest().to_vec())
    })
}

fn load(context: &mut Context, key: &PolicyKey) -> Result<KeyHandle, DeviceError> {
    let refused = || Fault::Unsigned(Box::new(Unsigned::KeyRefused { key: key.to_string(), kind: key.kind() }));
    context.load_external_public(public(key)?, Hierarchy::Owner).map_err(|error| {
        told_as(error, |answer| matches!(answer, VALUE | SIZE | KEY | KEY_SIZE | CURVE | ECC_POINT).then(refused))
    })
}

/// A signature as the TPM takes it. None where it is none of such a key.
pub fn given(key: &PolicyKey, signature: &[u8]) -> Option<Signature> {
    match key.bits() {
        KeyBits::Rsa(modulus) => {
            let bytes = PublicKeyRsa::try_from(signature).ok().filter(|_| signature.len() == modulus.len())?;
            Some(Signature::RsaSsa(RsaSignature::create(HashingAlgorithm::Sha256, bytes).ok()?))
        }
        KeyBits::Ecdsa { curve, .. } => {
            let (r, s) = both(signature)?;
            let scalar = |bytes: &[u8]| {
                let fits = bytes.len() <= curve.size();
                EccParameter::try_from(bytes).ok().filter(|_| fits)
            };
            Some(Signature::EcDsa(EccSignature::create(HashingAlgorithm::Sha256, scalar(r)?, scalar(s)?).ok()?))
        }
    }
}

/// Ecdsa-Sig-Value (RFC 3279, section 2.2.3): a sequence of two integers.
fn both(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(signature).ok()?;
    let both = reader.sequence(|inside: &mut SliceReader<'_>| {
        Ok::<_, spki::der::Error>((UintRef::decode(inside)?, UintRef::decode(inside)?))
    });
    let (r, s) = both.ok()?;
    reader.is_finished().then(|| (r.as_bytes(), s.as_bytes()))
}

/// The key's public area: as `tpm2_loadexternal` makes it out of the PEM file, so that its Name is the one that others compute.
fn public(key: &PolicyKey) -> Result<Public, DeviceError> {
    let attributes = ObjectAttributesBuilder::new()
        .with_user_with_auth(true)
        .with_decrypt(true)
        .with_sign_encrypt(true)
        .build()
        .map_err(told)?;
    let builder = PublicBuilder::new()
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(Digest::default());
    let builder = match key.bits() {
        KeyBits::Rsa(modulus) => {
            let bits = u16::try_from(8 * modulus.len()).ok().and_then(|bits| RsaKeyBits::try_from(bits).ok());
            let bits = bits.ok_or_else(|| Fault::Failed("an RSA key of an odd size".to_owned()))?;
            let parameters = PublicRsaParameters::new(
                SymmetricDefinitionObject::Null,
                RsaScheme::Null,
                bits,
                // Zero would stand for it too; others write it out, and the Name is a hash of all this.
                RsaExponent::create(65537).map_err(told)?,
            );
            builder
                .with_public_algorithm(PublicAlgorithm::Rsa)
                .with_rsa_parameters(parameters)
                .with_rsa_unique_identifier(PublicKeyRsa::try_from(modulus.as_slice()).map_err(told)?)
        }
        KeyBits::Ecdsa { curve, x, y } => {
            let curve = match curve {
                Curve::P256 => EccCurve::NistP256,
                Curve::P384 => EccCurve::NistP384,
            };
            let parameters = PublicEccParameters::new(
                SymmetricDefinitionObject::Null,
                EccScheme::Null,
                curve,
                KeyDerivationFunctionScheme::Null,
            );
            let coordinate = |bytes: &Vec<u8>| EccParameter::try_from(bytes.as_slice()).map_err(told);
            builder
                .with_public_algorithm(PublicAlgorithm::Ecc)
                .with_ecc_parameters(parameters)
                .with_ecc_unique_identifier(EccPoint::new(coordinate(x)?, coordinate(y)?))
        }
    };
    builder.build().map_err(told)
}

/// The key's Name.
pub fn name(key: &PolicyKey) -> Result<Vec<u8>, DeviceError> {
    let area = public(key)?.marshall().map_err(told)?;
    name_of(&area).ok_or_else(|| Fault::Failed("the policy key has no Name".to_owned()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::signed::tests::{P256_PEM, P384_PEM, RSA_PEM};

    fn key(pem: &str) -> PolicyKey {
        PolicyKey::from_pem(pem.as_bytes()).unwrap()
    }

    /// As `tpm2_loadexternal -C o -G rsa -u PEM -n NAME`, and with `-G ecc`, give them.
    #[test]
    fn names_are_those_of_the_tools() {
        let hex = |pem| hex::encode(name(&key(pem)).unwrap());
        assert_eq!(hex(RSA_PEM), "000b6cbc8babf7223b8ceccde85c33a05dd53d23fe017968d47d5133d3a99aab10ce");
        assert_eq!(hex(P256_PEM), "000bb128a216a975ea3c96bad01b8ff5754084097e808c7f17cf8f2306e8305b97c7");
        assert_eq!(hex(P384_PEM), "000b42aeabd04b3ffb347ce68eb47d4aad1d89b681ed9d67eaaea3c9eace3919ff8a");
    }

    #[test]
    fn signatures_of_another_form_are_none() {
        let (rsa, ecc) = (key(RSA_PEM), key(P256_PEM));
        assert!(given(&rsa, &[7; 256]).is_some() && given(&ecc, &hex::decode("3006020107020109").unwrap()).is_some());
        for odd in ["", "07", "3006020107020109", &"07".repeat(257)] {
            assert!(given(&rsa, &hex::decode(odd).unwrap()).is_none(), "{odd}");
        }
        // Cut off, with more behind it, negative, and too long a number.
        let long = format!("30260221{}020109", "07".repeat(33));
        for odd in ["", "30060201070201", "300602010702010900", "3006020187020109", "3003020107", &long] {
            assert!(given(&ecc, &hex::decode(odd).unwrap()).is_none(), "{odd}");
        }
    }
}
