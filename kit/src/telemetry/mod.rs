//! Telemetry: logs, traces and metrics of a process, started once and flushed at its end.
//!
//! Logs go to standard error, traces and metrics to an OTLP collector if one is configured, and
//! metrics to whoever asks ([`serve_metrics`]). Services make instruments with [`counter`],
//! [`seconds`] and their like, [`Tallies`] where it is often, after [`Telemetry::start`].
//!
//! Invariant: no message body, token or key is in any of it. Our own code never logs one; other
//! crates' debug and trace events, which show headers and frames, are dropped whatever the filter.

mod context;
mod endpoint;
mod instruments;
mod subscriber;
mod tally;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use prometheus::{Registry, TextEncoder};

pub use context::{TraceParent, adopt_parent, follow, incoming, propagate, sample, trace_parent};
pub use endpoint::serve_metrics;
pub use instruments::{bytes, count, counter, gauge, meter, seconds};
pub use subscriber::LogFormat;
pub use tally::{Tallies, Tally};

/// How long the last traces and metrics may take to leave when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

crate::config! {
    /// Logs, traces and metrics.
    pub struct TelemetryOptions {
        /// Which events are logged: a level, or directives like `info,heddle_gateway=debug`.
        pub log: String = "info".into(),
        /// How they are written: `human` or `json`.
        pub log_format: LogFormat = LogFormat::Human,
        /// The OpenTelemetry collector (gRPC) for traces and metrics, like `http://127.0.0.1:4317`;
        /// none means that they stay here.
        pub otlp_endpoint: Option<String> = None,
        /// The share of traces that are kept, from 0 to 1.
        pub trace_ratio: f64 = 0.01,
    }
}

/// Telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is not one.
    #[error("telemetry.log: {0}; write a level like info, or directives like info,heddle=debug")]
    LogFilter(#[from] tracing_subscriber::filter::ParseError),
    /// The collector's address is not one.
    #[error("telemetry.otlp_endpoint: {0}; write an address like http://127.0.0.1:4317")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The Prometheus registry refused the exporter.
    #[error("metrics cannot be collected: {0}")]
    Metrics(#[from] opentelemetry_sdk::error::OTelSdkError),
}

/// The running telemetry of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Registry,
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Starts it for the process called `service`. Call it once, inside the runtime, before any
    /// instrument is made.
    pub fn start(service: &str, options: &TelemetryOptions) -> Result<Self, TelemetryError> {
        let resource = Resource::builder()
            .with_service_name(format!("heddle-{service}"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let registry = Registry::new();
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .build()?;
        let mut meters = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_reader(prometheus);
        let mut tracers = None;
        if let Some(endpoint) = &options.otlp_endpoint {
            let metrics = MetricExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .build()?;
            meters = meters.with_periodic_exporter(metrics);
            let spans = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .build()?;
            let provider = SdkTracerProvider::builder()
                .with_resource(resource)
                // The choice is made before a root span is: see `sample`.
                .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
                .with_batch_exporter(spans)
                .build();
            tracers = Some(provider);
        }
        subscriber::install(options, tracers.as_ref())?;
        if tracers.is_some() {
            context::enable(options.trace_ratio);
        }
        let meters = meters.build();
        opentelemetry::global::set_meter_provider(meters.clone());
        Ok(Self {
            registry,
            meters,
            tracers,
        })
    }

    /// All metrics in Prometheus' text format.
    pub fn prometheus_text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "metrics cannot be rendered");
                String::new()
            })
    }

    /// Sends what has not been sent yet and stops. Waits two seconds at most.
    pub async fn shut_down(self) {
        let flushing = tokio::task::spawn_blocking(move || {
            let traces = self.tracers.map(|provider| provider.shutdown());
            for error in [traces, Some(self.meters.shutdown())].into_iter().flatten() {
                if let Err(error) = error {
                    tracing::debug!(%error, "telemetry did not shut down cleanly");
                }
            }
        });
        if tokio::time::timeout(FLUSH_TIMEOUT, flushing).await.is_err() {
            tracing::warn!("the collector did not take the last traces and metrics in time");
        }
    }
}

#[cfg(test)]
mod tests;
