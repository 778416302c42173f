//! One thread owns the device; callers send it messages and wait with a deadline.
//!
//! A library that hangs (a network HSM gone, a module in a loop) then fails the call instead of the program. A PIN is
//! asked for on the *caller's* thread ([`questions`]), and the time that a person takes to type it does not count, be it at
//! the terminal or on the device's own keys.
//!
//! Two ways to use it: [`spawn`] keeps the device open for many calls, a message each; [`once`] is for one piece of work
//! (a `derive`), done whole on the device's thread: each message costs a change of threads, which on a fast token is
//! dearer than the call.

mod questions;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{
    Bound, BoundTo, Counter, Description, Device, DeviceError, ExportPart, Fault, Intent, Key, PinSource, Protection,
    Root, Seal,
};
use crate::secret::{Kek, Mac, Pin};
use crate::wrap::WrappedSecret;
use questions::{Asker, News, hear};
pub use questions::{Caller, SentPins};

/// How long a device may take for one call. Making a key on a slow TPM takes up to ten seconds.
const DEADLINE: Duration = Duration::from_secs(30);

type Job = Box<dyn FnOnce(&mut dyn Device) -> Answer + Send>;

enum Answer {
    /// Whether it has a counter.
    Opened(Result<bool, DeviceError>),
    Description(Result<Description, DeviceError>),
    Root(Result<Root, DeviceError>),
    Foreseen(Result<(), DeviceError>),
    Seal(Result<Seal, DeviceError>),
    Mac(Result<Mac, DeviceError>),
    Wrapped(Result<WrappedSecret, DeviceError>),
    Retired(Result<bool, DeviceError>),
    Count(Result<Option<u64>, DeviceError>),
}

/// The caller's end.
pub struct OnThread<'p> {
    jobs: Option<Sender<Job>>,
    news: Receiver<News<Answer>>,
    thread: Option<thread::JoinHandle<()>>,
    pins: &'p dyn PinSource,
    deadline: Duration,
    counts: bool,
}

/// Starts a thread, opens a device on it with `open`, and gives the caller's end.
pub fn spawn<'p>(
    pins: &'p dyn PinSource,
    open: impl FnOnce(SentPins) -> Result<Box<dyn Device>, DeviceError> + Send + 'static,
) -> Result<OnThread<'p>, DeviceError> {
    let (jobs, inbox) = channel::<Job>();
    let (sender, news) = channel();
    let asker = Asker::of(pins, sender.clone());
    let thread = start(move || {
        let mut device = match open(Box::new(asker)) {
            Ok(device) => device,
            Err(error) => return drop(sender.send(News::Done(Answer::Opened(Err(error))))),
        };
        let counts = device.counter().is_some();
        if sender.send(News::Done(Answer::Opened(Ok(counts)))).is_ok() {
            for job in inbox {
                let answer = job(device.as_mut());
                drop(sender.send(News::Done(answer)));
            }
        }
    })?;
    let mut caller = OnThread { jobs: Some(jobs), news, thread: Some(thread), pins, deadline: DEADLINE, counts: false };
    match caller.wait()? {
        Answer::Opened(opened) => caller.counts = opened?,
        _ => return Err(out_of_turn()),
    }
    Ok(caller)
}

/// Starts a thread, opens a device on it with `open`, does `work`, and closes the device: all within one deadline.
pub fn once<T: Send + 'static>(
    pins: &dyn PinSource,
    open: impl FnOnce(SentPins) -> Result<Box<dyn Device>, DeviceError> + Send + 'static,
    work: impl FnOnce(&mut dyn Device) -> Result<T, DeviceError> + Send + 'static,
) -> Result<T, DeviceError> {
    apart(pins, move |pins| open(pins).and_then(|mut device| work(device.as_mut())))
}

/// Does `work` on a thread of its own, within one deadline.
pub fn apart<T: Send + 'static>(
    pins: &dyn PinSource,
    work: impl FnOnce(SentPins) -> Result<T, DeviceError> + Send + 'static,
) -> Result<T, DeviceError> {
    let (sender, news) = channel();
    let asker = Asker::of(pins, sender.clone());
    // What was opened is closed when the answer is there; the thread's own end is not waited for.
    start(move || {
        let done = work(Box::new(asker));
        drop(sender.send(News::Done(done)));
    })?;
    hear(&news, pins, DEADLINE)?
}

fn start(body: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, DeviceError> {
    let started = thread::Builder::new().name("device".to_owned()).spawn(body);
    started.map_err(|error| Fault::Failed(format!("can't start a thread for the device: {error}")).into())
}

fn out_of_turn() -> DeviceError {
    Fault::Failed("the device's thread answered another question".to_owned()).into()
}

impl OnThread<'_> {
    fn wait(&mut self) -> Result<Answer, DeviceError> {
        hear(&self.news, self.pins, self.deadline).inspect_err(|error| {
            self.jobs = None;
            if matches!(error.fault, Fault::TimedOut { .. }) {
                // It may be stuck in a library for ever: leave it behind, and never wait for it again.
                self.thread = None;
            }
        })
    }

    fn call(&mut self, job: impl FnOnce(&mut dyn Device) -> Answer + Send + 'static) -> Result<Answer, DeviceError> {
        let gone = || DeviceError::from(Fault::Unreachable("the device stopped answering earlier".to_owned()));
        self.jobs.as_ref().ok_or_else(gone)?.send(Box::new(job)).map_err(|_| gone())?;
        self.wait()
    }
}

impl Drop for OnThread<'_> {
    /// Waits until the device has flushed what it holds, unless it has hung or hangs now.
    fn drop(&mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return };
        // The thread's end is the end of its news. Who asks for a PIN now, asks in vain.
        let start = Instant::now();
        loop {
            match self.news.recv_timeout(self.deadline.saturating_sub(start.elapsed())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return drop(thread.join()),
                Err(RecvTimeoutError::Timeout) => return,
            }
        }
    }
}

/// Calls and picks the answer of the right type: each method gets the one that it asked for.
macro_rules! ask {
    ($caller:expr, $variant:ident, $job:expr) => {
        match $caller.call(move |device| Answer::$variant($job(device)))? {
            Answer::$variant(result) => result,
            _ => Err(out_of_turn()),
        }
    };
}

impl Device for OnThread<'_> {
    fn describe(&mut self) -> Result<Description, DeviceError> {
        ask!(self, Description, |device: &mut dyn Device| device.describe())
    }

    fn provision(&mut self, intent: &Intent) -> Result<Root, DeviceError> {
        let intent = intent.clone();
        ask!(self, Root, |device: &mut dyn Device| device.provision(&intent))
    }

    fn foresee(&mut self, bound: Bound<'_>) -> Result<(), DeviceError> {
        match bound {
            Bound::State(state) => {
                let state = state.clone();
                ask!(self, Foreseen, |device: &mut dyn Device| device.foresee(Bound::State(&state)))
            }
            Bound::Signed(signed) => {
                let signed = signed.clone();
                ask!(self, Foreseen, |device: &mut dyn Device| device.foresee(Bound::Signed(&signed)))
            }
        }
    }

    fn generate(&mut self, protection: Protection<'_>, qualifier: &[u8; 32]) -> Result<Seal, DeviceError> {
        let (protection, qualifier) = (Owned::of(protection), *qualifier);
        ask!(self, Seal, |device: &mut dyn Device| device.generate(protection.borrowed(), &qualifier))
    }

    fn hmac(&mut self, key: Key<'_>, message: &[u8]) -> Result<Mac, DeviceError> {
        let message = crate::secret::SecretBytes::copy_of(message);
        match key {
            Key::Sealed(part) => {
                let part = part.clone();
                ask!(self, Mac, |device: &mut dyn Device| device.hmac(Key::Sealed(&part), message.expose_secret()))
            }
            Key::Wrapped(wrapped, kek) => {
                let (wrapped, kek) = (wrapped.clone(), kek.duplicate());
                ask!(self, Mac, |device: &mut dyn Device| device
                    .hmac(Key::Wrapped(&wrapped, &kek), message.expose_secret()))
            }
        }
    }

    fn export(&mut self, part: &ExportPart, kek: &Kek) -> Result<WrappedSecret, DeviceError> {
        let (part, kek) = (part.clone(), kek.duplicate());
        ask!(self, Wrapped, |device: &mut dyn Device| device.export(&part, &kek))
    }

    fn retire(&mut self, intent: &Intent) -> Result<bool, DeviceError> {
        let intent = intent.clone();
        ask!(self, Retired, |device: &mut dyn Device| device.retire(&intent))
    }

    fn import(&mut self, wrapped: &WrappedSecret, kek: &Kek, protection: Protection<'_>) -> Result<Seal, DeviceError> {
        let (wrapped, kek, protection) = (wrapped.clone(), kek.duplicate(), Owned::of(protection));
        ask!(self, Seal, |device: &mut dyn Device| device.import(&wrapped, &kek, protection.borrowed()))
    }

    fn counter(&mut self) -> Option<&mut dyn Counter> {
        if self.counts { Some(self) } else { None }
    }
}

impl Counter for OnThread<'_> {
    fn read(&mut self, system: Uuid) -> Result<Option<u64>, DeviceError> {
        ask!(self, Count, |device: &mut dyn Device| counter(device)?.read(system))
    }

    fn make(&mut self, system: Uuid) -> Result<u64, DeviceError> {
        let made = ask!(self, Count, |device: &mut dyn Device| counter(device)?.make(system).map(Some));
        made?.ok_or_else(out_of_turn)
    }

    fn count_to(&mut self, system: Uuid, value: u64) -> Result<(), DeviceError> {
        ask!(self, Count, |device: &mut dyn Device| counter(device)?.count_to(system, value).map(|()| None)).map(drop)
    }
}

fn counter(device: &mut dyn Device) -> Result<&mut dyn Counter, DeviceError> {
    device.counter().ok_or_else(|| Fault::Failed("this device keeps no counter".to_owned()).into())
}

/// A protection that can cross to the other thread.
struct Owned {
    pin: Option<Pin>,
    bound: Option<BoundTo>,
}

impl Owned {
    fn of(protection: Protection<'_>) -> Self {
        Self { pin: protection.pin.map(Pin::duplicate), bound: protection.bound.cloned() }
    }

    fn borrowed(&self) -> Protection<'_> {
        Protection { pin: self.pin.as_ref(), bound: self.bound.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{NoPin, PinRequest};

    /// A device that never comes back, or asks for a PIN on every call.
    struct Odd {
        pins: SentPins,
        hangs: bool,
        hangs_on_drop: bool,
    }

    impl Odd {
        fn open(pins: SentPins) -> Result<Box<dyn Device>, DeviceError> {
            Ok(Box::new(Odd { pins, hangs: false, hangs_on_drop: false }))
        }
    }

    impl Drop for Odd {
        fn drop(&mut self) {
            if self.hangs_on_drop {
                thread::sleep(Duration::from_secs(3600));
            }
        }
    }

    impl Device for Odd {
        fn describe(&mut self) -> Result<Description, DeviceError> {
            if self.hangs {
                thread::sleep(Duration::from_secs(3600));
            }
            let request = PinRequest { device: "odd".to_owned(), kind: super::super::Kind::Tpm, tries_left: Some(3) };
            let pin = self.pins.pin(&request)?;
            Err(Fault::Failed(format!("a PIN of {} bytes", pin.expose_secret().len())).into())
        }
        fn provision(&mut self, _: &Intent) -> Result<Root, DeviceError> {
            panic!("a device that panics")
        }
        fn foresee(&mut self, _: Bound<'_>) -> Result<(), DeviceError> {
            unreachable!()
        }
        fn generate(&mut self, _: Protection<'_>, _: &[u8; 32]) -> Result<Seal, DeviceError> {
            unreachable!()
        }
        fn hmac(&mut self, _: Key<'_>, _: &[u8]) -> Result<Mac, DeviceError> {
            unreachable!()
        }
        fn export(&mut self, _: &ExportPart, _: &Kek) -> Result<WrappedSecret, DeviceError> {
            unreachable!()
        }
        fn retire(&mut self, _: &Intent) -> Result<bool, DeviceError> {
            unreachable!()
        }
        fn import(&mut self, _: &WrappedSecret, _: &Kek, _: Protection<'_>) -> Result<Seal, DeviceError> {
            unreachable!()
        }
        fn counter(&mut self) -> Option<&mut dyn Counter> {
            None
        }
    }

    pub struct Known;

    impl PinSource for Known {
        fn pin(&self, request: &PinRequest) -> Result<Pin, DeviceError> {
            assert_eq!(request.tries_left, Some(3));
            Ok(Pin::new(crate::secret::SecretBytes::copy_of(b"1234")))
        }
        fn call_to_the_pad(&self, device: &str, what: &str) -> Result<(), DeviceError> {
            assert_eq!((device, what), ("odd", "the PIN"));
            Ok(())
        }
        fn may_use_last_try(&self) -> bool {
            false
        }
    }

    pub fn fault<T>(result: Result<T, DeviceError>) -> Fault {
        result.err().expect("it fails").fault
    }

    #[test]
    fn a_pin_is_asked_for_on_the_callers_side() {
        let mut device = spawn(&Known, Odd::open).unwrap();
        assert_eq!(fault(device.describe()), Fault::Failed("a PIN of 4 bytes".to_owned()));
    }

    #[test]
    fn one_piece_of_work_is_asked_for_its_pin_too() {
        assert_eq!(
            fault(once(&Known, Odd::open, |device| device.describe())),
            Fault::Failed("a PIN of 4 bytes".to_owned())
        );
        assert_eq!(once(&NoPin, Odd::open, |_| Ok(7)).ok(), Some(7));
        let unreachable = |_| Err(Fault::Unreachable("nobody there".to_owned()).into());
        assert_eq!(fault(once(&NoPin, unreachable, |_| Ok(7))), Fault::Unreachable("nobody there".to_owned()));
        let panics = |device: &mut dyn Device| device.provision(&Intent::random());
        assert!(matches!(fault(once(&NoPin, Odd::open, panics)), Fault::Failed(_)));
    }

    #[test]
    fn a_device_that_hangs_is_left_behind() {
        let open = |pins| Ok(Box::new(Odd { pins, hangs: true, hangs_on_drop: false }) as Box<dyn Device>);
        let mut device = spawn(&NoPin, open).unwrap();
        device.deadline = Duration::from_millis(20);
        assert_eq!(fault(device.describe()), Fault::TimedOut { seconds: 0 });
        assert!(matches!(fault(device.describe()), Fault::Unreachable(_)));
    }

    /// Without the deadline this test would take an hour.
    #[test]
    fn a_device_that_hangs_when_it_is_closed_is_left_behind() {
        let open = |pins| Ok(Box::new(Odd { pins, hangs: false, hangs_on_drop: true }) as Box<dyn Device>);
        let mut device = spawn(&NoPin, open).unwrap();
        device.deadline = Duration::from_millis(20);
        drop(device);
    }

    #[test]
    fn a_device_that_panics_is_an_error() {
        let mut device = spawn(&NoPin, Odd::open).unwrap();
        assert!(matches!(fault(device.provision(&Intent::random())), Fault::Failed(_)));
    }

    #[test]
    fn a_device_that_does_not_open_says_why() {
        let opened = spawn(&NoPin, |_| Err(Fault::Unreachable("nobody there".to_owned()).into()));
        assert_eq!(fault(opened.map(drop)), Fault::Unreachable("nobody there".to_owned()));
    }
}
