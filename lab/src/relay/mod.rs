//! The bare relay: what the transport alone costs, as the measure for Heddle's speed.
//!
//! [`serve`] is the server in its two modes, [`client`] drives it through the same
//! [`load`](crate::load) driver that drives Heddle.
//!
//! Invariant: it does what a chat server can't do without (a session, an acknowledgement, fan-out,
//! in durable mode a synced append) and nothing else; and it is set up as Heddle is (windows,
//! nodelay, one connection per participant), so that a ratio compares servers, not settings.

pub mod client;
mod disk_log;
mod hub;
mod server;
#[cfg(test)]
mod tests;

pub use server::{Mode, RelayError, serve};

/// The relay's protocol, generated from `proto/heddle/lab/v1/relay.proto`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used)]
pub mod wire {
    tonic::include_proto!("heddle.lab.v1");
}

/// HTTP/2 window of a connection and of a stream, on both sides, in bytes: h2 counts unread small
/// frames against the connection's window, so a smaller one cuts readers that pause.
pub const WINDOW_BYTES: u32 = 1 << 20;
