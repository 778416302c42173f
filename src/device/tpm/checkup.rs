//! A TPM, looked at step by step: from the device node to the counters. Sends TPM2_GetCapability and TPM2_ReadPublic; where the
//! pinned storage root key is not there, what [`super::lost`] asks, too.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use tss_esapi::Context;
use tss_esapi::constants::{AlgorithmIdentifier, CapabilityType, PropertyTag};
use tss_esapi::structures::{CapabilityData, Public};

use super::chip::Chip;
use super::describe::{self, COMMANDS, FOR_PCRS, FOR_SIGNED, Maker};
use super::error::{Cure, cure};
use super::{lockout, node, root};
use crate::device::checkup::{Ended, Findings, alone};
use crate::device::uri::TpmUri;
use crate::device::{DeviceError, DeviceUri, Fault, Root, Signatures, Tries};

/// The steps, in order.
pub const STEPS: [&str; 12] = [
    "node",
    "resource-manager",
    "connection",
    "maker",
    "specification",
    "commands",
    "algorithms",
    "pcr-banks",
    "slots",
    "owner",
    "root-key",
    "lockout",
];

/// TPM_PT_PERMANENT, and the seventeen after it (TPM 2.0 Part 2, section 6.13): what changes while the TPM runs.
const FIRST_VARIABLE: u32 = 0x200;
const VARIABLES: u32 = 18;
/// TPM_PT_FAMILY_INDICATOR, and the two after it: the level, and the specification's revision in hundredths.
const FIRST_FIXED: u32 = 0x100;
const FIXED: u32 = 3;
/// TPMA_PERMANENT, ownerAuthSet (Part 2, section 8.6).
const OWNER_AUTH_SET: u32 = 1;
/// What the log's counter takes beyond the job.
const FOR_COUNTERS: [(u32, &str); 5] = [
    (0x122, "TPM2_NV_UndefineSpace"),
    (0x12a, "TPM2_NV_DefineSpace"),
    (0x134, "TPM2_NV_Increment"),
    (0x14e, "TPM2_NV_Read"),
    (0x169, "TPM2_NV_ReadPublic"),
];

/// Where there is no TPM to be seen.
pub const SWITCH_ON: &str = "switch the TPM on in the firmware's settings (fTPM, PTT or security device), and see `dmesg | grep -i tpm`; \
     a virtual machine needs a virtual TPM";
const THROUGH_MANAGER: &str = "name the TPM as `tpm:`, which goes through the kernel's resource manager";
const ANOTHER: &str =
    "put back the TPM that made the seals, or restore a backup onto this one: `strongroom restore --replace FILE`";
const CLEARED: &str = "restore a backup onto it: `strongroom restore --replace FILE`";
const REMOVED: &str = "nothing is lost: have the TPM make it again, as docs/operations.md says";
const UPDATE: &str = "see whether its maker has newer firmware, or use another device";

/// All of it. Error: it could not be looked at to the end, which was told.
pub fn checkup(uri: &TpmUri, pinned: Option<&Root>, findings: &mut Findings<'_>) -> Result<(), Ended> {
    device_node(uri, findings)?;
    manager(uri, findings);
    let _lock = alone(&DeviceUri::Tpm(uri.clone()), "connection", findings)?;
    let mut chip = connect(uri, findings)?;
    let context = &mut chip.context;
    maker(context, findings)?;

    let mut state = State { uri, pinned, binds: true, owner: Owner::Open };
    type Look = fn(&mut Context, &mut State<'_>, &mut Findings<'_>) -> Result<(), DeviceError>;
    let looks: [(&str, Look); 8] = [
        ("specification", specification),
        ("commands", commands),
        ("algorithms", algorithms),
        ("pcr-banks", pcr_banks),
        ("slots", slots),
        ("owner", owner),
        ("root-key", root_key),
        ("lockout", lockout),
    ];
    for (id, look) in looks {
        findings.at(id, format!("when it was asked about its {}", id.replace('-', " ")));
        match look(context, &mut state, findings) {
            Ok(()) => {}
            // To show a key that it keeps, the TPM takes a slot; to empty one is not for us.
            Err(error) if cure(&error) == Cure::MakeRoom => {
                findings.skipped(id, "the TPM has no free slot to show it in");
            }
            Err(error) => {
                findings.failed(id, &error, None);
                if matches!(error.fault, Fault::Unreachable(_)) {
                    return Err(findings.end("the TPM answers no more"));
                }
            }
        }
    }
    Ok(())
}

/// What the steps know of each other.
struct State<'s> {
    uri: &'s TpmUri,
    pinned: Option<&'s Root>,
    /// Whether it has the commands that bind seals to PCRs.
    binds: bool,
    owner: Owner,
}

/// Whether the owner hierarchy lets a storage root key be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Open,
    Password,
    Disabled,
}

fn device_node(uri: &TpmUri, findings: &mut Findings<'_>) -> Result<(), Ended> {
    let Some(path) = uri.device_node() else {
        findings.skipped("node", "it is reached through a socket or a bus, not through a device node");
        return Ok(());
    };
    findings.at("node", format!("when {path} was opened"));
    let Err(error) = node::check(path) else {
        findings.ok("node", format!("{path} is there, and may be used"));
        return Ok(());
    };
    let is_other = std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_char_device());
    if is_other && !matches!(error.fault, Fault::NoPermission { .. }) {
        findings.trouble("node", format!("{path} is no device"), "name the device's node: `tpm:` is /dev/tpmrm0");
        return Err(findings.end("it takes a device node"));
    }
    let bare = path.replace("/dev/tpmrm", "/dev/tpm");
    let is_managed = path.starts_with("/dev/tpmrm");
    if is_managed && Path::new(&bare).exists() && !Path::new(path).exists() {
        let text = format!("there is {bare}, and no {path}: the kernel has no resource manager for this TPM");
        findings.trouble("node", text, "this may be a TPM 1.2, which does not serve, or a kernel before 4.12");
    } else if let ([another, ..], false) = (node::beside(path).as_slice(), Path::new(path).exists()) {
        let remedy = format!(
            "name that one: `tpm:device:{another}`. A driver that was loaded anew counts on, until the machine is started again"
        );
        findings.failed("node", &error, Some(&remedy));
    } else if !is_managed && node::check(&path.replace("/dev/tpm", "/dev/tpmrm")).is_ok() {
        findings.trouble("node", error.fault.to_string(), THROUGH_MANAGER);
    } else {
        findings.failed("node", &error, Some(SWITCH_ON));
    }
    Err(findings.end("it takes a device node that may be used"))
}

fn manager(uri: &TpmUri, findings: &mut Findings<'_>) {
    let id = "resource-manager";
    match (uri.is_resource_managed(), uri.device_node()) {
        (true, Some(_)) => findings.ok(id, "the kernel's: other programs may use the TPM at the same time"),
        (true, None) => findings.ok(id, "tpm2-abrmd: other programs may use the TPM at the same time"),
        (false, Some(path)) => {
            findings.note(id, format!("none: {path} serves one program at a time"), Some(THROUGH_MANAGER))
        }
        (false, None) => findings.note(id, "none: this address serves one program at a time", None),
    }
}

fn connect(uri: &TpmUri, findings: &mut Findings<'_>) -> Result<Chip, Ended> {
    let tcti = uri.tcti();
    let library = format!("libtss2-tcti-{}.so", tcti.split([':', ',']).next().unwrap_or_default());
    findings.at("connection", format!("when {library} was to reach it"));
    let error = match Chip::connect(uri, Signatures::default()) {
        Ok(chip) => {
            findings.ok("connection", format!("{library} is there, and reaches it at {tcti}"));
            return Ok(chip);
        }
        Err(error) => error,
    };
    let is_missing = error.code.as_ref().is_some_and(|code| code.name.ends_with("_NOT_SUPPORTED"));
    match is_missing {
        true => findings.trouble(
            "connection",
            format!("the TPM's software can't load {library}"),
            "install it: Debian's packages are called libtss2-tcti-...",
        ),
        false => findings.failed("connection", &error, Some("see that a TPM listens at this address")),
    }
    Err(findings.end("it takes a connection to the TPM"))
}

fn maker(context: &mut Context, findings: &mut Findings<'_>) -> Result<(), Ended> {
    findings.at("maker", "when it was asked for its maker");
    match describe::maker(context) {
        Ok(Maker { manufacturer, model, firmware }) => {
            findings.ok("maker", format!("{manufacturer} {model}, firmware {firmware}"));
            Ok(())
        }
        Err(error) => {
            findings.failed("maker", &error, None);
            Err(findings.end("it takes a TPM that answers"))
        }
    }
}

fn specification(context: &mut Context, _: &mut State<'_>, findings: &mut Findings<'_>) -> Result<(), DeviceError> {
    let property = describe::properties(context, FIRST_FIXED, FIXED)?;
    match property(PropertyTag::Revision) {
        Some(revision) => {
            findings.ok("specification", format!("TPM 2.0, revision {}.{:02}", revision / 100, revision % 100));
        }
        None => findings.note("specification", "it does not tell its revision", None),
    }
    Ok(())
}

fn commands(context: &mut Context, state: &mut State<'_>, findings: &mut Findings<'_>) -> Result<(), DeviceError> {
    let lacks = describe::lacked_commands(context, &COMMANDS)?;
    let for_pcrs = describe::lacked_commands(context, &FOR_PCRS)?;
    let for_signed = describe::lacked_commands(context, &FOR_SIGNED)?;
    let for_counters = describe::lacked_commands(context, &FOR_COUNTERS)?;
    state.binds = for_pcrs.is_empty();
    match lacks.as_slice() {
        [] => findings.ok("commands", format!("all {} that the job needs", COMMANDS.len())),
        lacks => findings.trouble("commands", format!("it lacks {}", lacks.join(", ")), UPDATE),
    }
    for (what, lacks) in [
        ("seals can't be bound to PCRs", for_pcrs),
        ("seals can't be bound to signed states of PCRs", for_signed),
        ("the log has no counter", for_counters),
    ] {
        if !lacks.is_empty() {
            findings.note("commands", format!("{what}: it lacks {}", lacks.join(", ")), None);
        }
    }
    Ok(())
}

fn algorithms(context: &mut Context, _: &mut State<'_>, findings: &mut Findings<'_>) -> Result<(), DeviceError> {
    // Which ones depends on the storage root key; what is wrong with that is another step's.
    let root = root::read(context).ok().flatten().map(|found| found.public);
    match describe::lacked_algorithms(context, root.as_ref())?.as_slice() {
        [] => findings.ok("algorithms", "all that the job needs"),
        lacks => findings.trouble("algorithms", format!("it lacks {}", lacks.join(", ")), UPDATE),
    }
    Ok(())
}

fn pcr_banks(context: &mut Context, state: &mut State<'_>, findings: &mut Findings<'_>) -> Result<(), DeviceError> {
    if !state.binds {
        findings.skipped("pcr-banks", "it lacks the commands that take them");
        return Ok(());
    }
    let assigned = context.get_capability(CapabilityType::AssignedPcr, 0, u32::MAX);
    let Ok((CapabilityData::AssignedPcr(assigned), _)) = assigned else {
        // A bank that the crate does not know spoils the whole list: the question is asked as seals ask it.
        match describe::pcr_banks(context)?.as_slice() {
            [] => findings.note("pcr-banks", "it tells of none", None),
            banks => findings.ok("pcr-banks", banks.join(", ")),
        }
        return Ok(());
    };
    let (mut full, mut empty) = (Vec::new(), Vec::new());
    for bank in assigned.get_selections() {
        let name = match AlgorithmIdentifier::from(bank.hashing_algorithm()) {
            AlgorithmIdentifier::Sha3_256 => "sha3-256".to_owned(),
            AlgorithmIdentifier::Sha3_384 => "sha3-384".to_owned(),
            AlgorithmIdentifier::Sha3_512 => "sha3-512".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        if bank.is_empty() { empty.push(name) } else { full.push(name) }
    }
    let others = if empty.is_empty() { String::new() } else { format!("; empty: {}", empty.join(", ")) };
    match describe::pcr_banks(context)?.is_empty() {
        false => findings.ok("pcr-banks", format!("{}{others}", full.join(", "))),
        true => findings.note(
            "pcr-banks",
            format!("none that seals can be bound to{others}"),
            Some("the firmware's settings switch them on; without --pcrs, none is needed"),
        ),
    }
    Ok(())
}

fn slots(context: &mut Context, state: &mut State<'_>, findings: &mut Findings<'_>) -> Result<(), DeviceError> {
    let property = describe::properties(context, FIRST_VARIABLE, VARIABLES)?;
    let of = |tag| property(tag).unwrap_or(0);
    let (objects, sessions) = (of(PropertyTag::HrTransientAvail), of(PropertyTag::HrLoadedAvail));
    let in_use = of(PropertyTag::HrLoaded);
    let text = format!("free: {objects} for objects, {sessions} for sessions ({in_use} in use)");
    let has_password = of(PropertyTag::Permanent) & OWNER_AUTH_SET != 0;
    state.owner = match (describe::is_owner_off(context), has_password) {
        (true, _) => Owner::Disabled,
        (false, true) => Owner::Password,
        (false, false) => Owner::Open,
    };
    // Those that a resource manager has swapped out count as well.
    if property(PropertyTag::HrActiveAvail) == Some(0) {
        let remedy = "they are given back when those programs end; until then, strongroom waits for 10 seconds";
        findings.note("slots", "other programs have begun all the sessions that the TPM can keep", Some(remedy));
        return Ok(());
    }
    let is_short = objects == 0 || sessions == 0;
    match (is_short, state.uri.is_resource_managed()) {
        (false, _) => findings.ok("slots", text),
        (true, true) => findings.note("slots", text, Some("the resource manager makes room when it is needed")),
        (true, false) => findings.note(
            "slots",
            format!("{text}: programs that died have left things in them"),
            Some("strongroom empties them by itself when it needs room; tpm2_flushcontext does too"),
        ),
    }
    Ok(())
}

fn owner(_: &mut Context, state: &mut State<'_>, findings: &mut Findings<'_>) -> Result<(), DeviceError> {
    match state.owner {
        Owner::Open => findings.ok("owner", "it has no password"),
        Owner::Password => findings.note(
            "owner",
            "it has a password: where the log's counter isn't there yet, it can't be made",
            Some("take the password away while the counter is made: tpm2_changeauth -c owner"),
        ),
        Owner::Disabled => findings.trouble(
            "owner",
            "its hierarchy is switched off: neither the storage root key nor what hangs from it can be used",
            "find out what switched it off (TPM2_HierarchyControl); the machine's next start switches it on",
        ),
    }
    Ok(())
}

fn root_key(context: &mut Context, state: &mut State<'_>, findings: &mut Findings<'_>) -> Result<(), DeviceError> {
    let id = "root-key";
    if state.owner == Owner::Disabled {
        // It would look as if the TPM had been cleared.
        findings.skipped(id, "none is shown while the owner's hierarchy is switched off");
        return Ok(());
    }
    if let Some(pinned) = state.pinned {
        match root::find_pinned(context, pinned) {
            Ok(_) => {}
            Err(error) if cure(&error) == Cure::MakeRoom => return Err(error),
            Err(error) => {
                let remedy = match error.fault {
                    Fault::NotThisDevice(_) => Some(ANOTHER),
                    Fault::Cleared(_) => Some(CLEARED),
                    Fault::RootRemoved(_) => Some(REMOVED),
                    _ => None,
                };
                findings.failed(id, &error, remedy);
                return Ok(());
            }
        }
    }
    let found = root::read(context)?;
    let handle = root::ROOT_HANDLE;
    let Some(found) = found else {
        match state.owner {
            Owner::Open | Owner::Disabled => {
                findings.note(id, format!("none at {handle:#x} yet: `init` makes one"), None)
            }
            Owner::Password => findings.trouble(
                id,
                format!("none at {handle:#x} yet, and making one takes the owner's password"),
                "make it as the owner: tpm2_createprimary and tpm2_evictcontrol",
            ),
        }
        return Ok(());
    };
    if let Err(error) = root::check(&found.public) {
        findings.failed(id, &error, Some("find out who made it; strongroom neither uses nor removes it"));
        return Ok(());
    }
    let kind = match (root::is_usual(&found.public)?, &found.public) {
        (true, _) => "as systemd and strongroom make it",
        (false, Public::Rsa { .. }) => "RSA, made by another program: it serves as well",
        (false, _) => "made by another program: it serves as well",
    };
    let whose = if state.pinned.is_some() { ", the one that the ring pinned" } else { "" };
    findings.ok(id, format!("at {handle:#x}{whose}; {kind}"));
    Ok(())
}

fn lockout(context: &mut Context, _: &mut State<'_>, findings: &mut Findings<'_>) -> Result<(), DeviceError> {
    let tries = lockout::read(context)?;
    let back = match tries.recovery_seconds {
        Some(seconds) => format!("; one comes back every {}", lasting(seconds)),
        None => String::new(),
    };
    match tries {
        Tries { left: Some(0), .. } => findings.trouble(
            "lockout",
            format!("locked: no try at a PIN is left{back}"),
            "wait, then use the right PIN; who has the lockout password: tpm2_dictionarylockout --clear-lockout. \
             What is sealed without a PIN is served all the same",
        ),
        Tries { left: Some(left), max: Some(max), .. } => {
            let is = if left == 1 { "is" } else { "are" };
            let text = format!("{left} of {max} tries at a PIN {is} left{back}");
            match left {
                1 => findings.note("lockout", text, Some("wait for more, or be sure of the PIN: --use-last-try")),
                _ => findings.ok("lockout", text),
            }
        }
        Tries { .. } => findings.note("lockout", "it does not tell how many wrong PINs it takes", None),
    }
    Ok(())
}

fn lasting(seconds: u32) -> String {
    match seconds {
        0..=90 => format!("{seconds} seconds"),
        91..=5400 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_round_numbers() {
        assert_eq!([30, 1000, 7200].map(lasting), ["30 seconds", "17 minutes", "2 hours"]);
    }
}
