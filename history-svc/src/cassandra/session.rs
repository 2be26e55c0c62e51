//! The driver's session: connecting, and statements tried again until a deadline.
//!
//! The driver retries at once on other nodes what is idempotent; here a statement is repeated as it
//! was, with its own timestamp, while nodes are away. Nothing else talks to the driver but
//! `migrate`, `preflight` and `epoch`, whose statements are not of logs.
//!
//! Invariant: a write that returns `Ok` is stored at LOCAL_QUORUM; after an error it may or may not
//! be.

use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{
    DbError, DeserializationError, ExecutionError, NewSessionError, PrepareError,
    RequestAttemptError,
};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::config::CassandraConfig;
use super::statements::Statements;

/// Between two tries of a statement; twice as long each time, up to the maximum.
const RETRY_MS: u64 = 20;
const RETRY_MS_MAX: u64 = 500;
/// How often nodes are asked whether they agree on a changed schema.
const SCHEMA_AGREEMENT_INTERVAL: Duration = Duration::from_millis(20);

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No node answers.
    #[error("no node of cassandra.nodes answers: {0}")]
    Unreachable(Box<NewSessionError>),
    /// A node answers, but not to this.
    #[error("a statement failed: {0}")]
    Execution(Box<ExecutionError>),
    /// A statement does not fit the schema.
    #[error("a statement does not fit the schema, is it migrated? {0}")]
    Prepare(Box<PrepareError>),
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

impl From<NewSessionError> for ConnectError {
    fn from(error: NewSessionError) -> Self {
        Self::Unreachable(Box::new(error))
    }
}

impl From<ExecutionError> for ConnectError {
    fn from(error: ExecutionError) -> Self {
        Self::Execution(Box::new(error))
    }
}

impl From<PrepareError> for ConnectError {
    fn from(error: PrepareError) -> Self {
        Self::Prepare(Box::new(error))
    }
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
    /// The driver's.
    pub session: Session,
    /// Prepared.
    pub statements: Statements,
    in_flight: Semaphore,
    give_up: Duration,
}

impl Db {
    /// Prepares the statements of a schema that is there.
    pub async fn open(session: Session, config: &CassandraConfig) -> Result<Self, ConnectError> {
        let statements = Statements::prepare(&session, &config.keyspace).await?;
        Ok(Self {
            session,
            statements,
            in_flight: Semaphore::new(config.statements_in_flight_max.max(1)),
            give_up: config.give_up(),
        })
    }

    /// Writes; tries until the deadline.
    pub async fn write(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(), Failed> {
        self.run(statement, &values).await.map(drop)
    }

    /// Reads all rows of the answer; tries until the deadline.
    pub async fn rows<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<R>, Failed>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let result = self.run(statement, &values).await?;
        rows_of(result).map_err(|last| Failed {
            within: self.give_up,
            last,
        })
    }

    async fn run(
        &self,
        statement: &PreparedStatement,
        values: &impl SerializeRow,
    ) -> Result<QueryResult, Failed> {
        let deadline = Instant::now() + self.give_up;
        let (mut pause_ms, mut last) = (RETRY_MS, "too many statements wait".to_owned());
        while Instant::now() < deadline {
            let permit = tokio::time::timeout_at(deadline, self.in_flight.acquire()).await;
            let Ok(Ok(permit)) = permit else { break };
            let tried = self.session.execute_unpaged(statement, values);
            match tokio::time::timeout_at(deadline, tried).await {
                Ok(Ok(result)) => return Ok(result),
                Ok(Err(error)) if !may_pass(&error) => {
                    last = error.to_string();
                    break;
                }
                Ok(Err(error)) => last = error.to_string(),
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

/// A new session; `datacenter`: only nodes of that one are asked.
pub async fn connect(
    config: &CassandraConfig,
    datacenter: Option<&str>,
) -> Result<Session, ConnectError> {
    let mut policy = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = datacenter {
        policy = policy.prefer_datacenter(datacenter.to_owned());
    }
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(config.request_timeout()))
        .load_balancing_policy(policy.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(config.request_timeout())
        .keyspaces_to_fetch([&config.keyspace])
        .schema_agreement_interval(SCHEMA_AGREEMENT_INTERVAL)
        .refresh_metadata_on_auto_schema_agreement(false)
        .tcp_nodelay(true);
    if let Some(user) = &config.user {
        builder = builder.user(user, password(config)?);
    }
    Ok(builder.build().await?)
}

fn password(config: &CassandraConfig) -> Result<String, ConnectError> {
    let Some(file) = &config.password_file else {
        return Ok(String::new());
    };
    let text = std::fs::read_to_string(file).map_err(|error| ConnectError::Refused {
        field: "cassandra.password_file",
        reason: format!("{}: {error}", file.display()),
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The rows of an answer.
pub fn rows_of<R>(result: QueryResult) -> Result<Vec<R>, String>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    let result = result
        .into_rows_result()
        .map_err(|error| error.to_string())?;
    let rows = result.rows::<R>().map_err(|error| error.to_string())?;
    rows.collect::<Result<Vec<R>, DeserializationError>>()
        .map_err(|error| error.to_string())
}

/// A wrong statement stays wrong; nodes come back.
fn may_pass(error: &ExecutionError) -> bool {
    !matches!(
        error,
        ExecutionError::BadQuery(_)
            | ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::SyntaxError | DbError::Invalid | DbError::Unauthorized,
                _
            ))
    )
}

/// Shared by everything of one store.
pub type SharedDb = Arc<Db>;
