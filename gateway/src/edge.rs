//! Edge: what all sessions and calls of a gateway share.
//!
//! Made once by `server`, then read by everybody. Holds no decision of its own.
//!
//! Invariant: everything here outlives the sessions; it is taken down in the order links, timers,
//! keys.

use crate::{
    auth::Authenticator,
    config::GatewayOptions,
    limits::{Admission, Rates},
    metrics::Metrics,
    presence::PresenceClient,
    session::{catch_up::CatchUp, registry::Registry},
    shard_link::ShardLinks,
    standing::Standing,
    store_link::StoreLink,
    timers::Timers,
};
use heddle_kit::{SharedClock, Tasks};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The shared part of a gateway.
pub struct Edge {
    /// The settings.
    pub options: GatewayOptions,
    /// The time of day.
    pub clock: SharedClock,
    /// This gateway's incarnation, as shards know it.
    pub gateway_id: String,
    /// Who calls.
    pub auth: Arc<Authenticator>,
    /// How often.
    pub rates: Rates,
    /// How fast sessions open.
    pub admission: Admission,
    /// Which devices are revoked.
    pub standing: Standing,
    /// Open sessions.
    pub sessions: Registry,
    /// Turns at reading from the store.
    pub catch_up: CatchUp,
    /// The owners of conversations and mailboxes.
    pub shards: ShardLinks,
    /// The event store.
    pub store: StoreLink,
    /// Who is online.
    pub presence: PresenceClient,
    /// The clock of all sessions.
    pub timers: Timers,
    /// What is measured.
    pub metrics: Metrics,
    /// Runs the readers of sessions.
    pub tasks: Tasks,
    /// No new sessions.
    pub draining: AtomicBool,
}

impl Edge {
    /// Whether new sessions are turned away.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
