//! What a message costs in the embedded store, in CPU of all threads.
//!
//! `cargo run --release -p heddle-history --example store_bench [DIR]`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use heddle_history::store::EventStore;
use heddle_history::{EmbeddedStore, HistoryConfig};
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Commit, CommitStatus, LogBatch};

const LOGS: u64 = 300;
const SHARDS: u32 = 2;
const EVENT_BYTES: usize = 100;
const SECONDS: f64 = 4.0;

#[tokio::main]
async fn main() {
    let dir = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    for events in [1, 10] {
        let dir = dir.join(format!("store-bench-{}-{events}", std::process::id()));
        run(&HistoryConfig::at(&dir), events).await;
        if let Err(error) = std::fs::remove_dir_all(&dir) {
            eprintln!("{}: {error}", dir.display());
        }
    }
}

async fn run(config: &HistoryConfig, events: u64) {
    let store = match EmbeddedStore::open(config) {
        Ok(store) => Arc::new(store),
        Err(error) => return eprintln!("{error}"),
    };
    let epochs = store
        .take_shards((0..SHARDS).collect())
        .await
        .unwrap_or_default();
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let mut shards = tokio::task::JoinSet::new();
    for (shard, epoch) in (0..SHARDS).zip(epochs) {
        shards.spawn(write(store.clone(), shard, epoch, events, begun));
    }
    let commits: u64 = shards.join_all().await.into_iter().sum();
    store.close().await;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let rows = commits * LOGS;
    let per = |count: u64| cpu * 1e6 / count as f64;
    println!(
        "{LOGS} logs x {events} events of {EVENT_BYTES} B: {:.0} commits/s, {:.0} events/s, \
         {:.2} us CPU per row, {:.2} per event",
        commits as f64 / seconds,
        (rows * events) as f64 / seconds,
        per(rows),
        per(rows * events)
    );
}

/// One shard: commits one row to each of its logs, again and again.
async fn write(
    store: Arc<EmbeddedStore>,
    shard: u32,
    epoch: u64,
    events: u64,
    begun: Instant,
) -> u64 {
    let event = Bytes::from(vec![7; EVENT_BYTES]);
    let mut commits = 0;
    while begun.elapsed().as_secs_f64() < SECONDS {
        let row = |number: u64| {
            let id =
                (u128::from(shard) << 64 | u128::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let log_id = LogId::from_wire(&id.to_be_bytes()).map(|id| id.to_bytes());
            LogBatch {
                log_id: log_id.unwrap_or_default(),
                first_seq: commits * events + 1,
                committed_head: commits * events,
                events: vec![event.clone(); events as usize],
            }
        };
        let batches = (1..=LOGS).map(row).collect();
        let commit = Commit {
            shard,
            epoch,
            batches,
            ..Commit::default()
        };
        let outcomes = store.commit(vec![commit]).await;
        if outcomes[0].status() != CommitStatus::Committed {
            eprintln!("{}", outcomes[0].message);
            break;
        }
        commits += 1;
    }
    commits
}

/// CPU of all threads of this process, in seconds, from its 14th and 15th field in /proc.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: Vec<f64> = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    ticks.iter().sum::<f64>() / 100.0
}
