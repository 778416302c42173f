//! A TPM's device node, before the TPM library opens it: whether it is there, and lets us in.

use std::fs;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::device::{DeviceError, Fault};

/// Whether the system lets us at the device node, told more exactly than the TSS does.
pub fn check(path: &str) -> Result<(), DeviceError> {
    match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        // The TPM library writes a command into whatever is there.
        Ok(node) => match rustix::fs::fstat(&node) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice => Ok(()),
            Ok(_) | Err(_) => Err(Fault::Unreachable(format!("{path} is no device")).into()),
        },
        Err(Errno::ACCESS | Errno::PERM) => {
            Err(Fault::NoPermission { path: path.to_owned(), group: group_of(path) }.into())
        }
        Err(Errno::BUSY) => Err(Fault::Busy(format!("another program holds {path}")).into()),
        Err(Errno::NOENT) => Err(Fault::Unreachable(absent(path, &beside(path))).into()),
        Err(error) => Err(Fault::Unreachable(format!("can't open {path}: {error}")).into()),
    }
}

fn absent(path: &str, others: &[String]) -> String {
    match others {
        [] => format!("there is no {path}: this machine shows no TPM"),
        others => format!("there is no {path}, but {}", others.join(", ")),
    }
}

/// The nodes of resource managers in a directory: one for each TPM 2.0 that the kernel drives, with the number that it gave it.
pub fn managers(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| is_manager(name));
    names.sort();
    names.iter().map(|name| directory.join(name).display().to_string()).collect()
}

/// Those beside a node that is to be one of them, or the TPM's itself.
pub fn beside(path: &str) -> Vec<String> {
    Path::new(path).parent().map(managers).unwrap_or_default()
}

fn is_manager(name: &str) -> bool {
    name.strip_prefix("tpmrm").is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The group that may read and write `path`, by name: `tss` on Debian, for the node of the resource manager. Root's own, which
/// has the other node there, is nobody's to join.
fn group_of(path: &str) -> Option<String> {
    let found = rustix::fs::stat(path).ok()?;
    if found.st_mode & 0o060 != 0o060 || found.st_gid == 0 {
        return None;
    }
    let groups = fs::read_to_string("/etc/group").ok()?;
    group_name(&groups, found.st_gid)
}

/// A group's name in the text of `/etc/group` (group(5): name, password, id, members).
fn group_name(groups: &str, id: u32) -> Option<String> {
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2).is_some_and(|field| *field == id.to_string()))?;
    Some(line[0].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_there_is_unreachable() {
        let error = check("/dev/no-such-tpm").unwrap_err();
        assert!(matches!(error.fault, Fault::Unreachable(text) if text.contains("/dev/no-such-tpm")));
    }

    #[test]
    fn what_is_there_instead_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        for name in ["tpm1", "tpmrm12", "tpmrm1", "tpmrm", "tpmrm1x"] {
            fs::write(path(name), "").unwrap();
        }
        let error = check(&path("tpmrm0")).unwrap_err();
        let text = format!("there is no {}, but {}, {}", path("tpmrm0"), path("tpmrm1"), path("tpmrm12"));
        assert_eq!(error.fault, Fault::Unreachable(text));
    }

    #[test]
    fn a_file_that_is_no_device_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tpm");
        fs::write(&path, "precious").unwrap();
        let error = check(path.to_str().unwrap()).unwrap_err();
        assert!(matches!(error.fault, Fault::Unreachable(text) if text.ends_with("is no device")));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert!(check("/dev/null").is_ok(), "a device may be there by any name");
    }

    #[test]
    fn groups_are_found_by_id() {
        let groups = "root:x:0:\ntss:x:110:alice,bob\n";
        assert_eq!(group_name(groups, 110).as_deref(), Some("tss"));
        assert_eq!(group_name(groups, 11), None);
    }
}
