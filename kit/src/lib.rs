//! Kit: what every process of Heddle needs, and no chat noun.
//!
//! Services build on it; it knows none of them. A server is `run` (the life of a process) around
//! `serve` (sockets) around `layers` (deadline, limit, peer) around the service's own routes;
//! services reach each other through `link`.
//!
//! Invariant: everything that waits, queues or retries here has a named bound.

extern crate self as heddle_kit;

#[macro_use]
pub mod config;
pub mod accept;
pub mod clock;
mod fast_map;
mod halt;
pub mod health;
pub mod layers;
pub mod link;
pub mod run;
pub mod serve;
pub mod tasks;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod tls;

pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use fast_map::FastMap;
pub use layers::{Deadline, Guarded, LayerOptions, Peer};
pub use link::{AnyOf, Link, LinkOptions, LocalSlot};
pub use run::{Context, ProcessOptions, Verb, run, run_verbs};
pub use serve::{ServeOptions, serve};
pub use tasks::{TaskFailure, Tasks};
