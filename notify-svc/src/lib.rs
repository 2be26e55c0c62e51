//! Notify: pushes to the devices of people who are not there (DESIGN P9).
//!
//! Mailbox shards send intents over `service`'s stream; `pipeline` makes a push for each device,
//! a `lane` per provider sends them and tries again, `ledger` knows what became of each, and what
//! cannot be delivered ends in `dead_letters`. `payload` is what providers carry, `http` how they
//! are reached, `providers` which are set up. A new provider is a file beside `provider::log`.
//!
//! Invariant: an intent is settled only when each of its devices was reached, is no more, or has a
//! dead letter. Who dies before that is sent the intent again, under the same push id.

mod backoff;
pub mod config;
pub mod dead_letters;
pub mod http;
mod lane;
mod ledger;
mod payload;
mod pipeline;
pub mod provider;
mod providers;
mod push;
mod service;

pub use config::NotifyConfig;
pub use ledger::PushReport;
pub use push::Push;
pub use service::{NotifyService, start};
