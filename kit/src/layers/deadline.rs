//! Deadline: how long the caller will wait, from gRPC's `grpc-timeout` header.
//!
//! [`super::Guarded`] puts it into the request's extensions; a handler that calls on passes what
//! is left of it to the next service.
//!
//! Invariant: never later than the server's own maximum.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

const GRPC_TIMEOUT: &str = "grpc-timeout";
/// The gRPC specification allows at most eight digits.
const DIGITS_MAX: usize = 8;

/// When the caller stops waiting for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The caller's deadline, or the server's maximum if that comes first.
    pub fn of(headers: &HeaderMap, max: Duration) -> Self {
        let asked = headers
            .get(GRPC_TIMEOUT)
            .and_then(|value| parse(value.as_bytes()));
        Self(Instant::now() + asked.map_or(max, |asked| asked.min(max)))
    }

    /// The instant itself.
    pub fn at(self) -> Instant {
        self.0
    }

    /// What is left of it; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Reads `<digits><unit>`; an unreadable header is treated as absent, as tonic does.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits
        .iter()
        .fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_those_of_the_specification() {
        assert_eq!(parse(b"2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse(b"3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse(b"42S"), Some(Duration::from_secs(42)));
        assert_eq!(parse(b"13m"), Some(Duration::from_millis(13)));
        assert_eq!(parse(b"2u"), Some(Duration::from_micros(2)));
        assert_eq!(parse(b"82n"), Some(Duration::from_nanos(82)));
        for unreadable in ["", "S", "-1S", "1x", "123456789S", "1.5S", "99"] {
            assert_eq!(parse(unreadable.as_bytes()), None, "{unreadable:?}");
        }
    }

    proptest! {
        /// Whatever the header holds, reading it neither panics nor passes the maximum.
        #[test]
        fn never_later_than_the_maximum(value in prop::collection::vec(32u8..127, 0..12)) {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, http::HeaderValue::from_bytes(&value).unwrap());
            let max = Duration::from_secs(30);
            prop_assert!(Deadline::of(&headers, max).left() <= max);
        }
    }
}
