//! Work with a device that a child process does: somebody else's library may crash or hang there alone. What the child says,
//! a line at a time, is heard as it comes, so that nothing of it is lost with its end.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);
/// How much a child may say, in bytes.
const MOST_OUTPUT: u64 = 1 << 20;

/// A command of this program that does the work, and says what comes of it as JSON. What it is to look at comes after its
/// arguments.
#[derive(Debug, Clone)]
pub struct Probe {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

/// How a child ended.
#[derive(Debug)]
pub enum End {
    Well,
    /// By a signal, or with an exit code that says that it failed.
    Badly(ExitStatus),
    /// It, or one that it left behind with its output, was still there at the deadline, and was killed.
    Late,
    /// There was no child.
    NotBegun(String),
}

impl Probe {
    /// Runs it with `words` more, and gives each line that it says to `hear`.
    pub fn run(&self, words: &[&str], deadline: Duration, hear: &mut dyn FnMut(&[u8])) -> End {
        let start = Instant::now();
        let spawned = Command::new(&self.program)
            // The program may be there by another name, to which it listens otherwise.
            .arg0("strongroom")
            .args(&self.args)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return End::NotBegun(format!("{}: {error}", self.program.display())),
        };
        let said = lines(&mut child);
        loop {
            match said.recv_timeout(deadline.saturating_sub(start.elapsed())) {
                Ok(line) => hear(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                // It may have ended long ago, and left somebody behind who keeps its output open.
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        match wait(&mut child, deadline.saturating_sub(start.elapsed())) {
            Some(status) if status.success() => End::Well,
            Some(status) => End::Badly(status),
            None => {
                drop(child.kill());
                drop(child.wait());
                End::Late
            }
        }
    }
}

/// The child's lines. The thread is not joined: a grandchild that a module left behind may keep the pipe open for ever.
fn lines(child: &mut Child) -> Receiver<Vec<u8>> {
    let stdout = child.stdout.take().expect("the child's stdout is a pipe");
    let (sender, said) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout.take(MOST_OUTPUT)).split(b'\n').map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    said
}

/// The child's status; none where it takes too long.
fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if start.elapsed() < patience => thread::sleep(PAUSE),
            Ok(None) | Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How `script` ended, and what it said.
    fn run(script: &str, deadline: Duration) -> (End, Vec<String>) {
        let probe = Probe { program: PathBuf::from("/bin/sh"), args: vec!["-c".into(), script.into(), "sh".into()] };
        let mut heard = Vec::new();
        let end = probe.run(&["a", "b"], deadline, &mut |line| heard.push(String::from_utf8_lossy(line).into_owned()));
        (end, heard)
    }

    #[test]
    fn what_was_said_before_the_end_is_heard() {
        let long = Duration::from_secs(60);
        let (end, heard) = run("echo \"$1\"; echo \"$2\"", long);
        assert!(matches!(end, End::Well) && heard == ["a", "b"], "{end:?} {heard:?}");
        let (end, heard) = run("echo said; kill -SEGV $$", long);
        assert!(matches!(end, End::Badly(_)) && heard == ["said"], "{end:?} {heard:?}");
        let (end, heard) = run("echo said; exec sleep 600", Duration::from_millis(500));
        assert!(matches!(end, End::Late), "{end:?} {heard:?}");
    }

    #[test]
    fn whoever_it_left_behind_is_not_waited_for() {
        let run = |script| thread::spawn(move || run(script, Duration::from_secs(5)).0);
        let [well, badly] = [run("sleep 20 & exit 0"), run("sleep 20 & exit 3")].map(|end| end.join().unwrap());
        assert!(matches!(well, End::Well), "{well:?}");
        assert!(matches!(badly, End::Badly(_)), "{badly:?}");
    }
}
