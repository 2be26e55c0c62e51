//! Gateway: the edge of Heddle: sessions, the public API, and the way to the owners.
//!
//! Devices speak `heddle.v1` to it; it speaks `heddle.internal.v1` to chat-svc (owners of
//! conversations and mailboxes), history-svc (reads after a grant) and presence-svc. It stores
//! nothing and decides nothing that an owner decides.
//!
//! Invariant: what it has in memory can be lost at any moment: devices resume by their cursors, and
//! every answer that it has given was an owner's.

pub mod answers;
mod api;
pub mod auth;
mod canary;
pub mod commands;
pub mod config;
mod connect;
#[cfg(test)]
mod doubles;
mod edge;
pub mod limits;
mod metrics;
mod presence;
#[cfg(test)]
mod scenarios;
pub mod server;
mod session;
mod shard_link;
mod standing;
mod start;
mod store_link;
mod timers;
pub mod validate;
mod web;

pub use config::GatewayOptions;
pub use server::{Gateway, Links, SERVICES, StartError};
pub use start::{GatewayProcess, start};
pub use web::web_layer;
