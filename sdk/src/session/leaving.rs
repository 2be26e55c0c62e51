//! Leaving: a session that was asked to go elsewhere, and is served until its time comes. Pure.
//!
//! A server that drains names other addresses and when to go there, spread over its devices; until
//! then it goes on (GoAway in `delivery.proto`). The engine asks here what to do.
//!
//! Invariant: once it is time nothing new is sent, so that the answers under way are the last.

use heddle_proto::v1::{self, GoAwayReason};
use std::time::Duration;
use tokio::time::Instant;

/// How long answers under way are waited for when it is time to go.
const ANSWERS_WAIT: Duration = Duration::from_millis(500);

/// Where to go, and when.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) addresses: Vec<String>,
    at: Instant,
}

impl Leaving {
    /// What is asked for, if the server goes on meanwhile.
    pub(super) fn asked(go_away: &v1::GoAway, now: Instant) -> Option<Self> {
        let leaves = matches!(
            go_away.reason(),
            GoAwayReason::Draining | GoAwayReason::MaxAge
        );
        let delay: Duration = go_away.retry_delay?.try_into().ok()?;
        (leaves && !go_away.addresses.is_empty()).then(|| Self {
            addresses: go_away.addresses.clone(),
            at: now + delay,
        })
    }

    /// Whether nothing new is to be sent any more.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// Whether to go now.
    pub(super) fn is_over(&self, now: Instant, answered: bool) -> bool {
        now >= if answered { self.at } else { self.give_up() }
    }

    /// When to look again.
    pub(super) fn wake_at(&self, now: Instant) -> Instant {
        if self.is_due(now) {
            self.give_up()
        } else {
            self.at
        }
    }

    /// How long a device whose stream has ended all the same waits.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.at.saturating_duration_since(now)
    }

    fn give_up(&self) -> Instant {
        self.at + ANSWERS_WAIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::time;

    #[test]
    fn a_device_goes_when_it_is_time_and_its_sends_are_answered() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut go_away = v1::GoAway {
            reason: GoAwayReason::Draining.into(),
            retry_delay: Some(time::duration(100)),
            addresses: vec!["http://other".into()],
        };
        let leaving = Leaving::asked(&go_away, now).unwrap();
        assert!(!leaving.is_due(at(99)) && !leaving.is_over(at(99), true));
        assert_eq!(
            (leaving.wake_at(now), leaving.wake_at(at(100))),
            (at(100), at(600))
        );
        assert!(leaving.is_due(at(100)) && leaving.is_over(at(100), true));
        assert!(!leaving.is_over(at(599), false) && leaving.is_over(at(600), false));
        assert_eq!(leaving.left(at(40)), Duration::from_millis(60));

        go_away.reason = GoAwayReason::Resume.into();
        assert!(Leaving::asked(&go_away, now).is_none(), "its stream ends");
        go_away.reason = GoAwayReason::MaxAge.into();
        go_away.addresses.clear();
        assert!(Leaving::asked(&go_away, now).is_none(), "nowhere to go");
    }
}
