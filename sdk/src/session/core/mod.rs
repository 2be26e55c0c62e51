//! The session's state between its wire and its application: what to tell either next.
//!
//! The engine feeds it frames, commands and time, and carries away frames ([`Core::next_frame`])
//! and updates. `down`
//! takes the server's frames, `up` makes ours. Does no I/O; time in milliseconds since the session
//! began.
//!
//! Invariants: what the application must hear is never dropped; hints are, when it is behind. All
//! queues are bounded by permits that callers hold, or by the server's window.

mod down;
mod up;

use super::acks::Acks;
use super::command::{Command, Reply, Tag};
use super::marks::Marks;
use super::taken::Taken;
use super::track::Track;
use super::update::{SendOutcome, Sent, Update};
use crate::outbox::{Outbox, Settled};
use crate::{BackoffPolicy, Error, clock::ServerClock};
use heddle_proto::ids::MessageId;
use heddle_proto::time;
use heddle_proto::v1::{self, open_session_request::Frame};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use up::framed;

/// Requests other than sends and marks that may wait for an answer.
pub(super) const REQUESTS_IN_FLIGHT_MAX: usize = 16;
/// How much of the server's bound on requests in flight is left to other things than sends.
const RESERVED_IN_FLIGHT: usize = 26;

/// Why the connection has to end.
#[derive(Debug)]
pub(super) enum End {
    /// Something is missing: come back at once.
    Resume(&'static str),
    /// It broke.
    Lost(Error),
    /// The server said so.
    GoAway(Box<v1::GoAway>),
    /// The server asked for it, and the time has come.
    Left,
    /// The application has closed the session.
    Closed,
}

/// What to do about a change of ids in a store.
pub(super) enum StoreChange {
    Remove(MessageId),
    Replace(MessageId, Box<crate::outbox::Outgoing>),
}

pub(super) struct Core {
    pub(super) track: Track,
    acks: Acks,
    marks: Marks,
    pub(super) outbox: Outbox<Tag>,
    requests: HashMap<u64, Reply>,
    watch: Option<v1::WatchPresenceRequest>,
    pub(super) foreground: bool,
    foreground_untold: bool,
    posts: VecDeque<v1::OpenSessionRequest>,
    updates: VecDeque<(Update, Option<OwnedSemaphorePermit>)>,
    pub(super) store_changes: Vec<StoreChange>,
    taken: Arc<Taken>,
    clock: Arc<ServerClock>,
    request_id: u64,
    ping_interval_ms: u64,
    ping_at_ms: Option<u64>,
    pong_due_ms: Option<u64>,
    ping_id: u64,
    pub(super) token_expiring: bool,
}

impl Core {
    pub(super) fn new(
        resume: Option<v1::Cursor>,
        foreground: bool,
        backoff: BackoffPolicy,
        taken: Arc<Taken>,
        clock: Arc<ServerClock>,
    ) -> Self {
        Self {
            track: Track::new(resume),
            acks: Acks::default(),
            marks: Marks::default(),
            outbox: Outbox::new(backoff),
            requests: HashMap::new(),
            watch: None,
            foreground,
            foreground_untold: false,
            posts: VecDeque::new(),
            updates: VecDeque::new(),
            store_changes: Vec::new(),
            taken,
            clock,
            request_id: 1,
            ping_interval_ms: 0,
            ping_at_ms: None,
            pong_due_ms: None,
            ping_id: 0,
            token_expiring: false,
        }
    }

    /// The server has answered the hello.
    pub(super) fn opened(&mut self, opened: v1::SessionOpened, now_ms: u64) {
        if let Some(server_time) = &opened.server_time {
            self.clock.learn(time::millis(server_time));
        }
        let limits = opened.limits.unwrap_or_default();
        let in_flight_max = limits.in_flight_max as usize;
        let sends_max = in_flight_max.saturating_sub(RESERVED_IN_FLIGHT);
        self.outbox
            .set_in_flight_max(sends_max.max(in_flight_max / 2));
        let heartbeat = opened.heartbeat_interval.unwrap_or_default();
        let interval = Duration::try_from(heartbeat).unwrap_or_default();
        self.ping_interval_ms = u64::try_from(interval.as_millis()).unwrap_or(0);
        self.schedule_ping(now_ms);
        let head = opened.head.unwrap_or_default();
        let outcome = opened.outcome();
        self.updates
            .push_back((Update::Connected(Box::new(opened)), None));
        match outcome {
            v1::ResumeOutcome::Resumed => {
                self.track.reconnected();
                self.acks.reconnected(now_ms);
            }
            v1::ResumeOutcome::Reset => {
                self.taken.announce_reset();
                self.acks.reset(head.position);
                self.track.opened_at(head);
                self.updates.push_back((Update::Reset { head }, None));
            }
            v1::ResumeOutcome::Fresh | v1::ResumeOutcome::Unspecified => {
                self.acks.reset(head.position);
                self.track.opened_at(head);
            }
        }
        if let Some(watch) = self.watch.clone() {
            let request_id = self.take_request_id();
            self.requests.insert(request_id, Reply::Watch);
            self.post(request_id, Frame::Watch(watch));
        }
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self, now_ms: u64) {
        self.outbox.disconnected();
        self.marks.disconnected(now_ms);
        self.posts.clear();
        self.foreground_untold = false;
        self.ping_at_ms = None;
        self.pong_due_ms = None;
        self.token_expiring = false;
        for (_, reply) in self.requests.drain() {
            reply.fail(Error::disconnected());
        }
    }

    /// The application wants something, while a connection stands or not.
    pub(super) fn command(&mut self, command: Command, connected: bool, now_ms: u64) {
        match command {
            Command::Send { outgoing, tag } => {
                self.outbox.push(outgoing, tag);
            }
            Command::Read { conversation, seq } => self.marks.read(conversation, seq, now_ms),
            Command::Foreground(foreground) => {
                self.foreground = foreground;
                self.schedule_ping(now_ms);
                self.foreground_untold = connected;
            }
            Command::Request { frame, reply } => {
                if let Frame::Watch(watch) = &frame {
                    self.watch = Some(watch.clone());
                }
                if connected {
                    let request_id = self.take_request_id();
                    self.requests.insert(request_id, reply);
                    self.post(request_id, frame);
                } else {
                    reply.fail(Error::disconnected());
                }
            }
        }
    }

    /// The application has taken more; maybe there is something to acknowledge.
    pub(super) fn taken(&mut self, now_ms: u64) {
        if let Some(position) = self.taken.position() {
            self.acks.taken(position, now_ms);
        }
    }

    /// When something is due, though nothing happens. While the wire takes nothing, only a pong is.
    pub(super) fn wake_at_ms(&self, stalled: bool) -> Option<u64> {
        if stalled {
            return self.pong_due_ms;
        }
        let times = [
            self.acks.due_at_ms(),
            self.marks.due_at_ms(),
            self.ping_at_ms,
            self.pong_due_ms,
            self.outbox.wake_at_ms(),
        ];
        times.into_iter().flatten().min()
    }

    /// Whether the server owes us a pong for too long.
    pub(super) fn is_dead(&self, now_ms: u64) -> bool {
        self.pong_due_ms.is_some_and(|due| due <= now_ms)
    }

    /// The next update for the application, with what it frees when it is handed over.
    pub(super) fn next_update(&mut self) -> Option<(Update, Option<OwnedSemaphorePermit>)> {
        self.updates.pop_front()
    }

    /// It could not be handed over yet.
    pub(super) fn put_back(&mut self, update: (Update, Option<OwnedSemaphorePermit>)) {
        self.updates.push_front(update);
    }

    /// Whether the application is so far behind that updates wait here.
    pub(super) fn is_behind(&self) -> bool {
        !self.updates.is_empty()
    }

    /// Whether no send and no request waits for its answer.
    pub(super) fn is_answered(&self) -> bool {
        self.outbox.is_answered() && self.requests.is_empty()
    }

    /// Tells the application.
    pub(super) fn tell(&mut self, update: Update) {
        self.updates.push_back((update, None));
    }

    /// Gives up what is not settled; the session is over.
    pub(super) fn close(&mut self, error: &Error) {
        for settled in self.outbox.drain(error) {
            self.settled(settled, false);
        }
        self.disconnected(0);
    }

    /// `forget`: the store need not keep it any longer.
    fn settled(&mut self, settled: Settled<Tag>, forget: bool) {
        if settled.tag.stored && forget {
            let id = settled.client_message_id;
            self.store_changes.push(StoreChange::Remove(id));
        }
        let client_message_id = settled.client_message_id;
        let result = settled.result.map(|response| Sent {
            client_message_id,
            seq: response.seq,
            create_time_ms: response.create_time.as_ref().map_or(0, time::millis),
        });
        match settled.tag.reply {
            // Nobody waits any more: that is the caller's choice.
            Some(reply) => drop(reply.send(result)),
            None => {
                let outcome = SendOutcome {
                    ticket: settled.ticket,
                    conversation_id: settled.conversation_id,
                    client_message_id,
                    result,
                };
                let update = Update::Sent(Box::new(outcome));
                self.updates.push_back((update, Some(settled.tag.permit)));
            }
        }
    }

    fn schedule_ping(&mut self, now_ms: u64) {
        let pings = self.foreground && self.ping_interval_ms > 0;
        self.ping_at_ms = pings.then_some(now_ms + self.ping_interval_ms);
    }

    fn post(&mut self, request_id: u64, frame: Frame) {
        self.posts.push_back(framed(request_id, frame));
    }

    fn take_request_id(&mut self) -> u64 {
        let request_id = self.request_id;
        self.request_id += 1;
        request_id
    }
}
