//! Lookups: ids that the index cannot speak for are looked up in the log (P3).
//!
//! The shard reads the events from a time on, page by page, and gives them to a [`Lookup`]; then
//! the index learns what of them it asked for: all ids, if there is room for all, or only those
//! that are wanted now.
//!
//! Invariant: what is learnt was read whole, and nothing that the reading could have missed was
//! stored meanwhile; else it is read again.

use super::{
    Conversation,
    index::{INDEX_IDS_MAX, Known, Verdict},
    load::known,
};
use heddle_proto::{ids::MessageId, internal::RawEvent};

/// Ids that are being looked up.
pub struct Lookup {
    /// Events stored since then are read, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Up to this one.
    pub last_seq: u64,
    wanted: Vec<(MessageId, Option<Known>)>,
    /// All ids that were read; none once they are more than the index holds.
    all: Option<Vec<(MessageId, Known)>>,
    /// What the index had gone through as the reading began.
    changes: u64,
}

impl Lookup {
    /// Takes in a page of events.
    pub fn take(&mut self, events: &[RawEvent]) {
        for event in events {
            let Some(id) = MessageId::from_wire(&event.client_message_id) else {
                continue;
            };
            if let Some((_, found)) = self.wanted.iter_mut().find(|(wanted, _)| *wanted == id) {
                *found = Some(known(event));
            }
            if let Some(all) = &mut self.all {
                all.push((id, known(event)));
            }
        }
        if self
            .all
            .as_ref()
            .is_some_and(|all| all.len() > INDEX_IDS_MAX)
        {
            self.all = None;
        }
    }
}

impl Conversation {
    /// Begins to look up those of these ids that the index does not know of. What was appended
    /// since the conversation was loaded is in the index, unless that has forgotten some.
    pub fn look_up(&self, since_ms: u64, ids: impl Iterator<Item = MessageId>) -> Lookup {
        let unsure = ids.filter(|id| self.index.verdict(id) == Verdict::Unsure);
        let last_seq = match self.index.has_forgotten() {
            true => self.head_seq,
            false => self.loaded_from_seq.saturating_sub(1),
        };
        Lookup {
            since_ms,
            last_seq,
            wanted: unsure.map(|id| (id, None)).collect(),
            all: (!self.index.has_forgotten()).then(Vec::new),
            changes: self.index.changes(),
        }
    }

    /// All has been read. Ids that something else was learnt of meanwhile stay unsure: whoever
    /// wants them asks again.
    pub fn learn(&mut self, lookup: Lookup) {
        let has_room = |all: &Vec<_>| self.index.has_room_for(all.len());
        if let Some(all) = lookup.all.filter(has_room)
            && !self.index.has_forgotten()
        {
            for (id, known) in all {
                self.index.insert(id, known);
            }
            return self.index.covers_since(lookup.since_ms);
        }
        if lookup.changes == self.index.changes() {
            self.index.learn(lookup.wanted, self.head_seq);
        }
    }
}
