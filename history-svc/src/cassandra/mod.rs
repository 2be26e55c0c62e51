//! The event store on Apache Cassandra (or ScyllaDB), over any driver of CQL.
//!
//! `store` is the trait's door and `lane` the order of one shard's commits; `commit` forms and
//! carries them out, `after` does what follows a committed row; `epoch` raises and verifies epochs,
//! `tail` takes logs over, `reads` reads; `leases` says which chat nodes are there. Pure: `chain`
//! (which rows are the log), `record` (a row's cell), `owners` (timestamps), `heads`, `picker`.
//! `schema`, `migrate`, `preflight`, `session` and `statements` stand between all of them and
//! `driver`, the seam that `scylla` implements (docs/adr/0014); `suite` tests the whole over any.
//!
//! Invariant: the epoch-verified group commit of DESIGN section 5: rows are written, then the epoch
//! is read, then `COMMITTED` is answered. No statement on a log's tables is without an explicit
//! timestamp of the form epoch * 2^32 + count.

mod after;
mod chain;
mod commit;
mod config;
pub mod driver;
mod epoch;
mod heads;
mod lane;
mod leases;
mod migrate;
mod owners;
mod picker;
mod preflight;
mod reads;
mod record;
mod schema;
mod scylla;
mod session;
mod start;
mod statements;
mod store;
#[cfg(any(test, feature = "contract"))]
pub mod suite;
mod tail;
pub mod value;

pub use self::config::CassandraConfig;
pub use self::leases::LeasesOnCassandra;
pub use self::migrate::migrate;
pub use self::scylla::ScyllaDriver;
pub use self::session::ConnectError;
pub use self::start::open_when_ready;
pub use self::store::CassandraStore;
