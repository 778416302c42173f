//! Each error's id, exit code and hint: the one place that says what to do.

use strongroom::audit::AuditError;
use strongroom::backup::BackupError;
use strongroom::ceremony::Error;
use strongroom::derive::InputError;
use strongroom::device::{DeviceError, Fault, KeyError};
use strongroom::durable::FileError;
use strongroom::passphrase::PassphraseError;
use strongroom::ring::RingError;
use strongroom::store::StoreError;

use super::{Exit, Stop, fault, unsigned};

pub type Verdict = (&'static str, Exit, String);

pub const SECRET_SOURCE: &str = "the secret is the first line, 1 KiB at most, of a file that others can't read";

/// An id, an exit code and a fixed hint.
pub fn say(id: &'static str, exit: Exit, hint: &str) -> Verdict {
    (id, exit, hint.to_owned())
}

pub fn of(stop: &Stop) -> Verdict {
    match stop {
        Stop::Ceremony(error) => of_ceremony(error),
        Stop::Input(InputError::Length(_)) => say("length", Exit::Usage, "a key has 1 to 1024 bytes"),
        Stop::Input(_) => say("label", Exit::Usage, "a label is 1 to 255 bytes of text without control characters"),
        Stop::Uri(_) => say(
            "device-uri",
            Exit::Usage,
            "name a TPM as `tpm:` or `tpm:TCTI`, a token as `pkcs11:token=LABEL`; `strongroom device list` shows what is there",
        ),
        Stop::NoTerminal { flag, .. } => ("no-terminal", Exit::Usage, format!("give it with {flag}")),
        Stop::NoAnswer { flag, .. } => ("no-answer", Exit::Usage, format!("type it, or give it with {flag}")),
        Stop::NotText { .. } => say("not-text", Exit::Usage, "use UTF-8"),
        Stop::SecretSource { .. } => say("secret-source", Exit::Usage, SECRET_SOURCE),
        Stop::WhosePin { .. } => {
            say("whose-pin", Exit::Usage, "say whose it is: --pin-file DEVICE=FILE, once for each that asks")
        }
        Stop::NoSuchPin(_) => say("no-such-device", Exit::Usage, "`strongroom status` lists the ring's devices"),
        Stop::Differ { .. } | Stop::PartsDiffer(_) => say("differ", Exit::Refused, "nothing was changed; run it again"),
        Stop::PartEmpty(_) => say("part-empty", Exit::Usage, "each custodian types a part of their own"),
        Stop::Part { source, .. } => {
            let (id, exit, _) = of_passphrase(source);
            let hint =
                "each part must be a good passphrase by itself: to who knows the others, it is the only one left";
            say(id, exit, hint)
        }
        Stop::PartsAlike(..) => say(
            "parts-alike",
            Exit::Refused,
            "each of the two could open the backup alone: choose other parts, both of you",
        ),
        Stop::PinLength => say("pin-length", Exit::Refused, "choose a longer PIN"),
        Stop::PinRoom { .. } => say("pin-length", Exit::Refused, "choose one of that length"),
        Stop::NoBlankToken => say(
            "no-blank-token",
            Exit::Usage,
            "name its module: `pkcs11:?module-path=FILE`; `strongroom device list` shows what p11-kit's modules have",
        ),
        Stop::BlankTokens(_) => say("several-devices", Exit::Usage, "name one of them"),
        Stop::Code(_) => say(
            "unknown-code",
            Exit::Usage,
            "a code is a number, `0x921`, or a name, `CKR_PIN_LOCKED`, as errors show them",
        ),
        Stop::Declined => say("declined", Exit::Refused, "nothing was changed"),
        Stop::RawToTerminal => say("raw-to-terminal", Exit::Usage, "send it to a file or a pipe, or use --format hex"),
        Stop::NothingFound => say(
            "no-device",
            Exit::Usage,
            "name it with --device; `strongroom doctor` says where they were looked for, and what to switch on or install",
        ),
        Stop::NoSuchChoice(_) => say("no-such-choice", Exit::Usage, "answer with a number of the list"),
        Stop::NoSuchPcrs(_) => {
            say("pcrs", Exit::Usage, "answer with numbers from 0 to 23, `7` or `7+14`, or with nothing")
        }
        Stop::PolicyKey { source: KeyError::Private, .. } => say(
            "policy-key",
            Exit::Usage,
            "keep it away from this server; what is needed is the public one: openssl pkey -in FILE -pubout",
        ),
        Stop::PolicyKey { .. } => say(
            "policy-key",
            Exit::Usage,
            "give the public key in PEM, as `openssl pkey -pubout` writes it: RSA of 2048, 3072 or 4096 bits, or ECDSA on P-256 or P-384",
        ),
        Stop::Moment(_) => say("time", Exit::Usage, "write 2026-11-25, or 2026-11-25T10:00:00Z"),
        Stop::Tampered { .. } => say(
            "audit-tampered",
            Exit::Damaged,
            "what stands before it holds; find out who could write it, and compare it with the journal: journalctl -t strongroom",
        ),
        Stop::Output(_) | Stop::Write { .. } => say("output", Exit::Failed, "nothing was changed in the ring"),
        Stop::Trouble => say("trouble", Exit::Device, ""),
        Stop::Warnings => say("warnings", Exit::Warnings, ""),
        Stop::Unacceptable => say("passphrase", Exit::Refused, ""),
    }
}

fn of_ceremony(error: &Error) -> Verdict {
    match error {
        Error::Store(error) => of_store(error),
        Error::File(error) => of_file(error),
        Error::Audit(error) => of_audit(error),
        Error::Ring(error) => of_ring(error),
        Error::Passphrase(error) => of_passphrase(error),
        Error::Backup { source, .. } => of_backup(source),
        Error::Device { source, .. } => fault::of(&source.fault),
        Error::WouldNotOpen { source: DeviceError { fault: Fault::Unsigned(why), .. }, .. } => unsigned::foreseen(why),
        Error::WouldNotOpen { source, .. } => fault::of(&source.fault),
        Error::Absent { device, source } => {
            let (id, exit, hint) = fault::of(&source.fault);
            (id, exit, format!("{hint}; or go on without it: --leave-behind {device}"))
        }
        Error::NoSuchDevice(_) => say("no-such-device", Exit::Usage, "`strongroom status` lists the ring's devices"),
        Error::NotInService { uri, .. } => (
            "not-in-service",
            Exit::Refused,
            format!("run `strongroom device add '{uri}'` again to finish it, or remove the device"),
        ),
        Error::PinUnproved(device) => (
            "pin-unproved",
            Exit::Damaged,
            format!(
                "seal it anew under a PIN: `strongroom device remove {device}`, then `strongroom device add --with-pin`; \
                 where it is the only device: `strongroom restore --replace --with-pin`"
            ),
        ),
        Error::NobodyLeft => say("no-device", Exit::Usage, "leave fewer devices behind"),
        Error::NowhereToBeHad(_) => {
            say("seal-damaged", Exit::Damaged, "restore a backup that holds it: `strongroom restore FILE`")
        }
        Error::LetsNothingOut { .. } => say(
            "lets-nothing-out",
            Exit::Device,
            "nothing was made; make the system on a device that lets secrets out, and then add this one: \
             `strongroom device add`",
        ),
        Error::NothingLetsOut(_) => say(
            "nothing-lets-out",
            Exit::Device,
            "a backup that was made before has it: restore that onto a device which lets secrets out, on this server \
             (`strongroom restore --replace --device URI FILE`) or another",
        ),
        Error::DeviceKnown { .. } => say(
            "device-known",
            Exit::Refused,
            "`strongroom status` lists the ring's devices; `strongroom device repair` brings one up to date",
        ),
        Error::OnlyThere { device, .. } => (
            "only-there",
            Exit::Refused,
            format!("bring it onto another device first: `strongroom device repair DEVICE`, while {device} answers"),
        ),
        Error::Token(source) => fault::of(&source.fault),
        Error::OfficerLocked(_) => {
            say("officer-locked", Exit::Device, "nobody can set its user PIN any more: wipe it with its maker's tool")
        }
        Error::NotAToken => {
            say("not-a-token", Exit::Usage, "a TPM needs no initialisation: `strongroom init --device tpm:`")
        }
        Error::NoLabel(_) => say("no-label", Exit::Usage, "choose one: --label NAME"),
        Error::LastDevice(_) => say("last-device", Exit::Refused, "add another one first: `strongroom device add URI`"),
        Error::NothingToRecover(_) => {
            say("ring-whole", Exit::Refused, "nothing was changed; `strongroom status` shows it")
        }
        Error::NoHistory(_) => say("no-history", Exit::Damaged, "restore from a backup: `strongroom restore FILE`"),
        Error::Unfit { .. } => say(
            "device-unfit",
            Exit::Device,
            "nothing was made; `strongroom doctor` says what may help; or choose another device: `strongroom device list`",
        ),
        Error::RingExists { .. } => say(
            "ring-exists",
            Exit::Refused,
            "`strongroom status` shows it; for a new secret in the same system: `strongroom generate`",
        ),
        Error::NotMaster { master, .. } => ("not-master", Exit::Refused, format!("run it on {master}")),
        Error::OtherSystem { .. } => {
            say("other-system", Exit::Refused, "to give up the ring that is here, use --replace; it is then kept aside")
        }
        Error::OthersBackup { .. } => {
            say("other-system", Exit::Refused, "use a backup of this system: `strongroom status` lists them")
        }
        Error::NotInBackup { .. } => say(
            "generation-not-in-backup",
            Exit::Device,
            "nothing was changed; use a newer backup, which holds it: `strongroom status` lists them",
        ),
        Error::OtherDevice { .. } => say(
            "other-device",
            Exit::Refused,
            "where the ring's device is gone, use --replace: every generation of the backup is then sealed on the new one",
        ),
        Error::PcrsOnToken => {
            say("pcrs-on-token", Exit::Usage, "leave out --pcrs and --pcr-public-key: only a TPM has PCRs")
        }
        Error::NoPcrs(_) => say("no-pcrs", Exit::Usage, "say which: `strongroom bind --pcrs 7`"),
        Error::NoBank { .. } => {
            say("no-pcr-bank", Exit::Device, "name another bank, `sha256:7`; the firmware's settings switch them on")
        }
        Error::PinOnToken => say("pin-on-token", Exit::Usage, "leave out --with-pin"),
        Error::PinOnRing => say(
            "pin-on-ring",
            Exit::Usage,
            "to seal everything anew under a PIN: `strongroom restore --replace --with-pin`",
        ),
        Error::ProofFailed { .. } => {
            say("proof-failed", Exit::Damaged, "don't rely on this backup: make another one with `strongroom backup`")
        }
        Error::Name(_) => say("name", Exit::Usage, "choose another with --name"),
        Error::NoGeneration(_) => say("no-generation", Exit::Usage, "`strongroom status` lists the generations"),
        Error::NoDevice => {
            say("no-device", Exit::Usage, "name it with --device; `strongroom device list` shows what is there")
        }
    }
}

fn of_store(error: &StoreError) -> Verdict {
    match error {
        StoreError::NotAdministrator(_) => say(
            "not-administrator",
            Exit::Refused,
            "run it as the directory's owner (sudo), or choose another with --dir",
        ),
        StoreError::OpenAncestor(_) => say(
            "open-directory",
            Exit::Refused,
            "take away the others' right to write (chmod go-w), or choose another with --dir",
        ),
        StoreError::LooseMode { path, wanted, .. } => (
            "loose-mode",
            Exit::Refused,
            format!("see who could have read or changed it, then: chmod {wanted:04o} {}", path.display()),
        ),
        StoreError::ForeignFile(_) => say(
            "foreign-file",
            Exit::Refused,
            "find out who put it there; the ring must belong to the directory's owner",
        ),
        StoreError::NoRing(_) => say(
            "no-ring",
            Exit::Failed,
            "make a system with `strongroom init`, restore one with `strongroom restore`, or name its directory with --dir",
        ),
        StoreError::Lost(_) => {
            say("ring-lost", Exit::Damaged, "`strongroom recover` puts back the last good one; or restore a backup")
        }
        StoreError::Busy(_) => say("ring-busy", Exit::Unreachable, "wait until it has ended, and run it again"),
        StoreError::Changed => say("ring-changed", Exit::Unreachable, "nothing was changed; run it again"),
        StoreError::Ring { source, .. } => of_ring(source),
        StoreError::Unkept(_) => say(
            "history-unwritten",
            Exit::Failed,
            "don't run it again: `strongroom status` shows what was changed; make room",
        ),
        StoreError::FullLog(_) => say(
            "audit-full",
            Exit::Failed,
            "keep it, move it aside, and found the ring anew at once: `strongroom restore --replace`",
        ),
        StoreError::File(error) => of_file(error),
    }
}

fn of_audit(error: &AuditError) -> Verdict {
    match error {
        AuditError::Unwritable(_) => say(
            "audit-unwritable",
            Exit::Failed,
            "nothing was changed, since it could not be written down; make room, or see to the file's rights",
        ),
        AuditError::NoEntry(_) => say(
            "audit-damaged",
            Exit::Damaged,
            "`strongroom audit verify` says more; keep the file as evidence, move it aside, and found the ring anew at once: `strongroom restore --replace`",
        ),
        AuditError::Unconcluded(_) => say(
            "audit-unconcluded",
            Exit::Failed,
            "don't run it again: `strongroom status` shows what was changed; make room for the log",
        ),
        AuditError::Store(error) => of_store(error),
    }
}

fn of_ring(error: &RingError) -> Verdict {
    match error {
        RingError::Format(_) | RingError::Suite(_) => {
            say("ring-format", Exit::Damaged, "use the version of strongroom that wrote it, or a newer one")
        }
        RingError::Syntax(_) | RingError::Broken(_) => say(
            "ring-damaged",
            Exit::Damaged,
            "`strongroom recover` puts back the last good one of the history; or restore a backup",
        ),
        RingError::Full => {
            say("ring-full", Exit::Refused, "restore into a new system, or keep the generation that is active")
        }
        RingError::FullOfDevices | RingError::Large(_) => say(
            "ring-full",
            Exit::Refused,
            "remove a device that is not needed any more: `strongroom device remove ID`",
        ),
        RingError::OtherGeneration { .. } => say(
            "other-generation",
            Exit::Refused,
            "the two grew apart: restore into another state directory (--dir), and move what it protects",
        ),
    }
}

fn of_file(error: &FileError) -> Verdict {
    match error {
        FileError::Exists(_) => say("file-exists", Exit::Refused, "choose another name: nothing is ever overwritten"),
        FileError::NoDirectory(_) | FileError::MissingDirectory(_) => {
            say("no-directory", Exit::Usage, "make the directory first, or choose another place")
        }
        FileError::Link(_) => say("link", Exit::Usage, "name the directory that it leads to, with --dir"),
        FileError::ReadOnly(_) => say("read-only", Exit::Usage, "choose another place, or remount it read-write"),
        FileError::NotWritable(_) => {
            say("not-writable", Exit::Refused, "choose another place, or run it as its owner (sudo)")
        }
        FileError::NoRoom(_) => say("no-room", Exit::Usage, "make room, or choose another place"),
        FileError::Standard => say("not-a-file", Exit::Usage, "name a file"),
        FileError::Missing(_) => say("no-file", Exit::Usage, "check the path"),
        FileError::NotRegular(_) => say("not-a-file", Exit::Usage, "name a regular file"),
        FileError::TooLarge { .. } => {
            say("too-large", Exit::Damaged, "this is not a backup of Strongroom; check the path")
        }
        FileError::Io { .. } => say("file", Exit::Failed, "see what the system says, then run it again"),
    }
}

fn of_passphrase(error: &PassphraseError) -> Verdict {
    match error {
        PassphraseError::Short(_) => {
            say("passphrase-short", Exit::Refused, "use 10 bytes or more; several unrelated words are best")
        }
        PassphraseError::Long(_) => say("passphrase-long", Exit::Refused, "use 1024 bytes or less"),
        PassphraseError::Weak { .. } => say(
            "passphrase-weak",
            Exit::Refused,
            "use several unrelated words, or a made one: leave it empty at the prompt, or `strongroom passphrase suggest`",
        ),
        PassphraseError::NotUtf8 | PassphraseError::ControlCharacter => {
            say("passphrase-form", Exit::Refused, "use UTF-8 text without control characters")
        }
        PassphraseError::LongHint(_) | PassphraseError::UnprintableHint => {
            say("hint-form", Exit::Usage, "a hint is one line of at most 200 printable characters")
        }
        PassphraseError::TellingHint => say(
            "hint-tells",
            Exit::Refused,
            "anyone who finds the file can read the hint: say where it is kept, not what it is",
        ),
    }
}

fn of_backup(error: &BackupError) -> Verdict {
    match error {
        BackupError::Empty => {
            say("backup-damaged", Exit::Damaged, "nothing was ever written there, or it was lost; use another copy")
        }
        BackupError::Foreign => {
            say("backup-foreign", Exit::Damaged, "check the path: a backup starts with `# Strongroom backup`")
        }
        BackupError::Damaged(_) => {
            say("backup-damaged", Exit::Damaged, "use another copy, or make a new one with `strongroom backup`")
        }
        BackupError::Format(_) => say("backup-format", Exit::Damaged, "use a newer version of strongroom"),
        BackupError::Work { .. } => say(
            "backup-work",
            Exit::Damaged,
            "strongroom never makes such a file: it was changed, or made to keep this machine busy",
        ),
        BackupError::Memory { .. } => say("no-memory", Exit::Failed, "free some memory, or use a larger machine"),
        BackupError::WrongPassphrase => say(
            "wrong-passphrase",
            Exit::Wrong,
            "see the hint in the file's first lines; where the passphrase is surely right, the file's header may be damaged: use another copy",
        ),
    }
}
