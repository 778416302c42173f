//! Who may change the ring, and what its directory must be like.

use std::fs;
use std::os::fd::AsRawFd;

use crate::snapshot::{self, Shot};
use crate::world::{STRONGROOM, World};

/// Runs as nobody. The program is opened here and executed through its descriptor, since nobody may not be able to walk to it.
pub fn as_nobody(world: &World, line: &str) -> Shot {
    assert!(rustix::process::geteuid().is_root(), "run the tests as root: one takes on another user's id");
    world.chmod(".", 0o755);
    let program = fs::File::open(STRONGROOM).unwrap();
    let fd = program.as_raw_fd();
    // Without O_CLOEXEC it is open in the program too.
    rustix::io::fcntl_setfd(&program, rustix::io::FdFlags::empty()).unwrap();
    let path = format!("/proc/self/fd/{fd}");
    let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &path];
    world.run_as(line, world.wrapped(&wrapper, line))
}

#[test]
fn not_the_administrator() {
    let world = World::new();
    // No passphrase and no terminal: what is said must come before either is missed.
    let lines = [
        "status",
        "derive --generation 1 backups",
        "generate new.backup",
        "backup new.backup",
        "restore payroll.backup",
        "init --device $TPM new.backup",
    ];
    world.chmod("payroll.backup", 0o644);
    world.chmod(".", 0o755);
    let shots: Vec<Shot> = lines.iter().map(|line| world.unchanged(|| as_nobody(&world, line))).collect();
    for shot in &shots {
        assert_eq!(shot.code, Some(5), "{shot}");
    }
    snapshot::check("not-administrator", &shots);
}

/// Whoever has a backup and its passphrase may see what it is worth; a ring that they can't read stays out of it.
#[test]
fn anybody_may_verify_by_itself() {
    let world = World::new();
    world.chmod("payroll.backup", 0o644);
    world.chmod(".", 0o755);
    world.file("theirs", fs::read(world.path("pass")).unwrap());
    std::os::unix::fs::chown(world.path("theirs"), Some(65534), Some(65534)).unwrap();
    let shot = world.unchanged(|| as_nobody(&world, "verify --passphrase-file theirs payroll.backup"));
    snapshot::check("verify-not-administrator", &[shot]);
}

#[test]
fn a_state_directory_of_somebody_else() {
    // It belongs to root, and may be read by all.
    let world = World::bare();
    let line = "status --dir /etc";
    let shot = as_nobody(&world, line);
    snapshot::check("foreign-directory", &[shot]);
}

#[test]
fn a_ring_of_somebody_else() {
    let world = World::new();
    std::os::unix::fs::chown(world.path("state/ring.json"), Some(65534), None).unwrap();
    world.all_refused("foreign-ring", 5, &["status", "derive --generation 1 backups"]);
}

#[test]
fn loose_modes() {
    let world = World::new();
    world.chmod("state", 0o755);
    world.all_refused("loose-directory", 5, &["status", "derive --generation 1 backups", "generate new.backup"]);
    world.chmod("state", 0o700);
    world.chmod("state/ring.json", 0o644);
    world.all_refused("loose-ring", 5, &["status", "generate new.backup"]);
    world.chmod("state/ring.json", 0o600);
    world.chmod(".", 0o777);
    world.all_refused("loose-ancestor", 5, &["status", "generate new.backup"]);
    // Sticky, as /tmp is: others can't rename what is not theirs.
    world.chmod(".", 0o1777);
    world.done("status");
}

#[test]
fn a_state_directory_that_is_none() {
    let world = World::new();
    fs::write(world.path("file"), "").unwrap();
    std::os::unix::fs::symlink("state", world.path("link")).unwrap();
    let lines = ["status --dir file", "status --dir link", "init --dir file --device $TPM --passphrase-file pass b"];
    world.all_refused("no-directory", 2, &lines);
    fs::create_dir(world.path("empty")).unwrap();
    world.chmod("empty", 0o700);
    let lines = ["status --dir empty", "derive --dir empty x", "generate --dir missing b", "derive --dir missing x"];
    world.all_refused("no-ring", 1, &lines);
}
