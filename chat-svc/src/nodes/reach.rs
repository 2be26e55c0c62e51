//! Reach: whether gateways still come to this node. Pure.
//!
//! A node that is cut off from all of them may well hold its lease: what it owns would be out of
//! everybody's reach for as long as that lasts. [`super::keeper`] tells with the lease that it is
//! cut off, and [`super::placement`] gives its shards to those that are reached.
//!
//! Invariant: a node that never had a gateway is not cut off: those that start have none yet.

use std::time::Duration;
use tokio::time::Instant;

/// A gateway that starts anew is back within this (milliseconds); the link itself has been silent
/// for its keepalive before.
const CUT_OFF_AFTER_MS: u64 = 500;

/// What is known of the gateways' streams.
#[derive(Default)]
pub struct Reach {
    had: bool,
    none_since: Option<Instant>,
}

impl Reach {
    /// There are so many streams now.
    pub fn see(&mut self, streams: usize, now: Instant) {
        self.had |= streams > 0;
        match streams {
            0 if self.had => _ = self.none_since.get_or_insert(now),
            _ => self.none_since = None,
        }
    }

    /// When the node counts as cut off, if nobody comes until then.
    pub fn cut_off_at(&self) -> Option<Instant> {
        let after = Duration::from_millis(CUT_OFF_AFTER_MS);
        self.none_since.map(|since| since + after)
    }

    /// Whether it is cut off.
    pub fn is_cut_off(&self, now: Instant) -> bool {
        self.cut_off_at().is_some_and(|at| now >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_had_gateways_and_has_none_for_a_while_is_cut_off() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut reach = Reach::default();
        reach.see(0, at(0));
        assert!(!reach.is_cut_off(at(60_000)), "it starts");
        reach.see(2, at(60_000));
        reach.see(0, at(70_000));
        assert!(!reach.is_cut_off(at(70_000 + CUT_OFF_AFTER_MS - 1)));
        reach.see(0, at(70_100));
        assert!(reach.is_cut_off(at(70_000 + CUT_OFF_AFTER_MS)));
        reach.see(1, at(80_000));
        assert!(!reach.is_cut_off(at(90_000)));
    }
}
