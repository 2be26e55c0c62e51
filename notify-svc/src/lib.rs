//! Notify: pushes to the devices of people who are not there (DESIGN P9).
//!
//! Mailbox shards send intents over `service`'s stream; `pipeline` makes a push for each
//! registration, a `lane` per provider sends them and tries again in the order that its `queue`
//! says, and `ledger` knows what became of each. `payload` is what providers carry, `http` how they
//! are reached, `providers` which are set up. A new provider is a file beside `provider::log`.
//!
//! Invariants: an intent is settled only when each of its pushes has a result: taken by a provider,
//! dead with its registration, superseded by a newer one, or given up, which the shard keeps as a
//! dead letter. Who dies before that is sent the intent again, under the same push id. No text of a
//! message is logged, kept, or sent once it is older than `job::PREVIEW_LIFE`.

mod backoff;
pub mod config;
pub mod http;
mod job;
mod lane;
mod ledger;
mod newest;
mod origins;
mod payload;
mod pipeline;
pub mod provider;
mod providers;
mod push;
mod queue;
mod rate;
mod sender;
mod service;
#[cfg(test)]
mod testing;
mod text;

pub use config::NotifyConfig;
pub use push::Push;
pub use service::{NotifyService, start};
