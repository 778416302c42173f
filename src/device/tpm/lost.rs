//! Why the storage root key that the ring pinned is not there: what is to be done differs.
//!
//! Asked only when it is not, and answered by what the TPM says of itself, which nobody authenticates: it decides which words a
//! refusal has. No session is started, so nothing of ours goes there.

use tss_esapi::Context;
use tss_esapi::structures::Public;

use super::{describe, endorsement, root};
use crate::bytes::Base64;
use crate::device::Fault;

const SWITCHED_OFF: &str = "the TPM's owner hierarchy is switched off, and with it all that is sealed";

/// What is known of a storage root key that is not there.
pub struct Lost<'a> {
    pub handle: u32,
    /// As the ring pinned it.
    pub public: &'a Public,
    pub name: &'a [u8],
    /// The Name of the endorsement key, where the ring has it.
    pub endorsement: Option<&'a Base64>,
    /// Whether another key is in its place.
    pub is_replaced: bool,
}

impl Lost<'_> {
    /// What has become of it. A question that the TPM does not answer is left open in the words.
    pub fn fault(&self, context: &mut Context) -> Fault {
        // Then it shows no key of the hierarchy, and answers as if there were none.
        if !self.is_replaced && describe::is_owner_off(context) {
            return Fault::SwitchedOff(SWITCHED_OFF.to_owned());
        }
        if self.can_be_made_again(context) {
            return Fault::RootRemoved(match self.is_replaced {
                true => format!("another key has taken the place of the storage root key, {:#x}", self.handle),
                false => format!("the storage root key was removed from its place, {:#x}", self.handle),
            });
        }
        match self.endorsement.map(|pinned| endorsement::name(context).map(|name| name == pinned.0)) {
            Some(Ok(true)) => {
                Fault::Cleared("this TPM was cleared since: what was sealed on it can't be opened any more".to_owned())
            }
            Some(Ok(false)) => Fault::NotThisDevice(
                "this is another TPM: neither its storage root key nor its endorsement key is the one that the ring pinned"
                    .to_owned(),
            ),
            None | Some(Err(_)) => Fault::NotThisDevice(match self.is_replaced {
                true => format!(
                    "the storage root key at {:#x} is not the one that the ring pinned: this is another TPM, or it was \
                     cleared and set up again",
                    self.handle
                ),
                false => format!(
                    "this TPM has no storage root key at {:#x}: it was cleared, or it is another TPM",
                    self.handle
                ),
            }),
        }
    }

    /// Whether the TPM's owner seed still gives the very key: then nothing is lost.
    fn can_be_made_again(&self, context: &mut Context) -> bool {
        root::is_usual(self.public).unwrap_or(false)
            && root::with_made(context, root::name).is_ok_and(|name| name == self.name)
    }
}
