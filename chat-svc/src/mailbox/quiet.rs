//! Quiet hours, pure: whether it is night where a device is.
//!
//! The policy asks; `shard::registrations` refuses hours that could never be told. The time zones
//! are those of the build, so that the answer depends on no file of the machine.
//!
//! Invariant: hours follow the zone's own clock, through its changes of summer time.

use heddle_proto::v1::QuietHours;
use jiff::{Timestamp, tz::TimeZone};

/// Minutes of a day.
const DAY_MINUTES: u32 = 24 * 60;

/// The field that is wrong, and how; `None`: these hours can be told.
pub fn wrong(hours: &QuietHours) -> Option<(&'static str, &'static str)> {
    if TimeZone::get(&hours.time_zone).is_err() {
        return Some((
            "quiet_hours.time_zone",
            "is no IANA time zone, such as Europe/Berlin",
        ));
    }
    let beyond = "must be a minute of the day, 0 to 1439";
    match (hours.start_minute, hours.end_minute) {
        (start, _) if start >= DAY_MINUTES => Some(("quiet_hours.start_minute", beyond)),
        (_, end) if end >= DAY_MINUTES => Some(("quiet_hours.end_minute", beyond)),
        _ => None,
    }
}

/// Whether `now_ms` (since the Unix epoch) lies in them. Of a zone that this build does not know,
/// or of no hours (both ends alike), nothing is quiet: a push too many is better than none.
pub fn is_quiet(hours: &QuietHours, now_ms: u64) -> bool {
    let Some(minute) = minute_of_day(&hours.time_zone, now_ms) else {
        return false;
    };
    let (start, end) = (hours.start_minute, hours.end_minute);
    match start <= end {
        true => (start..end).contains(&minute),
        false => minute >= start || minute < end,
    }
}

fn minute_of_day(zone: &str, now_ms: u64) -> Option<u32> {
    let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    let time = now.to_zoned(TimeZone::get(zone).ok()?).time();
    Some(u32::from(time.hour().unsigned_abs()) * 60 + u32::from(time.minute().unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(time_zone: &str, start_minute: u32, end_minute: u32) -> QuietHours {
        QuietHours {
            time_zone: time_zone.into(),
            start_minute,
            end_minute,
        }
    }

    fn at(text: &str) -> u64 {
        let time: Timestamp = text.parse().unwrap();
        time.as_millisecond().unsigned_abs()
    }

    #[test]
    fn hours_follow_the_clock_of_their_zone() {
        let night = hours("Europe/Berlin", 22 * 60, 7 * 60);
        for (time, quiet) in [
            ("2026-01-15T20:59:00Z", false),
            ("2026-01-15T21:00:00Z", true),
            ("2026-01-16T05:59:59Z", true),
            ("2026-01-16T06:00:00Z", false),
            // In summer the same clock is an hour earlier.
            ("2026-07-15T19:59:00Z", false),
            ("2026-07-15T20:00:00Z", true),
            ("2026-07-16T05:00:00Z", false),
        ] {
            assert_eq!(is_quiet(&night, at(time)), quiet, "{time}");
        }
        let noon = hours("Asia/Kolkata", 12 * 60, 13 * 60);
        assert!(is_quiet(&noon, at("2026-01-15T06:30:00Z")));
        assert!(!is_quiet(&noon, at("2026-01-15T07:30:00Z")));
    }

    #[test]
    fn what_cannot_be_told_is_named_and_never_quiet() {
        let now_ms = at("2026-01-15T00:00:00Z");
        let nowhere = hours("Mars/Olympus", 0, 1439);
        assert_eq!(wrong(&nowhere).unwrap().0, "quiet_hours.time_zone");
        assert!(!is_quiet(&nowhere, now_ms));
        assert!(!is_quiet(&hours("UTC", 60, 60), now_ms));
        let late = |start, end| wrong(&hours("UTC", start, end)).map(|(field, _)| field);
        assert_eq!(late(1440, 0), Some("quiet_hours.start_minute"));
        assert_eq!(late(0, 1440), Some("quiet_hours.end_minute"));
        assert_eq!(late(0, 1439), None);
    }
}
