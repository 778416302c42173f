//! Files that are no backup, or no longer one, given to verify and to restore: refused alike, and before a passphrase is
//! asked for where that can be seen.

use std::fs;
use std::io::{Read, Write};

use age::armor::{ArmoredReader, ArmoredWriter, Format};

use crate::snapshot;
use crate::world::World;

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----\n";

/// Makes a file out of a good backup, and gives it to all that read backups.
fn refused(name: &str, code: i32, change: impl FnOnce(String) -> Vec<u8>) {
    let world = World::new();
    world.file("bad.backup", change(world.read("payroll.backup")));
    world.all_refused(name, code, &READERS);
}

const READERS: [&str; 2] =
    ["verify --passphrase-file pass bad.backup", "restore --yes --passphrase-file pass bad.backup"];

#[test]
fn truncated() {
    refused("backup-truncated", 6, |text| text.as_bytes()[..text.len() / 2].to_vec());
}

#[test]
fn truncated_in_its_preamble() {
    refused("backup-truncated-early", 6, |text| text.as_bytes()[..60].to_vec());
}

/// The last block of the armored part: authenticated by the payload's own tag.
#[test]
fn bit_flipped_in_its_body() {
    refused("backup-flipped-body", 6, |text| {
        let (before, after) = text.split_at(text.rfind("-----END").unwrap() - 40);
        let flipped = if after.starts_with('A') { "B" } else { "A" };
        format!("{before}{flipped}{}", &after[1..]).into_bytes()
    });
}

#[test]
fn bit_flipped_out_of_the_armor() {
    refused("backup-flipped-armor", 6, |text| {
        let (before, after) = text.split_at(text.find(BEGIN).unwrap() + BEGIN.len() + 10);
        format!("{before}!{}", &after[1..]).into_bytes()
    });
}

/// The salt of the passphrase's work: a file that was changed there can't be told from a wrong passphrase, and says so.
#[test]
fn bit_flipped_in_its_salt() {
    refused("backup-flipped-salt", 4, |text| {
        rewritten(&text, |header| {
            let at = header.find("-> scrypt ").unwrap() + "-> scrypt ".len();
            let flipped = if header[at..].starts_with('A') { "B" } else { "A" };
            format!("{}{flipped}{}", &header[..at], &header[at + 1..])
        })
    });
}

/// The header's MAC.
#[test]
fn bit_flipped_in_its_header() {
    refused("backup-flipped-header", 6, |text| {
        rewritten(&text, |header| {
            let at = header.find("--- ").unwrap() + "--- ".len();
            let flipped = if header[at..].starts_with('A') { "B" } else { "A" };
            format!("{}{flipped}{}", &header[..at], &header[at + 1..])
        })
    });
}

#[test]
fn empty() {
    refused("backup-empty", 6, |_| Vec::new());
}

#[test]
fn huge() {
    refused("backup-huge", 6, |mut text| {
        let rest = 1_200_000 - text.len();
        text.push_str(&"\n".repeat(rest));
        text.into_bytes()
    });
}

#[test]
fn foreign() {
    refused("backup-foreign", 6, |_| b"\x7fELF\x02\x01\x01\0\0\xff\xfe and so on".to_vec());
}

/// A plain age file without our preamble is no backup of ours to `age -d`, but to us it is one without its first lines.
#[test]
fn foreign_age_file() {
    refused("backup-foreign-age", 6, |_| {
        let recipient = age::x25519::Identity::generate().to_public();
        age::encrypt_and_armor(&recipient, b"a diary").unwrap().into_bytes()
    });
}

#[test]
fn twice_in_one_file() {
    refused("backup-twice", 6, |text| format!("{text}{text}").into_bytes());
}

#[test]
fn followed_by_something() {
    refused("backup-followed", 6, |text| format!("{text}PS: the passphrase is on sheet 7\n").into_bytes());
}

#[test]
fn a_work_factor_made_absurd() {
    refused("backup-work", 6, |text| rewritten(&text, |header| with_work_factor(&header, "21")));
}

#[test]
fn a_work_factor_beyond_all_numbers() {
    refused("backup-work-beyond", 6, |text| rewritten(&text, |header| with_work_factor(&header, "4294967296")));
}

#[test]
fn a_directory_or_nothing_at_all() {
    let world = World::new();
    fs::create_dir(world.path("usb")).unwrap();
    let lines = ["verify usb", "restore --yes usb", "verify missing.backup", "restore --yes missing.backup"];
    world.all_refused("backup-no-file", 2, &lines);
}

/// What the preamble says is not trusted, and never stands in the way.
#[test]
fn a_preamble_that_was_changed_is_told_and_not_believed() {
    let world = World::new();
    world.file("edited.backup", world.read("payroll.backup").replace("system payroll", "system \x1b[31mbilling"));
    world.file("crlf.backup", world.read("payroll.backup").replace('\n', "\r\n"));
    let shots = [
        world.done("verify --passphrase-file pass edited.backup"),
        world.done("restore --yes --passphrase-file pass edited.backup"),
        world.done("verify --passphrase-file pass crlf.backup"),
    ];
    snapshot::check("backup-preamble", &shots);
}

/// The backup with its age header changed, its armor made anew.
fn rewritten(text: &str, change: impl FnOnce(String) -> String) -> Vec<u8> {
    let (preamble, armored) = text.split_at(text.find(BEGIN).unwrap());
    let mut plain = Vec::new();
    ArmoredReader::new(armored.as_bytes()).read_to_end(&mut plain).unwrap();
    // The header is text, and ends with the line of its MAC.
    let mac = plain.windows(5).position(|bytes| bytes == b"\n--- ").unwrap() + 1;
    let end = mac + plain[mac..].iter().position(|&byte| byte == b'\n').unwrap();
    let header = change(String::from_utf8(plain[..end].to_vec()).unwrap());
    let mut writer = ArmoredWriter::wrap_output(preamble.as_bytes().to_vec(), Format::AsciiArmor).unwrap();
    writer.write_all(header.as_bytes()).and_then(|()| writer.write_all(&plain[end..])).unwrap();
    writer.finish().unwrap()
}

fn with_work_factor(header: &str, factor: &str) -> String {
    let line = header.lines().nth(1).unwrap();
    let before = line.rsplit_once(' ').unwrap().0;
    header.replacen(line, &format!("{before} {factor}"), 1)
}
