//! Frozen samples: files that earlier versions wrote open for ever, and give what they gave; files that can't be right are
//! refused for ever, and for the same reason. `tests/samples/README.md` has the values.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use strongroom::audit::Chain;
use strongroom::audit::verify::{Counted, Findings, Keys, Reading, State as Count, judge};
use strongroom::backup::{self, Contents};
use strongroom::bytes::{base64, hex};
use strongroom::derive::{Label, Length, Source};
use strongroom::device::{Bound, Guard, Kind, Root};
use strongroom::passphrase::normalized;
use strongroom::refusals::Refusals;
use strongroom::ring::{Anchor, Ring, Role, State};

const SAMPLE: &[u8] = include_bytes!("samples/backup-v1.txt");
const PASSPHRASE: &str = "throw-away granite teapot orbit";

fn opened() -> (Contents, bool) {
    backup::open(SAMPLE, &normalized(PASSPHRASE.as_bytes()).unwrap()).unwrap()
}

#[test]
fn version_1_opens() {
    let seen = backup::look(SAMPLE).unwrap();
    assert_eq!(seen.hint(), Some("four words, in the docs"));
    assert_eq!(seen.work_factor, 10);
    let (contents, agrees) = opened();
    assert!(agrees, "the preamble's words are part of the format");
    assert_eq!(contents.system.name, "payroll");
    assert_eq!(contents.system.id.to_string(), "ace89cb2-aace-4b88-b17a-a813c0e97c2c");
    assert_eq!((contents.term, contents.active, contents.last_number), (1, 2, 2));
    assert_eq!(contents.master, "db1");
    assert_eq!(contents.made.at.to_string(), "2026-11-23T03:27:34Z");
    assert_eq!(contents.made.host, "db1");
    assert_eq!(contents.devices, ["SHA256:0ecb3a1140b05202600c13ea8fe213bc8739c2f35c7744d7611519a4062c2e72"]);
    assert_eq!(hex(contents.kek.expose_secret()), "90a11730ca5044179d6406df61f044f40a9996b7d37f9998e993c177c620403d");
    contents.check_ids_on_host().unwrap();
}

#[test]
fn version_1_holds_its_secrets() {
    let (contents, _) = opened();
    let expected = [
        (
            1,
            "9b481aef24e5ce8c97440481f6b3567b",
            "a9a2f52015017a526eb89ad31320344d4a849caaa6a9726cb968a2f4c284177f",
            "6c2911c67c7ed68678a97b09920c6d79f52b4f866b55d97af8f1fab06206253b",
        ),
        (
            2,
            "a93b9cbf4a47c91fe3901b92b1459094",
            "0f4eed92e9f51765dbb2cef076205ae02514e3663e20130f6ae3e3a1d8e2ea2d",
            "ce0419e85f7fed3176a3363c3ad44bc374cdcd44fdd46a1fdebc15119e932b82",
        ),
    ];
    assert_eq!(contents.numbers(), [1, 2]);
    for (number, id, secret, key) in expected {
        let entry = contents.entry(number).unwrap();
        let found = entry.secret().unwrap(&contents.kek).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(hex(found.expose_secret()), secret);
        let mut source = Source::on_host(&found);
        assert_eq!(source.id().unwrap().0.to_string(), id);
        assert_eq!(entry.id.0.to_string(), id);
        let derived = source.key(&Label::new("example").unwrap(), Length::new(32).unwrap()).unwrap();
        assert_eq!(hex(derived.expose_secret()), key);
    }
    let secret = contents.entry(2).unwrap().secret().unwrap(&contents.kek).unwrap_or_else(|error| panic!("{error}"));
    let long = Source::on_host(&secret).key(&Label::new("disk/data").unwrap(), Length::new(64).unwrap()).unwrap();
    let expected = "AWrLklgPnL4x7gh+g1HZvML1h889CoCrJORXezoFYgkUSRIJNt7bsihNYw+uMtB6L0uLVo4bLEwjZxpqto4MOg==";
    assert_eq!(base64(long.expose_secret()), expected);
}

/// A log, judged with the secrets of `backup-v1.txt`, and a TPM that has counted 4.
fn judged(log: &[u8]) -> Findings {
    let (contents, _) = opened();
    let keys: Keys = contents
        .generations
        .iter()
        .map(|entry| {
            let secret = entry.secret().unwrap(&contents.kek).unwrap_or_else(|error| panic!("{error}"));
            (entry.id, Some(Source::on_host(&secret).audit_key().unwrap()))
        })
        .collect();
    let fingerprint = "SHA256:3310721a16c26993882c4fce9d2d2b2b358133e4abf4f01f40530025fb551b1a".to_owned();
    let reading = Reading { device: "tpm1".to_owned(), fingerprint, counted: Counted::Value(4) };
    judge(&Chain::read(log), &keys, &[reading])
}

#[test]
fn a_log_of_version_1_is_vouched_for() {
    let log = sample("audit-v1.log");
    let findings = judged(&log);
    assert_eq!((findings.entries, findings.vouched, &findings.broken), (9, Some(9), &None));
    assert_eq!(findings.counters[0].state, Count::Witness { n: 9, value: 4 });
    assert!(findings.open.is_empty() && findings.unknown.is_empty());
    assert_eq!(findings.pieces.iter().map(|piece| (piece.line, piece.bytes)).collect::<Vec<_>>(), [(8, 17)]);
    let chain = Chain::read(&log);
    let printed: Vec<Vec<u8>> = chain.links.iter().map(|link| link.entry.print()).collect();
    let lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').filter(|line| line.len() > 17).collect();
    assert_eq!(printed, lines, "what is read prints the same");
}

/// The bytes of a sample.
fn sample(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A ring that must open, and print as it was written.
fn ring(name: &str) -> Ring {
    let text = sample(name);
    let ring = Ring::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(String::from_utf8(ring.print()), String::from_utf8(text), "{name}");
    ring
}

/// What a ring says of its generations: number, the beginning of the id, state.
fn generations(ring: &Ring) -> Vec<(u32, String, State)> {
    let shown = |id: String| id.split('-').next().unwrap_or_default().to_owned();
    ring.generations.iter().map(|one| (one.number, shown(one.id.to_string()), one.state)).collect()
}

fn is(number: u32, id: &str, state: State) -> (u32, String, State) {
    (number, id.to_owned(), state)
}

#[test]
fn the_ring_of_a_tpm_opens() {
    let ring = ring("ring-v1-tpm.json");
    assert_eq!(
        (ring.system.name.as_str(), ring.term, ring.role, ring.master.as_str()),
        ("payroll", 1, Role::Master, "db1")
    );
    assert_eq!(generations(&ring), [is(1, "6303", State::Kept), is(2, "8f4a", State::Active)]);
    assert_eq!((ring.commit, ring.last_number, ring.backups.len()), (8, 2, 3));
    assert_eq!(ring.devices[0].uri.to_string(), "tpm:swtpm:host=127.0.0.1,port=2321");
    assert_eq!(
        ring.devices[0].root().unwrap().fingerprint(),
        "SHA256:ebc90898a2b87a04ed559bd80c6d036125365b7d055a18e74d196b414d6611d3"
    );
    let seal = ring.generations[1].seal_on("tpm1").unwrap();
    assert!(seal.mechanism == "TPM2_HMAC" && seal.birth.is_some() && seal.use_part.proves_itself());
    assert!(!ring.asks_for_pin("tpm1"));
    assert!(ring.backups.iter().all(|backup| backup.proved.is_some() && backup.work_factor == 10));
}

#[test]
fn the_ring_that_a_crash_left_with_a_pending_generation_opens() {
    let ring = ring("ring-v1-pending.json");
    let expected = [is(1, "6303", State::Kept), is(2, "8f4a", State::Active), is(3, "98ff", State::Pending)];
    assert_eq!(generations(&ring), expected);
    assert_eq!((ring.active().unwrap().number, ring.pending().unwrap().number), (2, 3));
    assert_eq!(ring.next_number(), Ok(4));
}

#[test]
fn the_ring_of_a_pin_opens() {
    let ring = ring("ring-v1-pin.json");
    assert_eq!(generations(&ring), [is(1, "5e1a", State::Active)]);
    assert!(ring.asks_for_pin("tpm1") && ring.generations[0].has_pin());
}

#[test]
fn the_ring_of_a_token_opens() {
    let ring = ring("ring-v1-token.json");
    assert_eq!(generations(&ring), [is(1, "eb1f", State::Kept), is(2, "0b3d", State::Active)]);
    assert_eq!(ring.generations[0].origin.kind, Kind::Pkcs11);
    let seal = ring.generations[1].seal_on("hsm1").unwrap();
    assert!(seal.mechanism == "CKM_AES_KEY_WRAP" && seal.birth.is_some() && !seal.use_part.proves_itself());
    assert_eq!(seal.export_part.0.guard, Guard::TokenPin {});
}

/// What was made on a TPM, restored onto a token of a server that may not generate.
#[test]
fn the_ring_of_a_member_opens() {
    let ring = ring("ring-v1-member.json");
    assert_eq!(ring.role, Role::Member);
    assert_eq!(generations(&ring), [is(1, "6303", State::Kept), is(2, "8f4a", State::Active)]);
    for generation in &ring.generations {
        assert!(generation.restored.is_some() && generation.origin.kind == Kind::Tpm);
        assert!(generation.seal_on("hsm1").unwrap().birth.is_none());
    }
}

/// A TPM and a token, generation 2 sealed on both when it was made.
#[test]
fn the_ring_of_two_devices_opens() {
    let ring = ring("ring-v1-two-devices.json");
    assert_eq!(generations(&ring), [is(1, "a927", State::Kept), is(2, "e42f", State::Active)]);
    assert_eq!(ring.in_service().map(|device| device.id.as_str()).collect::<Vec<_>>(), ["tpm1", "hsm1"]);
    for generation in &ring.generations {
        let born = |device: &str| generation.seal_on(device).unwrap().birth.is_some();
        assert!(born("tpm1") && !born("hsm1"));
    }
    assert!(ring.asks_for_pin("hsm1") && !ring.asks_for_pin("tpm1"));
}

/// One TPM that was bound and is not now, one that is, with a PIN.
#[test]
fn the_ring_of_bound_seals_opens() {
    let ring = ring("ring-v1-bound.json");
    assert_eq!(generations(&ring), [is(1, "d0e9", State::Kept), is(2, "d5a8", State::Active)]);
    let bound = |device: &str| ring.bound(device).map(|bound| bound.to_string());
    assert_eq!((bound("tpm1"), bound("tpm2").as_deref()), (None, Some("sha384:7")));
    assert_eq!(ring.device("tpm1").unwrap().unbound.as_ref().map(ToString::to_string).as_deref(), Some("sha256:7+14"));
    assert!(ring.has_own_pin("tpm2") && !ring.asks_for_pin("tpm1"));
    let guard = &ring.generations[1].seal_on("tpm2").unwrap().use_part.0.guard;
    assert!(matches!(guard.bound(), Some(Bound::State(state)) if state.values == ["0".repeat(96)]), "{guard:?}");
}

/// One TPM that was bound to what a key signs and is not now, one that is, with a PIN.
#[test]
fn the_ring_of_signed_seals_opens() {
    let ring = ring("ring-v1-signed.json");
    assert_eq!(generations(&ring), [is(1, "5070", State::Active)]);
    let signed = Some("sha256:11 as key ea7c115e3843fd9e signs it".to_owned());
    let unbound = |device: &str| ring.device(device).unwrap().unbound.as_ref().map(ToString::to_string);
    assert_eq!((ring.bound("tpm1"), unbound("tpm1")), (None, signed.clone()));
    assert_eq!((ring.bound("tpm2").map(|bound| bound.to_string()), unbound("tpm2")), (signed, None));
    assert!(ring.has_own_pin("tpm2") && !ring.asks_for_pin("tpm1"));
}

/// The ones above were written before the endorsement key was pinned too.
#[test]
fn the_ring_with_an_endorsement_key_opens() {
    let ring = ring("ring-v1-endorsement.json");
    assert_eq!(generations(&ring), [is(1, "19e2", State::Active)]);
    let Some(Root::Tpm { endorsement: Some(name), .. }) = ring.device("tpm1").unwrap().root() else {
        panic!("it has one")
    };
    assert_eq!(serde_json::to_string(name).unwrap(), "\"AAth5/vR4RNgjBypvSzdZ8GCaMbnO/1tb33QhWdUp6w9Zw==\"");
}

/// What `device add` wrote before it made its wrapping keys, and was cut off.
#[test]
fn the_ring_that_a_crash_left_with_half_a_device_opens() {
    let ring = ring("ring-v1-being-added.json");
    assert_eq!(generations(&ring), [is(1, "a927", State::Active)]);
    assert_eq!(ring.in_service().map(|device| device.id.as_str()).collect::<Vec<_>>(), ["tpm1"]);
    assert_eq!(ring.being_added().map(|device| device.id.as_str()).collect::<Vec<_>>(), ["hsm1"]);
    assert!(ring.device("hsm1").unwrap().anchor.intent().is_some());
}

#[test]
fn what_was_refused_is_remembered() {
    let text = sample("refused-v1.json");
    let refusals = Refusals::parse(&text).unwrap();
    assert_eq!(refusals.print(), text);
    let device = "SHA256:a7f1eba370d22fc449e87df1a019a49355261637282df5f8bf1b82a100dc8869";
    let known: Vec<_> =
        refusals.of_device(device).map(|refusal| (refusal.source.path.as_str(), refusal.source.size)).collect();
    assert_eq!(known, [("/srv/wrong", 11)]);
}

/// What `init` wrote before it made its wrapping keys on a token, and was cut off.
#[test]
fn the_ring_that_a_crash_left_unfounded_opens() {
    let ring = ring("ring-v1-founding.json");
    assert!(!ring.is_founded() && ring.devices[0].root().is_none());
    assert!(matches!(ring.devices[0].anchor, Anchor::Intended(_)));
    assert_eq!(ring.next_number(), Ok(1));
}

/// Of a memory that can't be read nothing is said: it is none.
const NOTHING: &str = "nothing";

/// Files that can't be right, and what is said of each. A text that ends in ` ...` only begins so: the rest is a list that
/// grows.
const BAD: &[(&str, &str)] = &[
    ("audit-changed.log", "line 4: it does not follow the line before: that one was changed, or this one"),
    ("audit-doubled.log", "line 4: it is entry 3, where entry 4 belongs: entries were dropped, put in, or moved"),
    ("audit-dropped.log", "line 3: it is entry 4, where entry 3 belongs: entries were dropped, put in, or moved"),
    ("audit-format.log", "line 10: the line is no entry: it has format 2, this version reads 1"),
    (
        "audit-more.log",
        "line 10: the line is no entry: unknown field `more`, expected one of `device`, `value`, `first` at line 1 column 440",
    ),
    ("audit-moved.log", "line 3: it is entry 4, where entry 3 belongs: entries were dropped, put in, or moved"),
    ("audit-piece.log", "line 8: the line is no entry: EOF while parsing an object at line 1 column 17"),
    ("audit-shape.log", "line 10: the line is no entry: an outcome says how it ended"),
    ("audit-spelling.log", "line 10: the line is no entry: it is spelled in another way than entries are"),
    (
        "audit-tag.log",
        "line 10: its tag is not that of generation a93b-9cbf-4a47-c91f: it was changed, or it was not written by whoever has the secret",
    ),
    ("backup-blank.txt", "the file is empty"),
    ("backup-body.txt", "the backup is damaged: its encrypted part was changed or cut off"),
    ("backup-cut-early.txt", "the backup is damaged: it has no encrypted part"),
    ("backup-cut.txt", "the backup is damaged: its end is missing"),
    ("backup-followed.txt", "the backup is damaged: something follows its end"),
    ("backup-foreign.txt", "this is not a Strongroom backup"),
    ("backup-inside-active.txt", "the backup is damaged: its active generation 3 is not in it"),
    ("backup-inside-empty.txt", "the backup is damaged: what is inside can't be read (Eof error, line 1)"),
    ("backup-inside-format.txt", "the backup has format 2, this version reads 1"),
    ("backup-inside-hint.txt", "the backup is damaged: the hint holds a character that can't be shown"),
    (
        "backup-inside-id.txt",
        "the backup is damaged: generation 1: its id is 9b48-1aef-24e5-ce8c, not 0707-0707-0707-0707",
    ),
    ("backup-inside-last.txt", "the backup is damaged: it holds a generation above 1, the last number that was given"),
    ("backup-inside-more.txt", "the backup is damaged: what is inside can't be read (Data error, line 7)"),
    ("backup-inside-none.txt", "the backup is damaged: it holds 0 generations"),
    ("backup-inside-order.txt", "the backup is damaged: generation 2 stands before 1"),
    (
        "backup-inside-secret.txt",
        "the backup is damaged: generation 2: the wrapped secret is damaged or wrapped under another key",
    ),
    (
        "backup-inside-short.txt",
        "the backup is damaged: generation 1: a wrapped secret must be 40 bytes long, this one is 39",
    ),
    ("backup-inside-twice.txt", "the backup is damaged: what is inside can't be read (Data error, line 7)"),
    ("backup-not-text.txt", "the backup is damaged: it is not text"),
    ("backup-preamble.txt", "the backup is damaged: a line before it was changed"),
    ("backup-recipient.txt", "the backup is damaged: its encrypted part is not under a passphrase"),
    ("backup-salt.txt", "the backup is damaged: its header was changed"),
    ("backup-twice.txt", "the backup is damaged: it has more than one encrypted part"),
    ("backup-work-lower.txt", "wrong passphrase"),
    ("backup-work-no-number.txt", "the backup is damaged: its work factor is no number"),
    ("backup-work.txt", "the backup's work factor is 21; the limit is 20"),
    ("refused-cut.json", NOTHING),
    ("refused-format.json", NOTHING),
    ("refused-more.json", NOTHING),
    ("ring-base64.json", "Invalid symbol 42, offset 0. at line 25 column 7"),
    ("ring-commit.json", "the ring's commits can't be counted on"),
    ("ring-cut.json", "EOF while parsing an object at line 18 column 4"),
    ("ring-empty.json", "EOF while parsing a value at line 1 column 0"),
    ("ring-followed.json", "trailing characters at line 29 column 1"),
    ("ring-format.json", "the ring has format 2, this version reads 1"),
    ("ring-guard.json", "unknown field `salt`, there are no fields at line 52 column 13"),
    ("ring-hex.json", "hex must be lower-case at line 20 column 55"),
    ("ring-kind.json", "device tpm1 is pinned as another kind of device"),
    ("ring-missing.json", "missing field `master` at line 27 column 1"),
    ("ring-more.json", "unknown field `colour`, expected one of ..."),
    ("ring-name.json", "the system's name must be printable, with no blank at either end"),
    ("ring-no-device.json", "the ring has 0 devices, not 1 to 16"),
    ("ring-no-seal.json", "generation 1 has no seal"),
    ("ring-not-set-up.json", "generation 1 has a seal of a device that is not set up"),
    ("ring-number.json", "generation 1 has a number that was never given"),
    ("ring-order.json", "generation 2 stands before 2"),
    ("ring-other-device.json", "generation 1 has a seal of a device that is not in the ring"),
    ("ring-pending-old.json", "generation 1 is pending, and not the newest"),
    ("ring-role.json", "unknown variant `owner`, expected `master` or `member` at line 10 column 17"),
    ("ring-same-device.json", "two devices are called hsm1"),
    ("ring-same-id.json", "generation 6303-9ba9-66e6-3067 is in the ring twice"),
    ("ring-suite.json", "the ring's suite is strongroom-v2-kmac256, this version knows strongroom-v1-hmac-sha256"),
    ("ring-twice.json", "duplicate field `term` at line 10 column 8"),
    ("ring-two-active.json", "more than one generation is active"),
    (
        "ring-uri.json",
        "not a PKCS#11 URI that names a token: `pin-value` is refused: the PIN would end in the ring and in process listings; use `pin-source` at line 16 column 94",
    ),
];

#[test]
fn what_can_not_be_right_is_refused_for_the_same_reason_for_ever() {
    for (name, expected) in BAD {
        let file = sample(&format!("bad/{name}"));
        let kind = name.split('-').next().unwrap();
        let said = match kind {
            "ring" => Ring::parse(&file).map(|_| ()).map_err(|error| error.to_string()),
            "audit" => judged(&file).broken.map_or(Ok(()), |found| Err(format!("line {}: {}", found.line, found.why))),
            "refused" => Refusals::parse(&file).map_or(Err(NOTHING.to_owned()), |_| Ok(())),
            // As `verify` does on a machine without a ring.
            "backup" => backup::open(&file, &normalized(PASSPHRASE.as_bytes()).unwrap())
                .and_then(|(contents, _)| contents.check_ids_on_host())
                .map_err(|error| error.to_string()),
            other => panic!("nobody reads {other}"),
        };
        let said = said.err().unwrap_or_else(|| panic!("{name} is taken"));
        match expected.strip_suffix(" ...") {
            Some(beginning) => assert!(said.starts_with(beginning), "{name}: {said}"),
            None => assert_eq!(said, *expected, "{name}"),
        }
    }
}

#[test]
fn no_bad_sample_is_left_out() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples/bad");
    let there: BTreeSet<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let listed: BTreeSet<String> = BAD.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, listed);
}
