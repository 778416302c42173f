//! What a module does to the process that it is in, besides what it is for.
//!
//! | WHAT | what happens |
//! |---|---|
//! | `print` | a line on standard output, past all buffers, and another one that stays in C's buffer |
//! | `handlers` | SIGINT, SIGTERM, SIGHUP and SIGSEGV end the process with code 77; SIGCHLD is ignored; SIGPIPE kills |
//! | `ignore` | SIGINT, SIGTERM and SIGHUP are ignored |
//! | `directory` | the working directory is `/` |
//! | `mask` | nobody may use files that are made, their owner neither |
//! | `locale` | it is C.UTF-8 |
//! | `environment` | CREDENTIALS_DIRECTORY, HOME and STRONGROOM_DIR lead elsewhere |
//! | `exit` | whoever ends the process by exit(3) ends it with code 78 |
//! | `thread` | a thread more, which has no end |
//! | `look` | the process is killed unless its locale is C, its mask lets the owner use files, and it is not in `/` |

use std::ffi::{CStr, c_int};
use std::thread;
use std::time::Duration;

#[derive(Clone, Copy)]
pub enum Meddling {
    Print,
    Handlers,
    Ignore,
    Directory,
    Mask,
    Locale,
    Environment,
    Exit,
    Thread,
    Look,
}

extern "C" fn by_signal(_: c_int) {
    // SAFETY: a number goes in.
    unsafe { libc::_exit(77) }
}

extern "C" fn at_exit() {
    // SAFETY: the same.
    unsafe { libc::_exit(78) }
}

impl Meddling {
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "print" => Self::Print,
            "handlers" => Self::Handlers,
            "ignore" => Self::Ignore,
            "directory" => Self::Directory,
            "mask" => Self::Mask,
            "locale" => Self::Locale,
            "environment" => Self::Environment,
            "exit" => Self::Exit,
            "thread" => Self::Thread,
            "look" => Self::Look,
            _ => return None,
        })
    }

    pub fn happen(self) {
        const LINE: &CStr = c"HSM library 1.0, evaluation copy\n";
        // SAFETY: C functions, with numbers and texts that end in a zero byte. The environment is changed while the caller
        // waits for this call, as a module would.
        unsafe {
            match self {
                Self::Print => {
                    libc::write(1, LINE.as_ptr().cast(), LINE.to_bytes().len());
                    libc::printf(LINE.as_ptr());
                }
                Self::Handlers => {
                    let by_signal: extern "C" fn(c_int) = by_signal;
                    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGSEGV] {
                        libc::signal(signal, by_signal as libc::sighandler_t);
                    }
                    libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                    libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                }
                Self::Ignore => {
                    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                        libc::signal(signal, libc::SIG_IGN);
                    }
                }
                Self::Directory => assert_eq!(libc::chdir(c"/".as_ptr()), 0),
                Self::Mask => drop(libc::umask(0o777)),
                Self::Locale => assert!(!libc::setlocale(libc::LC_ALL, c"C.UTF-8".as_ptr()).is_null()),
                Self::Environment => {
                    for name in [c"CREDENTIALS_DIRECTORY", c"HOME", c"STRONGROOM_DIR"] {
                        libc::setenv(name.as_ptr(), c"/nowhere".as_ptr(), 1);
                    }
                }
                Self::Exit => assert_eq!(libc::atexit(at_exit), 0),
                Self::Thread => drop(thread::spawn(|| thread::sleep(Duration::from_secs(3600)))),
                Self::Look => {
                    let locale = CStr::from_ptr(libc::setlocale(libc::LC_ALL, std::ptr::null()));
                    let mask = libc::umask(0o077);
                    libc::umask(mask);
                    if locale != c"C"
                        || mask & 0o700 != 0
                        || std::env::current_dir().is_ok_and(|here| here.as_os_str() == "/")
                    {
                        libc::kill(libc::getpid(), libc::SIGKILL);
                    }
                }
            }
        }
    }
}
