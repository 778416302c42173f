//! What the TPM has said of signatures: TPMT_TK_VERIFIED, remembered from run to run, so that a signature that was verified once
//! costs no three commands (LoadExternal, VerifySignature, FlushContext) each time.
//!
//! `tickets.json` in the state directory. It survives resets, and a TPM2_Clear ends it (TPM 2.0 Part 1, section 11.4.6.3: it is
//! an HMAC with the proof of the owner's hierarchy). Nothing depends on it: a ticket stands for one signature that is in the
//! file of signatures still, the TPM looks whether it made it, and without one, or with a wrong one, the signature is verified
//! again. So it needs no trust and no care: what can't be read is none, and what can't be written is forgotten.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bytes::{Base64, Hex};
use crate::durable::{Directory, FileError};

const FILE: &str = "tickets.json";
/// The format that this version reads and writes.
const FORMAT: u32 = 1;
/// How many are remembered: the phases of a few boots, on a few TPMs. The oldest go first.
const MOST: usize = 32;
const MAX_FILE: u64 = 64 << 10;
/// The longest that TPMs have, SHA-512's, in bytes.
const MAX_DIGEST: usize = 64;

/// One ticket, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// The fingerprint of the TPM as the ring pinned it.
    pub tpm: String,
    /// The key's fingerprint.
    pub key: Hex<32>,
    /// The digest of the policy that was signed.
    pub policy: Hex<32>,
    /// The SHA-256 of the signature.
    pub signature: Hex<32>,
    /// TPMT_TK_VERIFIED's digest; tag and hierarchy are always the same.
    pub digest: Base64,
}

/// All that are remembered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tickets {
    format: u32,
    tickets: Vec<Ticket>,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { format: FORMAT, tickets: Vec::new() }
    }
}

impl Tickets {
    /// Reads what is remembered in a state directory.
    pub fn read(directory: &Path) -> Self {
        let text = Directory::open(directory).and_then(|directory| directory.read(FILE, MAX_FILE, |_, _| Ok(())));
        text.ok().flatten().and_then(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// None where the text is not what this version writes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let tickets: Self = serde_json::from_slice(text).ok()?;
        let fit = tickets.tickets.iter().all(|ticket| ticket.digest.0.len() <= MAX_DIGEST);
        (tickets.format == FORMAT && fit).then_some(tickets)
    }

    pub fn print(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("tickets have no keys that JSON can't write");
        text.push(b'\n');
        text
    }

    /// The latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Ticket> {
        self.tickets.iter().rev()
    }

    /// Remembers one, in place of another for the same signature on the same TPM.
    pub fn remember(&mut self, ticket: Ticket) {
        self.tickets.retain(|old| {
            (&old.tpm, old.key, old.policy, old.signature) != (&ticket.tpm, ticket.key, ticket.policy, ticket.signature)
        });
        self.tickets.push(ticket);
        let surplus = self.tickets.len().saturating_sub(MOST);
        self.tickets.drain(..surplus);
    }

    /// Remembers one in a state directory, with whatever others have put there.
    pub fn keep(directory: &Path, ticket: Ticket) -> Result<(), FileError> {
        let opened = Directory::open(directory)?;
        opened.in_turn(|| {
            let mut tickets = Self::read(directory);
            tickets.remember(ticket);
            opened.replace(FILE, &tickets.print())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(policy: u8, digest: u8) -> Ticket {
        let of = |byte| Hex([byte; 32]);
        let digest = Base64(vec![digest; 32]);
        Ticket { tpm: "SHA256:00".to_owned(), key: of(1), policy: of(policy), signature: of(3), digest }
    }

    #[test]
    fn the_latest_come_first_and_the_oldest_go() {
        let mut tickets = Tickets::default();
        for policy in 0..=MOST as u8 {
            tickets.remember(ticket(policy, 0));
        }
        tickets.remember(ticket(7, 1));
        let policies: Vec<u8> = tickets.iter().map(|ticket| ticket.policy.0[0]).collect();
        assert_eq!((policies.len(), &policies[..3], policies[MOST - 1]), (MOST, &[7, 32, 31][..], 1));
        assert_eq!(tickets.iter().next(), Some(&ticket(7, 1)), "the new one of the same signature");
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_odd_is_none() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Tickets::read(directory.path()), Tickets::default());
        Tickets::keep(directory.path(), ticket(1, 1)).unwrap();
        Tickets::keep(directory.path(), ticket(2, 2)).unwrap();
        assert_eq!(Tickets::read(directory.path()).iter().count(), 2);
        let text = std::fs::read(directory.path().join(FILE)).unwrap();
        assert_eq!(Tickets::parse(&text).unwrap().print(), text);
        let mut long = Tickets::default();
        long.remember(Ticket { digest: Base64(vec![0; MAX_DIGEST + 1]), ..ticket(1, 1) });
        for odd in [&b"{}"[..], b"{\"format\": 2, \"tickets\": []}", &text[..text.len() / 2], &long.print()] {
            std::fs::write(directory.path().join(FILE), odd).unwrap();
            assert_eq!(Tickets::read(directory.path()), Tickets::default());
        }
        assert!(Tickets::keep(&directory.path().join("none"), ticket(1, 1)).is_err());
    }
}
