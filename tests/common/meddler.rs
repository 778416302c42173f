//! Somebody on the bus between a client and its swtpm, who lets pass, answers, changes, cuts off or hangs as a test says,
//! command by command.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use super::swtpm::{PortPair, Swtpm};

/// Answers of a TPM that is busy with itself, and others that tests give.
pub const RETRY: u32 = 0x922;
pub const YIELDED: u32 = 0x908;
pub const TESTING: u32 = 0x90a;
pub const LOCKOUT: u32 = 0x921;
pub const FAILURE: u32 = 0x101;

/// A command on its way to the TPM.
pub struct Command<'a> {
    /// Counted over all connections, from 1.
    pub nth: usize,
    /// The same, counting only commands with this code.
    pub nth_of_code: usize,
    /// TPM2_HMAC is 0x155.
    pub code: u32,
    pub bytes: &'a [u8],
}

/// What becomes of a command. What a test does before it reaches the TPM (kill the client, cycle the power), it does
/// while it decides.
pub enum Act {
    Pass,
    /// The TPM is not asked: it seems to answer this code.
    Answer(u32),
    /// The command is changed first.
    Command(fn(&mut Vec<u8>)),
    /// The answer is changed.
    Response(fn(&mut Vec<u8>)),
    /// So many bytes of the answer, and then the connection ends.
    Cut(usize),
    /// The connection ends before the TPM has the command.
    HangUp,
    /// It ends when the TPM has done it; nobody hears the answer.
    HangUpAfter,
    /// Nothing comes back, and the connection stays.
    Hang,
    /// Passed on over a new connection: swtpm was started anew meanwhile.
    PassAnew,
    /// Passed on; this is done between the TPM's answer and the client's getting it.
    Then(Box<dyn FnOnce() + Send>),
}

type Decide = Box<dyn FnMut(&Command<'_>) -> Act + Send>;

/// Listens on two ports of its own, as swtpm does, and serves one client after the other.
pub struct Meddler {
    ports: PortPair,
    bus: Arc<Bus>,
    lanes: Vec<JoinHandle<()>>,
}

struct Bus {
    /// Where swtpm listens.
    port: u16,
    decide: Mutex<Decide>,
    /// What passed: each command's code, and the code that the client was answered (none: it got no answer).
    log: Mutex<Vec<(u32, Option<u32>)>>,
    /// The clients' ends of open connections, for Drop to close.
    open: Mutex<BTreeMap<bool, TcpStream>>,
    stopped: AtomicBool,
}

impl Meddler {
    pub fn start(swtpm: &Swtpm, decide: impl FnMut(&Command<'_>) -> Act + Send + 'static) -> Meddler {
        let ports = PortPair::reserve();
        let bus = Arc::new(Bus {
            port: swtpm.port(),
            decide: Mutex::new(Box::new(decide)),
            log: Mutex::default(),
            open: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let lanes = [(ports.command, true), (ports.control, false)].map(|(port, is_command)| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a reserved port");
            let bus = Arc::clone(&bus);
            thread::spawn(move || bus.listen(&listener, is_command))
        });
        Meddler { ports, bus, lanes: lanes.into() }
    }

    /// The device URI of swtpm through this one.
    pub fn uri(&self) -> String {
        format!("tpm:{}", self.ports.tcti())
    }

    /// Does something else with the commands from now on, and counts from one.
    pub fn decide(&self, decide: impl FnMut(&Command<'_>) -> Act + Send + 'static) {
        *locked(&self.bus.decide) = Box::new(decide);
        locked(&self.bus.log).clear();
    }

    /// The codes of the commands that were sent, in order.
    pub fn commands(&self) -> Vec<u32> {
        locked(&self.bus.log).iter().map(|(command, _)| *command).collect()
    }

    /// How often the command `code` was sent.
    pub fn count(&self, code: u32) -> usize {
        locked(&self.bus.log).iter().filter(|(command, _)| *command == code).count()
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.bus.stopped.store(true, Ordering::SeqCst);
        for client in locked(&self.bus.open).values() {
            let _ = client.shutdown(Shutdown::Both);
        }
        // A last client, so that accept returns and sees the flag.
        for port in [self.ports.command, self.ports.control] {
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        }
        for lane in self.lanes.drain(..) {
            let _ = lane.join();
        }
    }
}

impl Bus {
    fn listen(&self, listener: &TcpListener, is_command: bool) {
        for client in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { continue };
            let _ = client.set_nodelay(true);
            locked(&self.open).insert(is_command, client.try_clone().expect("one descriptor more"));
            // Drop may have looked for open connections just before this one was.
            if !self.stopped.load(Ordering::SeqCst) {
                // An end of either side is an end of both: the client sees it when the streams are dropped.
                let _ = if is_command { self.serve(&client) } else { self.control(&client) };
            }
            locked(&self.open).remove(&is_command);
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        let mut tpm = self.connect()?;
        loop {
            let mut command = message(client)?;
            let act = self.take(&command);
            if let Act::Command(change) = act {
                change(&mut command);
            }
            let mut response = match act {
                Act::Answer(code) => [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat(),
                Act::HangUp => return Ok(()),
                Act::Hang => {
                    // swtpm serves others meanwhile.
                    drop(tpm);
                    return client.read(&mut [0]).map(drop);
                }
                Act::PassAnew => {
                    tpm = self.connect()?;
                    pass(&tpm, &command)?
                }
                Act::Pass | Act::Command(_) | Act::Response(_) | Act::Cut(_) | Act::HangUpAfter | Act::Then(_) => {
                    pass(&tpm, &command)?
                }
            };
            match act {
                Act::HangUpAfter => return Ok(()),
                Act::Cut(length) => return client.write_all(&response[..length]),
                Act::Response(change) => change(&mut response),
                Act::Then(then) => then(),
                Act::Pass | Act::Answer(_) | Act::Command(_) | Act::HangUp | Act::Hang | Act::PassAnew => {}
            }
            if let Some((_, answered)) = locked(&self.log).last_mut() {
                *answered = Some(code(&response));
            }
            client.write_all(&response)?;
        }
    }

    /// Counts a command, and asks what becomes of it.
    fn take(&self, bytes: &[u8]) -> Act {
        let code = code(bytes);
        let (nth, nth_of_code) = {
            let mut log = locked(&self.log);
            log.push((code, None));
            (log.len(), log.iter().filter(|(other, _)| *other == code).count())
        };
        // The log is free: what decides may look at it, or take its time.
        (locked(&self.decide))(&Command { nth, nth_of_code, code, bytes })
    }

    /// Locality and cancel: a request, an answer.
    fn control(&self, mut client: &TcpStream) -> io::Result<()> {
        let mut tpm = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port + 1))?;
        let mut buffer = [0; 4096];
        loop {
            let length = client.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            tpm.write_all(&buffer[..length])?;
            let length = tpm.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            client.write_all(&buffer[..length])?;
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let tpm = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        tpm.set_nodelay(true)?;
        Ok(tpm)
    }
}

fn pass(mut tpm: &TcpStream, command: &[u8]) -> io::Result<Vec<u8>> {
    tpm.write_all(command)?;
    message(tpm)
}

/// One message, either way: tag (2 bytes), length of the whole (4), code (4), the rest.
fn message(mut from: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 10];
    from.read_exact(&mut bytes)?;
    let length = u32::from_be_bytes(bytes[2..6].try_into().expect("four bytes"));
    bytes.resize(length as usize, 0);
    from.read_exact(&mut bytes[10..])?;
    Ok(bytes)
}

fn code(message: &[u8]) -> u32 {
    u32::from_be_bytes(message[6..10].try_into().expect("four bytes"))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while meddling")
}
