//! `status --quick`: the ring alone, however much it holds and whatever its devices do.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use serde_json::{Value, json};

use crate::snapshot;
use crate::world::World;

const GENERATIONS: usize = 50;
const DEVICES: usize = 8;

/// The frozen ring of a token, with as many devices and generations. None of the devices is there.
fn large() -> World {
    let world = World::bare();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/ring-v1-token.json");
    let mut ring: Value = serde_json::from_str(&fs::read_to_string(sample).unwrap()).unwrap();
    let (device, kept) = (ring["devices"][0].clone(), ring["generations"][0].clone());
    let hex = |kind: usize, number: usize| format!("{kind:016x}{number:016x}");
    let devices = (1..=DEVICES).map(|number| {
        let mut device = device.clone();
        device["id"] = format!("hsm{number}").into();
        device["uri"] = format!("pkcs11:token=large-{number}?module-path=/no/such/module.so").into();
        device["anchor"]["pinned"]["use_key"]["id"] = hex(1, number).into();
        device["anchor"]["pinned"]["export_key"]["id"] = hex(2, number).into();
        device
    });
    ring["devices"] = devices.collect();
    let generations = (1..=GENERATIONS).map(|number| {
        let mut generation = kept.clone();
        let seal = generation["seals"][0].clone();
        let seals = (1..=DEVICES).map(|device| {
            let mut seal = seal.clone();
            seal["device"] = format!("hsm{device}").into();
            seal
        });
        generation["seals"] = seals.collect();
        generation["number"] = number.into();
        generation["id"] = hex(3, number).into();
        generation["state"] = if number == GENERATIONS { "active" } else { "kept" }.into();
        generation
    });
    ring["generations"] = generations.collect();
    ring["last_number"] = GENERATIONS.into();
    fs::DirBuilder::new().mode(0o700).create(world.path("state")).unwrap();
    world.file("state/ring.json", ring.to_string());
    world
}

#[test]
fn asks_no_device() {
    let world = large();
    let quick = world.unchanged(|| world.done("status --quick --json")).json().pop().unwrap();
    let devices = quick["devices"].as_array().unwrap();
    assert_eq!((devices.len(), quick["generations"].as_array().unwrap().len()), (DEVICES, GENERATIONS));
    for device in devices {
        let told = (&device["state"], &device["reachable"], &device["description"]);
        assert_eq!(told, (&json!("not asked"), &Value::Null, &Value::Null));
        let seals = device["seals"].as_array().unwrap();
        assert!(seals.len() == GENERATIONS && seals.iter().all(|seal| seal["state"] == "not-checked"), "{device}");
    }
    let about_devices = |status: &Value| {
        let warnings = status["warnings"].as_array().unwrap();
        warnings.iter().filter(|warning| warning["id"] == "device").count()
    };
    assert_eq!(about_devices(&quick), 0);
    // Whoever asks them is told that they are not there.
    let thorough = world.done("status --json").json().pop().unwrap();
    assert_eq!(about_devices(&thorough), DEVICES);
    assert!(thorough["devices"].as_array().unwrap().iter().all(|device| device["reachable"] == false));
}

#[test]
fn says_what_the_ring_knows() {
    let mut world = World::on_both();
    world.done("generate --yes --leave-behind hsm1 --passphrase-file pass two.backup");
    world.tpm.as_mut().unwrap().power_off();
    let shots = ["status --quick", "status --quick --check"].map(|line| world.unchanged(|| world.run(line)));
    snapshot::check("status-quick", &shots);
}
