//! The tail: facts about a conversation's newest events that later events refer to.
//!
//! An edit needs to know who sent its target; a read mark needs the ordinal at its seq. Whatever
//! lies below the tail is read from the log once and [`Tail::remember`]ed.
//!
//! Invariant: facts are contiguous from the first to the head; ordinals never fall.

use heddle_proto::internal::{RawEvent, raw_event::Kind};
use std::collections::{HashMap, VecDeque};

/// Events whose facts are kept, for each conversation.
pub const TAIL_EVENTS_MAX: usize = 512;
/// Facts of older events that were read for an edit or a mark, kept for each conversation.
pub const REMEMBERED_MAX: usize = 64;

/// What later events need to know of an event.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Fact {
    /// Count of messages up to and including it.
    pub ordinal: u64,
    /// Who sent it.
    pub sender: String,
    /// It is a message (else it cannot be edited, erased or reacted to).
    pub is_message: bool,
    /// It was erased for everyone.
    pub erased: bool,
    /// Edits of it.
    pub edit_seqs: Vec<u64>,
}

impl Fact {
    /// The fact of an event as stored, without what became of it.
    pub fn of(event: &RawEvent) -> Self {
        Self {
            ordinal: event.ordinal,
            sender: event.sender.clone(),
            is_message: matches!(event.kind, Some(Kind::Message(_))),
            ..Self::default()
        }
    }
}

/// Facts of the newest events, and of a few older ones.
#[derive(Debug, Default)]
pub struct Tail {
    first_seq: u64,
    facts: VecDeque<Fact>,
    /// Ordinals alone of facts that left the tail cost too much to keep; these were asked for.
    remembered: HashMap<u64, Fact>,
}

impl Tail {
    /// A tail that begins with the event after `head_seq`.
    pub fn after(head_seq: u64) -> Self {
        Self {
            first_seq: head_seq + 1,
            ..Self::default()
        }
    }

    /// Takes in the next event's fact.
    pub fn push(&mut self, fact: Fact) {
        self.facts.push_back(fact);
        if self.facts.len() > TAIL_EVENTS_MAX {
            self.facts.pop_front();
            self.first_seq += 1;
        }
    }

    /// The fact of an event, where it is known.
    pub fn get(&self, seq: u64) -> Option<&Fact> {
        match seq.checked_sub(self.first_seq) {
            Some(index) => self.facts.get(usize::try_from(index).ok()?),
            None => self.remembered.get(&seq),
        }
    }

    /// The fact of an event, to be changed.
    pub fn get_mut(&mut self, seq: u64) -> Option<&mut Fact> {
        match seq.checked_sub(self.first_seq) {
            Some(index) => self.facts.get_mut(usize::try_from(index).ok()?),
            None => self.remembered.get_mut(&seq),
        }
    }

    /// Keeps a fact that was read from the log.
    pub fn remember(&mut self, seq: u64, fact: Fact) {
        if seq >= self.first_seq {
            return;
        }
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(seq, fact);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_facts_are_known_by_seq() {
        let mut tail = Tail::after(10);
        for ordinal in 0..(TAIL_EVENTS_MAX as u64 + 5) {
            tail.push(Fact {
                ordinal,
                ..Default::default()
            });
        }
        assert_eq!(tail.get(15), None);
        assert_eq!(tail.get(16).unwrap().ordinal, 5);
        tail.remember(
            3,
            Fact {
                ordinal: 1,
                ..Default::default()
            },
        );
        assert_eq!(tail.get(3).unwrap().ordinal, 1);
    }
}
