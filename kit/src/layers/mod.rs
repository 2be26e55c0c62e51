//! Layers: what stands in front of every service's handlers, however the call arrives.
//!
//! tonic keeps deadline, load shedding and peer information in its transport server, so a call
//! through [`crate::link::Link::Local`] would have none of them. [`Guarded`] holds all of them in
//! one tower service; [`mod@crate::serve`] puts it behind sockets, a local link calls it directly.
//!
//! Invariant: a handler runs only with a permit, a [`Deadline`] and a [`Peer`] that may call it
//! ([`callers`]); whatever happens in it, the caller gets a gRPC status, never a transport error or
//! a panic.

pub mod callers;
pub mod deadline;
mod failure;
mod observe;
pub mod peer;

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{BoxError, Service, ServiceExt};
use tracing::Instrument;

pub use callers::CallerTable;
pub use deadline::Deadline;
pub use peer::Peer;

/// Requests whose handlers may run at once in one service, by default.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 4096;
/// The longest a handler may take to answer, by default.
pub const DEADLINE_MAX_MS: u64 = 30_000;

crate::config! {
    /// What stands in front of a service's handlers.
    pub struct LayerOptions {
        /// Requests whose handlers may run at once; more are answered RESOURCE_EXHAUSTED. An
        /// open stream counts only until its handler has returned.
        pub requests_in_flight_max: usize = REQUESTS_IN_FLIGHT_MAX,
        /// The longest a handler may take to answer (milliseconds), whatever the caller allows.
        pub deadline_max_ms: u64 = DEADLINE_MAX_MS,
        /// Whether a caller's trace goes on here. Off at the edge: else each client chooses how
        /// much is traced.
        pub adopt_traces: bool = true,
    }
}

/// A service behind the layers. Clones share one limit and one set of metrics.
#[derive(Clone, Debug)]
pub struct Guarded<S = Routes> {
    inner: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    permits: Arc<Semaphore>,
    deadline_max: Duration,
    adopt_traces: bool,
    callers: CallerTable,
    metrics: observe::CallMetrics,
}

/// The response of a guarded call, which never fails.
pub type GuardedFuture =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send + 'static>>;

impl<S> Guarded<S> {
    /// Puts the layers in front of `inner`. Call it after telemetry is up: instruments made
    /// before that record nothing.
    pub fn new(inner: S, options: &LayerOptions) -> Self {
        Self::only(inner, options, &[])
    }

    /// The same for the callers of a table.
    pub fn only(inner: S, options: &LayerOptions, callers: CallerTable) -> Self {
        let permits = options.requests_in_flight_max.min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            permits: Arc::new(Semaphore::new(permits)),
            deadline_max: Duration::from_millis(options.deadline_max_ms),
            adopt_traces: options.adopt_traces,
            callers,
            metrics: observe::CallMetrics::new(),
        };
        Self {
            inner,
            shared: Arc::new(shared),
        }
    }
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = GuardedFuture;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> GuardedFuture {
        let call = self.shared.metrics.begin(request.uri().path());
        let Ok(permit) = self.shared.permits.clone().try_acquire_owned() else {
            return Box::pin(async move { Ok(call.observe(failure::shed().into_http())) });
        };
        let deadline = Deadline::of(request.headers(), self.shared.deadline_max);
        request.extensions_mut().insert(deadline);
        let peer = peer::ensure(request.extensions_mut());
        let path = request.uri().path();
        if let Some(reason) = callers::refusal(self.shared.callers, path, &peer) {
            tracing::warn!(path, ?peer, "refused: {reason}");
            let refused = Status::permission_denied(reason);
            return Box::pin(async move { Ok(call.observe(refused.into_http())) });
        }
        let span = observe::span(&request, self.shared.adopt_traces);
        let handler = AssertUnwindSafe(self.inner.clone().oneshot(request)).catch_unwind();
        let answer = async move {
            let outcome = tokio::time::timeout_at(deadline.at(), handler).await;
            drop(permit);
            let response = match outcome {
                Ok(Ok(Ok(response))) => response,
                Ok(Ok(Err(error))) => Status::from_error(error.into()).into_http(),
                Ok(Err(panic)) => failure::panicked(panic.as_ref()).into_http(),
                Err(_elapsed) => failure::late().into_http(),
            };
            Ok(call.observe(response))
        };
        Box::pin(answer.instrument(span))
    }
}

#[cfg(test)]
mod tests;
