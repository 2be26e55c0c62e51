//! Where each log ends, remembered for the logs written lately.
//!
//! The writer asks for every row; a miss costs a look into the store. Two generations bound the
//! memory: when the young one is full it becomes the old one, and the old one is forgotten.
//!
//! Invariant: an entry says what the store will hold once the writer's current batch is on disk.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use heddle_proto::ids::LogId;

/// Entries per generation; two generations of 32 bytes and their tables are some 24 MiB at most.
pub const GENERATION_LEN_MAX: usize = 1 << 17;

/// Where a log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// seq of the last event; 0: the log is empty.
    pub last_seq: u64,
    /// The epoch of the last row; later ones are not lower.
    pub epoch: u64,
}

type Generation = HashMap<LogId, Head, BuildHasherDefault<IdHasher>>;

/// The heads.
#[derive(Debug, Default)]
pub struct Heads {
    young: Generation,
    old: Generation,
}

impl Heads {
    /// The head, if remembered.
    pub fn get(&self, log_id: &LogId) -> Option<Head> {
        self.young
            .get(log_id)
            .or_else(|| self.old.get(log_id))
            .copied()
    }

    /// Remembers a head.
    pub fn set(&mut self, log_id: LogId, head: Head) {
        if self.young.len() >= GENERATION_LEN_MAX && !self.young.contains_key(&log_id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(log_id, head);
    }

    /// Forgets everything: what was to be on disk is not.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Log ids are hashes or random already, but a client may choose some bits: fold all 16 bytes and
/// spread them. Collisions cost time in one owner's own map, no more.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, _length_of_the_array: usize) {}

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> LogId {
        LogId::from_wire(&(number as u128).to_be_bytes()).unwrap()
    }

    #[test]
    fn the_newest_entries_are_kept_and_memory_is_bounded() {
        let mut heads = Heads::default();
        let count = 3 * GENERATION_LEN_MAX;
        for number in 0..count {
            heads.set(
                id(number),
                Head {
                    last_seq: number as u64,
                    epoch: 1,
                },
            );
        }
        assert!(heads.young.len() + heads.old.len() <= 2 * GENERATION_LEN_MAX);
        for number in count - GENERATION_LEN_MAX..count {
            assert_eq!(
                heads.get(&id(number)).map(|head| head.last_seq),
                Some(number as u64)
            );
        }
        heads.set(
            id(count - 1),
            Head {
                last_seq: 1,
                epoch: 2,
            },
        );
        assert_eq!(
            heads.get(&id(count - 1)),
            Some(Head {
                last_seq: 1,
                epoch: 2
            })
        );
        heads.clear();
        assert_eq!(heads.get(&id(count - 1)), None);
    }
}
