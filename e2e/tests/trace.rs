//! Trace: one message from the sender's frame to the recipient's acknowledgement, as a collector
//! gets it, and what Prometheus reads afterwards (`docs/telemetry.md`).
//!
//! A process of its own, since telemetry is one for the whole process.

use heddle_e2e::{World, eventually, people::id_of, world::Failure};
use heddle_kit::telemetry::{Telemetry, TelemetryOptions};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use prost::Message as _;
use serde_json::json;
use std::{
    collections::HashMap,
    future::ready,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

const BODY: &str = "CANARYonTHEwire";
/// The stops of a message, each the parent of the next.
const STOPS: [&str; 6] = [
    "send",
    "shard.append",
    "store.commit",
    "mailbox.append",
    "deliver",
    "acknowledge",
];

/// Takes every export and keeps it.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Listens; its address.
    async fn listen(&self) -> Result<String, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(format!("http://{address}"))
    }

    fn taken(&self) -> Vec<ExportTraceServiceRequest> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.clone()
    }

    fn spans(&self) -> Vec<Span> {
        let resources = self.taken().into_iter().flat_map(|it| it.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

/// The value of a metric without attributes.
fn value(metrics: &str, name: &str) -> Option<f64> {
    let mut lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let of_name = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    };
    let line = lines.find(of_name)?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until a metric is as wanted.
async fn reads(telemetry: &Telemetry, name: &str, wanted: impl Fn(f64) -> bool) -> f64 {
    eventually(name, || {
        let found = value(&telemetry.prometheus_text(), name);
        ready(found.filter(|value| wanted(*value)))
    })
    .await
}

async fn metrics_are_sensible(telemetry: &Telemetry) {
    for latency in ["delivery", "acknowledgement"] {
        let name = format!("heddle_message_{latency}_latency_seconds");
        let count = reads(telemetry, &format!("{name}_count"), |count| count >= 1.0).await;
        let sum = reads(telemetry, &format!("{name}_sum"), |_| true).await;
        assert!(sum / count < 20.0, "{name}: {sum} s over {count}");
    }
    let commits = reads(telemetry, "heddle_shard_batch_events_count", |n| n >= 2.0).await;
    let events = reads(telemetry, "heddle_shard_batch_events_sum", |_| true).await;
    assert!(events >= commits, "{events} events in {commits} commits");
    let name = "heddle_shard_commit_duration_seconds_count";
    reads(telemetry, name, |count| count >= commits).await;
    for state in [
        "unacknowledged_events",
        "sessions_behind",
        "mailbox_lag",
        "mailbox_lag_max",
    ] {
        // All is acknowledged in the end.
        reads(telemetry, &format!("heddle_gateway_{state}"), |n| n == 0.0).await;
    }
    reads(telemetry, "heddle_gateway_sessions", |n| n == 2.0).await;
}

/// The spans of one name, by id.
fn named<'a>(spans: &'a [Span], name: &str) -> HashMap<&'a [u8], &'a Span> {
    let spans = spans.iter().filter(|span| span.name == name);
    spans.map(|span| (&span.span_id[..], span)).collect()
}

/// An acknowledgement whose ancestors are the stops, back to the sender's frame.
fn follow_back(spans: &[Span]) {
    let (last, before) = (STOPS[STOPS.len() - 1], &STOPS[..STOPS.len() - 1]);
    let ends = named(spans, last);
    assert!(!ends.is_empty(), "nothing was traced to its end");
    for end in ends.into_values() {
        let mut span = end;
        for stop in before.iter().rev() {
            let parents = named(spans, stop);
            let parent = parents.get(&span.parent_span_id[..]);
            let parent = parent.unwrap_or_else(|| panic!("{} has no {stop} before it", span.name));
            assert_eq!(parent.trace_id, end.trace_id, "one trace");
            assert!(parent.start_time_unix_nano <= span.start_time_unix_nano);
            span = parent;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_from_the_senders_frame_to_the_acknowledgement() -> Result<(), Failure> {
    let collector = Collector::default();
    let options = TelemetryOptions {
        otlp_endpoint: Some(collector.listen().await?),
        trace_ratio: 1.0,
        ..TelemetryOptions::default()
    };
    let telemetry = Telemetry::start("e2e", &options)?;
    let world = World::start().await?;
    let ann = world.person("ann", "phone").await?;
    let mut ben = world.person("ben", "phone").await?;
    let talk = id_of(&ann.client.create_direct("ben").await?)?;
    ann.say(talk, BODY).await?;
    ben.hears(BODY).await;
    // An application acknowledges what it has handled by asking for more.
    let reading = [ann, ben].map(|mut person| {
        tokio::spawn(async move { while person.session.next().await.is_some() {} })
    });
    metrics_are_sensible(&telemetry).await;
    reading.iter().for_each(|reading| reading.abort());
    let metrics = telemetry.prometheus_text();
    let token = world.signer.token("ann", json!({}));
    world.stop().await;
    telemetry.shut_down().await;

    follow_back(&collector.spans());
    let exported: Vec<u8> = collector
        .taken()
        .iter()
        .flat_map(|it| it.encode_to_vec())
        .collect();
    // All tokens of this world begin alike.
    let head = token.split('.').next().unwrap_or(&token);
    for secret in [BODY, head] {
        let held = exported
            .windows(secret.len())
            .any(|it| it == secret.as_bytes());
        assert!(!held, "{secret} is in a trace");
        assert!(!metrics.contains(secret), "{secret} is in a metric");
    }
    Ok(())
}
