//! Testing: what the tests of several modules need. Not part of the library.
//!
//! Invariant: waits for conditions with a deadline, never for a time.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Service, ServiceExt};

use crate::health::Health;
use crate::link::Link;

/// Held by tests that start telemetry: a process has one meter provider.
pub static TELEMETRY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How long a condition may take before a test gives up.
pub const SOON: Duration = Duration::from_secs(20);

/// The health service, which says that `name` is ready.
pub async fn routes(name: &str) -> Routes {
    let (routes, health) = Health::add_to(Routes::default(), &[name]).await;
    health.serving(&[name]).await;
    routes
}

/// Whether `name` is ready, by one unary call.
pub async fn health_of(link: Link, name: &str) -> Result<bool, Code> {
    let request = HealthCheckRequest {
        service: name.into(),
    };
    let answer = HealthClient::new(link)
        .check(request)
        .await
        .map_err(|status| status.code())?;
    Ok(answer.into_inner().status == 1)
}

/// A service that answers PERMISSION_DENIED to requests that it does not like.
#[derive(Clone)]
pub struct Probe(pub fn(&Request<Body>) -> bool);

impl tonic::server::NamedService for Probe {
    const NAME: &'static str = "heddle.test.Probe";
}

impl Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = if (self.0)(&request) {
            Code::Ok
        } else {
            Code::PermissionDenied
        };
        ready(Ok(Status::new(answer, "").into_http()))
    }
}

/// What the probe behind `link` says.
pub async fn probe(mut link: Link) -> Code {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/heddle.test.Probe/Call".parse().unwrap();
    let response = link.ready().await.unwrap().call(request).await.unwrap();
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}

/// Waits until `condition` holds.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, waiting)
        .await
        .expect("the condition never held");
}
