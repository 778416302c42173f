//! The command line, as clap types: words only. Parsing has no side effects; conflicts between flags are stated here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use strongroom::audit::What;
use strongroom::ceremony::SealOptions;
use strongroom::device::Pcrs;

/// Exit codes, at the end of the help.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed
  2    usage: what was asked for makes no sense, or an answer has nowhere to come from
  3    the device is unreachable, busy or timed out; a retry may help
  4    wrong passphrase or PIN
  5    refused: not the administrator, not the master, would overwrite, last try, weak passphrase, answered no
  6    the ring or a backup is damaged, or the log was tampered with
  7    status --check found a warning
  8    the device won't: locked out, policy not met, not the device that made the seal; or doctor
       found trouble: a person must act
  130  interrupted

Documentation: README.md, docs/operations.md, docs/automation.md, docs/backup-format.md, docs/audit-log.md, docs/threat-model.md";

#[derive(Parser)]
#[command(name = "strongroom", version, max_term_width = 100, after_long_help = EXIT_CODES)]
/// Keeps a server's master secret in its TPM or HSM, backs it up under a passphrase, and derives keys from it
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct Global {
    /// State directory [default: $STRONGROOM_DIR, $STATE_DIRECTORY, or /var/lib/strongroom]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub dir: Option<PathBuf>,
    /// Say only what went wrong
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// Write JSON to standard output: one object a line for steps and errors
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// When to use colour (NO_COLOR is honoured)
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Everywhere")]
    pub color: Color,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
pub enum Command {
    Init(Init),
    Generate(Generate),
    Backup(Backup),
    Verify(Verify),
    Restore(Restore),
    Recover(Recover),
    Bind(Bind),
    Unbind(Unbind),
    Status(Status),
    Derive(Derive),
    #[command(subcommand)]
    Device(Device),
    #[command(subcommand)]
    Audit(Audit),
    #[command(subcommand)]
    Passphrase(Passphrase),
    Doctor(Doctor),
    Explain(Explain),
    /// Print the JSON Schema of what --json prints
    ///
    /// Every object names its schema, and errors are `{"error": ...}`. Without a name, the schemas are listed. Schemas are
    /// 2020-12, made from the program's own types; fields that they don't know may come with later versions.
    ///
    /// Example: strongroom schema plan
    Schema {
        name: Option<Shape>,
    },
    /// Print a completion script for a shell
    ///
    /// Example: strongroom completions bash > /usr/share/bash-completion/completions/strongroom
    Completions {
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    Man {
        directory: PathBuf,
    },
    /// Look at the tokens of one PKCS#11 module, in a process that may crash
    #[command(hide = true)]
    ProbeModule {
        module: OsString,
    },
    /// Look at one device from end to end, in a process that may crash
    #[command(hide = true)]
    CheckDevice {
        uri: String,
        /// What the ring pinned of it, as JSON
        pinned: Option<String>,
    },
}

/// Make a system: its first secret, inside the device, and its first backup
///
/// Without --device this is a wizard: it looks for TPMs and tokens, tells what each can do, and asks.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom init /mnt/usb/payroll.backup                       the wizard
  strongroom init --device tpm: --name payroll /mnt/usb/payroll.backup
  strongroom init --custodians 2 /mnt/usb/payroll.backup        two people type a part of the passphrase each
  strongroom init --device 'pkcs11:token=payroll?pin-source=/etc/strongroom/pin' \\
      --passphrase-fd 0 --hint 'sheet 7 in the safe' /mnt/usb/payroll.backup < passphrase")]
pub struct Init {
    /// The backup file to be made; it must not exist
    #[arg(value_name = "BACKUP_FILE")]
    pub file: PathBuf,
    /// The device: `tpm:` or `tpm:TCTI`, or a PKCS#11 URI (RFC 7512)
    #[arg(long, value_name = "URI")]
    pub device: Option<String>,
    /// The system's name [default: this host's]
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub seal: SealArgs,
    #[command(flatten)]
    pub new_pin: NewPin,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: NewPassphrase,
    #[command(flatten)]
    pub dry: DryRun,
}

/// Make a new generation of the master secret; it becomes active once its backup is proved
///
/// Older generations stay, to read what they protect. From then on `derive` without --generation gives other keys.
#[derive(Args)]
#[command(
    alias = "rotate",
    after_long_help = "\
Examples:
  strongroom generate --dry-run /mnt/usb/payroll-2.backup              all checks, and what would change
  strongroom generate /mnt/usb/payroll-2.backup
  strongroom generate --yes --passphrase-file /run/keys/passphrase /mnt/usb/payroll-2.backup
  strongroom generate --custodians 2 /mnt/usb/payroll-2.backup           its passphrase in two parts
  strongroom generate --leave-behind hsm1 /mnt/usb/payroll-2.backup      while hsm1 is away"
)]
pub struct Generate {
    /// The backup file to be made; it must not exist
    #[arg(value_name = "BACKUP_FILE")]
    pub file: PathBuf,
    /// A device of the ring that is not there and gets no seal, until `device repair`
    #[arg(long, value_name = "DEVICE")]
    pub leave_behind: Vec<String>,
    /// Bind the new generation to what these PCRs hold now, on TPMs [default: those that the active one is bound to]
    #[arg(long, value_name = "PCRS")]
    pub pcrs: Option<Pcrs>,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: NewPassphrase,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Make another backup of every generation, under a passphrase of its own
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom backup /mnt/usb2/payroll.backup
  strongroom backup --custodians 3 /mnt/usb2/payroll.backup
  strongroom backup --passphrase-file /run/keys/passphrase --hint 'sheet 8' /mnt/usb2/payroll.backup")]
pub struct Backup {
    /// The backup file to be made; it must not exist
    #[arg(value_name = "BACKUP_FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: NewPassphrase,
    #[command(flatten)]
    pub dry: DryRun,
}

/// A drill: open a backup, and prove every generation in it against the device
///
/// Works on any machine: where there is no ring, it says what it could not prove.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom verify /mnt/usb/payroll.backup
  strongroom verify --custodians 2 /mnt/usb/payroll.backup      each types the part that they know")]
pub struct Verify {
    #[arg(value_name = "BACKUP_FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    #[command(flatten)]
    pub dry: DryRun,
}

/// Restore the same secret onto this server's device
///
/// On a fresh server it makes the ring; on a ring of the same system it adds what is missing. Another system's ring, or
/// another device, is replaced only with --replace.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom restore /mnt/usb/payroll.backup                    asks which device, on a fresh server
  strongroom restore --dry-run --device tpm: /mnt/usb/payroll.backup
  strongroom restore --device 'pkcs11:token=payroll' /mnt/usb/payroll.backup
  strongroom restore --custodians 2 --device tpm: /mnt/usb/payroll.backup
  strongroom restore --member --device tpm: --yes --passphrase-fd 0 /mnt/usb/payroll.backup < passphrase")]
pub struct Restore {
    #[arg(value_name = "BACKUP_FILE")]
    pub file: PathBuf,
    /// The device: `tpm:` or `tpm:TCTI`, or a PKCS#11 URI (RFC 7512) [default: the ring's; else asked for]
    #[arg(long, value_name = "URI")]
    pub device: Option<String>,
    /// Restore without the right to generate: the master is, and stays, another server
    #[arg(long)]
    pub member: bool,
    /// Replace the ring that is here: another system's, or one on a device that is gone
    #[arg(long)]
    pub replace: bool,
    /// Go on where the log of ceremonies can't be written; the journal is told
    #[arg(long)]
    pub no_audit: bool,
    /// On a ring of the same system: make the backup's active generation the active one
    #[arg(long)]
    pub activate: bool,
    /// A device of the ring that is not there and gets no seal, until `device repair`
    #[arg(long, value_name = "DEVICE", conflicts_with = "replace")]
    pub leave_behind: Vec<String>,
    #[command(flatten)]
    pub seal: SealArgs,
    #[command(flatten)]
    pub new_pin: NewPin,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Put back the last good ring, where the ring was damaged or lost
///
/// The state directory keeps copies of the last rings. Nothing is overwritten: what is damaged is kept aside.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom recover --dry-run
  strongroom recover")]
pub struct Recover {
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Show the system, its devices, generations and backups, and what needs attention; never prompts
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom status
  strongroom status --json | jq .active
  strongroom status --check        one line a warning; exit code 7 where there is one
  strongroom status --quick --json what the ring says, at once, with any number of devices")]
pub struct Status {
    /// For monitoring: print warnings only, and exit with 7 where there are any
    #[arg(long)]
    pub check: bool,
    /// Look at the ring alone: no device is asked, so nothing is said of their health
    #[arg(long, conflicts_with = "check")]
    pub quick: bool,
}

/// Bind what is sealed on TPMs to PCRs: it opens only while the machine is started as it was then
///
/// Every generation is sealed anew and proved, and only then the old seals go. Without --pcrs, the PCRs are those that the
/// seals are bound to, or were until `strongroom unbind`; what counts is what they hold now.
///
/// Nothing is bound unless you ask for it. PCR 7 (Secure Boot and its certificates) changes seldom; 0 and 2 with the firmware,
/// 4, 8, 9 and 11 with the boot loader or the kernel.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom bind --pcrs 7
  strongroom bind                                         again, after `unbind` and a firmware update
  strongroom bind --from /mnt/usb/payroll.backup          the update came first, and the seals don't open any more")]
pub struct Bind {
    /// The PCRs: numbers from 0 to 23, `7` or `7+14`, and where it isn't SHA-256's, the bank: `sha384:7`
    #[arg(long, value_name = "PCRS")]
    pub pcrs: Option<Pcrs>,
    /// The TPM of the ring that is meant [default: all of them]
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Take the secret out of a backup: the seals need not open
    #[arg(long, value_name = "BACKUP_FILE")]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub new_pin: PinAnew,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Bind what is sealed on TPMs to no PCRs, until `strongroom bind`: before an update of firmware or boot loader
#[derive(Args)]
#[command(after_long_help = "\
Example:
  strongroom unbind                   `status` warns until `strongroom bind` is back")]
pub struct Unbind {
    /// The TPM of the ring that is meant [default: all of them]
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Derive a key from the master secret, inside the device
///
/// The same label, length and generation give the same key, on every device that holds the generation. A new generation
/// gives other keys: pin --generation in whatever must open the same thing tomorrow.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom derive --generation 1 backups/db1
  strongroom derive --generation 1 --length 64 --format raw disk/data | cryptsetup open --key-file - /dev/sdb data")]
pub struct Derive {
    /// What the key is for: 1 to 255 bytes of text
    #[arg(value_name = "LABEL")]
    pub label: String,
    /// Length of the key in bytes, 1 to 1024
    #[arg(long, short, default_value_t = 32, value_name = "BYTES")]
    pub length: u64,
    /// The generation to derive from [default: the active one]
    #[arg(long, short, value_name = "N")]
    pub generation: Option<u32>,
    /// How the key is printed
    #[arg(long, short, default_value = "hex")]
    pub format: Format,
    #[command(flatten)]
    pub pin: PinArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Hex,
    Base64,
    /// The bytes themselves; refused to a terminal
    Raw,
}

/// The devices of this server
#[derive(Subcommand)]
pub enum Device {
    /// List the TPMs and tokens that are there, and what each can do
    ///
    /// Tokens are those of p11-kit's modules; each module is looked at in a process of its own. Devices of the ring are
    /// marked with the names that they have there.
    List,
    Add(DeviceAdd),
    Remove(DeviceRemove),
    Repair(DeviceRepair),
    Retry(DeviceRetry),
}

/// Add a device to the ring: every generation is sealed on it too, and it serves when another doesn't
///
/// Moving from a TPM to an HSM is `device add`, then `device remove`.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom device add 'pkcs11:token=payroll'
  strongroom device add --with-pin tpm:
  strongroom device add --yes --pin-file hsm1=/run/keys/hsm1 --pin-file hsm2=/run/keys/hsm2 'pkcs11:token=second'")]
pub struct DeviceAdd {
    /// The device: `tpm:` or `tpm:TCTI`, or a PKCS#11 URI (RFC 7512)
    #[arg(value_name = "URI")]
    pub uri: String,
    #[command(flatten)]
    pub seal: SealArgs,
    #[command(flatten)]
    pub new_pin: NewPin,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Remove a device from the ring, once every generation was shown to be served by another
///
/// Says what it can erase and what it can't: a token's wrapping keys are destroyed, a TPM can't revoke a copied seal.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  strongroom device remove tpm1")]
pub struct DeviceRemove {
    /// The device, by its name in the ring
    #[arg(value_name = "DEVICE")]
    pub id: String,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub dry: DryRun,
    #[command(flatten)]
    pub yes: Yes,
}

/// Bring a device up to date: generations that it lacks, and seals on it that don't open
#[derive(Args)]
#[command(after_long_help = "\
Example:
  strongroom device repair hsm1")]
pub struct DeviceRepair {
    /// The device, by its name in the ring
    #[arg(value_name = "DEVICE")]
    pub id: String,
    #[command(flatten)]
    pub pin: PinArgs,
    #[command(flatten)]
    pub dry: DryRun,
}

/// Forget that a device refused a PIN: its file or credential is tried again
#[derive(Args)]
#[command(after_long_help = "\
Example:
  strongroom device retry hsm1")]
pub struct DeviceRetry {
    /// The device, by its name in the ring
    #[arg(value_name = "DEVICE")]
    pub id: String,
}

/// The record of ceremonies: who did what, and what was refused
#[derive(Subcommand)]
pub enum Audit {
    Show(AuditShow),
    Verify(AuditVerify),
}

/// Show the log's entries; never prompts
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom audit show --last 20
  strongroom audit show --since 2026-11-01 --what generate
  strongroom audit show --json | jq 'select(.entry.outcome == \"refused\").entry'")]
pub struct AuditShow {
    /// Entries from then on: a day (2026-11-25, UTC) or a moment (2026-11-25T10:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Entries about one thing
    #[arg(long, value_name = "WHAT", value_parser = what_parser())]
    pub what: Option<What>,
    /// The last N of them
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}

/// Check the log with the devices: whether an entry was changed, dropped, moved or cut off
///
/// Says up to which entry the master secret vouches for it, and what shows that nothing was cut off after it: a TPM's counter,
/// or the copy in the journal. Exit code 6, and the first line that can't be true, where it was tampered with.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom audit verify
  strongroom audit verify --json | jq .vouched")]
pub struct AuditVerify {
    #[command(flatten)]
    pub pin: PinArgs,
}

/// Passphrases for new backups
#[derive(Subcommand)]
pub enum Passphrase {
    Check(PassphraseCheck),
    /// Print a strong one: ten words, to be written down
    ///
    /// The same that a prompt for a new backup's passphrase makes when it is left empty. It is printed to standard output, and
    /// nothing keeps it.
    Suggest,
}

/// Judge a passphrase as a new backup would, without making one
///
/// The name of this server's system, if it has one, and this host's are among the words that a guesser tries first. Exit
/// code 5 where it would not be taken.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom passphrase check
  strongroom passphrase check --json --known payroll --hint 'sheet 7' --passphrase-fd 0 < passphrase | jq .score")]
pub struct PassphraseCheck {
    /// The hint that would go with it: it must not give the passphrase away
    #[arg(long, value_name = "TEXT")]
    pub hint: Option<String>,
    /// A word that a guesser would try first, such as the name of a system that is to be made
    #[arg(long, value_name = "WORD")]
    pub known: Vec<String>,
    #[command(flatten)]
    pub source: PassphraseSource,
}

/// Look at all that is between you and a working device, and say what is wrong and what to do
///
/// In order: a TPM's device node, resource manager, commands, storage root key and lockout; a token's module, version, flags,
/// PIN state and mechanisms. Changes nothing, asks nothing, and burns no try. With a PIN from a flag, a token of the ring is
/// put to its self-test as well. Exit code 8 where there is trouble.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom doctor                        the ring's devices; without a ring, all that are there
  strongroom doctor tpm:
  strongroom doctor 'pkcs11:token=payroll?module-path=/usr/lib/softhsm/libsofthsm2.so'
  strongroom doctor --pin-file /run/keys/hsm1 hsm1
  strongroom doctor --json | jq -r '.devices[].checks[] | select(.verdict == \"trouble\").text'")]
pub struct Doctor {
    /// Devices, by their URIs or by their names in the ring [default: the ring's, else all that can be found]
    #[arg(value_name = "DEVICE")]
    pub devices: Vec<String>,
    #[command(flatten)]
    pub pin: PinArgs,
}

/// Say what a device's code means, and what to do about it
///
/// For codes of TPMs and of the software before them (TPM_RC, TSS2) and of PKCS#11 modules (CKR), from whichever program they
/// come. The same number may mean something in both worlds: then both are said. Needs no device and no rights.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom explain 0x921
  strongroom explain CKR_PIN_LOCKED
  strongroom explain TPM_RC_LOCKOUT --json | jq -r .meanings[0].remedy")]
pub struct Explain {
    /// A number, `0x98e` or 2446, or a name in any case
    #[arg(value_name = "CODE", allow_hyphen_values = true)]
    pub code: String,
}

/// What `--json` prints, by the name of its schema.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// What a ceremony will do, and what it will ask for
    Plan,
    /// One thing that a ceremony has done, or begins to do
    Step,
    /// What a backup says of itself before it is opened
    Preamble,
    /// What a drill found
    Verify,
    /// `status`
    Status,
    /// `derive`
    Derive,
    /// `device list`
    Devices,
    /// Each line of `audit show`
    Audit,
    /// `audit verify`
    AuditVerify,
    /// `passphrase check` and `passphrase suggest`
    Passphrase,
    /// `doctor`
    Doctor,
    /// `explain`
    Explain,
    /// `schema` without a name
    Schemas,
    /// What did not happen, and why
    Error,
}

fn what_parser() -> impl TypedValueParser<Value = What> {
    PossibleValuesParser::new(What::ALL.map(What::name))
        .map(|name| What::ALL.into_iter().find(|what| what.name() == name).expect("one of them"))
}

#[derive(Args, Clone, Copy, PartialEq, Eq)]
pub struct DryRun {
    /// Say what would change and what would be asked for, and change nothing
    #[arg(long, help_heading = None::<&str>)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct Yes {
    /// Answer yes to the question
    #[arg(long, short, help_heading = None::<&str>)]
    pub yes: bool,
}

/// Where a passphrase is read from; neither: it is typed.
#[derive(Args)]
#[command(next_help_heading = "Passphrase")]
pub struct PassphraseSource {
    /// Read the passphrase from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    pub passphrase_file: Option<PathBuf>,
    /// Read the passphrase from a line of an open descriptor
    #[arg(long, value_name = "FD")]
    pub passphrase_fd: Option<i32>,
}

/// Where the passphrase of a backup comes from.
#[derive(Args)]
#[command(next_help_heading = "Passphrase")]
pub struct PassphraseArgs {
    #[command(flatten)]
    pub source: PassphraseSource,
    /// Have N people (2 to 9) type a part each, unseen by the others; joined by `-`, the parts are the passphrase
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=9),
          conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    pub custodians: Option<u8>,
}

/// Where a new passphrase comes from, and what goes with it.
#[derive(Args)]
#[command(next_help_heading = "Passphrase")]
pub struct NewPassphrase {
    #[command(flatten)]
    pub source: PassphraseArgs,
    /// A reminder in the backup's clear text: anyone who finds the file can read it
    #[arg(long, value_name = "TEXT")]
    pub hint: Option<String>,
    /// log2 of scrypt's N, 10 to 20
    #[arg(long, value_name = "N", hide = true, default_value_t = strongroom::backup::WORK_FACTOR,
          value_parser = clap::value_parser!(u8).range(10..=20))]
    pub work_factor: u8,
}

/// Where the device's PIN comes from.
#[derive(Args)]
#[command(next_help_heading = "PIN")]
pub struct PinArgs {
    /// Read the PIN from the first line of a file; once for each device, where several ask: tpm1=FILE
    #[arg(long, value_name = "[DEVICE=]FILE", conflicts_with = "pin_fd")]
    pub pin_file: Vec<OfDevice<PathBuf>>,
    /// Read the PIN from a line of an open descriptor (before the passphrase's line, where both use it)
    #[arg(long, value_name = "[DEVICE=]FD")]
    pub pin_fd: Vec<OfDevice<i32>>,
    /// Send a PIN even where the device takes only one more wrong one before it locks
    #[arg(long)]
    pub use_last_try: bool,
}

/// Something for one device, or for the one that needs it: `tpm1=/run/pin` or `/run/pin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfDevice<T> {
    pub device: Option<String>,
    pub what: T,
}

impl<T: FromStr> FromStr for OfDevice<T> {
    type Err = T::Err;

    /// What stands before `=` is a device only where it looks like the name of one: paths may hold a `=` too.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |name: &str| {
            let number = name.strip_prefix("tpm").or_else(|| name.strip_prefix("hsm"));
            number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        match text.split_once('=').filter(|(name, _)| is_name(name)) {
            Some((name, what)) => Ok(Self { device: Some(name.to_owned()), what: what.parse()? }),
            None => Ok(Self { device: None, what: text.parse()? }),
        }
    }
}

/// What shall guard the seals on a device that is new here.
#[derive(Args)]
pub struct SealArgs {
    /// Bind the seals to what these PCRs hold now, such as `7` or `sha256:7+14` (TPM only)
    #[arg(long, value_name = "PCRS")]
    pub pcrs: Option<Pcrs>,
    /// Guard the secret with a PIN of its own (TPM only)
    #[arg(long)]
    pub with_pin: bool,
}

impl From<SealArgs> for SealOptions {
    fn from(SealArgs { pcrs, with_pin }: SealArgs) -> Self {
        Self { with_pin, pcrs }
    }
}

/// Where the PIN of seals comes from that are made anew out of a backup.
#[derive(Args)]
#[command(next_help_heading = "PIN")]
pub struct PinAnew {
    /// Read the PIN that shall guard the seals from the first line of a file
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with = "new_pin_fd")]
    pub new_pin_file: Option<PathBuf>,
    /// Read the PIN that shall guard the seals from a line of an open descriptor
    #[arg(long, value_name = "FD", requires = "from")]
    pub new_pin_fd: Option<i32>,
}

impl From<PinAnew> for NewPin {
    fn from(PinAnew { new_pin_file, new_pin_fd }: PinAnew) -> Self {
        Self { new_pin_file, new_pin_fd }
    }
}

/// Where the PIN of a new seal comes from.
#[derive(Args)]
#[command(next_help_heading = "PIN")]
pub struct NewPin {
    /// Read the new PIN from the first line of a file
    #[arg(long, value_name = "FILE", requires = "with_pin", conflicts_with = "new_pin_fd")]
    pub new_pin_file: Option<PathBuf>,
    /// Read the new PIN from a line of an open descriptor
    #[arg(long, value_name = "FD", requires = "with_pin")]
    pub new_pin_fd: Option<i32>,
}
