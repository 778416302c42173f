//! PCRs: read in a session that nobody in between can answer for, asserted in a policy, and explained where they changed.

use tss_esapi::Context;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::PolicySession;
use tss_esapi::structures::{Digest, PcrSelectionList, PcrSelectionListBuilder, PcrSlot};

use super::error::{VALUE, told, told_as};
use super::policy::pcr_digest;
use super::session::with_audit;
use crate::device::{Bank, DeviceError, Fault, Guard, PcrState, Pcrs};

/// What `pcrs` hold now. TPM2_PCR_Read gives at most eight a time (TPM 2.0 Part 3, section 22.4).
pub fn read(context: &mut Context, root: KeyHandle, pcrs: &Pcrs) -> Result<PcrState, DeviceError> {
    let mut values = Vec::new();
    let mut wanted: Vec<u8> = pcrs.numbers().collect();
    with_audit(context, root, |context, session| {
        while !wanted.is_empty() {
            let asked = selection(pcrs.bank, wanted.iter().copied())?;
            let (_, _, digests) =
                context.execute_with_session(Some(session), |context| context.pcr_read(asked)).map_err(told)?;
            let given = digests.value().len();
            if given == 0 || given > wanted.len() {
                let what = format!("the TPM has no bank {} for {pcrs}", pcrs.bank.name());
                return Err(Fault::Missing(what).into());
            }
            // In the order of their numbers (Part 3, section 22.4).
            values.extend(digests.value().iter().map(|digest| hex::encode(digest.value())));
            wanted.drain(..given);
        }
        Ok(())
    })?;
    let state = PcrState { pcrs: pcrs.clone(), values };
    match state.concatenated() {
        Some(_) => Ok(state),
        None => Err(Fault::Failed("the TPM's PCRs are not of their bank's size".to_owned()).into()),
    }
}

/// Asserts what the PCRs of `guard` have to hold, if it is bound to any: the TPM says no at once where they differ.
pub fn assert(context: &mut Context, policy: PolicySession, guard: &Guard) -> Result<(), DeviceError> {
    let Some(bound) = guard.bound() else { return Ok(()) };
    let digest = Digest::try_from(&pcr_digest(bound)[..]).map_err(told)?;
    let selection = selection(bound.pcrs.bank, bound.pcrs.numbers())?;
    context
        .policy_pcr(policy, digest, selection)
        .map_err(|error| told_as(error, |answer| (answer == VALUE).then(|| Fault::PcrsChanged(Vec::new()))))
}

/// Says of an error that PCRs caused which ones, and what they hold.
pub fn explained(mut error: DeviceError, context: &mut Context, root: KeyHandle, guard: &Guard) -> DeviceError {
    if let (Fault::PcrsChanged(changes), Some(bound)) = (&mut error.fault, guard.bound())
        // The TPM's own no is the error, also where its PCRs can't be read.
        && let Ok(now) = read(context, root, &bound.pcrs)
    {
        *changes = bound.changes(&now);
    }
    error
}

fn selection(bank: Bank, numbers: impl Iterator<Item = u8>) -> Result<PcrSelectionList, DeviceError> {
    let bank = match bank {
        Bank::Sha256 => HashingAlgorithm::Sha256,
        Bank::Sha384 => HashingAlgorithm::Sha384,
        Bank::Sha512 => HashingAlgorithm::Sha512,
    };
    let slots: Result<Vec<PcrSlot>, _> = numbers.map(|number| PcrSlot::try_from(1_u32 << number)).collect();
    PcrSelectionListBuilder::new().with_selection(bank, &slots.map_err(told)?).build().map_err(told)
}
