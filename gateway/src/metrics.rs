//! Metrics: what a gateway measures. `docs/telemetry.md` lists it.
//!
//! What is a state of all sessions is looked at when somebody asks for it, so that messages pay
//! nothing for it; the rest is recorded where it happens.
//!
//! Invariant: no name of a user, a device or a conversation is an attribute.

use crate::{edge::Edge, session::window::Lag};
use heddle_kit::telemetry;
use opentelemetry::metrics::{Counter, Histogram, UpDownCounter};
use std::sync::Arc;

/// What is recorded where it happens.
pub struct Metrics {
    /// Sessions that are open.
    pub sessions: UpDownCounter<i64>,
    /// Live deliveries that a session could not take and reads from the store.
    pub behind: Counter<u64>,
    /// Live deliveries that a drill dropped.
    pub dropped: Counter<u64>,
    /// Seconds in which what users spent was told and not answered.
    pub rates_unshared: Counter<u64>,
    /// From an event's time to its delivery into a session, of some.
    pub delivered: Histogram<f64>,
    /// From an event's time to the recipient's acknowledgement, of some.
    pub acknowledged: Histogram<f64>,
}

impl Metrics {
    /// Makes the instruments.
    pub fn new() -> Self {
        Self {
            sessions: telemetry::meter()
                .i64_up_down_counter("heddle.gateway.sessions")
                .with_description("Device sessions that are open")
                .build(),
            behind: telemetry::counter(
                "heddle.gateway.deliveries_behind",
                "Live deliveries that a session reads from the store instead",
            ),
            dropped: telemetry::counter(
                "heddle.gateway.deliveries_dropped",
                "Live deliveries that a drill dropped",
            ),
            rates_unshared: telemetry::counter(
                "heddle.gateway.rates_unshared",
                "Seconds in which what users spent could not be shared with other gateways",
            ),
            delivered: telemetry::seconds(
                "heddle.message.delivery.latency",
                "From an event's time to its live delivery into a session, sampled",
            ),
            acknowledged: telemetry::seconds(
                "heddle.message.acknowledgement.latency",
                "From an event's time to the acknowledgement of its live delivery, sampled",
            ),
        }
    }
}

/// How far all sessions are behind.
#[derive(Default)]
struct Behind {
    unacknowledged: u64,
    sessions: u64,
    positions: u64,
    positions_max: u64,
}

impl Behind {
    fn add(&mut self, lag: Lag) {
        self.unacknowledged += lag.unacknowledged;
        self.sessions += u64::from(lag.positions > 0);
        self.positions += lag.positions;
        self.positions_max = self.positions_max.max(lag.positions);
    }

    fn of(edge: &Edge) -> Self {
        let mut behind = Self::default();
        edge.sessions.each(|session| behind.add(session.lag()));
        behind
    }
}

/// Has the sessions looked at whenever metrics are collected, as long as the gateway lives.
pub fn observe(edge: &Arc<Edge>) {
    gauge(
        edge,
        "heddle.gateway.unacknowledged_events",
        "Events and changes given to devices and not acknowledged yet",
        |behind| behind.unacknowledged,
    );
    gauge(
        edge,
        "heddle.gateway.sessions_behind",
        "Sessions whose device has not acknowledged all of its mailbox",
        |behind| behind.sessions,
    );
    gauge(
        edge,
        "heddle.gateway.mailbox_lag",
        "Positions between the heads of mailboxes and what devices acknowledged, over all sessions",
        |behind| behind.positions,
    );
    gauge(
        edge,
        "heddle.gateway.mailbox_lag_max",
        "The same of the session that is furthest behind",
        |behind| behind.positions_max,
    );
}

fn gauge(
    edge: &Arc<Edge>,
    name: &'static str,
    description: &'static str,
    pick: fn(&Behind) -> u64,
) {
    let edge = Arc::downgrade(edge);
    // The provider keeps the callback; the handle is not needed.
    let _kept = telemetry::meter()
        .u64_observable_gauge(name)
        .with_description(description)
        .with_callback(move |observer| {
            if let Some(edge) = edge.upgrade() {
                observer.observe(pick(&Behind::of(&edge)), &[]);
            }
        })
        .build();
}
