//! One commit: judged against the heads of its logs, formed into statements, carried out.
//!
//! First its rows, and the cells that belong to none of them, are written. Then the epoch is read:
//! from here on the commit stands. Then follow the cells and blanks of the logs whose rows it
//! wrote: projections, never ahead of the log that they are made of. They ride in the row too, so
//! that a take-over can finish them.
//!
//! On failure nothing is promised and the epoch is given up, so that no seq is used twice under it.
//!
//! Invariant: `COMMITTED` comes after the epoch was read, which began after all rows were stored.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::future::{TryFutureExt, try_join_all};
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Blank, Cell, Commit, CommitStatus, LogBatch, Table};

use super::heads::Head;
use super::owners::{NotOwner, Owner};
use super::record::Record;
use super::schema::bucket;
use super::session::Failed;
use super::store::Inner;
use super::tail::{RowError, TakeOverError, VerifyError};
use crate::cell::{self, CellKey};
use crate::event;
use crate::refusal::{Refusal, does_not_follow, invalid, lost, parse_log_id};
use crate::row::{ROW_BYTES_MAX, ROW_EVENTS_MAX, Row};

/// What a commit writes.
#[derive(Debug, Default)]
pub struct Formed {
    stamp: i64,
    rows: Vec<(LogId, Record)>,
    anchors: Vec<(LogId, u64)>,
    cells: Vec<Cell>,
    /// After the epoch was verified.
    after: Vec<Cell>,
    blanks: Vec<Blank>,
    heads: Vec<(LogId, Head)>,
}

/// The logs whose rows a commit writes or rewrites; malformed ones are refused later.
pub fn logs_of(commit: &Commit) -> impl Iterator<Item = LogId> + '_ {
    let batches = commit.batches.iter().map(|batch| &batch.log_id);
    let blanks = commit.blanks.iter().map(|blank| &blank.log_id);
    batches.chain(blanks).filter_map(|id| LogId::from_wire(id))
}

/// The owner that a commit names.
pub fn owner_of(commit: &Commit) -> Owner {
    Owner {
        shard: commit.shard,
        epoch: commit.epoch,
    }
}

/// Whether a commit makes sense by itself.
pub fn check(commit: &Commit) -> Result<(), Refusal> {
    let mut seen = std::collections::HashSet::new();
    for batch in &commit.batches {
        let log_id = parse_log_id(&batch.log_id)?;
        if !seen.insert(log_id) {
            return Err(invalid(format!(
                "batches.log_id: {log_id} twice in one commit; make one row of them"
            )));
        }
        check_batch(batch)?;
    }
    for blank in &commit.blanks {
        parse_log_id(&blank.log_id)?;
    }
    commit.cells.iter().try_for_each(check_cell)
}

fn check_batch(batch: &LogBatch) -> Result<(), Refusal> {
    let (count, bytes) = (batch.events.len(), event_bytes(&batch.events));
    if count == 0 || count > ROW_EVENTS_MAX || bytes > ROW_BYTES_MAX {
        return Err(invalid(format!(
            "batches.events: {count} events of {bytes} bytes; a row has 1 to {ROW_EVENTS_MAX} \
             events and at most {ROW_BYTES_MAX} bytes, split it"
        )));
    }
    let end = batch.first_seq.checked_add(count as u64 - 1);
    let end = end.filter(|&end| batch.first_seq > 0 && i64::try_from(end).is_ok());
    let not_a_seq = || {
        invalid(format!(
            "batches.first_seq: {} is not a seq",
            batch.first_seq
        ))
    };
    end.map(drop).ok_or_else(not_a_seq)
}

fn check_cell(cell: &Cell) -> Result<(), Refusal> {
    let known = Table::try_from(cell.table).is_ok_and(|table| table != Table::Unspecified);
    let table = u8::try_from(cell.table).ok().filter(|_| known);
    let table = table.ok_or_else(|| invalid(format!("cells.table: {} is none", cell.table)))?;
    let key = CellKey {
        table,
        partition: &cell.partition,
        clustering: &cell.clustering,
    };
    let max = cell::KEY_BYTES_MAX;
    // Cassandra has no empty partition keys; ours are ids.
    if cell.partition.is_empty() || key.encoded_len() > max {
        return Err(invalid(format!(
            "cells.partition: empty, or a key of more than {max} bytes; name or shorten it"
        )));
    }
    Ok(())
}

/// Makes statements of a commit whose logs were taken over. Draws its timestamp: to be called in
/// the order of the commits.
pub async fn form(inner: &Inner, mut commit: Commit) -> Result<Formed, Refusal> {
    let owner = owner_of(&commit);
    // First: a row that is repeated was stored without the bodies that its commit erases.
    let own_rows = blank_own_rows(&mut commit);
    let mut heads = Vec::with_capacity(commit.batches.len());
    for batch in &commit.batches {
        heads.push(follows_or_repeats(inner, owner, batch).await?);
    }
    let stamp = inner.owners.stamp(owner)?;
    let mut formed = Formed {
        stamp,
        ..Formed::default()
    };
    let mut after: HashMap<LogId, Commit> = own_rows
        .into_iter()
        .map(|log_id| (log_id, Commit::default()))
        .collect();
    let cells = last_of_each(commit.cells).into_iter();
    for cell in cells.filter(|cell| !expires_by_itself(cell)) {
        match log_of(&cell).and_then(|log_id| after.get_mut(&log_id)) {
            Some(after) => after.cells.push(cell),
            None => formed.cells.push(cell),
        }
    }
    for blank in commit.blanks {
        let log_id = parse_log_id(&blank.log_id)?;
        if let Some(after) = after.get_mut(&log_id) {
            after.blanks.push(blank.clone());
        }
        formed.blanks.push(blank);
    }
    let header = (commit.epoch, commit.nonce);
    for (batch, head) in commit.batches.into_iter().zip(heads) {
        let log_id = parse_log_id(&batch.log_id)?;
        let after = after.remove(&log_id).unwrap_or_default();
        if bucket(batch.first_seq) > bucket(head.last_first_seq.max(1)) {
            formed.anchors.push((log_id, batch.first_seq - 1));
        }
        formed.add_row(owner, header, log_id, batch, after);
    }
    Ok(formed)
}

impl Formed {
    fn add_row(
        &mut self,
        owner: Owner,
        (epoch, nonce): (u64, u64),
        log_id: LogId,
        batch: LogBatch,
        after: Commit,
    ) {
        let row = Row {
            first_seq: batch.first_seq,
            committed_head: batch.committed_head,
            epoch,
            nonce,
            events: batch.events,
        };
        let head = Head {
            owner,
            last_seq: row.last_seq(),
            last_first_seq: row.first_seq,
        };
        self.heads.push((log_id, head));
        self.after.extend(after.cells.iter().cloned());
        let record = Record {
            ballot: owner.epoch,
            stamp: self.stamp,
            row,
            after,
        };
        self.rows.push((log_id, record));
    }

    /// Writes it, verifies the epoch, writes what follows.
    pub async fn carry_out(self, inner: &Inner, owner: Owner) -> Result<(), Refusal> {
        let done = self.write(inner, owner).await;
        if let Err(refusal) = &done {
            inner.owners.give_up(owner);
            let (shard, reason) = (owner.shard, &refusal.message);
            match refusal.status {
                // Another owner is the usual end of one.
                CommitStatus::Fenced => tracing::info!(shard, reason, "commit not confirmed"),
                _ => tracing::error!(shard, reason, "commit not confirmed"),
            }
        }
        done
    }

    async fn write(self, inner: &Inner, owner: Owner) -> Result<(), Refusal> {
        let stamp = self.stamp;
        let rows = self.rows.iter();
        let rows = rows.map(|(log_id, record)| inner.write_record(log_id, record, stamp));
        let anchors = self.anchors.iter();
        let anchors = anchors.map(|(log_id, head)| inner.write_anchor(log_id, *head, stamp));
        let cells = self.cells.iter().map(|cell| inner.write_cell(cell, stamp));
        tokio::try_join!(
            try_join_all(rows),
            try_join_all(anchors),
            try_join_all(cells)
        )?;
        inner.verify(owner).await?;
        let after = self.after.iter().map(|cell| inner.write_cell(cell, stamp));
        let after = try_join_all(after).map_err(Refusal::from);
        let blanks = inner.blank_all(owner, &self.blanks).map_err(Refusal::from);
        tokio::try_join!(after, blanks)?;
        for (log_id, head) in self.heads {
            inner.heads.set(log_id, head);
        }
        Ok(())
    }
}

/// A row starts where its log ends, or is the last one again, as it was.
/// Answers the head before it.
async fn follows_or_repeats(
    inner: &Inner,
    owner: Owner,
    batch: &LogBatch,
) -> Result<Head, Refusal> {
    let log_id = parse_log_id(&batch.log_id)?;
    let head = inner.head(owner, log_id).await?;
    if batch.first_seq == head.last_seq + 1 {
        return Ok(head);
    }
    let end = batch.first_seq + batch.events.len() as u64 - 1;
    if batch.first_seq == head.last_first_seq && end == head.last_seq {
        let first_seq = batch.first_seq as i64;
        let found = inner.rows_down(&log_id, bucket(batch.first_seq), first_seq, 1);
        let found = found.await.map_err(unreadable)?;
        if found
            .first()
            .is_some_and(|record| record.row.events == batch.events)
        {
            return Ok(head);
        }
    }
    Err(does_not_follow(&log_id, batch.first_seq, head.last_seq))
}

/// Nothing of the commit was written.
fn unreadable(error: RowError) -> Refusal {
    match error {
        RowError::Damaged(what) => lost(what),
        RowError::Failed(error) => invalid(error.to_string()),
    }
}

/// Blanks what the commit itself brings; answers the logs of its rows. The others stay listed.
fn blank_own_rows(commit: &mut Commit) -> Vec<LogId> {
    let (batches, blanks) = (&mut commit.batches, &mut commit.blanks);
    blanks.retain(|blank| {
        let of_log = batches
            .iter_mut()
            .find(|batch| batch.log_id == blank.log_id);
        let event = of_log.and_then(|batch| {
            let index = blank.seq.checked_sub(batch.first_seq)?;
            batch.events.get_mut(usize::try_from(index).ok()?)
        });
        let Some(event) = event else { return true };
        if let Ok(Some(blanked)) = event::blanked(event) {
            *event = blanked;
        }
        false
    });
    let ids = batches.iter().map(|batch| &batch.log_id);
    ids.filter_map(|id| LogId::from_wire(id)).collect()
}

/// The log that a cell is a projection of, if its table is one of a log.
fn log_of(cell: &Cell) -> Option<LogId> {
    match Table::try_from(cell.table).ok()? {
        Table::Conversations
        | Table::Members
        | Table::Overlays
        | Table::Checkpoints
        | Table::Hidden
        | Table::Anchors
        | Table::DedupeStubs
        | Table::DeviceCursors
        | Table::Notices => LogId::from_wire(cell.partition.get(..16)?),
        Table::Users
        | Table::Devices
        | Table::Notes
        | Table::OldestWindows
        | Table::Stuck
        | Table::DeadLetters
        | Table::Unspecified => None,
    }
}

/// A note that no longer counts: its table lets it expire, and a queue of deletes would cost as
/// much as the notes themselves.
fn expires_by_itself(cell: &Cell) -> bool {
    cell.delete && cell.table == i32::from(Table::Notes)
}

/// Of several writes of one cell in a commit the last one counts.
fn last_of_each(cells: Vec<Cell>) -> Vec<Cell> {
    let mut last: HashMap<(i32, Bytes, Bytes), usize> = HashMap::with_capacity(cells.len());
    for (index, cell) in cells.iter().enumerate() {
        let key = (cell.table, cell.partition.clone(), cell.clustering.clone());
        last.insert(key, index);
    }
    let mut kept: Vec<usize> = last.into_values().collect();
    kept.sort_unstable();
    let mut kept = kept.into_iter().peekable();
    let counts = |(index, cell)| kept.next_if_eq(&index).map(|_| cell);
    cells.into_iter().enumerate().filter_map(counts).collect()
}

fn event_bytes(events: &[Bytes]) -> usize {
    events.iter().map(Bytes::len).sum()
}

impl From<NotOwner> for Refusal {
    fn from(error: NotOwner) -> Self {
        Self {
            status: CommitStatus::Fenced,
            message: error.to_string(),
        }
    }
}

impl From<Failed> for Refusal {
    fn from(error: Failed) -> Self {
        Self {
            status: CommitStatus::Unknown,
            message: error.to_string(),
        }
    }
}

impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::NotOwner(error) => error.into(),
            VerifyError::Failed(_) => Self {
                status: CommitStatus::Unknown,
                message: error.to_string(),
            },
        }
    }
}

impl From<TakeOverError> for Refusal {
    fn from(error: TakeOverError) -> Self {
        // Nothing of the commit was written.
        match error {
            TakeOverError::NotOwner(error) => error.into(),
            TakeOverError::Lost { .. } => lost(error.to_string()),
            TakeOverError::Failed { .. } => invalid(error.to_string()),
        }
    }
}
