//! Errors as the API tells them: a reason, a text for developers, the field at fault.
//!
//! Services build a [`Fault`]; it becomes a gRPC status with ErrorInfo at the edge of a unary call,
//! or an [`v1::Error`] inside a stream, where a status would end it. The status code follows from
//! the reason and from nothing else.

use crate::{time, v1};
use std::{collections::HashMap, fmt, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use v1::ErrorReason as Reason;

/// The domain of ErrorInfo.
pub const ERROR_DOMAIN: &str = "heddle.dev";

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The reason; the status follows from it.
    pub reason: Reason,
    /// What happened and what to do, in English, for developers.
    pub message: String,
    /// The field at fault; empty: none.
    pub field: String,
    /// When a retry makes sense, in milliseconds; 0: not said.
    pub retry_delay_ms: u64,
    /// More, by name.
    pub metadata: Vec<(String, String)>,
}

impl Fault {
    /// A fault without a field.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            reason,
            message,
            field: String::new(),
            retry_delay_ms: 0,
            metadata: Vec::new(),
        }
    }

    /// A bad field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        Self {
            field,
            ..Self::new(Reason::InvalidField, message)
        }
    }

    /// No such thing, or not yours: one answer for both.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            Reason::NotFound,
            format!("no such {what}, or it is not yours"),
        )
    }

    /// Says when to try again.
    pub fn retry_after(self, retry_delay_ms: u64) -> Self {
        Self {
            retry_delay_ms,
            ..self
        }
    }

    /// Adds a named value.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.metadata.push((name.into(), value.to_string()));
        self
    }

    /// The gRPC status code.
    pub fn code(&self) -> Code {
        code(self.reason)
    }

    /// The fault inside a stream.
    pub fn to_wire(&self) -> v1::Error {
        v1::Error {
            code: self.code() as i32,
            reason: self.reason as i32,
            message: self.message.clone(),
            field: self.field.clone(),
            retry_delay: (self.retry_delay_ms > 0).then(|| time::duration(self.retry_delay_ms)),
            metadata: self.metadata.iter().cloned().collect(),
        }
    }

    /// The fault that another service reported inside a stream.
    pub fn from_wire(error: v1::Error) -> Self {
        let delay = error.retry_delay.unwrap_or_default();
        Self {
            reason: error.reason(),
            message: error.message,
            field: error.field,
            retry_delay_ms: delay.seconds.max(0) as u64 * 1000
                + delay.nanos.max(0) as u64 / 1_000_000,
            metadata: error.metadata.into_iter().collect(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        if !self.field.is_empty() {
            write!(formatter, " (field {})", self.field)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let metadata: HashMap<String, String> = fault.metadata.iter().cloned().collect();
        let mut details = ErrorDetails::new();
        details.set_error_info(reason_name(fault.reason), ERROR_DOMAIN, metadata);
        if !fault.field.is_empty() {
            details.add_bad_request_violation(fault.field.clone(), fault.message.clone());
        }
        if fault.retry_delay_ms > 0 {
            details.set_retry_info(Some(Duration::from_millis(fault.retry_delay_ms)));
        }
        Status::with_error_details(fault.code(), fault.to_string(), details)
    }
}

/// The reason's name as ErrorInfo carries it: without the enum's prefix.
pub fn reason_name(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

/// The status that carries a reason.
pub fn code(reason: Reason) -> Code {
    match reason {
        Reason::Unspecified => Code::Unknown,
        Reason::InvalidField | Reason::IdAhead => Code::InvalidArgument,
        Reason::NotFound => Code::NotFound,
        Reason::RoleRequired => Code::PermissionDenied,
        Reason::TokenInvalid | Reason::DeviceRevoked => Code::Unauthenticated,
        Reason::IdReused => Code::AlreadyExists,
        Reason::OutboxExpired | Reason::GroupFull | Reason::OutOfOrder | Reason::SessionGone => {
            Code::FailedPrecondition
        }
        Reason::PredecessorFailed => Code::Aborted,
        Reason::OwnerChanging | Reason::StoreReadOnly | Reason::Draining => Code::Unavailable,
        Reason::Overloaded | Reason::RateLimited | Reason::TooManyInFlight => {
            Code::ResourceExhausted
        }
        Reason::DataLoss => Code::DataLoss,
        Reason::PositionLost => Code::OutOfRange,
        Reason::Unimplemented => Code::Unimplemented,
        Reason::Deadline => Code::DeadlineExceeded,
        Reason::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_the_stream() {
        let fault = Fault::field("send.message.text", "too long")
            .retry_after(1500)
            .with("max", 10);
        assert_eq!(Fault::from_wire(fault.to_wire()), fault);
    }

    #[test]
    fn a_status_names_reason_and_field() {
        let status = Status::from(Fault::field("title", "too long"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "INVALID_FIELD");
        assert_eq!(
            details.bad_request().unwrap().field_violations[0].field,
            "title"
        );
    }
}
