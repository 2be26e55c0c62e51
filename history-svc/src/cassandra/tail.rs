//! Taking a log over: what is its end, and making sure of it (DESIGN section 5).
//!
//! Starts at the anchor, a committed head as a lower bound; reads the newest rows; `chain` decides
//! which of them are the log. What nobody names as committed is written again under the new epoch,
//! and what its commit did to other rows is done again, before the log is served.
//!
//! Invariant: a head in `heads` is stored at LOCAL_QUORUM under an epoch that was verified after
//! that. The timestamp is drawn before the reading, so that a body that is blanked meanwhile stays
//! blank.

use bytes::Bytes;
use heddle_proto::ids::LogId;

use super::chain::{self, Seen};
use super::heads::Head;
use super::owners::{NotOwner, Owner};
use super::record::{self, Record};
use super::schema::bucket;
use super::session::Failed;
use super::store::Inner;
use crate::row::{self, Damage};
use crate::store::ReadError;

/// Rows that a take-over reads at first; the rest of its bucket if they do not reach far enough.
const TAIL_ROWS: i32 = 4;
const BUCKET_ROWS_MAX: i32 = i32::MAX;

/// A log could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The shard is another's.
    #[error(transparent)]
    NotOwner(#[from] NotOwner),
    /// A statement was not done.
    #[error("log {log_id} cannot be taken over: {failed}")]
    Failed {
        /// The log.
        log_id: LogId,
        /// Why.
        failed: String,
    },
    /// Something is missing or damaged; the log is not served.
    #[error("log {log_id}: {what}")]
    Lost {
        /// The log.
        log_id: LogId,
        /// What.
        what: String,
    },
}

impl From<TakeOverError> for ReadError {
    fn from(error: TakeOverError) -> Self {
        match error {
            TakeOverError::Lost { .. } => Self::DataLoss(error.to_string()),
            TakeOverError::NotOwner(_) => Self::Fenced(error.to_string()),
            TakeOverError::Failed { .. } => Self::Unavailable(error.to_string()),
        }
    }
}

impl Inner {
    /// Where the log ends under this owner; taken over if it was not yet.
    pub async fn head(&self, owner: Owner, log_id: LogId) -> Result<Head, TakeOverError> {
        match self.heads.of(owner, &log_id) {
            Some(head) => Ok(head),
            None => self.take_over(owner, log_id).await,
        }
    }

    async fn take_over(&self, owner: Owner, log_id: LogId) -> Result<Head, TakeOverError> {
        let stamp = self.owners.stamp(owner)?;
        let failed = |failed: String| TakeOverError::Failed { log_id, failed };
        let anchor = self.anchor(&log_id).await;
        let anchor = anchor.map_err(|error| failed(error.to_string()))?;
        let rows = self.tail_rows(&log_id, anchor).await?;
        let seen: Vec<Seen> = rows.iter().map(seen).collect();
        let chain = chain::judge(anchor, &seen).map_err(|lost| TakeOverError::Lost {
            log_id,
            what: lost.to_string(),
        })?;
        if chain.len < rows.len() {
            let remains = rows.len() - chain.len;
            tracing::warn!(%log_id, remains, head = chain.head, "remains of a former owner");
        }
        let uncertain = chain.uncertain..chain.len;
        let rewritten = !uncertain.is_empty();
        for record in &rows[uncertain] {
            let record = Record {
                ballot: owner.epoch,
                ..record.clone()
            };
            let written = self.write_record(&log_id, &record, stamp).await;
            written.map_err(|error| failed(error.to_string()))?;
        }
        let last = chain.len.checked_sub(1).map(|index| &rows[index]);
        if rewritten {
            self.verify(owner).await.map_err(|error| match error {
                VerifyError::NotOwner(error) => error.into(),
                VerifyError::Failed(error) => failed(error),
            })?;
        }
        if let Some(last) = last {
            let redone = self.redo(owner, last).await;
            redone.map_err(|error| failed(error.to_string()))?;
        }
        let head = Head {
            owner,
            last_seq: chain.head,
            last_first_seq: last.map_or(0, |record| record.row.first_seq),
        };
        self.owners.check(owner)?;
        Ok(self.heads.found(log_id, head))
    }

    /// A committed head of the log that never expires; 0: none was written.
    pub async fn anchor(&self, log_id: &LogId) -> Result<u64, Failed> {
        let (statement, id) = (&self.db.statements.anchor_read, &log_id.as_bytes()[..]);
        let rows: Vec<(Option<i64>,)> = self.db.rows(statement, &[id.into()]).await?;
        let found = rows.into_iter().next().and_then(|(head,)| head);
        Ok(found.map_or(0, |head| head as u64))
    }

    /// The newest rows, ascending: enough to tell which of them are committed.
    async fn tail_rows(&self, log_id: &LogId, anchor: u64) -> Result<Vec<Record>, TakeOverError> {
        let newest = bucket(anchor + 1);
        let mut rows = self.rows_below(log_id, newest, TAIL_ROWS).await?;
        let reaches = |rows: &[Record]| {
            let committed = rows.iter().map(|record| record.row.committed_head).max();
            let first_seq = rows.last().map_or(0, |record| record.row.first_seq);
            first_seq <= committed.unwrap_or(0).max(anchor) + 1 || first_seq == 1
        };
        if !reaches(&rows) {
            rows = self.rows_below(log_id, newest, BUCKET_ROWS_MAX).await?;
        }
        if rows.is_empty() && anchor > 0 {
            let last = self.row_at_or_below(log_id, anchor).await;
            rows.extend(last.map_err(|error| unreadable(log_id, error))?);
        }
        rows.reverse();
        Ok(rows)
    }

    async fn rows_below(
        &self,
        log_id: &LogId,
        bucket: i64,
        rows_max: i32,
    ) -> Result<Vec<Record>, TakeOverError> {
        let rows = self.rows_down(log_id, bucket, i64::MAX, rows_max).await;
        rows.map_err(|error| unreadable(log_id, error))
    }

    /// Rows of one bucket from `first_seq_max` down.
    pub async fn rows_down(
        &self,
        log_id: &LogId,
        bucket: i64,
        first_seq_max: i64,
        rows_max: i32,
    ) -> Result<Vec<Record>, RowError> {
        let id = &log_id.as_bytes()[..];
        let values = [
            id.into(),
            bucket.into(),
            first_seq_max.into(),
            rows_max.into(),
        ];
        let rows = self.db.rows(&self.db.statements.rows_down, &values).await?;
        decode_all(log_id, rows)
    }

    /// Writes a row as it is given.
    pub async fn write_record(
        &self,
        log_id: &LogId,
        record: &Record,
        stamp: i64,
    ) -> Result<(), Failed> {
        let first_seq = record.row.first_seq;
        let value = record::encode(&row::key(log_id, first_seq), record);
        let id = &log_id.as_bytes()[..];
        let values = [
            id.into(),
            bucket(first_seq).into(),
            (first_seq as i64).into(),
            value[..].into(),
            stamp.into(),
        ];
        self.db.write(&self.db.statements.row_write, &values).await
    }

    /// Whether the owner still is, by a read of the epoch that begins now.
    pub async fn verify(&self, owner: Owner) -> Result<(), VerifyError> {
        self.owners.check(owner)?;
        let current = self.epochs.read(owner.shard).await;
        let current = current.map_err(VerifyError::Failed)?;
        if current != owner.epoch {
            self.owners.give_up(owner);
            return Err(NotOwner { owner, current }.into());
        }
        Ok(())
    }
}

/// An epoch was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is another's.
    #[error(transparent)]
    NotOwner(#[from] NotOwner),
    /// It cannot be read.
    #[error("the epoch cannot be read: {0}")]
    Failed(String),
}

/// Rows were not read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The store did not answer.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// What it answered is not what was written.
    #[error("{0}")]
    Damaged(String),
}

/// Rows of a log as they came, decoded.
pub fn decode_all(
    log_id: &LogId,
    rows: Vec<(i64, Option<Bytes>)>,
) -> Result<Vec<Record>, RowError> {
    let decode = |(first_seq, value): (i64, Option<Bytes>)| {
        let key = row::key(log_id, first_seq as u64);
        let value = value.ok_or(Damage::Content("value"));
        let decoded = value.and_then(|value| record::decode(&key, &value));
        decoded.map_err(|damage| {
            RowError::Damaged(format!("row {first_seq} of log {log_id}: {damage}"))
        })
    };
    rows.into_iter().map(decode).collect()
}

fn unreadable(log_id: &LogId, error: RowError) -> TakeOverError {
    let log_id = *log_id;
    match error {
        RowError::Failed(error) => TakeOverError::Failed {
            log_id,
            failed: error.to_string(),
        },
        RowError::Damaged(what) => TakeOverError::Lost { log_id, what },
    }
}

fn seen(record: &Record) -> Seen {
    Seen {
        first_seq: record.row.first_seq,
        last_seq: record.row.last_seq(),
        ballot: record.ballot,
        committed_head: record.row.committed_head,
    }
}
