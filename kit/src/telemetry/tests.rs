//! Tests of `telemetry`: metrics as Prometheus sees them, and a whole trip to a collector.

use super::*;
use crate::layers::{Guarded, LayerOptions};
use crate::link::Link;
use crate::tasks::Tasks;
use crate::testing::{self, SOON, health_of};
use opentelemetry::metrics::MeterProvider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn calls_are_counted_and_shown() {
    let _alone = testing::TELEMETRY.lock().await;
    let telemetry = Telemetry::start("test", &TelemetryOptions::default()).unwrap();
    let service = Guarded::new(testing::routes("named").await, &LayerOptions::default());
    assert_eq!(
        health_of(Link::guarded(service.clone()), "named").await,
        Ok(true)
    );
    assert!(
        health_of(Link::guarded(service.clone()), "unknown")
            .await
            .is_err()
    );
    let mut request = http::Request::new(tonic::body::Body::empty());
    *request.uri_mut() = "/made.Up/ByACaller".parse().unwrap();
    drop(tower::ServiceExt::oneshot(service, request).await);
    telemetry
        .meters
        .meter("test")
        .u64_counter("heddle.test.events")
        .build()
        .add(3, &[]);
    let mut tallies = Tallies::default();
    let (often, _never) = (
        tallies.of([("kind", "often")]),
        tallies.of([("kind", "never")]),
    );
    tallies.observe("heddle.test.tallies", "By kind");
    often.add(4);

    let tasks = Tasks::new("test");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = serve_metrics(listener, telemetry.clone(), &tasks).unwrap();
    let text = get(address, "/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("heddle_test_events_total"), "{text}");
    let tallied = |kind: &str, count: &str| {
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("heddle_test_tallies_total{"));
        lines.any(|line| line.contains(&format!("kind=\"{kind}\"")) && line.ends_with(count))
    };
    assert!(tallied("often", " 4") && tallied("never", " 0"), "{text}");
    let calls = "rpc_server_call_duration_seconds_count";
    let shows = |status: &str, method: &str| {
        let wanted = |line: &&str| line.starts_with(calls) && line.contains(status);
        text.lines()
            .filter(wanted)
            .any(|line| line.contains(method))
    };
    assert!(shows("\"OK\"", "grpc.health.v1.Health/Check"), "{text}");
    assert!(
        shows("\"NOT_FOUND\"", "grpc.health.v1.Health/Check"),
        "{text}"
    );
    assert!(
        shows("\"UNIMPLEMENTED\"", "_OTHER") && !text.contains("made.Up"),
        "{text}"
    );
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
    assert_eq!(tasks.drain(SOON).await, 0);
    telemetry.shut_down().await;
}

#[test]
fn a_wrong_filter_says_what_to_write() {
    let options = TelemetryOptions {
        log: "info,=x=y".into(),
        ..TelemetryOptions::default()
    };
    let error = subscriber::install(&options, None).unwrap_err();
    assert!(error.to_string().starts_with("telemetry.log: "), "{error}");
}
