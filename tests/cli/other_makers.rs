//! Tokens of other makers, from the command line: what they can't do is said before anything is made, and what they can do they
//! do. SoftHSM plays them, behind the fault module.

use crate::common::faulty::{self, Faulty};
use crate::common::swtpm::Swtpm;
use crate::snapshot::{self, Shot};
use crate::world::World;

/// No session objects, no wrapping, and keys of HMAC are of a kind of their own.
const YUBIHSM: [&str; 7] = [
    "without 0x2109",
    "without 0x210a",
    "without 0x9",
    "without session-objects",
    "without generic-secrets",
    "without wrapping",
    "without unwrapping",
];
/// It says that it wraps, and refuses to.
const LUNA_CLONING: [&str; 3] = ["renamed 0x2109 0x80000170", "renamed 0x210a 0x80000171", "without wrapping"];
/// No key comes in as it is.
const NSHIELD: [&str; 2] = ["without secret-import", "without 0x210a"];

struct Played<'w> {
    world: &'w World,
    faulty: Faulty,
}

impl<'w> Played<'w> {
    fn new(world: &'w World, rules: &[&str]) -> Self {
        let faulty = Faulty::before(world.hsm.as_ref().expect("a token"));
        faulty.set(rules);
        Self { world, faulty }
    }

    /// Runs `strongroom line`, in which `$PLAYED` is the token's URI.
    fn run(&self, line: &str) -> Shot {
        let uri = self.faulty.uri("payroll");
        let mut command = self.world.command(&line.replace("$PLAYED", &format!("'{uri}'")));
        command.env(faulty::VARIABLE, self.faulty.rules());
        let mut shot = self.world.run_as(line, command);
        let path = uri.split_once("module-path=").expect("a module").1.to_owned();
        for text in [&mut shot.stdout, &mut shot.stderr] {
            *text = text.replace(&path, "MODULE");
        }
        shot
    }

    fn done(&self, line: &str) -> Shot {
        let shot = self.run(line);
        assert_eq!(shot.code, Some(0), "{shot}");
        shot
    }

    fn refused(&self, line: &str) -> Shot {
        let shot = self.run(line);
        assert_eq!(shot.code, Some(8), "{shot}");
        shot
    }

    /// Nothing of ours is on the token.
    fn is_clean(&self) {
        let listed =
            self.world.hsm.as_ref().unwrap().pkcs11_tool_ok(&["--login", "--pin", "1234-user", "--list-objects"]);
        assert!(!listed.contains("strongroom"), "{listed}");
    }
}

const INIT: &str = "init --device $PLAYED --name payroll --pin-file pin --passphrase-file pass new.backup";

#[test]
fn what_lets_nothing_out_is_no_first_device() {
    let world = World::fresh_token();
    let says = Played::new(&world, &YUBIHSM);
    let before = world.unchanged(|| says.refused(INIT));
    assert_eq!(says.faulty.count("C_Login"), 0, "it says so itself");
    // Another says that it can, and its self-test shows that it can't.
    let shows = Played::new(&world, &LUNA_CLONING);
    let after = shows.refused(INIT);
    assert!(!world.path("new.backup").exists() && !world.path("state/ring.json").exists());
    assert!(!world.path("state/ring.next.json").exists(), "no set-up is left half done");
    shows.is_clean();
    snapshot::check("nothing-lets-out-init", &[before, after]);
}

/// One that lets nothing out serves beside one that does, and goes without leaving anything behind.
#[test]
fn what_lets_nothing_out_is_one_more_device() {
    let world = World::two_devices();
    let token = Played::new(&world, &YUBIHSM);
    let key = token.done("derive --quiet --generation 1 disk").stdout;
    let added = token.done("device add --yes --pin-file pin $PLAYED");
    let made = token.done("generate --yes --pin-file pin --passphrase-file pass second.backup");
    let status = token.done("status");
    let warned = token.done("device remove --dry-run tpm1");
    token.done("device remove --yes --pin-file pin tpm1");
    assert_eq!(token.done("derive --quiet --pin-file pin --generation 1 disk").stdout, key);
    let alone = [
        token.refused("backup --pin-file pin --passphrase-file pass third.backup"),
        token.refused("generate --yes --pin-file pin --passphrase-file pass third.backup"),
        token.done("status"),
    ];
    // A backup that was made before proves itself on it, and brings a device back that lets secrets out.
    token.done("verify --pin-file pin --passphrase-file pass second.backup");
    let restored = "restore --yes --replace --device $TPM --passphrase-file pass second.backup";
    token.done(restored);
    assert_eq!(token.done("derive --quiet --generation 1 disk").stdout, key);
    token.done("backup --passphrase-file pass third.backup");
    let [backup, generate, left] = alone;
    snapshot::check("nothing-lets-out", &[added, made, status, warned, backup, generate, left]);
}

#[test]
fn a_token_that_is_taken_off_keeps_nothing() {
    let world = World::two_devices();
    let token = Played::new(&world, &YUBIHSM);
    token.done("device add --yes --pin-file pin $PLAYED");
    token.done("device remove --yes --pin-file pin hsm1");
    token.is_clean();
}

/// Where no KEK may come in, secrets pass by RSA-OAEP; backups are the same.
#[test]
fn secrets_pass_by_oaep_where_nothing_comes_in_as_it_is() {
    let world = World::fresh_token();
    let token = Played::new(&world, &NSHIELD);
    token.done(INIT);
    let status = token.done("status");
    let derived = token.done("derive --quiet --pin-file pin --generation 1 disk").stdout;
    let doctor = token.done("doctor --pin-file pin hsm1");
    snapshot::check("secrets-pass-by-oaep", &[status, doctor]);
    // The same backup, on SoftHSM as it is.
    token.faulty.set(&[]);
    token.done("restore --yes --replace --pin-file pin --passphrase-file pass --device $PLAYED new.backup");
    assert_eq!(token.done("derive --quiet --pin-file pin --generation 1 disk").stdout, derived);
}

/// What a token wraps by RFC 5649 alone, a TPM takes, and a token that knows RFC 3394 alone.
#[test]
fn backups_by_rfc_5649_restore_onto_anything() {
    let mut world = World::fresh_token();
    world.tpm = Some(Swtpm::start());
    let token = Played::new(&world, &["without 0x2109", "renamed 0x210a 0x210b"]);
    token.done(INIT);
    let key = token.done("derive --quiet --pin-file pin --generation 1 disk").stdout;
    token.done("restore --yes --replace --device $TPM --passphrase-file pass new.backup");
    assert_eq!(token.done("derive --quiet --generation 1 disk").stdout, key);
    token.faulty.set(&["without 0x210a"]);
    token.done("restore --yes --replace --device $PLAYED --pin-file pin --passphrase-file pass new.backup");
    assert_eq!(token.done("derive --quiet --pin-file pin --generation 1 disk").stdout, key);
    token.done("backup --pin-file pin --passphrase-file pass second.backup");
    // Both kinds, in one drill.
    token.done("verify --pin-file pin --passphrase-file pass new.backup");
    token.done("verify --pin-file pin --passphrase-file pass second.backup");
}
