//! The controlling terminal itself: its echo, a line typed at it, and how it is left when a signal ends the program.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use strongroom::secret::SecretBytes;
use zeroize::Zeroize;

use crate::hygiene;
use crate::report::{self, Exit};

/// Longest line that is read from a person, in bytes: what a terminal gives at most (N_TTY_BUF_SIZE).
const LINE: usize = 4096;

/// The terminal and its settings while a question stands on it: whoever ends the program puts them back.
static ASKING: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Puts the terminal back as it was, on a line of its own. For the thread that ends the program on a signal.
fn restore() {
    if let Ok(mut asking) = ASKING.lock()
        && let Some((mut tty, before)) = asking.take()
    {
        let _ = tcsetattr(tty.as_fd(), OptionalActions::Now, &before);
        let _ = writeln!(tty);
    }
}

/// Whether what is typed is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    On,
    /// Until the answer is there.
    Off,
    /// Over several questions, and between them.
    OffBetween,
}

/// A question stands on the terminal while this lives, or several in a row; the echo is off if the answer is a secret.
pub struct Asking {
    /// What puts the terminal back at the end; none where another one, begun before, will.
    end: Option<OptionalActions>,
}

impl Asking {
    pub fn begin(tty: &File, echo: Echo) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut quiet = before.clone();
        let mut asking = ASKING.lock().map_err(|_| io::Error::other("poisoned"))?;
        let is_first = asking.is_none();
        if is_first {
            *asking = Some((tty.try_clone()?, before));
        }
        drop(asking);
        // What people type ahead unseen must not become the answer to the next question, which may be shown.
        let end = if echo == Echo::OffBetween { OptionalActions::Flush } else { OptionalActions::Now };
        let asking = Self { end: is_first.then_some(end) };
        if echo != Echo::On {
            quiet.local_modes.remove(LocalModes::ECHO);
            quiet.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
            tcsetattr(tty, OptionalActions::Flush, &quiet)?;
        }
        Ok(asking)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(end) = self.end
            && let Ok(mut asking) = ASKING.lock()
            && let Some((tty, before)) = asking.take()
        {
            let _ = tcsetattr(tty.as_fd(), end, &before);
        }
    }
}

pub fn open() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}

/// Reads a line without its end; none at the end of input.
pub fn read_line(tty: &File) -> io::Result<Option<SecretBytes>> {
    let mut line = SecretBytes::zeroed(LINE);
    let mut len = 0;
    loop {
        let mut byte = [0];
        match rustix::io::read(tty, &mut byte) {
            Ok(0) if len == 0 => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if len == LINE => return Err(io::Error::other("the line is too long")),
            Ok(_) => {
                line.as_mut()[len] = byte[0];
                len += 1;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        byte.zeroize();
    }
    line.truncate(len);
    Ok(Some(line))
}

/// Ends the program on SIGINT, SIGTERM and SIGHUP, but for those that whoever started it has it ignore (nohup, a shell that
/// starts it in the background), with the terminal as it was. What was begun is safe: every commit is
/// one rename, and the next run says what it finds.
pub fn watch_signals(json: bool) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let ignored = ignored();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = signal_hook::iterator::Signals::new(wanted)?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            restore();
            report::interrupted(json);
            hygiene::leave(Exit::Interrupted as u8);
        }
    })?;
    Ok(())
}

/// The signals that are ignored, a bit for each (proc(5): SigIgn).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
