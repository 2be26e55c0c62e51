//! Followed: the few deliveries whose way to the acknowledgement is timed or traced.
//!
//! The mailbox's shard chooses them ([`Delivery::time_ms`], [`Delivery::trace_parent`]); `mod` and
//! `frames` tell here when the device is given one and when it acknowledges.
//!
//! Invariant: costs a branch for all others, and holds a bounded number. What a session reads from
//! the store instead is not followed.

use crate::edge::Edge;
use heddle_kit::telemetry::{self, TraceParent};
use heddle_proto::internal::Delivery;
use std::collections::VecDeque;

/// Deliveries that one session follows; more are timed up to the delivery only.
const FOLLOWED_MAX: usize = 16;
const MS_PER_S: f64 = 1_000.0;

/// Deliveries that are not acknowledged yet, by position.
#[derive(Debug, Default)]
pub struct Followed(VecDeque<Mark>);

#[derive(Debug)]
struct Mark {
    position: u64,
    time_ms: u64,
    trace_parent: TraceParent,
}

impl Followed {
    /// The device is given this.
    pub fn given(&mut self, edge: &Edge, delivery: &Delivery) {
        let time_ms = delivery.time_ms;
        if time_ms == 0 && delivery.trace_parent.is_empty() {
            return;
        }
        if time_ms > 0 {
            edge.metrics.delivered.record(since_s(edge, time_ms), &[]);
        }
        let position = delivery.position;
        let next = telemetry::follow(&delivery.trace_parent, || {
            tracing::debug_span!("deliver", position)
        });
        if self.0.len() < FOLLOWED_MAX {
            self.0.push_back(Mark {
                position,
                time_ms,
                trace_parent: next.map(|(_, parent)| parent).unwrap_or_default(),
            });
        }
    }

    /// The device has everything up to a position.
    pub fn acknowledged(&mut self, edge: &Edge, position: u64) {
        while let Some(mark) = self.0.pop_front_if(|mark| mark.position <= position) {
            if mark.time_ms > 0 {
                let latency_s = since_s(edge, mark.time_ms);
                edge.metrics.acknowledged.record(latency_s, &[]);
            }
            // Short: it says when, and is exported as it is dropped.
            drop(telemetry::follow(&mark.trace_parent, || {
                tracing::debug_span!("acknowledge", position)
            }));
            if self.0.is_empty() {
                // An idle session holds no buffer.
                self.0 = VecDeque::new();
            }
        }
    }
}

/// Clocks of two machines may differ: never less than nothing.
fn since_s(edge: &Edge, time_ms: u64) -> f64 {
    edge.clock.now_ms().saturating_sub(time_ms) as f64 / MS_PER_S
}
