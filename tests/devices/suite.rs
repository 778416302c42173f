//! What every device promises: one function for each promise, called for every simulator by tests of four lines.
//!
//! A device comes here opened and provisioned. Nothing here knows what kind it is.

use sha2::{Digest, Sha256};
use strongroom::derive::{Label, Length, Source, expand};
use strongroom::device::{Device, DeviceError, ExportPart, Fault, Intent, Key, Protection, Seal, UsePart};
use strongroom::secret::{Kek, Mac, MasterSecret, SecretBytes, random_array};
use strongroom::wrap::WrappedSecret;

/// All that a device promises by itself, once it is provisioned.
pub const ALL: [fn(&mut dyn Device); 11] = [
    describes_itself,
    gives_the_rfc_4231_vectors,
    gives_the_rfc_5869_vectors,
    takes_long_messages,
    keeps_its_secret,
    keeps_secrets_apart,
    imports_what_it_exported,
    refuses_to_export_a_use_part,
    refuses_a_tampered_seal,
    refuses_a_tampered_backup,
    proves_what_it_loads,
];

/// The longest message that one HMAC takes.
const LONGEST: usize = 1024;

/// It says what it is, lacks nothing, and does so again: nothing was changed by asking.
pub fn describes_itself(device: &mut dyn Device) {
    let first = device.describe().expect("it describes itself");
    assert_eq!(first.lacks, Vec::<String>::new());
    assert!(!first.manufacturer.is_empty(), "{first:?}");
    assert_eq!(device.describe().expect("again"), first);
}

/// To provision what is provisioned changes nothing. `intent` is what it was provisioned with.
pub fn provisions_once(device: &mut dyn Device, intent: &Intent) {
    let first = device.provision(intent).expect("it is provisioned");
    assert_eq!(device.provision(intent).expect("again"), first);
}

/// RFC 4231, section 4 (test case 5 is about truncation): sealed, and taken in for the moment.
pub fn gives_the_rfc_4231_vectors(device: &mut dyn Device) {
    let counting: Vec<u8> = (0x01..=0x19).collect();
    let cases: [(&[u8], &[u8], &str); 6] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (&counting, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &[0xaa; 131],
            b"This is a test using a larger than block-size key and a larger than block-size data. \
              The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];
    for (key, message, expected) in cases {
        let kek = Kek::random();
        let wrapped = WrappedSecret::wrap(&as_32_bytes(key), &kek);
        let seal = device.import(&wrapped, &kek, Protection::NONE).expect("it takes a secret in");
        assert_eq!(hex_of(&hmac(device, Key::Sealed(&seal.use_part), message)), expected);
        assert_eq!(hex_of(&hmac(device, Key::Wrapped(&wrapped, &kek), message)), expected);
    }
}

/// RFC 5869, appendix A: the expand step, with the device as the PRF.
pub fn gives_the_rfc_5869_vectors(device: &mut dyn Device) {
    let counting = |range: std::ops::RangeInclusive<u8>| range.collect::<Vec<u8>>();
    let cases: [(&str, Vec<u8>, &str); 3] = [
        (
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            counting(0xf0..=0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            counting(0xb0..=0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
             da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            Vec::new(),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (secret, info, expected) in cases {
        let kek = Kek::random();
        let wrapped = WrappedSecret::wrap(&as_32_bytes(&hex::decode(secret).unwrap()), &kek);
        let seal = device.import(&wrapped, &kek, Protection::NONE).expect("it takes a secret in");
        let length = u16::try_from(expected.len() / 2).unwrap();
        let mut prf = |message: &[u8]| device.hmac(Key::Sealed(&seal.use_part), message);
        let key = expand(&mut prf, &info, length).expect("it expands");
        assert_eq!(hex::encode(key.expose_secret()), expected);
    }
}

/// The longest message is taken whole.
pub fn takes_long_messages(device: &mut dyn Device) {
    let kek = Kek::random();
    let secret = as_32_bytes(b"a secret");
    let wrapped = WrappedSecret::wrap(&secret, &kek);
    let seal = device.import(&wrapped, &kek, Protection::NONE).expect("it takes a secret in");
    for length in [0, 1, 63, 64, LONGEST - 1, LONGEST] {
        let message = vec![0x5a; length];
        let expected = hmac_by_hand(&secret, &message);
        assert_eq!(hex_of(&hmac(device, Key::Sealed(&seal.use_part), &message)), expected, "{length} bytes");
        assert_eq!(hex_of(&hmac(device, Key::Wrapped(&wrapped, &kek), &message)), expected, "{length} bytes");
    }
}

/// The secret that it makes is the same wherever it is asked: in use, exported, and out of a backup.
pub fn keeps_its_secret(device: &mut dyn Device) {
    let seal = generate(device);
    assert!(seal.birth.is_some(), "it says that the secret was born in it");
    let kek = Kek::random();
    let wrapped = device.export(&seal.export_part, &kek).expect("it exports");
    let id = id_of(device, Key::Sealed(&seal.use_part));
    assert_eq!(id_of(device, Key::Wrapped(&wrapped, &kek)), id);
    let on_host = wrapped.unwrap(&kek).expect("what it wrapped can be unwrapped by anybody");
    assert_eq!(Source::on_host(&on_host).id().unwrap().0.to_string(), id);
    let again = device.export(&seal.export_part, &kek).expect("it exports as often as it is asked");
    assert_eq!(id_of(device, Key::Wrapped(&again, &kek)), id);
}

/// Two secrets are two, and each part answers for its own, in whatever order they are asked.
pub fn keeps_secrets_apart(device: &mut dyn Device) {
    let (first, second) = (generate(device), generate(device));
    let (first_id, second_id) =
        (id_of(device, Key::Sealed(&first.use_part)), id_of(device, Key::Sealed(&second.use_part)));
    assert_ne!(first_id, second_id);
    for _ in 0..2 {
        assert_eq!(id_of(device, Key::Sealed(&first.use_part)), first_id);
        assert_eq!(id_of(device, Key::Sealed(&second.use_part)), second_id);
    }
}

/// What it exported, it takes in again: same id, same derived keys, exportable again; and not born in it.
pub fn imports_what_it_exported(device: &mut dyn Device) {
    let seal = generate(device);
    let kek = Kek::random();
    let wrapped = device.export(&seal.export_part, &kek).expect("it exports");
    let restored = device.import(&wrapped, &kek, Protection::NONE).expect("it takes it in");
    assert_eq!(restored.birth, None);
    same_answers(device, &seal.use_part, &restored.use_part);
    let kek = Kek::random();
    let again = device.export(&restored.export_part, &kek).expect("it exports what was taken in");
    assert_eq!(id_of(device, Key::Wrapped(&again, &kek)), id_of(device, Key::Sealed(&seal.use_part)));
}

/// A use part can't be exported: the device itself refuses, also where the ring was changed to call it an export part.
pub fn refuses_to_export_a_use_part(device: &mut dyn Device) {
    let born = generate(device);
    let kek = Kek::random();
    let wrapped = device.export(&born.export_part, &kek).expect("it exports");
    let taken_in = device.import(&wrapped, &kek, Protection::NONE).expect("it takes it in");
    for seal in [born, taken_in] {
        let disguised = ExportPart(seal.use_part.0.clone());
        assert!(device.export(&disguised, &kek).is_err(), "a use part left the device");
        id_of(device, Key::Sealed(&seal.use_part));
    }
}

/// A seal of which a bit was changed does not load, and the device goes on working.
pub fn refuses_a_tampered_seal(device: &mut dyn Device) {
    let seal = generate(device);
    let id = id_of(device, Key::Sealed(&seal.use_part));
    let length = seal.use_part.0.blob.0.len();
    for at in [0, 1, length / 3, length / 2, length - 1] {
        let mut use_part = seal.use_part.clone();
        use_part.0.blob.0[at] ^= 0x10;
        refused(device.hmac(Key::Sealed(&use_part), b"message"), &format!("byte {at} of {length}"));
    }
    let mut cut = seal.use_part.clone();
    cut.0.blob.0.pop();
    refused(device.hmac(Key::Sealed(&cut), b"message"), "cut short");
    let mut export_part = seal.export_part.clone();
    *export_part.0.blob.0.last_mut().unwrap() ^= 1;
    refused(device.export(&export_part, &Kek::random()), "the export part");
    assert_eq!(id_of(device, Key::Sealed(&seal.use_part)), id);
}

/// A wrapped secret of which a bit was changed, or under another KEK, is damage.
pub fn refuses_a_tampered_backup(device: &mut dyn Device) {
    let kek = Kek::random();
    let good = WrappedSecret::wrap(&as_32_bytes(b"a secret"), &kek);
    let mut bad = good.clone();
    bad.wrapped.0[17] ^= 1;
    refused(device.import(&bad, &kek, Protection::NONE), "a changed bit, imported");
    refused(device.hmac(Key::Wrapped(&bad, &kek), b"message"), "a changed bit, used");
    let other = Kek::random();
    refused(device.import(&good, &other, Protection::NONE), "another KEK, imported");
    refused(device.hmac(Key::Wrapped(&good, &other), b"message"), "another KEK, used");
    assert_eq!(
        hex_of(&hmac(device, Key::Wrapped(&good, &kek), b"message")),
        hmac_by_hand(&as_32_bytes(b"a secret"), b"message")
    );
}

/// What is used is what was expected: a seal of another generation is not taken for it.
pub fn proves_what_it_loads(device: &mut dyn Device) {
    let (mine, other) = (generate(device), generate(device));
    let id = Source::unproved(device, Key::Sealed(&mine.use_part)).id().expect("an id");
    let found = Source::sealed(device, &mine.use_part, id).and_then(|mut source| source.id());
    assert_eq!(found.expect("it is what was expected"), id);
    let mut mixed = mine.use_part.clone();
    mixed.0.blob = other.use_part.0.blob;
    let error = Source::sealed(device, &mixed, id).and_then(|mut source| source.id()).expect_err("it is refused");
    let told = matches!(error.fault, Fault::OtherSecret { .. } | Fault::Damaged(_) | Fault::NotThisDevice(_));
    assert!(told, "{error:?}");
}

/// Out of one device, into another: same id, same derived keys, and back again.
pub fn move_between(from: &mut dyn Device, to: &mut dyn Device) {
    let seal = generate(from);
    let kek = Kek::random();
    let wrapped = from.export(&seal.export_part, &kek).expect("it exports");
    let moved = to.import(&wrapped, &kek, Protection::NONE).expect("the other takes it in");
    let expected = answers(from, &seal.use_part);
    assert_eq!(answers(to, &moved.use_part), expected);
    let kek = Kek::random();
    let back = to.export(&moved.export_part, &kek).expect("the other exports");
    let back = from.import(&back, &kek, Protection::NONE).expect("it takes it back");
    assert_eq!(answers(from, &back.use_part), expected);
}

/// One device's seal is refused by another.
pub fn refuses_anothers_seal(device: &mut dyn Device, other: &mut dyn Device) {
    let seal = generate(other);
    refused(device.hmac(Key::Sealed(&seal.use_part), b"message"), "the use part of another device");
    refused(device.export(&seal.export_part, &Kek::random()), "the export part of another device");
}

/// A new secret, with evidence of birth for a random qualifier.
pub fn generate(device: &mut dyn Device) -> Seal {
    device.generate(Protection::NONE, &random_array()).expect("it makes a secret")
}

/// The whole id of a key, in hex.
pub fn id_of(device: &mut dyn Device, key: Key<'_>) -> String {
    Source::unproved(device, key).id().expect("it gives an id").0.to_string()
}

/// The id, a short and a long derived key: what must be the same wherever the secret is.
pub fn answers(device: &mut dyn Device, part: &UsePart) -> [String; 3] {
    let id = id_of(device, Key::Sealed(part));
    let mut source = Source::unproved(device, Key::Sealed(part));
    let mut key = |length| {
        let key = source.key(&Label::new("disk").unwrap(), Length::new(length).unwrap()).expect("it derives");
        hex::encode(key.expose_secret())
    };
    [id, key(32), key(100)]
}

fn same_answers(device: &mut dyn Device, one: &UsePart, other: &UsePart) {
    let expected = answers(device, one);
    assert_eq!(answers(device, other), expected);
}

/// It failed, and said that what it was given is no good.
fn refused<T>(result: Result<T, DeviceError>, what: &str) {
    match result {
        Ok(_) => panic!("{what}: it was taken"),
        Err(error) => {
            let told = matches!(error.fault, Fault::Damaged(_) | Fault::NotThisDevice(_));
            assert!(told, "{what}: {error:?}");
        }
    }
}

fn hmac(device: &mut dyn Device, key: Key<'_>, message: &[u8]) -> Mac {
    device.hmac(key, message).expect("it gives an HMAC")
}

fn hex_of(mac: &Mac) -> String {
    hex::encode(mac.expose_secret())
}

/// HMAC pads its key with zeros to the block, and hashes one that is longer (RFC 2104, section 2): so every test key has
/// a form of 32 bytes that gives the same HMACs.
fn as_32_bytes(key: &[u8]) -> MasterSecret {
    let mut bytes = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
    bytes.resize(32, 0);
    MasterSecret::new(SecretBytes::copy_of(&bytes))
}

fn hmac_by_hand(secret: &MasterSecret, message: &[u8]) -> String {
    use hmac::{KeyInit, Mac as _};
    let hmac = <hmac::Hmac<Sha256>>::new_from_slice(secret.expose_secret()).unwrap();
    hex::encode(hmac.chain_update(message).finalize().into_bytes())
}
