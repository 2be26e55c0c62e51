//! What follows a committed row: cells and blanked bodies, and doing both again at a take-over.
//!
//! Invariant: a body that was blanked is in no cell of its log's rows any more, the cells that ride
//! in rows included; nothing else of a row changes but those.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Blank, Cell, Commit};

use super::owners::Owner;
use super::record::Record;
use super::schema::bucket;
use super::session::Failed;
use super::store::Inner;
use super::tail::RowError;
use crate::cell::{self, CellKey};
use crate::data_loss::TOLD;
use crate::event;

/// A blank was not done.
#[derive(Debug, thiserror::Error)]
pub enum BlankError {
    /// The shard is another's.
    #[error(transparent)]
    NotOwner(#[from] super::owners::NotOwner),
    /// A row was not read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A row was not written.
    #[error(transparent)]
    Failed(#[from] Failed),
}

impl From<BlankError> for crate::refusal::Refusal {
    fn from(error: BlankError) -> Self {
        match error {
            BlankError::NotOwner(error) => error.into(),
            _ => {
                if let BlankError::Row(RowError::Damaged(what)) = &error {
                    TOLD.to_committer(what);
                }
                Self {
                    status: heddle_proto::internal::CommitStatus::Unknown,
                    message: error.to_string(),
                }
            }
        }
    }
}

impl Inner {
    /// Writes or deletes a cell.
    pub async fn write_cell(&self, cell: &Cell, stamp: i64) -> Result<(), Failed> {
        let table = cell.table as u8;
        let Some(statements) = self.db.statements.cells(table) else {
            return Ok(());
        };
        let (partition, clustering) = (&cell.partition[..], &cell.clustering[..]);
        if cell.delete {
            let values = [stamp.into(), partition.into(), clustering.into()];
            return self.db.write(&statements.delete, &values).await;
        }
        let key = CellKey {
            table,
            partition,
            clustering,
        };
        let mut buffer =
            bytes::BytesMut::with_capacity(key.encoded_len() + cell::value_len(&cell.value));
        key.encode_into(&mut buffer);
        let key_len = buffer.len();
        cell::encode_value(&mut buffer, 0, &cell.value);
        let value = &buffer[key_len..];
        let values = [
            partition.into(),
            clustering.into(),
            value.into(),
            stamp.into(),
        ];
        self.db.write(&statements.write, &values).await
    }

    /// A committed head that a take-over may start from.
    pub async fn write_anchor(
        &self,
        log_id: &LogId,
        committed_head: u64,
        stamp: i64,
    ) -> Result<(), Failed> {
        let id = &log_id.as_bytes()[..];
        let values = [id.into(), (committed_head as i64).into(), stamp.into()];
        let statement = &self.db.statements.anchor_write;
        self.db.write(statement, &values).await
    }

    /// Blanks bodies in committed rows.
    pub async fn blank_all(&self, owner: Owner, blanks: &[Blank]) -> Result<(), BlankError> {
        let mut by_log: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
        for blank in blanks {
            by_log.entry(&blank.log_id).or_default().push(blank.seq);
        }
        let logs = by_log.into_iter().filter_map(|(id, mut seqs)| {
            seqs.sort_unstable();
            seqs.dedup();
            LogId::from_wire(id).map(|log_id| self.blank_log(owner, log_id, seqs))
        });
        try_join_all(logs).await.map(drop)
    }

    async fn blank_log(
        &self,
        owner: Owner,
        log_id: LogId,
        seqs: Vec<u64>,
    ) -> Result<(), BlankError> {
        let mut left = &seqs[..];
        while let Some(&seq) = left.first() {
            let found = self.row_at_or_below(&log_id, seq).await?;
            let found = found.filter(|record| record.row.index(seq).is_some());
            let Some(record) = found else {
                tracing::warn!(%log_id, seq, "nothing to blank: the event is not here");
                left = &left[1..];
                continue;
            };
            let last_seq = record.row.last_seq();
            let of_row = left.iter().take_while(|seq| **seq <= last_seq).count();
            if let Some(blanked) = blanked(record, &left[..of_row]) {
                let stamp = self.owners.stamp(owner)?;
                self.write_record(&log_id, &blanked, stamp).await?;
            }
            left = &left[of_row..];
        }
        Ok(())
    }

    /// The row with the greatest first seq that is not above `seq`.
    pub async fn row_at_or_below(
        &self,
        log_id: &LogId,
        seq: u64,
    ) -> Result<Option<Record>, RowError> {
        let (seq_max, of_seq) = (i64::try_from(seq).unwrap_or(i64::MAX), bucket(seq));
        // A row may reach from its bucket into the next one.
        for bucket in [of_seq, of_seq - 1] {
            if bucket < 0 {
                break;
            }
            let mut rows = self.rows_down(log_id, bucket, seq_max, 1).await?;
            if let Some(record) = rows.pop() {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Finishes what the commit of a row may have left undone. Its cells keep their timestamp, so
    /// that whatever was written to them since stays.
    pub async fn redo(&self, owner: Owner, last: &Record) -> Result<(), BlankError> {
        let Commit { cells, blanks, .. } = &last.after;
        let cells = cells.iter().map(|cell| self.write_cell(cell, last.stamp));
        try_join_all(cells).await?;
        self.blank_all(owner, blanks).await
    }
}

/// The record without some bodies; `None` if none of them had one.
fn blanked(mut record: Record, seqs: &[u64]) -> Option<Record> {
    let mut changed = false;
    for &seq in seqs {
        let event = record
            .row
            .index(seq)
            .map(|index| &mut record.row.events[index]);
        let Some(event) = event else { continue };
        match event::blanked(event) {
            Ok(Some(blanked)) => {
                *event = blanked;
                changed = true;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(seq, %error, "cannot be blanked"),
        }
    }
    // What followed the row is done, or its log would not have gone on; a body may be among it.
    record.after = Commit::default();
    changed.then_some(record)
}
