//! Takes rows until a bound of a question is reached, and says how many to ask for. Pure.
//!
//! Invariant: at least one row is taken if there is one, and `more` is said only after a row that
//! belongs to the answer was left out.

use bytes::Bytes;

use crate::row::Row;

/// Rows that the first statement brings, of any size.
const PAGE_ROWS_MIN: usize = 32;
/// Rows that one statement brings, as long as those before were small.
const PAGE_ROWS_MAX: usize = 128;
/// Bytes that one statement should bring.
const PAGE_BYTES: usize = 1 << 20;

/// What is left of a question's bounds.
#[derive(Debug)]
pub struct Picker {
    events_left: usize,
    bytes_left: usize,
    more: bool,
    rows: usize,
    bytes: usize,
}

impl Picker {
    /// Stops after the row that brings so many events, or bytes; whatever the bounds, one row goes.
    pub fn new(events_max: usize, bytes_max: usize) -> Self {
        Self {
            events_left: events_max.max(1),
            bytes_left: bytes_max.max(1),
            more: false,
            rows: 0,
            bytes: 0,
        }
    }

    /// Takes a row that holds events of the range, or says that it is one too many.
    pub fn push(&mut self, rows: &mut Vec<Row>, row: Row, from_seq: u64, to_seq: u64) -> bool {
        if self.events_left == 0 || self.bytes_left == 0 {
            self.more = true;
            return false;
        }
        let due = (row.last_seq().min(to_seq) + 1).saturating_sub(row.first_seq.max(from_seq));
        let bytes: usize = row.events.iter().map(Bytes::len).sum();
        let due = usize::try_from(due).unwrap_or(usize::MAX);
        self.events_left = self.events_left.saturating_sub(due);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.rows += 1;
        self.bytes += bytes;
        rows.push(row);
        true
    }

    /// Rows that the next statement should bring, one trip to the store each: more at once when
    /// those so far were small, and not many more than are due.
    pub fn page_rows(&self) -> usize {
        let row_bytes = self.bytes.checked_div(self.rows).unwrap_or(PAGE_BYTES);
        let fitting = PAGE_BYTES / row_bytes.max(1);
        let page_rows = fitting.min(2 * self.rows);
        let page_rows = page_rows.clamp(PAGE_ROWS_MIN, PAGE_ROWS_MAX);
        page_rows.min(self.events_left.saturating_add(1))
    }

    /// Whether a bound ended the answer.
    pub fn more(&self) -> bool {
        self.more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first_seq: u64, count: usize) -> Row {
        Row {
            first_seq,
            committed_head: 0,
            epoch: 1,
            nonce: 1,
            events: vec![Bytes::from_static(b"event"); count],
        }
    }

    #[test]
    fn small_rows_come_in_larger_pages() {
        let page_rows = |events_max, row_bytes: usize| {
            let (mut picker, mut rows) = (Picker::new(events_max, usize::MAX), Vec::new());
            let first = picker.page_rows();
            let events = vec![vec![0u8; row_bytes].into()];
            let row = Row {
                events,
                ..row(1, 0)
            };
            for _ in 0..first {
                picker.push(&mut rows, row.clone(), 1, 9);
            }
            (first, picker.page_rows())
        };
        assert_eq!(page_rows(usize::MAX, 100), (32, 64), "twice at most");
        assert_eq!(page_rows(usize::MAX, 1 << 20), (32, 32));
        assert_eq!(page_rows(99, 100), (32, 64));
        assert_eq!(page_rows(40, 100), (32, 9));
    }

    #[test]
    fn rows_are_taken_whole_until_a_bound_is_reached() {
        let pick = |events_max, bytes_max, from, to| {
            let (mut picker, mut rows) = (Picker::new(events_max, bytes_max), Vec::new());
            for first in [1, 4, 7] {
                if !picker.push(&mut rows, row(first, 3), from, to) {
                    break;
                }
            }
            (rows.len(), picker.more())
        };
        assert_eq!(pick(usize::MAX, usize::MAX, 1, 9), (3, false));
        assert_eq!(pick(2, usize::MAX, 2, 9), (1, true));
        assert_eq!(pick(3, usize::MAX, 2, 9), (2, true));
        assert_eq!(pick(9, usize::MAX, 1, 9), (3, false));
        assert_eq!(pick(usize::MAX, 1, 1, 9), (1, true));
        assert_eq!(pick(0, 0, 1, 9), (1, true));
    }
}
