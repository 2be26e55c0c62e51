//! The embedded store: the contract, its bound, and what outlives a restart.

use std::fs;
use std::path::Path;

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::contract::{TTL_MS, facts, hold, session};

const SOON: Duration = Duration::from_secs(20);
const TIMING: Timing = Timing {
    ttl_ms: TTL_MS,
    grace_ms: 5_000,
};

fn store() -> EmbeddedStore {
    EmbeddedStore::new(10_000, TIMING)
}

async fn hide(store: &EmbeddedStore, user: &str) {
    let setting = Setting {
        user: user.into(),
        status: "shh".into(),
        hidden: true,
    };
    store.set(&[setting]).await.unwrap();
}

/// Opens a directory that was closed just now. A server that another test is starting at this
/// moment shares our files, locks included, until it has become a program of its own.
fn opened_again(dir: &Path) -> Result<SnapshotDir, OpenError> {
    let began = Instant::now();
    loop {
        match SnapshotDir::open(dir) {
            Err(OpenError::InUse { .. }) if began.elapsed() < SOON => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

fn reopened(dir: &Path) -> Result<EmbeddedStore, OpenError> {
    let store = store();
    opened_again(dir)?.load(&store)?;
    Ok(store)
}

#[tokio::test]
async fn holds_the_contract() {
    hold(&store()).await;
}

#[tokio::test]
async fn users_are_bounded_and_those_with_settings_stay() {
    let store = EmbeddedStore::new(160, TIMING);
    hide(&store, "hidden").await;
    for number in 0..2_000u64 {
        let one = session(&format!("user-{number}"), "g", number);
        store.refresh(&[one], number).await.unwrap();
    }
    let remembered: usize = store.saved().map(|users| users.len()).sum();
    assert!((80..=160).contains(&remembered), "{remembered}");
    assert!(facts(&store, "hidden").await.hidden);
    assert_eq!(facts(&store, "user-0").await, Facts::default());
    assert!(facts(&store, "user-1999").await.online_until_ms > 0);
}

#[tokio::test]
async fn settings_last_seen_and_ttl_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let before = store();
    hide(&before, "hidden").await;
    before
        .refresh(&[session("ann", "g", 1)], 1_000)
        .await
        .unwrap();
    SnapshotDir::open(dir.path())
        .unwrap()
        .save(&before)
        .unwrap();
    let after = reopened(dir.path()).unwrap();
    for user in ["hidden", "ann", "unknown"] {
        assert_eq!(facts(&before, user).await, facts(&after, user).await);
    }
}

#[tokio::test]
async fn a_drain_writes_down_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, stopping) = (Arc::new(store()), CancellationToken::new());
    let opened = SnapshotDir::open(dir.path()).unwrap();
    let keeping = keep(
        store.clone(),
        opened,
        Duration::from_secs(3_600),
        stopping.clone(),
    );
    let keeping = tokio::spawn(keeping);
    hide(&store, "hidden").await;
    stopping.cancel();
    keeping.await.unwrap();
    assert!(facts(&reopened(dir.path()).unwrap(), "hidden").await.hidden);
}

#[tokio::test]
async fn a_damaged_file_is_refused_wherever_it_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    hide(&store, "hidden").await;
    SnapshotDir::open(dir.path()).unwrap().save(&store).unwrap();
    let path = dir.path().join("presence/users");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert!(
            matches!(reopened(dir.path()), Err(OpenError::Damaged { .. })),
            "byte {at}"
        );
        fs::write(&path, &whole[..at]).unwrap();
        assert!(
            matches!(reopened(dir.path()), Err(OpenError::Damaged { .. })),
            "cut at {at}"
        );
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = SnapshotDir::open(dir.path()).unwrap();
    assert!(matches!(
        SnapshotDir::open(dir.path()),
        Err(OpenError::InUse { .. })
    ));
    drop(first);
    assert!(opened_again(dir.path()).is_ok());
}
