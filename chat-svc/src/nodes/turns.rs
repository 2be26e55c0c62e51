//! Turns: in which order a node that leaves gives its shards away. Pure.
//!
//! One of the others at a time: nodes that take shards at the same moment, through several
//! history-svc, raise epochs of one partition against each other, and conditional writes that meet
//! all start again. A shard whose turn has not come is served as ever.
//!
//! Invariant: when the time is over all turns have come.

use super::placement::{preferred, staying};
use heddle_proto::internal::LiveNode;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

/// How long one turn may take before the next one comes all the same.
const TURN_MAX: Duration = Duration::from_millis(800);

/// Whose turn has come.
#[derive(Debug)]
pub struct Turns {
    came: BTreeSet<String>,
    since: Instant,
    /// From here on it is everybody's turn.
    end: Instant,
}

impl Turns {
    /// Nobody's turn has come; by `end` everybody's has.
    pub fn new(now: Instant, end: Instant) -> Self {
        Self {
            came: BTreeSet::new(),
            since: now,
            end,
        }
    }

    /// Whether everybody's has come, whatever is left to give.
    pub fn are_over(&self, now: Instant) -> bool {
        now >= self.end
    }

    /// Looks at who holds what: the shards that stay here for now.
    pub fn kept(
        &mut self,
        nodes: &[LiveNode],
        owned: &BTreeSet<u32>,
        shard_count: u32,
        now: Instant,
    ) -> BTreeSet<u32> {
        let staying = staying(nodes);
        let mut going: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for shard in owned {
            if let Some(node) = preferred(&staying, *shard) {
                going.entry(node).or_default().insert(*shard);
            }
        }
        // What the leaving node's own lease says may be older than `owned`.
        let others = nodes.iter().filter(|node| !node.leaving);
        let others = others.flat_map(|node| node.owned.iter().copied());
        let held: BTreeSet<u32> = others.chain(owned.iter().copied()).collect();
        let is_given = going.keys().all(|node| !self.came.contains(*node));
        let is_taken = held.len() == shard_count as usize;
        let is_over = self.came.is_empty() || is_given && is_taken;
        if is_over || now >= self.since + TURN_MAX {
            let next = going.keys().find(|node| !self.came.contains(**node));
            if let Some(next) = next {
                self.came.insert((*next).to_owned());
                self.since = now;
            }
        }
        if self.are_over(now) {
            return BTreeSet::new();
        }
        going.retain(|node, _| !self.came.contains(*node));
        going.into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, owned: impl IntoIterator<Item = u32>) -> LiveNode {
        LiveNode {
            node: name.into(),
            owned: owned.into_iter().collect(),
            leaving: name == "me",
            ..Default::default()
        }
    }

    const SHARDS: u32 = 32;

    #[test]
    fn one_takes_what_is_its_own_before_the_next_one_may() {
        let (now, end) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut turns = Turns::new(now, end);
        let all: BTreeSet<u32> = (0..SHARDS).collect();
        let mut nodes = vec![node("me", all.clone()), node("a", []), node("b", [])];
        let later = turns.kept(&nodes, &all, SHARDS, now);
        let first: BTreeSet<u32> = all.difference(&later).copied().collect();
        assert!(!first.is_empty() && !later.is_empty());
        // Released, and not taken yet.
        assert_eq!(turns.kept(&nodes, &later, SHARDS, now), later);
        nodes[1].owned = first.into_iter().collect();
        assert!(turns.kept(&nodes, &later, SHARDS, now).is_empty());
    }

    #[test]
    fn nobody_is_waited_for_longer_than_a_turn_and_nothing_stays_in_the_end() {
        let now = Instant::now();
        let mut turns = Turns::new(now, now + 3 * TURN_MAX);
        let all: BTreeSet<u32> = (0..SHARDS).collect();
        let others = ["a", "b", "c", "d", "e", "f"].map(|name| node(name, []));
        let mut kept = |at| turns.kept(&others, &all, SHARDS, at).len();
        let first = kept(now);
        let second = kept(now + TURN_MAX);
        assert!(first > second && second > 0);
        assert_eq!(kept(now + 3 * TURN_MAX), 0);
        let alone = [node("me", all.clone())];
        let mut turns = Turns::new(now, now + TURN_MAX);
        assert!(
            turns.kept(&alone, &all, SHARDS, now).is_empty(),
            "for nobody"
        );
    }
}
