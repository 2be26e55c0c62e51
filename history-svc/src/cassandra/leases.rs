//! Leases of chat nodes on Cassandra, for any number of history-svc processes.
//!
//! One row for each start of a node, which only that start writes: so no write is conditional, and
//! a former self can't speak for its successor. A row's age is the difference of two times of
//! Cassandra's own, that of its write and that of the read, to the millisecond; its TTL, which goes
//! by whole seconds, is a little longer and only removes what nobody counts any more.
//!
//! The first to say over how many shards it spreads logs pins that in the schema, for good: epochs
//! and the logs under them belong to a number of shards.
//!
//! Invariant: a renewal is stored at LOCAL_QUORUM before it is answered, and the answer is read
//! after that: of two who join at the same time, at least one sees the other.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use heddle_proto::internal::{LeaseRequest, LiveNode};

use super::driver::CqlError;
use super::session::{Failed, SharedDb};
use super::value::Applied;
use crate::leases::{LeaseError, Leases, TTL_MAX_MS, differs};
use crate::store::StoreError;

/// The partition of all leases.
pub(super) const POOL: i32 = 0;
/// Seconds that a row outlives its lease: the store counts its seconds from the last full one.
const TTL_SPARE_S: i32 = 2;

/// Leases in the table `nodes`.
pub struct LeasesOnCassandra {
    db: SharedDb,
    pool: i32,
    nodes_max: usize,
    /// How many shards the store's logs lie in, once that was read.
    shard_count: Arc<OnceLock<u32>>,
}

impl LeasesOnCassandra {
    /// Over an opened store; so many nodes at once, the earliest started.
    pub(super) fn new(db: SharedDb, pool: i32, nodes_max: usize) -> Self {
        Self {
            db,
            pool,
            nodes_max,
            shard_count: Arc::default(),
        }
    }
}

impl Leases for LeasesOnCassandra {
    fn renew(&self, lease: LeaseRequest) -> BoxFuture<'static, Result<Vec<LiveNode>, LeaseError>> {
        let (db, pool, nodes_max) = (self.db.clone(), self.pool, self.nodes_max);
        let pinned = self.shard_count.clone();
        async move {
            let asks = lease.ttl_ms > 0;
            if asks && lease.shard_count > 0 {
                let asked = lease.shard_count;
                let here = shard_count(&db, pool, asked, &pinned).await?;
                if differs(here, asked) {
                    return Err(LeaseError::Shards { asked, here });
                }
            }
            let (node, incarnation) = (lease.node.clone(), lease.incarnation);
            write(&db, pool, lease).await.map_err(unavailable)?;
            let rows = db.rows(&db.statements.leases_read, &[pool.into()]).await;
            let live = live(rows.map_err(unavailable)?);
            let own = live.iter().find(|other| other.node == node);
            if own.is_some_and(|other| other.incarnation > incarnation) {
                return Err(LeaseError::Superseded(node));
            }
            let first = earliest(live, nodes_max);
            if asks && !first.iter().any(|other| other.node == node) {
                end(&db, pool, &node, incarnation)
                    .await
                    .map_err(unavailable)?;
                return Err(LeaseError::TooMany);
            }
            Ok(first)
        }
        .boxed()
    }
}

/// How many shards the store's logs lie in; pinned as `asked` if nobody has said before.
async fn shard_count(
    db: &SharedDb,
    pool: i32,
    asked: u32,
    pinned: &OnceLock<u32>,
) -> Result<u32, LeaseError> {
    if let Some(known) = pinned.get() {
        return Ok(*known);
    }
    let (name, value) = (shards_of(pool), asked.to_string());
    let sets = [vec![name.as_str().into(), value.as_str().into()]];
    let pin = &db.statements.setting_pin;
    // What came of it is read, not believed.
    let told: Result<Vec<Applied>, CqlError> = db.conditionally(pin, &sets).await;
    let (read, asks) = (&db.statements.setting_read, [name.as_str().into()]);
    let rows: Vec<(Option<String>,)> = db.rows(read, &asks).await.map_err(unavailable)?;
    let found = rows.into_iter().next().and_then(|(value,)| value);
    let found = found.and_then(|value| value.parse().ok());
    let unpinned = || {
        let why = told
            .err()
            .map_or_else(String::new, |error| error.to_string());
        StoreError::Unknown(format!("the number of shards was not pinned: {why}"))
    };
    let here = found.ok_or_else(unpinned)?;
    Ok(*pinned.get_or_init(|| here))
}

/// The setting's name.
fn shards_of(pool: i32) -> String {
    match pool {
        POOL => "shards".to_owned(),
        other => format!("shards of pool {other}"),
    }
}

/// Advice that was not stored, or not read: it may be asked for again.
fn unavailable(failed: Failed) -> LeaseError {
    StoreError::Unknown(failed.to_string()).into()
}

async fn write(db: &SharedDb, pool: i32, lease: LeaseRequest) -> Result<(), Failed> {
    if lease.ttl_ms == 0 {
        return end(db, pool, &lease.node, lease.incarnation).await;
    }
    let ttl_ms = lease.ttl_ms.min(TTL_MAX_MS);
    let expires_s = ttl_ms.div_ceil(1000) as i32 + TTL_SPARE_S;
    let owned: Vec<i32> = lease.owned.iter().map(|shard| *shard as i32).collect();
    let values = [
        pool.into(),
        lease.node.as_str().into(),
        (lease.incarnation as i64).into(),
        (ttl_ms as i32).into(),
        lease.address.as_str().into(),
        lease.leaving.into(),
        owned.as_slice().into(),
        lease.cut_off.into(),
        expires_s.into(),
    ];
    db.write(&db.statements.lease_write, &values).await
}

async fn end(db: &SharedDb, pool: i32, node: &str, incarnation: u64) -> Result<(), Failed> {
    let values = [pool.into(), node.into(), (incarnation as i64).into()];
    db.write(&db.statements.lease_end, &values).await
}

/// node, incarnation, ttl, address, leaving, owned, cut off; when it was written (microseconds) and
/// read (milliseconds). What a row lacks was removed, or its writer did not know of it.
type Row = (
    String,
    i64,
    Option<i32>,
    Option<String>,
    Option<bool>,
    Option<Vec<i32>>,
    Option<bool>,
    Option<i64>,
    i64,
);

/// The newest start of each node whose lease has not ended, by name.
fn live(rows: Vec<Row>) -> Vec<LiveNode> {
    let mut newest: BTreeMap<String, LiveNode> = BTreeMap::new();
    for row in rows {
        let (node, incarnation, ttl_ms, address, leaving, owned, cut_off, written_us, read_ms) =
            row;
        let (Some(ttl_ms), Some(written_us)) = (ttl_ms, written_us) else {
            continue;
        };
        if read_ms - written_us / 1000 >= i64::from(ttl_ms) {
            continue;
        }
        let incarnation = incarnation as u64;
        let known = newest.get(&node);
        if known.is_none_or(|known| known.incarnation < incarnation) {
            let found = LiveNode {
                node: node.clone(),
                incarnation,
                address: address.unwrap_or_default(),
                leaving: leaving.unwrap_or_default(),
                owned: owned
                    .unwrap_or_default()
                    .iter()
                    .map(|it| *it as u32)
                    .collect(),
                cut_off: cut_off.unwrap_or_default(),
            };
            newest.insert(node, found);
        }
    }
    newest.into_values().collect()
}

/// The first so many to have started, by name: who is one too many has no lease.
fn earliest(mut live: Vec<LiveNode>, nodes_max: usize) -> Vec<LiveNode> {
    if live.len() > nodes_max {
        live.sort_by_key(|node| node.incarnation);
        live.truncate(nodes_max);
        live.sort_by(|one, other| one.node.cmp(&other.node));
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: &str, incarnation: i64, written_ms: i64, read_ms: i64) -> Row {
        let (ttl_ms, written_us) = (Some(3_000), Some(written_ms * 1000));
        (
            node.into(),
            incarnation,
            ttl_ms,
            None,
            None,
            None,
            None,
            written_us,
            read_ms,
        )
    }

    fn names(nodes: &[LiveNode]) -> Vec<(&str, u64)> {
        nodes
            .iter()
            .map(|it| (it.node.as_str(), it.incarnation))
            .collect()
    }

    #[test]
    fn a_row_counts_as_long_as_its_lease_and_the_newest_start_alone() {
        let rows = vec![
            row("a", 1, 10_000, 12_999),
            row("b", 1, 9_999, 12_999),
            row("c", 1, 12_000, 12_999),
            row("c", 2, 11_000, 12_999),
            row("d", 2, 9_000, 12_999),
            row("d", 1, 12_000, 12_999),
        ];
        assert_eq!(names(&live(rows)), [("a", 1), ("c", 2), ("d", 1)]);
    }

    #[test]
    fn who_started_last_is_one_too_many() {
        let rows = vec![row("a", 7, 0, 1), row("b", 5, 0, 1), row("c", 6, 0, 1)];
        assert_eq!(names(&earliest(live(rows), 2)), [("b", 5), ("c", 6)]);
    }
}
