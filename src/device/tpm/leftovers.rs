//! What dead clients left loaded.
//!
//! Without a resource manager the TPM keeps what a killed process had loaded: a few such deaths fill its three object
//! slots or three sessions, and nothing works until a restart. Whoever holds such a TPM holds it alone: the kernel lets
//! one process open `/dev/tpm0`, a socket serves one client, and our own processes take turns by the device lock. So what
//! is loaded and not ours is nobody's.

use tss_esapi::Context;
use tss_esapi::constants::CapabilityType;
use tss_esapi::structures::CapabilityData;

use super::error::told;
use crate::device::DeviceError;

/// First handles of what can be flushed (TPM 2.0 Part 2, section 7.4): transient objects, loaded sessions. Sessions that
/// were saved, and so swapped out by somebody who may come back for them, are left alone.
const FIRST: [u32; 2] = [0x8000_0000, 0x0200_0000];
const MOST: u32 = 64;

/// Flushes all of them. Nothing of our own may be loaded. One that can't be flushed is left: the next try of what needed
/// the slot says whether that matters.
pub fn flush(context: &mut Context) -> Result<(), DeviceError> {
    for first in FIRST {
        let (data, _) = context.get_capability(CapabilityType::Handles, first, MOST).map_err(told)?;
        let CapabilityData::Handles(handles) = data else { continue };
        for handle in handles.into_inner() {
            if let Ok(object) = context.tr_from_tpm_public(handle) {
                let _ = context.flush_context(object);
            }
        }
    }
    Ok(())
}
