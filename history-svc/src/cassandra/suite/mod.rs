//! The backend on a real node: the contract, take-overs, what a start refuses, every statement, the
//! binary of the version before on the same schema.
//!
//! Held over every driver: [`cassandra_suite!`](crate::cassandra_suite) makes tests of it, here and
//! in other crates. `TEST_CASSANDRA` names the node (`cargo xtask cassandra up`; the suite of the
//! workspace starts one). Each test makes keyspaces of its own and removes them.

#![allow(
    clippy::unwrap_used,
    reason = "a library of tests may panic as tests may"
)]

pub mod law;
pub mod opening;
mod scoped;
pub mod statements;
pub mod take_over;
pub mod versions;

use std::sync::Arc;

use heddle_kit::Tasks;

use super::config::CassandraConfig;
use super::driver::{Driver, Session};
use super::migrate::migrate;
use super::store::CassandraStore;
use super::value::NoRows;
use crate::contract;

/// A driver under test.
pub type DynDriver = &'static dyn Driver;

/// Tests of the backend over a driver, in the module that calls this.
#[macro_export]
macro_rules! cassandra_suite {
    ($driver:expr) => {
        $crate::cassandra_suite! { $driver =>
            law::it_keeps_the_law
            law::leases_keep_the_law
            opening::migrations_that_run_at_once_make_one_schema
            opening::what_may_lose_an_ok_is_refused_unless_accepted_by_name
            opening::logs_without_epochs_are_not_served
            statements::no_write_is_without_an_explicit_timestamp
            statements::what_is_sent_is_counted
            take_over::shards_taken_at_once_share_a_write
            take_over::a_take_that_was_given_up_raises_nothing
            take_over::a_commit_that_was_cut_short_is_finished_or_gone
            take_over::a_former_owner_says_no_ok_and_wins_no_row
            take_over::logs_go_on_from_bucket_to_bucket
            take_over::a_log_that_has_lost_what_was_committed_is_not_served
            take_over::reads_through_another_history_svc_see_all
            versions::a_binary_of_the_version_before_works_on
        }
    };
    ($driver:expr => $($module:ident::$test:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            $crate::cassandra::suite::$module::$test($driver).await;
        }
    )*};
}

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
    driver: DynDriver,
    config: CassandraConfig,
    tasks: Tasks,
}

impl Bench {
    /// A new keyspace with the schema; `None`: there is no node.
    async fn new(driver: DynDriver) -> Option<Self> {
        let bench = Self::unmigrated(driver)?;
        migrate(driver, &bench.config).await.unwrap();
        Some(bench)
    }

    fn unmigrated(driver: DynDriver) -> Option<Self> {
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
        Some(Self {
            driver,
            config,
            tasks,
        })
    }

    /// One more history-svc on it.
    async fn open(&self) -> Arc<CassandraStore> {
        let store = CassandraStore::open(self.driver, &self.config, &self.tasks).await;
        Arc::new(store.unwrap())
    }

    async fn session(&self) -> Box<dyn Session> {
        self.driver.connect(&self.config, None).await.unwrap()
    }

    async fn remove(self) {
        let drop = format!("DROP KEYSPACE IF EXISTS {}", self.config.keyspace);
        let within = std::time::Duration::from_secs(60);
        self.session().await.change(&drop, within).await.unwrap();
    }
}

fn dynamic(store: &Arc<CassandraStore>) -> contract::Store {
    store.clone()
}
