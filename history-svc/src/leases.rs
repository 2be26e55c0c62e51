//! Leases of chat nodes: who is there, and what each holds.
//!
//! `service` asks; chat nodes renew each second. Kept in memory beside the embedded store, of which
//! there is one: after a restart the nodes come back within a renewal. On Cassandra they are rows
//! (`cassandra::leases`), the same for every history-svc. `contract::leases` holds both to the law.
//!
//! Invariant: a lease is advice. Nothing that is written depends on it: epochs do that.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use heddle_proto::internal::{LeaseRequest, LiveNode};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::StoreError;

/// Nodes that may have leases at once; more are refused.
pub const NODES_MAX: usize = 1024;
/// The longest lease.
pub const TTL_MAX_MS: u32 = 60_000;

/// Why a lease was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The name belongs to a later start of the node.
    #[error("node {0} was started again; this incarnation must end")]
    Superseded(String),
    /// The node spreads logs over another number of shards than this store's are spread over.
    #[error("chat.shards: logs here lie in {here} shards, not in {asked}; set it to {here}")]
    Shards {
        /// The node's.
        asked: u32,
        /// The store's.
        here: u32,
    },
    /// Too many nodes.
    #[error("more than {NODES_MAX} nodes have leases")]
    TooMany,
    /// The leases cannot be read or written now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who has a lease.
///
/// The law: once `renew` has answered, everybody who asks finds the node, as it described itself,
/// until `ttl_ms` after the store took it, by the clock of the leases, or until it renews again. An
/// answer tells all whose leases have not ended, each name once, by name. For one name only the
/// greatest incarnation counts, as long as its lease lasts. Leases may be lost at any time. Two
/// with leases at one time never spread logs over different numbers of shards.
pub trait Leases: Send + Sync {
    /// Renews the lease (or ends it: `ttl_ms` is 0) and tells who has one.
    fn renew(&self, lease: LeaseRequest) -> BoxFuture<'static, Result<Vec<LiveNode>, LeaseError>>;
}

/// Leases in memory.
#[derive(Debug)]
pub struct LeasesInMemory {
    held: Mutex<BTreeMap<String, Held>>,
    nodes_max: usize,
}

impl Default for LeasesInMemory {
    fn default() -> Self {
        Self::of(NODES_MAX)
    }
}

#[derive(Debug)]
struct Held {
    node: LiveNode,
    shard_count: u32,
    until: Instant,
}

impl LeasesInMemory {
    fn of(nodes_max: usize) -> Self {
        Self {
            held: Mutex::default(),
            nodes_max,
        }
    }

    fn renew_at(&self, lease: LeaseRequest, now: Instant) -> Result<Vec<LiveNode>, LeaseError> {
        let mut leases = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|_, held| held.until > now);
        if let Some(held) = leases.get(&lease.node)
            && held.node.incarnation > lease.incarnation
        {
            return Err(LeaseError::Superseded(lease.node));
        }
        let others = leases.iter().filter(|(name, _)| **name != lease.node);
        let mut counts = others.map(|(_, held)| held.shard_count);
        if let Some(here) = counts.find(|here| differs(*here, lease.shard_count)) {
            let asked = lease.shard_count;
            return Err(LeaseError::Shards { asked, here });
        }
        if lease.ttl_ms == 0 {
            leases.remove(&lease.node);
        } else {
            if leases.len() >= self.nodes_max && !leases.contains_key(&lease.node) {
                return Err(LeaseError::TooMany);
            }
            let ttl = Duration::from_millis(u64::from(lease.ttl_ms.min(TTL_MAX_MS)));
            let node = LiveNode {
                node: lease.node.clone(),
                incarnation: lease.incarnation,
                address: lease.address,
                leaving: lease.leaving,
                owned: lease.owned,
                cut_off: lease.cut_off,
            };
            let until = now + ttl;
            let held = Held {
                node,
                shard_count: lease.shard_count,
                until,
            };
            leases.insert(lease.node, held);
        }
        Ok(leases.values().map(|held| held.node.clone()).collect())
    }
}

impl Leases for LeasesInMemory {
    fn renew(&self, lease: LeaseRequest) -> BoxFuture<'static, Result<Vec<LiveNode>, LeaseError>> {
        std::future::ready(self.renew_at(lease, Instant::now())).boxed()
    }
}

/// Whether both say how many shards there are, and not the same.
pub fn differs(one: u32, other: u32) -> bool {
    one != other && one > 0 && other > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::leases::{NODES_MAX, lease, suite};

    fn names(nodes: &[LiveNode]) -> Vec<&str> {
        nodes.iter().map(|node| node.node.as_str()).collect()
    }

    #[test]
    fn a_lease_ends_after_its_time_or_when_asked_to() {
        let (leases, begin) = (LeasesInMemory::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        leases.renew_at(lease("b", 1, 3_000), at(0)).unwrap();
        let both = leases.renew_at(lease("a", 1, 3_000), at(2_000)).unwrap();
        assert_eq!(names(&both), ["a", "b"]);
        let one = leases.renew_at(lease("a", 1, 3_000), at(3_000)).unwrap();
        assert_eq!(names(&one), ["a"]);
        let none = leases.renew_at(lease("a", 1, 0), at(3_001)).unwrap();
        assert_eq!(names(&none), [""; 0]);
    }

    #[tokio::test]
    async fn they_keep_the_law() {
        suite(async || Box::new(LeasesInMemory::of(NODES_MAX)) as _).await;
    }

    #[test]
    fn a_node_that_was_started_again_supersedes_its_former_self() {
        let (leases, now) = (LeasesInMemory::default(), Instant::now());
        leases.renew_at(lease("a", 1, 3_000), now).unwrap();
        let again = leases.renew_at(lease("a", 2, 3_000), now).unwrap();
        assert_eq!((again.len(), again[0].incarnation), (1, 2));
        let former = leases.renew_at(lease("a", 1, 3_000), now);
        assert!(matches!(former, Err(LeaseError::Superseded(_))));
    }
}
