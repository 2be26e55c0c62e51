//! Context: how a trace goes from one process to the next.
//!
//! [`crate::link::Link`] and [`crate::layers::Guarded`] carry it in the `traceparent` header; links
//! that multiplex carry a [`TraceParent`] in the item itself.
//!
//! Invariant: costs one atomic load where no collector is configured.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::header::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACE_PARENT: &str = "traceparent";

/// Whether spans go anywhere; set once at start.
static ENABLED: AtomicBool = AtomicBool::new(false);
/// Of 2^64 new traces, so many are kept.
static KEPT: AtomicU64 = AtomicU64::new(0);
/// New traces that might have been.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// A W3C `traceparent`: `00-<trace id>-<span id>-<flags>`.
pub type TraceParent = String;

/// Spans go somewhere from now on; of new traces, the share `ratio` is kept.
pub(super) fn enable(ratio: f64) {
    KEPT.store(
        (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64,
        Ordering::Relaxed,
    );
    ENABLED.store(true, Ordering::Relaxed);
}

/// Whether to begin a new trace here. Ask before making a root span: a span costs a microsecond,
/// asking costs nanoseconds.
pub fn sample() -> bool {
    enabled() && scattered(ASKED.fetch_add(1, Ordering::Relaxed)) <= KEPT.load(Ordering::Relaxed)
}

/// Spreads consecutive numbers over all of 64 bits (the finaliser of SplitMix64), so that no two
/// callers that take turns are one always kept and one never.
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// Writes the current span into an outgoing request's headers, if it is sampled.
pub fn propagate(headers: &mut HeaderMap) {
    if let Some(parent) = trace_parent()
        && let Ok(value) = HeaderValue::try_from(parent)
    {
        headers.insert(TRACE_PARENT, value);
    }
}

/// The caller's sampled span in an incoming request's headers.
pub fn incoming(headers: &HeaderMap) -> Option<&str> {
    if !enabled() {
        return None;
    }
    headers
        .get(TRACE_PARENT)?
        .to_str()
        .ok()
        .filter(|parent| parent.ends_with("-01"))
}

/// The current span as a `traceparent`, if it is sampled.
pub fn trace_parent() -> Option<TraceParent> {
    if !enabled() {
        return None;
    }
    let context = Span::current().context();
    if !context.span().span_context().is_sampled() {
        return None;
    }
    let mut carrier = Carrier(None);
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.0
}

/// Makes `span` a child of the span that a `traceparent` names; nonsense is ignored.
pub fn adopt_parent(span: &Span, parent: &str) {
    if !enabled() {
        return;
    }
    let carrier = Carrier(Some(parent.to_owned()));
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    // Fails only for a span that has begun already, or that nobody records.
    let _unrecorded = span.set_parent(context);
}

/// The next stop of a sampled item that carries `parent`: its span, and what the item carries on.
/// None where `parent` is empty, as of nearly all items: costs a branch then.
pub fn follow(parent: &str, make: impl FnOnce() -> Span) -> Option<(Span, TraceParent)> {
    if parent.is_empty() || !enabled() {
        return None;
    }
    let span = make();
    adopt_parent(&span, parent);
    let next = span.in_scope(trace_parent)?;
    Some((span, next))
}

/// Holds the one header there is.
struct Carrier(Option<TraceParent>);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACE_PARENT {
            self.0 = Some(value);
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.as_deref().filter(|_| key == TRACE_PARENT)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACE_PARENT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_scattered_evenly() {
        let kept = (0..10_000)
            .filter(|n| scattered(*n) <= u64::MAX / 100)
            .count();
        assert!((60..140).contains(&kept), "{kept} of 10,000 at one percent");
    }
}
