//! What programs read: JSON, silence, exit codes, a pipe that closes.

use std::process::{Command, Stdio};

use crate::snapshot;
use crate::world::{STRONGROOM, World};

#[test]
fn steps_as_json() {
    let world = World::fresh();
    let shot = world.done("init --json --device $TPM --name payroll --passphrase-file pass payroll.backup");
    snapshot::check("json-init", std::slice::from_ref(&shot));
    let lines = shot.json();
    assert_eq!(lines[0]["schema"], "strongroom.plan/1");
    assert!(lines[1..].iter().all(|line| line["schema"] == "strongroom.step/1"), "{shot}");
    assert!(lines.iter().all(|line| line.is_object()));
    assert_eq!(lines.last().unwrap()["step"], "generation-active");
    let others = [
        world.done("generate --json --yes --passphrase-file pass two.backup"),
        world.done("verify --json --passphrase-file pass two.backup"),
        world.done("derive --json --generation 1 backups"),
    ];
    snapshot::check("json-others", &others);
    let key = &others[2].json()[0];
    assert_eq!(
        (&key["schema"], &key["length"], &key["generation"]),
        (&"strongroom.derive/1".into(), &32.into(), &1.into())
    );
    assert_eq!(key["key"].as_str().unwrap(), world.done("derive --quiet --generation 1 backups").stdout_line());
}

impl snapshot::Shot {
    /// Standard output, which is one line.
    fn stdout_line(&self) -> String {
        String::from_utf8_lossy(&self.raw).trim_end().to_owned()
    }
}

#[test]
fn errors_as_json() {
    let mut world = World::with_pin();
    world.file("wrong", "three dull knives under grey snow\n");
    world.file("wrong-pin", "1357-seal\n");
    let mut shots = vec![
        world.unchanged(|| world.run("verify --json --passphrase-file wrong payroll.backup")),
        world.unchanged(|| world.run("derive --json --generation 1 --pin-file wrong-pin backups")),
        world.unchanged(|| world.run("derive --json --generation 9 backups")),
        world.unchanged(|| world.run("derive --json --bogus backups")),
    ];
    world.tpm.as_mut().unwrap().power_off();
    shots.push(world.run("derive --json --generation 1 --pin-file pin backups"));
    snapshot::check("json-errors", &shots);
    for shot in &shots {
        let lines = shot.json();
        let error = &lines.last().unwrap()["error"];
        assert_eq!(error["exit"].as_i64(), shot.code.map(i64::from), "{shot}");
        assert!(
            ["id", "message", "hint"].iter().all(|field| error[field].as_str().is_some_and(|text| !text.is_empty()))
        );
        assert!(shot.stderr.is_empty(), "{shot}");
    }
    assert_eq!(shots[1].json()[0]["error"]["device_code"], "TPM_RC_AUTH_FAIL (0x98e)");
}

#[test]
fn quiet_says_only_what_went_wrong() {
    let world = World::fresh();
    let shots = [
        world.done("init --quiet --device $TPM --name payroll --passphrase-file pass payroll.backup"),
        world.done("generate --quiet --yes --passphrase-file pass two.backup"),
        world.done("verify --quiet --passphrase-file pass two.backup"),
    ];
    for shot in &shots {
        assert!(shot.stdout.is_empty() && shot.stderr.is_empty(), "{shot}");
    }
    world.refused("quiet-error", 2, "derive --quiet --generation 9 backups");
}

#[test]
fn status_as_json() {
    let world = World::new();
    let status = &world.done("status --json").json()[0];
    assert_eq!(status["schema"], "strongroom.status/1");
    assert_eq!(status["system"]["name"], "payroll");
    assert_eq!(status["directory"].as_str(), world.path("state").to_str(), "where a front end watches");
    assert_eq!(status["active"]["number"], 1);
    assert_eq!(status["devices"][0]["id"], "tpm1");
    assert_eq!(status["devices"][0]["reachable"], true);
    assert_eq!(status["generations"][0]["state"], "active");
    assert_eq!(status["backups"][0]["present"], true);
    let ids: Vec<_> = status["warnings"].as_array().unwrap().iter().map(|warning| &warning["id"]).collect();
    assert_eq!(ids, ["low-work", "same-disk"]);
}

#[test]
fn check_tells_monitoring() {
    let mut world = World::new();
    let found = world.unchanged(|| world.run("status --check"));
    assert_eq!(found.code, Some(7));
    std::fs::remove_file(world.path("payroll.backup")).unwrap();
    world.tpm.as_mut().unwrap().power_off();
    let worse = world.run("status --check");
    assert_eq!(worse.code, Some(7));
    snapshot::check("status-check", &[found, worse]);
}

/// A proved backup on another disk, made with the full work factor: nothing to say.
#[test]
fn check_is_content_with_a_whole_set_up() {
    let world = World::fresh();
    let elsewhere = tempfile::tempdir_in("/dev/shm").expect("a file system besides that of the temporary directory");
    let target = elsewhere.path().join("payroll.backup");
    let disk = |path: &std::path::Path| std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).unwrap());
    assert_ne!(disk(elsewhere.path()), disk(&world.path(".")), "set TMPDIR to a place outside /dev/shm");
    let target = target.display();
    world.done(&format!("init --device $TPM --work-factor 16 --passphrase-file pass {target}"));
    let shot = world.unchanged(|| world.run("status --check"));
    assert_eq!((shot.code, &*shot.stdout, &*shot.stderr), (Some(0), "", ""), "{shot}");
}

/// The reader of standard output is gone before the first byte.
#[test]
fn a_closed_pipe_is_no_news() {
    let world = World::new();
    for line in ["status", "status --json", "derive --quiet --generation 1 backups"] {
        let script = format!("{{ sleep 0.1; exec {STRONGROOM} {line}; }} | true");
        let mut command = Command::new("bash");
        command.args(["-c", &format!("set -o pipefail; {script}")]).env("STRONGROOM_DIR", world.path("state"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
        // Not "ended by SIGPIPE" and no panic (101).
        assert_eq!(output.status.code(), Some(1), "{line}");
    }
}

#[test]
fn help_and_version() {
    let world = World::bare();
    let shots = ["--version", "--help", "derive -h"].map(|line| world.done(line));
    assert!(shots[1].stdout.contains("Exit codes:"));
    assert_eq!(shots[0].stdout, format!("strongroom {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn colour_only_where_it_is_wanted() {
    let world = World::bare();
    let coloured = |line: &str, no_color: bool, term: &str| {
        let mut command = world.command(line);
        command.env("TERM", term);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        crate::common::pty::Pty::spawn(command).finish().transcript.contains('\x1b')
    };
    assert!(coloured("status", false, "xterm"));
    assert!(!coloured("status", true, "xterm"));
    assert!(!coloured("status", false, "dumb"));
    assert!(!coloured("status --color never", false, "xterm"));
    // Not to a pipe, unless asked for.
    assert!(!world.run("status").stderr.contains('\x1b'));
    assert!(world.run("status --color always").stderr.contains('\x1b'));
}

/// What packages ship: a page for each command, and completions that name them.
#[test]
fn man_pages_and_completions() {
    let world = World::bare();
    std::fs::create_dir(world.path("man")).unwrap();
    world.done("man man");
    let page = world.read("man/strongroom-restore.1");
    assert!(page.contains(".TH") && page.contains("replace"), "{page}");
    // Again, over the pages that are there; whoever reads manuals may read these, as far as our umask goes.
    world.done("man man");
    assert_eq!(world.read("man/strongroom-restore.1"), page);
    let names: Vec<String> = std::fs::read_dir(world.path("man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|name| name.starts_with("strongroom") && name.ends_with(".1")), "{names:?}");
    assert!(["strongroom.1", "strongroom-device.1"].iter().all(|name| names.contains(&(*name).to_owned())));
    world.refused("man-no-directory", 1, "man missing");
    for shell in ["bash", "zsh", "fish"] {
        let script = world.run(&format!("completions {shell}")).stdout;
        assert!(["generate", "restore", "derive"].iter().all(|verb| script.contains(verb)), "{shell}");
        assert!(!script.contains("ProbeModule"), "{shell}");
    }
}
