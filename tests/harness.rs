//! The test support itself: a harness that sees nothing proves nothing.

mod common;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

use common::isolate::{self, this_test};
use common::proxy::{Proxy, Way};
use common::pty::{Piped, Pty};
use common::softhsm::{self, SoftHsm, USER_PIN};
use common::swtpm::{Swtpm, tpm2_tool};
use common::wait;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn swtpm_answers_survives_a_power_cycle_and_is_gone_after_drop() {
    let mut swtpm = Swtpm::start();
    assert_eq!(swtpm.tool_ok(&["tpm2_getrandom", "8"]).len(), 8);
    swtpm.tool_ok(&["tpm2_createprimary", "-Q", "--hierarchy=o", "--key-context=srk"]);
    swtpm.tool_ok(&["tpm2_evictcontrol", "-Q", "--object-context=srk", "0x81000001"]);
    assert!(!swtpm.loaded().is_empty());
    swtpm.flush();
    assert!(swtpm.loaded().is_empty());

    swtpm.power_cycle();
    assert_eq!(swtpm.persistent(), ["0x81000001"]);
    swtpm.reboot();
    swtpm.clear();
    assert!(swtpm.persistent().is_empty());

    let (port, state) = (swtpm.port(), swtpm.state_dir());
    assert!(state.exists());
    drop(swtpm);
    std::net::TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens any more");
    assert!(!state.exists());
}

#[test]
fn many_swtpms_start_at_once() {
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| Swtpm::start().tool_ok(&["tpm2_getrandom", "8"]));
        }
    });
}

#[test]
fn the_proxy_sees_commands_and_what_is_on_the_wire() {
    let mut swtpm = Swtpm::start();
    let proxy = Proxy::start(&swtpm);
    let tool = |args: &[&str]| {
        let output = tpm2_tool(&proxy.tcti(), &swtpm.work_dir(), args);
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let random = tool(&["tpm2_getrandom", "16"]);
    assert!(proxy.contains(&random));
    assert!(!proxy.contains(b"not on this wire"));
    assert_eq!(proxy.commands().last(), Some(&0x17b), "TPM2_GetRandom");
    assert!(proxy.responses().iter().all(|code| *code == 0));

    proxy.forget();
    assert!(proxy.bytes().is_empty());
    tool(&["tpm2_getcap", "properties-fixed"]);
    assert!(proxy.commands().contains(&0x17a), "TPM2_GetCapability");
    assert!(proxy.streams().iter().any(|s| s.way == Way::Command));

    // While swtpm is away its clients are hung up on; when it is back, they are served.
    swtpm.power_off();
    let output = tpm2_tool(&proxy.tcti(), &swtpm.work_dir(), &["tpm2_getrandom", "8"]);
    assert!(!output.status.success());
    swtpm.power_on();
    let output = tpm2_tool(&proxy.tcti(), &swtpm.work_dir(), &["tpm2_getrandom", "8"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn softhsm_has_its_tokens_and_loses_them_when_wiped() {
    let hsm = SoftHsm::new("payroll");
    hsm.add_token("second");
    let slots = hsm.pkcs11_tool_ok(&["--list-slots"]);
    for label in ["payroll", "second"] {
        assert!(slots.contains(&format!("token label        : {label}")), "{slots}");
    }
    assert!(hsm.uri().starts_with("pkcs11:token=payroll?module-path=/"));
    assert_eq!(fs::read_to_string(hsm.pin_file()).unwrap(), "1234-user\n");

    let login = ["--token-label", "payroll", "--login", "--pin", USER_PIN];
    let keygen = ["--keygen", "--key-type", "AES:32", "--label", "wrapping"];
    hsm.pkcs11_tool_ok(&[&login[..], &keygen].concat());
    let list = [&login[..], &["--list-objects"]].concat();
    assert!(hsm.pkcs11_tool_ok(&list).contains("wrapping"));
    hsm.wipe();
    assert!(!hsm.pkcs11_tool_ok(&list).contains("wrapping"));

    let slots = SoftHsm::uninitialised().pkcs11_tool_ok(&["--list-slots"]);
    assert!(slots.contains("uninitialized") && !slots.contains("token label"), "{slots}");
}

#[test]
fn a_test_gets_a_process_of_its_own_with_its_softhsm() {
    softhsm::in_own_process(
        this_test!(),
        || SoftHsm::new("payroll"),
        |hsm| {
            assert_eq!(env::var_os("SOFTHSM2_CONF").unwrap(), hsm.conf());
            assert!(hsm.uri().starts_with("pkcs11:token=payroll?"));
            assert!(hsm.pkcs11_tool_ok(&["--list-slots"]).contains("payroll"));
        },
    );
    assert!(isolate::is_child(this_test!()) || env::var_os("SOFTHSM2_CONF").is_none());
}

#[test]
#[should_panic(expected = "in a process of its own, ended with")]
fn a_failure_in_the_child_is_the_tests_failure() {
    // In the child, #[should_panic] turns the panic into a pass, so that the name of another test stands in.
    isolate::run("no::such::test", |_| (), || ());
}

/// A child that the test process leaves behind when it is killed: the kernel ends it.
#[test]
fn a_killed_test_leaves_no_swtpm() {
    const WHERE: &str = "STRONGROOM_TEST_WHERE";
    let test = this_test!();
    if isolate::is_child(test) {
        let swtpm = Swtpm::start();
        fs::write(env::var_os(WHERE).unwrap(), swtpm.port().to_string()).unwrap();
        // Not Drop's chance: no unwinding, no destructors.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("port");
    let status = Command::new(env::current_exe().unwrap())
        .args([test, "--exact"])
        .env("STRONGROOM_TEST_CHILD", test)
        .env("TMPDIR", dir.path())
        .env(WHERE, &file)
        .output()
        .unwrap()
        .status;
    assert_eq!(status.signal(), Some(9));
    let port: u16 = fs::read_to_string(file).unwrap().parse().unwrap();
    wait::until("swtpm to be gone", SOON, || std::net::TcpStream::connect(("127.0.0.1", port)).err());
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn the_terminal_hides_what_the_program_hides() {
    let mut pty = Pty::spawn(sh(
        "printf 'name: '; read name; stty -echo; printf 'pass: '; read pass; stty echo; echo; echo \"$name has ${#pass}\"; tty >/dev/tty",
    ));
    assert!(pty.echo_is_on());
    pty.expect("name: ", SOON);
    pty.send_line("alice");
    pty.expect("pass: ", SOON);
    pty.send_hidden("open sesame");
    assert_eq!(pty.expect("has 11", SOON), "\r\nalice has 11");
    let end = pty.finish();
    assert!(end.status.success(), "{end:?}");
    assert!(end.transcript.contains("/dev/pts/"));
    assert!(end.transcript.contains("alice") && !end.transcript.contains("sesame"));
    assert!(pty.is_sane());
}

#[test]
fn a_terminal_that_is_left_without_echo_is_noticed() {
    let mut pty = Pty::spawn(sh("stty -echo; echo ready; exec sleep 100"));
    pty.expect("ready", SOON);
    assert!(!pty.echo_is_on());
    pty.interrupt();
    assert_eq!(pty.finish().status.signal(), Some(2));
    assert!(!pty.echo_is_on());
}

#[test]
fn streams_can_be_pipes_while_the_terminal_is_dev_tty() {
    let mut pty = Pty::spawn_piping(
        sh("cat; echo err >&2; read answer </dev/tty; echo \"$answer\" >/dev/tty"),
        &[Piped::Stdin, Piped::Stdout, Piped::Stderr],
    );
    pty.stdin().unwrap().write_all(b"through").unwrap();
    pty.send_line("typed");
    let end = pty.finish();
    assert_eq!((&end.stdout[..], &end.stderr[..]), (&b"through"[..], &b"err\n"[..]));
    assert_eq!(end.transcript, "typed\r\ntyped\r\n");
}

#[test]
#[should_panic(expected = "the program has ended: the terminal does not show \"more\"; it shows:\nlast")]
fn a_program_that_has_ended_is_not_waited_for() {
    Pty::spawn(sh("sleep 0.1; printf last")).expect("more", wait::LIMIT);
}

#[test]
#[should_panic(expected = "the terminal does not show \"never\"; it shows:\nhello")]
fn what_does_not_come_is_a_failure_with_the_transcript() {
    Pty::spawn(sh("echo hello; exec sleep 100")).expect("never", Duration::from_millis(300));
}
