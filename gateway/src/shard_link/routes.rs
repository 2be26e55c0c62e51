//! Routes: which chat node owns which shard, as the nodes announce it.
//!
//! Pure. A node's announcement replaces its earlier one; the last node to begin to announce a shard
//! owns it, and if it takes that back, another one that still says so. What a node only says again
//! changes nothing: it may be serving shards for their next owner, who has announced them.
//!
//! Invariant: a wrong route costs an UNAVAILABLE and a retry, never a wrong write: owners verify
//! their epoch.

use heddle_proto::{ids::LogId, internal::ShardMap};
use std::collections::BTreeMap;

/// The owner of each shard.
#[derive(Debug, Default)]
pub struct Routes {
    owners: Vec<Option<u32>>,
    /// What each node has announced last, by shard.
    said: BTreeMap<u32, Vec<bool>>,
}

impl Routes {
    /// The shard of a log; 0 while nobody has told how many there are.
    pub fn shard(&self, log: LogId) -> u32 {
        log.shard(self.shard_count())
    }

    /// How many shards there are, as far as is known.
    pub fn shard_count(&self) -> u32 {
        u32::try_from(self.owners.len()).unwrap_or(u32::MAX)
    }

    /// The node that owns a log.
    pub fn owner(&self, log: LogId) -> Option<usize> {
        let owner = *self.owners.get(self.shard(log) as usize)?;
        owner.map(|node| node as usize)
    }

    /// Whether each shard has an owner.
    pub fn is_complete(&self) -> bool {
        !self.owners.is_empty() && self.owners.iter().all(Option::is_some)
    }

    /// Whether most shards have an owner.
    pub fn has_majority(&self) -> bool {
        let owned = self.owners.iter().filter(|owner| owner.is_some()).count();
        owned * 2 > self.owners.len()
    }

    /// A node announces its shards; returns those that have another owner now.
    pub fn announce(&mut self, node: usize, map: &ShardMap) -> Vec<u32> {
        let node = node as u32;
        if self.owners.len() != map.shard_count as usize {
            self.owners = vec![None; map.shard_count as usize];
            self.said.clear();
        }
        let mut owned = vec![false; self.owners.len()];
        for shard in &map.owned {
            if let Some(owned) = owned.get_mut(*shard as usize) {
                *owned = true;
            }
        }
        let said = self.said.insert(node, owned.clone()).unwrap_or_default();
        let mut gained = Vec::new();
        for (shard, owned) in owned.into_iter().enumerate() {
            let before = self.owners[shard];
            let again = said.get(shard) == Some(&true);
            let now = match owned {
                true if again => before.or(Some(node)),
                true => Some(node),
                false if before == Some(node) => self.another(shard),
                false => before,
            };
            self.owners[shard] = now;
            if now.is_some() && now != before {
                gained.push(shard as u32);
            }
        }
        gained
    }

    /// A node that says that it owns a shard which nobody else does any more.
    fn another(&self, shard: usize) -> Option<u32> {
        let mut said = self.said.iter();
        said.find_map(|(node, said)| said.get(shard)?.then_some(*node))
    }

    /// A node is away: nobody owns its shards until somebody says so.
    pub fn lose(&mut self, node: usize) {
        self.said.remove(&(node as u32));
        let gone = Some(node as u32);
        self.owners
            .iter_mut()
            .filter(|owner| **owner == gone)
            .for_each(|owner| *owner = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(shard_count: u32, owned: &[u32]) -> ShardMap {
        ShardMap {
            shard_count,
            owned: owned.to_vec(),
        }
    }

    #[test]
    fn shards_move_to_who_announces_them_last() {
        let mut routes = Routes::default();
        assert!(routes.owner(LogId::mailbox("ann")).is_none());
        assert!(!routes.has_majority());
        assert_eq!(routes.announce(0, &map(4, &[0, 1, 2, 3])), [0, 1, 2, 3]);
        assert!(routes.is_complete());
        assert_eq!(routes.announce(0, &map(4, &[0, 1, 2, 3])), [0u32; 0]);
        assert_eq!(routes.announce(1, &map(4, &[2, 3])), [2, 3]);
        assert_eq!(routes.announce(0, &map(4, &[0, 1])), [0u32; 0]);
        assert!(routes.is_complete());
        routes.lose(1);
        assert!(!routes.is_complete());
        assert!(!routes.has_majority(), "two of four are none");
        assert_eq!(routes.announce(0, &map(4, &[0, 1, 2, 3])), [2, 3]);
        assert!(routes.has_majority());
    }

    #[test]
    fn who_gives_a_shard_back_leaves_it_to_who_still_has_it() {
        let mut routes = Routes::default();
        routes.announce(0, &map(2, &[0, 1]));
        // Taken for a moment, while the owner took it again.
        assert_eq!(routes.announce(1, &map(2, &[1])), [1]);
        assert_eq!(routes.announce(1, &map(2, &[])), [1]);
        assert!(routes.is_complete());
        // Said again, and then taken again: lost first, so that it counts.
        routes.announce(1, &map(2, &[1]));
        assert_eq!(routes.announce(0, &map(2, &[0, 1])), [0u32; 0]);
        assert_eq!(routes.announce(0, &map(2, &[0])), [0u32; 0]);
        assert_eq!(routes.announce(0, &map(2, &[0, 1])), [1]);
        routes.lose(0);
        assert!(!routes.is_complete());
    }

    #[test]
    fn who_serves_for_the_next_owner_does_not_take_back_what_that_announced() {
        let mut routes = Routes::default();
        routes.announce(0, &map(4, &[0, 1, 2]));
        assert_eq!(routes.announce(1, &map(4, &[0, 1, 3])), [0, 1, 3]);
        // The first of them was fenced; the other one is served for node 1.
        assert_eq!(routes.announce(0, &map(4, &[1, 2])), [0u32; 0]);
        assert_eq!(routes.announce(1, &map(4, &[0, 3])), [1], "it has it still");
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut routes = Routes::default();
        assert_eq!(routes.announce(0, &map(2, &[7])), [0u32; 0]);
        assert!(routes.owner(LogId::mailbox("ann")).is_none());
    }
}
