//! What a device's thread asks its caller while it is at work, and tells: PINs, at the terminal or on the device's own keys, and
//! what is to be kept.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::device::pkcs11::guest;
use crate::device::tpm::{Ticket, Tickets};
use crate::device::{DeviceError, Fault, PinRequest, PinSource, Signatures};
use crate::secret::Pin;

/// How often a waiting caller sees after the signals that end the program.
const GLANCE: Duration = Duration::from_millis(200);

/// A PIN source as the device's thread sees it.
pub trait Caller: PinSource {
    /// The deadline stands still from [`PinSource::call_to_the_pad`] until now, while a person typed a PIN on the device's own
    /// keys.
    fn has_typed(&self);

    /// Keeps what the device has said for later runs. Files are written on the caller's side.
    fn keep(&self, ticket: Ticket);
}

/// The same: it may be sent there.
pub type SentPins = Box<dyn Caller + Send>;

/// What the device's thread tells the caller: that it needs a PIN, that somebody has to type one on the device, and has, what is
/// to be kept, or what came of a piece of work.
pub enum News<T> {
    PinNeeded(PinRequest, Sender<Result<Pin, DeviceError>>),
    PadWaits {
        device: String,
        what: String,
        reply: Sender<Result<(), DeviceError>>,
    },
    Typed,
    /// What is to be kept of what the device has said.
    Ticket(Ticket),
    Done(T),
}

/// The device thread's end of a PIN source.
pub struct Asker<T> {
    news: Sender<News<T>>,
    last_try: bool,
    signatures: Signatures,
}

impl<T> Asker<T> {
    /// The thread's end of `pins`, which asks through `news`.
    pub fn of(pins: &dyn PinSource, news: Sender<News<T>>) -> Self {
        Self { news, last_try: pins.may_use_last_try(), signatures: pins.signatures() }
    }
}

impl<T> PinSource for Asker<T> {
    fn pin(&self, request: &PinRequest) -> Result<Pin, DeviceError> {
        let gone = || DeviceError::from(Fault::PinMissing { device: request.device.clone() });
        let (reply, answer) = channel();
        self.news.send(News::PinNeeded(request.clone(), reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    fn call_to_the_pad(&self, device: &str, what: &str) -> Result<(), DeviceError> {
        let gone = || DeviceError::from(Fault::PinMissing { device: device.to_owned() });
        let (reply, answer) = channel();
        let waits = News::PadWaits { device: device.to_owned(), what: what.to_owned(), reply };
        self.news.send(waits).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    fn may_use_last_try(&self) -> bool {
        self.last_try
    }

    fn signatures(&self) -> Signatures {
        self.signatures.clone()
    }
}

impl<T> Caller for Asker<T> {
    fn has_typed(&self) {
        // A caller that is gone has no deadline.
        drop(self.news.send(News::Typed));
    }

    fn keep(&self, ticket: Ticket) {
        drop(self.news.send(News::Ticket(ticket)));
    }
}

/// Waits for what the device's thread has done; answers questions for a PIN meanwhile.
///
/// Errors with [`Fault::TimedOut`] after `deadline`, in which a PIN's typing is not counted, and with [`Fault::Failed`]
/// where the thread is gone.
pub fn hear<T>(news: &Receiver<News<T>>, pins: &dyn PinSource, deadline: Duration) -> Result<T, DeviceError> {
    let mut left = deadline;
    let mut is_typing = false;
    loop {
        let start = Instant::now();
        let heard = news.recv_timeout(if is_typing { GLANCE } else { left.min(GLANCE) });
        if !is_typing {
            left = left.saturating_sub(start.elapsed());
        }
        // Whoever waits wants to be able to end it.
        guest::take_back_signals();
        match heard {
            Ok(News::PinNeeded(request, reply)) => drop(reply.send(pins.pin(&request))),
            Ok(News::PadWaits { device, what, reply }) => {
                let called = pins.call_to_the_pad(&device, &what);
                is_typing = called.is_ok();
                drop(reply.send(called));
            }
            Ok(News::Typed) => is_typing = false,
            Ok(News::Ticket(ticket)) => {
                if let Some(directory) = pins.signatures().tickets {
                    // A cache: on a disk that is full or read-only, the next run asks the device again.
                    let _ = Tickets::keep(&directory, ticket);
                }
            }
            Ok(News::Done(done)) => return Ok(done),
            Err(RecvTimeoutError::Timeout) if is_typing || !left.is_zero() => {}
            Err(RecvTimeoutError::Timeout) => return Err(Fault::TimedOut { seconds: deadline.as_secs() }.into()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Fault::Failed("the device's thread ended unexpectedly".to_owned()).into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::start;
    use super::super::tests::{Known, fault};
    use super::*;
    use crate::device::NoPin;

    /// The pad is left alone until the deadline would have been over many times: nothing but its standing still lets this end
    /// well. Afterwards it runs on.
    #[test]
    fn a_person_at_a_pin_pad_has_the_time_that_it_takes() {
        let deadline = Duration::from_millis(200);
        let work = |hangs_after: bool| {
            let (sender, news) = channel();
            let asker = Asker::of(&Known, sender.clone());
            start(move || {
                let called = asker.call_to_the_pad("odd", "the PIN");
                if called.is_ok() {
                    thread::sleep(5 * deadline);
                    asker.has_typed();
                }
                if hangs_after || called.is_err() {
                    thread::sleep(Duration::from_secs(3600));
                }
                drop(sender.send(News::Done(())));
            })
            .unwrap();
            news
        };
        assert!(hear(&work(false), &Known, deadline).is_ok());
        assert_eq!(fault(hear(&work(true), &Known, deadline)), Fault::TimedOut { seconds: 0 });
        // Who would not come to the pad is not waited for.
        assert_eq!(fault(hear(&work(false), &NoPin, deadline)), Fault::TimedOut { seconds: 0 });
    }
}
