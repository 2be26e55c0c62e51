//! Epochs: raised by conditional writes and read back; verified by reads that many commits share.
//!
//! The epochs of some 64 shards lie in one partition. A commit is verified by a read of it that
//! began after the commit's rows were stored; whoever comes while a read is under way waits for the
//! next one, which serves all of them. Raises are gathered in the same way: a node that takes many
//! shards at once asks for each, and waits for one conditional write or two.
//!
//! Invariant: an epoch is answered only once it was read back at LOCAL_QUORUM; nothing but a
//! conditional write ever changes one. A raise that nobody waits for any more does not begin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared};

use super::owners::EPOCH_MAX;
use super::schema::group;
use super::session::SharedDb;
use super::value::Applied;
use crate::store::StoreError;

/// Raises of one group that are tried, when others raise at the same time.
const TRIES_MAX: usize = 8;
/// How long a raise waits for others: shards that one node gives to another come together. A
/// conditional write takes four windows of the commit log, and who misses one waits for all of it.
const GATHER: Duration = Duration::from_millis(5);

/// The epochs of one group, or why they cannot be read.
type Read = Result<HashMap<u32, Raised>, String>;
type Epochs = Arc<Read>;
type Reading = Shared<BoxFuture<'static, Epochs>>;
/// What came of a raise, for all who are in it.
type Outcome = Arc<Result<HashMap<u32, u64>, StoreError>>;
type Raising = Shared<BoxFuture<'static, Outcome>>;

/// A raise that has not begun.
#[derive(Clone)]
struct Gathering {
    shards: Arc<Mutex<Vec<u32>>>,
    outcome: Raising,
}

/// One who waits for a raise. Who goes before it has begun takes its shards out of it: the next
/// raise, which may come long after, would take them from their owners.
struct Waiting {
    groups: Groups,
    group: i32,
    asked: Vec<u32>,
    gathered: Arc<Mutex<Vec<u32>>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut groups = lock(&self.groups);
        let Some(of_group) = groups.get_mut(&self.group) else {
            return;
        };
        let next = of_group.gathering.as_ref();
        if !next.is_some_and(|next| Arc::ptr_eq(&next.shards, &self.gathered)) {
            return;
        }
        let mut gathered = lock(&self.gathered);
        gathered.retain(|shard| !self.asked.contains(shard));
        let abandoned = match gathered.is_empty() {
            true => of_group.gathering.take(),
            false => None,
        };
        drop((gathered, groups));
        drop(abandoned);
    }
}

/// What the table holds for one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raised {
    epoch: u64,
    by: i64,
}

/// Reads of a group: the one under way, and the one after it that still takes callers.
#[derive(Default)]
struct Group {
    under_way: Option<Reading>,
    next: Option<Reading>,
    /// Raises from here go one after the other: conditional writes of one partition that meet
    /// each other all start again.
    raising: Arc<tokio::sync::Mutex<()>>,
    /// The next one, which still takes shards.
    gathering: Option<Gathering>,
}

type Groups = Arc<Mutex<HashMap<i32, Group>>>;

/// The epochs in the store.
pub struct EpochTable {
    db: SharedDb,
    groups: Groups,
}

impl EpochTable {
    /// Over an opened store.
    pub fn new(db: SharedDb) -> Self {
        Self {
            db,
            groups: Arc::default(),
        }
    }

    /// The shard's epoch, by a read that begins after this call; 0: it has none.
    pub async fn read(&self, shard: u32) -> Result<u64, String> {
        let epochs = self.join(group(shard)).await;
        match &*epochs {
            Ok(epochs) => Ok(epochs.get(&shard).map_or(0, |raised| raised.epoch)),
            Err(error) => Err(error.clone()),
        }
    }

    /// Joins the read that begins next. A read under way has begun before this call, so it does not
    /// count; the next one begins when that has ended.
    fn join(&self, group: i32) -> Reading {
        let mut groups = lock(&self.groups);
        let of_group = groups.entry(group).or_default();
        if let Some(next) = &of_group.next {
            return next.clone();
        }
        let before = of_group.under_way.take();
        let (db, groups) = (self.db.clone(), self.groups.clone());
        let read = async move {
            if let Some(before) = before {
                before.await;
            }
            // From here on callers need a later one.
            if let Some(of_group) = lock(&groups).get_mut(&group) {
                of_group.under_way = of_group.next.take();
            }
            Arc::new(read_group(&db, group).await)
        };
        let next = read.boxed().shared();
        of_group.next = Some(next.clone());
        next
    }

    /// Raises the epochs of shards; answers them in their order.
    pub async fn raise(&self, shards: &[u32]) -> Result<Vec<u64>, StoreError> {
        let mut by_group: HashMap<i32, Vec<u32>> = HashMap::new();
        for &shard in shards {
            let of_group = by_group.entry(group(shard)).or_default();
            if !of_group.contains(&shard) {
                of_group.push(shard);
            }
        }
        let raises = by_group
            .into_iter()
            .map(|(group, shards)| self.raise_with_others(group, shards));
        let mut raised = HashMap::new();
        for done in futures_util::future::join_all(raises).await {
            match &*done {
                Ok(epochs) => raised.extend(epochs),
                Err(error) => return Err(error.clone()),
            }
        }
        let epoch = |shard| raised.get(shard).copied().unwrap_or_default();
        Ok(shards.iter().map(epoch).collect())
    }

    /// In one conditional write with all who come before it begins.
    async fn raise_with_others(&self, group: i32, shards: Vec<u32>) -> Outcome {
        loop {
            match self.gather(group, &shards) {
                Ok((_waiting, outcome)) => return outcome.await,
                Err(before) => drop(before.await),
            }
        }
    }

    /// Joins the raise that begins next. One in which somebody else raises one of these shards is
    /// waited for: each who asks gets an epoch of its own.
    fn gather(&self, group: i32, shards: &[u32]) -> Result<(Waiting, Raising), Raising> {
        let waiting = |gathered| Waiting {
            groups: self.groups.clone(),
            group,
            asked: shards.to_vec(),
            gathered,
        };
        let mut groups = lock(&self.groups);
        let of_group = groups.entry(group).or_default();
        if let Some(next) = &of_group.gathering {
            let mut gathered = lock(&next.shards);
            if shards.iter().any(|shard| gathered.contains(shard)) {
                return Err(next.outcome.clone());
            }
            gathered.extend(shards);
            return Ok((waiting(next.shards.clone()), next.outcome.clone()));
        }
        let gathered = Arc::new(Mutex::new(shards.to_vec()));
        let raise = Raise {
            db: self.db.clone(),
            groups: self.groups.clone(),
            raising: of_group.raising.clone(),
            group,
        };
        let outcome = raise.run(gathered.clone()).boxed().shared();
        of_group.gathering = Some(Gathering {
            shards: gathered.clone(),
            outcome: outcome.clone(),
        });
        Ok((waiting(gathered), outcome))
    }
}

/// One conditional write.
struct Raise {
    db: SharedDb,
    groups: Groups,
    raising: Arc<tokio::sync::Mutex<()>>,
    group: i32,
}

impl Raise {
    async fn run(self, gathered: Arc<Mutex<Vec<u32>>>) -> Outcome {
        let _alone = self.raising.lock().await;
        let reading = read_group(&self.db, self.group);
        let (before, ()) = tokio::join!(reading, tokio::time::sleep(GATHER));
        // From here on callers are in the next one.
        if let Some(of_group) = lock(&self.groups).get_mut(&self.group) {
            of_group.gathering = None;
        }
        let shards = std::mem::take(&mut *lock(&gathered));
        Arc::new(self.all(shards, before).await)
    }

    /// All shards with one conditional batch. What came of it is read, not believed: an outcome
    /// that is unknown is settled by the reading, or by raising again.
    async fn all(&self, shards: Vec<u32>, before: Read) -> Result<HashMap<u32, u64>, StoreError> {
        let group = self.group;
        let unknown = |error: String| StoreError::Unknown(error);
        let mut before = before.map_err(unknown)?;
        let mut last = "others raise it at the same time".to_owned();
        for _ in 0..TRIES_MAX {
            let by = rand::random::<i64>();
            if let Err(error) = self.once(&shards, &before, by).await {
                last = error;
            }
            let after = read_group(&self.db, group).await.map_err(unknown)?;
            let own = |shard: &u32| after.get(shard).filter(|raised| raised.by == by);
            let all: Option<HashMap<_, _>> = shards
                .iter()
                .map(|shard| own(shard).map(|raised| (*shard, raised.epoch)))
                .collect();
            if let Some(all) = all {
                return Ok(all);
            }
            before = after;
        }
        Err(StoreError::Unknown(format!(
            "the epoch was not raised: {last}"
        )))
    }

    async fn once(
        &self,
        shards: &[u32],
        before: &HashMap<u32, Raised>,
        by: i64,
    ) -> Result<(), String> {
        let mut sets = Vec::with_capacity(shards.len());
        for &shard in shards {
            let epoch = before.get(&shard).map(|raised| raised.epoch);
            let next = epoch.unwrap_or(0) + 1;
            if next > EPOCH_MAX {
                return Err(format!("shard {shard} has used up its epochs"));
            }
            let epoch = epoch.map(|epoch| epoch as i64);
            sets.push(vec![
                (next as i64).into(),
                by.into(),
                self.group.into(),
                (shard as i32).into(),
                epoch.into(),
            ]);
        }
        let raise = &self.db.statements.epoch_raise;
        let answer = self.db.conditionally(raise, &sets).await;
        if !applied(&answer.map_err(|error| error.to_string())?) {
            return Err("another owner raised it at the same time".to_owned());
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read_group(db: &SharedDb, group: i32) -> Read {
    type Found = (i32, Option<i64>, Option<i64>);
    let rows: Vec<Found> = db
        .rows(&db.statements.epochs_read, &[group.into()])
        .await
        .map_err(|error| error.to_string())?;
    let raised = |(shard, epoch, by): Found| {
        let epoch = epoch.unwrap_or(0) as u64;
        let by = by.unwrap_or(0);
        (shard as u32, Raised { epoch, by })
    };
    Ok(rows.into_iter().map(raised).collect())
}

/// Whether a conditional statement was applied.
pub fn applied(answer: &[Applied]) -> bool {
    answer.first().is_some_and(|first| first.0)
}
