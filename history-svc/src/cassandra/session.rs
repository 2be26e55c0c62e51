//! The opened store: prepared statements, tried again until a deadline.
//!
//! A driver may retry at once on other nodes what is idempotent; here a statement is repeated as it
//! was, with its own timestamp, while nodes are away. What is sent is counted here, each try.
//! Nothing else talks to the driver but `migrate` and `preflight`, whose statements are not of
//! logs.
//!
//! Invariant: a write that returns `Ok` is stored at LOCAL_QUORUM; after an error it may or may not
//! be.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::config::CassandraConfig;
use super::driver::{CqlError, Session};
use super::statements::{Statement, Statements};
use super::value::{FromRow, NoRows, Rows, Value};

/// Between two tries of a statement; twice as long each time, up to the maximum.
const RETRY_MS: u64 = 20;
const RETRY_MS_MAX: u64 = 500;

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No node answers.
    #[error("no node of cassandra.nodes answers: {0}")]
    Unreachable(CqlError),
    /// A node answers, but not to this.
    #[error("a statement failed: {0}")]
    Execution(#[from] CqlError),
    /// A statement does not fit the schema.
    #[error("a statement does not fit the schema, is it migrated? {0}")]
    Prepare(CqlError),
    /// An answer is not as expected.
    #[error("an answer is not as expected: {0}")]
    Answer(String),
    /// The schema is missing or too old.
    #[error(
        "{keyspace} has no schema of version {version}: run `history-svc migrate`, or set \
         cassandra.migrate_at_start"
    )]
    NotMigrated {
        /// The keyspace.
        keyspace: String,
        /// The version that is needed.
        version: i32,
    },
    /// A setting, or what is found, forbids to serve.
    #[error("{field}: {reason}")]
    Refused {
        /// The setting.
        field: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl ConnectError {
    /// Whether it may be otherwise in a moment, without anybody's doing.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// A statement was not done in time.
#[derive(Debug, thiserror::Error)]
#[error("not done within {within:?}: {last}")]
pub struct Failed {
    within: Duration,
    last: String,
}

/// The opened store.
pub struct Db {
    /// Prepared.
    pub statements: Statements,
    in_flight: Semaphore,
    give_up: Duration,
}

impl Db {
    /// Prepares the statements of a schema that is there.
    pub async fn open(
        session: &dyn Session,
        config: &CassandraConfig,
    ) -> Result<Self, ConnectError> {
        Ok(Self {
            statements: Statements::prepare(session, &config.keyspace).await?,
            in_flight: Semaphore::new(config.statements_in_flight_max.max(1)),
            give_up: config.give_up(),
        })
    }

    /// Writes; tries until the deadline.
    pub async fn write(&self, statement: &Statement, values: &[Value<'_>]) -> Result<(), Failed> {
        self.run(statement, values, &mut NoRows).await
    }

    /// Reads all rows of the answer; tries until the deadline.
    pub async fn rows<R: FromRow + Send>(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<R>, Failed> {
        let mut rows = Vec::new();
        self.run(statement, values, &mut rows).await?;
        Ok(rows)
    }

    /// Does a conditional statement once for each set of values, all or none; once, since a try
    /// whose outcome is unknown may have changed what the condition asks.
    pub async fn conditionally<R: FromRow + Send>(
        &self,
        statement: &Statement,
        sets: &[Vec<Value<'_>>],
    ) -> Result<Vec<R>, CqlError> {
        let mut rows = Vec::new();
        statement.sent.add(sets.len() as u64);
        let tried = statement.prepared.run_conditionally(sets, &mut rows);
        tried.await.map(|()| rows)
    }

    async fn run(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
        rows: &mut dyn Rows,
    ) -> Result<(), Failed> {
        let deadline = Instant::now() + self.give_up;
        let (mut pause_ms, mut last) = (RETRY_MS, "too many statements wait".to_owned());
        while Instant::now() < deadline {
            let permit = tokio::time::timeout_at(deadline, self.in_flight.acquire()).await;
            let Ok(Ok(permit)) = permit else { break };
            statement.sent.add(1);
            let tried = statement.prepared.run(values, &mut *rows);
            match tokio::time::timeout_at(deadline, tried).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if !error.may_pass() => {
                    last = error.to_string();
                    break;
                }
                Ok(Err(error)) => {
                    tracing::debug!(what = ?statement.counted, %error, "a statement is repeated");
                    last = error.to_string();
                }
                Err(_) => break,
            }
            drop(permit);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (2 * pause_ms).min(RETRY_MS_MAX);
        }
        Err(Failed {
            within: self.give_up,
            last,
        })
    }
}

/// All rows of a statement that is done once.
pub async fn ask<R: FromRow + Send>(
    session: &dyn Session,
    text: &str,
    values: &[Value<'_>],
) -> Result<Vec<R>, CqlError> {
    let mut rows = Vec::new();
    session.query(text, values, &mut rows).await?;
    Ok(rows)
}

/// Shared by everything of one store.
pub type SharedDb = Arc<Db>;
