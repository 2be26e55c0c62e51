//! What goes to disk with the next sync: the accepted commits of all shards, as records.
//!
//! The writer thread fills one [`Forming`] while the last one is being synced. Here is decided, per
//! commit, whether it is accepted; the writer only writes.
//!
//! Invariant: a refused commit leaves no trace, neither in the records nor in the heads; an
//! accepted row starts where its log ends, under an epoch that is its shard's own and not lower
//! than the row's before.

use std::collections::HashMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use heddle_proto::ids::LogId;
use heddle_proto::internal::{AnchorRow, Blank, Cell, Commit, CommitStatus, LogBatch, Table};
use prost::Message as _;

use super::engine::{Engine, row_at_or_below};
use super::heads::{Head, Heads};
use crate::cell::{self, CellKey};
use crate::event;
use crate::refusal::{Refusal, does_not_follow, invalid, lost, parse_log_id};
use crate::row::{self, ROW_BYTES_MAX, ROW_EVENTS_MAX, Row, RowHeader};
use crate::store::ReadError;

/// Which keyspace a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Rows.
    Logs,
    /// Projections and the store's own.
    Cells,
}

/// A record to be written; offsets into the buffer of its keyspace.
#[derive(Debug)]
pub struct Record {
    pub place: Place,
    pub key: Range<usize>,
    /// None: delete.
    pub value: Option<Range<usize>>,
}

/// Who owns what, and where logs end.
#[derive(Debug, Default)]
pub struct Ledger {
    pub epochs: HashMap<u32, u64>,
    pub heads: Heads,
}

/// The records so far.
#[derive(Debug, Default)]
pub struct Forming {
    /// Keys and values of rows, and of cells. Two buffers, since the engine keeps records as
    /// slices of them in memory, and one small cell must not keep a batch of rows alive.
    pub logs: BytesMut,
    pub cells: BytesMut,
    pub records: Vec<Record>,
    /// An erased body is among them: old files must be rewritten some day.
    pub blanked: bool,
}

impl Forming {
    /// Bytes to be written.
    pub fn bytes(&self) -> usize {
        self.logs.len() + self.cells.len()
    }

    /// Takes a commit in whole, or not at all.
    pub fn add(
        &mut self,
        commit: &Commit,
        ledger: &mut Ledger,
        engine: &Engine,
    ) -> Result<(), Refusal> {
        let (records, logs, cells) = (self.records.len(), self.logs.len(), self.cells.len());
        let mut undo = Vec::new();
        let added = self.try_add(commit, ledger, engine, &mut undo);
        if added.is_err() {
            self.records.truncate(records);
            self.logs.truncate(logs);
            self.cells.truncate(cells);
            for (log_id, head) in undo.into_iter().rev() {
                ledger.heads.set(log_id, head);
            }
        }
        added
    }

    fn try_add(
        &mut self,
        commit: &Commit,
        ledger: &mut Ledger,
        engine: &Engine,
        undo: &mut Vec<(LogId, Head)>,
    ) -> Result<(), Refusal> {
        verify_epoch(commit, ledger)?;
        for batch in &commit.batches {
            let log_id = parse_log_id(&batch.log_id)?;
            let head = current_head(&log_id, ledger, engine)?;
            let end = verify_batch(commit, batch, &log_id, head, engine)?;
            self.add_row(commit, batch, &log_id);
            ledger.heads.set(
                log_id,
                Head {
                    last_seq: end,
                    epoch: commit.epoch,
                },
            );
            undo.push((log_id, head));
        }
        for cell in &commit.cells {
            self.add_cell(cell)?;
        }
        for blank in &commit.blanks {
            self.add_blank(blank, engine)?;
        }
        Ok(())
    }

    fn add_row(&mut self, commit: &Commit, batch: &LogBatch, log_id: &LogId) {
        let header = RowHeader {
            epoch: commit.epoch,
            nonce: commit.nonce,
            committed_head: batch.committed_head,
        };
        self.push_row(&row::key(log_id, batch.first_seq), header, &batch.events);
    }

    fn push_row(&mut self, key: &[u8], header: RowHeader, events: &[Bytes]) {
        self.logs.reserve(key.len() + row::encoded_len(events));
        let start = self.logs.len();
        self.logs.extend_from_slice(key);
        let split = self.logs.len();
        row::encode_into(&mut self.logs, key, header, events);
        let value = Some(split..self.logs.len());
        self.records.push(Record {
            place: Place::Logs,
            key: start..split,
            value,
        });
    }

    fn add_cell(&mut self, cell: &Cell) -> Result<(), Refusal> {
        let table = u8::try_from(cell.table).ok().filter(|&table| table != 0);
        let table = table.filter(|_| Table::try_from(cell.table).is_ok());
        let table = table.ok_or_else(|| invalid(format!("cells.table: {} is none", cell.table)))?;
        let (partition, clustering) = (&cell.partition[..], &cell.clustering[..]);
        let key = CellKey {
            table,
            partition,
            clustering,
        };
        if key.encoded_len() > cell::KEY_BYTES_MAX {
            let max = cell::KEY_BYTES_MAX;
            return Err(invalid(format!(
                "cells: a key of more than {max} bytes, shorten it"
            )));
        }
        self.push_cell(key, (!cell.delete).then_some(&cell.value[..]));
        Ok(())
    }

    /// Adds a cell, the store's own ones too.
    pub fn push_cell(&mut self, key: CellKey<'_>, value: Option<&[u8]>) {
        let value_len = value.map_or(0, cell::value_len);
        self.cells.reserve(key.encoded_len() + value_len);
        let start = self.cells.len();
        key.encode_into(&mut self.cells);
        let split = self.cells.len();
        let value = value.map(|value| {
            cell::encode_value(&mut self.cells, start, value);
            split..self.cells.len()
        });
        self.records.push(Record {
            place: Place::Cells,
            key: start..split,
            value,
        });
    }

    /// Writes the blanked event's row again, from these records or from the store.
    fn add_blank(&mut self, blank: &Blank, engine: &Engine) -> Result<(), Refusal> {
        let log_id = parse_log_id(&blank.log_id)?;
        let formed = self.formed_row(&log_id, blank.seq);
        let row = match formed {
            Some(row) => Some(row),
            None => row_at_or_below(&engine.db.snapshot(), &engine.logs, &log_id, blank.seq)
                .map_err(unreadable)?,
        };
        let index = row.as_ref().and_then(|row| row.index(blank.seq));
        let (Some(mut row), Some(index)) = (row, index) else {
            tracing::warn!(%log_id, seq = blank.seq, "nothing to blank: the event is not here");
            return Ok(());
        };
        match event::blanked(&row.events[index]) {
            Ok(Some(blanked)) => row.events[index] = blanked,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::error!(%log_id, seq = blank.seq, %error, "cannot be blanked");
                return Ok(());
            }
        }
        self.blanked = true;
        let Row {
            epoch,
            nonce,
            committed_head,
            ..
        } = row;
        let header = RowHeader {
            epoch,
            nonce,
            committed_head,
        };
        self.push_row(&row::key(&log_id, row.first_seq), header, &row.events);
        Ok(())
    }

    /// The newest version among these records of the row that holds an event. Blanks are rare,
    /// so nothing is kept to find it faster.
    fn formed_row(&self, log_id: &LogId, seq: u64) -> Option<Row> {
        self.records.iter().rev().find_map(|record| {
            let value = record
                .value
                .clone()
                .filter(|_| record.place == Place::Logs)?;
            let key = &self.logs[record.key.clone()];
            let (found, first_seq) = row::parse_key(key).ok()?;
            if found != *log_id || first_seq > seq {
                return None;
            }
            let value = Bytes::copy_from_slice(&self.logs[value]);
            row::decode(key, &value)
                .ok()
                .filter(|row| row.index(seq).is_some())
        })
    }
}

fn verify_epoch(commit: &Commit, ledger: &Ledger) -> Result<(), Refusal> {
    match ledger.epochs.get(&commit.shard) {
        Some(&epoch) if epoch == commit.epoch => Ok(()),
        current => Err(Refusal {
            status: CommitStatus::Fenced,
            message: format!(
                "shard {} is at epoch {}, the commit at {}: give the shard up",
                commit.shard,
                current.copied().unwrap_or(0),
                commit.epoch
            ),
        }),
    }
}

fn current_head(log_id: &LogId, ledger: &Ledger, engine: &Engine) -> Result<Head, Refusal> {
    match ledger.heads.get(log_id) {
        Some(head) => Ok(head),
        None => engine.head(log_id).map_err(unreadable),
    }
}

/// The seq of the batch's last event, if the batch may be written.
fn verify_batch(
    commit: &Commit,
    batch: &LogBatch,
    log_id: &LogId,
    head: Head,
    engine: &Engine,
) -> Result<u64, Refusal> {
    let bytes: usize = batch.events.iter().map(Bytes::len).sum();
    if batch.events.is_empty() || batch.events.len() > ROW_EVENTS_MAX || bytes > ROW_BYTES_MAX {
        let count = batch.events.len();
        return Err(invalid(format!(
            "batches.events: {count} events of {bytes} bytes; a row has 1 to {ROW_EVENTS_MAX} \
             events and at most {ROW_BYTES_MAX} bytes, split it"
        )));
    }
    if commit.epoch < head.epoch {
        return Err(Refusal {
            status: CommitStatus::Fenced,
            message: format!(
                "log {log_id} was written under epoch {}: give it up",
                head.epoch
            ),
        });
    }
    let end = batch.first_seq.checked_add(batch.events.len() as u64 - 1);
    let end = end.filter(|_| batch.first_seq > 0).ok_or_else(|| {
        invalid(format!(
            "batches.first_seq: {} is not a seq",
            batch.first_seq
        ))
    })?;
    let follows = batch.first_seq == head.last_seq + 1;
    if follows
        || may_start(batch, log_id, head, engine)?
        || repeats(commit, batch, log_id, end, head, engine)?
    {
        return Ok(end);
    }
    Err(does_not_follow(log_id, batch.first_seq, head.last_seq))
}

/// A log whose events have all expired goes on where its anchor says.
fn may_start(
    batch: &LogBatch,
    log_id: &LogId,
    head: Head,
    engine: &Engine,
) -> Result<bool, Refusal> {
    if head.last_seq != 0 {
        return Ok(false);
    }
    let (table, partition) = (Table::Anchors as u8, &log_id.as_bytes()[..]);
    let key = CellKey {
        table,
        partition,
        clustering: &[],
    }
    .to_bytes();
    let stored = engine
        .cells
        .get(&key)
        .map_err(|error| invalid(error.to_string()))?;
    let Some(stored) = stored else {
        return Ok(false);
    };
    let value = cell::decode_value(&key, &stored.into());
    let anchor = value.ok().and_then(|value| AnchorRow::decode(value).ok());
    Ok(anchor.is_some_and(|anchor| anchor.committed_head + 1 == batch.first_seq))
}

/// The last row may be written again as it was: under a new owner, or after a lost answer. Bodies
/// that its own commit erases are not in it.
fn repeats(
    commit: &Commit,
    batch: &LogBatch,
    log_id: &LogId,
    end: u64,
    head: Head,
    engine: &Engine,
) -> Result<bool, Refusal> {
    if end != head.last_seq {
        return Ok(false);
    }
    let snapshot = engine.db.snapshot();
    let row = row_at_or_below(&snapshot, &engine.logs, log_id, batch.first_seq);
    let row = row.map_err(unreadable)?;
    let erased = |seq: u64| {
        let mut blanks = commit.blanks.iter();
        blanks.any(|blank| blank.seq == seq && blank.log_id == batch.log_id)
    };
    let is_same = |(seq, (stored, event)): (u64, (&Bytes, &Bytes))| {
        let blanked = || event::blanked(event).ok().flatten();
        stored == event || erased(seq) && blanked().is_some_and(|blanked| blanked == *stored)
    };
    Ok(row.is_some_and(|row| {
        let mut events = (batch.first_seq..).zip(row.events.iter().zip(&batch.events));
        let as_long = row.events.len() == batch.events.len();
        row.first_seq == batch.first_seq && as_long && events.all(is_same)
    }))
}

fn unreadable(error: ReadError) -> Refusal {
    match error {
        ReadError::DataLoss(_) => lost(error.to_string()),
        _ => invalid(error.to_string()),
    }
}
