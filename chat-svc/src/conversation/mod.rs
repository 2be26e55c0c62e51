//! A conversation, pure: what its owner knows of the log and decides about the next event.
//!
//! The shard asks [`Conversation::append`] and stores what it answers; history-svc holds the log,
//! which is the truth. Knows no clock, no store and no wire.
//!
//! Invariant: `head_seq` grows by one with each accepted event, and time and ordinal never fall.
//! State runs ahead of the store by what is not yet committed; a shard whose commit
//! fails drops the conversation and loads it again.

mod append;
pub mod event;
pub mod index;
mod load;
pub mod lookup;
pub mod marks;
mod membership;
mod overlays;
pub mod roster;
mod rules;
pub mod tail;
#[cfg(test)]
mod tests;

pub use append::{Appended, Decision, NeedsFact};
pub use load::Loaded;

use heddle_proto::{ids::LogId, internal::ConversationRow, v1::ConversationKind};
use index::Index;
use roster::Roster;
use tail::Tail;

/// Members up to which delivered marks are kept and marks are told to the others (DESIGN 4).
pub const MARKS_MEMBERS_MAX: usize = 32;

/// A conversation that exists.
#[derive(Debug)]
pub struct Conversation {
    /// Its log.
    pub id: LogId,
    /// Kind, title, creator.
    pub row: ConversationRow,
    /// Who belongs to it.
    pub roster: Roster,
    head_seq: u64,
    ordinal: u64,
    time_ms: u64,
    index: Index,
    tail: Tail,
    /// The first seq that the tail and the index were loaded from.
    loaded_from_seq: u64,
}

impl Conversation {
    /// A conversation of which nothing is stored yet; its first event creates it.
    pub fn unborn(id: LogId) -> Self {
        Self {
            id,
            row: ConversationRow::default(),
            roster: Roster::default(),
            head_seq: 0,
            ordinal: 0,
            time_ms: 0,
            index: Index::since(0),
            tail: Tail::after(0),
            loaded_from_seq: 1,
        }
    }

    /// Whether its first event was accepted.
    pub fn exists(&self) -> bool {
        self.head_seq > 0
    }

    /// Seq of the last accepted event, committed or not.
    pub fn head_seq(&self) -> u64 {
        self.head_seq
    }

    /// Whether it is a direct conversation.
    pub fn is_direct(&self) -> bool {
        self.row.kind() == ConversationKind::Direct
    }

    /// The ordinal at a seq, where it is known; 0 at 0.
    pub fn ordinal_at(&self, seq: u64) -> Option<u64> {
        if seq == 0 {
            Some(0)
        } else {
            self.tail.get(seq).map(|fact| fact.ordinal)
        }
    }
}
