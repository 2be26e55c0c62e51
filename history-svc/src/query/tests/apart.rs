//! Where a store does not gain from it, nobody who reads waits for what others read.

use std::future::pending;
use std::pin::pin;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::*;
use crate::store::{EventStore, ReadResult, StoreAnswer, StoreError, StoreRead};

/// Reads of cells are answered at once, those of logs never.
struct Stuck {
    together: bool,
}

impl EventStore for Stuck {
    fn take_shards(&self, shards: Vec<u32>) -> BoxFuture<'static, Result<Vec<u64>, StoreError>> {
        ready(Ok(vec![1; shards.len()])).boxed()
    }

    fn commit(&self, _commits: Vec<Commit>) -> BoxFuture<'static, Vec<CommitOutcome>> {
        ready(Vec::new()).boxed()
    }

    fn read(&self, reads: Vec<StoreRead>) -> BoxFuture<'static, Vec<ReadResult>> {
        if !reads.iter().all(|it| matches!(it, StoreRead::Cells(_))) {
            return pending().boxed();
        }
        let nothing = || StoreAnswer::Cells {
            cells: Vec::new(),
            more: false,
        };
        ready(reads.iter().map(|_| Ok(nothing())).collect()).boxed()
    }

    fn reads_together(&self) -> bool {
        self.together
    }
}

#[test]
fn a_read_does_not_wait_for_another_one_of_its_frame() {
    let log_id = log(1).to_bytes();
    let tail = TailQuery {
        log_id: log_id.clone(),
        ..Default::default()
    };
    let cells = PartitionQuery {
        table: Table::Conversations as i32,
        partition: log_id,
        ..Default::default()
    };
    let queries = [read::Query::Tail(tail), read::Query::Partition(cells)];
    for together in [false, true] {
        let reads = (1..).zip(queries.clone()).map(|(id, query)| Read {
            id,
            query: Some(query),
        });
        let (store, mut answered) = (Stuck { together }, Vec::new());
        let run = super::super::run(&store, reads.collect(), |it| answered.push(it.id));
        assert!(pin!(run).now_or_never().is_none(), "the log is not read");
        let expected: &[u64] = if together { &[] } else { &[2] };
        assert_eq!(answered, expected);
    }
}
