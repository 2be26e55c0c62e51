//! A trace on its way: from a caller's span over a link into a handler's, and to a collector.
//!
//! A process of its own, since the subscriber is one for the whole process.

#![expect(clippy::unwrap_used, reason = "a test as a whole")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use heddle_kit::telemetry::{self, Telemetry, TelemetryOptions};
use heddle_kit::{Guarded, LayerOptions, Link, LinkOptions, ServeOptions, Tasks, serve};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tracing::Instrument;

const TRACES: &str = "opentelemetry.proto.collector.trace.v1.TraceService";

/// Takes every export and keeps its bytes.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<u8>>>);

impl NamedService for Collector {
    const NAME: &'static str = TRACES;
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl tower::Service<Request<Body>> for Collector {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let taken = self.0.clone();
        Box::pin(async move {
            let bytes = request.into_body().collect().await.unwrap().to_bytes();
            taken.lock().unwrap().extend_from_slice(&bytes);
            Ok(tonic::Status::ok("").into_http())
        })
    }
}

/// Says which trace it is part of.
#[derive(Clone, Default)]
struct Handler(Arc<Mutex<Vec<Option<String>>>>);

impl NamedService for Handler {
    const NAME: &'static str = "heddle.test.Handler";
}

impl tower::Service<Request<Body>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Answer {
        let seen = self.0.clone();
        Box::pin(async move {
            seen.lock().unwrap().push(telemetry::trace_parent());
            Ok(tonic::Status::ok("").into_http())
        })
    }
}

async fn call(mut link: Link) {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/heddle.test.Handler/Call".parse().unwrap();
    std::future::poll_fn(|context| tower::Service::poll_ready(&mut link, context))
        .await
        .unwrap();
    tower::Service::call(&mut link, request).await.unwrap();
}

fn trace_id(parent: &str) -> &str {
    parent.split('-').nth(1).unwrap()
}

fn holds(bytes: &[u8], wanted: &str) -> bool {
    bytes
        .windows(wanted.len())
        .any(|window| window == wanted.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_from_caller_to_handler_to_collector() {
    let tasks = Tasks::new("test");
    let options = ServeOptions::default();
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let guarded = Guarded::new(Routes::new(collector.clone()), &LayerOptions::default());
    let address = serve(listener, None, &options, guarded, &tasks).unwrap();
    let telemetry_options = TelemetryOptions {
        otlp_endpoint: Some(format!("http://{address}")),
        trace_ratio: 1.0,
        ..TelemetryOptions::default()
    };
    let telemetry = Telemetry::start("test", &telemetry_options).unwrap();

    let handler = Handler::default();
    let service = Guarded::new(Routes::new(handler.clone()), &LayerOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = serve(listener, None, &options, service.clone(), &tasks).unwrap();
    let remote = Link::connect(&format!("http://{address}"), &LinkOptions::default(), None);

    assert!(telemetry::sample());
    let span = tracing::info_span!(target: "heddle_test", "send");
    let ours = span
        .in_scope(telemetry::trace_parent)
        .expect("the span is sampled");
    let calls = async {
        call(remote.unwrap()).await;
        call(Link::guarded(service)).await;
    };
    calls.instrument(span).await;
    let seen = handler.0.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    for theirs in seen {
        let theirs = theirs.expect("the handler is traced");
        assert_eq!(trace_id(&theirs), trace_id(&ours));
        assert_ne!(theirs, ours, "the handler has a span of its own");
    }

    telemetry.shut_down().await;
    let exported = collector.0.lock().unwrap().clone();
    for wanted in [
        "heddle-test",
        "send",
        "rpc.system.name",
        "/heddle.test.Handler/Call",
    ] {
        assert!(holds(&exported, wanted), "{wanted} was not exported");
    }
    tasks.drain(Duration::from_millis(100)).await;
}
