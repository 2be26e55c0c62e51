//! The one thread that writes: gathers what waits, forms one batch, syncs once, answers all.
//!
//! While it waits for the disk, the queue fills: that is the next batch, so the busier the store,
//! the larger its batches. Epochs are raised here too, which is why a commit verified here is
//! verified after its sync as well: nobody can have raised it in between.
//!
//! On failure: nothing is answered `COMMITTED` whose sync did not succeed; after a failed write the
//! store refuses writes until it is opened again, since the engine's memory and the disk may
//! differ. Reads go on.
//!
//! Invariant: the numbers of commits on disk have no gap.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use fjall::{OwnedWriteBatch, PersistMode};
use heddle_proto::internal::{Commit, CommitOutcome, CommitStatus};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::acked::Acked;
use super::engine::{
    COMMIT_COUNT, EPOCH_COUNT, ERASED_SINCE, Engine, own_key, shard_epoch_clustering,
};
use super::forming::{Forming, Ledger, Place};
use super::status::Status;
use crate::cell::CellKey;
use crate::config::HistoryConfig;
use crate::refusal;
use crate::store::{ReadError, StoreError, outcome};

/// How long a look at the disk's free space is believed.
const FREE_SPACE_AGE_MAX: Duration = Duration::from_millis(250);

/// Work for the writer.
pub enum Job {
    /// Commits of one frame, and the place they hold in the queue's bound of bytes.
    Commit(
        Vec<Commit>,
        oneshot::Sender<Vec<CommitOutcome>>,
        OwnedSemaphorePermit,
    ),
    /// Raise the epoch of shards.
    Take(Vec<u32>, oneshot::Sender<Result<Vec<u64>, StoreError>>),
    /// End the thread, after what was queued before.
    Close,
}

type Reply = (oneshot::Sender<Vec<CommitOutcome>>, Vec<CommitOutcome>);

/// The writer's state; lives on its thread.
pub struct Writer {
    engine: Engine,
    acked: Acked,
    status: Arc<Status>,
    ledger: Ledger,
    epoch_count: u64,
    /// Shards raised while nothing could be written: their epochs go with the next write.
    epochs_unsaved: Vec<u32>,
    commit_count: u64,
    sync_bytes_max: usize,
    disk_free_bytes_min: u64,
    free_space_at: Option<Instant>,
    disk_full: bool,
    /// Test hook: the next write fails as a broken disk would make it fail.
    #[cfg(test)]
    pub fail_next: Arc<std::sync::atomic::AtomicBool>,
}

impl Writer {
    /// Reads what the writer must know from the store.
    pub fn new(
        engine: Engine,
        acked: Acked,
        status: Arc<Status>,
        config: &HistoryConfig,
    ) -> Result<Self, ReadError> {
        match engine.own_number(ERASED_SINCE)? {
            0 => {}
            since_ms => drop(status.note_erasure(since_ms)),
        }
        let epochs = engine.shard_epochs()?.into_iter().collect();
        Ok(Self {
            epoch_count: engine.own_number(EPOCH_COUNT)?,
            epochs_unsaved: Vec::new(),
            commit_count: engine.own_number(COMMIT_COUNT)?,
            ledger: Ledger {
                epochs,
                ..Ledger::default()
            },
            sync_bytes_max: config.sync_bytes_max,
            disk_free_bytes_min: config.disk_free_bytes_min,
            free_space_at: None,
            disk_full: false,
            engine,
            acked,
            status,
            #[cfg(test)]
            fail_next: Arc::default(),
        })
    }

    /// Works until [`Job::Close`] or until nobody can send work any more.
    pub fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut next = queue.blocking_recv();
        while let Some(job) = next.take() {
            next = match job {
                Job::Commit(commits, reply, permit) => {
                    let (replies, left) = self.commit(commits, reply, permit, &mut queue);
                    for (reply, outcomes) in replies {
                        let _caller_may_have_gone = reply.send(outcomes);
                    }
                    left
                }
                Job::Take(shards, reply) => {
                    let _caller_may_have_gone = reply.send(self.take(&shards));
                    None
                }
                Job::Close => return,
            };
            next = next.or_else(|| queue.blocking_recv());
        }
    }

    /// One batch: this job and what waits behind it. Returns a job that did not belong to it.
    fn commit(
        &mut self,
        commits: Vec<Commit>,
        reply: oneshot::Sender<Vec<CommitOutcome>>,
        permit: OwnedSemaphorePermit,
        queue: &mut mpsc::Receiver<Job>,
    ) -> (Vec<Reply>, Option<Job>) {
        let refused = self.refusing();
        let mut forming = Forming::default();
        let mut replies = vec![(reply, self.form(&commits, &mut forming, refused.as_deref()))];
        drop(permit);
        let mut left = None;
        while forming.bytes() < self.sync_bytes_max {
            match queue.try_recv() {
                Ok(Job::Commit(commits, reply, _permit)) => {
                    let outcomes = self.form(&commits, &mut forming, refused.as_deref());
                    replies.push((reply, outcomes));
                }
                Ok(other) => {
                    left = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        if let Err(message) = self.write(forming) {
            for (_, outcomes) in &mut replies {
                fail(outcomes, &message);
            }
        }
        (replies, left)
    }

    /// Adds the commits of one frame; the outcomes hold once the batch is on disk.
    fn form(
        &mut self,
        commits: &[Commit],
        forming: &mut Forming,
        refused: Option<&str>,
    ) -> Vec<CommitOutcome> {
        let form = |commit: &Commit| {
            let writes =
                !(commit.batches.is_empty() && commit.cells.is_empty() && commit.blanks.is_empty());
            let result = match refused {
                Some(reason) if writes => Err(refusal::invalid(reason.to_owned())),
                _ => forming.add(commit, &mut self.ledger, &self.engine),
            };
            match result {
                Ok(()) => outcome(commit.id, CommitStatus::Committed, String::new()),
                Err(refusal) => outcome(commit.id, refusal.status, refusal.message),
            }
        };
        commits.iter().map(form).collect()
    }

    /// Raises the epoch of shards. While nothing can be written they are raised in memory, since
    /// reads need an owner too; no write goes without them, so no other start ever gets the same.
    fn take(&mut self, shards: &[u32]) -> Result<Vec<u64>, StoreError> {
        self.epoch_count += 1;
        for &shard in shards {
            self.ledger.epochs.insert(shard, self.epoch_count);
        }
        self.epochs_unsaved.extend(shards);
        if self.refusing().is_none() {
            let mut forming = Forming::default();
            self.push_epochs(&mut forming);
            self.write(forming).map_err(StoreError::Unknown)?;
        }
        Ok(vec![self.epoch_count; shards.len()])
    }

    fn push_epochs(&mut self, forming: &mut Forming) {
        if self.epochs_unsaved.is_empty() {
            return;
        }
        push_own(forming, EPOCH_COUNT, self.epoch_count);
        for shard in std::mem::take(&mut self.epochs_unsaved) {
            let epoch = self.ledger.epochs.get(&shard).copied().unwrap_or_default();
            push_own(forming, &shard_epoch_clustering(shard), epoch);
        }
    }

    /// Writes and syncs; after an error the store is read-only.
    fn write(&mut self, mut forming: Forming) -> Result<(), String> {
        if forming.records.is_empty() {
            return Ok(());
        }
        self.push_epochs(&mut forming);
        let (blanked, now_ms) = (forming.blanked, now_ms());
        if blanked && self.status.note_erasure(now_ms) {
            push_own(&mut forming, ERASED_SINCE, now_ms);
        }
        push_own(&mut forming, COMMIT_COUNT, self.commit_count + 1);
        if let Err(error) = self.write_engine(forming) {
            let message = format!("writing failed ({error}); read-only until the next start");
            tracing::error!(%error, "the store is read-only until the next start");
            self.status.set_read_only(&message);
            self.ledger.heads.clear();
            return Err(message);
        }
        self.commit_count += 1;
        self.acked.remember(self.commit_count);
        if blanked {
            self.status.note_erasure(now_ms);
        }
        Ok(())
    }

    fn write_engine(&self, forming: Forming) -> fjall::Result<()> {
        #[cfg(test)]
        if self
            .fail_next
            .swap(false, std::sync::atomic::Ordering::SeqCst)
        {
            return Err(fjall::Error::Poisoned);
        }
        // Copied to their exact length: the engine's memory keeps what it gets.
        let logs = Bytes::copy_from_slice(&forming.logs);
        let cells = Bytes::copy_from_slice(&forming.cells);
        let batch = OwnedWriteBatch::with_capacity(self.engine.db.clone(), forming.records.len());
        let mut batch = batch.durability(Some(PersistMode::SyncData));
        for record in forming.records {
            let (keyspace, bytes) = match record.place {
                Place::Logs => (&self.engine.logs, &logs),
                Place::Cells => (&self.engine.cells, &cells),
            };
            let key = bytes.slice(record.key);
            match record.value {
                Some(value) => batch.insert(keyspace, key, bytes.slice(value)),
                None => batch.remove(keyspace, key),
            }
        }
        batch.commit()?;
        self.engine.bound_memory()
    }

    /// Why nothing can be written now, if so.
    fn refusing(&mut self) -> Option<String> {
        if let Some(reason) = self.status.read_only() {
            return Some(reason);
        }
        if self
            .free_space_at
            .is_none_or(|at| at.elapsed() > FREE_SPACE_AGE_MAX)
        {
            self.free_space_at = Some(Instant::now());
            self.look_at_free_space();
        }
        let min = self.disk_free_bytes_min;
        self.disk_full
            .then(|| format!("the disk has less than {min} bytes free: make room"))
    }

    fn look_at_free_space(&mut self) {
        let stat = match rustix::fs::statvfs(self.engine.logs.path()) {
            Ok(stat) => stat,
            Err(error) => return tracing::warn!(%error, "cannot tell the disk's free space"),
        };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let full = free < self.disk_free_bytes_min;
        if full != self.disk_full {
            let min = self.disk_free_bytes_min;
            tracing::warn!(
                free,
                min,
                full,
                "free space of the disk crossed the minimum"
            );
        }
        self.disk_full = full;
    }
}

/// What was to be committed is in doubt; other outcomes stay.
fn fail(outcomes: &mut [CommitOutcome], message: &str) {
    for outcome in outcomes {
        if outcome.status() == CommitStatus::Committed {
            outcome.set_status(CommitStatus::Unknown);
            outcome.message = message.to_owned();
        }
    }
}

fn push_own(forming: &mut Forming, clustering: &[u8], number: u64) {
    let key = CellKey {
        table: 0,
        partition: &[],
        clustering,
    };
    debug_assert_eq!(key.to_bytes(), own_key(clustering));
    forming.push_cell(key, Some(&number.to_be_bytes()));
}

/// Milliseconds since the Unix epoch, for the age of erased bodies only.
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
