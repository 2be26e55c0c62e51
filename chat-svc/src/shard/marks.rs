//! Marks under way: stored at most once per member, conversation and interval, answered when
//! stored.

use super::{Shard, batch::Outcome, conversations::ConversationSlot, edges::Edge};
use crate::conversation::marks::Moved;
use heddle_proto::{
    ids::LogId,
    internal::{Command, MarkCommand, MarkResult, command::Op, command_result::Outcome as Answer},
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

impl Shard {
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
    /// Those who wait for an answer.
    pub fn take_waiters(&mut self) -> Vec<(Arc<Edge>, u64)> {
        std::mem::take(&mut self.waiters)
    }

    /// Whether a report waits to be stored.
    pub fn is_pending(&self) -> bool {
        self.pending
    }
}
