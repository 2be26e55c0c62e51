//! The seam below everything that is Heddle's: what a CQL driver has to do, and no more.
//!
//! `scylla` implements it here; history-svc/cassandra-cpp implements it over the C++ driver.
//! `session` repeats statements over it; `migrate` and `preflight` ask what is not of the data
//! path.
//!
//! Invariant: nothing above this knows a driver. Values go in as slices of the caller's, columns
//! come out one at a time, so that the seam adds no allocation per row; its price is one boxed
//! future a statement.

use std::error::Error;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::config::CassandraConfig;
use super::session::ConnectError;
use super::value::{Rows, Value};

/// A library that speaks CQL.
///
/// What holds for all of it:
/// - **Consistency.** LOCAL_QUORUM, and LOCAL_SERIAL for conditions.
/// - **Timestamps.** A statement that names none gets that of the node: leases are measured by it.
/// - **Routing.** Prepared statements go to a replica of their partition.
/// - **Silence.** A node that does not say for `keepalive` that it is there loses its connections.
/// - **Time.** One try takes `request_timeout` at most; no thread of the runtime is ever held up,
///   not by a dropped session either.
pub trait Driver: Send + Sync + 'static {
    /// A new session; `datacenter`: only nodes of that one are asked.
    fn connect<'a>(
        &'a self,
        config: &'a CassandraConfig,
        datacenter: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Box<dyn Session>, ConnectError>>;
}

/// Connections to a cluster.
pub trait Session: Send + Sync {
    /// Prepares a statement, which lives on without the session.
    fn prepare<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Box<dyn Prepared>, CqlError>>;

    /// Does a statement once, whatever comes of it; never sent twice by the driver.
    fn query<'a>(
        &'a self,
        text: &'a str,
        values: &'a [Value<'a>],
        rows: &'a mut dyn Rows,
    ) -> BoxFuture<'a, Result<(), CqlError>>;

    /// Changes the schema; done when the nodes that are there agree on it.
    fn change<'a>(&'a self, text: &'a str, within: Duration)
    -> BoxFuture<'a, Result<(), CqlError>>;

    /// Asks each node of a datacentre by itself for one text; with the address of each.
    fn ask_each<'a>(
        &'a self,
        datacenter: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Told>, CqlError>>;
}

/// The address of a node, and what it said.
pub type Told = (String, Result<Option<String>, CqlError>);

/// A prepared statement.
pub trait Prepared: Send + Sync {
    /// Does it; the driver may send it twice, since as it is it changes nothing the second time.
    /// The whole answer is one page.
    fn run<'a>(
        &'a self,
        values: &'a [Value<'a>],
        rows: &'a mut dyn Rows,
    ) -> BoxFuture<'a, Result<(), CqlError>>;

    /// Does it once for each set of values, in one logged batch of conditions. Never sent twice by
    /// the driver: it could find its own work and call it another's.
    fn run_conditionally<'a>(
        &'a self,
        sets: &'a [Vec<Value<'a>>],
        rows: &'a mut dyn Rows,
    ) -> BoxFuture<'a, Result<(), CqlError>>;
}

type Cause = Box<dyn Error + Send + Sync>;

/// A statement was not done, or its answer is not as expected.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct CqlError {
    may_pass: bool,
    cause: Cause,
}

impl CqlError {
    /// It may be otherwise in a moment: nodes come back.
    pub fn passing(cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        Self {
            may_pass: true,
            cause,
        }
    }

    /// A wrong statement stays wrong, and so does an answer that nobody understands.
    pub fn lasting(cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        Self {
            may_pass: false,
            cause,
        }
    }

    /// Whether trying again may help.
    pub fn may_pass(&self) -> bool {
        self.may_pass
    }
}
