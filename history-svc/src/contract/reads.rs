//! The law of reads: whole rows within bounds, cells by partition.

use heddle_proto::internal::{Cell, Table};

use super::*;
use crate::store::TailRead;

pub async fn ranges_bring_whole_rows_within_bounds(store: Store) {
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
    let events = |events_max, read| RowsRead { events_max, ..read };
    assert_eq!(firsts(events(2, within(2, 9))).await, (vec![1], true));
    assert_eq!(firsts(events(3, within(2, 9))).await, (vec![1, 4], true));
    assert_eq!(firsts(events(1, down(within(2, 8)))).await, (vec![7], true));
    let one_byte = RowsRead {
        bytes_max: 1,
        ..within(1, 99)
    };
    assert_eq!(firsts(one_byte).await, (vec![1], true));
    let other_log = RowsRead {
        log_id: log(9),
        ..within(1, 99)
    };
    assert_eq!(firsts(other_log).await, (vec![], false));
}

pub async fn tails_bring_the_newest_rows(store: Store) {
    let epoch = take(&store).await;
    for first in [1, 4, 7, 10] {
        put_ok(&store, commit(1, epoch, vec![batch(log(1), first, 3)])).await;
    }
    let tail = async |log_id, from_seq, events_min| {
        let read = StoreRead::Tail(TailRead {
            log_id,
            from_seq,
            events_min,
            owner: None,
        });
        match store.read(vec![read]).await.remove(0) {
            Ok(StoreAnswer::Rows { rows, more: false }) => {
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

pub async fn cells_are_read_by_partition(store: Store) {
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
