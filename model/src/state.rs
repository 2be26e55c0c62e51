//! What there is: three replicas, every row ever sent, the epoch, three owners.
//!
//! A row that was sent may reach any replica at any later time, or never. That is a delayed, lost
//! or reordered write, a hint, and read repair of a single row: whatever a repair could copy was
//! sent once. Invariant: an epoch writes a key at most once, so (key, epoch) names a row, and a
//! replica's cell is the epoch of the row that it holds.

/// Replicas of the one log.
pub const REPLICAS: usize = 3;
/// Owners; owner `n` is the one that raised the epoch to `n + 1`.
pub const OWNERS: usize = 3;
/// seqs at most; a row's key is the seq of its first event.
pub const SEQS: usize = 3;
/// Events that clients send, and send again to any owner that has not got them.
pub type Event = u8;
/// An epoch; 0: none.
pub type Epoch = u8;
/// Events by seq; 0: none.
pub type Log = [Event; SEQS];

/// A batch: one cell in Cassandra.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Row {
    /// Its events; the second may be 0.
    pub events: [Event; 2],
    /// The committed head that it names.
    pub committed_head: u8,
}

impl Row {
    /// Events in it; 0: it was not sent.
    pub fn len(&self) -> usize {
        self.events.iter().filter(|event| **event != 0).count()
    }

    /// Nobody sent it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What one replica holds, by the epochs of what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    /// Of each key.
    pub rows: [Epoch; SEQS],
    /// Of the anchor.
    pub anchor: Epoch,
}

/// A committed head that never expires, with stubs of what was sent up to there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Anchor {
    /// 0: none.
    pub head: u8,
    /// (id, seq) of events up to the head, kept for deduplication.
    pub stubs: Log,
}

/// Where an owner is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not started.
    #[default]
    Idle,
    /// Has raised the epoch (or, planted, has not yet); reads the anchor next.
    Raised,
    /// Reads the tail, page by page from the highest key: this many keys are left.
    Reading(u8),
    /// Has read the tail before the raise (planted).
    ReadUnraised,
    /// Has sent the uncertain end of its chain again; not serving yet.
    Rewriting,
    /// Serves; may have a batch in flight.
    Serving,
    /// Has seen another epoch.
    Gone,
}

/// An owner's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Where it is.
    pub phase: Phase,
    /// The epoch of the anchor that it read.
    pub anchor: Epoch,
    /// The epochs of the rows that it read.
    pub seen: [Epoch; SEQS],
    /// Its log, what is in flight included.
    pub log: Log,
    /// Up to where it is committed.
    pub head: u8,
    /// Keys of the rows in flight, in their order; 0: none.
    pub in_flight: [u8; 2],
    /// Whether it has written its anchor.
    pub anchored: bool,
    /// What it knew under the epoch before, what was in flight included.
    pub kept: Option<Log>,
    /// What was in flight then and is in no row: it is sent first.
    pub again: [Event; 2],
}

/// The whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The register that conditional writes raise.
    pub epoch: Epoch,
    /// By key and epoch - 1.
    pub sent: [[Row; OWNERS]; SEQS],
    /// By epoch - 1.
    pub anchors: [Anchor; OWNERS],
    /// In ascending order: nothing tells replicas apart.
    pub replicas: [Replica; REPLICAS],
    /// By epoch - 1.
    pub owners: [Owner; OWNERS],
    /// What clients have an OK for, by seq.
    pub acknowledged: Log,
    /// An OK named a seq that another event had.
    pub seq_reused: bool,
    /// An owner that had the epoch found less than was committed.
    pub data_lost: bool,
    /// Rows up to here may expire.
    pub expirable: u8,
}

impl State {
    /// The row of a key written by an epoch.
    pub fn row(&self, key: u8, epoch: Epoch) -> Row {
        match epoch {
            0 => Row::default(),
            _ => self.sent[usize::from(key) - 1][usize::from(epoch) - 1],
        }
    }

    /// The anchor written by an epoch.
    pub fn anchor(&self, epoch: Epoch) -> Anchor {
        match epoch {
            0 => Anchor::default(),
            _ => self.anchors[usize::from(epoch) - 1],
        }
    }

    /// Whether this many replicas hold the key in this epoch's version or a newer one: they have
    /// taken the write, or would have answered it without taking it.
    pub fn is_stored(&self, key: u8, epoch: Epoch, replicas: usize) -> bool {
        let cell = |replica: &&Replica| replica.rows[usize::from(key) - 1] >= epoch;
        self.replicas.iter().filter(cell).count() >= replicas
    }

    /// The same for an anchor.
    pub fn is_anchored(&self, epoch: Epoch, replicas: usize) -> bool {
        let holds = |replica: &&Replica| replica.anchor >= epoch;
        self.replicas.iter().filter(holds).count() >= replicas
    }

    /// The event that was never sent before, with the least name: names stand for nothing.
    pub fn fresh(&self) -> Event {
        let rows = self.sent.iter().flatten();
        rows.flat_map(|row| row.events).max().unwrap_or(0) + 1
    }
}
