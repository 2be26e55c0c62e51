//! Why a call failed, as the server told it or as the client found out by itself.
//!
//! Built from a gRPC status (unary calls), from a [`v1::Error`] (inside a session) or locally.
//! Everything that decides about retries asks [`Error::is_retryable`] and nothing else.

use heddle_proto::{errors, v1};
use std::{fmt, time::Duration};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub use heddle_proto::v1::ErrorReason as Reason;

/// Why a call failed, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The server's reason; `Unspecified` when the failure is the transport's or the client's own.
    pub reason: Reason,
    /// The gRPC status.
    pub code: Code,
    /// For developers, in English.
    pub message: String,
    /// The field at fault as a path such as `send.message.text`; empty: none.
    pub field: String,
    /// When a retry makes sense, if the server said so.
    pub retry_delay: Option<Duration>,
    /// The server's time in milliseconds since the Unix epoch, if the error carries it.
    pub server_time_ms: Option<u64>,
}

impl Error {
    /// A failure that the client found by itself.
    pub fn local(code: Code, message: impl Into<String>) -> Self {
        Self {
            reason: Reason::Unspecified,
            code,
            message: message.into(),
            field: String::new(),
            retry_delay: None,
            server_time_ms: None,
        }
    }

    /// A field that the client refuses before it troubles the server.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason: Reason::InvalidField,
            field: field.into(),
            ..Self::local(Code::InvalidArgument, message)
        }
    }

    /// The connection ended while the call was under way; whether it was done is unknown.
    pub fn disconnected() -> Self {
        Self::local(
            Code::Unavailable,
            "the connection ended before an answer came",
        )
    }

    /// The session is closed for good.
    pub fn closed() -> Self {
        Self::local(Code::Cancelled, "the session is closed; open a new one")
    }

    /// The outbox holds as much as it may.
    pub fn outbox_full(queue_len_max: usize) -> Self {
        Self {
            reason: Reason::Overloaded,
            ..Self::local(
                Code::ResourceExhausted,
                format!("{queue_len_max} sends wait already; wait for some to be answered"),
            )
        }
    }

    /// Whether the same call, with the same id, may yet succeed. Every call that makes something
    /// carries an id, so that a retry never does it twice.
    pub fn is_retryable(&self) -> bool {
        match self.reason {
            Reason::Unspecified => matches!(
                self.code,
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Aborted
                    | Code::Unknown
                    | Code::Internal
            ),
            Reason::TokenInvalid
            | Reason::PredecessorFailed
            | Reason::OwnerChanging
            | Reason::Overloaded
            | Reason::RateLimited
            | Reason::StoreReadOnly
            | Reason::OutOfOrder
            | Reason::TooManyInFlight
            | Reason::SessionGone
            | Reason::Draining
            | Reason::Deadline
            | Reason::Internal => true,
            Reason::InvalidField
            | Reason::NotFound
            | Reason::RoleRequired
            | Reason::DeviceRevoked
            | Reason::IdReused
            | Reason::OutboxExpired
            | Reason::IdAhead
            | Reason::GroupFull
            | Reason::DataLoss
            | Reason::PositionLost
            | Reason::Unimplemented => false,
        }
    }

    /// Whether a fresh token is what is needed.
    pub fn needs_token(&self) -> bool {
        self.reason == Reason::TokenInvalid
            || (self.reason == Reason::Unspecified && self.code == Code::Unauthenticated)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        if !self.field.is_empty() && !self.message.contains(&self.field) {
            write!(formatter, " (field {})", self.field)?;
        }
        match self.reason {
            Reason::Unspecified => write!(formatter, " [{:?}]", self.code),
            reason => write!(formatter, " [{}]", errors::reason_name(reason)),
        }
    }
}

impl std::error::Error for Error {}

impl From<v1::Error> for Error {
    fn from(error: v1::Error) -> Self {
        Self {
            reason: error.reason(),
            code: Code::from_i32(error.code),
            server_time_ms: server_time_ms(error.metadata.get("server_time_ms")),
            message: error.message,
            field: error.field,
            retry_delay: error.retry_delay.and_then(|delay| delay.try_into().ok()),
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let reason = info
            .filter(|info| info.domain == errors::ERROR_DOMAIN)
            .and_then(|info| Reason::from_str_name(&format!("ERROR_REASON_{}", info.reason)));
        let violation = details
            .bad_request()
            .and_then(|bad| bad.field_violations.first());
        Self {
            reason: reason.unwrap_or_default(),
            // A call that was cut off with its connection: nobody here cancels calls.
            code: match status.code() {
                Code::Cancelled => Code::Unavailable,
                code => code,
            },
            message: status.message().to_owned(),
            field: violation.map(|v| v.field.clone()).unwrap_or_default(),
            retry_delay: details.retry_info().and_then(|info| info.retry_delay),
            server_time_ms: server_time_ms(
                info.and_then(|info| info.metadata.get("server_time_ms")),
            ),
        }
    }
}

impl From<tonic::transport::Error> for Error {
    fn from(error: tonic::transport::Error) -> Self {
        // tonic's own text is "transport error"; the cause says what a person wants to know.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        Self::local(Code::Unavailable, format!("cannot connect: {cause}"))
    }
}

fn server_time_ms(text: Option<&String>) -> Option<u64> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::errors::Fault;

    #[test]
    fn a_status_and_a_frame_tell_the_same() {
        let fault = Fault::new(Reason::Overloaded, "queue full").retry_after(250);
        let framed = Error::from(fault.to_wire());
        let called = Error::from(Status::from(fault));
        assert_eq!(framed, called);
        assert_eq!(called.retry_delay, Some(Duration::from_millis(250)));
        assert!(called.is_retryable());
    }

    #[test]
    fn the_field_and_the_servers_time_come_through() {
        let error = Error::from(Status::from(Fault::field("title", "too long")));
        assert_eq!(error.field, "title");
        assert!(!error.is_retryable());
        let ahead = Fault::new(Reason::IdAhead, "ahead").with("server_time_ms", 77);
        assert_eq!(Error::from(ahead.to_wire()).server_time_ms, Some(77));
        assert_eq!(Error::from(Status::from(ahead)).server_time_ms, Some(77));
    }

    #[test]
    fn what_the_transport_breaks_may_be_tried_again() {
        assert!(Error::disconnected().is_retryable());
        assert!(!Error::closed().is_retryable());
        assert!(Error::from(Status::unauthenticated("expired")).needs_token());
    }
}
