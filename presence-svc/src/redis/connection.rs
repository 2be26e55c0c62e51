//! Connection: one Redis, the master among several, or a Redis Cluster, behind one way to ask.
//!
//! `keeper` makes them, the store asks. One connection (to each node) carries all commands of all
//! callers and the hints.
//!
//! Invariant: commands of one call leave in order and in few writes. Whoever finds the connection
//! broken says so to its keeper, and fails.

use std::convert::Infallible;

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Msg, Pipeline,
    PushInfo, PushKind, ServerErrorKind, Value, cmd,
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::keys::CHANGES;
use super::options::RedisOptions;
use super::saved;
use crate::store::{Hint, StoreError};

/// Commands that one write carries, and that a call has under way at once.
const COMMANDS_AT_ONCE_MAX: usize = 64;

/// A connection that was open when it was made. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    to: To,
    /// Says that it is of no more use.
    broken: CancellationToken,
}

#[derive(Clone)]
enum To {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Connects, and hears hints from then on.
    pub async fn open(
        options: &RedisOptions,
        hints: &broadcast::Sender<Hint>,
    ) -> redis::RedisResult<Self> {
        if !options.is_cluster {
            return first_master(options, hints).await;
        }
        let connection = cluster(options, hints.clone()).await?;
        Ok(Self {
            to: To::Cluster(connection),
            broken: CancellationToken::new(),
        })
    }

    /// Ends when somebody found the connection broken.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Runs commands in few exchanges; their answers, in order.
    pub async fn run(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        let answers = match &self.to {
            To::One(connection) => pipelined(connection.clone(), commands).await,
            To::Cluster(connection) => routed(connection, commands).await,
        };
        answers.map_err(|error| {
            // A master that has become a replica takes no writes; look for the new one. A cluster's
            // connection finds its way itself.
            let demoted = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
            if matches!(self.to, To::One(_)) && (demoted || error.is_unrecoverable_error()) {
                self.broken.cancel();
            }
            StoreError(error.to_string())
        })
    }

    /// What one Redis does when its memory is full, as it calls that; `None`: it does not say.
    pub async fn policy_when_full(&self) -> Option<String> {
        let To::One(connection) = &self.to else {
            return None;
        };
        let asked = cmd("INFO").arg("memory").to_owned();
        let answer = pipelined(connection.clone(), vec![asked])
            .await
            .ok()?
            .pop()?;
        let told: String = redis::from_redis_value(answer).ok()?;
        let mut lines = told.lines();
        let policy = lines.find_map(|line| line.strip_prefix("maxmemory_policy:"))?;
        Some(policy.to_owned())
    }

    /// Whether Redis still answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.run(vec![cmd("PING")]).await.map(|_pong| ())
    }
}

async fn pipelined(
    mut connection: MultiplexedConnection,
    commands: Vec<Cmd>,
) -> redis::RedisResult<Vec<Value>> {
    let mut answers = Vec::with_capacity(commands.len());
    let mut commands = commands.into_iter().peekable();
    while commands.peek().is_some() {
        let mut pipeline = Pipeline::with_capacity(COMMANDS_AT_ONCE_MAX);
        for command in commands.by_ref().take(COMMANDS_AT_ONCE_MAX) {
            pipeline.add_command(command);
        }
        answers.extend(pipeline.query_async::<Vec<Value>>(&mut connection).await?);
    }
    Ok(answers)
}

/// Each command goes to the node of its keys; those for one node share its connection's writes.
async fn routed(
    connection: &ClusterConnection,
    commands: Vec<Cmd>,
) -> redis::RedisResult<Vec<Value>> {
    let asked = commands.into_iter().map(|command| {
        let mut connection = connection.clone();
        async move { command.query_async::<Value>(&mut connection).await }
    });
    let answers = stream::iter(asked).buffered(COMMANDS_AT_ONCE_MAX);
    answers.try_collect().await
}

async fn cluster(
    options: &RedisOptions,
    hints: broadcast::Sender<Hint>,
) -> redis::RedisResult<ClusterConnection> {
    let mut builder = ClusterClientBuilder::new(options.nodes.clone())
        .connection_timeout(options.connect_timeout)
        .response_timeout(options.response_timeout)
        .overall_response_timeout(Some(options.response_timeout))
        .push_sender(move |push| take(push, &hints, None));
    if let Some(authority) = &options.authority {
        builder = builder.certs(authority.clone());
    }
    let mut connection = builder.build()?.get_async_connection().await?;
    connection.subscribe(CHANGES).await?;
    Ok(connection)
}

/// Connects to the first that answers and is a master. With one URL nobody is asked for a role.
async fn first_master(
    options: &RedisOptions,
    hints: &broadcast::Sender<Hint>,
) -> redis::RedisResult<Connection> {
    let nobody = (ErrorKind::InvalidClientConfig, "no URL names a master");
    let mut failed = redis::RedisError::from(nobody);
    for node in &options.nodes {
        match one(options, node.clone(), hints.clone()).await {
            Ok(Some(connection)) => return Ok(connection),
            Ok(None) => {}
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// `None`: this one is a replica.
async fn one(
    options: &RedisOptions,
    node: ConnectionInfo,
    hints: broadcast::Sender<Hint>,
) -> redis::RedisResult<Option<Connection>> {
    let broken = CancellationToken::new();
    let ended = broken.clone();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(Some(options.response_timeout))
        .set_push_sender(move |push| take(push, &hints, Some(&ended)));
    let authority = options.authority.clone();
    let client = match authority.filter(|_| matches!(node.addr(), ConnectionAddr::TcpTls { .. })) {
        Some(authority) => Client::build_with_tls(node, authority)?,
        None => Client::open(node)?,
    };
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    if options.nodes.len() > 1 {
        let role: Vec<Value> = cmd("ROLE").query_async(&mut connection).await?;
        let role = role.into_iter().next().unwrap_or_default();
        if redis::from_redis_value::<String>(role)? != "master" {
            return Ok(None);
        }
    }
    connection.subscribe(CHANGES).await?;
    Ok(Some(Connection {
        to: To::One(connection),
        broken,
    }))
}

/// What comes unasked. Called by the client library's task that reads the socket, so it must not
/// wait: a hint for which there is no room pushes out the oldest.
fn take(
    push: PushInfo,
    hints: &broadcast::Sender<Hint>,
    ended: Option<&CancellationToken>,
) -> Result<(), Infallible> {
    match push.kind {
        PushKind::Disconnection => {
            ended.inspect(|ended| ended.cancel());
        }
        PushKind::Message => {
            let hint = Msg::from_push_info(push).map(|told| saved::hint(told.get_payload_bytes()));
            if let Some(hint) = hint.filter(|hint| !hint.is_empty()) {
                // Fails only while nobody listens.
                let _no_listener = hints.send(hint);
            }
        }
        _ => {}
    }
    Ok(())
}
