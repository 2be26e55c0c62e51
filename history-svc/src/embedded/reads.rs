//! Reads of the embedded store: one snapshot per call, on a blocking thread.
//!
//! Invariant: an answer holds only records whose checksum was right, and stays within the bounds
//! of its question (or, where the question sets none, within those named here).

use bytes::Bytes;
use fjall::{Readable, Snapshot};

use super::engine::{Engine, damaged, engine_error, row_at_or_below};
use crate::cell::{self, CellKey};
use crate::row::{self, Row};
use crate::store::{CellsRead, ReadError, ReadResult, RowsRead, StoreAnswer, StoreRead, TailRead};

/// Bytes of rows in one answer to a tail read, and the row that goes beyond.
pub const TAIL_BYTES_MAX: usize = 16 << 20;

/// Answers reads, all from one state of the store.
pub fn read_all(engine: &Engine, reads: &[StoreRead]) -> Vec<ReadResult> {
    let snapshot = engine.db.snapshot();
    let read = |read: &StoreRead| match read {
        StoreRead::Tail(query) => tail(engine, &snapshot, query),
        StoreRead::Rows(query) => rows(engine, &snapshot, query),
        StoreRead::Cells(query) => cells(engine, &snapshot, query),
    };
    reads.iter().map(read).collect()
}

fn tail(engine: &Engine, snapshot: &Snapshot, query: &TailRead) -> ReadResult {
    let TailRead {
        log_id, from_seq, ..
    } = query;
    if *from_seq == 0 {
        return newest(engine, snapshot, query);
    }
    let first = row_at_or_below(snapshot, &engine.logs, log_id, *from_seq)?;
    let first_seq = first.map_or(0, |row| row.first_seq);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let range = row::key(log_id, first_seq)..=row::key(log_id, u64::MAX);
    for guard in snapshot.range(&engine.logs, range) {
        if bytes > TAIL_BYTES_MAX {
            return Ok(StoreAnswer::Rows { rows, more: true });
        }
        let row = decode(guard)?;
        bytes += row.events.iter().map(Bytes::len).sum::<usize>();
        rows.push(row);
    }
    Ok(StoreAnswer::Rows { rows, more: false })
}

/// The newest rows with so many events; fewer if they are very large, but always the last row.
fn newest(engine: &Engine, snapshot: &Snapshot, query: &TailRead) -> ReadResult {
    let range = row::key(&query.log_id, 0)..=row::key(&query.log_id, u64::MAX);
    let (mut rows, mut events, mut bytes) = (Vec::new(), 0, 0);
    for guard in snapshot.range(&engine.logs, range).rev() {
        let row = decode(guard)?;
        events += row.events.len();
        bytes += row.events.iter().map(Bytes::len).sum::<usize>();
        rows.push(row);
        if events >= query.events_min || bytes > TAIL_BYTES_MAX {
            break;
        }
    }
    rows.reverse();
    Ok(StoreAnswer::Rows { rows, more: false })
}

fn rows(engine: &Engine, snapshot: &Snapshot, query: &RowsRead) -> ReadResult {
    let RowsRead {
        log_id,
        from_seq,
        to_seq,
        ..
    } = query;
    if from_seq > to_seq {
        return Ok(StoreAnswer::Rows {
            rows: Vec::new(),
            more: false,
        });
    }
    let first = row_at_or_below(snapshot, &engine.logs, log_id, *from_seq)?;
    let first = first.filter(|row| row.last_seq() >= *from_seq);
    let above = first
        .as_ref()
        .map_or(*from_seq, |row| row.last_seq().saturating_add(1));
    let last = (*to_seq).max(above);
    let later = snapshot.range(
        &engine.logs,
        row::key(log_id, above)..=row::key(log_id, last),
    );
    if query.descending {
        collect(query, later.rev().map(decode).chain(first.map(Ok)))
    } else {
        collect(query, first.map(Ok).into_iter().chain(later.map(decode)))
    }
}

/// Takes rows until a bound of the question is reached.
fn collect(query: &RowsRead, found: impl Iterator<Item = Result<Row, ReadError>>) -> ReadResult {
    let (mut rows, mut events, mut bytes) = (Vec::new(), 0, 0);
    for row in found {
        let row = row?;
        if row.first_seq > query.to_seq {
            continue;
        }
        if events >= query.events_max || bytes >= query.bytes_max {
            return Ok(StoreAnswer::Rows { rows, more: true });
        }
        let due = row.last_seq().min(query.to_seq) - row.first_seq.max(query.from_seq) + 1;
        events += usize::try_from(due).unwrap_or(usize::MAX);
        bytes += row.events.iter().map(Bytes::len).sum::<usize>();
        rows.push(row);
    }
    Ok(StoreAnswer::Rows { rows, more: false })
}

fn decode(guard: fjall::Guard) -> Result<Row, ReadError> {
    let (key, value) = guard.into_inner().map_err(engine_error)?;
    row::decode(&key, &value.into()).map_err(|damage| damaged(&key, damage))
}

fn cells(engine: &Engine, snapshot: &Snapshot, query: &CellsRead) -> ReadResult {
    let CellsRead {
        table,
        partition,
        prefix,
        after,
        until,
        rows_max,
    } = query;
    let key = |clustering| {
        CellKey {
            table: *table,
            partition,
            clustering,
        }
        .to_bytes()
    };
    let prefix_key = key(prefix);
    let partition_bytes = prefix_key.len() - prefix.len();
    let start = if after > prefix { after } else { prefix };
    let (mut cells, mut more) = (Vec::new(), false);
    for guard in snapshot.range(&engine.cells, key(start)..) {
        let (key, value) = guard.into_inner().map_err(engine_error)?;
        let clustering = key.get(partition_bytes..).unwrap_or_default();
        if !key.starts_with(&prefix_key) || (!until.is_empty() && clustering >= &until[..]) {
            break;
        }
        if !after.is_empty() && clustering == &after[..] {
            continue;
        }
        if cells.len() >= *rows_max {
            more = true;
            break;
        }
        let value = cell::decode_value(&key, &value.into());
        let value = value.map_err(|damage| damaged(&key, damage))?;
        cells.push((Bytes::from(key).slice(partition_bytes..), value));
    }
    Ok(StoreAnswer::Cells { cells, more })
}
