//! The event store's trait: what every backend must do, and nothing that can be made of it.
//!
//! history-svc owns it; `embedded` implements it; `query` composes mailbox, time and overlay reads
//! from it, and `service` puts it on the wire. `contract` says the law in tests, for every
//! backend.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Commit, CommitOutcome, CommitStatus};

use crate::row::Row;

/// A store of logs and cells, in whole batches.
///
/// The law:
/// - **Atomic.** All of a commit is stored, or nothing of it. Where the engine has no transactions
///   (docs/adr/0006) that holds for each log with its projections, once it is taken over.
/// - **Durable, then verified, then answered.** `COMMITTED` is answered only when the commit is on
///   stable storage, and only if a reading of the shard's epoch that began after that still found
///   the commit's own. A commit without rows and cells verifies the epoch.
/// - **Fenced.** A commit of another epoch than the shard's is `FENCED`.
/// - **Nothing is overwritten.** A row starts where its log ends. The only row that may be written
///   twice is the last one, with the same events: an owner finishes what another began.
/// - **In order.** Commits take effect in the order of the calls to [`EventStore::commit`], whether
///   or not the returned futures are polled; those of one call in the order of the vector.
/// - **Read what was committed.** A read begun after an answer sees what was answered; rows and
///   cells of one commit appear at once.
/// - **Notes may expire.** A delete of a cell in `NOTES` says that it no longer counts; a store may
///   keep it until it expires.
/// - **Never a wrong byte.** A record that is not what was written is an error, not an answer.
pub trait EventStore: Send + Sync + 'static {
    /// Raises the epoch of shards for a new owner; answers the epochs, durable, in their order.
    fn take_shards(&self, shards: Vec<u32>) -> BoxFuture<'static, Result<Vec<u64>, StoreError>>;

    /// Commits; answers one outcome for each commit, in their order.
    fn commit(&self, commits: Vec<Commit>) -> BoxFuture<'static, Vec<CommitOutcome>>;

    /// Reads; answers one result for each read, in their order. Reads of one call see one state,
    /// if the engine has such a thing; take-overs among them come first.
    fn read(&self, reads: Vec<StoreRead>) -> BoxFuture<'static, Vec<ReadResult>>;

    /// Whether reads of one call cost less than as many calls. Where they do not, nobody who
    /// reads waits for what others read.
    fn reads_together(&self) -> bool {
        true
    }
}

/// What came of one read.
pub type ReadResult = Result<StoreAnswer, ReadError>;

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreRead {
    /// The newest rows of a log.
    Tail(TailRead),
    /// Rows of a log in a range of seqs.
    Rows(RowsRead),
    /// Cells of one partition.
    Cells(CellsRead),
}

/// A shard under one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The shard.
    pub shard: u32,
    /// Its epoch.
    pub epoch: u64,
}

/// The newest rows of a log: `from_seq` and all above it (`more`: and more above what is answered),
/// or the newest `events_min` events (`more` is never set: nothing lies above). The last row of a
/// log is always among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRead {
    /// The log.
    pub log_id: LogId,
    /// Rows from the one that holds this seq; 0: by `events_min`.
    pub from_seq: u64,
    /// At least so many events, and always the last row.
    pub events_min: usize,
    /// Who takes the log over: where a backend may hold rows whose commit was cut short, the log's
    /// end is made certain before it is answered. None: the caller only looks.
    pub owner: Option<Owner>,
}

/// The rows that hold the events from one seq to another, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsRead {
    /// The log.
    pub log_id: LogId,
    /// First seq, inclusive.
    pub from_seq: u64,
    /// Last seq, inclusive.
    pub to_seq: u64,
    /// Stops after the row that brings so many events of the range.
    pub events_max: usize,
    /// Stops after the row that brings so many bytes.
    pub bytes_max: usize,
    /// Newest row first.
    pub descending: bool,
}

/// Cells of one partition whose clustering key starts with `prefix` and lies above `after` and
/// below `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellsRead {
    /// The table's number in the protocol.
    pub table: u8,
    /// The partition.
    pub partition: Bytes,
    /// Only clustering keys that start with this.
    pub prefix: Bytes,
    /// Exclusive; empty: from the first.
    pub after: Bytes,
    /// Exclusive; empty: to the last.
    pub until: Bytes,
    /// At most so many.
    pub rows_max: usize,
}

/// The answer to one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    /// Of a tail or a range of a log.
    Rows {
        /// The rows, in the order asked for; a tail's oldest first.
        rows: Vec<Row>,
        /// A limit ended the answer before what was asked for did.
        more: bool,
    },
    /// Of a partition.
    Cells {
        /// Clustering keys and values, in order.
        cells: Vec<(Bytes, Bytes)>,
        /// A limit ended the answer before the partition did.
        more: bool,
    },
}

/// A read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The question is wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// What must be there is missing or damaged.
    #[error("data loss: {0}")]
    DataLoss(String),
    /// Too much at once.
    #[error("{0}; try again after a moment")]
    Exhausted(String),
    /// The shard that takes the log over is not the reader's, or not here: it has to be taken
    /// again.
    #[error("{0}")]
    Fenced(String),
    /// The store cannot be read now.
    #[error("the store cannot be read: {0}")]
    Unavailable(String),
}

/// The store cannot do it now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written.
    #[error("refused, nothing was written: {0}")]
    Refused(String),
    /// It may or may not have been written.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// An outcome of one commit.
pub fn outcome(id: u64, status: CommitStatus, message: impl Into<String>) -> CommitOutcome {
    CommitOutcome {
        id,
        status: status.into(),
        message: message.into(),
    }
}
