//! Reads of logs and cells.
//!
//! The reads of one call do not see one state, as they do embedded: each row is whole, and whatever
//! was answered before the call is there. Take-overs go first, so that what they finish is seen by
//! the other reads of the call.
//!
//! Invariant: where a log ends is known to its owner alone: the one that a tail read names, whose
//! head is here since the take-over. What this process remembers of others may be old, since a
//! shard can be taken through another history-svc; all other reads name the head that they were
//! granted.

use bytes::Bytes;
use futures_util::future::join_all;
use heddle_proto::ids::LogId;

use super::picker::Picker;
use super::record::Record;
use super::schema::bucket;
use super::store::Inner;
use super::tail::{RowError, decode_all};
use crate::cell::{self, CellKey};
use crate::row::Row;
use crate::store::{CellsRead, ReadError, ReadResult, RowsRead, StoreAnswer, StoreRead, TailRead};

/// Cells that one statement brings.
const PAGE_CELLS: usize = 500;
/// Bytes of rows in one answer to a tail read, and the row that goes beyond.
const TAIL_BYTES_MAX: usize = 16 << 20;
/// The greatest seq that a column holds.
const SEQ_MAX: u64 = i64::MAX as u64;

/// Answers reads, in their order.
pub async fn read_all(inner: &Inner, reads: Vec<StoreRead>) -> Vec<ReadResult> {
    let taken = reads.iter().map(|read| async move {
        match read {
            StoreRead::Tail(TailRead {
                owner: Some(owner),
                log_id,
                ..
            }) => inner.head(*owner, *log_id).await.map(drop),
            _ => Ok(()),
        }
    });
    let taken = join_all(taken).await;
    let answers = reads.iter().zip(taken).map(|(read, taken)| async move {
        taken?;
        match read {
            StoreRead::Tail(query) => inner.tail(query).await,
            StoreRead::Rows(query) => inner.range(query).await,
            StoreRead::Cells(query) => inner.cells(query).await,
        }
    });
    join_all(answers).await
}

impl From<RowError> for ReadError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Failed(error) => Self::Unavailable(error.to_string()),
            RowError::Damaged(what) => Self::DataLoss(what),
        }
    }
}

impl Inner {
    /// seq of the last event, committed or not; 0: the log is empty.
    async fn end(&self, log_id: &LogId) -> Result<u64, ReadError> {
        let anchor = self.anchor(log_id).await.map_err(RowError::from)?;
        let newest = bucket(anchor + 1);
        let newest = self.rows_down(log_id, newest, i64::MAX, 1).await?;
        Ok(newest
            .first()
            .map_or(anchor, |record| record.row.last_seq()))
    }

    async fn tail(&self, query: &TailRead) -> ReadResult {
        let head = query
            .owner
            .and_then(|owner| self.heads.of(owner, &query.log_id));
        let end = match head {
            Some(head) => head.last_seq,
            None => self.end(&query.log_id).await?,
        };
        if query.from_seq == 0 {
            let mut picker = Picker::new(query.events_min, TAIL_BYTES_MAX);
            let mut rows = self.down(&query.log_id, 1, end, &mut picker).await?;
            rows.reverse();
            return Ok(StoreAnswer::Rows { rows, more: false });
        }
        let mut picker = Picker::new(usize::MAX, TAIL_BYTES_MAX);
        let from_seq = query.from_seq.min(end);
        let rows = self.up(&query.log_id, from_seq, end, &mut picker).await?;
        let more = picker.more();
        Ok(StoreAnswer::Rows { rows, more })
    }

    async fn range(&self, query: &RowsRead) -> ReadResult {
        let log_id = &query.log_id;
        let mut picker = Picker::new(query.events_max, query.bytes_max);
        let (from_seq, mut to_seq) = (query.from_seq.max(1), query.to_seq.min(SEQ_MAX));
        let rows = if query.descending {
            // Far above the end there is no row to start from.
            if self.row_at_or_below(log_id, to_seq).await?.is_none() {
                to_seq = to_seq.min(self.end(log_id).await?);
            }
            self.down(log_id, from_seq, to_seq, &mut picker).await?
        } else {
            self.up(log_id, from_seq, to_seq, &mut picker).await?
        };
        let more = picker.more();
        Ok(StoreAnswer::Rows { rows, more })
    }

    /// Rows that hold the events from one seq to another, ascending, up to a hole.
    async fn up(
        &self,
        log_id: &LogId,
        from_seq: u64,
        to_seq: u64,
        picker: &mut Picker,
    ) -> Result<Vec<Row>, ReadError> {
        let mut rows = Vec::new();
        if from_seq > to_seq || to_seq == 0 {
            return Ok(rows);
        }
        let mut next = from_seq.max(1);
        let first = self.row_at_or_below(log_id, next).await?;
        if let Some(first) = first.filter(|first| first.row.last_seq() >= next) {
            next = first.row.last_seq() + 1;
            picker.push(&mut rows, first.row, from_seq, to_seq);
        }
        while next <= to_seq && !picker.more() {
            let page_rows = picker.page_rows();
            let page = self.rows_up(log_id, next, to_seq, page_rows).await?;
            let (len, before) = (page.len(), bucket(next));
            for record in page {
                // Below the first row events may have expired; behind a hole lies no log.
                if !rows.is_empty() && record.row.first_seq != next {
                    return Ok(rows);
                }
                next = record.row.last_seq() + 1;
                if !picker.push(&mut rows, record.row, from_seq, to_seq) {
                    return Ok(rows);
                }
            }
            if len == 0 || (len < page_rows && bucket(next) == before) {
                break;
            }
        }
        Ok(rows)
    }

    /// The same, descending.
    async fn down(
        &self,
        log_id: &LogId,
        from_seq: u64,
        to_seq: u64,
        picker: &mut Picker,
    ) -> Result<Vec<Row>, ReadError> {
        let (mut rows, mut next) = (Vec::new(), to_seq);
        while next >= from_seq && next > 0 {
            let page_rows = picker.page_rows();
            let page = self.page_down(log_id, next, page_rows).await?;
            if page.is_empty() {
                break;
            }
            for record in page {
                if record.row.last_seq() < from_seq {
                    return Ok(rows);
                }
                next = record.row.first_seq - 1;
                if !picker.push(&mut rows, record.row, from_seq, to_seq) {
                    return Ok(rows);
                }
                if next < from_seq {
                    return Ok(rows);
                }
            }
        }
        Ok(rows)
    }

    async fn rows_up(
        &self,
        log_id: &LogId,
        from_seq: u64,
        to_seq: u64,
        rows_max: usize,
    ) -> Result<Vec<Record>, RowError> {
        let range = (from_seq as i64, to_seq.min(SEQ_MAX) as i64);
        let id = &log_id.as_bytes()[..];
        let values = [
            id.into(),
            bucket(from_seq).into(),
            range.0.into(),
            range.1.into(),
            (rows_max as i32).into(),
        ];
        let rows = self.db.rows(&self.db.statements.rows_up, &values).await?;
        decode_all(log_id, rows)
    }

    /// Rows from a seq down: of its bucket, or of the one below that reaches into it.
    async fn page_down(
        &self,
        log_id: &LogId,
        seq: u64,
        rows_max: usize,
    ) -> Result<Vec<Record>, RowError> {
        let (of_seq, seq) = (bucket(seq), seq.min(SEQ_MAX) as i64);
        let rows = self.rows_down(log_id, of_seq, seq, rows_max as i32).await?;
        if rows.is_empty() && of_seq > 0 {
            return self
                .rows_down(log_id, of_seq - 1, seq, rows_max as i32)
                .await;
        }
        Ok(rows)
    }

    async fn cells(&self, query: &CellsRead) -> ReadResult {
        let statements = self.db.statements.cells(query.table);
        let statements = statements.ok_or_else(|| ReadError::Invalid {
            field: "table",
            reason: format!("{} is none", query.table),
        })?;
        let (mut from, until) = (lower_bound(query), upper_bound(query));
        let partition = &query.partition[..];
        let mut cells = Vec::new();
        loop {
            let left = query.rows_max.saturating_add(1) - cells.len();
            let page_cells = left.min(PAGE_CELLS);
            let limit = page_cells as i32;
            let page: Result<Vec<(Bytes, Option<Bytes>)>, _> = match &until {
                None => {
                    let values = [partition.into(), from[..].into(), limit.into()];
                    self.db.rows(&statements.from, &values).await
                }
                Some(until) => {
                    let (from, until) = (&from[..], &until[..]);
                    let values = [partition.into(), from.into(), until.into(), limit.into()];
                    self.db.rows(&statements.between, &values).await
                }
            };
            let page = page.map_err(|error| ReadError::Unavailable(error.to_string()))?;
            let len = page.len();
            for (clustering, value) in page {
                let value = decode_cell(query, &clustering, value)?;
                cells.push((clustering, value));
            }
            if cells.len() > query.rows_max {
                cells.truncate(query.rows_max);
                return Ok(StoreAnswer::Cells { cells, more: true });
            }
            match cells.last() {
                Some((last, _)) if len == page_cells => from = successor(last),
                _ => return Ok(StoreAnswer::Cells { cells, more: false }),
            }
        }
    }
}

fn decode_cell(
    query: &CellsRead,
    clustering: &Bytes,
    value: Option<Bytes>,
) -> Result<Bytes, ReadError> {
    let key = CellKey {
        table: query.table,
        partition: &query.partition,
        clustering,
    };
    let value = cell::decode_value(&key.to_bytes(), &value.unwrap_or_default());
    value
        .map_err(|damage| ReadError::DataLoss(format!("a cell of table {}: {damage}", query.table)))
}

/// The first clustering key that may be answered.
fn lower_bound(query: &CellsRead) -> Bytes {
    if query.after.is_empty() || query.after < query.prefix {
        return query.prefix.clone();
    }
    successor(&query.after)
}

/// The first clustering key that may not be answered any more.
fn upper_bound(query: &CellsRead) -> Option<Bytes> {
    let until = Some(query.until.clone()).filter(|until| !until.is_empty());
    match (until, after_prefix(&query.prefix)) {
        (Some(until), Some(end)) => Some(until.min(end)),
        (until, end) => until.or(end),
    }
}

/// The least key above a key.
fn successor(key: &[u8]) -> Bytes {
    let mut next = key.to_vec();
    next.push(0);
    next.into()
}

/// The least key above all that start with a prefix.
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let kept = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(prop_oneof![Just(0u8), Just(255u8), any::<u8>()], 0..4)
            .prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn bounds_hold_exactly_what_is_asked_for(
            prefix in bytes(), after in bytes(), until in bytes(), key in bytes()
        ) {
            let asked = key.starts_with(&prefix)
                && (after.is_empty() || key > after)
                && (until.is_empty() || key < until);
            let query = CellsRead {
                table: 1, partition: "p".into(), prefix, after, until, rows_max: 1,
            };
            let within = key >= lower_bound(&query)
                && upper_bound(&query).is_none_or(|end| key < end);
            prop_assert_eq!(within, asked);
        }
    }
}
