//! The record: what goes into the log and to the journal, what a crash leaves of it, and that no tampering goes unseen.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use rustix::fs::{FileType, Mode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use strongroom::device::{DeviceUri, Intent, NoPin, open};

use crate::common::swtpm::Swtpm;
use crate::snapshot::{self, Shot};
use crate::world::{PIN, STRONGROOM, World};

/// The log's entries.
fn entries(world: &World) -> Vec<Value> {
    world.read("state/audit.log").lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// What each entry says, in short: `generate intent`, `verify outcome refused wrong-passphrase`.
fn told(world: &World) -> Vec<String> {
    let text = |entry: &Value, field: &str| entry[field].as_str().map(|text| format!(" {text}")).unwrap_or_default();
    let of = |entry: &Value| entry["of"].as_u64().map(|of| format!(" of {of}")).unwrap_or_default();
    let short = |entry: &Value| {
        let fields = ["what", "phase", "outcome", "error"].map(|field| text(entry, field)).concat();
        fields.trim_start().to_owned() + &of(entry)
    };
    entries(world).iter().map(short).collect()
}

/// Without who it was, which is another on each machine.
fn anonymous(mut shot: Shot) -> Shot {
    let line = |line: &str| match line.split_once(" on HOST") {
        Some((before, after)) if line.contains("; ") => {
            let (what, _) = before.rsplit_once("; ").expect("who it was");
            format!("{what}; WHO on HOST{after}\n")
        }
        _ => format!("{line}\n"),
    };
    shot.stdout = shot.stdout.lines().map(line).collect();
    shot
}

fn change_log(world: &World, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = world.read("state/audit.log").lines().map(str::to_owned).collect();
    change(&mut lines);
    world.file("state/audit.log", lines.iter().map(|line| format!("{line}\n")).collect::<String>());
}

/// A world whose log has something of everything.
fn storied() -> World {
    let world = World::new();
    world.file("wrong", "not the passphrase of this one\n");
    world.done("generate --yes --passphrase-file pass two.backup");
    assert_eq!(world.run("verify --passphrase-file wrong two.backup").code, Some(4));
    assert_eq!(world.run("generate --yes --passphrase-file pass two.backup").code, Some(5));
    world.done("verify --passphrase-file pass two.backup");
    world.done("backup --passphrase-file pass three.backup");
    world
}

#[test]
fn every_ceremony_and_refusal_is_in_the_log() {
    let world = storied();
    let expected = [
        "init intent",
        "init outcome done of 1",
        "generate intent",
        "generate outcome done of 3",
        "verify outcome refused wrong-passphrase",
        "generate outcome refused file-exists",
        "verify intent",
        "verify outcome done of 7",
        "backup intent",
        "backup outcome done of 9",
    ];
    assert_eq!(told(&world), expected);
    let ring: Value = serde_json::from_str(&world.read("state/ring.json")).unwrap();
    let id = |index: usize| ring["generations"][index]["id"].clone();
    assert_eq!(entries(&world)[3]["generations"], Value::from(vec![id(1)]), "what was made");
    assert_eq!(entries(&world)[9]["generations"], Value::from(vec![id(0), id(1)]), "what was backed up");
    assert!(entries(&world).iter().all(|entry| entry["user"].is_string()), "somebody did it");
    let done: Vec<bool> = entries(&world).iter().map(|entry| entry["outcome"] == "done").collect();
    let vouched: Vec<bool> = entries(&world).iter().map(|entry| entry["tag"].is_string()).collect();
    let counted: Vec<bool> = entries(&world).iter().map(|entry| entry["counter"].is_object()).collect();
    assert_eq!((&vouched, &counted), (&done, &done));
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let world = World::new();
    let before = world.read("state/audit.log");
    for line in ["status", "derive backups", "audit show", "audit verify", "device list", "generate --no-such-flag x"] {
        world.run(line);
    }
    world.run("restore --dry-run --passphrase-file pass payroll.backup");
    assert_eq!(world.read("state/audit.log"), before);
}

#[test]
fn shows_and_verifies() {
    let world = storied();
    let lines = ["audit show", "audit show --what verify --last 1", "audit show --since 2101-01-01", "audit verify"];
    let mut shots: Vec<Shot> = lines.iter().map(|line| anonymous(world.done(line))).collect();
    shots.push(world.run("audit show --since yesterday"));
    snapshot::check("audit", &shots);

    let verdict: Value = serde_json::from_str(&world.done("audit verify --json").stdout).unwrap();
    assert_eq!((&verdict["entries"], &verdict["vouched"]), (&Value::from(10), &Value::from(10)));
    assert_eq!((&verdict["witness"], &verdict["broken"]), (&Value::from("counter"), &Value::Null));
    let shown = String::from_utf8(world.done("audit show --json").raw).unwrap();
    let log = world.read("state/audit.log");
    assert_eq!(shown.lines().count(), 10);
    for (shown, line) in shown.lines().zip(log.lines()) {
        assert!(shown.starts_with("{\"schema\":\"strongroom.audit/1\",\"line\":"), "{shown}");
        assert!(shown.contains(&format!("\"sha256\":\"{}\"", hex::encode(Sha256::digest(line)))), "{shown}");
        assert!(shown.ends_with(&format!("\"entry\":{line}}}")), "the entry as it is: {shown}");
    }
}

/// Each kind of tampering, and what is said of it.
#[test]
fn tampering_is_found() {
    let world = storied();
    let log = world.read("state/audit.log");
    type Change = fn(&mut Vec<String>);
    let changes: [(&str, Change); 7] = [
        ("changed", |lines| lines[4] = lines[4].replace("wrong-passphrase", "no-room")),
        ("changed at the end", |lines| lines[9] = lines[9].replace("three", "two").replace("backup", "verify")),
        ("dropped", |lines| drop(lines.remove(4))),
        ("moved", |lines| lines.swap(4, 5)),
        ("put in", |lines| lines.insert(5, lines[4].replace("\"n\":5", "\"n\":6"))),
        ("cut off", |lines| lines.truncate(8)),
        ("cut off wholly", Vec::clear),
    ];
    let mut shots = Vec::new();
    for (_, change) in changes {
        change_log(&world, change);
        shots.push(world.unchanged(|| world.run("audit verify")));
        assert_eq!(shots.last().expect("one").code, Some(6));
        world.file("state/audit.log", &log);
    }
    world.done("audit verify");
    snapshot::check("audit-tampered", &shots);
}

/// What was cut off is missed also when the log has gone on.
#[test]
fn a_log_that_was_cut_off_and_goes_on_is_found() {
    let world = storied();
    change_log(&world, |lines| lines.truncate(8));
    world.done("backup --passphrase-file pass four.backup");
    let shot = world.run("audit verify");
    assert_eq!(shot.code, Some(6), "{shot}");
    assert!(shot.stderr.contains("entries in between are gone"), "{shot}");
    fs::remove_file(world.path("state/audit.log")).unwrap();
    world.done("backup --passphrase-file pass five.backup");
    let shot = world.run("audit verify --json");
    assert_eq!(shot.code, Some(6), "{shot}");
    assert!(shot.stdout.contains("audit-tampered"), "{shot}");
}

#[test]
fn a_pin_is_asked_for_and_a_token_has_no_counter() {
    let world = World::with_pin();
    assert_eq!(world.run("audit verify").code, Some(2), "the PIN is missing");
    world.done("audit verify --pin-file pin");
    assert_eq!(entries(&world)[1]["counter"]["first"], true);
    // A key that is derived is no entry; a PIN that is wrong is one.
    world.file("wrong", "1357-seal\n");
    world.done("derive --pin-file pin backups");
    assert_eq!(world.run("derive --pin-file wrong backups").code, Some(4));
    assert_eq!(told(&world)[2..], ["derive outcome refused wrong-pin"]);

    let world = World::token();
    assert!(entries(&world)[1]["tag"].is_string());
    assert!(entries(&world)[1]["counter"].is_null());
    snapshot::check("audit-token", &[world.done("audit verify --pin-file pin")]);
}

#[test]
fn an_owner_with_a_password_is_told() {
    let other = Swtpm::start();
    let root = other.uri().parse::<DeviceUri>().map(|uri| open(&uri, None, &NoPin)).expect("a device URI");
    root.and_then(|mut device| device.provision(&Intent::random())).expect("it makes its storage root key");
    other.tool_ok(&["tpm2_changeauth", "-c", "owner", "secret"]);

    let mut world = World::new();
    world.tpm.as_ref().expect("a TPM").tool_ok(&["tpm2_changeauth", "-c", "owner", "secret"]);
    let log = world.read("state/audit.log");
    // The counter that is there goes on: only making and removing one is the owner's.
    world.done("backup --passphrase-file pass two.backup");
    world.done("audit verify");
    assert!(world.read("state/audit.log").starts_with(&log));
    // Another TPM, on which nobody may make one.
    world.tpm = Some(other);
    let told = world.done("restore --yes --dir other --device $TPM --passphrase-file pass payroll.backup");
    assert!(told.stderr.contains("warning: tpm1 does not count the log's entries"), "{told}");
    let verified = world.done("audit verify --dir other");
    assert!(verified.stdout.contains("tpm1 does not count the entries"), "{verified}");
}

/// The log went with the server's disk, and the TPM has counted what was in it: a restore begins anew.
#[test]
fn a_restore_begins_a_log() {
    let world = World::new();
    fs::remove_dir_all(world.path("state")).unwrap();
    world.done("restore --yes --device $TPM --passphrase-file pass payroll.backup");
    world.done("backup --passphrase-file pass two.backup");
    assert_eq!(entries(&world)[1]["counter"]["first"], true);
    world.done("audit verify");
    // In place, the log goes on. A generation that vouched is not in the new ring; the ring that was put aside can be asked.
    world.done("generate --yes --passphrase-file pass three.backup");
    world.done("restore --yes --replace --passphrase-file pass payroll.backup");
    assert_eq!(entries(&world)[7]["counter"]["first"], true);
    let verdict: Value = serde_json::from_str(&world.done("audit verify --json").stdout).unwrap();
    assert_eq!((&verdict["vouched"], &verdict["unknown"]), (&Value::from(8), &Value::Array(Vec::new())));
    // As a crash leaves it, right after the new ring took its place.
    let log = world.read("state/audit.log");
    change_log(&world, |lines| lines.truncate(7));
    let cut = world.run("audit verify");
    assert_eq!(cut.code, Some(6), "the TPM has counted the eighth: {cut}");
    world.file("state/audit.log", &log);
    // Without it, what it vouched for is not believed, and not needed either.
    fs::remove_dir_all(world.path("state/replaced")).unwrap();
    let verified = world.done("audit verify");
    assert!(verified.stderr.contains("vouched for entries, and could not be asked"), "{verified}");
}

/// What a token vouches for while the TPM is away is not counted, and that is said.
#[test]
fn each_device_can_vouch_and_the_tpm_counts() {
    let mut world = World::two_devices();
    world.done("device add --yes --pin-file pin $HSM");
    world.tpm.as_mut().expect("a TPM").power_off();
    world.done("backup --pin-file pin --passphrase-file pass two.backup");
    let away = world.done("audit verify --pin-file pin");
    assert!(away.stdout.contains("vouched  up to entry 6, by the master secret"), "{away}");
    assert!(away.stdout.contains("whether something came after entry 6, only the journal can tell"), "{away}");
    world.tpm.as_mut().expect("a TPM").power_on();
    let back = world.done("audit verify");
    assert!(back.stdout.contains("nothing is missing up to entry 4"), "{back}");
    world.done("device remove --yes --pin-file pin hsm1");
    let counted = world.done("audit verify");
    assert!(counted.stdout.contains("nothing is missing up to entry 8"), "{counted}");
    assert_eq!(entries(&world)[7]["devices"], serde_json::json!(["tpm1"]));
    world.tpm.as_mut().expect("a TPM").power_off();
    assert_eq!(world.run("audit verify").code, Some(3), "nobody is there to ask");
}

/// A ceremony that ends while the log is being checked: the counter is ahead of what was read first, and nothing is amiss.
#[test]
fn a_ceremony_may_end_while_the_log_is_checked() {
    let world = World::with_pin();
    let fifo = world.path("late-pin");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe of ours");
    let verify = world.command("audit verify --pin-file late-pin").stdout(Stdio::piped()).spawn().expect("it is there");
    // It opens once the log was read: opening the other end waits for that.
    let mut pin = fs::OpenOptions::new().write(true).open(&fifo).expect("a pipe of ours");
    for name in ["two.backup", "three.backup"] {
        world.done(&format!("backup --pin-file pin --passphrase-file pass {name}"));
    }
    writeln!(pin, "{PIN}").and_then(|()| pin.flush()).expect("it waits for that");
    drop(pin);
    let output = verify.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("nothing is missing up to entry 6"), "{text}");
}

/// kill -9 after the intent: the next run finds it open, says so, and closes it.
#[test]
fn an_intent_that_a_crash_left_open_is_closed() {
    let world = World::new();
    let line = "generate --yes --passphrase-file pass two.backup";
    world.killed_before("linkat:signal=KILL:when=1", line);
    assert_eq!(told(&world).last().expect("one"), "generate intent");
    let verified = world.done("audit verify");
    assert!(verified.stderr.contains("Entry 3 (generate) was begun and is not concluded"), "{verified}");
    let next = world.done("generate --yes --passphrase-file pass three.backup");
    assert!(next.stderr.contains("generate, begun in entry 3 of the log, was cut off"), "{next}");
    let tail = told(&world).split_off(2);
    assert_eq!(tail, ["generate intent", "generate closed of 3", "generate intent", "generate outcome done of 5"]);
    world.done("audit verify");
}

/// What a crash leaves of a line stays, is covered by the next entry, and is told.
#[test]
fn a_torn_line_is_told_and_covered() {
    let world = World::new();
    let log = world.read("state/audit.log");
    world.file("state/audit.log", format!("{log}{{\"format\":1,\"n\":3,\"ti"));
    let torn = world.done("audit verify");
    assert!(torn.stderr.contains("Line 3 is a piece of 21 bytes"), "{torn}");
    world.done("backup --passphrase-file pass two.backup");
    let after = world.done("audit verify");
    assert!(after.stdout.contains("up to entry 4"), "{after}");
    assert!(after.stderr.contains("Line 3 is a piece of 21 bytes"), "{after}");
    change_log(&world, |lines| drop(lines.remove(2)));
    assert_eq!(world.run("audit verify").code, Some(6));
}

/// In a mount namespace where the log can't be written, prepared by `mount`.
fn unwritable(world: &World, mount: &str, line: &str) -> Shot {
    let script = format!("{mount} && exec \"$0\" \"$@\"");
    world.run_as(line, world.in_namespace("--mount", &script, line))
}

const READ_ONLY: &str = "mount --bind state/audit.log state/audit.log && mount -o remount,bind,ro state/audit.log";
/// A file system that the log's file fills up.
const FULL: &str = "mount -t tmpfs -o size=8k,mode=0700 none full && (umask 077; cp state/audit.log full/audit.log) && \
                    mount --bind full/audit.log state/audit.log";

#[test]
fn a_log_that_can_not_be_written_stops_a_ceremony_before_it_changes_anything() {
    let world = World::new();
    let line = "generate --yes --passphrase-file pass two.backup";
    let read_only = world.unchanged(|| unwritable(&world, READ_ONLY, line));
    // Up to the end of a page, as a crash might have left it.
    let log = world.read("state/audit.log");
    world.file("state/audit.log", log.clone() + &" ".repeat(8192 - log.len()));
    fs::create_dir(world.path("full")).unwrap();
    let full = world.unchanged(|| unwritable(&world, FULL, line));
    let shots = [read_only, full];
    for shot in &shots {
        assert_eq!(shot.code, Some(1), "{shot}");
    }
    snapshot::check("audit-unwritable", &shots);
    world.done(line);
}

/// The disk fills up between the commit and its outcome: what was done is done, and no success is told.
#[test]
fn a_log_that_can_not_be_written_after_the_commit_is_told() {
    let world = World::new();
    let log = world.path("state/audit.log").display().to_string();
    let full =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-P", &log, "-e", "inject=write:error=ENOSPC:when=2", STRONGROOM];
    let line = "backup --passphrase-file pass two.backup";
    let shot = world.run_as(line, world.wrapped(&full, line));
    assert_eq!(shot.code, Some(1), "{shot}");
    assert!(shot.stderr.contains("error: it was done, and the log does not say so"), "{shot}");
    assert!(world.read("state/ring.json").contains("two.backup"), "it was committed");
    assert_eq!(told(&world).last().expect("one"), "backup intent");
    world.done("backup --passphrase-file pass three.backup");
    assert_eq!(told(&world)[3..], ["backup closed of 3", "backup intent", "backup outcome done of 5"]);
    world.done("audit verify");
}

#[test]
fn restore_goes_on_without_the_log_when_told_to() {
    let world = World::new();
    let line = "restore --yes --passphrase-file pass payroll.backup";
    let shot = world.unchanged(|| unwritable(&world, READ_ONLY, line));
    assert_eq!(shot.code, Some(1), "{shot}");
    let log = world.read("state/audit.log");
    let line = format!("{line} --no-audit");
    let shot = unwritable(&world, READ_ONLY, &line);
    assert_eq!(shot.code, Some(0), "{shot}");
    assert_eq!(world.read("state/audit.log"), log);
    // Where it can be written, it is.
    world.done(&line);
    assert_eq!(told(&world).last().expect("one"), "restore outcome done of 3");
}

/// A journal of the test's own, which everybody may write to.
struct Journal<'w> {
    world: &'w World,
    socket: UnixDatagram,
}

const JOURNAL: &str =
    "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && ln -s $PWD/journal /run/systemd/journal/socket";
/// No journal. A copy of /dev, in which the link is put.
const SYSLOG: &str = "mount -t tmpfs none /run && mkdir /run/dev && cp -a /dev/null /dev/zero /dev/urandom /dev/tty /run/dev \
                      && ln -s $PWD/journal /run/dev/log && mount --rbind /run/dev /dev";

impl<'w> Journal<'w> {
    fn of(world: &'w World) -> Self {
        let socket = UnixDatagram::bind(world.path("journal")).expect("a socket in our directory");
        socket.set_nonblocking(true).expect("a socket");
        world.chmod("journal", 0o666);
        Self { world, socket }
    }

    /// What it got since it was asked last.
    fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        let mut datagram = vec![0; 65536];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            heard.push(String::from_utf8(datagram[..length].to_vec()).expect("text"));
        }
        heard
    }

    fn run(&self, mount: &str, line: &str) -> Shot {
        unwritable(self.world, mount, line)
    }
}

fn field<'h>(heard: &'h str, name: &str) -> &'h str {
    let found = heard.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_default()
}

#[test]
fn each_entry_has_its_copy_in_the_journal() {
    let world = World::new();
    let journal = Journal::of(&world);
    for line in [
        "generate --yes --passphrase-file pass two.backup",
        "generate --yes --passphrase-file pass two.backup",
        "restore --yes --no-audit --passphrase-file pass payroll.backup",
    ] {
        journal.run(JOURNAL, line);
    }
    let heard = journal.heard();
    let log = world.read("state/audit.log");
    let lines: Vec<&str> = log.lines().skip(2).collect();
    assert_eq!((heard.len(), lines.len()), (5, 5));
    for (copy, line) in heard.iter().zip(lines) {
        assert_eq!(field(copy, "STRONGROOM_SHA256"), hex::encode(Sha256::digest(line)));
        assert_eq!(field(copy, "STRONGROOM_ENTRY"), line);
        assert_eq!((field(copy, "SYSLOG_IDENTIFIER"), field(copy, "MESSAGE_ID").len()), ("strongroom", 32));
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(field(copy, "STRONGROOM_N"), entry["n"].to_string());
    }
    let id = |index: usize| field(&heard[index], "MESSAGE_ID");
    assert_eq!(id(0), id(3), "two intents");
    assert_ne!(id(1), id(2), "done and refused");
}

#[test]
fn where_there_is_no_journal_syslog_gets_the_copy() {
    let world = World::new();
    let journal = Journal::of(&world);
    let shot = journal.run(SYSLOG, "backup --passphrase-file pass two.backup");
    assert_eq!(shot.code, Some(0), "{shot}");
    let heard = journal.heard();
    assert_eq!(heard.len(), 2);
    assert!(heard[1].starts_with("<85>strongroom[") && heard[1].contains(" STRONGROOM_N=4 "), "{}", heard[1]);
}

#[test]
fn what_is_not_in_the_log_is_in_the_journal() {
    let world = World::new();
    let journal = Journal::of(&world);
    let log = world.read("state/audit.log");

    let line = "restore --yes --no-audit --passphrase-file pass payroll.backup";
    let shot = journal.run(&format!("{READ_ONLY} && {JOURNAL}"), line);
    assert_eq!(shot.code, Some(0), "{shot}");
    let heard = journal.heard();
    let texts: Vec<&str> = heard.iter().map(|heard| field(heard, "MESSAGE")).collect();
    assert!(texts[0].starts_with("restore goes on without the log: "), "{texts:?}");
    assert_eq!(texts[1..], ["restore was done, and is not in the log"]);

    // Somebody who is not the administrator. The program goes where they can reach it.
    assert!(rustix::process::geteuid().is_root(), "run the tests as root: one takes on another user's id");
    world.chmod(".", 0o755);
    let script = format!(
        "{JOURNAL} && cp \"$0\" /run/strongroom && chmod 755 /run/strongroom && \
         exec setpriv --reuid=65534 --regid=65534 --clear-groups /run/strongroom \"$@\""
    );
    for line in ["status", "generate --yes --passphrase-file pass three.backup", "audit show"] {
        let shot = world.run_as(line, world.in_namespace("--mount", &script, line));
        assert_eq!(shot.code, Some(5), "{shot}");
    }
    let heard = journal.heard();
    let verbs: Vec<&str> = heard.iter().map(|heard| field(heard, "STRONGROOM_VERB")).collect();
    assert_eq!(verbs, ["status", "generate", "audit show"]);
    assert!(heard.iter().all(|heard| field(heard, "MESSAGE").contains("not the administrator")), "{heard:?}");
    assert!(heard.iter().all(|heard| field(heard, "STRONGROOM_USER") == "nobody"), "{heard:?}");
    assert_eq!(world.read("state/audit.log"), log);
}

/// Whoever became root by sudo or su is still who they were.
#[test]
fn who_logged_in_is_in_the_log() {
    let world = World::new();
    // As pam_loginuid leaves it; the kernel lets not every container write the real one. `daemon` is user 1 on every Debian.
    let script = "echo 1 >loginuid && mount --bind loginuid /proc/$$/loginuid && exec \"$0\" \"$@\"";
    let line = "backup --passphrase-file pass another.backup";
    let shot = world.run_as(line, world.in_namespace("--mount", script, line));
    assert_eq!(shot.code, Some(0), "{shot}");
    let shown = world.done("audit show --json --what backup").json();
    let (who, user) = (&shown[0]["entry"]["login"], &shown[0]["entry"]["user"]);
    assert_eq!((who, user), (&"daemon".into(), &"root".into()), "{shown:?}");
    world.done("audit verify");
}
