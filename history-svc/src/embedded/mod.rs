//! The event store in one directory of one machine: fjall, one writer thread, a bounded pool for
//! reads.
//!
//! `directory` and `preflight` decide whether a store may be opened, `writer` and `forming` write
//! it, `reads` reads it, `compaction` sees to it that erased bodies leave the disk.
//!
//! Invariant: one process, one writer. What a crash can lose was never acknowledged, and what a
//! broken disk loses is noticed at the next start.

mod acked;
mod compaction;
mod directory;
mod engine;
mod forming;
mod heads;
mod journal;
mod open_error;
mod preflight;
mod reads;
mod status;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use heddle_proto::internal::{Commit, CommitOutcome, CommitStatus};
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::acked::Acked;
use self::directory::Directory;
use self::engine::COMMIT_COUNT;
use self::status::Status;
use self::writer::{Job, Writer};
use crate::config::HistoryConfig;
use crate::store::{EventStore, ReadError, ReadResult, StoreError, StoreRead, outcome};

pub use self::directory::FORMAT;
pub(crate) use self::engine::Engine;
pub use self::open_error::OpenError;

/// The queue's bytes are counted in units of this, so that they fit a semaphore.
const QUEUE_UNIT_BYTES: usize = 1024;

/// The embedded event store. Close it to open the directory again.
pub struct EmbeddedStore {
    engine: Engine,
    status: Arc<Status>,
    queue: mpsc::Sender<Job>,
    queue_units: Arc<Semaphore>,
    queue_units_max: usize,
    reading: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
    #[cfg(test)]
    fail_next: Arc<std::sync::atomic::AtomicBool>,
    // Last, so that the directory is locked until the engine is closed.
    directory: Directory,
}

impl EmbeddedStore {
    /// Opens the store, or makes one. Blocks for as long as reading the journals takes.
    pub fn open(config: &HistoryConfig) -> Result<Self, OpenError> {
        let (directory, engine, acked) = open_parts(config)?;
        let unreadable = |error: ReadError| OpenError::Damaged {
            path: directory.engine_path(),
            detail: error.to_string(),
        };
        let status = Arc::new(Status::default());
        let writer = Writer::new(engine.clone(), acked, status.clone(), config);
        let writer = writer.map_err(unreadable)?;
        #[cfg(test)]
        let fail_next = writer.fail_next.clone();
        let (queue, waiting) = mpsc::channel(config.queue_len_max.max(1));
        let path = directory.engine_path();
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let thread = thread.spawn(move || writer.run(waiting));
        let thread = thread.map_err(open_error::io_at(&path))?;
        let queue_units_max = config.queue_bytes_max.div_ceil(QUEUE_UNIT_BYTES).max(1);
        Ok(Self {
            engine,
            status,
            queue,
            queue_units: Arc::new(Semaphore::new(queue_units_max)),
            queue_units_max,
            reading: Arc::new(Semaphore::new(config.blocking_reads_max.max(1))),
            writer: Mutex::new(Some(thread)),
            #[cfg(test)]
            fail_next,
            directory,
        })
    }

    /// Why the store takes no commits any more, if so.
    pub fn read_only(&self) -> Option<String> {
        self.status.read_only()
    }

    /// The store's identity, the same for its whole life.
    pub fn store_id(&self) -> [u8; 16] {
        self.directory.store_id
    }

    /// Where the engine's files are.
    pub fn engine_path(&self) -> PathBuf {
        self.directory.engine_path()
    }

    /// The engine, for the store's own checks.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Ends the writer after what is queued; later commits are refused.
    pub async fn close(&self) {
        let _already_closed = self.queue.send(Job::Close).await;
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            let joined = tokio::task::spawn_blocking(move || writer.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the store's writer panicked");
            }
        }
    }

    fn enqueue(
        &self,
        commits: Vec<Commit>,
    ) -> Result<oneshot::Receiver<Vec<CommitOutcome>>, String> {
        let units = commits
            .iter()
            .map(commit_bytes)
            .sum::<usize>()
            .div_ceil(QUEUE_UNIT_BYTES);
        let units = u32::try_from(units.min(self.queue_units_max)).unwrap_or(u32::MAX);
        let permit = self.queue_units.clone().try_acquire_many_owned(units);
        let permit = permit.map_err(|_| "too many bytes wait for the disk".to_owned())?;
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(Job::Commit(commits, reply, permit)) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err("too many commits wait for the disk".to_owned())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err("the store is closed".to_owned()),
        }
    }
}

impl EventStore for EmbeddedStore {
    fn take_shards(&self, shards: Vec<u32>) -> BoxFuture<'static, Result<Vec<u64>, StoreError>> {
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.queue.try_send(Job::Take(shards, reply)) {
            return ready(Err(StoreError::Refused(error.to_string()))).boxed();
        }
        let lost = || StoreError::Unknown("the store's writer has ended".to_owned());
        async move { answer.await.unwrap_or_else(|_| Err(lost())) }.boxed()
    }

    fn commit(&self, commits: Vec<Commit>) -> BoxFuture<'static, Vec<CommitOutcome>> {
        let ids: Vec<u64> = commits.iter().map(|commit| commit.id).collect();
        let all = move |status, message: &str| {
            ids.iter()
                .map(|&id| outcome(id, status, message))
                .collect::<Vec<_>>()
        };
        let answer = match self.enqueue(commits) {
            Ok(answer) => answer,
            Err(message) => return ready(all(CommitStatus::Refused, &message)).boxed(),
        };
        let lost = "the store's writer has ended";
        async move {
            answer
                .await
                .unwrap_or_else(|_| all(CommitStatus::Unknown, lost))
        }
        .boxed()
    }

    fn read(&self, reads: Vec<StoreRead>) -> BoxFuture<'static, Vec<ReadResult>> {
        let (engine, reading) = (self.engine.clone(), self.reading.clone());
        async move {
            let count = reads.len();
            let _permit = reading.acquire_owned().await;
            let read = move || reads::read_all(&engine, &reads);
            let answers = tokio::task::spawn_blocking(read).await;
            answers.unwrap_or_else(|error| {
                tracing::error!(%error, "a read of the store failed");
                let error = ReadError::DataLoss(
                    "a file of the store is damaged; run `heddle check --store`".to_owned(),
                );
                vec![Err(error); count]
            })
        }
        .boxed()
    }
}

/// An opened engine and what keeps its directory locked, for a look at every record.
pub(crate) fn open_for_check(config: &HistoryConfig) -> Result<(Directory, Engine), OpenError> {
    let (directory, engine, _) = open_parts(config)?;
    Ok((directory, engine))
}

/// Locks, checks, opens; the parts of an open store.
fn open_parts(config: &HistoryConfig) -> Result<(Directory, Engine, Acked), OpenError> {
    let directory = Directory::open(&config.store_dir())?;
    let (path, acked_path) = (directory.engine_path(), directory.acked_path());
    if directory.fresh {
        let engine = Engine::open(&path, config)?;
        let acked = Acked::create(&acked_path, directory.store_id)?;
        directory.finish()?;
        return Ok((directory, engine, acked));
    }
    let accept = config.accept_data_loss;
    let (acked, acknowledged) = match Acked::open(&acked_path, directory.store_id) {
        Err(error) if accept => {
            tracing::error!(%error, "going on without knowing what was acknowledged, as asked");
            (Acked::create(&acked_path, directory.store_id)?, 0)
        }
        opened => opened?,
    };
    preflight::check(&path, acknowledged, accept)?;
    let engine = Engine::open(&path, config)?;
    preflight::check_opened(&engine, &path, acknowledged, accept)?;
    let acked = if accept {
        forget_loss(&directory, &engine)?
    } else {
        acked
    };
    Ok((directory, engine, acked))
}

/// From now on what is there is what was acknowledged. Journals in which something is missing are
/// left behind, since they would be refused at the next start again.
fn forget_loss(directory: &Directory, engine: &Engine) -> Result<Acked, OpenError> {
    let path = directory.engine_path();
    let failed = |detail: String| OpenError::Engine {
        path: path.clone(),
        detail,
    };
    let found = engine
        .own_number(COMMIT_COUNT)
        .map_err(|error| failed(error.to_string()))?;
    compaction::leave_journals(engine, &path).map_err(|error| failed(error.to_string()))?;
    let acked = Acked::create(&directory.acked_path(), directory.store_id)?;
    acked.remember(found);
    Ok(acked)
}

/// Bytes of a commit, as far as they count.
fn commit_bytes(commit: &Commit) -> usize {
    let batch = |events: &[Bytes]| events.iter().map(Bytes::len).sum::<usize>();
    let batches: usize = commit
        .batches
        .iter()
        .map(|rows| 64 + batch(&rows.events))
        .sum();
    let cells: usize = commit.cells.iter().map(|cell| 64 + cell.value.len()).sum();
    batches + cells + 64 * (1 + commit.blanks.len())
}
