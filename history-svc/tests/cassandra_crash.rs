//! A Cassandra node is killed under commits and started again; whatever was committed must be
//! there, in its place, and nothing else.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test may panic as the test may"
)]

mod own_node;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use heddle_history::cassandra::{CassandraStore, ScyllaDriver, migrate, open_when_ready};
use heddle_kit::Tasks;
use own_node::{Node, RECOVERED_WITHIN, append, take};

const LOGS: u32 = 8;
const KILLS: usize = 2;
/// Acknowledged rows, of all logs, before each kill.
const ROWS_BEFORE_KILL: u64 = 200;

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
        if append(&store, shard, epoch, head, count).await {
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
    let config = node.config();
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
