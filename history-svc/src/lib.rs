//! The only door to the event store: append, read, own.
//!
//! `store` is the trait and its law, `embedded` the backend in one directory, `cassandra` the one
//! on Cassandra, `query` the reads that are composed above any backend, `service` the door on the
//! wire, `start` its life, `check` a look at every record, `data_loss` what the alarm looks at,
//! `testing` a store that fails on purpose. Knows conversations and mailboxes only as logs of
//! events, and tables only as cells.
//!
//! Invariant: `COMMITTED` means on stable storage under an epoch verified after that, and nothing
//! read here differs from what was written by a bit.

pub mod cassandra;
pub mod cell;
pub mod check;
pub mod config;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod data_loss;
pub mod embedded;
pub mod event;
pub mod leases;
pub mod query;
mod refusal;
pub mod row;
pub mod service;
mod start;
pub mod store;
pub mod testing;

pub use config::{HistoryConfig, HistoryProcess};
pub use embedded::{EmbeddedStore, OpenError};
pub use start::{HistoryService, SERVICE, VERBS, perform, perform_over};
