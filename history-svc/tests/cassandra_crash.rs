//! A Cassandra node is killed under commits and started again; whatever was committed must be
//! there, in its place, and nothing else.
//!
//! The node is this test's own, started through `cargo xtask`, which names itself in HEDDLE_XTASK.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test may panic as the test may"
)]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use heddle_history::cassandra::{
    CassandraConfig, CassandraStore, ScyllaDriver, migrate, open_when_ready,
};
use heddle_history::store::{EventStore, Owner, StoreAnswer, StoreRead, TailRead};
use heddle_kit::Tasks;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Commit, CommitStatus, LogBatch};
use heddle_proto::v1::Event;
use prost::Message as _;

const XTASK: &str = "HEDDLE_XTASK";
const LOGS: u32 = 8;
const KILLS: usize = 2;
/// Acknowledged rows, of all logs, before each kill.
const ROWS_BEFORE_KILL: u64 = 200;
const RECOVERED_WITHIN: Duration = Duration::from_secs(240);

/// A node of one's own, gone at the end.
struct Node {
    xtask: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
}

impl Node {
    fn start() -> Option<Self> {
        let Some(xtask) = std::env::var_os(XTASK) else {
            let in_ci = std::env::var("CI").is_ok_and(|ci| !matches!(&*ci, "" | "0" | "false"));
            assert!(!in_ci, "{XTASK} names no xtask to start a node with");
            eprintln!("NOT TESTED: {XTASK} names no xtask; run `cargo xtask test --only unit`");
            return None;
        };
        let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let node = Self {
            xtask: xtask.into(),
            dir: tempfile::tempdir().unwrap(),
            port: any.local_addr().unwrap().port(),
        };
        drop(any);
        node.up();
        Some(node)
    }

    fn up(&self) {
        let port = self.port.to_string();
        self.xtask(&["up", "--port", &port]);
    }

    fn kill(&self) {
        self.xtask(&["down", "--kill"]);
    }

    fn xtask(&self, arguments: &[&str]) {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut command = Command::new(&self.xtask);
        command
            .current_dir(workspace)
            .arg("cassandra")
            .args(arguments);
        let status = command.arg("--dir").arg(self.dir.path()).status();
        assert!(status.unwrap().success(), "xtask cassandra {arguments:?}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn log(number: u32) -> LogId {
    LogId::from_wire(&(u128::from(number) + 1).to_be_bytes()).unwrap()
}

fn event(number: u32, seq: u64) -> Bytes {
    let sender = format!("sender of {seq} in {number}");
    Event {
        seq,
        sender,
        ..Event::default()
    }
    .encode_to_vec()
    .into()
}

/// Takes a shard and loads its log, as an owner does; answers the epoch and the head.
async fn take(store: &CassandraStore, shard: u32) -> (u64, u64) {
    let deadline = tokio::time::Instant::now() + RECOVERED_WITHIN;
    loop {
        let failed = match store.take_shards(vec![shard]).await {
            Ok(epochs) => match load(store, shard, epochs[0]).await {
                Ok(head) => return (epochs[0], head),
                Err(error) => error,
            },
            Err(error) => error.to_string(),
        };
        assert!(tokio::time::Instant::now() < deadline, "{failed}");
        // tidy: allow-sleep between tries, as an owner does
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The head; every event is what was written there.
async fn load(store: &CassandraStore, shard: u32, epoch: u64) -> Result<u64, String> {
    let read = StoreRead::Tail(TailRead {
        log_id: log(shard),
        from_seq: 0,
        events_min: usize::MAX,
        owner: Some(Owner { shard, epoch }),
    });
    let rows = match store.read(vec![read]).await.remove(0) {
        Ok(StoreAnswer::Rows { rows, .. }) => rows,
        other => return Err(format!("{other:?}")),
    };
    let mut head = 0;
    for row in rows {
        assert_eq!(row.first_seq, head + 1, "log {shard} has a hole");
        for bytes in &row.events {
            head += 1;
            assert_eq!(*bytes, event(shard, head));
        }
    }
    Ok(head)
}

/// Commits row after row, takes the shard again when it must; answers what it was promised.
async fn write(
    store: Arc<CassandraStore>,
    shard: u32,
    acknowledged: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
) -> u64 {
    let (mut epoch, mut head) = take(&store, shard).await;
    let mut promised = head;
    while !ending.load(Ordering::SeqCst) {
        let count = 1 + head % 3;
        let batch = LogBatch {
            log_id: log(shard).to_bytes(),
            first_seq: head + 1,
            committed_head: head,
            events: (head + 1..=head + count)
                .map(|seq| event(shard, seq))
                .collect(),
        };
        let commit = Commit {
            shard,
            epoch,
            nonce: epoch,
            batches: vec![batch],
            ..Commit::default()
        };
        if store.commit(vec![commit]).await[0].status() == CommitStatus::Committed {
            head += count;
            promised = head;
            acknowledged.fetch_add(1, Ordering::SeqCst);
        } else {
            (epoch, head) = take(&store, shard).await;
            assert!(head >= promised, "log {shard} ends at {head} of {promised}");
        }
    }
    promised
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_survives_kills_of_the_node() {
    let Some(node) = Node::start() else { return };
    let node = Arc::new(node);
    let config = CassandraConfig {
        nodes: vec![format!("127.0.0.1:{}", node.port)],
        replication_factor: 1,
        accept_low_replication: true,
        ..CassandraConfig::default()
    };
    migrate(&ScyllaDriver, &config).await.unwrap();
    let tasks = Tasks::new("test");
    let store = Arc::new(
        open_when_ready(&ScyllaDriver, &config, &tasks)
            .await
            .unwrap(),
    );
    let (acknowledged, ending) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut writers = Vec::new();
    for shard in 0..LOGS {
        let writer = write(store.clone(), shard, acknowledged.clone(), ending.clone());
        writers.push(tokio::spawn(writer));
    }
    let reached = async |rows: u64| {
        let deadline = tokio::time::Instant::now() + RECOVERED_WITHIN;
        while acknowledged.load(Ordering::SeqCst) < rows {
            assert!(
                tokio::time::Instant::now() < deadline,
                "commits do not go on"
            );
            // tidy: allow-sleep polls a counter until the deadline
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    for kill in 1..=KILLS as u64 {
        reached(kill * ROWS_BEFORE_KILL).await;
        let node = node.clone();
        let restart = move || {
            node.kill();
            node.up();
        };
        tokio::task::spawn_blocking(restart).await.unwrap();
    }
    reached((KILLS as u64 + 1) * ROWS_BEFORE_KILL).await;
    ending.store(true, Ordering::SeqCst);
    let mut promised = Vec::new();
    for writer in writers {
        promised.push(writer.await.unwrap());
    }
    // A history-svc that has seen nothing of it.
    let fresh = open_when_ready(&ScyllaDriver, &config, &tasks)
        .await
        .unwrap();
    for (shard, promised) in (0..LOGS).zip(promised) {
        let (_, head) = take(&fresh, shard).await;
        assert!(head >= promised, "log {shard} ends at {head} of {promised}");
    }
}
