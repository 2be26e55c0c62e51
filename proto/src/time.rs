//! Milliseconds since the Unix epoch, and the wire's timestamps.

use prost_types::{Duration, Timestamp};

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;

/// A wire timestamp from milliseconds since the Unix epoch.
pub fn timestamp(time_ms: u64) -> Timestamp {
    let nanos = (time_ms % 1000) as i32 * 1_000_000;
    Timestamp {
        seconds: (time_ms / 1000) as i64,
        nanos,
    }
}

/// Milliseconds since the Unix epoch; times before it are 0.
pub fn millis(time: &Timestamp) -> u64 {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    seconds.saturating_mul(1000) + u64::try_from(time.nanos).unwrap_or(0) / 1_000_000
}

/// A wire duration from milliseconds.
pub fn duration(length_ms: u64) -> Duration {
    let nanos = (length_ms % 1000) as i32 * 1_000_000;
    Duration {
        seconds: (length_ms / 1000) as i64,
        nanos,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_survive_the_wire() {
        assert_eq!(millis(&timestamp(1_700_000_000_987)), 1_700_000_000_987);
    }
}
