//! The embedded backend: the contract, restarts, broken disks, and bytes that change.

mod damage;

use std::path::Path;
use std::sync::atomic::Ordering;

use heddle_proto::internal::CommitStatus;

use super::*;
use crate::contract::{self, all_rows, batch, commit, log, put, put_ok, rows_of, take};

fn config(dir: &Path) -> HistoryConfig {
    HistoryConfig {
        disk_free_bytes_min: 0,
        ..HistoryConfig::at(dir)
    }
}

fn open(dir: &Path) -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::open(&config(dir)).unwrap())
}

fn dynamic(store: &Arc<EmbeddedStore>) -> contract::Store {
    store.clone()
}

#[tokio::test]
async fn it_keeps_the_law() {
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    let next = std::sync::Mutex::new(&mut count);
    contract::suite(async || {
        let mut number = next.lock().unwrap();
        **number += 1;
        dynamic(&open(&dir.path().join(number.to_string())))
    })
    .await;
}

#[tokio::test]
async fn a_restart_finds_everything_and_raises_the_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = store.store_id();
    let epoch = take(&dynamic(&store)).await;
    put_ok(
        &dynamic(&store),
        commit(1, epoch, vec![batch(log(1), 1, 3)]),
    )
    .await;
    store.close().await;
    let refused = put(&dynamic(&store), commit(2, epoch, vec![])).await;
    assert_eq!(refused.status(), CommitStatus::Refused);
    drop(store);

    let store = open(dir.path());
    assert_eq!(store.store_id(), id);
    // The owner is not fenced by a restart of the store alone, only by another owner.
    put_ok(
        &dynamic(&store),
        commit(3, epoch, vec![batch(log(1), 4, 1)]),
    )
    .await;
    assert_eq!(take(&dynamic(&store)).await, epoch + 1);
    let (rows, _) = rows_of(&dynamic(&store), all_rows(log(1))).await;
    assert_eq!(rows.last().unwrap().last_seq(), 4);
    let second = EmbeddedStore::open(&config(dir.path()))
        .err()
        .unwrap()
        .to_string();
    assert!(
        second.contains("another server uses this data directory"),
        "{second}"
    );
}

#[tokio::test]
async fn a_failed_write_promises_nothing_and_makes_the_store_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let epoch = take(&dynamic(&store)).await;
    put_ok(
        &dynamic(&store),
        commit(1, epoch, vec![batch(log(1), 1, 1)]),
    )
    .await;
    store.fail_next.store(true, Ordering::SeqCst);
    let failed = put(
        &dynamic(&store),
        commit(2, epoch, vec![batch(log(1), 2, 1)]),
    )
    .await;
    assert_eq!(failed.status(), CommitStatus::Unknown);
    let refused = put(
        &dynamic(&store),
        commit(3, epoch, vec![batch(log(2), 1, 1)]),
    )
    .await;
    assert_eq!(refused.status(), CommitStatus::Refused);
    assert!(store.read_only().unwrap().contains("read-only"));
    // Reads need an owner: a shard can still be taken, in memory, and nothing written under it.
    let unsaved = take(&dynamic(&store)).await;
    assert!(unsaved > epoch);
    put_ok(&dynamic(&store), commit(4, unsaved, vec![])).await;
    let refused = put(
        &dynamic(&store),
        commit(5, unsaved, vec![batch(log(2), 1, 1)]),
    )
    .await;
    assert_eq!(refused.status(), CommitStatus::Refused);
    assert_eq!(
        rows_of(&dynamic(&store), all_rows(log(1))).await.0.len(),
        1,
        "reads go on"
    );
    store.close().await;
    drop(store);
    let store = open(dir.path());
    let epoch = take(&dynamic(&store)).await;
    put_ok(
        &dynamic(&store),
        commit(5, epoch, vec![batch(log(1), 2, 1)]),
    )
    .await;
}

#[tokio::test]
async fn a_full_disk_refuses_commits_and_takes_them_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let full = HistoryConfig {
        disk_free_bytes_min: u64::MAX,
        ..config(dir.path())
    };
    let store = Arc::new(EmbeddedStore::open(&full).unwrap());
    // Reads need an owner: a shard is taken all the same, in memory.
    let epoch = take(&dynamic(&store)).await;
    put_ok(&dynamic(&store), commit(1, epoch, Vec::new())).await;
    let outcome = put(
        &dynamic(&store),
        commit(1, epoch, vec![batch(log(1), 1, 1)]),
    )
    .await;
    assert_eq!(outcome.status(), CommitStatus::Refused);
    assert!(outcome.message.contains("make room"), "{}", outcome.message);
    assert_eq!(store.read_only(), None);
    store.close().await;
    drop(store);
    let store = open(dir.path());
    let epoch = take(&dynamic(&store)).await;
    put_ok(
        &dynamic(&store),
        commit(2, epoch, vec![batch(log(1), 1, 1)]),
    )
    .await;
}

/// Hands over more commits than a store takes at once; the outcomes, and a store that still works.
async fn flood(small: HistoryConfig) -> Vec<CommitOutcome> {
    let store = Arc::new(EmbeddedStore::open(&small).unwrap());
    let epoch = take(&dynamic(&store)).await;
    let calls: Vec<_> = (1..=200)
        .map(|n| store.commit(vec![commit(n, epoch, vec![batch(log(n as u8), 1, 1)])]))
        .collect();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.extend(call.await);
    }
    // A commit larger than the bound goes when nothing else waits.
    put_ok(
        &dynamic(&store),
        commit(500, epoch, vec![batch(log(250), 1, 100)]),
    )
    .await;
    outcomes
}

#[tokio::test]
async fn what_waits_for_the_disk_is_bounded() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let few_bytes = HistoryConfig {
        queue_bytes_max: 1024,
        ..config(dirs[0].path())
    };
    let few_commits = HistoryConfig {
        queue_len_max: 1,
        ..config(dirs[1].path())
    };
    for (small, reason) in [
        (few_bytes, "too many bytes wait for the disk"),
        (few_commits, "too many commits wait for the disk"),
    ] {
        let mut refused = 0;
        for outcome in flood(small).await {
            match outcome.status() {
                CommitStatus::Committed => {}
                CommitStatus::Refused => {
                    assert_eq!(outcome.message, reason);
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(refused > 0, "{reason}");
    }
}

#[tokio::test]
async fn an_erased_body_leaves_the_disk_by_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let epoch = take(&dynamic(&store)).await;
    let mut secret = batch(log(1), 1, 1);
    secret.events[0] = contract::event(1, "canary-7f3a91c2");
    put_ok(&dynamic(&store), commit(1, epoch, vec![secret])).await;
    assert!(!on_disk(dir.path(), b"canary-7f3a91c2").is_empty());
    let mut erasing = commit(2, epoch, vec![]);
    erasing.blanks = vec![heddle_proto::internal::Blank {
        log_id: log(1).to_bytes(),
        seq: 1,
    }];
    put_ok(&dynamic(&store), erasing).await;
    assert!(store.erasure_age().is_some());
    store.close().await;
    drop(store);
    let store = open(dir.path());
    assert!(store.erasure_age().is_some(), "a restart does not forget");
    let compacting = store.clone();
    tokio::task::spawn_blocking(move || compacting.compact())
        .await
        .unwrap()
        .unwrap();
    assert!(store.erasure_age().is_none());
    assert_eq!(on_disk(dir.path(), b"canary-7f3a91c2"), [] as [PathBuf; 0]);
    let (rows, _) = rows_of(&dynamic(&store), all_rows(log(1))).await;
    assert_eq!(rows.len(), 1);
}

/// Files that hold some bytes.
fn on_disk(dir: &Path, wanted: &[u8]) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(wanted.len()).any(|window| window == wanted)
    };
    files(dir).into_iter().filter(holds).collect()
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
