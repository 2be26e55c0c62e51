//! The backend on a real node: the contract, take-overs, what a start refuses, every statement.
//!
//! `TEST_CASSANDRA` names the node (`cargo xtask cassandra up`; the suite starts one). Each test
//! makes keyspaces of its own and removes them.

mod opening;
mod scoped;
mod statements;
mod take_over;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures_util::future::BoxFuture;
use heddle_kit::Tasks;
use heddle_proto::internal::{LeaseRequest, LiveNode};

use super::config::CassandraConfig;
use super::leases::LeasesOnCassandra;
use super::migrate::migrate;
use super::session::connect;
use super::store::CassandraStore;
use crate::contract;
use crate::leases::{LeaseError, Leases};

const ADDRESS: &str = "TEST_CASSANDRA";

/// The node's address. Without one nothing is proved, which is loud, and in CI a failure.
fn node() -> Option<String> {
    let address = std::env::var(ADDRESS).ok().filter(|name| !name.is_empty());
    let in_ci = std::env::var("CI").is_ok_and(|ci| !matches!(ci.as_str(), "" | "0" | "false"));
    if address.is_none() {
        assert!(!in_ci, "{ADDRESS} names no Cassandra node");
        eprintln!("NOT TESTED: {ADDRESS} names no node; run `cargo xtask cassandra up`");
    }
    address
}

/// A keyspace of one test.
struct Bench {
    config: CassandraConfig,
    tasks: Tasks,
}

impl Bench {
    /// A new keyspace with the schema; `None`: there is no node.
    async fn new() -> Option<Self> {
        let bench = Self::unmigrated()?;
        migrate(&bench.config).await.unwrap();
        Some(bench)
    }

    fn unmigrated() -> Option<Self> {
        let config = CassandraConfig {
            nodes: vec![node()?],
            keyspace: format!("test_{:016x}", rand::random::<u64>()),
            replication_factor: 1,
            accept_low_replication: true,
            // A machine that also compiles may let a statement wait.
            request_timeout_ms: 10_000,
            give_up_ms: 20_000,
            ..CassandraConfig::default()
        };
        let tasks = Tasks::new("test");
        Some(Self { config, tasks })
    }

    /// One more history-svc on it.
    async fn open(&self) -> Arc<CassandraStore> {
        let store = CassandraStore::open(&self.config, &self.tasks).await;
        Arc::new(store.unwrap())
    }

    async fn remove(self) {
        let session = connect(&self.config, None).await.unwrap();
        let drop = format!("DROP KEYSPACE IF EXISTS {}", self.config.keyspace);
        let mut drop = scylla::statement::Statement::new(drop);
        drop.set_request_timeout(Some(std::time::Duration::from_secs(60)));
        session.query_unpaged(drop, ()).await.unwrap();
    }
}

fn dynamic(store: &Arc<CassandraStore>) -> contract::Store {
    store.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_law() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let (store, count) = (bench.open().await, AtomicU8::new(0));
    contract::suite(async || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        Arc::new(scoped::Scoped::new(store.clone(), number)) as contract::Store
    })
    .await;
    bench.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_keep_the_law() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    // Renewed through one history-svc, seen through another.
    let (one, other, count) = (bench.open().await, bench.open().await, AtomicU8::new(0));
    contract::leases::suite(async || {
        let pool = i32::from(count.fetch_add(1, Ordering::SeqCst)) + 1;
        let of = |store: &Arc<CassandraStore>| {
            let db = store.inner().db.clone();
            LeasesOnCassandra::new(db, pool, contract::leases::NODES_MAX)
        };
        Box::new(InTurn(of(&one), of(&other), AtomicU8::new(0))) as _
    })
    .await;
    bench.remove().await;
}

/// Each call goes to another history-svc than the one before.
struct InTurn(LeasesOnCassandra, LeasesOnCassandra, AtomicU8);

impl Leases for InTurn {
    fn renew(&self, lease: LeaseRequest) -> BoxFuture<'static, Result<Vec<LiveNode>, LeaseError>> {
        match self.2.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => self.0.renew(lease),
            _ => self.1.renew(lease),
        }
    }
}
