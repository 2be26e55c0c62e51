//! The deduplication index: which ids of a conversation are known, and for which it can speak.
//!
//! [`super::Conversation`] asks before it appends (P3). Ids are UUIDv7 and sort by time, so the
//! index keeps the greatest ids and two bounds: what it has not read, and the greatest id that it
//! has forgotten. Single older ids are learnt from the log (`lookup`).
//!
//! Invariant: an id above both bounds that is not in the index was never stored. A fresh send's id
//! lies above them, so it reads nothing.

use heddle_proto::ids::MessageId;
use std::collections::{BTreeMap, HashMap};

/// Ids kept for one conversation, by default; beyond it the smallest are forgotten.
pub const INDEX_IDS_MAX: usize = 4096;
/// The newest events of which nothing that was learnt is dropped: more than can be on their way to
/// the store, where a lookup would not find them.
const KEPT_SEQS: u64 = 2 * 512;
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
    /// Below it lie ids that were not read.
    floor: Option<MessageId>,
    /// The greatest id that was known once.
    forgotten: Option<MessageId>,
    /// Ids below either of which is known whether they were stored.
    learnt: HashMap<MessageId, Option<Known>>,
    /// Whether a lookup may have missed something: see [`Index::changes`].
    changes: u64,
}

impl Index {
    /// An index that has seen no event stored before `time_ms`; 0 where it has seen all.
    pub fn since(time_ms: u64) -> Self {
        let floor = (time_ms > 0)
            .then(|| MessageId::mint(time_ms.saturating_add(ID_AHEAD_MAX_MS), &[0xff; 10]));
        Self {
            floor,
            ..Self::default()
        }
    }

    /// What is known of an id.
    pub fn verdict(&self, id: &MessageId) -> Verdict {
        if let Some(known) = self.known.get(id) {
            return Verdict::Known(*known);
        }
        match self.learnt.get(id) {
            Some(Some(known)) => Verdict::Known(*known),
            Some(None) => Verdict::Fresh,
            None if self.floor.max(self.forgotten).is_none_or(|it| *id > it) => Verdict::Fresh,
            None => Verdict::Unsure,
        }
    }

    /// Takes an id in; forgets the smallest where there are too many.
    pub fn insert(&mut self, id: MessageId, known: Known) {
        if let Some(learnt) = self.learnt.get_mut(&id) {
            *learnt = Some(known);
            self.changes += 1;
        }
        self.known.insert(id, known);
        while self.known.len() > INDEX_IDS_MAX {
            let Some((smallest, _)) = self.known.pop_first() else {
                break;
            };
            self.forgotten = self.forgotten.max(Some(smallest));
        }
    }

    /// Whether some id was known once and is not any more.
    pub fn has_forgotten(&self) -> bool {
        self.forgotten.is_some()
    }

    /// Whether so many more are known without one being forgotten.
    pub fn has_room_for(&self, count: usize) -> bool {
        self.known.len() + count <= INDEX_IDS_MAX
    }

    /// Goes up whenever an id was stored, or became fresh, that is not above all bounds.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Learns of ids whether they were stored.
    pub fn learn(&mut self, ids: Vec<(MessageId, Option<Known>)>, head_seq: u64) {
        if self.learnt.len() + ids.len() > INDEX_IDS_MAX {
            let on_its_way = |known: &Known| known.seq + KEPT_SEQS > head_seq;
            self.learnt
                .retain(|_, learnt| learnt.as_ref().is_some_and(on_its_way));
        }
        self.learnt.extend(ids);
    }

    /// Says that all events stored since `time_ms` are in the index: the log was read back so far.
    pub fn covers_since(&mut self, time_ms: u64) {
        let floor = MessageId::mint(time_ms.saturating_add(ID_AHEAD_MAX_MS), &[0xff; 10]);
        let lower = (time_ms > 0).then_some(floor);
        self.floor = self.floor.min(lower);
        self.changes += 1;
    }

    /// A time before which no event with this id was stored; an index that covers what was stored
    /// since then speaks for it.
    pub fn earliest_ms(id: &MessageId) -> u64 {
        id.time_ms().saturating_sub(ID_AHEAD_MAX_MS + 1)
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

    #[test]
    fn an_index_that_was_read_back_for_an_id_speaks_for_it() {
        let mut index = Index::since(1_000_000);
        let old = id(1_030_000);
        assert_eq!(index.verdict(&old), Verdict::Unsure);
        index.covers_since(Index::earliest_ms(&old));
        assert_eq!(index.verdict(&old), Verdict::Fresh);
    }

    #[test]
    fn what_was_forgotten_is_not_fresh_whatever_was_read_back() {
        let mut index = Index::since(0);
        for seq in 0..=INDEX_IDS_MAX as u64 {
            index.insert(id(1_000_000 + seq), known(seq));
        }
        index.covers_since(1);
        assert_eq!(index.verdict(&id(1_000_000)), Verdict::Unsure);
        index.learn(
            vec![(id(1_000_000), Some(known(0))), (id(999_999), None)],
            9_999,
        );
        assert_eq!(index.verdict(&id(1_000_000)), Verdict::Known(known(0)));
        assert_eq!(index.verdict(&id(999_999)), Verdict::Fresh);
        index.insert(id(999_999), known(9_999));
        assert_eq!(index.verdict(&id(999_999)), Verdict::Known(known(9_999)));
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
