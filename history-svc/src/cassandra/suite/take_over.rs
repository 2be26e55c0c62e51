//! Owners that come and go: what they leave behind, and what the next one makes of it.

use bytes::Bytes;
use futures_util::FutureExt;
use heddle_proto::internal::{Cell, Commit, CommitStatus, Table};

use super::*;
use crate::cassandra::owners::Owner;
use crate::cassandra::record::Record;
use crate::cassandra::schema::BUCKET_EVENTS;
use crate::cassandra::session::ask;
use crate::contract::{
    all_rows, batch, cells_of, commit, event, events_of, log, put, put_ok, rows_of, take,
};
use crate::data_loss::TOLD;
use crate::row::Row;
use crate::store::{CellsRead, ReadError, ReadResult, RowsRead, StoreAnswer, StoreRead, TailRead};

/// The log as its new owner loads it.
async fn load(store: &contract::Store, epoch: u64) -> ReadResult {
    let read = StoreRead::Tail(TailRead {
        log_id: log(1),
        from_seq: 0,
        events_min: usize::MAX,
        owner: Some(Owner { shard: 0, epoch }),
    });
    store.read(vec![read]).await.remove(0)
}

async fn loaded(store: &contract::Store, epoch: u64) -> Vec<Row> {
    match load(store, epoch).await {
        Ok(StoreAnswer::Rows { rows, more: false }) => rows,
        other => panic!("{other:?}"),
    }
}

/// A node takes many shards at the same moment: one conditional write, and who asks for a shard
/// that is in it gets an epoch of its own.
pub async fn shards_taken_at_once_share_a_write(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let store = dynamic(&bench.open().await);
    let takes = (0..6)
        .chain([3])
        .map(|shard| store.take_shards(vec![shard]));
    let epochs = futures_util::future::try_join_all(takes).await.unwrap();
    assert_eq!(epochs.concat(), [1, 1, 1, 1, 1, 1, 2]);
    let session = bench.session().await;
    let text = format!(
        "SELECT shard, raised_by FROM {}.shards WHERE shard_group = 0",
        bench.config.keyspace
    );
    let raised: Vec<(i32, i64)> = ask(&*session, &text, &[]).await.unwrap();
    let once = raised.iter().filter(|(shard, _)| *shard != 3);
    let writes: std::collections::HashSet<i64> = once.map(|(_, by)| *by).collect();
    assert_eq!((raised.len(), writes.len()), (6, 1));
    bench.remove().await;
}

/// The next one does not make up for it, long after: the shards have other owners by then.
pub async fn a_take_that_was_given_up_raises_nothing(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let store = dynamic(&bench.open().await);
    let mut given_up = store.take_shards(vec![1, 2]);
    assert!((&mut given_up).now_or_never().is_none());
    let mut other = store.take_shards(vec![2, 3]);
    assert!((&mut other).now_or_never().is_none());
    drop((given_up, other));
    assert_eq!(store.take_shards(vec![4]).await.unwrap(), [1]);
    assert_eq!(store.take_shards(vec![1, 2, 3]).await.unwrap(), [1, 1, 1]);
    bench.remove().await;
}

/// A row of one event, as its owner writes it.
pub fn record_of(epoch: u64, first_seq: u64, after: Commit) -> Record {
    let row = Row {
        first_seq,
        committed_head: first_seq - 1,
        epoch,
        nonce: 77,
        events: vec![event(first_seq, "cut short")],
    };
    Record {
        ballot: epoch,
        stamp: (epoch << 32) as i64 + 1000,
        row,
        after,
    }
}

/// A row that its owner wrote and died: never verified, never answered.
async fn leave_behind(store: &CassandraStore, epoch: u64, first_seq: u64, after: Commit) {
    let (inner, record) = (store.inner(), record_of(epoch, first_seq, after));
    let written = inner.write_record(&log(1), &record, record.stamp).await;
    written.unwrap();
}

fn members() -> CellsRead {
    CellsRead {
        table: Table::Members as u8,
        partition: log(1).to_bytes(),
        prefix: Bytes::new(),
        after: Bytes::new(),
        until: Bytes::new(),
        rows_max: 10,
    }
}

pub async fn a_commit_that_was_cut_short_is_finished_or_gone(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let (first, second) = (bench.open().await, bench.open().await);
    let epoch = take(&dynamic(&first)).await;
    put_ok(
        &dynamic(&first),
        commit(1, epoch, vec![batch(log(1), 1, 2)]),
    )
    .await;
    let cell = Cell {
        table: Table::Members.into(),
        partition: log(1).to_bytes(),
        clustering: "ann".into(),
        value: "joined".into(),
        ..Cell::default()
    };
    let mut after = Commit::default();
    after.cells.push(cell);
    leave_behind(&first, epoch, 3, after).await;
    // Written by nobody who could follow: a hole lies before it.
    let mut hanging = batch(log(1), 9, 1);
    hanging.committed_head = 0;
    let row = Row {
        first_seq: 9,
        committed_head: 0,
        epoch,
        nonce: 77,
        events: hanging.events,
    };
    let record = Record {
        ballot: epoch,
        stamp: 1,
        row,
        after: Commit::default(),
    };
    first
        .inner()
        .write_record(&log(1), &record, 1)
        .await
        .unwrap();

    let next = take(&dynamic(&second)).await;
    assert_eq!(next, epoch + 1);
    let rows = loaded(&dynamic(&second), next).await;
    let described: Vec<_> = rows
        .iter()
        .map(|row| (row.first_seq, row.epoch, row.nonce))
        .collect();
    // The header stays: devices' resume tokens name its nonce.
    assert_eq!(described, [(1, epoch, epoch * 100), (3, epoch, 77)]);
    let stored = second
        .inner()
        .row_at_or_below(&log(1), 3)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.ballot, next, "written again under the new epoch");
    let (cells, _) = cells_of(&dynamic(&second), members()).await;
    assert_eq!(cells, [("ann".into(), "joined".into())]);
    put_ok(
        &dynamic(&second),
        commit(2, next, vec![batch(log(1), 4, 1)]),
    )
    .await;
    assert_eq!(events_of(&dynamic(&second), log(1)).await.len(), 4);
    bench.remove().await;
}

pub async fn a_former_owner_says_no_ok_and_wins_no_row(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let (first, second) = (bench.open().await, bench.open().await);
    let epoch = take(&dynamic(&first)).await;
    put_ok(
        &dynamic(&first),
        commit(1, epoch, vec![batch(log(1), 1, 1)]),
    )
    .await;
    let next = take(&dynamic(&second)).await;
    put_ok(
        &dynamic(&second),
        commit(2, next, vec![batch(log(1), 2, 2)]),
    )
    .await;
    // It does not know yet: its row is written, and loses; it reads the epoch, and knows.
    let mut other = batch(log(1), 2, 1);
    other.events = vec![event(2, "of a former owner")];
    let late = put(&dynamic(&first), commit(3, epoch, vec![other])).await;
    assert_eq!(late.status(), CommitStatus::Fenced, "{}", late.message);
    let again = put(&dynamic(&first), commit(4, epoch, vec![])).await;
    assert_eq!(again.status(), CommitStatus::Fenced);
    // An epoch lives where it was raised: elsewhere nobody can count its writes.
    let elsewhere = put(&dynamic(&bench.open().await), commit(5, next, vec![])).await;
    assert_eq!(elsewhere.status(), CommitStatus::Fenced);
    let expected = [event(1, "hello"), event(2, "hello"), event(3, "hello")];
    assert_eq!(events_of(&dynamic(&second), log(1)).await, expected);
    put_ok(
        &dynamic(&second),
        commit(6, next, vec![batch(log(1), 4, 1)]),
    )
    .await;
    bench.remove().await;
}

pub async fn logs_go_on_from_bucket_to_bucket(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let store = dynamic(&bench.open().await);
    let epoch = take(&store).await;
    let (count, mut first_seq) = (1000, 1);
    while first_seq < 2 * BUCKET_EVENTS + 2000 {
        put_ok(
            &store,
            commit(1, epoch, vec![batch(log(1), first_seq, count)]),
        )
        .await;
        first_seq += count;
    }
    let head = first_seq - 1;
    let other = bench.open().await;
    let next = take(&dynamic(&other)).await;
    let anchor = other.inner().anchor(&log(1)).await.unwrap();
    assert!(
        anchor >= 2 * BUCKET_EVENTS,
        "the newest bucket is known: {anchor}"
    );
    let rows = loaded(&dynamic(&other), next).await;
    assert_eq!(rows.first().unwrap().first_seq, 1);
    assert_eq!(rows.last().unwrap().last_seq(), head);
    let events = events_of(&dynamic(&other), log(1)).await;
    assert_eq!(events.len() as u64, head);
    // The row that holds the first seq of a bucket lies in the bucket before.
    let down = RowsRead {
        from_seq: BUCKET_EVENTS - 10,
        to_seq: BUCKET_EVENTS + 1,
        descending: true,
        ..all_rows(log(1))
    };
    let (found, more) = rows_of(&dynamic(&other), down.clone()).await;
    let firsts: Vec<_> = found.iter().map(|row| row.first_seq).collect();
    assert_eq!((firsts, more), (vec![4001], false));
    let newest = RowsRead {
        from_seq: head,
        to_seq: u64::MAX,
        ..down
    };
    // By somebody who knows neither owner nor head.
    let stranger = dynamic(&bench.open().await);
    assert_eq!(rows_of(&stranger, newest).await.0.len(), 1);
    put_ok(
        &dynamic(&other),
        commit(2, next, vec![batch(log(1), head + 1, 1)]),
    )
    .await;
    bench.remove().await;
}

pub async fn a_log_that_has_lost_what_was_committed_is_not_served(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let first = bench.open().await;
    let epoch = take(&dynamic(&first)).await;
    for seq in 1..=3 {
        put_ok(
            &dynamic(&first),
            commit(seq, epoch, vec![batch(log(1), seq, 1)]),
        )
        .await;
    }
    let session = bench.session().await;
    let text = format!(
        "DELETE FROM {}.log USING TIMESTAMP {} WHERE log_id = ? AND bucket = 0 AND first_seq = 2",
        bench.config.keyspace,
        (epoch << 32) + 5000
    );
    let id = log(1).to_bytes();
    let values = [id[..].into()];
    session.query(&text, &values, &mut NoRows).await.unwrap();
    let second = bench.open().await;
    let next = take(&dynamic(&second)).await;
    let lost = load(&dynamic(&second), next).await;
    assert!(matches!(lost, Err(ReadError::DataLoss(_))), "{lost:?}");
    let told = TOLD.commits.count();
    let refused = put(
        &dynamic(&second),
        commit(9, next, vec![batch(log(1), 4, 1)]),
    )
    .await;
    assert!(TOLD.commits.count() > told, "for the alarm");
    assert_eq!(
        refused.status(),
        CommitStatus::Refused,
        "{}",
        refused.message
    );
    bench.remove().await;
}

/// A shard moves from one history-svc to another and back: whatever either remembers, reads through
/// both bring what was granted.
pub async fn reads_through_another_history_svc_see_all(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let (one, other) = (bench.open().await, bench.open().await);
    let (one, other) = (dynamic(&one), dynamic(&other));
    let mut seq = 1;
    for (round, owner) in [&one, &other, &one].into_iter().enumerate() {
        let epoch = take(owner).await;
        assert_eq!(epoch, round as u64 + 1);
        put_ok(owner, commit(seq, epoch, vec![batch(log(1), seq, 2)])).await;
        seq += 2;
        for reader in [&one, &other] {
            let to_seq = seq - 1;
            let read = |descending| RowsRead {
                to_seq,
                descending,
                ..all_rows(log(1))
            };
            for descending in [false, true] {
                let (rows, more) = rows_of(reader, read(descending)).await;
                let events: usize = rows.iter().map(|row| row.events.len()).sum();
                assert_eq!((events as u64, more), (to_seq, false), "round {round}");
            }
        }
        let former = if round == 1 { &one } else { &other };
        let late = put(former, commit(9, epoch, vec![batch(log(1), seq, 1)])).await;
        assert_eq!(late.status(), CommitStatus::Fenced, "raised elsewhere");
    }
    bench.remove().await;
}
