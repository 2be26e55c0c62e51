//! Who owns which shard as far as this process knows, and the write timestamps it hands out.
//!
//! An epoch lives in the process that raised it: only there can its writes be counted. Commits
//! under any other are fenced, and their owner takes the shard again, here. (docs/adr)
//!
//! Invariant: no two writes of a shard have the same timestamp, later ones have greater, and those
//! of two epochs never meet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A timestamp is epoch * 2^32 + a count.
const COUNT_BITS: u32 = 32;
/// At this count the epoch is given up, far from where it would run into the next one's.
const COUNT_MAX: u64 = (1 << COUNT_BITS) - (1 << 20);
/// Timestamps are 63 bits.
pub const EPOCH_MAX: u64 = (1 << 31) - 1;

pub use crate::store::Owner;

/// The epoch is not the shard's any more, or never was given out here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "shard {} is not at epoch {} here (at {current}): take the shard again",
    owner.shard,
    owner.epoch
)]
pub struct NotOwner {
    /// Who asked.
    pub owner: Owner,
    /// The epoch that counts here; 0: none.
    pub current: u64,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    epoch: u64,
    count: u64,
}

/// The shards whose epochs were raised here. One entry per shard.
#[derive(Debug, Default)]
pub struct Owners(Mutex<HashMap<u32, Held>>);

impl Owners {
    /// The shard was raised to this epoch; what was granted before is over.
    pub fn grant(&self, owner: Owner) {
        let mut held = self.lock();
        let newer = held
            .get(&owner.shard)
            .is_none_or(|held| held.epoch < owner.epoch);
        if newer {
            let epoch = owner.epoch;
            held.insert(owner.shard, Held { epoch, count: 0 });
        }
    }

    /// Another owner was seen, or a write could not be finished: nothing more under this epoch.
    pub fn give_up(&self, owner: Owner) {
        if let Some(held) = self.lock().get_mut(&owner.shard)
            && held.epoch == owner.epoch
        {
            held.count = u64::MAX;
        }
    }

    /// Whether the epoch still counts.
    pub fn check(&self, owner: Owner) -> Result<(), NotOwner> {
        current(&mut self.lock(), owner).map(drop)
    }

    /// The next write timestamp.
    pub fn stamp(&self, owner: Owner) -> Result<i64, NotOwner> {
        let mut held = self.lock();
        let held = current(&mut held, owner)?;
        held.count += 1;
        Ok(((owner.epoch << COUNT_BITS) | held.count) as i64)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn current(held: &mut HashMap<u32, Held>, owner: Owner) -> Result<&mut Held, NotOwner> {
    match held.get_mut(&owner.shard) {
        Some(held) if held.epoch == owner.epoch && held.count < COUNT_MAX => Ok(held),
        held => {
            let current = held.map_or(0, |held| held.epoch);
            Err(NotOwner { owner, current })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_within_an_epoch_and_from_one_to_the_next() {
        let owners = Owners::default();
        let (first, second) = (Owner { shard: 3, epoch: 7 }, Owner { shard: 3, epoch: 8 });
        assert_eq!(owners.stamp(first).unwrap_err().current, 0);
        owners.grant(first);
        let stamps = [owners.stamp(first).unwrap(), owners.stamp(first).unwrap()];
        assert_eq!(stamps, [(7 << 32) + 1, (7 << 32) + 2]);
        owners.grant(second);
        assert!(owners.stamp(second).unwrap() > stamps[1]);
        assert_eq!(owners.check(first).unwrap_err().current, 8);
        owners.grant(first);
        owners.check(second).unwrap();
    }

    #[test]
    fn an_epoch_given_up_or_used_up_stamps_no_more() {
        let owners = Owners::default();
        let owner = Owner {
            shard: 0,
            epoch: EPOCH_MAX,
        };
        owners.grant(owner);
        assert!(owners.stamp(owner).unwrap() > 0);
        owners.lock().get_mut(&0).unwrap().count = COUNT_MAX - 1;
        owners.stamp(owner).unwrap();
        assert!(owners.stamp(owner).is_err());
        let other = Owner { shard: 1, epoch: 1 };
        owners.grant(other);
        owners.give_up(other);
        assert!(owners.check(other).is_err());
        owners.grant(other);
        assert!(
            owners.check(other).is_err(),
            "an epoch is never granted twice"
        );
    }
}
