//! Observe: one span and one measurement per call, by OpenTelemetry's RPC conventions.
//!
//! Used by [`super::Guarded`] alone. A call's status stands in its headers (an error before any
//! message) or in its trailers, so the body is watched to its end.
//!
//! Invariant: nothing of a message's content is read, and a method that does not exist becomes
//! `_OTHER`, so that no caller decides how many time series there are.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, UpDownCounter};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::telemetry;

const GRPC_STATUS: &str = "grpc-status";
const METHOD_OTHER: &str = "_OTHER";

/// The instruments of one guarded service.
#[derive(Clone, Debug)]
pub(super) struct CallMetrics {
    duration: Histogram<f64>,
    active: UpDownCounter<i64>,
}

impl CallMetrics {
    pub(super) fn new() -> Self {
        let meter = telemetry::meter();
        Self {
            duration: telemetry::seconds(
                "rpc.server.call.duration",
                "Time from a call's arrival to the end of its answer",
            ),
            active: meter
                .i64_up_down_counter("heddle.rpc.server.active_calls")
                .with_description("Calls and streams that are open")
                .build(),
        }
    }

    pub(super) fn begin(&self, path: &str) -> Call {
        self.active.add(1, &[]);
        let method = path.strip_prefix('/').unwrap_or(path).to_owned();
        Call {
            metrics: self.clone(),
            method,
            begun: Instant::now(),
            status: Code::Cancelled,
        }
    }
}

/// A call under way; dropping it records it.
#[derive(Debug)]
pub(super) struct Call {
    metrics: CallMetrics,
    method: String,
    begun: Instant,
    /// What is recorded: a call dropped before it ended counts as cancelled.
    status: Code,
}

impl Call {
    /// Watches the response to its end.
    pub(super) fn observe(mut self, response: Response<Body>) -> Response<Body> {
        if let Some(status) = status_of(response.headers()) {
            self.status = status;
            return response;
        }
        if response.body().is_end_stream() {
            self.status = Code::Unknown;
            return response;
        }
        response.map(|body| Body::new(Observed { body, call: self }))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let known = self.status != Code::Unimplemented;
        let method = if known {
            std::mem::take(&mut self.method)
        } else {
            METHOD_OTHER.into()
        };
        let attributes = [
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", method),
            KeyValue::new("rpc.response.status_code", name_of(self.status)),
        ];
        self.metrics
            .duration
            .record(self.begun.elapsed().as_secs_f64(), &attributes);
        self.metrics.active.add(-1, &[]);
    }
}

/// The span in which a handler runs: part of the caller's trace if there is one and `adopt` allows
/// it, else of a new trace if chance will have it.
pub(super) fn span<B>(request: &Request<B>, adopt: bool) -> tracing::Span {
    let parent = telemetry::incoming(request.headers()).filter(|_| adopt);
    if parent.is_none() && !telemetry::sample() {
        return tracing::Span::none();
    }
    let method = request.uri().path();
    let span = tracing::debug_span!(
        "rpc",
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method
    );
    if let Some(parent) = parent {
        telemetry::adopt_parent(&span, parent);
    }
    span
}

fn status_of(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(GRPC_STATUS)
        .map(|value| Code::from_bytes(value.as_bytes()))
}

struct Observed {
    body: Body,
    call: Call,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(status) = frame.trailers_ref().and_then(status_of) {
                    self.call.status = status;
                }
            }
            Some(Err(status)) => self.call.status = status.code(),
            None if self.call.status == Code::Cancelled => self.call.status = Code::Unknown,
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The names of the specification, which the conventions ask for.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
