//! PCRs: read in a session that nobody in between can answer for, asserted in a policy, and explained where they changed.

use tss_esapi::Context;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, PcrSelectionList, PcrSelectionListBuilder, PcrSlot};

use super::approval::{self, Approvals};
use super::error::{VALUE, told, told_as};
use super::policy::pcr_digest;
use super::session::with_audit;
use crate::device::{Bank, Bound, DeviceError, Fault, Guard, PcrState, Pcrs};

/// What `pcrs` hold now.
pub fn read(context: &mut Context, root: KeyHandle, pcrs: &Pcrs) -> Result<PcrState, DeviceError> {
    with_audit(context, root, |context, session| read_in(context, Some(session), pcrs))
}

/// The same without a session, which nobody vouches for.
pub fn glance(context: &mut Context, pcrs: &Pcrs) -> Result<PcrState, DeviceError> {
    read_in(context, None, pcrs)
}

/// TPM2_PCR_Read gives at most eight a time (TPM 2.0 Part 3, section 22.4).
fn read_in(context: &mut Context, session: Option<AuthSession>, pcrs: &Pcrs) -> Result<PcrState, DeviceError> {
    let mut values = Vec::new();
    let mut wanted: Vec<u8> = pcrs.numbers().collect();
    while !wanted.is_empty() {
        let asked = selection(pcrs.bank, wanted.iter().copied())?;
        let (_, _, digests) = context.execute_with_session(session, |context| context.pcr_read(asked)).map_err(told)?;
        let given = digests.value().len();
        if given == 0 || given > wanted.len() {
            let what = format!("the TPM has no bank {} for {pcrs}", pcrs.bank.name());
            return Err(Fault::Missing(what).into());
        }
        // In the order of their numbers (Part 3, section 22.4).
        values.extend(digests.value().iter().map(|digest| hex::encode(digest.value())));
        wanted.drain(..given);
    }
    let state = PcrState { pcrs: pcrs.clone(), values };
    match state.concatenated() {
        Some(_) => Ok(state),
        None => Err(Fault::Failed("the TPM's PCRs are not of their bank's size".to_owned()).into()),
    }
}

/// Asserts what the PCRs of `guard` have to hold, if it is bound to any: the TPM says no at once where they differ, or where what
/// they hold is not signed. `tpm` is the TPM's fingerprint.
pub fn assert(
    context: &mut Context,
    policy: PolicySession,
    guard: &Guard,
    approvals: &mut Approvals,
    tpm: &str,
) -> Result<(), DeviceError> {
    let bound = match guard.bound() {
        None => return Ok(()),
        Some(Bound::Signed(signed)) => return approvals.assert(context, policy, signed, tpm),
        Some(Bound::State(bound)) => bound,
    };
    let digest = Digest::try_from(&pcr_digest(bound)[..]).map_err(told)?;
    let selection = selection(bound.pcrs.bank, bound.pcrs.numbers())?;
    context
        .policy_pcr(policy, digest, selection)
        .map_err(|error| told_as(error, |answer| (answer == VALUE).then(|| Fault::PcrsChanged(Vec::new()))))
}

/// Says of an error that PCRs caused which ones, and what they hold.
pub fn explained(mut error: DeviceError, context: &mut Context, root: KeyHandle, guard: &Guard) -> DeviceError {
    // The TPM's own no is the error, also where its PCRs can't be read.
    match (&mut error.fault, guard.bound()) {
        (Fault::PcrsChanged(changes), Some(Bound::State(bound))) => {
            if let Ok(now) = read(context, root, &bound.pcrs) {
                *changes = bound.changes(&now);
            }
        }
        (Fault::Unsigned(why), Some(Bound::Signed(signed))) if approval::is_about_state(why) => {
            if let Ok(now) = read(context, root, &signed.pcrs) {
                approval::add_state(why, &now);
            }
        }
        _ => {}
    }
    error
}

pub fn selection(bank: Bank, numbers: impl Iterator<Item = u8>) -> Result<PcrSelectionList, DeviceError> {
    let bank = match bank {
        Bank::Sha256 => HashingAlgorithm::Sha256,
        Bank::Sha384 => HashingAlgorithm::Sha384,
        Bank::Sha512 => HashingAlgorithm::Sha512,
    };
    let slots: Result<Vec<PcrSlot>, _> = numbers.map(|number| PcrSlot::try_from(1_u32 << number)).collect();
    PcrSelectionListBuilder::new().with_selection(bank, &slots.map_err(told)?).build().map_err(told)
}
