//! Presence: who is online, who was last seen when, and which gateways hear of it.
//!
//! A message's way does not lead through here; what is lost here is a hint (DESIGN P8). `rules`
//! decides, `store` is the seam to where it is kept (`embedded`, `redis`), `book` knows what one
//! gateway has been told, `link` serves that gateway's stream, `service` ties them together.
//!
//! Invariant: nobody is told of anybody they do not watch, and nothing of those who hide.

mod book;
pub mod config;
#[cfg(test)]
mod contract;
mod embedded;
mod link;
mod redis;
mod rules;
mod service;
mod store;
mod wire;

pub use config::PresenceConfig;
pub use service::{OpenError, PresenceService, start};
