//! Tests of `layers`: each layer, around a handler that misbehaves in the way it guards against.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic_types::StatusExt;
use tower::service_fn;

fn request(timeout: Option<&str>) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/heddle.test.Service/Call".parse().unwrap();
    if let Some(timeout) = timeout {
        request
            .headers_mut()
            .insert("grpc-timeout", timeout.parse().unwrap());
    }
    request
}

fn code(response: &Response<Body>) -> tonic::Code {
    Status::from_header_map(response.headers()).map_or(tonic::Code::Ok, |status| status.code())
}

/// The reason that the answer's ErrorInfo names, and whether it says when to try again.
fn details(response: &Response<Body>) -> (String, bool) {
    let status = Status::from_header_map(response.headers()).unwrap();
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "heddle.dev");
    let delay = details.retry_info().and_then(|info| info.retry_delay);
    let has_delay = delay.is_some_and(|delay| !delay.is_zero());
    (info.reason.clone(), has_delay)
}

async fn answered(_: Request<Body>) -> Result<Response<Body>, BoxError> {
    Ok(Response::new(Body::empty()))
}

async fn never(_: Request<Body>) -> Result<Response<Body>, BoxError> {
    std::future::pending().await
}

#[tokio::test]
async fn the_callers_deadline_holds() {
    let guarded = Guarded::new(service_fn(never), &LayerOptions::default());
    let begun = tokio::time::Instant::now();
    let response = guarded.oneshot(request(Some("100m"))).await.unwrap();
    assert_eq!(code(&response), tonic::Code::DeadlineExceeded);
    assert_eq!(details(&response), ("DEADLINE".to_owned(), true));
    assert!((100..10_000).contains(&begun.elapsed().as_millis()));
}

#[tokio::test]
async fn the_servers_maximum_holds_without_one() {
    let options = LayerOptions {
        deadline_max_ms: 50,
        ..LayerOptions::default()
    };
    let guarded = Guarded::new(service_fn(never), &options);
    let response = guarded.clone().oneshot(request(None)).await.unwrap();
    assert_eq!(code(&response), tonic::Code::DeadlineExceeded);
    let response = guarded.oneshot(request(Some("9H"))).await.unwrap();
    assert_eq!(code(&response), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_panic_becomes_a_status() {
    async fn panics(_: Request<Body>) -> Result<Response<Body>, BoxError> {
        panic!("a bug")
    }
    let guarded = Guarded::new(service_fn(panics), &LayerOptions::default());
    let response = guarded.oneshot(request(None)).await.unwrap();
    assert_eq!(code(&response), tonic::Code::Internal);
    assert_eq!(details(&response), ("INTERNAL".to_owned(), false));
}

#[tokio::test]
async fn an_error_becomes_a_status() {
    async fn fails(_: Request<Body>) -> Result<Response<Body>, BoxError> {
        Err(Status::aborted("not now").into())
    }
    let guarded = Guarded::new(service_fn(fails), &LayerOptions::default());
    assert_eq!(
        code(&guarded.oneshot(request(None)).await.unwrap()),
        tonic::Code::Aborted
    );
}

#[tokio::test]
async fn what_is_over_the_limit_is_shed_and_permits_come_back() {
    let options = LayerOptions {
        requests_in_flight_max: 2,
        ..LayerOptions::default()
    };
    let entered = Arc::new(AtomicUsize::new(0));
    let counted = entered.clone();
    let slow = service_fn(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        never(request(None))
    });
    let guarded = Guarded::new(slow, &options);
    let mut held: Vec<_> = (0..2)
        .map(|_| guarded.clone().oneshot(request(None)))
        .map(Box::pin)
        .collect();
    for call in &mut held {
        assert!(call.now_or_never().is_none());
    }
    let shed = guarded.clone().oneshot(request(None)).await.unwrap();
    assert_eq!(code(&shed), tonic::Code::ResourceExhausted);
    assert_eq!(details(&shed), ("OVERLOADED".to_owned(), true));
    drop(held);
    assert!(guarded.oneshot(request(None)).now_or_never().is_none());
    assert_eq!(entered.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn handlers_see_deadline_and_peer() {
    async fn looks(request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let deadline = request.extensions().get::<Deadline>().unwrap();
        assert!(deadline.left() <= Duration::from_secs(1));
        assert_eq!(request.extensions().get::<Peer>(), Some(&Peer::UNKNOWN));
        answered(request).await
    }
    let guarded = Guarded::new(service_fn(looks), &LayerOptions::default());
    let response = guarded.oneshot(request(Some("1S"))).await.unwrap();
    assert_eq!(code(&response), tonic::Code::Ok);
}
