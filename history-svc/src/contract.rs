//! The law of [`EventStore`] as tests, for every backend.
//!
//! A backend's tests call [`suite`] with a way to make an empty store.

use std::sync::Arc;

use bytes::Bytes;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Blank, Cell, Commit, CommitOutcome, CommitStatus, LogBatch, Table};
use heddle_proto::v1::{Event, Message, event::Kind, message::Content};
use prost::Message as _;

use crate::store::{CellsRead, EventStore, RowsRead, StoreAnswer, StoreRead, TailRead};

pub type Store = Arc<dyn EventStore>;

/// Runs everything, each on a store of its own.
pub async fn suite<F: AsyncFn() -> Store>(make: F) {
    epochs_rise_and_fence(make().await).await;
    rows_follow_one_another(make().await).await;
    a_refused_commit_leaves_no_trace(make().await).await;
    the_last_row_may_be_written_again(make().await).await;
    ranges_bring_whole_rows_within_bounds(make().await).await;
    tails_bring_the_newest_rows(make().await).await;
    cells_are_read_by_partition(make().await).await;
    blanking_changes_only_the_body(make().await).await;
    commits_take_effect_in_the_order_of_the_calls(make().await).await;
    malformed_commits_are_refused(make().await).await;
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

async fn events_of(store: &Store, log_id: LogId) -> Vec<Bytes> {
    let (rows, _) = rows_of(store, all_rows(log_id)).await;
    rows.into_iter().flat_map(|row| row.events).collect()
}

async fn epochs_rise_and_fence(store: Store) {
    let first = store.take_shards(vec![0, 1]).await.unwrap();
    assert_eq!(first, [1, 1]);
    put_ok(&store, commit(7, 1, vec![])).await;
    assert_eq!(store.take_shards(vec![0]).await.unwrap(), [2]);
    let fenced = put(&store, commit(8, 1, vec![batch(log(1), 1, 1)])).await;
    assert_eq!((fenced.id, fenced.status()), (8, CommitStatus::Fenced));
    assert!(events_of(&store, log(1)).await.is_empty());
    let other_shard = Commit {
        shard: 1,
        ..commit(9, 1, vec![batch(log(1), 1, 1)])
    };
    put_ok(&store, other_shard).await;
    let nobodys = Commit {
        shard: 5,
        ..commit(10, 2, vec![])
    };
    assert_eq!(put(&store, nobodys).await.status(), CommitStatus::Fenced);
}

async fn rows_follow_one_another(store: Store) {
    let epoch = take(&store).await;
    put_ok(
        &store,
        commit(1, epoch, vec![batch(log(1), 1, 3), batch(log(2), 1, 1)]),
    )
    .await;
    put_ok(&store, commit(2, epoch, vec![batch(log(1), 4, 2)])).await;
    for wrong in [3, 5, 7, 100] {
        let outcome = put(&store, commit(3, epoch, vec![batch(log(1), wrong, 1)])).await;
        assert_eq!(outcome.status(), CommitStatus::Unknown, "from {wrong}");
        assert!(outcome.message.contains("ends at 5"), "{}", outcome.message);
    }
    let start = put(&store, commit(4, epoch, vec![batch(log(3), 2, 1)])).await;
    assert_eq!(start.status(), CommitStatus::Unknown);
    let expected: Vec<_> = (1..=5).map(|seq| event(seq, "hello")).collect();
    assert_eq!(events_of(&store, log(1)).await, expected);
    let (rows, _) = rows_of(&store, all_rows(log(1))).await;
    let described: Vec<_> = rows
        .iter()
        .map(|row| (row.first_seq, row.committed_head, row.epoch, row.nonce))
        .collect();
    assert_eq!(
        described,
        [(1, 0, epoch, epoch * 100), (4, 3, epoch, epoch * 100)]
    );
}

async fn a_refused_commit_leaves_no_trace(store: Store) {
    let epoch = take(&store).await;
    let cell = Cell {
        table: Table::Users.into(),
        partition: "ann".into(),
        value: "row".into(),
        ..Cell::default()
    };
    let mut half = commit(1, epoch, vec![batch(log(1), 1, 2), batch(log(2), 5, 1)]);
    half.cells.push(cell);
    assert_ne!(put(&store, half).await.status(), CommitStatus::Committed);
    assert!(events_of(&store, log(1)).await.is_empty());
    assert!(cells_of(&store, users("ann")).await.0.is_empty());
    put_ok(&store, commit(2, epoch, vec![batch(log(1), 1, 1)])).await;
    // One bad commit of a frame does not hurt the others.
    let frame = vec![
        commit(3, epoch, vec![batch(log(1), 2, 1)]),
        commit(4, epoch, vec![batch(log(1), 2, 2)]),
        commit(5, epoch, vec![batch(log(1), 3, 1)]),
    ];
    let outcomes = store.commit(frame).await;
    let statuses: Vec<_> = outcomes.iter().map(|one| (one.id, one.status())).collect();
    let (ok, unknown) = (CommitStatus::Committed, CommitStatus::Unknown);
    assert_eq!(statuses, [(3, ok), (4, unknown), (5, ok)]);
    assert_eq!(events_of(&store, log(1)).await.len(), 3);
    // The same log twice in one commit would be two rows that a crash could part.
    let twice = commit(6, epoch, vec![batch(log(1), 4, 1), batch(log(1), 4, 1)]);
    assert_ne!(put(&store, twice).await.status(), CommitStatus::Committed);
}

async fn the_last_row_may_be_written_again(store: Store) {
    let first = take(&store).await;
    put_ok(&store, commit(1, first, vec![batch(log(1), 1, 2)])).await;
    put_ok(&store, commit(2, first, vec![batch(log(1), 3, 2)])).await;
    put_ok(&store, commit(2, first, vec![batch(log(1), 3, 2)])).await;
    let second = take(&store).await;
    put_ok(&store, commit(3, second, vec![batch(log(1), 3, 2)])).await;
    let (rows, _) = rows_of(&store, all_rows(log(1))).await;
    assert_eq!(
        rows.iter().map(|row| row.epoch).collect::<Vec<_>>(),
        [first, second]
    );
    let mut other = batch(log(1), 3, 2);
    other.events[0] = event(3, "something else");
    for refused in [other, batch(log(1), 1, 2), batch(log(1), 3, 1)] {
        let outcome = put(&store, commit(4, second, vec![refused])).await;
        assert_eq!(outcome.status(), CommitStatus::Unknown);
    }
    assert_eq!(events_of(&store, log(1)).await.len(), 4);
}

async fn ranges_bring_whole_rows_within_bounds(store: Store) {
    let epoch = take(&store).await;
    for first in [1, 4, 7, 10] {
        put_ok(
            &store,
            commit(
                1,
                epoch,
                vec![batch(log(1), first, 3), batch(log(2), first, 3)],
            ),
        )
        .await;
    }
    let firsts = async |read: RowsRead| {
        let (rows, more) = rows_of(&store, read).await;
        (
            rows.iter().map(|row| row.first_seq).collect::<Vec<_>>(),
            more,
        )
    };
    let within = |from_seq, to_seq| RowsRead {
        from_seq,
        to_seq,
        ..all_rows(log(1))
    };
    let down = |read: RowsRead| RowsRead {
        descending: true,
        ..read
    };
    assert_eq!(firsts(within(5, 8)).await, (vec![4, 7], false));
    assert_eq!(firsts(down(within(5, 8))).await, (vec![7, 4], false));
    assert_eq!(firsts(within(6, 6)).await, (vec![4], false));
    assert_eq!(firsts(within(12, 99)).await, (vec![10], false));
    assert_eq!(firsts(within(13, 99)).await, (vec![], false));
    assert_eq!(firsts(within(8, 5)).await, (vec![], false));
    assert_eq!(
        firsts(RowsRead {
            events_max: 2,
            ..within(2, 9)
        })
        .await,
        (vec![1], true)
    );
    assert_eq!(
        firsts(RowsRead {
            events_max: 3,
            ..within(2, 9)
        })
        .await,
        (vec![1, 4], true)
    );
    assert_eq!(
        firsts(down(RowsRead {
            events_max: 1,
            ..within(2, 8)
        }))
        .await,
        (vec![7], true)
    );
    assert_eq!(
        firsts(RowsRead {
            bytes_max: 1,
            ..within(1, 99)
        })
        .await,
        (vec![1], true)
    );
    assert_eq!(
        firsts(RowsRead {
            log_id: log(9),
            ..within(1, 99)
        })
        .await,
        (vec![], false)
    );
}

async fn tails_bring_the_newest_rows(store: Store) {
    let epoch = take(&store).await;
    for first in [1, 4, 7, 10] {
        put_ok(&store, commit(1, epoch, vec![batch(log(1), first, 3)])).await;
    }
    let tail = async |log_id, from_seq, events_min| {
        let read = StoreRead::Tail(TailRead {
            log_id,
            from_seq,
            events_min,
        });
        match store.read(vec![read]).await.remove(0) {
            Ok(StoreAnswer::Rows { rows, .. }) => {
                rows.iter().map(|row| row.first_seq).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(tail(log(1), 0, 0).await, [10]);
    assert_eq!(tail(log(1), 0, 3).await, [10]);
    assert_eq!(tail(log(1), 0, 4).await, [7, 10]);
    assert_eq!(tail(log(1), 0, 99).await, [1, 4, 7, 10]);
    assert_eq!(tail(log(1), 5, 0).await, [4, 7, 10]);
    assert_eq!(
        tail(log(1), 50, 0).await,
        [10],
        "the last row shows where the log ends"
    );
    assert!(tail(log(2), 0, 9).await.is_empty());
}

fn users(partition: &'static str) -> CellsRead {
    CellsRead {
        table: Table::Users as u8,
        partition: partition.into(),
        prefix: Bytes::new(),
        after: Bytes::new(),
        until: Bytes::new(),
        rows_max: 100,
    }
}

async fn cells_of(store: &Store, read: CellsRead) -> (Vec<(Bytes, Bytes)>, bool) {
    match store.read(vec![StoreRead::Cells(read)]).await.remove(0) {
        Ok(StoreAnswer::Cells { cells, more }) => (cells, more),
        other => panic!("{other:?}"),
    }
}

async fn cells_are_read_by_partition(store: Store) {
    let epoch = take(&store).await;
    let cell = |partition: &'static str, clustering: &'static str, value: &'static str| Cell {
        table: Table::Users.into(),
        partition: partition.into(),
        clustering: clustering.into(),
        value: value.into(),
        delete: false,
    };
    let mut written = commit(1, epoch, vec![]);
    for (partition, clustering) in [("p", "a"), ("p", "ab"), ("p", "b"), ("pa", "b"), ("q", "")] {
        written.cells.push(cell(partition, clustering, "1"));
    }
    written.cells.push(cell("p", "b", "the last one wins"));
    put_ok(&store, written).await;
    let keys = async |read: CellsRead| {
        let (cells, more) = cells_of(&store, read).await;
        let keys = cells
            .into_iter()
            .map(|(key, _)| String::from_utf8(key.to_vec()).unwrap());
        (keys.collect::<Vec<_>>().join(" "), more)
    };
    let all = users("p");
    assert_eq!(keys(all.clone()).await, ("a ab b".into(), false));
    assert_eq!(
        keys(CellsRead {
            prefix: "a".into(),
            ..all.clone()
        })
        .await,
        ("a ab".into(), false)
    );
    assert_eq!(
        keys(CellsRead {
            after: "a".into(),
            ..all.clone()
        })
        .await,
        ("ab b".into(), false)
    );
    assert_eq!(
        keys(CellsRead {
            until: "b".into(),
            ..all.clone()
        })
        .await,
        ("a ab".into(), false)
    );
    assert_eq!(
        keys(CellsRead {
            rows_max: 2,
            ..all.clone()
        })
        .await,
        ("a ab".into(), true)
    );
    assert_eq!(
        cells_of(&store, users("q")).await.0,
        [("".into(), "1".into())]
    );
    let (cells, _) = cells_of(&store, all.clone()).await;
    assert_eq!(cells[2].1, "the last one wins");
    let mut deleted = commit(2, epoch, vec![]);
    deleted.cells.push(Cell {
        delete: true,
        ..cell("p", "ab", "")
    });
    put_ok(&store, deleted).await;
    assert_eq!(keys(all).await, ("a b".into(), false));
}

async fn blanking_changes_only_the_body(store: Store) {
    let epoch = take(&store).await;
    let blank = |seq| Blank {
        log_id: log(1).to_bytes(),
        seq,
    };
    put_ok(&store, commit(1, epoch, vec![batch(log(1), 1, 3)])).await;
    let before = rows_of(&store, all_rows(log(1))).await.0;
    let later = take(&store).await;
    // Two of one row, one that is written by the same commit, one that is not there.
    let mut erasing = commit(2, later, vec![batch(log(1), 4, 2)]);
    erasing.blanks = vec![blank(1), blank(3), blank(5), blank(77)];
    put_ok(&store, erasing).await;
    let (after, _) = rows_of(&store, all_rows(log(1))).await;
    let header = |row: &crate::row::Row| (row.first_seq, row.committed_head, row.epoch, row.nonce);
    assert_eq!(header(&after[0]), header(&before[0]));
    let erased = |row: usize, index: usize| {
        let event = Event::decode(after[row].events[index].clone()).unwrap();
        let Some(Kind::Message(message)) = event.kind else {
            panic!("a message")
        };
        assert_eq!(event.sender, "ann");
        matches!(message.content, Some(Content::Erased(_)))
    };
    assert_eq!(
        [erased(0, 0), erased(0, 1), erased(0, 2)],
        [true, false, true]
    );
    assert_eq!([erased(1, 0), erased(1, 1)], [false, true]);
    put_ok(&store, commit(3, later, vec![batch(log(1), 6, 1)])).await;
}

async fn commits_take_effect_in_the_order_of_the_calls(store: Store) {
    let epoch = take(&store).await;
    let calls: Vec<_> = (1..=50)
        .map(|seq| store.commit(vec![commit(seq, epoch, vec![batch(log(1), seq, 1)])]))
        .collect();
    // Polled last to first: what counts is the order of the calls.
    for (index, call) in calls.into_iter().enumerate().rev() {
        let seq = index as u64 + 1;
        let outcomes = call.await;
        assert_eq!(
            (outcomes[0].id, outcomes[0].status()),
            (seq, CommitStatus::Committed)
        );
    }
    assert_eq!(events_of(&store, log(1)).await.len(), 50);
    drop(store.commit(vec![commit(51, epoch, vec![batch(log(1), 51, 1)])]));
    put_ok(&store, commit(52, epoch, vec![batch(log(1), 52, 1)])).await;
}

async fn malformed_commits_are_refused(store: Store) {
    let epoch = take(&store).await;
    let short = LogBatch {
        log_id: Bytes::from_static(b"short"),
        ..batch(log(1), 1, 1)
    };
    let empty = LogBatch {
        events: vec![],
        ..batch(log(1), 1, 1)
    };
    let zero = LogBatch {
        first_seq: 0,
        ..batch(log(1), 1, 1)
    };
    let end = LogBatch {
        first_seq: u64::MAX,
        ..batch(log(1), 1, 2)
    };
    for (field, wrong) in [
        ("log_id", short),
        ("events", empty),
        ("first_seq", zero),
        ("first_seq", end),
    ] {
        let outcome = put(&store, commit(1, epoch, vec![wrong])).await;
        assert_eq!(outcome.status(), CommitStatus::Refused, "{field}");
        assert!(outcome.message.contains(field), "{}", outcome.message);
    }
    for table in [0, 99, -1] {
        let mut wrong = commit(1, epoch, vec![]);
        wrong.cells.push(Cell {
            table,
            ..Cell::default()
        });
        assert_eq!(
            put(&store, wrong).await.status(),
            CommitStatus::Refused,
            "table {table}"
        );
    }
}
