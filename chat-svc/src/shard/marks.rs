//! Marks under way: stored at most once per member, conversation and interval, answered when
//! stored.
//!
//! Invariant: a delivered mark that reached the shard is stored sooner or later, unless the process
//! dies: gateways repeat no acknowledgement. What cannot be taken now is held, one for each member
//! and conversation.

use super::{Shard, batch::Outcome, conversations::ConversationSlot, edges::Edge};
use crate::conversation::marks::Moved;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        Command, MarkCommand, MarkResult, PeerMark, command::Op, command_result::Outcome as Answer,
    },
};
use std::sync::Arc;

/// A member's marks, between a report and its storing.
#[derive(Default)]
pub(super) struct MarkProgress {
    stored_ms: u64,
    pending: bool,
    read: bool,
    waiters: Vec<(Arc<Edge>, u64)>,
}

/// Delivered marks that may be held; beyond it they are dropped: the next message's covers them.
const HELD_MAX: usize = 65_536;
/// A mark handed to the store so short a time ago may not be stored yet, in milliseconds.
const UNCONFIRMED_MS: u64 = 10_000;

impl Shard {
    /// A command cannot be taken now: who waits for it is told, a delivered mark is held.
    pub(super) fn turn_away(&mut self, edge: &Arc<Edge>, command: Command, fault: &Fault) {
        match (&command.op, LogId::from_wire(&command.log_id)) {
            (Some(Op::Mark(report)), Some(log)) if command.id == 0 => {
                self.hold_mark(log, command.user_id, report.delivered_seq);
            }
            _ => edge.refuse(command.id, fault),
        }
    }

    fn hold_mark(&mut self, log: LogId, user_id: String, delivered_seq: u64) {
        if self.held_marks.len() < HELD_MAX {
            let held = self.held_marks.entry((log, user_id)).or_default();
            *held = delivered_seq.max(*held);
        }
    }

    /// A mailbox elsewhere tells what its device has.
    pub(super) fn take_mark(&mut self, mark: PeerMark) {
        if let Some(log) = LogId::from_wire(&mark.conversation_id) {
            self.hold_mark(log, mark.user_id, mark.delivered_seq);
        }
        if self.serves() && self.now_ms() >= self.read_only_until_ms {
            self.take_held_marks();
        }
    }

    /// What was held belongs to the shard's owner, elsewhere.
    pub(super) fn give_held_marks(&mut self) -> impl Iterator<Item = PeerMark> + use<> {
        let held = std::mem::take(&mut self.held_marks).into_iter();
        held.map(|((log, user_id), delivered_seq)| PeerMark {
            conversation_id: log.to_bytes(),
            user_id,
            delivered_seq,
        })
    }

    /// Takes in what was held; the shard is owned and writes again.
    pub(super) fn take_held_marks(&mut self) {
        if self.held_marks.is_empty() {
            return;
        }
        let nobody = Edge::new(0).0;
        for ((log, user_id), delivered_seq) in std::mem::take(&mut self.held_marks) {
            let report = MarkCommand {
                delivered_seq,
                read_seq: 0,
            };
            let command = Command {
                user_id,
                log_id: log.to_bytes(),
                op: Some(Op::Mark(report)),
                ..Default::default()
            };
            self.conversation_command(&nobody, Box::new(command));
        }
    }

    /// Drops a conversation with what was not committed of it: who waits for marks is told,
    /// delivered marks are held, and what may not have reached all mailboxes is fanned out again.
    pub(super) fn drop_conversation(&mut self, log: &LogId, fault: &Fault) {
        let Some(slot) = self.conversations.remove(log) else {
            return;
        };
        let ConversationSlot::Ready(live) = slot else {
            // Its reads go on, and who waits for them is served.
            self.conversations.insert(*log, slot);
            return;
        };
        if !live.open.is_empty() {
            let from_seq = live.open.from_seq(live.conversation.head_seq() + 1);
            let from = (from_seq, live.open.noted_window);
            self.recovering.conversations.insert(*log, from);
        }
        let unconfirmed_ms = self.now_ms().saturating_sub(UNCONFIRMED_MS);
        for (user_id, progress) in live.marks {
            for (edge, id) in progress.waiters {
                edge.refuse(id, fault);
            }
            let unsure = progress.pending || progress.stored_ms > unconfirmed_ms;
            if let Some(row) = live.conversation.roster.member(&user_id)
                && unsure
            {
                self.hold_mark(*log, user_id, row.delivered_seq);
            }
        }
    }

    /// Drops all of them.
    pub(super) fn drop_conversations(&mut self, fault: &Fault) {
        let logs: Vec<_> = self.conversations.keys().copied().collect();
        for log in logs {
            self.drop_conversation(&log, fault);
        }
        self.conversations.clear();
    }

    pub(super) fn mark(
        &mut self,
        log: LogId,
        edge: &Arc<Edge>,
        mut command: Box<Command>,
        report: MarkCommand,
    ) {
        let now_ms = self.now_ms();
        let interval_ms = self.around.config.mark_interval_ms;
        let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(&log) else {
            return;
        };
        live.used_ms = now_ms;
        let moved = match live.conversation.mark(&command.user_id, &report) {
            Ok(Moved::Needs(needs)) => {
                command.op = Some(Op::Mark(report));
                return self.fetch(log, needs, edge, command);
            }
            Ok(moved) => moved,
            Err(fault) => {
                if command.id > 0 {
                    let outcome = Outcome::Ready(Answer::Error(fault.to_wire()));
                    self.batch.answer(edge, command.id, outcome);
                }
                return;
            }
        };
        let progress = live.marks.entry(command.user_id.clone()).or_default();
        if command.id > 0 {
            progress.waiters.push((edge.clone(), command.id));
        }
        progress.read |= moved == Moved::Read;
        if moved == Moved::Not && !progress.pending {
            return self.answer_marks(&log, &command.user_id);
        }
        if progress.pending {
            return;
        }
        progress.pending = true;
        let due_ms = progress.stored_ms + interval_ms;
        if due_ms <= now_ms {
            self.store_marks(log, &command.user_id);
        } else {
            self.timers.mark(due_ms, log, command.user_id);
        }
    }

    /// Puts a member's marks into the batch, and tells the others with it.
    pub(super) fn store_marks(&mut self, log: LogId, user_id: &str) {
        let now_ms = self.now_ms();
        let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(&log) else {
            return;
        };
        let Some(progress) = live.marks.get_mut(user_id) else {
            return;
        };
        progress.stored_ms = now_ms;
        progress.pending = false;
        let read = std::mem::take(&mut progress.read);
        let cell = live.conversation.mark_cell(user_id);
        let states = live.conversation.mark_states(user_id, read, now_ms);
        let next_seq = live.conversation.head_seq() + 1;
        self.batch.cells(cell);
        if !states.is_empty() {
            if let Some(told) = self.told(&log, next_seq) {
                told.states.extend(states);
            }
            self.note(&log, now_ms);
        }
        self.answer_marks(&log, user_id);
    }

    /// Answers who waits for a member's marks, with this batch.
    fn answer_marks(&mut self, log: &LogId, user_id: &str) {
        let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(log) else {
            return;
        };
        let member = live.conversation.roster.member(user_id);
        let read_seq = member.map_or(0, |row| row.read_seq);
        let Some(progress) = live.marks.get_mut(user_id) else {
            return;
        };
        for (edge, id) in std::mem::take(&mut progress.waiters) {
            let outcome = Outcome::Ready(Answer::Mark(MarkResult { read_seq }));
            self.batch.answer(&edge, id, outcome);
        }
    }
}

impl MarkProgress {
    /// Whether a report waits to be stored.
    pub fn is_pending(&self) -> bool {
        self.pending
    }
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
