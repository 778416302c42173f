//! What a directory holds, so that two moments can be compared.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// One line for each file and directory below `root`, sorted: name, mode, owner, and a hash of the content.
///
/// The store's lock file is empty and may come and go, what is remembered of refused PINs too; SoftHSM rewrites `token.object` at each login.
/// The log is looked at apart ([`only_refused`]): what is refused is written into it.
pub fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk(root, root, &mut lines);
    lines.sort();
    lines
}

fn walk(root: &Path, directory: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory of ours") {
        let path = entry.expect("an entry of it").path();
        let found = fs::symlink_metadata(&path).expect("a file that stays");
        let name = path.strip_prefix(root).expect("a path below it").display().to_string();
        if (name.ends_with("state/lock") && found.len() == 0)
            || name.ends_with("token.object")
            || name.ends_with("state/refused.json")
            || (name.ends_with("state/audit.log") && found.is_file() && found.mode() & 0o7777 == 0o600)
        {
            continue;
        }
        let content = match found.is_file() {
            true => hex::encode(Sha256::digest(fs::read(&path).expect("a file of ours"))),
            false => String::new(),
        };
        lines.push(format!("{name} {:o} {}:{} {content}", found.mode(), found.uid(), found.gid()));
        if found.is_dir() {
            walk(root, &path, lines);
        }
    }
}

/// The log below `root`; empty where there is none.
pub fn log(root: &Path) -> Vec<u8> {
    fs::read(root.join("state/audit.log")).unwrap_or_default()
}

/// Panics unless a log was only added to, and by nothing that was done, save a drill that found nothing to change.
pub fn only_refused(before: &[u8], after: &[u8]) {
    let added = after.strip_prefix(before).expect("the log is only ever added to");
    for line in String::from_utf8_lossy(added).lines() {
        let drill = line.contains("\"what\":\"verify\"") && !line.contains("\"of\":");
        assert!(drill || !line.contains("\"outcome\":\"done\""), "something was done: {line}");
    }
}

/// Panics with what is different.
pub fn same(before: &[String], after: &[String]) {
    let only = |these: &[String], those: &[String], sign: char| -> String {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    let difference = only(before, after, '-') + &only(after, before, '+');
    assert!(difference.is_empty(), "something was changed:\n{difference}");
}

/// What proves that nothing was changed must see a change.
#[test]
fn sees_each_kind_of_change() {
    let world = crate::world::World::bare();
    std::fs::create_dir(world.path("state")).unwrap();
    world.file("state/ring.json", "1");
    let before = listing(&world.path("."));
    let changed = |change: &dyn Fn()| {
        change();
        let seen = std::panic::catch_unwind(|| same(&before, &listing(&world.path("."))));
        seen.is_err()
    };
    assert!(!changed(&|| drop(world.file("state/lock", ""))));
    assert!(changed(&|| drop(world.file("state/lock", "1"))));
    assert!(!changed(&|| drop(world.file("state/lock", ""))));
    assert!(changed(&|| drop(world.file("state/ring.json", "2"))));
    assert!(!changed(&|| drop(world.file("state/ring.json", "1"))));
    assert!(changed(&|| world.chmod("state/ring.json", 0o644)));
    assert!(!changed(&|| world.chmod("state/ring.json", 0o600)));
    assert!(changed(&|| drop(world.file("new", ""))));
    assert!(changed(&|| std::fs::rename(world.path("new"), world.path("state/new")).unwrap()));
    assert!(!changed(&|| std::fs::remove_file(world.path("state/new")).unwrap()));
    assert!(!changed(&|| drop(world.file("state/audit.log", "1"))));
    assert!(changed(&|| world.chmod("state/audit.log", 0o644)));
    let refused =
        |before: &str, after: &str| std::panic::catch_unwind(|| only_refused(before.as_bytes(), after.as_bytes()));
    assert!(refused("1", "1\n{\"outcome\":\"refused\"}").is_ok());
    assert!(refused("1", "2\n").is_err());
    assert!(refused("1", "").is_err());
    assert!(refused("1", "1\n{\"outcome\":\"done\"}").is_err());
}
