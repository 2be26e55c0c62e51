//! Measure: what a shard counts for each commit, and the spans of the few messages that are traced.
//!
//! `mod` records a commit as it leaves, `effects` as it comes back; `conversations` and `mailboxes`
//! ask for the next stop of a trace.
//!
//! Invariant: nothing is recorded for one message; one that is not traced costs a branch.

use super::{Shard, batch::Batch};
use heddle_kit::telemetry::{self, TraceParent};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use std::time::Instant;
use tracing::Span;

/// Of the deliveries of a shard, one of so many is timed: a prime, so that it is not always the
/// same member's.
const TIMED_EVERY: u64 = 61;

/// The instruments of a shard.
pub(super) struct Measures {
    batch_events: Histogram<u64>,
    commit_duration: Histogram<f64>,
    dead_letters: Counter<u64>,
    set_aside: Counter<u64>,
    deliveries: u64,
}

impl Measures {
    pub fn new() -> Self {
        Self {
            batch_events: telemetry::count(
                "heddle.shard.batch.events",
                "Events in a commit of a shard, of conversations and mailboxes",
            ),
            commit_duration: telemetry::seconds(
                "heddle.shard.commit.duration",
                "From a commit's leaving the shard to the store's word on it",
            ),
            dead_letters: telemetry::counter(
                "heddle.push.dead_letters",
                "Pushes to a registration that were given up and kept as dead letters",
            ),
            set_aside: telemetry::counter(
                "heddle.shard.set_aside",
                "Pieces of fan-outs that could not be applied and were set aside",
            ),
            deliveries: 0,
        }
    }

    /// A piece of a fan-out is set aside.
    pub fn sets_aside(&self) {
        self.set_aside.add(1, &[]);
    }

    /// The batch leaves.
    pub fn leaves(&self, batch: &mut Batch) {
        let events = batch.event_count() as u64;
        if events > 0 {
            self.batch_events.record(events, &[]);
        }
        batch.left = Some(Instant::now());
    }

    /// The store has answered.
    pub fn returns(&self, batch: &Batch) {
        if let Some(left) = batch.left {
            self.commit_duration
                .record(left.elapsed().as_secs_f64(), &[]);
        }
    }

    /// A push was given up.
    pub fn dead_letter(&self, provider: &str) {
        let provider = KeyValue::new("provider", provider.to_owned());
        self.dead_letters.add(1, &[provider]);
    }

    /// The time that goes with a delivery: of most none.
    pub fn timed(&mut self, time_ms: u64) -> u64 {
        let timed = self.deliveries.is_multiple_of(TIMED_EVERY);
        self.deliveries += 1;
        if timed { time_ms } else { 0 }
    }
}

impl Shard {
    /// A traced event is accepted: decided here, and on its way to the disk until this batch is
    /// committed.
    pub(super) fn trace_append(&mut self, parent: &str) -> TraceParent {
        let shard = self.index;
        match telemetry::follow(parent, || tracing::debug_span!("shard.append", shard)) {
            Some((_, parent)) => {
                self.trace_commit(&parent, || tracing::debug_span!("store.commit", shard))
            }
            None => TraceParent::new(),
        }
    }

    /// A traced event is taken by a mailbox, until this batch is committed.
    pub(super) fn trace_entry(&mut self, parent: &str, position: u64) -> TraceParent {
        let shard = self.index;
        self.trace_commit(parent, || {
            tracing::debug_span!("mailbox.append", shard, position)
        })
    }

    fn trace_commit(&mut self, parent: &str, make: impl FnOnce() -> Span) -> TraceParent {
        let Some((span, parent)) = telemetry::follow(parent, make) else {
            return TraceParent::new();
        };
        self.batch.spans.push(span);
        parent
    }
}
