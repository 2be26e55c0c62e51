//! A store that fails on purpose, for tests that plant faults.
//!
//! One more [`EventStore`] around a real one. Without faults it passes everything on.
//!
//! Invariant: calls reach the store within in the order in which they came here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use heddle_proto::{
    ids::LogId,
    internal::{Commit, CommitOutcome, CommitStatus},
};

use crate::store::{EventStore, ReadResult, StoreAnswer, StoreError, StoreRead, outcome};

/// Frames of commits that a store which answers too early keeps to itself.
const UNSYNCED_LEN_MAX: usize = 64;

const KILLED: &str = "the store was killed by a test";

/// The faults to plant. Shared with the store; may change while it works.
#[derive(Debug, Default)]
pub struct Faults {
    answer_before_sync: AtomicBool,
    /// Counts down; the commit that finds 1 fails. 0: none fails.
    failing_in: AtomicU64,
    failing_log: Mutex<Option<LogId>>,
    read_only: AtomicBool,
    delay_ms: AtomicU64,
    refused_log: Mutex<Option<LogId>>,
    hidden_log: Mutex<Option<LogId>>,
    unsynced: Mutex<Vec<Commit>>,
    killed: AtomicBool,
}

impl Faults {
    /// Plants the bug "OK before fsync": commits are answered at once and kept in memory, where a
    /// [`Faults::kill`], or the end of the process, forgets them.
    pub fn answer_before_sync(&self) {
        self.answer_before_sync.store(true, Ordering::SeqCst);
    }

    /// Lets the n-th commit from now on (1: the next) fail as a failing fsync does: its outcome is
    /// unknown, and everything after it is refused.
    pub fn fail_sync(&self, n: u64) {
        self.failing_in.store(n, Ordering::SeqCst);
    }

    /// The same for the n-th commit that extends this log; others neither fail nor count.
    pub fn fail_sync_of(&self, log: LogId, n: u64) {
        *locked(&self.failing_log) = Some(log);
        self.fail_sync(n);
    }

    /// Refuses commits that extend this log, as a store without room does, until told otherwise.
    pub fn refuse_log(&self, log: Option<LogId>) {
        *locked(&self.refused_log) = log;
    }

    fn is_refused(&self, commits: &[Commit]) -> bool {
        let refused = *locked(&self.refused_log);
        refused.is_some_and(|log| extends(commits, log))
    }

    /// Answers readers of this log's rows as if they were gone, until told otherwise. Its tail
    /// stays, so that its owner finds it as long as it was.
    pub fn hide_rows(&self, log: Option<LogId>) {
        *locked(&self.hidden_log) = log;
    }

    fn hides(&self, read: &StoreRead) -> bool {
        match read {
            StoreRead::Rows(rows) => *locked(&self.hidden_log) == Some(rows.log_id),
            StoreRead::Tail(_) | StoreRead::Cells(_) => false,
        }
    }

    /// Answers commits this much later.
    pub fn delay(&self, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(delay_ms, Ordering::SeqCst);
    }

    /// Forgets what was answered but not synced, as a power cut does; nothing works afterwards.
    /// Returns how many commits were forgotten.
    pub fn kill(&self) -> usize {
        self.killed.store(true, Ordering::SeqCst);
        std::mem::take(&mut *self.unsynced()).len()
    }

    fn unsynced(&self) -> MutexGuard<'_, Vec<Commit>> {
        locked(&self.unsynced)
    }

    /// Why commits are not passed on, if so. Those that write nothing need no sync.
    fn refusal(&self, commits: &[Commit]) -> Option<(CommitStatus, &'static str)> {
        if self.killed.load(Ordering::SeqCst) {
            return Some((CommitStatus::Unknown, KILLED));
        }
        if !commits.iter().any(writes) {
            return None;
        }
        if self.read_only.load(Ordering::SeqCst) {
            return Some((
                CommitStatus::Refused,
                "read-only since a sync failed in a test",
            ));
        }
        let failing = *locked(&self.failing_log);
        if failing.is_some_and(|log| !extends(commits, log)) {
            return None;
        }
        let one_less = |left: u64| left.checked_sub(1);
        let left = self
            .failing_in
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        if left == Ok(1) {
            self.read_only.store(true, Ordering::SeqCst);
            return Some((CommitStatus::Unknown, "this sync fails in a test"));
        }
        None
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn extends(commits: &[Commit], log: LogId) -> bool {
    let mut batches = commits.iter().flat_map(|commit| &commit.batches);
    batches.any(|batch| batch.log_id == log.to_bytes())
}

fn writes(commit: &Commit) -> bool {
    !(commit.batches.is_empty() && commit.cells.is_empty() && commit.blanks.is_empty())
}

/// A store with faults.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn EventStore>,
    faults: Arc<Faults>,
}

impl FaultyStore {
    /// Wraps a store; nothing fails yet.
    pub fn new(inner: Arc<dyn EventStore>) -> Self {
        Self {
            inner,
            faults: Arc::default(),
        }
    }

    /// The faults, to plant them.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// Answers at once; passes on what was kept when too much is kept.
    fn answer_early(&self, commits: Vec<Commit>) -> Vec<CommitOutcome> {
        let ok = |commit: &Commit| outcome(commit.id, CommitStatus::Committed, "");
        let outcomes = commits.iter().map(ok).collect();
        let mut unsynced = self.faults.unsynced();
        unsynced.extend(commits);
        if unsynced.len() > UNSYNCED_LEN_MAX {
            drop(self.inner.commit(std::mem::take(&mut *unsynced)));
        }
        outcomes
    }

    /// Reads all but what is hidden.
    fn read_hidden(
        &self,
        reads: Vec<StoreRead>,
        hidden: Vec<bool>,
    ) -> BoxFuture<'static, Vec<ReadResult>> {
        let seen = reads.into_iter().zip(&hidden);
        let seen = seen.filter(|(_, hidden)| !**hidden).map(|(read, _)| read);
        let found = self.inner.read(seen.collect());
        async move {
            let mut found = found.await.into_iter();
            let gone = || {
                Ok(StoreAnswer::Rows {
                    rows: Vec::new(),
                    more: false,
                })
            };
            let answer = |hidden| match hidden {
                true => Some(gone()),
                false => found.next(),
            };
            hidden.into_iter().filter_map(answer).collect()
        }
        .boxed()
    }
}

impl EventStore for FaultyStore {
    fn take_shards(&self, shards: Vec<u32>) -> BoxFuture<'static, Result<Vec<u64>, StoreError>> {
        if self.faults.killed.load(Ordering::SeqCst) {
            return ready(Err(StoreError::Refused(KILLED.to_owned()))).boxed();
        }
        self.inner.take_shards(shards)
    }

    fn reads_together(&self) -> bool {
        self.inner.reads_together()
    }

    fn commit(&self, commits: Vec<Commit>) -> BoxFuture<'static, Vec<CommitOutcome>> {
        if let Some((status, text)) = self.faults.refusal(&commits) {
            let refuse = |commit: Commit| outcome(commit.id, status, text);
            return ready(commits.into_iter().map(refuse).collect()).boxed();
        }
        if self.faults.is_refused(&commits) {
            let refuse = |commit: Commit| outcome(commit.id, CommitStatus::Refused, "as asked");
            return ready(commits.into_iter().map(refuse).collect()).boxed();
        }
        let delay = Duration::from_millis(self.faults.delay_ms.load(Ordering::SeqCst));
        let answer = if self.faults.answer_before_sync.load(Ordering::SeqCst) {
            ready(self.answer_early(commits)).boxed()
        } else {
            self.inner.commit(commits)
        };
        if delay.is_zero() {
            return answer;
        }
        async move {
            let outcomes = answer.await;
            tokio::time::sleep(delay).await;
            outcomes
        }
        .boxed()
    }

    fn read(&self, reads: Vec<StoreRead>) -> BoxFuture<'static, Vec<ReadResult>> {
        let hidden: Vec<bool> = reads.iter().map(|read| self.faults.hides(read)).collect();
        if hidden.contains(&true) {
            return self.read_hidden(reads, hidden);
        }
        // Readers see what was answered, as they would in a page cache that was never synced.
        let unsynced = std::mem::take(&mut *self.faults.unsynced());
        let inner = self.inner.clone();
        if unsynced.is_empty() {
            return inner.read(reads);
        }
        let written = inner.commit(unsynced);
        async move {
            written.await;
            inner.read(reads).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HistoryConfig;
    use crate::contract::{self, Store, all_rows, batch, commit, log, put, put_ok, rows_of, take};
    use crate::embedded::EmbeddedStore;

    fn faulty(dir: &std::path::Path) -> (Store, Arc<Faults>, Arc<EmbeddedStore>) {
        let config = HistoryConfig {
            disk_free_bytes_min: 0,
            ..HistoryConfig::at(dir)
        };
        let inner = Arc::new(EmbeddedStore::open(&config).unwrap());
        let store = FaultyStore::new(inner.clone());
        let faults = store.faults().clone();
        (Arc::new(store), faults, inner)
    }

    #[tokio::test]
    async fn without_faults_it_keeps_the_law() {
        let dirs = std::sync::Mutex::new(Vec::new());
        contract::suite(async || {
            let dir = tempfile::tempdir().unwrap();
            let store = faulty(dir.path()).0;
            dirs.lock().unwrap().push(dir);
            store
        })
        .await;
    }

    #[tokio::test]
    async fn a_kill_forgets_what_was_answered_too_early() {
        let dir = tempfile::tempdir().unwrap();
        let (store, faults, inner) = faulty(dir.path());
        let epoch = take(&store).await;
        faults.answer_before_sync();
        put_ok(&store, commit(1, epoch, vec![batch(log(1), 1, 1)])).await;
        assert_eq!(rows_of(&store, all_rows(log(1))).await.0.len(), 1);
        put_ok(&store, commit(2, epoch, vec![batch(log(1), 2, 1)])).await;
        assert_eq!(faults.kill(), 1);
        let inner: Store = inner;
        assert_eq!(
            rows_of(&inner, all_rows(log(1))).await.0.len(),
            1,
            "the second is lost"
        );
    }

    #[tokio::test]
    async fn the_chosen_sync_fails_and_all_after_it_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (store, faults, _) = faulty(dir.path());
        let epoch = take(&store).await;
        faults.fail_sync(2);
        let mut statuses = Vec::new();
        for seq in 1..=3 {
            let outcome = put(&store, commit(seq, epoch, vec![batch(log(1), seq, 1)])).await;
            statuses.push(outcome.status());
        }
        let (unknown, refused) = (CommitStatus::Unknown, CommitStatus::Refused);
        assert_eq!(statuses, [CommitStatus::Committed, unknown, refused]);
    }

    #[tokio::test]
    async fn hidden_rows_are_gone_for_those_who_read_them_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (store, faults, _) = faulty(dir.path());
        let epoch = take(&store).await;
        for number in [1, 2] {
            put_ok(&store, commit(1, epoch, vec![batch(log(number), 1, 1)])).await;
        }
        faults.hide_rows(Some(log(1)));
        let rows = |number| StoreRead::Rows(all_rows(log(number)));
        let found = store.read(vec![rows(1), rows(2)]).await;
        let counts = found.into_iter().map(|answer| match answer {
            Ok(StoreAnswer::Rows { rows, .. }) => rows.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(counts.collect::<Vec<_>>(), [0, 1]);
        faults.hide_rows(None);
        assert_eq!(rows_of(&store, all_rows(log(1))).await.0.len(), 1);
    }
}
