//! Rates: what users spend here is shared with the other gateways, through presence-svc.
//!
//! Each second `timers` has the spending of those who spent much told (`limits::users` says whose),
//! and what all gateways have counted comes back over the same stream, to be taken from the buckets
//! here.
//!
//! Invariant: no call waits for this. Without an answer the limits of this gateway alone go on,
//! which is said once and counted.

use super::{Item, PresenceClient};
use crate::edge::Edge;
use heddle_proto::internal::SpentTotal;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether gateways hear of each other.
#[derive(Default)]
pub struct Sharing {
    /// Something was told and is not answered yet.
    waits: AtomicBool,
    /// It has been said that nobody answers.
    said: AtomicBool,
}

impl Sharing {
    /// A second is over, and something is told in the next one, or not; whether what was told in it
    /// was not answered, and whether that is news.
    fn next(&self, tells: bool) -> (bool, bool) {
        let is_lost = self.waits.swap(tells, Relaxed);
        (is_lost, is_lost && !self.said.swap(true, Relaxed))
    }

    /// An answer is here; whether that is news.
    fn answered(&self) -> bool {
        self.waits.store(false, Relaxed);
        self.said.swap(false, Relaxed)
    }
}

impl PresenceClient {
    /// Tells what users have spent in the last second.
    pub fn share_rates(&self, edge: &Edge) {
        let spent = edge.rates.spent();
        let (is_lost, is_news) = self.sharing.next(!spent.is_empty());
        if is_lost {
            edge.metrics.rates_unshared.add(1, &[]);
        }
        if is_news {
            tracing::warn!("rates of users are not shared; each gateway goes by its own count");
        }
        if !spent.is_empty() {
            self.send([Item::Spent(spent)]);
        }
    }

    /// All gateways have counted so much.
    pub(super) fn learn_rates(&self, edge: &Edge, totals: &[SpentTotal]) {
        edge.rates.learn(totals);
        if self.sharing.answered() {
            tracing::info!("rates of users are shared again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_each_second_and_said_once() {
        let sharing = Sharing::default();
        assert_eq!(sharing.next(false), (false, false), "nothing was told");
        assert_eq!(sharing.next(true), (false, false));
        assert!(!sharing.answered());
        assert_eq!(sharing.next(true), (false, false), "answered in time");
        assert_eq!(sharing.next(true), (true, true));
        assert_eq!(sharing.next(false), (true, false));
        assert_eq!(sharing.next(true), (false, false), "nothing was told");
        assert!(sharing.answered(), "it is shared again");
        assert_eq!(sharing.next(true), (false, false));
        assert_eq!(sharing.next(true), (true, true));
    }
}
