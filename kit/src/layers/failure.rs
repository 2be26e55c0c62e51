//! Failure: what the layers themselves answer, with the details that every failed call carries.
//!
//! Built by [`super::Guarded`] where no handler did. The names are those of `heddle_proto::errors`,
//! which kit does not know; the gateway, which knows both, tests that they agree.
//!
//! Invariant: each has an ErrorInfo, and each that is worth another try a RetryInfo.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of ErrorInfo.
const ERROR_DOMAIN: &str = "heddle.dev";
/// When a call that was shed or late makes sense again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Too many handlers run; this one was not begun.
pub(super) fn shed() -> Status {
    let text = "the server has too many requests in flight; retry after the delay";
    status(
        Code::ResourceExhausted,
        "OVERLOADED",
        text,
        Some(RETRY_DELAY),
    )
}

/// The handler took too long; what it has done by then is unknown.
pub(super) fn late() -> Status {
    let text = "the deadline passed before the handler answered";
    status(Code::DeadlineExceeded, "DEADLINE", text, Some(RETRY_DELAY))
}

/// The handler panicked.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Status {
    tracing::error!(
        cause = crate::tasks::panic_text(panic),
        "a request handler panicked"
    );
    let text = "the handler of this request failed; the server's log says why";
    status(Code::Internal, "INTERNAL", text, None)
}

fn status(code: Code, reason: &str, text: &str, retry_delay: Option<Duration>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, ERROR_DOMAIN, HashMap::new());
    if retry_delay.is_some() {
        details.set_retry_info(retry_delay);
    }
    Status::with_error_details(code, text, details)
}
