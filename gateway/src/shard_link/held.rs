//! Held: commands that wait for an owner, by shard and in order.
//!
//! Pure. Ids grow with time, so the order of ids is the order of sending.
//!
//! Invariant: the first of a shard leaves first, also when it came back later than those behind it.

use std::collections::{BTreeSet, HashMap};

/// How long a shard that answered OWNER_CHANGING is left alone, in milliseconds.
pub const PAUSE_MS: u64 = 40;

/// What waits.
#[derive(Debug, Default)]
pub struct Held {
    shards: HashMap<u32, Waiting>,
    count: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    ids: BTreeSet<u64>,
    not_before_ms: u64,
}

impl Held {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Lets a command wait for the owner of a shard.
    pub fn put(&mut self, shard: u32, id: u64) {
        if self.shards.entry(shard).or_default().ids.insert(id) {
            self.count += 1;
        }
    }

    /// Whether anything waits for a shard: what comes later must wait behind it.
    pub fn waits(&self, shard: u32) -> bool {
        self.shards.contains_key(&shard)
    }

    /// Leaves a shard alone for a moment.
    pub fn pause(&mut self, shard: u32, now_ms: u64) {
        self.shards.entry(shard).or_default().not_before_ms = now_ms + PAUSE_MS;
    }

    /// Takes a command out.
    pub fn remove(&mut self, shard: u32, id: u64) {
        let Some(waiting) = self.shards.get_mut(&shard) else {
            return;
        };
        if waiting.ids.remove(&id) {
            self.count -= 1;
        }
        if waiting.ids.is_empty() {
            self.shards.remove(&shard);
        }
    }

    /// Everything that waits, with its shard.
    pub fn all(&self) -> impl Iterator<Item = (u32, u64)> {
        let of = |(shard, waiting): (&u32, &Waiting)| {
            let shard = *shard;
            waiting
                .ids
                .iter()
                .map(move |id| (shard, *id))
                .collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(of)
    }

    /// Shards that may be tried now.
    pub fn shards(&self, now_ms: u64) -> Vec<u32> {
        let ready = |(_, waiting): &(&u32, &Waiting)| waiting.not_before_ms <= now_ms;
        self.shards
            .iter()
            .filter(ready)
            .map(|(shard, _)| *shard)
            .collect()
    }

    /// The first that waits for a shard.
    pub fn first(&self, shard: u32) -> Option<u64> {
        self.shards.get(&shard)?.ids.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leaves_first_even_if_it_came_back_last() {
        let mut held = Held::default();
        for id in [5, 9, 3] {
            held.put(1, id);
        }
        held.put(2, 4);
        let mut left = Vec::new();
        while let Some(id) = held.first(1) {
            held.remove(1, id);
            left.push(id);
        }
        assert_eq!((left, held.len()), (vec![3, 5, 9], 1));
    }

    #[test]
    fn a_paused_shard_is_left_alone() {
        let mut held = Held::default();
        held.put(1, 1);
        held.pause(1, 100);
        assert_eq!(held.shards(100), [0u32; 0]);
        assert_eq!(held.shards(100 + PAUSE_MS), [1]);
    }

    #[test]
    fn the_same_command_waits_once() {
        let mut held = Held::default();
        held.put(1, 1);
        held.put(1, 1);
        assert_eq!(held.len(), 1);
        held.remove(1, 1);
        assert_eq!(held.len(), 0);
        assert!(held.all().next().is_none());
    }
}
