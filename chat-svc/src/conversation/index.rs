//! The deduplication index: which ids of a conversation are known, and for which it can speak.
//!
//! [`super::Conversation`] asks before it appends (P3). Ids are UUIDv7 and sort by time, so the
//! index keeps the greatest ids and a floor: the greatest id it may have forgotten.
//!
//! Invariant: an id above the floor that is not in the index was never stored. A fresh send's id
//! lies above the floor, so it reads nothing.

use heddle_proto::ids::MessageId;
use std::collections::BTreeMap;

/// Ids kept for one conversation, by default; beyond it the smallest are forgotten.
pub const INDEX_IDS_MAX: usize = 4096;
/// How far an id may run ahead of the server's clock, in milliseconds.
pub const ID_AHEAD_MAX_MS: u64 = 60_000;

/// The answer that was given for an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The event's seq.
    pub seq: u64,
    /// Its server time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Tells the same body from another.
    pub fingerprint: u64,
}

/// What the index says of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stored before.
    Known(Known),
    /// Never stored.
    Fresh,
    /// Older than what the index covers: read the log back.
    Unsure,
}

/// The ids of a conversation's newest events.
#[derive(Debug, Default)]
pub struct Index {
    known: BTreeMap<MessageId, Known>,
    floor: Option<MessageId>,
}

impl Index {
    /// An index that has seen no event stored before `time_ms`; 0 where it has seen all.
    pub fn since(time_ms: u64) -> Self {
        let floor = (time_ms > 0)
            .then(|| MessageId::mint(time_ms.saturating_add(ID_AHEAD_MAX_MS), &[0xff; 10]));
        Self {
            known: BTreeMap::new(),
            floor,
        }
    }

    /// What is known of an id.
    pub fn verdict(&self, id: &MessageId) -> Verdict {
        match self.known.get(id) {
            Some(known) => Verdict::Known(*known),
            None if self.floor.is_none_or(|floor| *id > floor) => Verdict::Fresh,
            None => Verdict::Unsure,
        }
    }

    /// Takes an id in; forgets the smallest where there are too many.
    pub fn insert(&mut self, id: MessageId, known: Known) {
        self.known.insert(id, known);
        while self.known.len() > INDEX_IDS_MAX {
            let Some((smallest, _)) = self.known.pop_first() else {
                break;
            };
            self.floor = self.floor.max(Some(smallest));
        }
    }

    /// Says that all events stored since `time_ms` are in the index: the log was read back so far.
    pub fn covers_since(&mut self, time_ms: u64) {
        let floor = MessageId::mint(time_ms.saturating_add(ID_AHEAD_MAX_MS), &[0xff; 10]);
        let lower = (time_ms > 0).then_some(floor);
        self.floor = self.floor.min(lower);
    }

    /// The earliest time at which an event with this id may have been stored.
    pub fn earliest_ms(id: &MessageId) -> u64 {
        id.time_ms().saturating_sub(ID_AHEAD_MAX_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(time_ms: u64) -> MessageId {
        MessageId::mint(time_ms, &[7; 10])
    }

    fn known(seq: u64) -> Known {
        Known {
            seq,
            time_ms: seq,
            fingerprint: seq,
        }
    }

    #[test]
    fn a_new_conversation_knows_that_an_id_is_fresh() {
        assert_eq!(Index::since(0).verdict(&id(1)), Verdict::Fresh);
    }

    #[test]
    fn an_id_older_than_what_was_read_is_unsure() {
        let index = Index::since(1_000_000);
        assert_eq!(index.verdict(&id(1_000_000)), Verdict::Unsure);
        assert_eq!(index.verdict(&id(1_060_001)), Verdict::Fresh);
    }

    proptest! {
        /// Whatever is forgotten, no stored id is ever called fresh.
        #[test]
        fn a_stored_id_is_never_fresh(times in prop::collection::vec(0..1_000_000u64, 1..6000)) {
            let mut index = Index::since(0);
            for (seq, time) in times.iter().enumerate() {
                index.insert(id(*time), known(seq as u64));
            }
            for time in &times {
                prop_assert_ne!(index.verdict(&id(*time)), Verdict::Fresh);
            }
        }
    }
}
