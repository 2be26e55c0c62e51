//! A mailbox, pure: one user's log of pointers and changes of state, and what it adds up to.
//!
//! The shard passes in what conversations send; [`Mailbox::take_event`] answers with the entry to
//! store. Conversations know nothing of it, and it holds no body of a message.
//!
//! Invariant: positions grow by one with each accepted entry; an event is taken at most once and
//! in the order of its conversation. A gap in a conversation is named, never skipped. A change of
//! state that a conversation told is not taken after one that it told later.

pub mod hole;
pub mod lines;
pub mod list;
pub mod notices;
pub mod policy;
pub mod push;
pub mod quiet;
pub mod registrations;

use crate::cells;
use bytes::Bytes;
use heddle_proto::{
    ids::LogId,
    internal::{
        Cell, FanOut, FanOutEvent, MailboxCheckpoint, MailboxEntry, Pointer, PointerKind,
        Recipient, StateVersion, UserRow, mailbox_entry::Body,
    },
    v1::{Cursor, StateChange},
};
use lines::Lines;
use list::List;
use notices::Notices;
use prost::Message as _;
use push::{Device, Pushes};
use std::collections::HashMap;

/// Entries after which a new checkpoint is written, so that loading reads no more than that.
pub const CHECKPOINT_ENTRIES: u64 = 512;

/// One user's mailbox.
#[derive(Debug)]
pub struct Mailbox {
    /// Its log.
    pub id: LogId,
    /// Whose it is.
    pub user_id: String,
    /// The conversation list.
    pub list: List,
    /// The user's devices.
    pub devices: HashMap<String, Device>,
    /// The user as the product told it.
    pub user: Option<UserRow>,
    /// What may need a push.
    pub pushes: Pushes,
    /// What devices show.
    pub notices: Notices,
    lines: Lines,
    head: u64,
    committed: u64,
    base: u64,
    checkpoint_position: u64,
}

/// What became of an event that a conversation sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// A new entry.
    Entry(Entry),
    /// Not due, or taken before.
    Not,
    /// Events of the conversation from this seq on are missing: fetch them from its log first.
    Hole(u64),
}

/// An accepted entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub position: u64,
    /// The entry as it is stored.
    pub bytes: Bytes,
    /// Of an event: the seq that was due before.
    pub previous_seq: u64,
    /// Of another's message: its seq, for delivered marks; else 0.
    pub markable_seq: u64,
    /// Of an erasure: the seq of the message that it erases; else 0.
    pub erased_seq: u64,
}

impl Mailbox {
    /// A mailbox from its checkpoint; entries above it are [`Mailbox::replay`]ed.
    pub fn load(id: LogId, user_id: &str, checkpoint: Option<MailboxCheckpoint>) -> Self {
        let checkpoint = checkpoint.unwrap_or_default();
        Self {
            id,
            user_id: user_id.to_owned(),
            list: List::from_rows(checkpoint.entries),
            devices: HashMap::new(),
            user: None,
            pushes: Pushes::default(),
            notices: Notices::default(),
            lines: Lines::from_rows(checkpoint.lines),
            head: checkpoint.position,
            committed: checkpoint.position,
            base: checkpoint.base_position,
            checkpoint_position: checkpoint.position,
        }
    }

    /// Applies a stored entry, written under `nonce`: to the list where it lies above the
    /// checkpoint, and to the pushes where it lies above `push_position`.
    pub fn replay(&mut self, entry: &MailboxEntry, nonce: u64, push_position: u64) {
        if entry.position > self.head {
            self.lines.extend(nonce, entry.position);
            match &entry.body {
                Some(Body::Pointer(pointer)) => {
                    self.enter_replayed(pointer);
                    self.list.apply_pointer(pointer, entry.time_ms);
                }
                Some(Body::State(state)) => self.apply_state(state, entry.version),
                None => {}
            }
            self.head = entry.position;
            self.committed = entry.position;
        }
        if entry.position > push_position
            && let Some(Body::Pointer(pointer)) = &entry.body
        {
            self.note_push(entry.position, pointer, entry.time_ms);
        }
    }

    /// A pointer without predecessor begins a membership.
    fn enter_replayed(&mut self, pointer: &Pointer) {
        if pointer.previous_seq > 0 {
            return;
        }
        let counts = pointer.kind() == PointerKind::Message;
        let member = Recipient {
            since_seq: pointer.seq,
            since_ordinal: pointer.ordinal - u64::from(counts),
            ..Default::default()
        };
        self.list.enter(&pointer.conversation_id, &member);
    }

    /// Takes an event of a conversation in, at `now_ms`, under the owner's `nonce`; of `fan_out`
    /// only which conversation it is of.
    pub fn take_event(
        &mut self,
        fan_out: &FanOut,
        event: &FanOutEvent,
        member: &Recipient,
        nonce: u64,
        now_ms: u64,
    ) -> Taken {
        let until = member.until_seq;
        if event.seq < member.since_seq || (until > 0 && event.seq >= until) {
            return Taken::Not;
        }
        let entry = self.list.enter(&fan_out.conversation_id, member);
        if entry.since_seq > member.since_seq || event.seq <= entry.last_seq {
            return Taken::Not;
        }
        if event.seq > entry.last_seq + 1 {
            return Taken::Hole(entry.last_seq + 1);
        }
        let previous_seq = if entry.last_seq >= entry.since_seq {
            entry.last_seq
        } else {
            0
        };
        let pointer = self.pointer(fan_out, event, previous_seq);
        self.list.apply_pointer(&pointer, event.time_ms);
        let position = self.advance(nonce);
        let markable = pointer.kind() == PointerKind::Message && !pointer.own;
        let erases = pointer.kind() == PointerKind::Erase;
        self.note_push(position, &pointer, now_ms);
        let body = Some(Body::Pointer(pointer));
        let stored = MailboxEntry {
            position,
            time_ms: event.time_ms,
            body,
            version: None,
        };
        Taken::Entry(Entry {
            position,
            bytes: stored.encode_to_vec().into(),
            previous_seq,
            markable_seq: if markable { event.seq } else { 0 },
            erased_seq: if erases { event.target_seq } else { 0 },
        })
    }

    fn pointer(&self, fan_out: &FanOut, event: &FanOutEvent, previous_seq: u64) -> Pointer {
        let own = event.sender == self.user_id;
        let named = || event.mentioned_user_ids.contains(&self.user_id);
        Pointer {
            conversation_id: fan_out.conversation_id.clone(),
            direct: fan_out.direct,
            seq: event.seq,
            previous_seq,
            ordinal: event.ordinal,
            kind: event.kind,
            target_seq: event.target_seq,
            own,
            mentioned: !own && (event.mentions_all || named()),
            target_ordinal: event.target_ordinal,
            target_own: event.target_seq > 0 && event.target_sender == self.user_id,
            target_mentioned: false,
        }
    }

    /// Takes a change of state in that a conversation told: bytes of `heddle.v1.StateChange`.
    /// `None`: it told this one before, or a later one. A fan-out that was stored and not
    /// acknowledged comes again, to the mailbox's next owner; what it tells may be the same
    /// member's mark twice, and the first one again would take the mark back.
    pub fn take_told_state(
        &mut self,
        conversation_id: &[u8],
        version: StateVersion,
        state: &Bytes,
        nonce: u64,
        now_ms: u64,
    ) -> Option<Entry> {
        let last = self.list.get(conversation_id).and_then(|of| of.version);
        let is_late = last.is_some_and(|last| {
            let when = |version: StateVersion| (version.epoch, version.id, version.place);
            version.shard == last.shard && when(version) <= when(last)
        });
        (!is_late).then(|| self.take_state(state, Some(version), nonce, now_ms))
    }

    /// Takes a change of state in: one of the mailbox's own, or by [`Mailbox::take_told_state`].
    pub fn take_state(
        &mut self,
        state: &Bytes,
        version: Option<StateVersion>,
        nonce: u64,
        now_ms: u64,
    ) -> Entry {
        self.apply_state(state, version);
        let position = self.advance(nonce);
        let body = Some(Body::State(state.clone()));
        let stored = MailboxEntry {
            position,
            time_ms: now_ms,
            body,
            version,
        };
        let bytes = stored.encode_to_vec().into();
        Entry {
            position,
            bytes,
            previous_seq: 0,
            markable_seq: 0,
            erased_seq: 0,
        }
    }

    fn apply_state(&mut self, state: &Bytes, version: Option<StateVersion>) {
        if let Ok(change) = StateChange::decode(state.clone()) {
            self.list.apply_state(&self.user_id, &change, version);
        }
    }

    fn advance(&mut self, nonce: u64) -> u64 {
        self.head += 1;
        self.lines.extend(nonce, self.head);
        self.head
    }

    fn note_push(&mut self, position: u64, pointer: &Pointer, now_ms: u64) {
        let conversation: Option<[u8; 16]> = pointer.conversation_id.as_ref().try_into().ok();
        if let Some(conversation) = conversation
            && pointer.kind() == PointerKind::Message
            && !pointer.own
            && !self.devices.is_empty()
        {
            self.pushes.note(conversation, position, pointer, now_ms);
        }
    }

    /// Whether something is owed to devices: a push, or that one is taken back.
    pub fn owes(&self, now_ms: u64) -> bool {
        !self.pushes.is_empty() || !self.take_back(now_ms).is_empty()
    }

    /// What devices show and should not any more.
    pub fn take_back(&self, now_ms: u64) -> Vec<notices::Due> {
        let quiet = self.pushes.is_empty();
        self.notices.due(&self.list, quiet, now_ms)
    }

    /// Position of the last accepted entry, committed or not.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Everything up to `position` is committed.
    pub fn commit(&mut self, position: u64) {
        self.committed = self.committed.max(position);
    }

    /// The committed head, and the nonce under which it was committed; `nonce` where it is empty.
    pub fn cursor(&self, nonce: u64) -> Cursor {
        let position = self.committed;
        Cursor {
            position,
            nonce: self.lines.nonce_at(position).unwrap_or(nonce),
        }
    }

    /// The accepted head, and the nonce under which it will be committed.
    pub fn accepted_cursor(&self, nonce: u64) -> Cursor {
        let position = self.head;
        Cursor {
            position,
            nonce: self.lines.nonce_at(position).unwrap_or(nonce),
        }
    }

    /// What becomes of a resume token.
    pub fn judge(&self, token: Option<&Cursor>) -> heddle_proto::v1::ResumeOutcome {
        self.lines.judge(token, self.committed, self.base)
    }

    /// Whether a checkpoint is worth writing.
    pub fn wants_checkpoint(&self) -> bool {
        self.head >= self.checkpoint_position + CHECKPOINT_ENTRIES
    }

    /// Whether the last checkpoint is not the whole truth.
    pub fn is_dirty(&self) -> bool {
        self.head > self.checkpoint_position
    }

    /// Whether every accepted entry is committed.
    pub fn is_committed(&self) -> bool {
        self.committed == self.head
    }

    /// A checkpoint of the state now; to be stored in the same commit as the entries that it
    /// covers.
    pub fn checkpoint(&mut self) -> Cell {
        self.checkpoint_position = self.head;
        let row = MailboxCheckpoint {
            user_id: self.user_id.clone(),
            position: self.head,
            entries: self.list.to_rows(),
            push_position: self.pushes.position(self.head),
            lines: self.lines.to_rows(),
            base_position: self.base,
        };
        cells::checkpoint(&self.id, &row)
    }
}

#[cfg(test)]
mod tests;
