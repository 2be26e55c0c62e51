//! Context: how a trace goes from one process to the next.
//!
//! [`crate::link::Link`] and [`crate::layers::Guarded`] carry it in the `traceparent` header; links
//! that multiplex carry a [`TraceParent`] in the item itself.
//!
//! Invariant: costs one atomic load where no collector is configured.

use std::sync::atomic::{AtomicBool, Ordering};

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

/// A W3C `traceparent`: `00-<trace id>-<span id>-<flags>`.
pub type TraceParent = String;

pub(super) fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
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

/// Makes `span` a child of the caller's span in an incoming request's headers.
pub fn adopt(span: &Span, headers: &HeaderMap) {
    if !enabled() {
        return;
    }
    if let Some(parent) = headers
        .get(TRACE_PARENT)
        .and_then(|value| value.to_str().ok())
    {
        adopt_parent(span, parent);
    }
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
