//! Session: one device, from its hello to its end.
//!
//! `reader` takes frames up, `frames` acts on them, `state` queues frames down, which `down` hands
//! to the transport. Links call the methods here with what owners and the store say. `window`
//! decides.
//!
//! Invariant: one mutex guards a session's state; it is never held while a link, another session or
//! the transport is called. Whoever wakes the stream does so after releasing it.

pub mod catch_up;
pub mod down;
pub mod erasures;
pub mod followed;
pub mod frames;
pub mod kept;
pub mod open;
pub mod reader;
pub mod receipts;
pub mod registry;
pub mod state;
pub mod timing;
pub mod window;

use crate::{answers::Kind, edge::Edge, limits::RateKey};
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        AckCommand, Delivery, DetachCommand, MarkCommand, RawEventDelivery, RawStateDelivery,
        command::Op, command_result, raw_open_session_response::Frame,
    },
    time,
    v1::{self, Cursor, GoAwayReason, result::Outcome},
};
use kept::Kept;
use receipts::{Told, When};
use state::{Class, Phase, State};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;
use window::{Lag, Offer, Verdict, Window};

/// Whose session it is; known from the hello on.
#[derive(Debug)]
pub struct Who {
    /// The user.
    pub user_id: String,
    /// The device.
    pub device_id: String,
    /// For the device's row.
    pub app_version: String,
    /// The user's mailbox.
    pub mailbox: LogId,
    /// What its frames count for.
    pub rate: RateKey,
    /// A service: may speak for the product.
    pub trusted: bool,
    /// Has no upward half: nobody expects pings.
    pub mute: bool,
    /// Which running client it is of; 0: unknown.
    pub client_incarnation: u64,
    /// Which of that client's sessions it is.
    pub client_attempt: u64,
}

/// One device session.
pub struct Session {
    id: u64,
    who: OnceLock<Who>,
    state: Mutex<State>,
    /// Tells the reader that the session is over.
    over: Notify,
}

impl Session {
    /// A session that waits for its hello.
    pub fn new(id: u64) -> Arc<Self> {
        let state = Mutex::new(State::new());
        Arc::new(Self {
            id,
            who: OnceLock::new(),
            state,
            over: Notify::new(),
        })
    }

    /// Unique on this gateway.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whose it is. Before the hello: nobody's, and no one can find it.
    pub fn who(&self) -> &Who {
        static NOBODY: OnceLock<Who> = OnceLock::new();
        self.who
            .get()
            .unwrap_or_else(|| NOBODY.get_or_init(Who::nobody))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, class: Class, frame: Frame) {
        let waker = self.lock().push(class, frame);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the session is over.
    pub fn is_ended(&self) -> bool {
        self.lock().is_ended()
    }

    /// Whether typing, signals and presence go to it.
    pub fn is_foreground(&self) -> bool {
        let state = self.lock();
        state.is_open() && state.foreground
    }

    /// Answers a request that is in flight.
    pub fn answer(&self, request_id: u64, outcome: Result<Outcome, Fault>) {
        let waker = self.lock().answer(request_id, outcome);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The owner's word on a request.
    pub fn answered(
        &self,
        request_id: u64,
        kind: Kind,
        outcome: Result<command_result::Outcome, Fault>,
    ) {
        self.answer(
            request_id,
            outcome.and_then(|found| crate::answers::outcome(kind, found)),
        );
    }

    /// A delivery from the mailbox's owner; `body` is shared by all who get it.
    pub fn deliver(self: &Arc<Self>, edge: &Edge, delivery: &Delivery, body: &Bytes) {
        let offer = Offer {
            cursor: Cursor {
                position: delivery.position,
                nonce: delivery.nonce,
            },
            body_bytes: body.len(),
            markable: receipts::markable(&delivery.conversation_id, delivery.markable_seq),
        };
        let mut state = self.lock();
        if !state.note_erasure(delivery) {
            drop(state);
            return self.go_away(edge, GoAwayReason::Resume);
        }
        if state.leaving {
            return;
        }
        let Some(window) = state.window.as_mut() else {
            return;
        };
        match window.offer(&offer) {
            Verdict::Take { previous_position } => {
                let frame = delivered(&offer, previous_position, delivery, body.clone());
                let waker = state.push(Class::Delivery, frame);
                let waker = state.say_caught_up().or(waker);
                state.followed.given(edge, delivery);
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Verdict::Keep => {
                let previous_position = delivery.position - 1;
                let frame = delivered(&offer, previous_position, delivery, body.clone());
                state.kept.push(offer, frame);
            }
            Verdict::Known => {}
            Verdict::Behind => {
                drop(state);
                edge.metrics.behind.add(1, &[]);
                self.read_on(edge);
            }
        }
    }

    /// How far the device is behind.
    pub fn lag(&self) -> Lag {
        self.lock()
            .window
            .as_ref()
            .map(Window::lag)
            .unwrap_or_default()
    }

    /// The owner's heartbeat: reveals what was lost on the way.
    pub fn head(self: &Arc<Self>, edge: &Edge, head: Cursor) {
        if let Some(window) = self.lock().window.as_mut() {
            window.see_head(head);
        }
        self.read_on(edge);
    }

    /// Typing, a signal or presence: only in the foreground, and dropped when too many wait.
    pub fn notice(&self, frame: Frame) {
        if self.is_foreground() {
            self.push(Class::Notice, frame);
        }
    }

    /// Sends the device away: a last frame, then the end of the stream.
    pub fn go_away(self: &Arc<Self>, edge: &Edge, reason: GoAwayReason) {
        if is_leave(reason) && self.lock().asked_to_go {
            // It has been told, and has had its time.
            return self.end(edge, None, None);
        }
        let away = away(edge, reason, return_delay_ms(edge, reason));
        self.end(edge, Some(Frame::GoAway(away)), None);
    }

    /// Ends the session with a status.
    pub fn fail(self: &Arc<Self>, edge: &Edge, fault: Fault) {
        self.end(edge, None, Some(fault));
    }

    /// Ends the session: nothing more is taken or delivered.
    pub fn end(self: &Arc<Self>, edge: &Edge, last: Option<Frame>, fault: Option<Fault>) {
        let waker = {
            let mut state = self.lock();
            let mut waker = None;
            if !state.is_ended() {
                state.end(fault.map(Into::into));
                waker = last.and_then(|frame| state.push(Class::Control, frame));
            }
            state.window = None;
            waker.or_else(|| state.waker())
        };
        self.over.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
        if edge.sessions.remove(self.id) {
            self.tell_receipts(edge);
            let detach = Op::Detach(DetachCommand {
                session_id: self.id,
            });
            // If the link is down, its owner forgets the session by itself.
            let _forgotten = self.hint(edge, self.who().mailbox, detach);
            edge.presence.gone(self);
            edge.metrics.sessions.add(-1, &[]);
        }
    }

    /// Tells owners what the device has acknowledged.
    pub fn tell_receipts(self: &Arc<Self>, edge: &Edge) {
        let (told, foreground) = {
            let mut state = self.lock();
            (state.receipts.due(), state.foreground)
        };
        self.tell(edge, told, foreground);
    }

    /// Conversations first: a mailbox that is told of a position takes it that they know.
    fn tell(self: &Arc<Self>, edge: &Edge, told: Told, foreground: bool) {
        let mut untold = Told::default();
        for markable in told.delivered {
            let mark = MarkCommand {
                delivered_seq: markable.seq,
                read_seq: 0,
            };
            if !self.hint(edge, markable.conversation, Op::Mark(mark)) {
                untold.delivered.push(markable);
            }
        }
        if let Some(position) = told.position {
            let ack = Op::Ack(AckCommand {
                position,
                foreground,
            });
            let waits = !untold.delivered.is_empty();
            if waits || !self.hint(edge, self.who().mailbox, ack) {
                untold.position = Some(position);
            }
        }
        if untold != Told::default() && self.lock().put_back(untold) {
            edge.timers.receipts(self.clone());
        }
    }

    /// A command that wants no answer.
    fn hint(&self, edge: &Edge, log: LogId, op: Op) -> bool {
        let who = self.who();
        edge.shards.hint(log, &who.user_id, &who.device_id, op)
    }
}

/// When a device comes back, or goes: those of one gateway spread.
fn return_delay_ms(edge: &Edge, reason: GoAwayReason) -> u64 {
    match is_leave(reason) {
        true => rand::random_range(0..=edge.options.return_spread_ms),
        false => 0,
    }
}

fn away(edge: &Edge, reason: GoAwayReason, delay_ms: u64) -> v1::GoAway {
    v1::GoAway {
        reason: reason.into(),
        retry_delay: Some(time::duration(delay_ms)),
        addresses: edge.presence.gateways.elsewhere(),
    }
}

/// Nothing is wrong with the session: it is to end in good order and come back when there is room.
fn is_leave(reason: GoAwayReason) -> bool {
    matches!(reason, GoAwayReason::Draining | GoAwayReason::MaxAge)
}

/// The frame of a delivery.
fn delivered(offer: &Offer, previous_position: u64, delivery: &Delivery, body: Bytes) -> Frame {
    let cursor = Some(offer.cursor);
    if delivery.state {
        Frame::State(RawStateDelivery {
            cursor,
            previous_position,
            state: body,
        })
    } else {
        let previous_seq = delivery.previous_seq;
        Frame::Event(RawEventDelivery {
            cursor,
            previous_position,
            previous_seq,
            event: body,
        })
    }
}

impl Who {
    fn nobody() -> Self {
        Self {
            user_id: String::new(),
            device_id: String::new(),
            app_version: String::new(),
            mailbox: LogId::mailbox(""),
            rate: RateKey::nobody(),
            trusted: false,
            mute: true,
            client_incarnation: 0,
            client_attempt: 0,
        }
    }
}

impl State {
    /// Owners could not be told; whether somebody must be asked to come again.
    fn put_back(&mut self, untold: Told) -> bool {
        // The next session's resume token says as much.
        !self.is_ended() && self.receipts.put_back(untold) == When::Schedule
    }

    /// Opens the session at a place in its mailbox.
    fn open_at(&mut self, window: Window) {
        self.window = Some(window);
        self.kept = Kept::default();
        self.phase = Phase::Open;
    }
}
