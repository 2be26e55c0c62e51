//! What the check of every record finds: nothing in a sound store, and each planted fault.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test may panic as the test may"
)]

use std::path::Path;

use bytes::Bytes;
use heddle_history::check::{Report, check};
use heddle_history::store::EventStore;
use heddle_history::{EmbeddedStore, HistoryConfig};
use heddle_proto::ids::LogId;
use heddle_proto::internal::{
    AnchorRow, Cell, Commit, CommitStatus, LogBatch, MailboxEntry, Pointer, Table, mailbox_entry,
};
use heddle_proto::v1::Event;
use prost::Message as _;

fn config(dir: &Path) -> HistoryConfig {
    HistoryConfig {
        disk_free_bytes_min: 0,
        ..HistoryConfig::at(dir)
    }
}

fn conversation() -> LogId {
    LogId::direct("ann", "bob")
}

fn event(seq: u64) -> Bytes {
    let conversation_id = conversation().to_bytes();
    Event {
        conversation_id,
        seq,
        ..Event::default()
    }
    .encode_to_vec()
    .into()
}

fn pointer(position: u64, seq: u64) -> Bytes {
    let conversation_id = conversation().to_bytes();
    let pointer = Pointer {
        conversation_id,
        seq,
        ..Pointer::default()
    };
    let body = Some(mailbox_entry::Body::Pointer(pointer));
    MailboxEntry {
        position,
        time_ms: 1,
        body,
        ..Default::default()
    }
    .encode_to_vec()
    .into()
}

fn row(log_id: LogId, first_seq: u64, committed_head: u64, events: Vec<Bytes>) -> LogBatch {
    LogBatch {
        log_id: log_id.to_bytes(),
        first_seq,
        committed_head,
        events,
    }
}

fn cell(table: Table, partition: Bytes, value: Vec<u8>) -> Cell {
    Cell {
        table: table.into(),
        partition,
        value: value.into(),
        ..Cell::default()
    }
}

/// A store with two events and pointers to them, and whatever else; what the check says of it.
async fn checked(batches: Vec<LogBatch>, cells: Vec<Cell>) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&config(dir.path())).unwrap();
    let epoch = store.take_shards(vec![0]).await.unwrap()[0];
    let sound = vec![
        row(conversation(), 1, 0, vec![event(1), event(2)]),
        row(
            LogId::mailbox("ann"),
            1,
            0,
            vec![pointer(1, 1), pointer(2, 2)],
        ),
    ];
    let first = Commit {
        epoch,
        batches: sound,
        ..Commit::default()
    };
    let second = Commit {
        epoch,
        batches,
        cells,
        ..Commit::default()
    };
    for outcome in store.commit(vec![first, second]).await {
        assert_eq!(
            outcome.status(),
            CommitStatus::Committed,
            "{}",
            outcome.message
        );
    }
    store.close().await;
    drop(store);
    let mut last = None;
    let report = check(&config(dir.path()), |progress| last = Some(progress)).unwrap();
    let last = last.unwrap();
    assert_eq!(last.done, last.total);
    report
}

fn assert_finds(report: &Report, text: &str) {
    assert!(!report.is_sound());
    assert!(
        report.problems.iter().any(|problem| problem.contains(text)),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_sound_store_is_sound() {
    let anchor = AnchorRow {
        committed_head: 2,
        ..AnchorRow::default()
    }
    .encode_to_vec();
    let anchor = cell(Table::Anchors, conversation().to_bytes(), anchor);
    let report = checked(vec![], vec![anchor]).await;
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(
        (report.logs, report.rows, report.events, report.cells),
        (2, 2, 4, 1)
    );
}

#[tokio::test]
async fn pointers_that_lead_nowhere_are_found() {
    let report = checked(
        vec![row(LogId::mailbox("bob"), 1, 0, vec![pointer(1, 3)])],
        vec![],
    )
    .await;
    assert_finds(&report, "points to event 3");
}

#[tokio::test]
async fn events_in_the_wrong_place_are_found() {
    let wrong_seq = row(conversation(), 3, 2, vec![event(7)]);
    assert_finds(
        &checked(vec![wrong_seq], vec![]).await,
        "is not what is stored there",
    );
    let garbage = row(
        LogId::direct("x", "y"),
        1,
        0,
        vec![Bytes::from_static(b"\xff\xff")],
    );
    assert_finds(
        &checked(vec![garbage], vec![]).await,
        "is not what is stored there",
    );
}

#[tokio::test]
async fn heads_that_make_no_sense_and_lost_tails_are_found() {
    let ahead = row(conversation(), 3, 9, vec![event(3)]);
    assert_finds(&checked(vec![ahead], vec![]).await, "committed head of 9");
    let anchor = AnchorRow {
        committed_head: 5,
        ..AnchorRow::default()
    }
    .encode_to_vec();
    let anchor = cell(Table::Anchors, conversation().to_bytes(), anchor);
    assert_finds(
        &checked(vec![], vec![anchor]).await,
        "its anchor knows of 5",
    );
}

#[tokio::test]
async fn cells_that_cannot_be_read_are_found() {
    let garbage = cell(
        Table::Users,
        Bytes::from_static(b"ann"),
        b"\xff\xff\xff".to_vec(),
    );
    assert_finds(
        &checked(vec![], vec![garbage]).await,
        "a cell of TABLE_USERS",
    );
}
