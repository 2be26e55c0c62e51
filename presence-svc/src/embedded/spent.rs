//! Spent: what users have spent of their rates lately, over all gateways of this process.
//!
//! `mod` calls here. Nothing of it outlives a restart: a count that begins anew lets a user have a
//! little more for a moment.
//!
//! Invariant: at most [`SPENDERS_MAX`] users are counted; who comes on top counts for their gateway
//! alone.

use std::collections::HashMap;

use crate::store::{SPENT_TTL_MS, SpenderId, Spending};

/// Users who are counted at once.
const SPENDERS_MAX: usize = 65_536;
/// A full map is looked through for what has ended this often at most (milliseconds).
const SWEEP_PAUSE_MS: u64 = 1_000;

/// The counts.
#[derive(Default)]
pub struct SpentCounts {
    users: HashMap<SpenderId, Count>,
    next_sweep_ms: u64,
}

struct Count {
    total: u64,
    until_ms: u64,
}

impl SpentCounts {
    /// Adds; the total.
    pub fn add(&mut self, spending: Spending, now_ms: u64) -> u64 {
        let Spending { user, calls } = spending;
        let is_full = self.users.len() >= SPENDERS_MAX && !self.users.contains_key(&user);
        if is_full && !self.has_room(now_ms) {
            return calls.into();
        }
        let count = self.users.entry(user).or_insert(Count {
            total: 0,
            until_ms: 0,
        });
        if count.until_ms <= now_ms {
            count.total = 0;
        }
        count.total = count.total.saturating_add(calls.into());
        count.until_ms = now_ms + SPENT_TTL_MS;
        count.total
    }

    fn has_room(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.next_sweep_ms {
            self.next_sweep_ms = now_ms + SWEEP_PAUSE_MS;
            self.users.retain(|_, count| count.until_ms > now_ms);
        }
        self.users.len() < SPENDERS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::spent;

    const NOW_MS: u64 = 1_000_000;

    #[test]
    fn a_count_begins_anew_after_a_pause() {
        let mut counts = SpentCounts::default();
        assert_eq!(counts.add(spent(1, 3), NOW_MS), 3);
        let later_ms = NOW_MS + SPENT_TTL_MS - 1;
        assert_eq!(counts.add(spent(1, 3), later_ms), 6);
        assert_eq!(counts.add(spent(1, 3), later_ms + SPENT_TTL_MS), 3);
    }

    #[test]
    fn who_comes_on_top_is_not_counted_until_there_is_room() {
        let mut counts = SpentCounts::default();
        for user in 0..SPENDERS_MAX {
            counts.add(spent(user as u16, 1), NOW_MS);
        }
        let other = Spending {
            user: [0xff; 16],
            calls: 2,
        };
        assert_eq!(counts.add(other, NOW_MS), 2);
        assert_eq!(counts.add(other, NOW_MS), 2, "not counted");
        assert_eq!(counts.add(spent(1, 1), NOW_MS), 2, "who is known is");
        let later_ms = NOW_MS + SPENT_TTL_MS;
        assert_eq!(counts.add(other, later_ms), 2);
        assert_eq!(counts.add(other, later_ms), 4);
        assert_eq!(counts.users.len(), 1);
    }
}
