//! Rings and generations, made up.

use jiff::Timestamp;
use proptest::prelude::*;
use strongroom::bytes::{Base64, Hex};
use strongroom::derive::GenerationId;
use strongroom::device::{
    Birth, ExportPart, Guard, Intent, Kind, Part, PcrState, Pcrs, Root, Seal, SignedPcrs, UsePart,
};
use strongroom::ring::{Anchor, BackupRecord, DeviceRecord, DeviceSeal, Generation, Origin, Ring, Role, State, System};
use uuid::Uuid;

pub fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().expect("a time")
}

pub fn id(seed: u8) -> GenerationId {
    GenerationId(Hex([seed; 16]))
}

pub fn root() -> Root {
    Root::Tpm { handle: 0x8100_0001, public: Base64(vec![1]), name: Base64(vec![2]), endorsement: None }
}

pub fn tpm(id: &str, anchor: Anchor) -> DeviceRecord {
    DeviceRecord { id: id.to_owned(), uri: "tpm:".parse().expect("a URI"), added: now(), anchor, unbound: None }
}

/// What a device makes of the secret of `seed`: no other device's seal is like it.
pub fn seal(seed: u8, device: &str, guard: &Guard) -> DeviceSeal {
    let blob = |more: u8| Base64([device.as_bytes(), &[seed, more]].concat());
    let part = |more| Part { blob: blob(more), name: Some(Base64(vec![more])), guard: guard.clone() };
    let seal = Seal {
        mechanism: "TPM2_HMAC".to_owned(),
        use_part: UsePart(part(1)),
        export_part: ExportPart(part(2)),
        birth: None,
    };
    DeviceSeal { device: device.to_owned(), seal }
}

/// A generation with the id of `seed`, sealed on these devices.
pub fn generation(number: u32, seed: u8, state: State, devices: &[String]) -> Generation {
    Generation {
        number,
        id: id(seed),
        created: now(),
        origin: Origin { host: "db1".to_owned(), kind: Kind::Tpm, device: "SHA256:00".to_owned() },
        restored: (state == State::Kept).then(now),
        state,
        seals: devices.iter().map(|device| seal(seed, device, &Guard::None {})).collect(),
    }
}

pub fn founding(system: u8, former: Option<&Ring>) -> Ring {
    let system = System { id: Uuid::from_u128(system.into()), name: format!("system {system}") };
    let mut ring = Ring::founding(system, 1, Role::Master, "db1".to_owned(), tpm("tpm1", Anchor::Pinned(root())));
    if let Some(former) = former {
        ring.succeed(former);
    }
    ring
}

pub fn backup(path: u8, content: u8, is_proved: bool) -> BackupRecord {
    BackupRecord {
        path: format!("/mnt/{path}"),
        sha256: Hex([content; 32]),
        generations: vec![1],
        work_factor: 18,
        made: now(),
        proved: is_proved.then(now),
    }
}

fn guard() -> impl Strategy<Value = Guard> {
    prop_oneof![
        Just(Guard::None {}),
        any::<[u8; 32]>().prop_map(|salt| Guard::Pin { salt: Hex(salt) }),
        bound().prop_map(|bound| Guard::Pcrs { bound }),
        (bound(), any::<[u8; 32]>()).prop_map(|(bound, salt)| Guard::PcrsPin { bound, salt: Hex(salt) }),
        signed().prop_map(|bound| Guard::Signed { bound }),
        (signed(), any::<[u8; 32]>()).prop_map(|(bound, salt)| Guard::SignedPin { bound, salt: Hex(salt) }),
        Just(Guard::TokenPin {}),
    ]
}

/// As a TPM reads them; a ring that has others is damaged.
fn bound() -> impl Strategy<Value = PcrState> {
    let pcrs = prop_oneof![Just("sha256:7"), Just("sha384:0+7+14")];
    (pcrs, any::<u8>()).prop_map(|(pcrs, byte)| {
        let pcrs: Pcrs = pcrs.parse().expect("PCRs");
        let values = pcrs.numbers().map(|_| hex::encode(vec![byte; pcrs.bank.size()])).collect();
        PcrState { pcrs, values }
    })
}

/// A key as `openssl pkey -pubout` writes it; a ring that has another thing is damaged.
fn signed() -> impl Strategy<Value = SignedPcrs> {
    const KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEM2O45wkVfk/mqwGi2MpiUdfMI3MIn01e48q4c55GvlAdxml9j+T+ScRfxY0MC60A6TV00+r+FxFdIJmRDmJ2Tg==";
    let pcrs = prop_oneof![Just("sha256:11"), Just("sha384:7+11")];
    pcrs.prop_map(|pcrs| {
        let key = serde_json::from_value(KEY.into()).expect("a key");
        SignedPcrs { pcrs: pcrs.parse().expect("PCRs"), key }
    })
}

fn bytes() -> impl Strategy<Value = Base64> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Base64)
}

fn part() -> impl Strategy<Value = Part> {
    (bytes(), prop::option::of(bytes()), guard()).prop_map(|(blob, name, guard)| Part { blob, name, guard })
}

fn birth() -> impl Strategy<Value = Birth> {
    prop_oneof![
        (bytes(), bytes(), bytes()).prop_map(|(data, hash, ticket)| Birth::Tpm { data, hash, ticket }),
        any::<(bool, bool, bool, String)>().prop_map(|(local, always_sensitive, never_extractable, mechanism)| {
            Birth::Pkcs11 { local, always_sensitive, never_extractable, key_gen_mechanism: mechanism }
        }),
    ]
}

fn device() -> impl Strategy<Value = DeviceRecord> {
    let uri = prop_oneof![Just("tpm:"), Just("pkcs11:token=a%20b;serial=7?module-name=x")];
    let intent = any::<([u8; 16], [u8; 16])>().prop_map(|(use_key, export_key)| {
        Anchor::Intended(Intent { use_key: Hex(use_key), export_key: Hex(export_key) })
    });
    let root =
        (any::<u32>(), bytes(), bytes(), prop::option::of(bytes())).prop_map(|(handle, public, name, endorsement)| {
            Anchor::Pinned(Root::Tpm { handle, public, name, endorsement })
        });
    (0..3_u8, uri, prop_oneof![intent, root]).prop_map(|(name, uri, anchor)| DeviceRecord {
        id: format!("tpm{name}"),
        uri: uri.parse().expect("a URI"),
        added: now(),
        anchor,
        unbound: None,
    })
}

fn any_generation() -> impl Strategy<Value = Generation> {
    let state = prop_oneof![1 => Just(State::Pending), 1 => Just(State::Active), 3 => Just(State::Kept)];
    let seals = prop::collection::vec((0..3_u8, part(), part(), prop::option::of(birth())), 0..3);
    (0..6_u32, 0..8_u8, any::<String>(), state, seals).prop_map(|(number, seed, host, state, seals)| {
        let sealed = |(device, used, exported, birth)| DeviceSeal {
            device: format!("tpm{device}"),
            seal: Seal {
                mechanism: "CKM_AES_KEY_WRAP".to_owned(),
                use_part: UsePart(used),
                export_part: ExportPart(exported),
                birth,
            },
        };
        let mut generation = generation(number, seed, state, &[]);
        generation.origin.host = host;
        generation.seals = seals.into_iter().map(sealed).collect();
        generation
    })
}

/// A ring of any form: most of them break a rule.
pub fn any_ring() -> impl Strategy<Value = Ring> {
    let devices = prop::collection::vec(device(), 0..3);
    let generations = prop::collection::vec(any_generation(), 0..4);
    let backups = prop::collection::vec((0..4_u8, 0..4_u8, any::<bool>()), 0..3);
    (devices, generations, backups, any::<(u64, u64)>(), 0..6_u32, "[a-z ]{0,4}").prop_map(
        |(devices, mut generations, backups, (commit, term), last_number, name)| {
            // Half of all rings would fall over the order alone.
            generations.sort_by_key(|generation| generation.number);
            let mut ring = founding(7, None);
            (ring.devices, ring.generations, ring.commit, ring.term) = (devices, generations, commit, term);
            ring.last_number = last_number;
            ring.system.name.push_str(&name);
            ring.backups = backups.into_iter().map(|(path, content, proved)| backup(path, content, proved)).collect();
            ring
        },
    )
}
