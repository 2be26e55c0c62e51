//! A process that commits is killed; whatever it had been told was committed must be there.
//!
//! The child is this same test binary, asked for the one ignored test that writes.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test may panic as the test may"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use heddle_history::store::{EventStore, RowsRead, StoreAnswer, StoreRead};
use heddle_history::{EmbeddedStore, HistoryConfig};
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Cell, Commit, CommitStatus, LogBatch, Table};
use heddle_proto::v1::Event;
use prost::Message as _;

const DIR: &str = "HEDDLE_HISTORY_CRASH_TEST_DIR";
const LOGS: u64 = 20;
const CYCLES: usize = 6;
/// Acknowledged commits after which the child is killed.
const LINES_BEFORE_KILL: usize = 150;

fn log(number: u64) -> LogId {
    LogId::from_wire(&(u128::from(number) << 64 | u128::from(number)).to_be_bytes()).unwrap()
}

fn config(dir: &Path) -> HistoryConfig {
    HistoryConfig {
        memtable_bytes_max: 1 << 20,
        ..HistoryConfig::at(dir)
    }
}

fn event(log_id: LogId, seq: u64) -> Bytes {
    let conversation_id = log_id.to_bytes();
    let sender = format!(
        "sender of {seq} {}",
        "x".repeat(usize::try_from(seq % 700).unwrap())
    );
    Event {
        conversation_id,
        seq,
        sender,
        ..Event::default()
    }
    .encode_to_vec()
    .into()
}

async fn heads(store: &dyn EventStore) -> BTreeMap<u64, u64> {
    let mut heads = BTreeMap::new();
    for number in 0..LOGS {
        let read = RowsRead {
            log_id: log(number),
            from_seq: 1,
            to_seq: u64::MAX,
            events_max: usize::MAX,
            bytes_max: usize::MAX,
            descending: false,
        };
        let Ok(StoreAnswer::Rows { rows, .. }) =
            store.read(vec![StoreRead::Rows(read)]).await.remove(0)
        else {
            panic!("log {number} cannot be read")
        };
        let mut seq = 0;
        for row in rows {
            assert_eq!(row.first_seq, seq + 1, "log {number} has a hole");
            for bytes in &row.events {
                seq += 1;
                assert_eq!(*bytes, event(log(number), seq));
            }
        }
        heads.insert(number, seq);
    }
    heads
}

#[test]
#[ignore = "the child of the crash test, not a test"]
fn child_that_commits_until_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Arc::new(EmbeddedStore::open(&config(Path::new(&dir))).unwrap());
        let epoch = store.take_shards((0..LOGS as u32).collect()).await.unwrap()[0];
        let heads = heads(&*store).await;
        let mut writers = tokio::task::JoinSet::new();
        for (number, head) in heads {
            writers.spawn(write_for_ever(store.clone(), epoch, number, head));
        }
        writers.join_all().await;
    });
}

/// Commits to one log, and says so after each answer.
async fn write_for_ever(store: Arc<EmbeddedStore>, epoch: u64, number: u64, mut head: u64) {
    loop {
        let count = 1 + head % 3;
        let batch = LogBatch {
            log_id: log(number).to_bytes(),
            first_seq: head + 1,
            committed_head: head,
            events: (head + 1..=head + count)
                .map(|seq| event(log(number), seq))
                .collect(),
        };
        let cell = Cell {
            table: Table::Users.into(),
            partition: number.to_be_bytes().to_vec().into(),
            ..Cell::default()
        };
        let shard = u32::try_from(number).unwrap();
        let (batches, cells) = (vec![batch], vec![cell]);
        let commit = Commit {
            shard,
            epoch,
            nonce: 1,
            batches,
            cells,
            ..Commit::default()
        };
        let outcome = store.commit(vec![commit]).await.remove(0);
        assert_eq!(
            outcome.status(),
            CommitStatus::Committed,
            "{}",
            outcome.message
        );
        head += count;
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {number} {head}").unwrap();
        out.flush().unwrap();
    }
}

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_that_commits_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets a child write for a while and kills it; the greatest seq it was promised, by log.
fn write_and_kill(dir: &Path, lines: usize) -> BTreeMap<u64, u64> {
    let mut child = spawn(dir);
    let (mut promised, mut read) = (BTreeMap::new(), 0);
    let output = BufReader::new(child.stdout.take().unwrap());
    for line in output.lines().map_while(Result::ok) {
        let Some(rest) = line.split("acknowledged ").nth(1) else {
            continue;
        };
        let (number, head) = rest.split_once(' ').unwrap();
        promised.insert(number.parse().unwrap(), head.parse().unwrap());
        read += 1;
        if read == lines {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(read >= lines, "the child ended by itself: {status}");
    promised
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for cycle in 0..CYCLES {
        let promised = write_and_kill(dir.path(), LINES_BEFORE_KILL * (cycle + 1));
        let report = heddle_history::check::check(&config(dir.path()), |_| {}).unwrap();
        assert!(report.is_sound(), "{report:?}");
        runtime.block_on(async {
            let store = EmbeddedStore::open(&config(dir.path())).unwrap();
            let found = heads(&store).await;
            for (number, head) in promised {
                assert!(
                    found[&number] >= head,
                    "log {number}: {} of {head}",
                    found[&number]
                );
            }
            store.close().await;
        });
    }
}
