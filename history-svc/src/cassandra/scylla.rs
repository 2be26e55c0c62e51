//! The `scylla` crate as a driver: Heddle's own choice, in pure Rust.
//!
//! Retries of the driver go at once to other nodes, for what is idempotent, and so does what a node
//! is slow to answer: one that is stopped, with its connections open, costs `speculative_after_ms`
//! until `keepalive_ms` closes them. `session` does the rest.
//!
//! Invariant: values are serialized right into the request and blobs are slices of the answer;
//! nothing is copied in between.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session as Connected;
use scylla::client::session_builder::SessionBuilder;
use scylla::cluster::Node;
use scylla::cluster::metadata::{CollectionType, ColumnType, NativeType};
use scylla::deserialize::row::{ColumnIterator, RawColumn};
use scylla::deserialize::value::DeserializeValue;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::{
    DefaultPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy,
};
use scylla::policies::speculative_execution::{
    SimpleSpeculativeExecutionPolicy, SpeculativeExecutionPolicy,
};
use scylla::response::query_result::QueryResult;
use scylla::serialize::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency, Statement};

use super::config::CassandraConfig;
use super::driver::{CqlError, Driver, Prepared, Session, Told};
use super::session::ConnectError;
use super::value::{Column, Rows, Value};

/// How often nodes are asked whether they agree on a changed schema.
const SCHEMA_AGREEMENT_INTERVAL: Duration = Duration::from_millis(20);

/// The driver.
pub struct ScyllaDriver;

impl Driver for ScyllaDriver {
    fn connect<'a>(
        &'a self,
        config: &'a CassandraConfig,
        datacenter: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Box<dyn Session>, ConnectError>> {
        async move {
            let session = builder(config, datacenter)?.build().await;
            let session =
                session.map_err(|error| ConnectError::Unreachable(CqlError::passing(error)))?;
            Ok(Box::new(ScyllaSession(Arc::new(session))) as Box<dyn Session>)
        }
        .boxed()
    }
}

fn builder(
    config: &CassandraConfig,
    datacenter: Option<&str>,
) -> Result<SessionBuilder, ConnectError> {
    let mut policy = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = datacenter {
        policy = policy.prefer_datacenter(datacenter.to_owned());
    }
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(config.request_timeout()))
        .load_balancing_policy(policy.build())
        .speculative_execution_policy(config.speculative_after().map(second_node))
        .build();
    let builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(config.request_timeout())
        .keepalive_interval(config.keepalive())
        .keepalive_timeout(config.keepalive())
        .keyspaces_to_fetch([&config.keyspace])
        .schema_agreement_interval(SCHEMA_AGREEMENT_INTERVAL)
        .refresh_metadata_on_auto_schema_agreement(false)
        .tcp_nodelay(true);
    Ok(match config.credentials()? {
        Some((user, password)) => builder.user(user, password),
        None => builder,
    })
}

/// One more node, once.
fn second_node(after: Duration) -> Arc<dyn SpeculativeExecutionPolicy> {
    Arc::new(SimpleSpeculativeExecutionPolicy {
        max_retry_count: 1,
        retry_interval: after,
    })
}

struct ScyllaSession(Arc<Connected>);

impl Session for ScyllaSession {
    fn prepare<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Box<dyn Prepared>, CqlError>> {
        async move {
            let statement = self.0.prepare(text).await;
            let mut statement = statement.map_err(CqlError::passing)?;
            statement.set_consistency(Consistency::LocalQuorum);
            statement.set_is_idempotent(true);
            let session = self.0.clone();
            Ok(Box::new(ScyllaPrepared { session, statement }) as Box<dyn Prepared>)
        }
        .boxed()
    }

    fn query<'a>(
        &'a self,
        text: &'a str,
        values: &'a [Value<'a>],
        rows: &'a mut dyn Rows,
    ) -> BoxFuture<'a, Result<(), CqlError>> {
        async move { read(self.0.query_unpaged(text, values).await, rows) }.boxed()
    }

    fn change<'a>(
        &'a self,
        text: &'a str,
        within: Duration,
    ) -> BoxFuture<'a, Result<(), CqlError>> {
        let mut statement = Statement::new(text);
        statement.set_request_timeout(Some(within));
        async move {
            let done = self.0.query_unpaged(statement, ()).await;
            done.map(drop).map_err(not_done)
        }
        .boxed()
    }

    fn ask_each<'a>(
        &'a self,
        datacenter: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Told>, CqlError>> {
        async move {
            let state = self.0.get_cluster_state();
            let nodes = state.get_nodes_info().iter();
            let here = |node: &&Arc<Node>| node.datacenter.as_deref() == Some(datacenter);
            let mut told = Vec::new();
            for node in nodes.filter(here) {
                told.push((node.address.to_string(), self.ask(node, text).await));
            }
            Ok(told)
        }
        .boxed()
    }
}

impl ScyllaSession {
    async fn ask(&self, node: &Arc<Node>, text: &str) -> Result<Option<String>, CqlError> {
        let mut statement = Statement::new(text);
        let only = NodeIdentifier::Node(node.clone());
        statement.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(only, None)));
        let mut rows: Vec<(Option<String>,)> = Vec::new();
        read(self.0.query_unpaged(statement, ()).await, &mut rows)?;
        Ok(rows.into_iter().next().and_then(|(text,)| text))
    }
}

struct ScyllaPrepared {
    session: Arc<Connected>,
    statement: PreparedStatement,
}

impl Prepared for ScyllaPrepared {
    fn run<'a>(
        &'a self,
        values: &'a [Value<'a>],
        rows: &'a mut dyn Rows,
    ) -> BoxFuture<'a, Result<(), CqlError>> {
        let running = self.session.execute_unpaged(&self.statement, values);
        running.map(|result| read(result, rows)).boxed()
    }

    fn run_conditionally<'a>(
        &'a self,
        sets: &'a [Vec<Value<'a>>],
        rows: &'a mut dyn Rows,
    ) -> BoxFuture<'a, Result<(), CqlError>> {
        async move {
            let mut batch = Batch::new(BatchType::Logged);
            batch.set_consistency(Consistency::LocalQuorum);
            batch.set_serial_consistency(Some(SerialConsistency::LocalSerial));
            batch.set_is_idempotent(false);
            for _ in sets {
                batch.append_statement(self.statement.clone());
            }
            read(self.session.batch(&batch, sets).await, rows)
        }
        .boxed()
    }
}

impl SerializeValue for Value<'_> {
    fn serialize<'b>(
        &self,
        typ: &ColumnType,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Self::Null => Ok(writer.set_null()),
            Self::Int(value) => value.serialize(typ, writer),
            Self::BigInt(value) => value.serialize(typ, writer),
            Self::Boolean(value) => value.serialize(typ, writer),
            Self::Text(value) => value.serialize(typ, writer),
            Self::Blob(value) => value.serialize(typ, writer),
            Self::Ints(value) => value.serialize(typ, writer),
        }
    }
}

fn read(result: Result<QueryResult, ExecutionError>, rows: &mut dyn Rows) -> Result<(), CqlError> {
    let result = result.map_err(not_done)?;
    if !result.is_rows() {
        return Ok(());
    }
    let result = result.into_rows_result().map_err(CqlError::lasting)?;
    rows.reserve(result.rows_num());
    let raw = result.rows::<ColumnIterator>();
    for row in raw.map_err(CqlError::lasting)? {
        let columns = row.map_err(CqlError::lasting)?;
        let mut columns = columns.map(|found| column(found.map_err(|error| error.to_string())?));
        rows.take(&mut columns).map_err(CqlError::lasting)?;
    }
    Ok(())
}

fn column(found: RawColumn<'_, '_>) -> Result<Column, String> {
    let RawColumn { spec, slice, .. } = found;
    if slice.is_none() {
        return Ok(Column::Null);
    }
    let typ = spec.typ();
    /// Of this Rust type.
    macro_rules! of {
        ($name:ident, $rust:ty) => {
            <$rust>::deserialize(typ, slice).map(Column::$name)
        };
    }
    let found = match typ {
        ColumnType::Native(NativeType::Int) => of!(Int, i32),
        ColumnType::Native(NativeType::BigInt) => of!(BigInt, i64),
        ColumnType::Native(NativeType::Boolean) => of!(Boolean, bool),
        ColumnType::Native(NativeType::Text) => of!(Text, String),
        ColumnType::Native(NativeType::Blob) => of!(Blob, Bytes),
        ColumnType::Collection { typ: kind, .. } => match kind {
            CollectionType::List(_) => {
                <Vec<i32>>::type_check(typ).map_err(|error| error.to_string())?;
                of!(Ints, Vec<i32>)
            }
            CollectionType::Map(_, _) => {
                type Texts = std::collections::HashMap<String, String>;
                Texts::type_check(typ).map_err(|error| error.to_string())?;
                Texts::deserialize(typ, slice).map(|map| Column::Texts(map.into_iter().collect()))
            }
            _ => return Err(format!("a column is of type {typ:?}")),
        },
        _ => return Err(format!("a column is of type {typ:?}")),
    };
    found.map_err(|error| error.to_string())
}

/// A wrong statement stays wrong; nodes come back.
fn not_done(error: ExecutionError) -> CqlError {
    match error {
        ExecutionError::BadQuery(_)
        | ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::SyntaxError | DbError::Invalid | DbError::Unauthorized,
            _,
        )) => CqlError::lasting(error),
        _ => CqlError::passing(error),
    }
}

#[cfg(test)]
mod tests {
    crate::cassandra_suite!(&super::ScyllaDriver);
}
