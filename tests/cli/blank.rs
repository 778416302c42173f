//! `device init`: a blank token made ready, and every token that is not blank left alone.

use crate::admin::as_nobody;
use crate::common::kryoptic::Kryoptic;
use crate::common::rack::NSS;
use crate::common::softhsm::{SO_PIN, USER_PIN};
use crate::prompts::{SOON, answer, answer_hidden};
use crate::snapshot::{self, Shot};
use crate::world::World;

const PINS: &str = "--so-pin-file so --new-pin-file pin";

fn init(world: &World, more: &str) -> Shot {
    world.run(&format!("device init --yes {PINS} --label payroll 'pkcs11:?module-path=$MODULE'{more}"))
}

#[test]
fn a_blank_token_is_made_ready_and_a_ring_uses_it() {
    let world = World::blank_token();
    let shots = [
        world.unchanged(|| {
            world.done(&format!("device init --dry-run {PINS} --label payroll 'pkcs11:?module-path=$MODULE'"))
        }),
        init(&world, ""),
        // Again is not once more: the next blank token is not taken for it.
        init(&world, ""),
        world.run("device init --yes --label other --so-pin-file so --new-pin-file pin $HSM"),
    ];
    snapshot::check("device-init", &shots);
    assert_eq!(shots.map(|shot| shot.code), [Some(0), Some(0), Some(5), Some(5)]);
    assert!(!world.path("state").exists(), "it is in no ring");
    world.done("init --device $HSM --name payroll --pin-file pin --passphrase-file pass payroll.backup");
    world.done("derive --pin-file pin backups");
}

#[test]
fn its_officer_has_the_pin_that_was_given() {
    let world = World::blank_token();
    assert_eq!(init(&world, "").code, Some(0));
    let change = ["--token-label", "payroll", "--login", "--login-type", "so", "--init-pin", "--new-pin", "9999-user"];
    let hsm = world.hsm.as_ref().unwrap();
    hsm.pkcs11_tool_ok(&[&change[..], &["--so-pin", SO_PIN]].concat());
    hsm.pkcs11_tool_ok(&["--token-label", "payroll", "--login", "--pin", "9999-user", "--list-objects"]);
}

#[test]
fn all_is_asked_for_at_a_terminal_new_pins_twice() {
    let world = World::blank_token();
    let mut pty = world.terminal("device init --label payroll 'pkcs11:?module-path=$MODULE'");
    answer(&mut pty, "Initialise the token? [y/N] ", "y");
    answer_hidden(&mut pty, "New security officer's PIN: ", SO_PIN);
    answer_hidden(&mut pty, "New security officer's PIN again: ", "5678-offizier");
    answer_hidden(&mut pty, "New security officer's PIN: ", SO_PIN);
    answer_hidden(&mut pty, "New security officer's PIN again: ", SO_PIN);
    answer_hidden(&mut pty, "New user PIN: ", "123");
    answer_hidden(&mut pty, "New user PIN: ", USER_PIN);
    answer_hidden(&mut pty, "New user PIN again: ", USER_PIN);
    let end = pty.finish();
    assert!(end.status.success() && pty.is_sane(), "{}", end.transcript);
    assert!(!end.transcript.contains(SO_PIN) && !end.transcript.contains(USER_PIN), "{}", end.transcript);
    assert!(end.transcript.contains("the two PINs differ. Once more."), "{}", end.transcript);
    // One descriptor serves both, a line each, in this order.
    world.file("both", format!("{SO_PIN}\n{USER_PIN}\n"));
    let line = "device init --yes --label second --so-pin-fd 0 --new-pin-fd 0 'pkcs11:?module-path=$MODULE'";
    let shot = world.run_reading("both", line);
    assert_eq!(shot.code, Some(0), "{shot}");
}

#[test]
fn nothing_happens_without_a_yes_or_without_pins() {
    let world = World::blank_token();
    let shots = world.unchanged(|| {
        let uri = "'pkcs11:?module-path=$MODULE'";
        [
            world.run(&format!("device init {PINS} --label payroll {uri}")),
            world.run(&format!("device init --yes --new-pin-file pin --label payroll {uri}")),
            world.run(&format!("device init --yes --so-pin-file so --label payroll {uri}")),
            world.run(&format!("device init --yes {PINS} {uri}")),
            world.run(&format!("device init --yes {PINS} --label ' payroll' {uri}")),
            world.run(&format!("device init --yes {PINS} --label payroll tpm:")),
            world.run(&format!("device init --yes {PINS} --label payroll 'pkcs11:slot-id=7?module-path=$MODULE'")),
        ]
    });
    assert_eq!(world.faults().count("C_InitToken"), 0);
    snapshot::check("device-init-refused", &shots);
    let mut pty = world.terminal(&format!("device init {PINS} --label payroll 'pkcs11:?module-path=$MODULE'"));
    pty.expect("Initialise the token? [y/N] ", SOON);
    pty.interrupt();
    assert_eq!(pty.finish().status.code(), Some(130));
    assert_eq!(world.faults().count("C_InitToken"), 0);
}

/// Whatever is on a token is an admin's: C_InitToken would destroy it.
#[test]
fn a_token_that_holds_anything_is_left_alone() {
    let world = World::blank_token();
    let faults = || world.faults();
    // A user PIN: private objects are seen by nobody else.
    assert_eq!(init(&world, "").code, Some(0));
    faults().forget();
    // One that says it is blank, and has something on it all the same: by its flags, and by what can be seen.
    faults().set(&["C_GetTokenInfo * no-flags INITIALIZED"]);
    let says_blank =
        world.run(&format!("device init --yes {PINS} --label new 'pkcs11:token=payroll?module-path=$MODULE'"));
    let file = world.file("public", "an admin's own");
    let object = ["--token-label", "payroll", "--login", "--pin", USER_PIN, "--type", "data", "--write-object"];
    let file = file.display().to_string();
    world.hsm.as_ref().unwrap().pkcs11_tool_ok(&[&object[..], &[&file, "--label", "public"]].concat());
    faults().set(&["C_GetTokenInfo * no-flags INITIALIZED,USER_PIN"]);
    let shows = world.run(&format!("device init --yes {PINS} --label new 'pkcs11:token=payroll?module-path=$MODULE'"));
    // One with a label, and no user PIN, on which something can be seen.
    faults().set(&["C_GetTokenInfo * no-flags USER_PIN"]);
    let begun = world.run(&format!("device init --yes {PINS} 'pkcs11:token=payroll?module-path=$MODULE'"));
    let shots = [says_blank, shows, begun];
    for shot in &shots {
        assert_eq!(shot.code, Some(5), "{shot}");
    }
    assert_eq!(["C_InitToken", "C_InitPIN", "C_Login"].map(|name| faults().count(name)), [0; 3]);
    snapshot::check("device-init-in-use", &shots);
    let seen = world.hsm.as_ref().unwrap().pkcs11_tool_ok(&["--token-label", "payroll", "--list-objects"]);
    assert!(seen.contains("public"), "{seen}");
}

/// Somebody else takes it between the look and the work.
#[test]
fn it_is_looked_at_again_right_before() {
    let world = World::blank_token();
    // Found blank by the plan, and not any more when it comes to it.
    world.faults().set(&["C_GetTokenInfo 3- flags INITIALIZED,USER_PIN"]);
    let shot = world.unchanged(|| init(&world, ""));
    assert_eq!((shot.code, world.faults().count("C_InitToken")), (Some(5), 0), "{shot}");
    assert!(shot.stderr.contains("is not what it was a moment ago"), "{shot}");
}

#[test]
fn what_was_cut_off_goes_on() {
    let world = World::blank_token();
    world.faults().set(&["C_InitToken 1 kill-after"]);
    assert_eq!(init(&world, "").code, None);
    world.faults().set(&[]);
    let again = "device init --yes --so-pin-file so --new-pin-file pin 'pkcs11:token=payroll?module-path=$MODULE'";
    world.file("wrong", "9876-officer\n");
    let wrong = again.replace("--so-pin-file so", "--so-pin-file wrong");
    let other = again.replace("'pkcs11", "--label other 'pkcs11");
    let shots = [world.run(&other), world.run(&wrong), world.run(again)];
    snapshot::check("device-init-goes-on", &shots);
    assert_eq!(shots.map(|shot| shot.code), [Some(5), Some(4), Some(0)]);
    assert_eq!(world.faults().count("C_InitToken"), 1, "it is not initialised again");
    world.done("init --device $HSM --name payroll --pin-file pin --passphrase-file pass payroll.backup");
}

/// Whatever it was at: the same words again finish it, or say that it is done.
#[test]
fn killed_anywhere_it_goes_on_or_is_done() {
    let calls =
        ["C_InitToken 1", "C_Finalize 1", "C_OpenSession 1", "C_Login 1", "C_InitPIN 1", "C_Logout 1", "C_Login 2"];
    for call in calls {
        for when in ["kill-before", "kill-after"] {
            let world = World::blank_token();
            world.faults().set(&[&format!("{call} {when}")]);
            let killed = init(&world, "");
            assert_eq!(killed.code, None, "{call} {when}: {killed}");
            world.faults().set(&[]);
            let again = init(&world, "");
            let is_done = again.code == Some(5) && again.stderr.contains("has a user PIN");
            assert!(is_done || again.code == Some(0), "{call} {when}: {again}");
            let one = world.done("device init --dry-run --label new 'pkcs11:?module-path=$MODULE'");
            assert!(one.stderr.contains("the unnamed token"), "{one}");
            let hsm = world.hsm.as_ref().unwrap();
            hsm.pkcs11_tool_ok(&["--token-label", "payroll", "--login", "--pin", USER_PIN, "--list-objects"]);
        }
    }
}

/// The officer's PIN is counted too.
#[test]
fn the_officers_last_try_is_for_those_who_ask_for_it() {
    let world = World::blank_token();
    world.faults().set(&["C_InitToken 1 kill-after"]);
    assert_eq!(init(&world, "").code, None);
    let mut shots = Vec::new();
    for (flag, more) in [("SO_FINAL_TRY", ""), ("SO_LOCKED", " --use-last-try"), ("SO_FINAL_TRY", " --use-last-try")] {
        world.faults().set(&[&format!("C_GetTokenInfo * flags {flag}")]);
        world.faults().forget();
        shots.push(init(&world, more));
        // At the end the user proves the new PIN.
        let sent = if shots.last().unwrap().code == Some(0) { 2 } else { 0 };
        assert_eq!(world.faults().count("C_Login"), sent, "{}", shots.last().unwrap());
    }
    snapshot::check("device-init-last-try", &shots);
}

#[test]
fn what_the_module_answers_is_told() {
    let world = World::blank_token();
    let mut shots = Vec::new();
    for answer in ["0xa1", "0xa2", "0xb6", "0x54", "0x30"] {
        world.faults().set(&[&format!("C_InitToken * return {answer}")]);
        shots.push(world.unchanged(|| init(&world, "")));
    }
    snapshot::check("device-init-answers", &shots);
    // A range that makes no sense is no range.
    world.faults().set(&["C_GetTokenInfo * pin-room 8 0"]);
    assert_eq!(init(&world, "").code, Some(0));
}

#[test]
fn pins_have_the_length_that_the_token_wants() {
    let world = World::blank_token();
    world.faults().set(&["C_GetTokenInfo * pin-room 6 9"]);
    let shot = world.unchanged(|| init(&world, ""));
    assert!(shot.code == Some(5) && shot.stderr.contains("the token's PINs have 6 to 9 bytes"), "{shot}");
}

#[test]
fn through_a_pin_pad_no_pin_is_asked_for() {
    let world = World::blank_token();
    let pad = [
        "C_GetTokenInfo * flags PAD",
        &format!("C_InitToken * type {SO_PIN}"),
        &format!("C_InitPIN * type {USER_PIN}"),
        &format!("C_Login 1 type {SO_PIN}"),
        &format!("C_Login 2- type {USER_PIN}"),
    ];
    world.faults().set(&pad);
    let shots = [
        world.unchanged(|| world.run("device init --dry-run --label payroll 'pkcs11:?module-path=$MODULE'")),
        world.run("device init --yes --label payroll 'pkcs11:?module-path=$MODULE'"),
    ];
    assert_eq!(shots.each_ref().map(|shot| shot.code), [Some(0); 2], "{}", shots[1]);
    snapshot::check("device-init-pad", &shots);
    let world = World::blank_token();
    world.faults().set(&["C_GetTokenInfo * flags PAD", "C_InitToken 1 return 0x50"]);
    let left = world.unchanged(|| world.run("device init --yes --label payroll 'pkcs11:?module-path=$MODULE'"));
    assert_eq!(left.code, Some(5), "{left}");
    snapshot::check("device-init-pad-left", &[left]);
}

/// Kryoptic calls a blank token by a name of its own, and says that PINs have 8 to 0 bytes.
#[test]
fn kryoptics_token_is_made_ready() {
    let mut world = World::bare();
    world.kryoptic = Some(Kryoptic::blank());
    world.file("so", format!("{SO_PIN}\n"));
    world.file("pin", format!("{USER_PIN}\n"));
    let module = world.kryoptic.as_ref().unwrap().module();
    let line = format!("device init --yes {PINS} --label payroll 'pkcs11:?module-path={}'", module.display());
    world.done(&line);
    assert_eq!(world.run(&line).code, Some(5), "again is not once more");
    world.done("init --device $KRYOPTIC --name payroll --pin-file pin --passphrase-file pass payroll.backup");
    world.done("derive --pin-file pin backups");
}

/// NSS's officer has an empty PIN until there is a user PIN, and C_InitToken changes nothing.
#[test]
fn nsss_token_is_made_ready() {
    let world = World::bare();
    world.file("pin", format!("{USER_PIN}\n"));
    std::fs::create_dir(world.path("modules")).unwrap();
    std::fs::create_dir(world.path("database")).unwrap();
    let token = format!("0x4=[configDir='sql:{}' tokenDescription='payroll']", world.path("database").display());
    world.file("modules/nss.module", format!("module: {NSS}\nx-init-reserved: tokens=<{token}>\n"));
    let run = |line: &str| {
        let script = "mount --bind modules /usr/share/p11-kit/modules && exec \"$0\" \"$@\"";
        world.run_as(line, world.in_namespace("--mount", script, line))
    };
    let uri = "'pkcs11:token=payroll?module-name=nss'";
    let line = format!("device init --yes --empty-so-pin --new-pin-file pin {uri}");
    let shots = [run(&line), run(&line)];
    assert_eq!(shots.each_ref().map(|shot| shot.code), [Some(0), Some(5)], "{}{}", shots[0], shots[1]);
    let init = format!("init --device {uri} --name payroll --pin-file pin --passphrase-file pass payroll.backup");
    let shot = run(&init);
    assert_eq!(shot.code, Some(0), "{shot}");
}

#[test]
fn several_blank_ones_are_told_apart() {
    let world = World::blank_token();
    assert_eq!(init(&world, "").code, Some(0));
    world.faults().set(&["C_GetTokenInfo * no-flags INITIALIZED,USER_PIN"]);
    let shot = world.unchanged(|| init(&world, ""));
    assert_eq!(shot.code, Some(2), "{shot}");
    snapshot::check("device-init-several", &[shot]);
}

/// Where there is a state directory, its administrator alone makes devices ready for it.
#[test]
fn who_is_not_the_administrator_is_refused() {
    let world = World::new();
    let shot = world.unchanged(|| as_nobody(&world, "device init --label payroll 'pkcs11:'"));
    assert_eq!(shot.code, Some(5), "{shot}");
    assert!(shot.stderr.contains("belongs to another user"), "{shot}");
}
