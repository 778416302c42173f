//! A program on a terminal of its own: a pseudo-terminal is its controlling terminal, and the test sits at the other end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::child::Owned;
use super::wait;

/// Which of the program's streams are pipes, and not the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piped {
    Stdin,
    Stdout,
    Stderr,
}

/// A program that runs on its own terminal, 100 columns by 30 lines.
pub struct Pty {
    child: Owned,
    master: File,
    /// The program's end is held open until the program has ended: a terminal that nobody has open counts as hung up, also for
    /// a program that will open /dev/tty in a moment.
    slave: Option<OwnedFd>,
    screen: Arc<Screen>,
    /// How much of the transcript has been expected already.
    seen: usize,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// How a program ended, and all that it wrote.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// What the terminal showed, lines ending in `\r\n`, with the echo of what was typed.
    pub transcript: String,
    /// Empty unless piped.
    pub stdout: Vec<u8>,
    /// Empty unless piped.
    pub stderr: Vec<u8>,
}

#[derive(Default)]
struct Screen {
    state: Mutex<Transcript>,
    changed: Condvar,
}

#[derive(Default)]
struct Transcript {
    bytes: Vec<u8>,
    /// Nobody has the terminal open any more.
    closed: bool,
}

impl Pty {
    /// Starts `command` with the terminal as its stdin, stdout and stderr.
    pub fn spawn(command: Command) -> Pty {
        Pty::spawn_piping(command, &[])
    }

    /// The same, with some streams as pipes; /dev/tty is the terminal in any case.
    pub fn spawn_piping(mut command: Command, piped: &[Piped]) -> Pty {
        let (master, slave) = open_terminal();
        let stream = |which| {
            if piped.contains(&which) {
                return Stdio::piped();
            }
            Stdio::from(slave.try_clone().expect("one descriptor more"))
        };
        command.stdin(stream(Piped::Stdin)).stdout(stream(Piped::Stdout)).stderr(stream(Piped::Stderr));
        let terminal = slave.try_clone().expect("one descriptor more");
        let take_terminal = move || {
            setsid()?;
            ioctl_tiocsctty(&terminal)?;
            // A shell that runs tests in the background ignores these, and what is ignored is inherited.
            for signal in [libc::SIGINT, libc::SIGQUIT] {
                // SAFETY: the default action needs no handler of ours.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
            Ok(())
        };
        // SAFETY: between fork and exec, only system calls are made: no allocation, no lock.
        unsafe { command.pre_exec(take_terminal) };
        let mut child = Owned::spawn(&mut command, "is it built, or installed by ci/setup?");
        // With the command go its copies of the slave.
        drop(command);

        let screen = Arc::new(Screen::default());
        let from = master.try_clone().expect("one descriptor more");
        let to = Arc::clone(&screen);
        thread::spawn(move || to.fill(from));
        Pty {
            stdout: child.stdout.take().map(read_aside),
            stderr: child.stderr.take().map(read_aside),
            child,
            master,
            slave: Some(slave),
            screen,
            seen: 0,
        }
    }

    /// The program's stdin, where that is a pipe; drop it to close it.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits until the terminal shows `text`, after what was expected before. Returns everything new up to and with it.
    pub fn expect(&mut self, text: &str, timeout: Duration) -> String {
        let deadline = Instant::now() + timeout;
        let screen = Arc::clone(&self.screen);
        let mut state = screen.state.lock().expect("no panic while reading");
        loop {
            let new = &state.bytes[self.seen..];
            if let Some(at) = find(new, text.as_bytes()) {
                let shown = &new[..at + text.len()];
                self.seen += shown.len();
                return String::from_utf8_lossy(shown).into_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                let why = if state.closed { "the program has ended" } else { "too late" };
                let all = String::from_utf8_lossy(&state.bytes).into_owned();
                drop(state);
                panic!("{why}: the terminal does not show {text:?}; it shows:\n{all}");
            }
            // Nothing tells of the program's end by itself, so it is looked for now and then.
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                self.slave = None;
            }
            let pause = left.min(Duration::from_millis(20));
            (state, _) = screen.changed.wait_timeout(state, pause).expect("no panic while reading");
        }
    }

    /// Types `line` and the return key.
    pub fn send_line(&mut self, line: &str) {
        self.send_bytes(format!("{line}\r").as_bytes());
    }

    /// Types `line` once the terminal has stopped showing what is typed. A program that switches the echo off throws away what
    /// was typed before, so this is the way to answer a prompt for a secret.
    pub fn send_hidden(&mut self, line: &str) {
        let hidden = wait::within(wait::LIMIT, || (!self.echo_is_on()).then_some(()));
        assert!(hidden.is_some(), "the echo stays on; the terminal shows:\n{}", self.transcript());
        self.send_line(line);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).expect("the terminal takes what is typed");
    }

    /// Types Ctrl-C.
    pub fn interrupt(&mut self) {
        self.send_bytes(b"\x03");
    }

    /// Types Ctrl-D.
    pub fn end_of_input(&mut self) {
        self.send_bytes(b"\x04");
    }

    /// Whether the terminal shows what is typed; also after the program has ended.
    pub fn echo_is_on(&self) -> bool {
        let modes = tcgetattr(&self.master).expect("a terminal has modes");
        modes.local_modes.contains(LocalModes::ECHO)
    }

    /// Whether the terminal works in lines and turns Ctrl-C into a signal; with the echo, what a sane terminal is.
    pub fn is_sane(&self) -> bool {
        let modes = tcgetattr(&self.master).expect("a terminal has modes");
        let sane = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        modes.local_modes.contains(sane)
    }

    /// What the terminal has shown until now.
    pub fn transcript(&self) -> String {
        let state = self.screen.state.lock().expect("no panic while reading");
        String::from_utf8_lossy(&state.bytes).into_owned()
    }

    /// The program's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program's end.
    pub fn finish(&mut self) -> Finished {
        drop(self.child.stdin.take());
        let Some(status) = wait::exit(&mut self.child, wait::LIMIT) else {
            panic!("the program does not end; the terminal shows:\n{}", self.transcript());
        };
        self.slave = None;
        let closed = wait::within(wait::LIMIT, || {
            let state = self.screen.state.lock().expect("no panic while reading");
            state.closed.then_some(())
        });
        assert!(closed.is_some(), "a child of the program keeps the terminal open");
        let collect = |thread: Option<JoinHandle<Vec<u8>>>| {
            thread.map_or(Vec::new(), |t| t.join().expect("no panic while reading"))
        };
        Finished {
            status,
            transcript: self.transcript(),
            stdout: collect(self.stdout.take()),
            stderr: collect(self.stderr.take()),
        }
    }
}

impl Screen {
    fn fill(&self, mut master: File) {
        let mut buffer = [0; 4096];
        loop {
            let length = match master.read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // EIO is the terminal's end of file.
                Err(_) => 0,
                Ok(length) => length,
            };
            let mut state = self.state.lock().expect("no panic while reading");
            state.bytes.extend_from_slice(&buffer[..length]);
            state.closed = length == 0;
            self.changed.notify_all();
            if state.closed {
                return;
            }
        }
    }
}

/// A new pseudo-terminal: our end and the program's. Both are closed on exec from the first moment (openpty's are not), or a child
/// that another test starts just then would keep them open.
fn open_terminal() -> (File, OwnedFd) {
    const FLAGS: libc::c_int = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    let checked = |fd| {
        assert!(fd >= 0, "no pseudo-terminal: {}", io::Error::last_os_error());
        // SAFETY: a descriptor that was just opened is nobody else's.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    // SAFETY: no pointers.
    let master = checked(unsafe { libc::posix_openpt(FLAGS) });
    let fd = master.as_raw_fd();
    // SAFETY: no pointers.
    let slave = checked(unsafe {
        assert!(libc::grantpt(fd) == 0 && libc::unlockpt(fd) == 0, "no access to our own pseudo-terminal");
        libc::ioctl(fd, libc::TIOCGPTPEER, FLAGS)
    });
    let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&slave, size).expect("a terminal has a size");
    (File::from(master), slave)
}

fn read_aside(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).expect("the program's output can be read");
        all
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    assert!(!needle.is_empty(), "nothing to look for");
    haystack.windows(needle.len()).position(|w| w == needle)
}
