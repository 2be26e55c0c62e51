//! A batch: what a shard writes in its next commit, and what follows once that is stored.
//!
//! Conversations and mailboxes put events, cells and effects in; [`Batch::commit`] makes the wire's
//! commit of it; `super::effects` carries the effects out, or takes them back.
//!
//! Invariant: of each log a batch holds one run of consecutive events; nothing in it has been told
//! to anybody.

use super::{edges::Edge, input::Reply, ownership::Ownership};
use crate::mailbox::Entry;
use bytes::Bytes;
use heddle_kit::FastMap;
use heddle_proto::{
    ids::LogId,
    internal::{
        AttachCommand, Blank, Cell, Commit, EphemeralCommand, FanOut, FanOutEvent, FanOutState,
        LogBatch, PointerKind, PushIntent, command_result,
    },
    v1::Cursor,
};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Events of one log in one batch.
pub const BATCH_EVENTS_MAX: usize = 512;
/// Bytes of events of one log in one batch.
pub const BATCH_LOG_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of events of all logs and of cells in one batch.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Commands and fan-outs that one batch takes in.
pub const BATCH_ITEMS_MAX: usize = 16 * 1024;

/// An answer that waits for the commit.
pub struct Answer {
    /// The gateway.
    pub edge: Arc<Edge>,
    /// The command.
    pub id: u64,
    /// What it is told.
    pub outcome: Outcome,
}

/// What a command is told once its batch is committed.
pub enum Outcome {
    /// This.
    Ready(command_result::Outcome),
    /// The mailbox's committed head, for this user and this token.
    Head(Arc<str>, Option<Cursor>),
    /// The same, and the session is attached.
    Attach(Arc<str>, Box<(String, AttachCommand)>),
}

/// What one conversation has to tell mailboxes.
#[derive(Default)]
pub struct Told {
    /// Events, by seq.
    pub events: Vec<FanOutEvent>,
    /// Changes of state.
    pub states: Vec<FanOutState>,
    /// The range of work that this is, see [`super::open::OpenWork`].
    pub range: u64,
}

/// An entry of a mailbox that sessions hear of once it is committed.
pub struct Due {
    /// Whose mailbox.
    pub user: Arc<str>,
    /// The entry.
    pub entry: Entry,
    /// `heddle.v1.Event` or `heddle.v1.StateChange`.
    pub body: Bytes,
    /// The conversation of an event; empty: a change of state.
    pub conversation_id: Bytes,
    /// Kind and seq of an event.
    pub which: (PointerKind, u64),
    /// When the event was stored, in milliseconds since the Unix epoch; 0: a change of state.
    pub time_ms: u64,
    /// The trace that it is part of; empty: none.
    pub trace_parent: String,
}

/// A fan-out that arrived here, until all of its recipients are stored.
pub struct Job {
    /// What arrived.
    pub fan_out: Arc<FanOut>,
    /// Who waits for its acknowledgement.
    pub reply: Reply,
    /// Grows with each fan-out that comes to the shard.
    pub arrival: u64,
    left: AtomicU32,
    /// One of its recipients could not be served.
    pub stuck: std::sync::atomic::AtomicBool,
}

impl Job {
    /// A fan-out, none of whose recipients is stored; `arrival` is its place among others.
    pub fn new(fan_out: Arc<FanOut>, reply: Reply, arrival: u64) -> Arc<Self> {
        let left = AtomicU32::new((fan_out.recipients.len() + fan_out.states.len()) as u32);
        Arc::new(Self {
            fan_out,
            reply,
            arrival,
            left,
            stuck: false.into(),
        })
    }

    /// One recipient is stored; whether it was the last.
    pub fn done_one(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// One recipient of a job: recipients come first, then states.
pub type Piece = (Arc<Job>, u32);

/// What a shard writes next.
#[derive(Default)]
pub struct Batch {
    /// The commit's id, once it is on its way.
    pub id: u64,
    logs: Vec<LogBatch>,
    log_bytes: Vec<usize>,
    by_log: FastMap<LogId, usize>,
    cells: Vec<Cell>,
    blanks: Vec<Blank>,
    bytes: usize,
    full: bool,
    items: usize,
    /// Answers, in the order of the commands.
    pub answers: Vec<Answer>,
    /// What conversations tell.
    pub told: FastMap<LogId, Told>,
    /// Typing and signals, by conversation.
    pub ephemerals: Vec<(LogId, String, EphemeralCommand)>,
    /// Devices that were revoked.
    pub revoked: Vec<(Arc<str>, String)>,
    /// What sessions hear.
    pub due: Vec<Due>,
    /// Intents of pushes that leave once it is known what devices may show.
    pub intents: Vec<PushIntent>,
    /// Pieces of fan-outs that this batch settles.
    pub pieces: Vec<Piece>,
    /// Spans of traced events, which end with the commit.
    pub spans: Vec<tracing::Span>,
    /// When it left for the store.
    pub left: Option<std::time::Instant>,
    /// What left, and how it goes.
    pub sent: Option<Sent>,
}

/// A commit under way.
pub struct Sent {
    /// As it left.
    pub commit: Commit,
    /// On which of the streams.
    pub life: u64,
    /// Its outcome will not come, or was no promise.
    pub unconfirmed: bool,
}

impl Batch {
    /// Whether there is anything to write, to verify or to settle.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
            && self.answers.is_empty()
            && self.cells.is_empty()
            && self.pieces.is_empty()
            && self.ephemerals.is_empty()
            && self.intents.is_empty()
    }

    /// Whether it takes no more until it is sent.
    pub fn is_full(&self) -> bool {
        self.full || self.items >= BATCH_ITEMS_MAX
    }

    /// Adds the next event of a log.
    pub fn event(&mut self, log: &LogId, seq: u64, event: Bytes) {
        let at = *self.by_log.entry(*log).or_insert_with(|| {
            self.logs.push(LogBatch {
                log_id: log.to_bytes(),
                first_seq: seq,
                committed_head: seq - 1,
                events: Vec::new(),
            });
            self.log_bytes.push(0);
            self.logs.len() - 1
        });
        self.bytes += event.len();
        self.log_bytes[at] += event.len();
        self.logs[at].events.push(event);
        self.items += 1;
        self.full |= self.logs[at].events.len() >= BATCH_EVENTS_MAX
            || self.log_bytes[at] >= BATCH_LOG_BYTES_MAX
            || self.bytes >= BATCH_BYTES_MAX;
    }

    /// Adds rows of projections.
    pub fn cells(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let size = |cell: &Cell| cell.partition.len() + cell.clustering.len() + cell.value.len();
        for cell in cells {
            self.bytes += size(&cell);
            self.cells.push(cell);
        }
        self.full |= self.bytes >= BATCH_BYTES_MAX;
    }

    /// Adds an intent, to leave once this is stored.
    pub fn intent(&mut self, intent: PushIntent) {
        self.items += 1;
        self.intents.push(intent);
    }

    /// Adds bodies to blank.
    pub fn blanks(&mut self, blanks: Vec<Blank>) {
        self.blanks.extend(blanks);
    }

    /// Adds an answer.
    pub fn answer(&mut self, edge: &Arc<Edge>, id: u64, outcome: Outcome) {
        self.items += 1;
        self.answers.push(Answer {
            edge: edge.clone(),
            id,
            outcome,
        });
    }

    /// The logs that this batch extends.
    pub fn log_ids(&self) -> impl Iterator<Item = &LogId> {
        self.by_log.keys()
    }

    /// How many events it holds.
    pub fn event_count(&self) -> usize {
        self.logs.iter().map(|log| log.events.len()).sum()
    }

    /// The wire's commit of it, which leaves on streams number `life`; the effects stay, and so
    /// does a copy.
    pub(super) fn commit(
        &mut self,
        (id, shard, life): (u64, u32, u64),
        owner: &Ownership,
    ) -> Commit {
        self.id = id;
        let commit = Commit {
            id,
            shard,
            epoch: owner.epoch,
            nonce: owner.nonce,
            batches: std::mem::take(&mut self.logs),
            cells: std::mem::take(&mut self.cells),
            blanks: std::mem::take(&mut self.blanks),
        };
        self.sent = Some(Sent {
            commit: commit.clone(),
            life,
            unconfirmed: false,
        });
        commit
    }
}
