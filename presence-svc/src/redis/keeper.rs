//! Keeper: the task that has a connection to Redis whenever there can be one.
//!
//! The store starts it; it hands the store each connection that `connection` opens.
//!
//! Invariant: one connection at a time; one that is broken is taken back before the next is tried.
//! It is said once that Redis is away and once that it answers, however often that is tried.

use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::options::RedisOptions;
use crate::store::Hint;

/// The pauses between two tries to connect: the first, and what doubling ends at.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often an idle connection is asked whether it still works; a silent end is found by it.
const PING_PAUSE: Duration = Duration::from_secs(5);

/// What makes a full Redis forget those first who were seen least recently, and settings never.
const POLICY: &str = "volatile-ttl";

pub struct Keeper {
    options: RedisOptions,
    held: watch::Sender<Option<Connection>>,
    hints: broadcast::Sender<Hint>,
    /// Whether it has been said that Redis is away.
    said: bool,
    /// Whether it has been said what Redis would do wrong when full.
    warned: bool,
}

impl Keeper {
    pub fn new(
        options: RedisOptions,
        held: watch::Sender<Option<Connection>>,
        hints: broadcast::Sender<Hint>,
    ) -> Self {
        Self {
            options,
            held,
            hints,
            said: false,
            warned: false,
        }
    }

    /// Connects, and connects again, until `stopping`.
    pub async fn keep(mut self, stopping: CancellationToken) {
        let mut pause = RETRY_PAUSE_MIN;
        let keeping = async {
            loop {
                if self.hold_one().await {
                    pause = RETRY_PAUSE_MIN;
                }
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(RETRY_PAUSE_MAX);
            }
        };
        // What is held is dropped with the sender, when the last call has ended.
        stopping.run_until_cancelled(keeping).await;
    }

    /// Opens a connection and hands it out until it is broken. Says whether it opened.
    async fn hold_one(&mut self) -> bool {
        let redis = self.options.addresses();
        let connection = match Connection::open(&self.options, &self.hints).await {
            Ok(connection) => connection,
            Err(error) => {
                if !std::mem::replace(&mut self.said, true) {
                    tracing::warn!(%error, redis, "presence waits for Redis");
                }
                return false;
            }
        };
        tracing::info!(redis, "presence is kept in Redis, which answers");
        self.said = false;
        self.judge_policy(&connection).await;
        self.held.send_replace(Some(connection.clone()));
        until_broken(&connection).await;
        self.held.send_replace(None);
        tracing::warn!(redis, "presence lost Redis; it connects again");
        true
    }

    /// Other policies forget who hides before who was last seen long ago, or take no reports.
    async fn judge_policy(&mut self, connection: &Connection) {
        let policy = connection.policy_when_full().await;
        if let Some(policy) = policy.filter(|policy| policy != POLICY && !self.warned) {
            self.warned = true;
            tracing::warn!(
                policy,
                "Redis's maxmemory-policy should be {POLICY}: when its memory is full it would \
                 forget statuses and who hides, or take no reports"
            );
        }
    }
}

async fn until_broken(connection: &Connection) {
    loop {
        tokio::select! {
            () = connection.broken() => return,
            () = tokio::time::sleep(PING_PAUSE) => {}
        }
        if connection.ping().await.is_err() {
            return;
        }
    }
}
