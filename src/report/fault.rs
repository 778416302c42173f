//! The part of the table of errors that is about devices.

use strongroom::device::Fault;

use super::verdict::{SECRET_SOURCE, Verdict, say};
use super::{Exit, unsigned};

pub fn of(fault: &Fault) -> Verdict {
    match fault {
        Fault::Unreachable(_) => say(
            "device-unreachable",
            Exit::Unreachable,
            "see that it is there and switched on; `strongroom doctor` says what is in the way",
        ),
        Fault::Busy(_) => {
            say("device-busy", Exit::Unreachable, "wait until the other program has ended, and run it again")
        }
        Fault::TimedOut { .. } => {
            say("device-timeout", Exit::Unreachable, "see whether it is stuck or cut off, then run it again")
        }
        Fault::NotThisDevice(_) => say(
            "other-device",
            Exit::Device,
            "put back the device that made the seal, or restore a backup onto this one: `strongroom restore --replace FILE`",
        ),
        Fault::Cleared(_) => say(
            "tpm-cleared",
            Exit::Device,
            "restore a backup onto it: `strongroom restore --replace FILE`; where another device of the ring serves: `device remove`, then `device add`",
        ),
        Fault::RootRemoved(_) => say(
            "root-removed",
            Exit::Device,
            "nothing is lost: the TPM makes the same key again; docs/operations.md, \"The storage root key was removed\", says how",
        ),
        Fault::SwitchedOff(_) => say(
            "tpm-switched-off",
            Exit::Device,
            "the machine's next start switches it on; find out what switched it off (TPM2_HierarchyControl)",
        ),
        Fault::Untrusted(_) => say(
            "device-untrusted",
            Exit::Device,
            "somebody else may know that key: find out who made it; strongroom neither uses nor removes it",
        ),
        Fault::PinMissing { .. } => {
            say("no-pin", Exit::Usage, "give it with --pin-file or --pin-fd, or run it at a terminal")
        }
        Fault::PadLeft { .. } => {
            say("pin-pad-left", Exit::Refused, "run it again with somebody at the PIN pad, or use another device")
        }
        Fault::PinForm { .. } => {
            say("pin-form", Exit::Refused, "choose another; the device's manual says how long it may be, and of what")
        }
        Fault::InUse(_) => say(
            "token-in-use",
            Exit::Refused,
            "name another slot, or first give up what is there, with its maker's tool",
        ),
        Fault::PinSource(_) => say("secret-source", Exit::Usage, SECRET_SOURCE),
        Fault::PinRefusedBefore { .. } => say(
            "pin-refused-before",
            Exit::Refused,
            "nothing was sent; put the right PIN into it, or have it tried again: `strongroom device retry DEVICE`",
        ),
        Fault::Ambiguous(_) => say(
            "several-devices",
            Exit::Usage,
            "name one of them: add `;serial=SERIAL` or `;slot-id=SLOT` before the `?`",
        ),
        Fault::WrongPin { tries_left: Some(0) } => say(
            "wrong-pin",
            Exit::Wrong,
            "the device is locked now: wait (a TPM), or have its officer set a new PIN (a token)",
        ),
        Fault::WrongPin { .. } => {
            say("wrong-pin", Exit::Wrong, "check the PIN before you try again: the device counts wrong ones")
        }
        Fault::LastTry { .. } => {
            say("last-try", Exit::Refused, "nothing was sent; if you are sure of the PIN: --use-last-try")
        }
        Fault::LockedOut { wait_seconds: Some(_), .. } => {
            say("locked-out", Exit::Device, "wait, then use the right PIN; or reset the device's lockout")
        }
        Fault::LockedOut { .. } => say(
            "locked-out",
            Exit::Device,
            "its security officer can set a new PIN; a backup restores onto another device",
        ),
        Fault::PcrsChanged(_) => say(
            "pcrs-changed",
            Exit::Device,
            "start the machine as it was then; or `strongroom bind --from BACKUP_FILE` seals anew for how it is now",
        ),
        Fault::Unsigned(why) => unsigned::of(why),
        Fault::PolicyNotMet(_) => {
            say("policy", Exit::Device, "bring back the state that it was sealed to, or restore a backup")
        }
        Fault::Missing(_) => say(
            "device-unfit",
            Exit::Device,
            "`strongroom doctor` says what may help; or choose another device: `strongroom device list`",
        ),
        Fault::WriteProtected(_) => say(
            "device-write-protected",
            Exit::Device,
            "lift the write protection while keys are made, or let this user write the token's files; then run it again",
        ),
        Fault::NoPermission { group: Some(group), .. } => {
            ("no-permission", Exit::Refused, format!("run it as root, or join the group: usermod -aG {group} USER"))
        }
        Fault::NoPermission { .. } => say("no-permission", Exit::Refused, "run it as root"),
        Fault::OtherSecret { .. } | Fault::Damaged(_) => {
            say("seal-damaged", Exit::Damaged, "restore a backup: `strongroom restore --replace FILE`")
        }
        Fault::Failed(_) => say(
            "device-failed",
            Exit::Failed,
            "`strongroom explain CODE` says what the device's own code means; `strongroom doctor` looks for the cause",
        ),
    }
}
