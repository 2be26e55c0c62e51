//! The law of commits: fenced, whole, in order, never over what is there.

use bytes::Bytes;
use heddle_proto::internal::{Blank, Cell, LogBatch, Table};
use heddle_proto::v1::{Event, event::Kind, message::Content};
use prost::Message as _;

use super::*;

pub async fn epochs_rise_and_fence(store: Store) {
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

pub async fn rows_follow_one_another(store: Store) {
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

pub async fn a_refused_commit_leaves_no_trace(store: Store) {
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

pub async fn the_last_row_may_be_written_again(store: Store) {
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

pub async fn blanking_changes_only_the_body(store: Store) {
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
    // Written again, as by who did not hear that it was stored.
    let later = take(&store).await;
    let mut again = commit(2, later, vec![batch(log(1), 4, 2)]);
    again.blanks = vec![blank(5)];
    put_ok(&store, again).await;
    put_ok(&store, commit(3, later, vec![batch(log(1), 6, 1)])).await;
}

pub async fn commits_take_effect_in_the_order_of_the_calls(store: Store) {
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

pub async fn malformed_commits_are_refused(store: Store) {
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
