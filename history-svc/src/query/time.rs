//! The first event of a conversation that is not older than a time: binary search over rows.

use heddle_proto::internal::{ReadOutcome, TimeQuery};

use super::overlay::malformed;
use super::{Plan, Step, parse_log_id};
use crate::event;
use crate::row::Row;
use crate::store::{ReadError, RowsRead, StoreAnswer, StoreRead};

/// Times never go back in a log. Below `low` all events are older than the time, from `high` on
/// none is; `high` begins one above the head.
pub struct Time {
    read: RowsRead,
    time_ms: u64,
    low: u64,
    high: u64,
    /// The lowest event seen that is not older; 0: none yet.
    found: u64,
}

impl Time {
    pub fn new(query: TimeQuery) -> Result<Self, ReadError> {
        let log_id = parse_log_id("time.log_id", &query.log_id)?;
        let read = RowsRead {
            log_id,
            from_seq: 0,
            to_seq: 0,
            events_max: 1,
            bytes_max: 1,
            descending: false,
        };
        let TimeQuery { time_ms, head, .. } = query;
        Ok(Self {
            read,
            time_ms,
            low: 1,
            high: head.saturating_add(1),
            found: 0,
        })
    }

    fn middle(&self) -> u64 {
        self.low + (self.high - self.low) / 2
    }

    /// Narrows the search by the row that holds the middle, or by the first one above.
    fn narrow(&mut self, row: Option<&Row>) -> Result<(), ReadError> {
        let middle = self.middle();
        let Some(row) = row.filter(|row| row.first_seq < self.high) else {
            // Nothing is stored from the middle on: what is there is below.
            self.high = middle;
            return Ok(());
        };
        let last = row.last_seq().min(self.high - 1);
        for seq in row.first_seq.max(self.low)..=last {
            let Some(event) = row.event(seq) else {
                continue;
            };
            if event::outline(event).map_err(malformed)?.time_ms >= self.time_ms {
                (self.high, self.found) = (seq, seq);
                break;
            }
        }
        if self.high > last {
            self.low = last + 1;
        } else if self.high > row.first_seq.max(self.low) {
            self.low = self.high;
        } else if self.high > middle {
            // The row above a gap begins late enough: go on below the gap.
            self.high = middle;
        }
        Ok(())
    }

    fn next(&mut self) -> Step {
        if self.low >= self.high {
            return Step::Done(ReadOutcome {
                seq: self.found,
                ..ReadOutcome::default()
            });
        }
        (self.read.from_seq, self.read.to_seq) = (self.middle(), self.high - 1);
        Step::Read(vec![StoreRead::Rows(self.read.clone())])
    }
}

impl Plan for Time {
    fn step(&mut self, results: Vec<StoreAnswer>) -> Result<Step, ReadError> {
        if let Some(StoreAnswer::Rows { rows, .. }) = results.first() {
            self.narrow(rows.first())?;
        }
        Ok(self.next())
    }
}
