//! Standard output, kept for results. A library that is loaded into this process may print whatever it likes, whenever: so what is
//! descriptor 1 for it is standard error, and results go through a descriptor that nobody else knows.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdout, stderr, stdout};

static RESULTS: OnceLock<File> = OnceLock::new();

/// Lowest number of the descriptor: out of the way of those that a script opens.
const FROM: i32 = 10;

/// Keeps standard output for results. Call it while there is one thread, and before a library is loaded. It is closed on exec:
/// whom a library leaves behind does not keep a reader waiting.
pub fn keep() -> io::Result<()> {
    let results = File::from(fcntl_dupfd_cloexec(stdout(), FROM)?);
    dup2_stdout(stderr())?;
    let _ = RESULTS.set(results);
    Ok(())
}

pub fn write(bytes: &[u8]) -> io::Result<()> {
    match RESULTS.get() {
        Some(mut results) => results.write_all(bytes),
        None => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
    }
}

pub fn is_terminal() -> bool {
    RESULTS.get().map_or_else(|| io::stdout().is_terminal(), IsTerminal::is_terminal)
}
