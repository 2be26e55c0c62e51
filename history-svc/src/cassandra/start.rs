//! Opening the store as soon as it can be, and watching whether it answers.
//!
//! Invariant: what only an operator can change ends the start; everything else is waited for.

use std::future::Future;
use std::time::Duration;

use heddle_kit::Tasks;

use super::config::CassandraConfig;
use super::driver::Driver;
use super::session::ConnectError;
use super::store::CassandraStore;

const RETRY: Duration = Duration::from_millis(500);
/// Tries between two lines that say what is waited for.
const TRIES_PER_LINE: u32 = 20;
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Opens the store; waits for nodes, and for a schema that is not there yet.
pub async fn open_when_ready(
    driver: &dyn Driver,
    config: &CassandraConfig,
    tasks: &Tasks,
) -> Result<CassandraStore, ConnectError> {
    let mut tries = 0u32;
    loop {
        match CassandraStore::open(driver, config, tasks).await {
            Err(error) if error.may_pass() => {
                if tries.is_multiple_of(TRIES_PER_LINE) {
                    tracing::warn!(%error, "waiting for Cassandra");
                }
                tries += 1;
                tokio::time::sleep(RETRY).await;
            }
            done => return done,
        }
    }
}

impl CassandraStore {
    /// Tells `changed` whether the store answers, each time that this has changed. Never ends.
    pub async fn watch<F: Future<Output = ()>>(&self, changed: impl Fn(bool) -> F) {
        let mut was_ready = true;
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            let answer = self.check().await;
            let ready = answer.is_ok();
            if ready != was_ready {
                tracing::warn!(ready, reason = answer.err(), "Cassandra at LOCAL_QUORUM");
                changed(ready).await;
                was_ready = ready;
            }
        }
    }
}
