//! chat-svc: order and fan-out.
//!
//! `conversation` and `mailbox` decide, without I/O; `shard` moves what they decide between
//! gateways (`service`), the store (`store_link`) and notify-svc (`notify_link`). Depends on
//! history-svc and notify-svc through their protocols only; knows nothing of TLS, tokens or
//! devices' streams.
//!
//! Invariant: an OK, a grant or a delivery leaves a shard only after a commit under its epoch.

pub mod cells;
pub mod config;
pub mod conversation;
mod gateways;
pub mod mailbox;
pub mod nodes;
mod notify_link;
pub mod service;
pub mod shard;
mod start;
mod store_link;

pub use config::ChatConfig;
pub use service::ChatService;
pub use start::{SERVICE, start};
