//! Recovery: logs whose work was open when the last owner went are fanned out again.
//!
//! Mailboxes skip what they have, so doing too much is harmless; notes say from where to begin.
//! What a mailbox still lacks after that, it finds itself (`holes`).

use super::{
    Shard,
    batch::Told,
    conversations::ConversationSlot,
    mailboxes::MailboxSlot,
    reads::{Purpose, range},
};
use crate::{
    cells,
    conversation::{MARKS_MEMBERS_MAX, event},
};
use bytes::Bytes;
use heddle_kit::FastMap;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{FanOutEvent, NoteRow, RawEvent, ReadOutcome},
    v1::ErrorReason,
};
use prost::Message as _;
use std::sync::Arc;

/// When a damaged log is read again, in milliseconds: it takes somebody to mend it.
const DAMAGED_AGAIN_MS: u64 = 10_000;

/// An event that is older was stored before the notes were read, in milliseconds: how far clocks of
/// nodes may be apart, and how long a raise may take.
pub(super) const UNNOTED_MAX_MS: u64 = 30_000;

/// What was noted and is not under way again yet: where to begin, and the window of its note (0:
/// any that is in the store).
#[derive(Default)]
pub(super) struct Recovering {
    /// Conversations, with the first seq that may be missing somewhere.
    pub conversations: FastMap<LogId, (u64, u64)>,
    /// Mailboxes whose pushes may not be settled.
    pub mailboxes: FastMap<Arc<str>, u64>,
    /// Those whose log could not be read, and when to try again.
    again: Vec<(u64, Recover)>,
}

/// A log that is fanned out again, page by page.
pub(super) struct Recover {
    pub log: LogId,
    pub next_seq: u64,
    head_seq: u64,
    range: u64,
}

#[cfg(test)]
impl Recovering {
    /// What could not be read is read again with the next tick.
    pub fn again_at_once(&mut self) {
        for (due_ms, _) in &mut self.again {
            *due_ms = 0;
        }
    }
}

/// A stored event as it is fanned out.
pub(super) fn fan_out_event(bytes: &Bytes) -> Option<FanOutEvent> {
    let event = RawEvent::decode(bytes.clone()).ok()?;
    Some(event::fan_out(&event, bytes.clone()))
}

impl Shard {
    /// Loads what had work open; fanning out begins as each log is there.
    pub(super) fn recover(&mut self, notes: Vec<(u64, NoteRow)>) {
        for (window, note) in notes {
            if note.mailbox {
                let user: Arc<str> = note.user_id.into();
                self.recovering.mailboxes.insert(user, window);
            } else if let Some(log) = LogId::from_wire(&note.log_id) {
                let from = (note.from_seq, window);
                self.recovering.conversations.insert(log, from);
            }
        }
        self.load_recovering();
        self.apply_held();
    }

    /// Loads what is to be recovered, again where that failed.
    pub(super) fn load_recovering(&mut self) {
        let logs = self.recovering.conversations.keys();
        let logs = logs.filter(|log| !self.conversations.contains_key(*log));
        for log in logs.copied().collect::<Vec<_>>() {
            self.load_conversation(log, Vec::new());
        }
        let users = self.recovering.mailboxes.keys();
        let users = users.filter(|user| !self.mailboxes.contains_key(*user));
        for user in users.cloned().collect::<Vec<_>>() {
            self.load_mailbox(user, Vec::new());
        }
        let now_ms = self.now_ms();
        let is_due = |again: &mut (u64, Recover)| again.0 <= now_ms;
        let due = self.recovering.again.extract_if(.., is_due);
        for (_, recover) in due.collect::<Vec<_>>() {
            if self.is_recovering(&recover) {
                self.go_on(recover);
            }
        }
    }

    /// A log could not be read. The conversation stays: what was accepted since may be on its way
    /// to the store, so that one loaded now could miss it.
    ///
    /// Where the log is damaged that may last, and what was held for it goes out: the mailboxes
    /// find the hole and set aside what they cannot take (`holes`). The recovery stays open, so
    /// that they get what is before it once the log is whole.
    pub(super) fn recover_later(&mut self, recover: Recover, fault: &Fault) {
        let is_damaged = fault.reason == ErrorReason::DataLoss;
        if is_damaged && self.is_recovering(&recover) {
            self.let_held_go(recover.log);
        }
        let after_ms = if is_damaged { DAMAGED_AGAIN_MS } else { 0 };
        let again = (self.now_ms() + after_ms, recover);
        self.recovering.again.push(again);
    }

    /// What was committed while the log was fanned out again is fanned out too.
    fn let_held_go(&mut self, log: LogId) {
        let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(&log) else {
            return;
        };
        for told in live.held.take().unwrap_or_default() {
            self.fan_out(log, told, true);
        }
    }

    /// Whether the conversation is still the one that this began with; one that was dropped
    /// meanwhile recovers anew.
    fn is_recovering(&self, recover: &Recover) -> bool {
        match self.conversations.get(&recover.log) {
            Some(ConversationSlot::Ready(live)) => live.open.has(recover.range),
            _ => false,
        }
    }

    /// A conversation is loaded: if it had work open, that begins. Its last row may be younger than
    /// the reading of the notes: the last owner wrote it as the epoch was raised, and nobody has
    /// been told of it.
    pub(super) fn start_recovery(&mut self, log: LogId, unnoted_seq: u64) {
        let noted = self.recovering.conversations.remove(&log);
        let unnoted = (unnoted_seq > 0).then_some((unnoted_seq, 0));
        let Some((from_seq, window)) = noted.or(unnoted) else {
            return;
        };
        let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(&log) else {
            return;
        };
        let head_seq = live.conversation.head_seq();
        live.held = Some(Vec::new());
        live.open.noted_window = window;
        let range = live.open.begin(from_seq.min(head_seq + 1));
        let recover = Recover {
            log,
            next_seq: from_seq.max(1),
            head_seq,
            range,
        };
        self.go_on(recover);
    }

    fn go_on(&mut self, recover: Recover) {
        if recover.next_seq <= recover.head_seq {
            let query = range(&recover.log, recover.next_seq, recover.head_seq);
            return self.read(query, Purpose::Recover(recover));
        }
        self.tell_marks_again(recover);
    }

    pub(super) fn recover_read(&mut self, mut recover: Recover, outcome: ReadOutcome) {
        if !self.is_recovering(&recover) {
            return;
        }
        let events: Vec<_> = outcome.events.iter().filter_map(fan_out_event).collect();
        let Some(last) = events.last() else {
            tracing::error!(log = %recover.log, seq = recover.next_seq, "nothing to recover from");
            return self.tell_marks_again(recover);
        };
        let (first_seq, last_seq, now_ms) = (recover.next_seq, last.seq, self.now_ms());
        recover.next_seq = last_seq + 1;
        let conversation = self.conversation_mut(&recover.log);
        let states = conversation
            .map(|conversation| conversation.left_within(first_seq, last_seq, now_ms))
            .unwrap_or_default();
        let told = Told {
            events,
            states,
            range: recover.range,
        };
        self.fan_out(recover.log, told, false);
        self.go_on(recover);
    }

    /// The log is fanned out again, and what was committed meanwhile comes now. Marks that were
    /// stored a moment ago may not have been told: they are told again, last, since they are newer
    /// than those that waited, and with a commit, since the newest may not be stored yet.
    fn tell_marks_again(&mut self, recover: Recover) {
        let (log, now_ms) = (recover.log, self.now_ms());
        let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(&log) else {
            return;
        };
        live.open.close(recover.range);
        self.let_held_go(log);
        let Some(conversation) = self.conversation_mut(&log) else {
            return;
        };
        let next_seq = conversation.head_seq() + 1;
        let marks = conversation.roster.member_count() <= MARKS_MEMBERS_MAX;
        let members = conversation.roster.members().filter(|_| marks);
        let (mut cells, mut states) = (Vec::new(), Vec::new());
        for (row, _) in members {
            cells.extend(conversation.mark_cell(&row.user_id));
            states.extend(conversation.mark_states(&row.user_id, true, now_ms));
        }
        if states.is_empty() {
            return;
        }
        self.batch.cells(cells);
        if let Some(told) = self.told(&log, next_seq) {
            told.states.extend(states);
        }
        self.note(&log, now_ms);
    }

    /// Puts a note into the batch; with the first of a window, which windows count.
    pub(super) fn write_note(&mut self, window: u64, row: &NoteRow) {
        let Some(log) = LogId::from_wire(&row.log_id) else {
            return;
        };
        let cell = cells::note(self.index, window, &log, row);
        let key = (cell.partition.clone(), cell.clustering.clone());
        self.timers.notes.entry(window).or_default().push(key);
        self.batch.cells([cell]);
        if self.timers.newest_window == window {
            return;
        }
        self.timers.newest_window = window;
        let oldest = self.oldest_open_window().min(window);
        let row = heddle_proto::internal::OldestWindowRow {
            window: oldest,
            window_ms: self.around.config.note_window_ms,
            newest_window: window,
        };
        self.batch.cells([cells::oldest_window(self.index, &row)]);
        self.forget_notes(oldest);
    }

    /// Deletes notes of windows that no longer count; a store may let them expire instead.
    fn forget_notes(&mut self, oldest: u64) {
        let kept = self.timers.notes.split_off(&oldest);
        let gone = std::mem::replace(&mut self.timers.notes, kept);
        let keys = gone.into_values().flatten();
        self.batch
            .cells(keys.map(|(partition, log)| cells::no_note(partition, log)));
    }

    /// The window of the oldest note of a log whose work is open. Of a log that was dropped and
    /// loaded again it is not known: all notes in the store still count then.
    fn oldest_open_window(&self) -> u64 {
        let in_store = self.timers.notes.keys().next().copied().unwrap_or(u64::MAX);
        let known = |window: u64| if window == 0 { in_store } else { window };
        let conversations = self.conversations.values().filter_map(|slot| match slot {
            ConversationSlot::Ready(live) if live.open.is_empty() => None,
            ConversationSlot::Ready(live) => Some(known(live.open.noted_window)),
            ConversationSlot::Loading(_) => None,
        });
        let mailboxes = self.mailboxes.values().filter_map(|slot| match slot {
            MailboxSlot::Ready(live) if !live.owes => None,
            MailboxSlot::Ready(live) => Some(known(live.noted_window)),
            MailboxSlot::Loading(_) => None,
        });
        let recovering = self.recovering.conversations.values();
        let recovering = recovering.map(|(_, window)| window);
        let recovering = recovering.chain(self.recovering.mailboxes.values());
        let recovering = recovering.map(|window| known(*window));
        conversations
            .chain(mailboxes)
            .chain(recovering)
            .min()
            .unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
