//! The law of [`EventStore`] as tests, for every backend.
//!
//! A backend's tests call [`suite`] with a way to make an empty store. The feature `contract` makes
//! it a part of the library, for backends outside the workspace.

#![allow(
    clippy::unwrap_used,
    reason = "a library of tests may panic as tests may"
)]

mod commits;
pub mod leases;
mod reads;

use std::sync::Arc;

use bytes::Bytes;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Commit, CommitOutcome, CommitStatus, LogBatch, Table};
use heddle_proto::v1::{Event, Message, event::Kind, message::Content};
use prost::Message as _;

use crate::store::{CellsRead, EventStore, RowsRead, StoreAnswer, StoreRead};

pub type Store = Arc<dyn EventStore>;

/// Runs everything, each on a store of its own.
pub async fn suite<F: AsyncFn() -> Store>(make: F) {
    commits::epochs_rise_and_fence(make().await).await;
    commits::rows_follow_one_another(make().await).await;
    commits::a_refused_commit_leaves_no_trace(make().await).await;
    commits::the_last_row_may_be_written_again(make().await).await;
    reads::ranges_bring_whole_rows_within_bounds(make().await).await;
    reads::tails_bring_the_newest_rows(make().await).await;
    reads::cells_are_read_by_partition(make().await).await;
    commits::blanking_changes_only_the_body(make().await).await;
    commits::commits_take_effect_in_the_order_of_the_calls(make().await).await;
    commits::malformed_commits_are_refused(make().await).await;
}

pub fn log(number: u8) -> LogId {
    LogId::from_wire(&[number; 16]).unwrap()
}

pub fn event(seq: u64, text: &str) -> Bytes {
    let content = Some(Content::Text(text.to_owned()));
    let message = Message {
        content,
        ..Message::default()
    };
    let create_time = Some(heddle_proto::time::timestamp(1_000_000 + seq));
    let kind = Some(Kind::Message(message));
    Event {
        seq,
        create_time,
        sender: "ann".to_owned(),
        kind,
        ..Event::default()
    }
    .encode_to_vec()
    .into()
}

pub fn batch(log_id: LogId, first_seq: u64, count: u64) -> LogBatch {
    let events = (first_seq..first_seq + count)
        .map(|seq| event(seq, "hello"))
        .collect();
    LogBatch {
        log_id: log_id.to_bytes(),
        first_seq,
        committed_head: first_seq - 1,
        events,
    }
}

pub fn commit(id: u64, epoch: u64, batches: Vec<LogBatch>) -> Commit {
    Commit {
        id,
        shard: 0,
        epoch,
        nonce: epoch * 100,
        batches,
        ..Commit::default()
    }
}

pub async fn take(store: &Store) -> u64 {
    store.take_shards(vec![0]).await.unwrap()[0]
}

/// Commits one and returns its outcome.
pub async fn put(store: &Store, commit: Commit) -> CommitOutcome {
    let outcomes = store.commit(vec![commit]).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.into_iter().next().unwrap()
}

pub async fn put_ok(store: &Store, commit: Commit) {
    let outcome = put(store, commit).await;
    assert_eq!(
        outcome.status(),
        CommitStatus::Committed,
        "{}",
        outcome.message
    );
}

pub async fn rows_of(store: &Store, read: RowsRead) -> (Vec<crate::row::Row>, bool) {
    match store.read(vec![StoreRead::Rows(read)]).await.remove(0) {
        Ok(StoreAnswer::Rows { rows, more }) => (rows, more),
        other => panic!("{other:?}"),
    }
}

pub fn all_rows(log_id: LogId) -> RowsRead {
    let (from_seq, to_seq, max) = (1, u64::MAX, usize::MAX);
    RowsRead {
        log_id,
        from_seq,
        to_seq,
        events_max: max,
        bytes_max: max,
        descending: false,
    }
}

pub async fn events_of(store: &Store, log_id: LogId) -> Vec<Bytes> {
    let (rows, _) = rows_of(store, all_rows(log_id)).await;
    rows.into_iter().flat_map(|row| row.events).collect()
}

pub fn users(partition: &'static str) -> CellsRead {
    CellsRead {
        table: Table::Users as u8,
        partition: partition.into(),
        prefix: Bytes::new(),
        after: Bytes::new(),
        until: Bytes::new(),
        rows_max: 100,
    }
}

pub async fn cells_of(store: &Store, read: CellsRead) -> (Vec<(Bytes, Bytes)>, bool) {
    match store.read(vec![StoreRead::Cells(read)]).await.remove(0) {
        Ok(StoreAnswer::Cells { cells, more }) => (cells, more),
        other => panic!("{other:?}"),
    }
}
