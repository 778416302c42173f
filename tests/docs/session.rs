//! A shell on a server of its own, at a terminal, and somebody who answers what is asked.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::pty::Pty;
use crate::common::wait;
use crate::document::{Act, Section, Step};
use crate::elsewhere;
use crate::pattern::{self, Bindings};

/// The passphrase of every backup in the docs, unless they say otherwise; also in /run/keys/passphrase.
const PASSPHRASE: &str = "three dull knives under blue snow";
/// The user PIN of every token, unless the docs say otherwise; also in /run/keys/pin.
const USER_PIN: &str = "1234-user";

/// Ends of questions whose answer is seen, and so stands in the document.
const QUESTIONS: [&str; 4] = ["[y/N] ", "empty for none): ", "]: ", "reminder :"];

/// One server, and the terminal at which the document's reader sits.
pub struct Session {
    document: String,
    pty: Pty,
    commands: File,
    types: Vec<String>,
    bindings: Bindings,
    _world: TempDir,
}

impl Session {
    pub fn new(document: &str, bindings: Bindings) -> Session {
        let world = tempfile::Builder::new().prefix("strongroom-docs-").tempdir().expect("a temporary directory");
        let fifo = world.path().join("commands");
        let made = Command::new("mkfifo").arg(&fifo).status();
        assert!(made.is_ok_and(|status| status.success()), "no fifo to be had");
        // Also for reading, or opening it would wait for the shell.
        let commands = OpenOptions::new().read(true).write(true).open(&fifo).expect("a fifo of ours");
        let pty = Pty::spawn(shell(world.path()));
        let mut session =
            Session { document: document.to_owned(), pty, commands, types: Vec::new(), bindings, _world: world };
        let (code, shown) = session.run(":", &mut Vec::new(), 0);
        assert_eq!(code, 0, "{shown}");
        session
    }

    /// Does all of a section, and compares what is said.
    pub fn follow(&mut self, section: &Section) {
        for step in &section.steps {
            self.step(step);
        }
        self.nothing_left_to_type(section.steps.last().map_or(0, |step| step.line));
    }

    fn nothing_left_to_type(&self, line: usize) {
        assert!(self.types.is_empty(), "{}:{line}: before this, nobody asked for {:?}", self.document, self.types);
    }

    fn step(&mut self, Step { line, act }: &Step) {
        match act {
            Act::Happens(commands) => {
                let (code, shown) = self.run(&each_must_work(commands), &mut Vec::new(), *line);
                assert!(code == 0, "{}:{line}: this must work ({code}): {commands}\n{shown}", self.document);
            }
            Act::Types(types) => {
                self.nothing_left_to_type(*line);
                self.types.clone_from(types);
            }
            Act::Typed { command, says, code } => {
                let (command, wanted) = match elsewhere::instead(command) {
                    Some(check) => (check, 0),
                    None => (elsewhere::replaced(command), *code),
                };
                self.compare(*line, &command, says, wanted, false);
            }
            Act::Script { script, says } => {
                self.compare(*line, &each_must_work(&elsewhere::replaced(script)), says, 0, true);
            }
        }
    }

    fn compare(&mut self, line: usize, command: &str, says: &[String], wanted: i32, script: bool) {
        let mut says: Vec<String> = says.iter().map(|line| plain(line)).collect();
        let (code, shown) = self.run(command, &mut says.clone(), line);
        let shown = plain(&shown);
        // A script's block has what it prints, not what it asks unseen.
        let asked = |line: &&str| !(script && line.starts_with("Enter passphrase"));
        let lines: Vec<String> = shown.lines().filter(asked).map(|line| line.trim_end().to_owned()).collect();
        assert!(code == wanted, "{}:{line}: exit code {code}, not {wanted}: {command}\n{shown}", self.document);
        if says.is_empty() {
            return;
        }
        while says.last().is_some_and(String::is_empty) {
            says.pop();
        }
        let fits = pattern::fits(&says, &trimmed(lines), &mut self.bindings);
        assert!(
            fits,
            "{}:{line}: {command}\nis not what it says. The document has:\n{}\nand it shows:\n{shown}",
            self.document,
            says.join("\n")
        );
    }

    /// Runs `command`, answers what it asks, and returns its exit code and what the terminal showed.
    fn run(&mut self, command: &str, says: &mut Vec<String>, line: usize) -> (i32, String) {
        let start = self.pty.transcript().len();
        self.commands.write_all(format!("{command}\0").as_bytes()).expect("the shell reads");
        let mut answered = start;
        loop {
            let next = wait::within(wait::LIMIT, || {
                let transcript = self.pty.transcript();
                let new = transcript.get(answered..)?;
                if let Some((shown, code)) = ended(new) {
                    let before = &transcript[start..answered];
                    return Some(Next::Ended(code, format!("{before}{shown}")));
                }
                let partial = new.rsplit('\n').next()?.to_owned();
                let asks = partial.trim_end().ends_with(':') && !self.pty.echo_is_on();
                let question = QUESTIONS.iter().any(|end| partial.ends_with(end));
                if asks {
                    return Some(Next::Secret(partial, transcript.len()));
                }
                question.then_some(Next::Question(partial, transcript.len()))
            });
            match next {
                Some(Next::Ended(code, shown)) => return (code, shown.replace("\r\n", "\n")),
                Some(Next::Secret(question, at)) => {
                    let answer = self.secret(&question);
                    self.pty.send_hidden(&answer);
                    answered = at;
                }
                Some(Next::Question(question, at)) => {
                    let answer = answer(&question, says).unwrap_or_else(|| {
                        panic!("{}:{line}: the document does not show the answer to: {question}", self.document)
                    });
                    self.pty.send_line(&answer);
                    answered = at;
                }
                None => {
                    let shown = &self.pty.transcript()[start..];
                    panic!("{}:{line}: this does not end: {command}\n{shown}", self.document);
                }
            }
        }
    }

    fn secret(&mut self, question: &str) -> String {
        if !self.types.is_empty() {
            return self.types.remove(0);
        }
        if question.contains("PIN") { USER_PIN.to_owned() } else { PASSPHRASE.to_owned() }
    }
}

enum Next {
    Ended(i32, String),
    Secret(String, usize),
    Question(String, usize),
}

/// The namespaces' outer end: what is in them ends with it.
fn shell(world: &Path) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/world.sh");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--net", "--uts", "--ipc"]);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["bash", "--noprofile", "--norc", script]).env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", world).env("LANG", "C.UTF-8").env("TERM", "dumb");
    command.env("WORLD", world).env("CLONE", env!("CARGO_MANIFEST_DIR"));
    command.env("STRONGROOM", env!("CARGO_BIN_EXE_strongroom"));
    // The repository may be anywhere; what hides parts of the file system does not hide it.
    command.current_dir(fs::canonicalize(world).expect("a directory of ours"));
    command
}

/// Several commands, whose exit code is that of the last one that failed.
fn each_must_work(commands: &str) -> String {
    format!("failed=0; trap 'failed=$?' ERR\n{commands}\ntrap - ERR; (exit $failed)")
}

/// What stands before the end's sign, and the exit code in it.
fn ended(new: &str) -> Option<(String, i32)> {
    let (shown, rest) = new.split_once('\u{1}')?;
    let (code, _) = rest.split_once('\u{2}')?;
    Some((shown.to_owned(), code.parse().expect("a number")))
}

/// What the document shows after the question; each line of it answers once.
fn answer(question: &str, says: &mut Vec<String>) -> Option<String> {
    let question = plain(question.trim_end());
    let at = says.iter().position(|line| line.starts_with(&question))?;
    Some(says.remove(at)[question.len()..].trim().to_owned())
}

/// The simulator's address as a server's, no colours, and nobody's login name.
fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut text = parts.next().expect("one at least").to_owned();
    for part in parts {
        text.push_str(part.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).get(1..).unwrap_or_default());
    }
    let text = text.replace("tpm:swtpm:host=127.0.0.1,port=2321", "tpm:");
    let text = text.replace("swtpm:host=127.0.0.1,port=2321", "device:/dev/tpmrm0");
    let mut lines = text.split('\n').map(without_login);
    let first = lines.next().expect("one at least");
    lines.fold(first, |all, line| all + "\n" + &line)
}

/// `alice as root on db1` is `root on db1`: who logged in is the kernel's to say, and a container has none.
fn without_login(line: &str) -> String {
    match line.split_once(" as root on ") {
        Some((before, after)) => {
            let kept = before.rsplit_once(' ').map_or("", |(kept, _)| kept);
            format!("{kept} root on {after}")
        }
        None => line.to_owned(),
    }
}

fn trimmed(mut lines: Vec<String>) -> Vec<String> {
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

#[test]
fn answers_stand_after_their_questions() {
    let mut says = vec!["ok".to_owned(), "Go on? [y/N] y".to_owned(), "Go on? [y/N] n".to_owned()];
    assert_eq!(answer("Go on? [y/N] ", &mut says).as_deref(), Some("y"));
    assert_eq!(answer("Go on? [y/N] ", &mut says).as_deref(), Some("n"));
    assert_eq!(answer("Go on? [y/N] ", &mut says), None);
}

#[test]
fn who_logged_in_is_left_out() {
    assert_eq!(plain("done; alice as root on db1; x\ntpm:"), "done; root on db1; x\ntpm:");
}
