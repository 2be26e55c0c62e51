//! A session: statements done once, prepared, in a batch; each node asked by itself.
//!
//! Invariant: a session is closed on a thread of its own. The library waits for its connections to
//! close when the last handle goes, and any of ours may be the last.

use std::sync::Arc;
use std::time::Duration;

use cassandra_cpp::{BatchType, CassResult, PreparedStatement, Statement};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use heddle_history::cassandra::driver::{CqlError, Prepared, Session, Told};
use heddle_history::cassandra::value::{Rows, Value};
use heddle_history::cassandra::{CassandraConfig, ConnectError};

use crate::cluster::{LEVELS, Places, Reach, cluster, unreachable};
use crate::not_done;
use crate::values::{bind, read};

/// Connections to a cluster.
pub struct CppSession {
    open: Arc<Open>,
    config: CassandraConfig,
    places: Places,
}

impl CppSession {
    /// Connects.
    pub async fn connect(
        config: &CassandraConfig,
        places: Places,
        datacenter: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let reach = datacenter.map_or(Reach::All, Reach::Datacenter);
        Self::reach(config, places, reach).await
    }

    async fn reach(
        config: &CassandraConfig,
        places: Places,
        reach: Reach<'_>,
    ) -> Result<Self, ConnectError> {
        let mut cluster = cluster(config, &places, reach)?;
        let session = cluster.connect().await.map_err(unreachable)?;
        Ok(Self {
            open: Arc::new(Open(Some(session))),
            config: config.clone(),
            places,
        })
    }

    fn statement(&self, text: &str, values: &[Value<'_>]) -> Result<Statement, CqlError> {
        let mut statement = self.open.session()?.statement(text);
        bind(&mut statement, values)?;
        leveled(&mut statement)?;
        Ok(statement)
    }

    /// The nodes of a datacentre, by the addresses that clients use.
    async fn nodes(&self, datacenter: &str) -> Result<Vec<String>, CqlError> {
        let mut nodes = Vec::new();
        for table in ["local", "peers"] {
            let text = format!("SELECT data_center, rpc_address FROM system.{table}");
            let mut rows: Vec<(Option<String>, Option<String>)> = Vec::new();
            self.query(&text, &[], &mut rows).await?;
            for (of, address) in rows {
                if of.as_deref() == Some(datacenter) {
                    nodes.extend(address);
                }
            }
        }
        Ok(nodes)
    }

    /// Asks one node, over a session that knows no other.
    async fn ask(&self, node: &str, text: &str) -> Result<Option<String>, CqlError> {
        let places = self.places.only(node.to_owned());
        let session = Self::reach(&self.config, places, Reach::Named).await;
        let session = session.map_err(CqlError::passing)?;
        let mut rows: Vec<(Option<String>,)> = Vec::new();
        session.query(text, &[], &mut rows).await?;
        Ok(rows.into_iter().next().and_then(|(text,)| text))
    }
}

impl Session for CppSession {
    fn prepare<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Box<dyn Prepared>, CqlError>> {
        async move {
            let statement = self.open.session()?.prepare(text).await;
            let prepared = CppPrepared {
                statement: statement.map_err(not_done)?,
                _open: self.open.clone(),
            };
            Ok(Box::new(prepared) as Box<dyn Prepared>)
        }
        .boxed()
    }

    fn query<'a>(
        &'a self,
        text: &'a str,
        values: &'a [Value<'a>],
        rows: &'a mut dyn Rows,
    ) -> BoxFuture<'a, Result<(), CqlError>> {
        async move {
            let statement = self.statement(text, values)?;
            answer(statement.execute().await, rows)
        }
        .boxed()
    }

    fn change<'a>(
        &'a self,
        text: &'a str,
        within: Duration,
    ) -> BoxFuture<'a, Result<(), CqlError>> {
        async move {
            let mut statement = self.statement(text, &[])?;
            statement.set_statement_request_timeout(Some(within));
            // The library answers once the nodes agree on the schema.
            statement.execute().await.map(drop).map_err(not_done)
        }
        .boxed()
    }

    fn ask_each<'a>(
        &'a self,
        datacenter: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Told>, CqlError>> {
        async move {
            let mut told = Vec::new();
            for node in self.nodes(datacenter).await? {
                let answer = self.ask(&node, text).await;
                told.push((self.places.address(&node), answer));
            }
            Ok(told)
        }
        .boxed()
    }
}

struct CppPrepared {
    statement: PreparedStatement,
    /// Goes after the statement, which has a handle of the session too.
    _open: Arc<Open>,
}

impl CppPrepared {
    fn bound(&self, values: &[Value<'_>]) -> Result<Statement, CqlError> {
        let mut statement = self.statement.bind();
        bind(&mut statement, values)?;
        leveled(&mut statement)?;
        Ok(statement)
    }
}

impl Prepared for CppPrepared {
    fn run<'a>(
        &'a self,
        values: &'a [Value<'a>],
        rows: &'a mut dyn Rows,
    ) -> BoxFuture<'a, Result<(), CqlError>> {
        async move { answer(self.bound(values)?.execute().await, rows) }.boxed()
    }

    fn run_conditionally<'a>(
        &'a self,
        sets: &'a [Vec<Value<'a>>],
        rows: &'a mut dyn Rows,
    ) -> BoxFuture<'a, Result<(), CqlError>> {
        async move {
            let mut batch = self.statement.session().batch(BatchType::LOGGED);
            batch.set_consistency(LEVELS.0).map_err(not_done)?;
            batch.set_serial_consistency(LEVELS.1).map_err(not_done)?;
            for values in sets {
                batch.add_statement(self.bound(values)?).map_err(not_done)?;
            }
            answer(batch.execute().await, rows)
        }
        .boxed()
    }
}

fn leveled(statement: &mut Statement) -> Result<(), CqlError> {
    let set = statement.set_consistency(LEVELS.0);
    let set = set.and_then(|statement| statement.set_serial_consistency(LEVELS.1));
    set.map(drop).map_err(not_done)
}

fn answer(
    result: Result<CassResult, cassandra_cpp::Error>,
    rows: &mut dyn Rows,
) -> Result<(), CqlError> {
    read(&result.map_err(not_done)?, rows)
}

/// A session that is open; the last of its handles to go.
struct Open(Option<cassandra_cpp::Session>);

impl Open {
    fn session(&self) -> Result<&cassandra_cpp::Session, CqlError> {
        let open = self.0.as_ref();
        open.ok_or_else(|| CqlError::lasting("the session is closed"))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let closing = std::thread::Builder::new().name("cassandra-close".to_owned());
        let session = self.0.take();
        // Without a thread it is closed here: slow, and right.
        drop(closing.spawn(move || drop(session)));
    }
}
