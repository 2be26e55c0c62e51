//! The drill of a restore on Cassandra (`docs/operations.md`): a snapshot is taken under a log that
//! goes on, the node is lost, another one starts on the copy.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test may panic as the test may"
)]

mod own_node;

use heddle_history::cassandra::{ScyllaDriver, migrate, open_when_ready};
use heddle_kit::Tasks;
use own_node::{Node, append, load, take};

const SHARD: u32 = 3;
/// Events of the log when the snapshot is taken, and those that are lost with the node.
const KEPT: u64 = 40;
const LOST: u64 = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_what_is_there_after_a_restore_and_the_log_goes_on_from_it() {
    let Some(node) = Node::start() else { return };
    let config = node.config();
    migrate(&ScyllaDriver, &config).await.unwrap();
    let tasks = Tasks::new("before");
    let store = open_when_ready(&ScyllaDriver, &config, &tasks)
        .await
        .unwrap();
    let (epoch, _) = take(&store, SHARD).await;
    for head in 0..KEPT {
        assert!(append(&store, SHARD, epoch, head, 1).await);
    }
    let backups = tempfile::tempdir().unwrap();
    let copy = backups.path().join("copy");
    tokio::task::block_in_place(|| node.snapshot(&copy));
    for head in KEPT..KEPT + LOST {
        assert!(append(&store, SHARD, epoch, head, 1).await);
    }
    drop(store);
    tokio::task::block_in_place(|| node.restore(&copy));

    // Migrations find nothing to do, and the shard goes on under a greater epoch.
    migrate(&ScyllaDriver, &config).await.unwrap();
    let store = open_when_ready(&ScyllaDriver, &config, &tasks)
        .await
        .unwrap();
    let (next_epoch, head) = take(&store, SHARD).await;
    assert_eq!(head, KEPT, "what the snapshot had, and nothing of later");
    assert!(next_epoch > epoch);
    assert!(append(&store, SHARD, next_epoch, head, LOST).await);
    let (last_epoch, _) = take(&store, SHARD).await;
    let head = load(&store, SHARD, last_epoch).await.unwrap();
    assert_eq!(head, KEPT + LOST, "the log goes on at the next seq");
}
