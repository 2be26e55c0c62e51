//! Loading: a conversation's state from what the store holds.
//!
//! The shard reads rows and the log's tail as a log is first touched, and again where an id or a
//! fact lies below what was read.
//!
//! Invariant: a loaded conversation decides as the one that wrote the log would.

use super::{
    Conversation, event,
    index::{Index, Known},
    roster::Roster,
    tail::{Fact, Tail},
};
use heddle_proto::{
    ids::{LogId, MessageId},
    internal::{ConversationRow, MemberRow, OverlayRow, RawEvent, overlay_row},
};

/// What was read of a conversation.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Its row; `None`: nothing is stored.
    pub row: Option<ConversationRow>,
    /// All members' rows.
    pub members: Vec<MemberRow>,
    /// The newest events, oldest first, without a gap up to the head.
    pub events: Vec<RawEvent>,
}

impl Conversation {
    /// The conversation as stored; one of which nothing is stored is unborn.
    pub fn load(id: LogId, loaded: Loaded) -> Self {
        let Loaded {
            row,
            members,
            events,
        } = loaded;
        let mut conversation = Self::unborn(id);
        let (Some(row), Some(first)) = (row, events.first()) else {
            return conversation;
        };
        conversation.row = row;
        conversation.loaded_from_seq = first.seq;
        let since_ms = if first.seq == 1 {
            0
        } else {
            event::time_ms(first)
        };
        conversation.index = Index::since(since_ms);
        conversation.tail = Tail::after(first.seq - 1);
        for event in &events {
            if let Some(id) = MessageId::from_wire(&event.client_message_id) {
                conversation.take_in(event, id, known(event));
            }
        }
        conversation.roster = Roster::from_rows(members);
        conversation.redo_own_marks(&events);
        conversation
    }

    /// A sender's own mark is stored a second late at most; the log says it at once.
    fn redo_own_marks(&mut self, events: &[RawEvent]) {
        for event in events {
            let stored = self
                .roster
                .member(&event.sender)
                .map_or(u64::MAX, |row| row.read_seq);
            if Fact::of(event).is_message && event.seq > stored {
                self.move_own_mark(&event.sender, event.seq, event.ordinal);
            }
        }
    }

    /// Keeps the fact of an event read from below the tail, with what became of it.
    pub fn remember(&mut self, event: &RawEvent, overlays: &[OverlayRow]) {
        let mut fact = Fact::of(event);
        for overlay in overlays
            .iter()
            .filter(|overlay| overlay.target_seq == event.seq)
        {
            match &overlay.kind {
                Some(overlay_row::Kind::Erased(erased)) => fact.erased |= erased,
                Some(overlay_row::Kind::Edited(_)) => fact.edit_seqs.clone_from(&overlay.edit_seqs),
                _ => {}
            }
        }
        self.tail.remember(event.seq, fact);
    }
}

/// What the index keeps of an event.
pub(super) fn known(event: &RawEvent) -> Known {
    let fingerprint = event.kind.as_ref();
    Known {
        seq: event.seq,
        time_ms: event::time_ms(event),
        fingerprint: fingerprint.map_or(0, |kind| event::body_fingerprint(&event.sender, kind)),
    }
}
