//! The part of the table of errors that is about signatures of PCR states.

use strongroom::device::Unsigned;

use super::Exit;
use super::verdict::{Verdict, say};

/// What to do where nothing was sealed, since it would not open.
pub fn foreseen(why: &Unsigned) -> Verdict {
    let (id, exit, hint) = of(why);
    let hint = match why {
        Unsigned::KeyRefused { .. } => hint,
        Unsigned::NoFile { .. }
        | Unsigned::File { .. }
        | Unsigned::OtherKey { .. }
        | Unsigned::OtherPcrs { .. }
        | Unsigned::State { .. }
        | Unsigned::Bad { .. } => {
            "nothing was changed; have the state signed that the machine is in, and name the file with --pcr-signature where it is not where systemd looks; or bind to what PCRs hold now: --pcrs PCRS alone".to_owned()
        }
    };
    (id, exit, hint)
}

/// What to do about a signature that is missing, once something is sealed.
pub fn of(why: &Unsigned) -> Verdict {
    let (id, hint) = match why {
        Unsigned::NoFile { .. } => (
            "no-signatures",
            "start the machine with an image that brings them, or install the file, or name it with --pcr-signature; or `strongroom bind --from BACKUP_FILE --pcrs PCRS` binds to how it is now",
        ),
        Unsigned::File { .. } => (
            "signatures-unusable",
            "install the file again: `systemd-measure sign` writes it, and systemd-stub puts the one of the image that was started into /run/systemd",
        ),
        Unsigned::OtherKey { .. } => (
            "signed-by-another",
            "install the signatures of the key that it is bound to, or start an image that has them; or `strongroom bind --from BACKUP_FILE --pcr-public-key PEM_FILE` binds to the new key",
        ),
        Unsigned::OtherPcrs { .. } => (
            "other-pcrs-signed",
            "have these PCRs signed as well; or `strongroom bind --from BACKUP_FILE --pcr-public-key PEM_FILE --pcrs PCRS` binds to those that are",
        ),
        Unsigned::State { .. } => (
            "state-not-signed",
            "start an image that was signed, or install the signature of this one; or `strongroom bind --from BACKUP_FILE --pcrs PCRS` binds to how the machine is now",
        ),
        Unsigned::Bad { .. } => {
            ("signature-bad", "find out who changed it; install the file again, from where it was made")
        }
        Unsigned::KeyRefused { .. } => {
            ("policy-key-refused", "use a key that this TPM takes: every TPM takes RSA of 2048 bits and ECDSA on P-256")
        }
    };
    say(id, Exit::Device, hint)
}
