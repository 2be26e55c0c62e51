//! State: what a session remembers, and the queue of frames that its stream polls.
//!
//! Held behind the session's one mutex; `mod` and its neighbours change it, `down` empties the
//! queue.
//!
//! Invariant: the queue is bounded by class: deliveries by the window, answers by the requests in
//! flight, refusals and notices by a number. A request is in flight until its answer has been
//! taken.

use super::{
    erasures::Erasures, followed::Followed, kept::Kept, receipts::Receipts, window::Window,
};
use heddle_proto::{
    errors::Fault,
    internal::{Delivery, RawOpenSessionResponse, raw_open_session_response::Frame},
    v1::{self, ErrorReason, result::Outcome},
};
use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};
use tonic::Status;

/// Refused requests whose refusal is not read yet; one more ends the session.
const REFUSALS_MAX: u32 = 64;
/// Typing, signals, presence and heartbeats that are not read yet; more are dropped.
const NOTICES_MAX: u32 = 64;
/// A queue that was longer gives its memory back when it is empty.
const QUEUE_KEPT: usize = 8;

/// What bounds a frame in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// By the window.
    Delivery,
    /// By the requests in flight.
    Answer,
    /// By [`REFUSALS_MAX`].
    Refusal,
    /// By [`NOTICES_MAX`]; more are dropped.
    Notice,
    /// Once or twice in a session's life.
    Control,
}

/// How far a session is.
#[derive(Debug)]
pub enum Phase {
    /// Waits for the hello or for the owner of the mailbox.
    Opening,
    /// Frames go both ways.
    Open,
    /// Ends when the queue is empty.
    Ended(Option<Status>),
}

/// What a session remembers.
#[derive(Debug)]
pub struct State {
    /// How far it is.
    pub phase: Phase,
    /// The device sends no more, or was asked to: the session ends when all is answered.
    pub finishing: bool,
    /// The device has been asked to go elsewhere.
    pub asked_to_go: bool,
    /// It has had its time: no new requests, no deliveries.
    pub leaving: bool,
    queue: VecDeque<(Class, RawOpenSessionResponse)>,
    waker: Option<Waker>,
    in_flight: u32,
    refusals: u32,
    notices: u32,
    /// The place in the mailbox, once the owner has told it.
    pub window: Option<Window>,
    /// Deliveries that wait for what is being read.
    pub kept: Kept,
    /// What was erased while deliveries waited.
    erasures: Erasures,
    /// Say that it has caught up when it is here.
    pub catching_up_to: Option<v1::Cursor>,
    /// Acknowledgements to be told.
    pub receipts: Receipts,
    /// Deliveries that are timed or traced.
    pub followed: Followed,
    /// The app is in the foreground.
    pub foreground: bool,
    /// When the device was last heard of, in milliseconds since the Unix epoch.
    pub heard_time_ms: u64,
    /// When the token ends, likewise.
    pub expire_time_ms: u64,
    /// When the token was issued, likewise.
    pub issued_time_ms: u64,
    /// When the device is told that the token ends, likewise; 0: it has been.
    pub warn_time_ms: u64,
    /// When the next heartbeat goes down, likewise.
    pub beat_time_ms: u64,
    /// When the session is old and is to end, likewise.
    pub old_time_ms: u64,
    /// When a session that was asked to go has had its time, likewise.
    pub leave_time_ms: u64,
    /// When the timer comes, likewise.
    pub timer_ms: u64,
}

impl State {
    /// A session that waits for its hello.
    pub fn new() -> Self {
        Self {
            phase: Phase::Opening,
            finishing: false,
            asked_to_go: false,
            leaving: false,
            queue: VecDeque::new(),
            waker: None,
            in_flight: 0,
            refusals: 0,
            notices: 0,
            window: None,
            kept: Kept::default(),
            erasures: Erasures::default(),
            catching_up_to: None,
            receipts: Receipts::default(),
            followed: Followed::default(),
            foreground: false,
            heard_time_ms: 0,
            expire_time_ms: 0,
            issued_time_ms: 0,
            warn_time_ms: 0,
            beat_time_ms: 0,
            old_time_ms: u64::MAX,
            leave_time_ms: u64::MAX,
            timer_ms: 0,
        }
    }

    /// Whether frames go both ways.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the session is over.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// A request arrives: it is in flight, or one too many.
    pub fn begin(&mut self, in_flight_max: u32) -> Result<(), Fault> {
        if self.in_flight >= in_flight_max {
            let text = format!("{in_flight_max} requests wait for answers; read some first");
            return Err(Fault::new(ErrorReason::TooManyInFlight, text));
        }
        self.in_flight += 1;
        Ok(())
    }

    /// Puts a frame into the queue; says what to wake once the lock is released.
    #[must_use]
    pub fn push(&mut self, class: Class, frame: Frame) -> Option<Waker> {
        if self.is_ended() && class != Class::Control {
            return None;
        }
        match class {
            Class::Notice if self.notices >= NOTICES_MAX => return None,
            Class::Notice => self.notices += 1,
            Class::Refusal => self.refusals += 1,
            Class::Delivery | Class::Answer | Class::Control => {}
        }
        self.queue
            .push_back((class, RawOpenSessionResponse { frame: Some(frame) }));
        if self.refusals > REFUSALS_MAX {
            let flood = "the session sends and does not read; open a new one";
            self.end(Some(Fault::new(ErrorReason::Overloaded, flood).into()));
        }
        self.waker.take()
    }

    /// Answers a request that is in flight. Without a request_id only an error is told.
    #[must_use]
    pub fn answer(&mut self, request_id: u64, outcome: Result<Outcome, Fault>) -> Option<Waker> {
        if request_id == 0 && outcome.is_ok() {
            self.in_flight = self.in_flight.saturating_sub(1);
            return if self.finishing {
                self.waker.take()
            } else {
                None
            };
        }
        self.push(Class::Answer, result(request_id, outcome))
    }

    /// Refuses a request that is not in flight.
    #[must_use]
    pub fn refuse(&mut self, request_id: u64, fault: Fault) -> Option<Waker> {
        self.push(Class::Refusal, result(request_id, Err(fault)))
    }

    /// Ends the session once what waits has been read; deliveries are left to the next session.
    pub fn end(&mut self, status: Option<Status>) {
        if !self.is_ended() {
            self.queue.retain(|(class, _)| *class != Class::Delivery);
            self.phase = Phase::Ended(status);
        }
    }

    /// The waker of the stream, if it sleeps.
    pub fn waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    /// Whether a delivery waits here, or is being read.
    fn delivery_waits(&self) -> bool {
        !self.queue.is_empty() || self.window.as_ref().is_some_and(Window::is_reading)
    }

    /// A delivery comes live: what waits loses what it erases. Whether there was room for it.
    #[must_use]
    pub fn note_erasure(&mut self, delivery: &Delivery) -> bool {
        !self.delivery_waits() || self.erasures.note(delivery)
    }

    /// The next frame for the device.
    pub fn poll(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Option<Result<RawOpenSessionResponse, Status>>> {
        if let Some((class, mut response)) = self.queue.pop_front() {
            match class {
                Class::Answer => self.in_flight = self.in_flight.saturating_sub(1),
                Class::Refusal => self.refusals -= 1,
                Class::Notice => self.notices -= 1,
                Class::Delivery => {
                    if let Some(frame) = &mut response.frame {
                        self.erasures.blank(frame);
                    }
                }
                Class::Control => {}
            }
            if !self.delivery_waits() {
                self.erasures.forget();
            }
            if self.queue.is_empty() && self.queue.capacity() > QUEUE_KEPT {
                self.queue = VecDeque::new();
            }
            return Poll::Ready(Some(Ok(response)));
        }
        match &mut self.phase {
            Phase::Ended(status) => Poll::Ready(status.take().map(Err)),
            Phase::Open if self.finishing && self.in_flight == 0 => Poll::Ready(None),
            _ => {
                self.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn result(request_id: u64, outcome: Result<Outcome, Fault>) -> Frame {
    let outcome = outcome.unwrap_or_else(|fault| Outcome::Error(fault.to_wire()));
    Frame::Result(v1::Result {
        request_id,
        outcome: Some(outcome),
    })
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
