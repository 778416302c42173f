//! Torture: every ceremony is broken wherever it can be, on each kind of device, and nothing may be lost.
//!
//! *Lost* means: a generation that was once active, and neither a device nor a proved backup gives it. What is judged is
//! more than that (see [`judge`]), and any promise that does not hold counts as a loss in the table.
//!
//! | part | what happens |
//! |---|---|
//! | [`calls`] | kill -9, EIO and ENOSPC in place of each system call on the state and the backups |
//! | [`commands`] | kill -9 before and after each command to a TPM, each call to a PKCS#11 module |
//! | [`power`] | power cuts, by record and replay: every disk that the syncs made so far allow |
//! | [`random`] | kill -9 at random moments of random ceremonies, one after the other |
//! | [`crowd`] | two to eight processes at once |
//!
//! Plain `cargo test` tries all power cuts and a tenth of the rest, another tenth each time; `ci/torture` tries everything
//! and prints the table. New ceremonies are a line in [`ceremony`].

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod ceremony;
mod commands;
mod crowd;
mod disk;
mod judge;
mod planted;
mod power;
mod random;
mod record;
mod share;
mod stage;
mod strace;
mod table;

use power::Lack;
use share::Seed;
use stage::Device;

#[test]
fn system_calls_with_a_tpm() {
    calls::break_all(Device::Tpm, &mut Seed::chosen("system calls, TPM"));
}

#[test]
fn system_calls_with_a_token() {
    calls::break_all(Device::Token, &mut Seed::chosen("system calls, token"));
}

#[test]
fn power_cuts_with_a_tpm() {
    power::cut_all(Device::Tpm, &mut Seed::chosen("power cuts, TPM"));
}

#[test]
fn power_cuts_with_a_token() {
    power::cut_all(Device::Token, &mut Seed::chosen("power cuts, token"));
}

#[test]
fn power_cuts_with_a_backup_on_fat() {
    power::cut_on_a_lesser_file_system(Lack::UnnamedFiles, &mut Seed::chosen("power cuts, FAT"));
}

#[test]
fn power_cuts_with_a_backup_on_a_network_share() {
    power::cut_on_a_lesser_file_system(Lack::UnnamedFilesAndRenameat2, &mut Seed::chosen("power cuts, network share"));
}

#[test]
fn power_cuts_after_a_kill_with_a_tpm() {
    power::cut_after_a_kill(Device::Tpm, &mut Seed::chosen("power cuts after a kill, TPM"));
}

#[test]
fn power_cuts_after_a_kill_with_a_token() {
    power::cut_after_a_kill(Device::Token, &mut Seed::chosen("power cuts after a kill, token"));
}

#[test]
fn a_planted_bug_is_found_no_sync_of_the_backups_directory() {
    planted::no_sync_of_the_backups_directory();
}

#[test]
fn a_planted_bug_is_found_no_sync_of_the_states_directory() {
    planted::no_sync_of_the_states_directory();
}

#[test]
fn a_planted_bug_is_found_no_sync_of_the_backup() {
    planted::no_sync_of_the_backup();
}

#[test]
fn a_planted_bug_is_found_the_commit_before_the_backup() {
    planted::the_commit_before_the_backup();
}

#[test]
fn device_commands_with_a_tpm() {
    commands::break_all(Device::Tpm, &mut Seed::chosen("device commands, TPM"));
}

#[test]
fn device_commands_with_a_token() {
    commands::break_all(Device::Token, &mut Seed::chosen("device commands, token"));
}

#[test]
fn random_kills_with_a_tpm() {
    random::kill_all(Device::Tpm, &mut Seed::chosen("random kills, TPM"));
}

#[test]
fn random_kills_with_a_token() {
    random::kill_all(Device::Token, &mut Seed::chosen("random kills, token"));
}

#[test]
fn derive_while_one_generates_with_a_tpm() {
    crowd::derive_while_one_generates(Device::Tpm);
}

#[test]
fn derive_while_one_generates_with_a_token() {
    crowd::derive_while_one_generates(Device::Token);
}

#[test]
fn a_backups_name_that_is_not_synced_is_a_failure() {
    calls::a_backups_name_that_is_not_synced_is_a_failure();
}

#[test]
fn a_state_that_cant_be_read_is_not_none() {
    calls::a_state_that_cant_be_read_is_not_none();
}

#[test]
fn a_drill_does_not_build_on_a_name_that_was_not_synced() {
    power::a_name_that_was_not_synced_is_not_built_on("generate", "files");
}

#[test]
fn an_init_does_not_build_on_a_directory_that_was_not_synced() {
    power::a_name_that_was_not_synced_is_not_built_on("init", "");
}

#[test]
fn a_repair_does_not_build_on_a_ring_that_was_not_synced() {
    power::a_name_that_was_not_synced_is_not_built_on("device repair", "state");
}
