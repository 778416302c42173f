//! Lines of the doctor that are seldom seen, each with what to do. What it is, and that looking changes nothing: `doctor.rs`.

use crate::common::meddler::{Act, FAILURE, Meddler};
use crate::common::pty::Pty;
use crate::doctor::{behind_faults, examined};
use crate::prompts::SOON;
use crate::snapshot;
use crate::world::World;

/// Of what was said, the lines about these checks, and what to do about them.
fn about(said: &str, ids: &[&str]) -> String {
    let mut is_meant = false;
    let lines = said.lines().filter(|line| {
        let is_remedy = line.trim_start().starts_with("to do: ");
        is_meant = if is_remedy { is_meant } else { ids.iter().any(|id| line.contains(&format!("  {id}: "))) };
        is_meant
    });
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(!lines.is_empty(), "{said}");
    lines
}

#[test]
fn of_tpms() {
    let mut told = Vec::new();
    let world = World::new();
    let tpm = world.tpm.as_ref().unwrap();
    tpm.tool_ok(&["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "0x81000001"]);
    told.push(about(&examined(&world, "doctor", 8).stdout, &["root-key"]));
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
    tpm.tool_ok(&["tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc", "-a", attributes, "-c", "key"]);
    tpm.tool_ok(&["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "key", "0x81000001"]);
    tpm.flush();
    told.push(about(&examined(&World::bare(), &format!("doctor {}", tpm.uri()), 8).stdout, &["root-key"]));

    let mut world = World::fresh();
    let tpm = world.tpm.as_mut().unwrap();
    tpm.tool_ok(&["tpm2_pcrallocate", "-Q", "sha1:all+sha256:none+sha384:none+sha512:none"]);
    tpm.power_cycle();
    told.push(about(&examined(&world, "doctor $TPM", 0).stdout, &["pcr-banks"]));
    snapshot::check_text("doctor-tpms", &told.join("\n"));
}

#[test]
fn of_tpms_that_lack_or_fail() {
    let world = World::new();
    let tpm = world.tpm.as_ref().unwrap();
    let ids = ["maker", "commands", "slots", "lockout"];
    let mut told = Vec::new();
    let mut see = |bus: &Meddler, code: i32| {
        let line = format!("doctor {}", bus.uri());
        told.push(about(&examined(&World::bare(), &line, code).stdout, &ids));
    };
    // TPM2_GetCapability(TPM_CAP_COMMANDS): of TPM2_PolicyAuthorize and TPM2_NV_Increment, it names the next that it has.
    let bus = Meddler::start(tpm, |command| match command.bytes.get(10..18) {
        Some([0, 0, 0, 2, 0, 0, 1, 0x6a]) => Act::Response(|answer| answer[22] = 0x6b),
        Some([0, 0, 0, 2, 0, 0, 1, 0x34]) => Act::Response(|answer| answer[22] = 0x35),
        _ => Act::Pass,
    });
    see(&bus, 0);
    // TPM_PT_HR_ACTIVE_AVAIL, of what changes.
    bus.decide(|command| match command.bytes.get(10..18) {
        Some([0, 0, 0, 6, 0, 0, 2, 0]) => Act::Response(|answer| {
            let at = answer.windows(4).position(|bytes| *bytes == [0, 0, 2, 6]).unwrap();
            answer[at + 4..at + 8].fill(0);
        }),
        _ => Act::Pass,
    });
    see(&bus, 0);
    bus.decide(|_| Act::Answer(FAILURE));
    see(&bus, 8);
    snapshot::check_text("doctor-lacks-or-fails", &told.join("\n"));
}

/// A kernel that has the TPM, and no resource manager for it.
#[test]
fn of_the_kernel() {
    let world = World::bare();
    let script = "mount -t tmpfs none /mnt && : >/mnt/tpm0 && : >/mnt/null && mount --bind /dev/null /mnt/null &&
        mount --rbind /mnt /dev && exec \"$0\" \"$@\"";
    let shot = world.unchanged(|| world.run_as("doctor tpm:", world.in_namespace("--mount", script, "doctor tpm:")));
    assert_eq!(shot.code, Some(8), "{shot}");
    snapshot::check_text("doctor-no-manager", &about(&shot.stdout, &["node"]));
}

/// Somebody of ours has the device: at a PIN prompt.
#[test]
fn of_a_device_in_use() {
    let world = World::with_pin();
    let mut command = world.command("derive --generation 1 backups");
    command.env("TERM", "dumb");
    let mut sitting = Pty::spawn(command);
    sitting.expect("PIN", SOON);
    let shot = examined(&world, "doctor", 8);
    sitting.interrupt();
    sitting.finish();
    snapshot::check_text("doctor-in-use", &about(&shot.stdout, &["connection"]));
}

#[test]
fn of_tokens() {
    let world = World::fresh_token();
    let rules: [(&str, i32); 4] = [
        ("C_GetTokenInfo * flags WRITE_PROTECTED", 8),
        ("C_GetTokenInfo * no-flags USER_PIN", 8),
        ("C_GetTokenInfo * no-flags LOGIN", 0),
        ("C_GetTokenInfo * flags PAD", 0),
    ];
    let told = rules.map(|(rule, code)| {
        format!("# {rule}\n{}", about(&behind_faults(&world, &[rule], "", code), &["state", "pin"]))
    });
    snapshot::check_text("doctor-states", &told.join("\n"));
}
