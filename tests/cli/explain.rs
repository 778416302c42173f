//! `strongroom explain`.

use serde_json::Value;

use crate::snapshot;
use crate::world::World;

#[test]
fn codes_are_explained_by_number_and_by_name() {
    let world = World::bare();
    let words = ["0x921", "TPM_RC_LOCKOUT", "0x1c4", "0xa4", "ckr_general_error", "0x000a000a", "0x80000007"];
    let shots: Vec<_> = words.iter().map(|word| world.done(&format!("explain {word}"))).collect();
    snapshot::check("explain", &shots);
    let line: Value = serde_json::from_str(&world.done("explain --json 0xa4").stdout).unwrap();
    assert_eq!(line["schema"], "strongroom.explain/1");
    let sources: Vec<&str> =
        line["meanings"].as_array().unwrap().iter().map(|it| it["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["tpm", "pkcs11"]);
    assert!(!world.path("state").exists(), "it needs no state directory");
}

#[test]
fn what_is_no_code_is_refused() {
    let world = World::bare();
    world.all_refused("explain-unknown", 2, &["explain 0xfffff", "explain CKR_NOTHING", "explain what?", "explain -1"]);
}

/// The code at the end of an error is one that can be explained.
#[test]
fn an_error_leads_to_its_explanation() {
    let world = World::with_pin();
    world.file("wrong", "1357-seal\n");
    let error: Value = serde_json::from_str(&world.run("derive --json --pin-file wrong backups").stdout).unwrap();
    let code = error["error"]["device_code"].as_str().unwrap().split(' ').next().unwrap();
    let explained = world.done(&format!("explain {code}"));
    assert!(explained.stdout.contains("wrong PIN or password, and it was counted"), "{explained}");
}
