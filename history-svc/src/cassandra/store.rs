//! The event store on Cassandra: the trait's calls, handed to the lanes of their shards.
//!
//! Invariant: a commit's place in the order is taken when it is called, not when it is polled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use heddle_kit::Tasks;
use heddle_proto::internal::{Commit, CommitOutcome, CommitStatus};
use prost::Message as _;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::config::CassandraConfig;
use super::driver::Driver;
use super::epoch::EpochTable;
use super::heads::Heads;
use super::lane::{self, Job};
use super::leases::{self, LeasesOnCassandra};
use super::migrate::migrate;
use super::owners::{Owner, Owners};
use super::preflight;
use super::session::{ConnectError, Db, SharedDb};
use crate::leases::NODES_MAX;
use crate::store::{EventStore, ReadResult, StoreError, StoreRead, outcome};

/// The queue's bytes are counted in units of this, so that they fit a semaphore.
const QUEUE_UNIT_BYTES: usize = 1024;

/// What lanes and reads share.
pub struct Inner {
    /// The opened store.
    pub db: SharedDb,
    /// Epochs in the store.
    pub epochs: EpochTable,
    /// Epochs raised here.
    pub owners: Owners,
    /// Heads of logs taken over here.
    pub heads: Heads,
}

/// The event store on Cassandra.
pub struct CassandraStore {
    inner: Arc<Inner>,
    lanes: Mutex<HashMap<u32, mpsc::Sender<Job>>>,
    queue_units: Arc<Semaphore>,
    queue_units_max: usize,
    queue_len_max: usize,
    tasks: Tasks,
}

impl CassandraStore {
    /// Connects, checks what has to hold, prepares. Lanes are tasks of `tasks`.
    pub async fn open(
        driver: &dyn Driver,
        config: &CassandraConfig,
        tasks: &Tasks,
    ) -> Result<Self, ConnectError> {
        if config.migrate_at_start {
            migrate(driver, config).await?;
        }
        let anywhere = driver.connect(config, None).await?;
        let datacenter = preflight::check(&*anywhere, config).await?;
        let session = driver.connect(config, Some(&datacenter)).await?;
        let db = Arc::new(Db::open(&*session, config).await?);
        refuse_lost_epochs(&db).await?;
        let inner = Inner {
            epochs: EpochTable::new(db.clone()),
            db,
            owners: Owners::default(),
            heads: Heads::default(),
        };
        let queue_units_max = config.queue_bytes_max.div_ceil(QUEUE_UNIT_BYTES).max(1);
        Ok(Self {
            inner: Arc::new(inner),
            lanes: Mutex::default(),
            queue_units: Arc::new(Semaphore::new(queue_units_max)),
            queue_units_max,
            queue_len_max: config.shard_queue_len_max.max(1),
            tasks: tasks.clone(),
        })
    }

    /// Whether the store answers now, at the consistency that commits need.
    pub async fn check(&self) -> Result<(), String> {
        self.inner.epochs.read(0).await.map(drop)
    }

    /// Who has a lease, in the same keyspace.
    pub fn leases(&self) -> LeasesOnCassandra {
        LeasesOnCassandra::new(self.inner.db.clone(), leases::POOL, NODES_MAX)
    }

    /// What tests look into.
    #[cfg(any(test, feature = "contract"))]
    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Puts a commit into its shard's lane.
    fn enqueue(&self, commit: Commit) -> Result<oneshot::Receiver<CommitOutcome>, String> {
        let units = commit.encoded_len().div_ceil(QUEUE_UNIT_BYTES);
        let units = u32::try_from(units.min(self.queue_units_max)).unwrap_or(u32::MAX);
        let permit = self.queue_units.clone().try_acquire_many_owned(units);
        let permit = permit.map_err(|_| "too many bytes wait for the store".to_owned())?;
        let shard = commit.shard;
        let (reply, answer) = oneshot::channel();
        let job = Job {
            commit,
            reply,
            permit,
        };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(shard).or_insert_with(|| self.new_lane());
        let sent = lane.try_send(job);
        sent.map(|()| answer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                "too many commits of this shard wait for the store".to_owned()
            }
            mpsc::error::TrySendError::Closed(_) => "the store is closed".to_owned(),
        })
    }

    fn new_lane(&self) -> mpsc::Sender<Job> {
        let (sender, queue) = mpsc::channel(self.queue_len_max);
        let lane = lane::run(self.inner.clone(), queue, self.tasks.clone());
        self.tasks.spawn("lane", lane);
        sender
    }

    /// A commit on its way, or its refusal.
    fn begin(&self, commit: Commit) -> BoxFuture<'static, CommitOutcome> {
        let id = commit.id;
        // A lane for whoever names a shard would be a queue per wish.
        if let Err(error) = self.inner.owners.check(super::commit::owner_of(&commit)) {
            let fenced = outcome(id, CommitStatus::Fenced, error.to_string());
            return std::future::ready(fenced).boxed();
        }
        match self.enqueue(commit) {
            Ok(answer) => answer
                .map(move |told| {
                    told.unwrap_or_else(|_| {
                        outcome(id, CommitStatus::Unknown, "the store was closed meanwhile")
                    })
                })
                .boxed(),
            Err(message) => std::future::ready(outcome(id, CommitStatus::Refused, message)).boxed(),
        }
    }
}

impl EventStore for CassandraStore {
    fn take_shards(&self, shards: Vec<u32>) -> BoxFuture<'static, Result<Vec<u64>, StoreError>> {
        let inner = self.inner.clone();
        async move {
            let epochs = inner.epochs.raise(&shards).await?;
            for (&shard, &epoch) in shards.iter().zip(&epochs) {
                inner.owners.grant(Owner { shard, epoch });
            }
            Ok(epochs)
        }
        .boxed()
    }

    fn commit(&self, commits: Vec<Commit>) -> BoxFuture<'static, Vec<CommitOutcome>> {
        let under_way: Vec<_> = commits.into_iter().map(|one| self.begin(one)).collect();
        join_all(under_way).boxed()
    }

    fn read(&self, reads: Vec<StoreRead>) -> BoxFuture<'static, Vec<ReadResult>> {
        let inner = self.inner.clone();
        async move { super::reads::read_all(&inner, reads).await }.boxed()
    }

    fn reads_together(&self) -> bool {
        false
    }
}

/// Logs without a single epoch: somebody has emptied the table, and former owners could write.
async fn refuse_lost_epochs(db: &Db) -> Result<(), ConnectError> {
    let answer = |error: super::session::Failed| ConnectError::Answer(error.to_string());
    let shards: Vec<(i32,)> = db
        .rows(&db.statements.any_shard, &[])
        .await
        .map_err(answer)?;
    if !shards.is_empty() {
        return Ok(());
    }
    let rows: Vec<(i64,)> = db.rows(&db.statements.any_row, &[]).await.map_err(answer)?;
    if rows.is_empty() {
        return Ok(());
    }
    Err(ConnectError::Refused {
        field: "cassandra.keyspace",
        reason: "it has logs and no epochs: the table shards was lost; restore it from a backup"
            .to_owned(),
    })
}
