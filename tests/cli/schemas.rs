//! `strongroom schema`: all that `--json` prints is what the schemas say, judged by a validator that is not ours.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::signer::{self, Signer};
use crate::snapshot::Shot;
use crate::world::World;

/// Steps that take a TPM whose owner has a password, or a file system that keeps no modes or syncs no directory.
const ELSEWHERE: [&str; 3] = ["not-counted", "target-keeps-no-mode", "target-syncs-no-directory"];

/// The schemas that the program has, by name.
pub fn schemas(world: &World) -> BTreeMap<String, Value> {
    let listing = world.done("schema --json").json().pop().expect("a listing");
    let names =
        listing["names"].as_array().expect("names").iter().map(|name| name.as_str().expect("a name").to_owned());
    names
        .map(|name| (name.clone(), serde_json::from_slice(&world.done(&format!("schema {name}")).raw).unwrap()))
        .collect()
}

/// The name of the schema that an object says it has.
fn named(object: &Value) -> String {
    match object["schema"].as_str() {
        Some(schema) => {
            let name = schema.strip_prefix("strongroom.").and_then(|rest| rest.strip_suffix("/1"));
            name.unwrap_or_else(|| panic!("{object}")).to_owned()
        }
        None => {
            assert!(object.as_object().is_some_and(|fields| fields.len() == 1), "{object}");
            assert!(object["error"].is_object(), "{object}");
            "error".to_owned()
        }
    }
}

/// What is wrong with them.
pub fn faults(schemas: &BTreeMap<String, Value>, objects: &[Value]) -> String {
    let objects: Vec<Value> = objects.iter().map(|object| json!([named(object), object])).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/validate.py");
    // Debian's, which has Debian's jsonschema.
    let mut validator = Command::new("/usr/bin/python3");
    validator.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = validator.spawn().expect("python3 is there (ci/setup)");
    let input = json!({ "schemas": schemas, "objects": objects }).to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs with `--json`, whatever the outcome.
struct Heard(Vec<Value>);

impl Heard {
    fn hear(&mut self, world: &World, line: &str) {
        let shot: Shot = world.run(&format!("{line} --json"));
        let objects = shot.json();
        assert!(!objects.is_empty(), "{shot}");
        self.0.extend(objects);
    }
}

#[test]
fn all_that_is_printed_has_a_schema_and_is_what_it_says() {
    let schemas = schemas(&World::bare());
    let mut heard = Heard(Vec::new());
    on_a_tpm(&mut heard);
    on_a_token(&mut heard);
    on_both(&mut heard);
    on_what_was_cut_off(&mut heard);
    on_a_blank_token(&mut heard);
    on_a_token_of_another_maker(&mut heard);

    assert_eq!(faults(&schemas, &heard.0), "");
    let names: BTreeSet<String> = heard.0.iter().map(named).collect();
    assert_eq!(names, schemas.keys().cloned().collect(), "each kind was heard");
    let steps = heard.0.iter().filter_map(|object| object["step"].as_str());
    let told: BTreeSet<&str> = steps.chain(ELSEWHERE).collect();
    let kinds = schemas["step"]["oneOf"].as_array().expect("a kind for each step");
    let known: BTreeSet<&str> = kinds.iter().filter_map(|kind| kind["properties"]["step"]["const"].as_str()).collect();
    assert_eq!(told, known, "each step was heard");
}

fn on_a_tpm(heard: &mut Heard) {
    let world = World::fresh();
    heard.hear(&world, "schema");
    heard.hear(&world, "explain 0x921");
    heard.hear(&world, "explain 7");
    heard.hear(&world, "doctor $TPM");
    heard.hear(&world, "doctor tpm:device:/dev/tpmrm9");
    heard.hear(&world, "status");
    heard.hear(&world, "init --dry-run --device $TPM --with-pin new.backup");
    heard.hear(&world, "init --device $TPM --name payroll --passphrase-file pass payroll.backup");
    heard.hear(&world, "generate --yes --passphrase-file pass two.backup");
    heard.hear(&world, "generate --yes --passphrase-file pass two.backup");
    heard.hear(&world, "verify --passphrase-file pass two.backup");
    heard.hear(&world, "verify --dir elsewhere --passphrase-file pass two.backup");
    heard.hear(&world, "derive --generation 1 backups");
    heard.hear(&world, "derive --no-such-flag");
    heard.hear(&world, "device list");
    for line in ["status", "status --quick", "audit show", "audit verify", "passphrase suggest"] {
        heard.hear(&world, line);
    }
    world.file("weak", "umlaut-\u{fc}\n");
    heard.hear(&world, "passphrase check --passphrase-file pass");
    heard.hear(&world, "passphrase check --passphrase-file weak");
    world.file("other.backup", world.read("two.backup").replace("# password", "# Password").replace("on ", "at "));
    heard.hear(&world, "verify --passphrase-file pass other.backup");
    for line in ["bind --yes --pcrs 7", "status", "status --quick", "unbind --yes", "status"] {
        heard.hear(&world, line);
    }
    heard.hear(&world, "bind --yes --from two.backup --passphrase-file pass");
    let signer = Signer::ecdsa("P-256");
    world.file("key.pem", std::fs::read(signer.public()).unwrap());
    world.file("signed.json", signer::file("sha256", &[signer.sign(world.tpm.as_ref().unwrap(), "sha256:11")]));
    // The second has no signatures.
    for rest in [" --pcr-signature signed.json", ""] {
        for line in ["bind --yes --pcr-public-key key.pem", "status", "derive --generation 1 backups"] {
            heard.hear(&world, &format!("{line}{rest}"));
        }
    }
    heard.hear(&world, "unbind --yes --pcr-signature signed.json");
    heard.hear(&world, "restore --yes --replace --passphrase-file pass payroll.backup");
    // Of generation 2, only the backup knows now.
    heard.hear(&world, "verify --passphrase-file pass two.backup");
    world.file("state/ring.json", "{");
    heard.hear(&world, "status");
    heard.hear(&world, "recover --yes");
    world.file("state/audit.log", world.read("state/audit.log").replacen("\"init\"", "\"generate\"", 1));
    heard.hear(&world, "audit verify");
    heard.hear(&world, "status");
}

fn on_a_token_of_another_maker(heard: &mut Heard) {
    let world = World::faulty_token();
    world.faults().set(&["without 0x2109"]);
    heard.hear(&world, "init --device $HSM --name payroll --pin-file pin --passphrase-file pass new.backup");
    heard.hear(&world, "status");
}

fn on_a_token(heard: &mut Heard) {
    let world = World::token();
    heard.hear(&world, "doctor --pin-file pin");
    for line in ["status", "derive backups", "derive --pin-file pin backups", "audit verify --pin-file pin"] {
        heard.hear(&world, line);
    }
}

fn on_both(heard: &mut Heard) {
    let mut world = World::two_devices();
    heard.hear(&world, "device add --yes --pin-file pin $HSM");
    heard.hear(&world, "generate --yes --leave-behind hsm1 --passphrase-file pass two.backup");
    heard.hear(&world, "status");
    heard.hear(&world, "device repair --pin-file pin hsm1");
    world.tpm.as_mut().unwrap().power_off();
    heard.hear(&world, "backup --pin-file pin --passphrase-file pass three.backup");
    heard.hear(&world, "audit verify --pin-file pin");
    heard.hear(&world, "status");
    world.tpm.as_mut().unwrap().power_on();
    heard.hear(&world, "device remove --yes --pin-file pin hsm1");
    heard.hear(&world, "device add --yes --pin-file pin $HSM");
    heard.hear(&world, "device remove --yes --pin-file pin tpm1");
}

fn on_a_blank_token(heard: &mut Heard) {
    let world = World::blank_token();
    let line = "device init --yes --label payroll --so-pin-file so --new-pin-file pin 'pkcs11:?module-path=$MODULE'";
    heard.hear(&world, &line.replace("--yes", "--dry-run"));
    heard.hear(&world, line);
    heard.hear(&world, line);
}

fn on_what_was_cut_off(heard: &mut Heard) {
    let world = World::new();
    world.killed_before("renameat:signal=KILL:when=3", "generate --yes --passphrase-file pass two.backup");
    heard.hear(&world, "status");
    heard.hear(&world, "generate --yes --passphrase-file pass three.backup");
    std::fs::rename(world.path("state/ring.json"), world.path("state/ring.next.json")).unwrap();
    std::fs::remove_dir_all(world.path("state/history")).unwrap();
    heard.hear(&world, "status");
    heard.hear(&world, "init --device $TPM --name payroll --passphrase-file pass four.backup");
}

/// A validator that finds no fault must find one where there is one.
#[test]
fn a_fault_is_found() {
    let schemas = schemas(&World::bare());
    let plan = json!({ "schema": "strongroom.plan/1", "ceremony": "init", "system": "payroll", "changes": [],
                       "warnings": [], "secrets": [], "question": null });
    assert_eq!(faults(&schemas, std::slice::from_ref(&plan)), "");
    let faulty = |change: &dyn Fn(&mut Value)| {
        let mut plan = plan.clone();
        change(&mut plan);
        faults(&schemas, &[plan])
    };
    assert!(faulty(&|plan| plan["system"] = 7.into()).contains("$.system"));
    assert!(faulty(&|plan| plan["more"] = "field".into()).contains("'more'"));
    assert!(faulty(&|plan| plan["changes"] = json!([{ "id": "a", "text": "b", "c": 1 }])).contains("'c'"));
    assert!(faulty(&|plan| drop(plan.as_object_mut().unwrap().remove("secrets"))).contains("'secrets'"));
    let step = json!({ "schema": "strongroom.step/1", "step": "no-such-step", "text": "" });
    assert!(!faults(&schemas, &[step]).is_empty());
}

#[test]
fn schemas_are_listed_and_leave_open_what_comes() {
    let world = World::bare();
    let listing = world.done("schema");
    let names: Vec<&str> = listing.stdout.lines().collect();
    assert_eq!(names.len(), schemas(&world).len());
    for (name, schema) in schemas(&world) {
        assert!(names.contains(&name.as_str()));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        let text = schema.to_string();
        assert!(!text.contains("\"additionalProperties\":false") && !text.contains("[`"), "{name}: {text}");
        // With --json it is the same, on one line.
        assert_eq!(world.done(&format!("schema {name} --json")).json(), [schema]);
    }
    assert_eq!(world.run("schema no-such-schema").code, Some(2));
}
