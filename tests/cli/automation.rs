//! `docs/automation.md` and `docs/examples`: what is quoted is what is shipped, and what is shipped works.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::common::softhsm::USER_PIN;
use crate::schemas::{faults, schemas};
use crate::world::{PASSPHRASE, STRONGROOM, World};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn page() -> String {
    fs::read_to_string(docs().join("automation.md")).unwrap()
}

/// Every file of docs/examples, by its path below docs.
fn examples() -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&docs().join("examples"), &mut found);
    let name = |path: &Path| path.strip_prefix(docs()).unwrap().display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_example_is_quoted_as_it_is() {
    let page = page();
    let examples = examples();
    assert!(examples.len() >= 6);
    for (name, content) in &examples {
        let block = format!("[{name}]({name})\n\n```{}\n{content}```\n", kind(name));
        assert!(page.contains(&block), "docs/automation.md does not quote docs/{name} as it is");
    }
}

fn kind(name: &str) -> &'static str {
    match Path::new(name).extension().and_then(|extension| extension.to_str()) {
        Some("yml") => "yaml",
        Some("service" | "timer" | "conf") => "ini",
        other => panic!("what is a {other:?}?"),
    }
}

/// The objects that the page shows are what the schemas say.
#[test]
fn what_the_page_shows_of_the_stream_is_true() {
    let page = page();
    let blocks = page.split("```json\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let objects: Vec<Value> = blocks.flat_map(str::lines).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.len() >= 6, "{objects:?}");
    assert_eq!(faults(&schemas(&World::bare()), &objects), "");
}

#[test]
fn every_exit_code_is_explained() {
    let help = World::bare().done("--help").stdout;
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let first = |line: &str| line.trim_start_matches(['|', ' ']).split([' ', '|']).next().unwrap_or("").to_owned();
    // Long lines are wrapped.
    let is_code = |word: &String| word.bytes().all(|byte| byte.is_ascii_digit());
    let told: BTreeSet<String> = codes.lines().take_while(|line| !line.is_empty()).map(first).filter(is_code).collect();
    let page = page();
    let (_, table) = page.split_once("| code | what a script does |").expect("a table of exit codes");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    assert_eq!(rows.map(first).collect::<BTreeSet<_>>(), told);
}

/// What systemd says of the units, with this build for the program that they start.
#[test]
fn units_are_what_systemd_takes() {
    let world = World::bare();
    let units: Vec<(String, String)> =
        examples().into_iter().filter(|(name, _)| name.starts_with("examples/systemd/")).collect();
    let verified = |change: &dyn Fn(&str) -> String| {
        let room = world.path("units");
        fs::remove_dir_all(&room).ok();
        for (name, content) in &units {
            let path = room.join(name.strip_prefix("examples/systemd/").unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, change(&content.replace("/usr/bin/strongroom", STRONGROOM))).unwrap();
        }
        // The package's.
        let check = format!("[Service]\nType=oneshot\nExecStart={STRONGROOM} status --check\n");
        fs::write(room.join("strongroom-check.service"), check).unwrap();
        let names = ["strongroom-init.service", "strongroom-key.service", "strongroom-check.service"];
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["verify", "--man=no"]).args(names.map(|name| room.join(name)));
        analyze.arg(room.join("strongroom-tell@strongroom-check.service.service"));
        let output = analyze.output().expect("systemd-analyze is there (ci/setup)");
        (output.status.success(), said(&output))
    };
    assert_eq!(verified(&str::to_owned), (true, String::new()));
    // A judge that finds no fault must find one where there is one.
    let (_, found) = verified(&|unit| unit.replace("RemainAfterExit=yes", "RemainAfterwards=yes"));
    assert!(found.contains("RemainAfterwards"), "{found}");
}

/// The command of a unit, as systemd would run it, by a shell.
fn command_of(unit: &str, world: &World) -> Command {
    let content = fs::read_to_string(docs().join("examples/systemd").join(unit)).unwrap();
    let line = content.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let line = line.replace("/usr/bin/strongroom", STRONGROOM).replace("%t", &world.path("run").display().to_string());
    let line = line.replace("/mnt/backup/%H", &world.path("backup").display().to_string());
    let line = line.replace("--device tpm:", "--device \"$DEVICE\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).env_clear().current_dir(world.path("."));
    shell.env("PATH", std::env::var_os("PATH").unwrap()).env("STATE_DIRECTORY", world.path("state"));
    shell.env("CREDENTIALS_DIRECTORY", world.path("credentials"));
    if let Some(hsm) = &world.hsm {
        shell.env("SOFTHSM2_CONF", hsm.conf());
    }
    shell
}

#[test]
fn units_do_what_they_say() {
    let world = World::fresh();
    fs::create_dir(world.path("credentials")).unwrap();
    let mut init = command_of("strongroom-init.service", &world);
    init.env("DEVICE", world.tpm.as_ref().unwrap().uri());
    let missing = init.output().unwrap();
    assert_eq!(missing.status.code(), Some(2), "without the credential nothing is made: {}", said(&missing));
    world.file("credentials/strongroom.passphrase", PASSPHRASE);
    let made = init.output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    world.done("verify --passphrase-file pass backup-1.backup");

    let world = World::token();
    for directory in ["credentials", "run", "run/strongroom-key"] {
        fs::create_dir(world.path(directory)).unwrap();
    }
    world.file("credentials/strongroom.pin.hsm1", USER_PIN);
    let derived = command_of("strongroom-key.service", &world).output().unwrap();
    assert!(derived.status.success(), "{}", said(&derived));
    let key = fs::read(world.path("run/strongroom-key/backups")).unwrap();
    let line = "derive --quiet --generation 1 --format raw --pin-file pin backups";
    assert_eq!(key, world.done(line).raw);
    // What fails leaves no half of a key under its name, and ends with the program's own exit code.
    fs::remove_file(world.path("run/strongroom-key/backups")).unwrap();
    fs::remove_file(world.path("credentials/strongroom.pin.hsm1")).unwrap();
    let failed = command_of("strongroom-key.service", &world).output().unwrap();
    let expected = world.run("derive --generation 1 backups").code;
    assert_eq!(failed.status.code(), expected, "{}", said(&failed));
    assert!(!world.path("run/strongroom-key/backups").exists());
}

/// A machine that Ansible works on: this one, with a world for its state.
struct Managed {
    world: World,
    vars: Value,
}

impl Managed {
    fn new(world: World, vars: Value) -> Self {
        world.file(
            "hosts",
            "[masters]\nlocalhost ansible_connection=local ansible_python_interpreter=/usr/bin/python3\n",
        );
        Self { world, vars }
    }

    fn play(&self, arguments: &[&str]) -> Output {
        let world = &self.world;
        world.file("vars.json", self.vars.to_string());
        let mut ansible = Command::new("ansible-playbook");
        ansible.args(["-i", "hosts", "-e", "@vars.json"]).args(arguments);
        ansible.arg(docs().join("examples/ansible/strongroom.yml")).current_dir(world.path(".")).env_clear();
        let programs = Path::new(STRONGROOM).parent().unwrap().display().to_string();
        ansible.env("PATH", format!("{programs}:/usr/bin:/bin:/usr/sbin:/sbin")).env("HOME", world.path("."));
        ansible.env("STRONGROOM_DIR", world.path("state")).env("LC_ALL", "C.UTF-8").env("ANSIBLE_NOCOLOR", "1");
        ansible.env("SYSTEMD_CREDENTIAL_SECRET", world.path("credential.secret"));
        if let Some(hsm) = &world.hsm {
            ansible.env("SOFTHSM2_CONF", hsm.conf());
        }
        ansible.output().expect("ansible-playbook is there (ci/setup)")
    }

    fn played(&self) -> String {
        let output = self.play(&[]);
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        for secret in [PASSPHRASE, USER_PIN] {
            assert!(!said.contains(secret), "{said}");
        }
        said
    }
}

#[test]
fn the_play_makes_a_system_once() {
    let world = World::fresh();
    let vars = json!({
        "ansible_become": false,
        "strongroom_device": world.tpm.as_ref().unwrap().uri(),
        "strongroom_backup": world.path("one.backup"),
        "strongroom_passphrase": PASSPHRASE,
    });
    let mut managed = Managed::new(world, vars);
    let checked = managed.play(&["--syntax-check"]);
    assert!(checked.status.success(), "{}", said(&checked));

    // What can't work is said before anything is made, readably.
    managed.vars["strongroom_backup"] = "no/such/directory/one.backup".into();
    let refused = managed.play(&[]);
    assert!(!refused.status.success() && said(&refused).contains("no/such/directory"), "{}", said(&refused));
    managed.vars["strongroom_backup"] = managed.world.path("one.backup").display().to_string().into();
    managed.vars["strongroom_passphrase"] = "payroll payroll".into();
    let weak = managed.play(&[]);
    assert!(!weak.status.success() && said(&weak).contains("the passphrase can be guessed"), "{}", said(&weak));
    assert!(!managed.world.path("one.backup").exists());
    managed.vars["strongroom_passphrase"] = PASSPHRASE.into();

    let first = managed.played();
    assert!(first.contains("changed=1 "), "{first}");
    assert!(first.contains("every backup lies on the state's own disk"), "what needs attention is told: {first}");
    managed.world.done("verify --passphrase-file pass one.backup");
    let log = managed.world.read("state/audit.log");
    let second = managed.played();
    assert!(second.contains("changed=0 "), "{second}");
    assert_eq!(managed.world.read("state/audit.log"), log);
}

#[test]
fn the_play_keeps_a_tokens_pin_as_a_credential() {
    let world = World::fresh_token();
    fs::create_dir(world.path("credstore")).unwrap();
    let vars = json!({
        "ansible_become": false,
        "strongroom_device": world.hsm.as_ref().unwrap().uri(),
        "strongroom_backup": world.path("one.backup"),
        "strongroom_credstore": world.path("credstore"),
        "strongroom_passphrase": PASSPHRASE,
        "strongroom_pin": USER_PIN,
    });
    let managed = Managed::new(world, vars);
    let first = managed.played();
    assert!(first.contains("changed=2 "), "{first}");
    let mut decrypt = Command::new("systemd-creds");
    decrypt.args(["decrypt", "--name=strongroom.pin.hsm1"]).arg(managed.world.path("credstore/strongroom.pin.hsm1"));
    decrypt.env("SYSTEMD_CREDENTIAL_SECRET", managed.world.path("credential.secret"));
    let pin = decrypt.output().expect("systemd-creds is there (ci/setup)");
    assert_eq!(String::from_utf8_lossy(&pin.stdout).trim_end(), USER_PIN, "{}", said(&pin));
    let second = managed.played();
    assert!(second.contains("changed=0 "), "{second}");
}

/// User data names what is shipped.
#[test]
fn user_data_is_yaml_and_names_what_is_there() {
    let text = fs::read_to_string(docs().join("examples/cloud-init/user-data.yml")).unwrap();
    assert!(text.starts_with("#cloud-config\n"));
    let parse = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", parse]).stdin(fs::File::open(docs().join("examples/cloud-init/user-data.yml")).unwrap());
    let parsed: Value = serde_json::from_slice(&python.output().unwrap().stdout).unwrap();
    let drop_in = fs::read_to_string(docs().join("examples/systemd/strongroom-check.service.d/tell.conf")).unwrap();
    let written = parsed["write_files"][0]["content"].as_str().unwrap();
    assert!(drop_in.ends_with(written), "{written}");
    let enabled = parsed["runcmd"][2].as_array().unwrap();
    let shipped: Vec<String> = examples().into_iter().map(|(name, _)| name).collect();
    for unit in enabled.iter().filter_map(Value::as_str).filter(|word| word.ends_with(".service")) {
        assert!(shipped.contains(&format!("examples/systemd/{unit}")), "{unit}");
    }
}
