//! Bugs planted into the recording of a `generate`, and nowhere else: each must be found, or the replay finds nothing.

use crate::ceremony;
use crate::disk::{Recording, Step};
use crate::judge::Complaint;
use crate::power::Scene;
use crate::share::Seed;
use crate::stage::Device;

fn found(plant: impl FnOnce(&mut Recording)) -> Vec<Complaint> {
    let mut scene = Scene::of(ceremony::called("generate"), Device::Tpm);
    let mut recording = scene.record();
    let before = recording.steps.clone();
    plant(&mut recording);
    assert_ne!(recording.steps, before, "nothing was planted");
    let (_, complaints) = scene.judge(&recording, 0, &mut Seed::chosen("planted"));
    complaints.into_iter().map(|(_, complaint)| complaint).collect()
}

fn is_lost(complaint: &Complaint) -> bool {
    matches!(complaint, Complaint::Lost(_))
}

/// The backup's directory is not synced: its name may be missing when the generation is active.
pub fn no_sync_of_the_backups_directory() {
    let complaints = found(|recording| {
        let directory = recording.inode("files");
        recording.steps.retain(|step| *step != Step::Sync { inode: directory });
    });
    assert!(complaints.iter().any(is_lost), "{complaints:?}");
}

/// The state's directory is not synced: the ring may be the old one when the generation was told as active.
pub fn no_sync_of_the_states_directory() {
    let complaints = found(|recording| {
        let directory = recording.inode("state");
        recording.steps.retain(|step| *step != Step::Sync { inode: directory });
    });
    let is_taken_back = |complaint: &Complaint| complaint.to_string().contains("told as done");
    assert!(complaints.iter().any(is_taken_back), "{complaints:?}");
}

/// The backup itself is not synced: what comes back from the disk may be nothing. (That it is re-opened at all is shown where
/// it can be changed in between: `cli`, `what_does_not_read_back_is_no_backup`.)
pub fn no_sync_of_the_backup() {
    let complaints = found(|recording| {
        let backup = recording.inode("files/new.backup");
        recording.steps.retain(|step| *step != Step::Sync { inode: backup });
    });
    assert!(complaints.iter().any(is_lost), "{complaints:?}");
}

/// The generation becomes active before its backup has its name.
pub fn the_commit_before_the_backup() {
    let complaints = found(|recording| {
        let backup = recording.inode("files/new.backup");
        let steps = &mut recording.steps;
        let published = steps.iter().position(|step| matches!(step, Step::Name { file, .. } if *file == backup));
        let published = published.expect("the backup gets its name");
        let commit = steps[published..]
            .iter()
            .position(|step| matches!(step, Step::Name { name, .. } if name == "ring.json.new"));
        let commit = published + commit.expect("a commit after the backup");
        let moved: Vec<Step> = steps.drain(commit..commit + 5).collect();
        assert!(matches!(&moved[3], Step::Move { to, .. } if to == "ring.json"), "{:?}", moved[3]);
        steps.splice(published..published, moved);
    });
    assert!(complaints.iter().any(is_lost), "{complaints:?}");
}
