//! A device's session: one long-lived stream that comes back by itself.
//!
//! [`Session`] is the application's reading side, [`SessionHandle`] the writing side; the `engine`
//! behind them owns the connection, the `core` the decisions, and small pure modules the rules:
//! `track` (holes), `acks`, `marks`, and the crate's outbox.
//!
//! Invariant: the application sees each position of the mailbox once, in order, without a hole;
//! where that cannot be, it is told `Reset`. Nothing is acknowledged that it has not handled.

mod acks;
mod command;
mod connection;
mod core;
mod engine;
mod handle;
mod leaving;
mod marks;
mod returning;
mod taken;
#[cfg(test)]
mod tests;
mod track;
mod update;

pub use acks::{ACK_BYTES, ACK_EVENTS, ACK_INTERVAL_MS};
pub use handle::{Sending, SessionHandle, WhenFull};
pub use marks::MARK_INTERVAL_MS;
pub use update::{SendOutcome, Sent, Update};

use crate::outbox::store::OutboxStore;
use crate::{Backoff, BackoffPolicy, Client, Error};
use core::Core;
use engine::{Engine, Standing};
use heddle_proto::v1;
use std::ops::Deref;
use std::sync::Arc;
use taken::Taken;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Sends that may wait for an answer, by default.
pub const OUTBOX_LEN_MAX: usize = 1024;
/// Updates that may wait for the application, by default.
pub const UPDATES_LEN_MAX: usize = 8192;
/// Commands other than sends that may wait for the engine.
const COMMANDS_LEN_MAX: usize = 256;

/// Who says that an event is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// Asking for the next update says that the ones before are handled.
    Automatic,
    /// The application calls `ack`.
    Manual,
}

/// How a session is opened.
#[must_use]
pub struct SessionBuilder {
    client: Client,
    resume: Option<v1::Cursor>,
    foreground: bool,
    ack_mode: AckMode,
    outbox_len_max: usize,
    updates_len_max: usize,
    backoff: BackoffPolicy,
    store: Option<Arc<dyn OutboxStore>>,
}

impl SessionBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            resume: None,
            foreground: true,
            ack_mode: AckMode::Automatic,
            outbox_len_max: OUTBOX_LEN_MAX,
            updates_len_max: UPDATES_LEN_MAX,
            backoff: BackoffPolicy::default(),
            store: None,
        }
    }

    /// Goes on from a place kept from an earlier session; without, from now.
    pub fn resume(mut self, cursor: Option<v1::Cursor>) -> Self {
        self.resume = cursor;
        self
    }

    /// Whether the app is in the foreground; it is, by default.
    pub fn foreground(mut self, foreground: bool) -> Self {
        self.foreground = foreground;
        self
    }

    /// Who says that an event is handled.
    pub fn ack_mode(mut self, ack_mode: AckMode) -> Self {
        self.ack_mode = ack_mode;
        self
    }

    /// How many sends may wait for an answer; beyond that callers wait or fail, as they choose.
    pub fn outbox_len_max(mut self, outbox_len_max: usize) -> Self {
        self.outbox_len_max = outbox_len_max.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How many updates may wait for the application. The server's window of unacknowledged bytes
    /// stops it long before; if it does not, the session disconnects and comes back once there is
    /// room.
    pub fn updates_len_max(mut self, updates_len_max: usize) -> Self {
        self.updates_len_max = updates_len_max.max(1);
        self
    }

    /// The bounds of the delays between tries.
    pub fn backoff(mut self, backoff: BackoffPolicy) -> Self {
        self.backoff = backoff;
        self
    }

    /// Keeps unanswered sends across restarts of the process; what is in it is sent first. One
    /// session at a time: the next one opens once the one before is [`SessionHandle::closed`].
    ///
    /// Sends that outlive their session belong here. An application that keeps them itself cannot
    /// know which were refused while it did not read, and would send those behind later ones.
    pub fn outbox_store(mut self, store: impl OutboxStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Starts the session; it connects, and stays connected, by itself. `connected()` waits for
    /// that.
    pub async fn open(self) -> Result<Session, Error> {
        let shared = self.client.shared.clone();
        let left = match &self.store {
            Some(store) => store.load().await.map_err(|error| {
                let text = format!("the outbox store cannot be read: {error}");
                Error::local(tonic::Code::Internal, text)
            })?,
            None => Vec::new(),
        };
        let room = self.outbox_len_max.max(left.len());
        let outbox_room = Arc::new(Semaphore::new(room));
        let (commands, wishes) = mpsc::channel(room + COMMANDS_LEN_MAX);
        let (updates, told) = mpsc::channel(self.updates_len_max);
        let (standing, stands) = watch::channel(Standing::Connecting(None));
        let taken = Arc::new(Taken::default());
        let clock = shared.clock.clone();
        let core = Core::new(
            self.resume,
            self.foreground,
            self.backoff,
            taken.clone(),
            clock,
        );
        let handle = SessionHandle {
            shared: shared.clone(),
            commands,
            outbox_room,
            outbox_len_max: room,
            request_room: handle::request_room(),
            taken: taken.clone(),
            standing: stands,
            store: self.store.clone(),
        };
        for outgoing in left {
            handle.requeue(outgoing).await?;
        }
        let cancel = shared.cancel.child_token();
        let engine = Engine {
            attempt: engine::attempts_of(&shared),
            shared: shared.clone(),
            core,
            commands: wishes,
            updates,
            taken,
            standing,
            store: self.store,
            backoff: Backoff::new(self.backoff),
            cancel: cancel.clone(),
            started: Instant::now(),
            token_refusals: 0,
            elsewhere: Vec::new(),
            leaving: None,
        };
        shared.tasks.spawn(engine.run());
        Ok(Session {
            handle,
            updates: told,
            cursor: self.resume,
            handed: Vec::new(),
            ack_mode: self.ack_mode,
            cancel,
        })
    }
}

/// The reading side of a session. Dropping it ends the session.
pub struct Session {
    handle: SessionHandle,
    updates: mpsc::Receiver<Update>,
    cursor: Option<v1::Cursor>,
    handed: Vec<Place>,
    ack_mode: AckMode,
    cancel: CancellationToken,
}

/// A place in the mailbox that the application is about to handle.
enum Place {
    At(v1::Cursor),
    Reset(v1::Cursor),
}

impl Session {
    /// The next update; `None` once the session is over. Asking says that those before are handled.
    /// Safe to cancel.
    pub async fn next(&mut self) -> Option<Update> {
        self.handled();
        let update = self.updates.recv().await?;
        self.note(&update);
        Some(update)
    }

    /// Waits for updates and takes all that are there, up to `max`; 0 once the session is over.
    pub async fn next_batch(&mut self, batch: &mut Vec<Update>, max: usize) -> usize {
        self.handled();
        let from = batch.len();
        let taken = self.updates.recv_many(batch, max).await;
        for update in &batch[from..] {
            if let Some(place) = place(update) {
                keep(&mut self.handed, place);
            }
        }
        taken
    }

    /// The resume token: everything up to here is handled. Keep it to go on after a restart.
    pub fn cursor(&self) -> Option<v1::Cursor> {
        self.cursor
    }

    /// The writing side.
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }

    /// Ends the session in peace: what was handled is acknowledged. What is in a store is sent by
    /// the next session.
    pub async fn close(mut self) {
        self.handled();
        self.cancel.cancel();
        self.updates.close();
        self.handle.closed().await;
    }

    fn note(&mut self, update: &Update) {
        if let Some(place) = place(update) {
            keep(&mut self.handed, place);
        }
    }

    fn handled(&mut self) {
        for place in self.handed.drain(..) {
            match place {
                Place::At(cursor) => {
                    if self
                        .cursor
                        .is_some_and(|mine| mine.position > cursor.position)
                    {
                        continue;
                    }
                    self.cursor = Some(cursor);
                    if self.ack_mode == AckMode::Automatic {
                        self.handle.taken.advance(cursor.position);
                    }
                }
                Place::Reset(head) => {
                    self.cursor = Some(head);
                    self.handle.taken.reset(head.position);
                }
            }
        }
    }
}

impl Deref for Session {
    type Target = SessionHandle;

    fn deref(&self) -> &SessionHandle {
        &self.handle
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn place(update: &Update) -> Option<Place> {
    match update {
        Update::Reset { head } => Some(Place::Reset(*head)),
        // Where the session starts when nothing was kept.
        Update::Connected(opened) if opened.outcome() == v1::ResumeOutcome::Fresh => {
            opened.head.map(Place::At)
        }
        update => update.cursor().map(Place::At),
    }
}

/// Later places cover earlier ones, but for resets.
fn keep(handed: &mut Vec<Place>, place: Place) {
    match (handed.last_mut(), place) {
        (Some(Place::At(last)), Place::At(cursor)) => {
            if cursor.position >= last.position {
                *last = cursor;
            }
        }
        (_, place) => handed.push(place),
    }
}
