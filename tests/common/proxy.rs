//! A wire tap between a client and its swtpm: everything passes, and is kept.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::swtpm::{PortPair, Swtpm};
use super::wait;

/// What went one way over one connection.
#[derive(Clone)]
pub struct Stream {
    pub way: Way,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the TPM.
    Command,
    /// From the TPM.
    Response,
    /// To and from swtpm's control port: locality, cancel. No TPM commands.
    Control,
}

/// Listens on two ports of its own, as swtpm does, and connects each client through, one after the other.
pub struct Proxy {
    ports: PortPair,
    tap: Arc<Tap>,
    lanes: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Tap {
    streams: Mutex<Vec<Stream>>,
    /// Both ends of the connection that is open to each of swtpm's ports, for Drop to close.
    open: Mutex<BTreeMap<u16, [TcpStream; 2]>>,
    stopped: AtomicBool,
}

impl Proxy {
    pub fn start(swtpm: &Swtpm) -> Proxy {
        let ports = PortPair::reserve();
        let tap = Arc::new(Tap::default());
        let lanes = [
            (ports.command, swtpm.port(), [Way::Command, Way::Response]),
            (ports.control, swtpm.port() + 1, [Way::Control; 2]),
        ]
        .map(|(from, to, ways)| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, from)).expect("a reserved port");
            let tap = Arc::clone(&tap);
            thread::spawn(move || tap.serve(&listener, to, ways))
        });
        Proxy { ports, tap, lanes: lanes.into() }
    }

    pub fn tcti(&self) -> String {
        self.ports.tcti()
    }

    /// The device URI of swtpm through this proxy.
    pub fn uri(&self) -> String {
        format!("tpm:{}", self.tcti())
    }

    /// What passed, in the order of the connections' beginnings.
    pub fn streams(&self) -> Vec<Stream> {
        self.tap.streams().clone()
    }

    /// All of it in a row.
    pub fn bytes(&self) -> Vec<u8> {
        self.streams().into_iter().flat_map(|s| s.bytes).collect()
    }

    /// Whether `needle` passed, either way.
    pub fn contains(&self, needle: &[u8]) -> bool {
        assert!(needle.len() >= 4, "too short to mean anything: {needle:?}");
        self.tap.streams().iter().any(|s| s.bytes.windows(needle.len()).any(|w| w == needle))
    }

    /// The codes of the TPM commands that were sent, in order (TPM2_HMAC is 0x155).
    pub fn commands(&self) -> Vec<u32> {
        self.codes(Way::Command)
    }

    /// The codes of the TPM's responses, in order (0: success).
    pub fn responses(&self) -> Vec<u32> {
        self.codes(Way::Response)
    }

    /// Forgets what passed before, so that the next phase is counted alone. All clients must have hung up: the stream of
    /// one that goes on would lose its beginning.
    pub fn forget(&self) {
        wait::until("all clients to hang up", Duration::from_secs(10), || self.tap.open().is_empty().then_some(()));
        self.tap.streams().clear();
    }

    /// Both ways a message is: tag (2 bytes), length of the whole (4), code (4), the rest.
    fn codes(&self, way: Way) -> Vec<u32> {
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        let mut codes = Vec::new();
        for stream in self.tap.streams().iter().filter(|s| s.way == way) {
            let mut rest = &stream.bytes[..];
            while rest.len() >= 10 {
                codes.push(number(&rest[6..10]));
                let length = number(&rest[2..6]) as usize;
                assert!(length >= 10, "{way:?}: not a TPM message: {rest:02x?}");
                rest = rest.get(length..).unwrap_or_default();
            }
        }
        codes
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tap.stopped.store(true, Ordering::SeqCst);
        for stream in self.tap.open().values().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
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

impl Tap {
    fn serve(&self, listener: &TcpListener, to: u16, ways: [Way; 2]) {
        for client in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            // When swtpm is off, the client is hung up on.
            let (Ok(client), Ok(tpm)) = (client, TcpStream::connect((Ipv4Addr::LOCALHOST, to))) else {
                continue;
            };
            for stream in [&client, &tpm] {
                let _ = stream.set_nodelay(true);
            }
            let ends = [&client, &tpm].map(|s| s.try_clone().expect("one descriptor more"));
            self.open().insert(to, ends);
            let first = {
                let mut streams = self.streams();
                streams.extend(ways.map(|way| Stream { way, bytes: Vec::new() }));
                streams.len() - 2
            };
            // Drop may have looked for open connections just before this one was.
            if !self.stopped.load(Ordering::SeqCst) {
                thread::scope(|scope| {
                    scope.spawn(|| self.pump(&client, &tpm, first));
                    self.pump(&tpm, &client, first + 1);
                });
            }
            self.open().remove(&to);
        }
    }

    /// Records before it passes on: who has an answer finds it in the recording.
    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, stream: usize) {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            self.streams()[stream].bytes.extend_from_slice(&buffer[..length]);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // No TCTI closes one way only: when one end is gone, so is the connection.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Stream>> {
        self.streams.lock().expect("no panic while recording")
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u16, [TcpStream; 2]>> {
        self.open.lock().expect("no panic while recording")
    }
}
