//! One device: a session of its own that sends, notes what it gets, goes offline and comes back.
//!
//! The director orders, the device does and notes in its [`Notes`], the judge compares.
//!
//! Invariant: a line is sent under one id until it is answered, over however many sessions.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use heddle_proto::v1::{self, event, state_change};
use heddle_sdk::{Client, ConversationId, MessageId, Outgoing, SendOutcome, Session, Update};
use tokio::sync::{mpsc, watch};
use tonic::Code;

use super::ledger::{Ledger, ROOMS};
use super::line::fingerprint;
use crate::target::Target;

/// Updates taken at a time.
const BATCH_MAX: usize = 256;
/// Orders that wait, at most.
pub const ORDERS_MAX: usize = 64;
/// Sends of one device that wait for an answer, at most: more than the director lets fly.
const OUTBOX_MAX: usize = 4096;
/// One delivery in so many is timed.
const SAMPLE: u64 = 16;

/// What a device is told to do.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all orders are to say something"
)]
pub enum Order {
    /// Say something in a room.
    Say(usize, v1::Message),
    /// Close the session.
    Offline,
    /// Come back.
    Online,
}

/// What a device has seen.
#[derive(Debug, Default)]
pub struct Notes {
    /// By room: runs of seqs in the order in which they came.
    pub runs: [Vec<(u64, u64)>; ROOMS],
    /// By room and user: delivered, read.
    pub marks: HashMap<(usize, String), (u64, u64)>,
    /// By room: the greatest seq that it said it has read.
    pub read: [u64; ROOMS],
    /// Times that it came back after having been offline on purpose, as a member.
    pub resumes: u32,
}

impl Notes {
    fn see(&mut self, room: usize, seq: u64) {
        match self.runs[room].last_mut() {
            Some((_, end)) if *end + 1 == seq => *end = seq,
            _ => self.runs[room].push((seq, seq)),
        }
    }
}

/// A device's notes, also read by the judge.
pub type SharedNotes = Arc<Mutex<Notes>>;

/// The notes, for a moment.
pub fn notes(shared: &SharedNotes) -> MutexGuard<'_, Notes> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Pending {
    outgoing: Outgoing,
    since: Instant,
}

/// A device at work.
pub struct Device {
    /// In examples.
    pub name: String,
    /// Index of its user.
    pub user: usize,
    /// Its client.
    pub client: Client,
    /// What all share.
    pub ledger: Arc<Ledger>,
    /// What it has seen.
    pub notes: SharedNotes,
    /// The rooms.
    pub rooms: [ConversationId; ROOMS],
    /// How many of its sends are answered; told to its user.
    pub settled: watch::Sender<u64>,
    /// Rooms in which it reads, now and then: those where marks are told.
    pub reads: [bool; ROOMS],
    session: Option<Session>,
    cursor: Option<v1::Cursor>,
    pending: VecDeque<Pending>,
    left_as_member: bool,
    caught_up: bool,
    count: u64,
    /// Why the session is over, where it is.
    closed: Option<heddle_sdk::Error>,
}

impl Device {
    /// Opens its session; ready when that stands.
    pub async fn open(
        name: String,
        user: usize,
        client: Client,
        ledger: Arc<Ledger>,
        rooms: [ConversationId; ROOMS],
    ) -> Result<Device, heddle_sdk::Error> {
        let mut device = Device {
            name,
            user,
            client,
            ledger,
            notes: SharedNotes::default(),
            rooms,
            settled: watch::Sender::new(0),
            reads: [false; ROOMS],
            session: None,
            cursor: None,
            pending: VecDeque::new(),
            left_as_member: false,
            caught_up: true,
            count: 0,
            closed: None,
        };
        device.online().await?;
        if let Some(session) = &device.session {
            session.connected().await?;
        }
        Ok(device)
    }

    /// Works until there are no more orders.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let order = match &mut self.session {
                None => orders.recv().await,
                Some(session) => tokio::select! {
                    order = orders.recv() => order,
                    taken = session.next_batch(&mut batch, BATCH_MAX) => {
                        self.take(&mut batch, taken).await;
                        continue;
                    }
                },
            };
            match order {
                Some(Order::Say(room, message)) => self.say(room, message),
                Some(Order::Offline) => self.offline(),
                Some(Order::Online) => {
                    if let Err(error) = self.online().await {
                        self.ledger
                            .problem("session", || format!("{}: {error}", self.name));
                    }
                }
                None => return,
            }
        }
    }

    fn say(&mut self, room: usize, message: v1::Message) {
        let outgoing = Outgoing {
            conversation_id: self.rooms[room],
            client_message_id: self.client.mint(),
            message,
        };
        let since = Instant::now();
        self.ledger.sent(outgoing.client_message_id);
        self.pending.push_back(Pending {
            outgoing: outgoing.clone(),
            since,
        });
        self.transmit(outgoing);
        self.tell_flying();
    }

    fn transmit(&self, outgoing: Outgoing) {
        if let Some(session) = &self.session
            && let Err(error) = session.send_nowait(outgoing)
        {
            self.ledger
                .problem("session", || format!("{}: {error}", self.name));
        }
    }

    fn offline(&mut self) {
        if self.session.take().is_some() {
            self.left_as_member = self.ledger.is_member(self.user);
            self.tell_flying();
        }
    }

    async fn online(&mut self) -> Result<(), heddle_sdk::Error> {
        if self.session.is_some() {
            return Ok(());
        }
        let session = self
            .client
            .session()
            .resume(self.cursor)
            .outbox_len_max(OUTBOX_MAX)
            .backoff(Target::backoff())
            .open()
            .await?;
        self.caught_up = self.cursor.is_none();
        self.session = Some(session);
        for pending in &self.pending {
            self.transmit(pending.outgoing.clone());
        }
        self.tell_flying();
        Ok(())
    }

    fn tell_flying(&self) {
        let flying = if self.session.is_some() {
            self.pending.len()
        } else {
            0
        };
        // Only a user's first device ever sends.
        if flying > 0 || self.count_settled() > 0 {
            self.ledger.flying(self.user, flying);
        }
    }

    fn count_settled(&self) -> u64 {
        *self.settled.borrow()
    }

    async fn take(&mut self, batch: &mut Vec<Update>, taken: usize) {
        if taken == 0 {
            self.session = None;
            let why = self.closed.take();
            let why = why.map_or_else(|| "unknown".to_owned(), |error| error.to_string());
            self.ledger.problem("session", || {
                format!("{}: the session ended: {why}", self.name)
            });
            return;
        }
        let mut reads = [0; ROOMS];
        for update in batch.drain(..) {
            if let Some(cursor) = update.cursor() {
                self.cursor = Some(cursor);
            }
            match update {
                Update::Event(delivery) => self.event(*delivery, &mut reads),
                Update::State(delivery) => self.state(*delivery),
                Update::Sent(outcome) => self.sent(*outcome),
                Update::Connected(opened) => self.connected(&opened),
                Update::Disconnected { .. } => self.caught_up = false,
                Update::CaughtUp(_) => self.caught_up = true,
                Update::Reset { head } => {
                    self.ledger
                        .problem("reset", || format!("{}: to {head:?}", self.name));
                }
                Update::Closed(error) => self.closed = Some(error),
                _ => {}
            }
        }
        self.read(reads).await;
    }

    fn connected(&mut self, opened: &v1::SessionOpened) {
        if opened.outcome() == v1::ResumeOutcome::Fresh {
            self.cursor = opened.head;
        } else if std::mem::take(&mut self.left_as_member) {
            notes(&self.notes).resumes += 1;
        }
    }

    fn event(&mut self, delivery: v1::EventDelivery, reads: &mut [u64; ROOMS]) {
        let event = delivery.event.unwrap_or_default();
        let Some(room) = self.room(&event.conversation_id) else {
            self.ledger.problem("unexpected", || {
                format!("{}: another conversation", self.name)
            });
            return;
        };
        self.ledger.deliveries.fetch_add(1, Ordering::Relaxed);
        self.count += 1;
        if !self.ledger.see(room, event.seq, fingerprint(&event)) {
            let seq = event.seq;
            self.ledger
                .problem("order_divergence", || format!("{}: seq {seq}", self.name));
        }
        notes(&self.notes).see(room, event.seq);
        if !matches!(event.kind, Some(event::Kind::Message(_))) {
            return;
        }
        if self.caught_up && self.count.is_multiple_of(SAMPLE) {
            self.ledger.delivered(&event.client_message_id);
        }
        if self.reads[room] && self.count.is_multiple_of(3) {
            reads[room] = event.seq;
        }
    }

    async fn read(&mut self, reads: [u64; ROOMS]) {
        let Some(session) = &self.session else {
            return;
        };
        if self.ledger.is_over.load(Ordering::Relaxed) {
            return;
        }
        for (room, seq) in reads.into_iter().enumerate().filter(|&(_, seq)| seq > 0) {
            // A mark that the session can't take any more is not asked of anybody.
            if session.mark_read(self.rooms[room], seq).await.is_ok() {
                let read = &mut notes(&self.notes).read[room];
                *read = seq.max(*read);
            }
        }
    }

    fn state(&mut self, delivery: v1::StateDelivery) {
        let change = delivery.state.and_then(|state| state.kind);
        let Some(state_change::Kind::Mark(mark)) = change else {
            return;
        };
        let Some(room) = self.room(&mark.conversation_id) else {
            return;
        };
        let mut notes = notes(&self.notes);
        let known = notes.marks.entry((room, mark.user_id)).or_default();
        if mark.delivered_seq < known.0 || mark.read_seq < known.1 {
            let (before, now) = (*known, (mark.delivered_seq, mark.read_seq));
            self.ledger.problem("cursor_back", || {
                format!("{}: {before:?} to {now:?}", self.name)
            });
        }
        *known = (mark.delivered_seq, mark.read_seq);
    }

    fn sent(&mut self, outcome: SendOutcome) {
        let id: MessageId = outcome.client_message_id;
        let place = self
            .pending
            .iter()
            .position(|p| p.outgoing.client_message_id == id);
        if is_over(&outcome.result) {
            // Not refused: the session ended, and the next one sends it again.
            return;
        }
        let Some(pending) = place.and_then(|place| self.pending.remove(place)) else {
            self.ledger.problem("unexpected", || {
                format!("{}: an answer to no send", self.name)
            });
            return;
        };
        if let Err(error) = outcome.result {
            self.ledger
                .problem("refused", || format!("{}: {error}", self.name));
        }
        self.ledger.stored(pending.since);
        self.settled.send_modify(|settled| *settled += 1);
        self.tell_flying();
    }

    fn room(&self, id: &[u8]) -> Option<usize> {
        self.rooms.iter().position(|room| room.as_bytes() == id)
    }
}

/// Whether a send failed only because its session was over.
pub fn is_over(result: &Result<heddle_sdk::Sent, heddle_sdk::Error>) -> bool {
    let over = [Code::Unavailable, Code::Cancelled];
    result
        .as_ref()
        .is_err_and(|error| over.contains(&error.code))
}
