//! Subscriber: which events and spans go where.
//!
//! Installed once by [`super::Telemetry::start`]; a second one (in tests) leaves the first.
//!
//! Invariant: below INFO only our own crates are heard. HTTP engines, TLS and drivers show headers
//! and payloads in their debug events, and those hold tokens and messages.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::{TelemetryError, TelemetryOptions};

const OUR_CRATES: &str = "heddle";

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a person at a terminal.
    #[default]
    Human,
    /// One JSON object a line, for a log collector.
    Json,
}

pub(super) fn install(
    options: &TelemetryOptions,
    tracers: Option<&SdkTracerProvider>,
) -> Result<(), TelemetryError> {
    let chosen = EnvFilter::builder().parse(&options.log)?;
    let lines = lines(options.log_format).with_filter(chosen.and(filter_fn(is_safe)));
    let mut layers = vec![lines.boxed()];
    // A layer that is `None` would have no filter, and so would have every span of every crate
    // made for nobody: a tenth of the CPU of a busy gateway.
    layers.extend(tracers.map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(OUR_CRATES))
            .with_filter(filter_fn(is_traced))
            .boxed()
    }));
    let installed = tracing_subscriber::registry().with(layers).try_init();
    if installed.is_err() {
        tracing::debug!("logging was already set up in this process");
    }
    Ok(())
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Human => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with(OUR_CRATES)
}

/// Levels grow with verbosity: what is above INFO is debug and trace.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    is_ours(metadata) || *metadata.level() <= Level::INFO
}

/// Our spans of any level; events only where they would be worth a log line.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    is_ours(metadata) && (metadata.is_span() || *metadata.level() <= Level::INFO)
}
