//! Frozen samples: files that earlier versions wrote open for ever, and give what they gave. `tests/samples/README.md` has
//! the values.

use strongroom::backup::{self, Contents};
use strongroom::bytes::{base64, hex};
use strongroom::derive::{Label, Length, Source};
use strongroom::passphrase::normalized;

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
