//! Where logs end that were taken over here, each with the owner under which that holds.
//!
//! Readers that are not the owner are kept below the head by it; commits are judged against it.
//! Two generations bound the memory: when the young one is full it becomes the old one.
//!
//! Invariant: a head is a committed one. An entry of another epoch than the shard's counts for
//! nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use heddle_proto::ids::LogId;

use super::owners::Owner;

/// Entries per generation, of 48 bytes.
const GENERATION_LEN_MAX: usize = 1 << 18;

/// The committed end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Under whom.
    pub owner: Owner,
    /// seq of the last event; 0: the log is empty.
    pub last_seq: u64,
    /// seq of the first event of the last row.
    pub last_first_seq: u64,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<LogId, Head>,
    old: HashMap<LogId, Head>,
}

/// The heads.
#[derive(Debug, Default)]
pub struct Heads(Mutex<Generations>);

impl Heads {
    /// The head, if the log was taken over; it is kept for longer by that.
    pub fn get(&self, log_id: &LogId) -> Option<Head> {
        let mut heads = self.lock();
        if let Some(head) = heads.young.get(log_id) {
            return Some(*head);
        }
        let head = heads.old.remove(log_id)?;
        heads.put(*log_id, head);
        Some(head)
    }

    /// The head under this owner.
    pub fn of(&self, owner: Owner, log_id: &LogId) -> Option<Head> {
        self.get(log_id).filter(|head| head.owner == owner)
    }

    /// A commit has moved the head.
    pub fn set(&self, log_id: LogId, head: Head) {
        self.lock().put(log_id, head);
    }

    /// A take-over has found the head; if commits have moved on meanwhile, theirs stays.
    pub fn found(&self, log_id: LogId, head: Head) -> Head {
        if let Some(known) = self.of(head.owner, &log_id) {
            return known;
        }
        self.set(log_id, head);
        head
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn put(&mut self, log_id: LogId, head: Head) {
        if self.young.len() >= GENERATION_LEN_MAX && !self.young.contains_key(&log_id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(log_id, head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> LogId {
        LogId::from_wire(&(number as u128).to_be_bytes()).unwrap()
    }

    fn head(epoch: u64, last_seq: u64) -> Head {
        Head {
            owner: Owner { shard: 1, epoch },
            last_seq,
            last_first_seq: last_seq,
        }
    }

    #[test]
    fn what_a_take_over_found_never_hides_a_later_commit() {
        let heads = Heads::default();
        assert_eq!(heads.found(id(1), head(2, 5)), head(2, 5));
        heads.set(id(1), head(2, 9));
        assert_eq!(heads.found(id(1), head(2, 5)), head(2, 9));
        assert_eq!(heads.of(head(3, 0).owner, &id(1)), None);
        assert_eq!(heads.found(id(1), head(3, 7)), head(3, 7));
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let heads = Heads::default();
        for number in 0..2 * GENERATION_LEN_MAX {
            heads.set(id(number), head(1, number as u64));
            assert!(heads.get(&id(0)).is_some());
        }
        let held = heads.lock();
        assert!(held.young.len() + held.old.len() <= 2 * GENERATION_LEN_MAX);
    }
}
