//! The event store on Cassandra over the C++ driver, by the crate `cassandra-cpp`.
//!
//! All that is Heddle's is `heddle_history::cassandra`; here is one more implementation of its
//! seam, `heddle_history::cassandra::driver`: `cluster` says how to connect, `session` does
//! statements, `values` binds and reads. docs/adr/0014 says what for.
//!
//! Invariant: the library's callbacks wake tasks; nothing of it is waited for on a thread of the
//! runtime.

#![allow(
    clippy::result_large_err,
    reason = "the error is the crate's, and becomes ours at once"
)]

mod cluster;
mod session;
mod values;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use heddle_history::cassandra::driver::{CqlError, Driver, Session};
use heddle_history::cassandra::{CassandraConfig, ConnectError};

use crate::cluster::Places;
use crate::session::CppSession;

/// The driver.
pub struct CppDriver;

impl Driver for CppDriver {
    fn connect<'a>(
        &'a self,
        config: &'a CassandraConfig,
        datacenter: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Box<dyn Session>, ConnectError>> {
        async move {
            let places = Places::of(config)?;
            let session = CppSession::connect(config, places, datacenter).await?;
            Ok(Box::new(session) as Box<dyn Session>)
        }
        .boxed()
    }
}

/// What the library says, as the backend tells errors apart.
fn not_done(error: cassandra_cpp::Error) -> CqlError {
    use cassandra_cpp::{CassErrorCode as Code, ErrorKind};
    let code = match error.kind() {
        ErrorKind::CassError(code, _) => Some(*code),
        ErrorKind::CassErrorResult(code, ..) => Some(*code),
        _ => None,
    };
    match code {
        // A wrong statement stays wrong; nodes come back.
        Some(
            Code::SERVER_SYNTAX_ERROR
            | Code::SERVER_INVALID_QUERY
            | Code::SERVER_UNAUTHORIZED
            | Code::LIB_INVALID_VALUE_TYPE
            | Code::LIB_INVALID_ITEM_COUNT
            | Code::LIB_INDEX_OUT_OF_BOUNDS
            | Code::LIB_PARAMETER_UNSET
            | Code::LIB_MESSAGE_ENCODE,
        )
        | None => CqlError::lasting(error.to_string()),
        Some(_) => CqlError::passing(error.to_string()),
    }
}
