//! The newest rows of a log, for the shard that takes it over.

use heddle_proto::ids::LogId;
use heddle_proto::internal::{LogBatch, ReadOutcome, StoredRow, TailQuery};

use super::{Plan, Step, limits, parse_log_id};
use crate::row::Row;
use crate::store::{Owner, ReadError, StoreAnswer, StoreRead, TailRead};

pub struct Tail {
    read: TailRead,
}

impl Tail {
    pub fn new(query: TailQuery) -> Result<Self, ReadError> {
        let log_id = parse_log_id("tail.log_id", &query.log_id)?;
        let events_min = limits::clamp(query.events_min, 1, limits::TAIL_EVENTS_MAX);
        Ok(Self {
            read: TailRead {
                log_id,
                from_seq: query.from_seq,
                events_min,
                owner: (query.epoch > 0).then_some(Owner {
                    shard: query.shard,
                    epoch: query.epoch,
                }),
            },
        })
    }
}

impl Plan for Tail {
    fn step(&mut self, results: Vec<StoreAnswer>) -> Result<Step, ReadError> {
        let Some(StoreAnswer::Rows { rows, more }) = results.into_iter().next() else {
            return Ok(Step::Read(vec![StoreRead::Tail(self.read.clone())]));
        };
        let log_id = self.read.log_id;
        let rows = rows.into_iter().map(|row| stored(&log_id, row)).collect();
        Ok(Step::Done(ReadOutcome {
            rows,
            more,
            ..ReadOutcome::default()
        }))
    }
}

fn stored(log_id: &LogId, row: Row) -> StoredRow {
    let batch = LogBatch {
        log_id: log_id.to_bytes(),
        first_seq: row.first_seq,
        committed_head: row.committed_head,
        events: row.events,
    };
    StoredRow {
        batch: Some(batch),
        epoch: row.epoch,
        nonce: row.nonce,
    }
}
