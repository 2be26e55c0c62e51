//! Yields: shards that are another node's from now on, and are served here until it has them. Pure.
//!
//! Raising an epoch takes several windows of the commit log, and until it is raised what is
//! committed here counts. Then the first commit here is fenced, and its sends go to the new owner,
//! which reads their logs. A few go at a time, so that those of all are not read at once; the
//! others are kept, as if they stayed.
//!
//! Invariant: a shard is yielded for `YIELD_MAX` at most; nobody waits longer for who cannot take.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

/// How long a shard is served for another node that does not take it.
const YIELD_MAX: Duration = Duration::from_millis(600);
/// In how many parts a node gives away what is to go.
const PARTS: usize = 8;

/// Since when what is yielded.
#[derive(Debug, Default)]
pub struct Yields {
    since: BTreeMap<u32, Instant>,
    /// How many were to go as it began.
    begun: usize,
}

/// What is served of what goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Until another node has it.
    pub yielded: BTreeSet<u32>,
    /// Until its turn comes.
    pub kept: BTreeSet<u32>,
}

impl Yields {
    /// The shards of `going`, owned here and to be another's, that are still served; `taken` are
    /// those that others hold. They go in parts, one after the other, unless it is to be `at_once`.
    pub fn serve(
        &mut self,
        going: &BTreeSet<u32>,
        taken: &BTreeSet<u32>,
        at_once: bool,
        now: Instant,
    ) -> Served {
        self.since.retain(|shard, _| going.contains(shard));
        self.begun = if going.is_empty() {
            0
        } else {
            self.begun.max(going.len())
        };
        let mut served = Served::default();
        for (shard, since) in &self.since {
            if now < *since + YIELD_MAX && !taken.contains(shard) {
                served.yielded.insert(*shard);
            }
        }
        // A part is raised with one conditional write: the next one begins when it has gone.
        let mut room = match (at_once, served.yielded.is_empty()) {
            (true, _) => usize::MAX,
            (false, true) => self.begun.div_ceil(PARTS),
            (false, false) => 0,
        };
        for shard in going {
            if self.since.contains_key(shard) || taken.contains(shard) {
                continue;
            }
            if room > 0 {
                room -= 1;
                self.since.insert(*shard, now);
                served.yielded.insert(*shard);
            } else {
                served.kept.insert(*shard);
            }
        }
        served
    }

    /// When the next one of them ends.
    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        let ends = self.since.values().map(|since| *since + YIELD_MAX);
        ends.filter(|end| *end > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: BTreeSet<u32> = BTreeSet::new();

    fn served(yielded: &[u32], kept: &[u32]) -> Served {
        Served {
            yielded: yielded.iter().copied().collect(),
            kept: kept.iter().copied().collect(),
        }
    }

    #[test]
    fn a_shard_is_served_until_it_is_taken_or_the_time_is_over() {
        let (mut yields, now) = (Yields::default(), Instant::now());
        let going = BTreeSet::from([1, 2]);
        let both = served(&[1, 2], &[]);
        assert_eq!(yields.serve(&going, &NOBODY, true, now), both);
        assert_eq!(yields.next_end(now), Some(now + YIELD_MAX));
        let taken = BTreeSet::from([1]);
        assert_eq!(yields.serve(&going, &taken, true, now), served(&[2], &[]));
        let end = now + YIELD_MAX;
        assert_eq!(yields.serve(&going, &NOBODY, true, end), served(&[], &[]));
        assert_eq!(yields.next_end(end), None);
        // It came back in between: that was another time.
        yields.serve(&NOBODY, &NOBODY, true, end);
        assert_eq!(yields.serve(&going, &NOBODY, true, end), both);
    }

    #[test]
    fn parts_go_one_after_the_other() {
        let (mut yields, now) = (Yields::default(), Instant::now());
        let mut going: BTreeSet<u32> = (1..=9).collect();
        let first = served(&[1, 2], &[3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(yields.serve(&going, &NOBODY, false, now), first);
        going.remove(&1);
        let half = served(&[2], &[3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(yields.serve(&going, &NOBODY, false, now), half);
        going.remove(&2);
        let second = served(&[3, 4], &[5, 6, 7, 8, 9]);
        assert_eq!(yields.serve(&going, &NOBODY, false, now), second);
        let end = now + YIELD_MAX;
        let third = served(&[5, 6], &[7, 8, 9]);
        assert_eq!(yields.serve(&going, &NOBODY, false, end), third);
        let taken = BTreeSet::from([11]);
        let elsewhere = yields.serve(&taken, &taken, false, end);
        assert_eq!(elsewhere, Served::default());
    }
}
