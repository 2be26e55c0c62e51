//! Stuck: what a mailbox cannot take is set aside, and taken when an operator says so.
//!
//! `holes` sets aside, `mailbox_commands` brings a redrive. Gateways list the rows from the store,
//! since those of a shard that is no more have no owner to ask.
//!
//! Invariant: a row goes in the commit in which its mailbox has all that the row names, and in no
//! other. A redrive obeys the rule of a fan-out: each event once, in the conversation's order.

use super::{
    Shard,
    batch::{Outcome, Piece},
    edges::Edge,
    mailboxes::{MailboxSlot, piece_user},
    read_only,
    reads::{Purpose, range},
    recover::fan_out_event,
};
use crate::{
    cells,
    mailbox::{Mailbox, hole},
};
use bytes::Bytes;
use heddle_kit::FastMap;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        Command, FanOut, Recipient, RedriveStuckResult, StuckRow, command::Op,
        command_result::Outcome as Answer,
    },
    v1::ErrorReason,
};
use std::sync::{Arc, atomic::Ordering};

/// Rows that their owner remembers. Beyond it each newer event that cannot be taken is a row of its
/// own.
const REMEMBERED_MAX: usize = 4_096;

/// A mailbox and a conversation.
type Of = (LogId, LogId);

/// What this owner has set aside and no mailbox has taken since. A conversation goes on: what comes
/// later stumbles over the same hole, and would be a row for each event and member.
#[derive(Default)]
pub(super) struct Aside(FastMap<Of, StuckRow>);

/// A reading for an operator.
pub(super) struct Redriving {
    row: StuckRow,
    pub waiting: (Arc<Edge>, Box<Command>),
}

/// Whether a command is to take what was set aside.
pub(super) fn is_redrive(command: &Command) -> bool {
    matches!(command.op, Some(Op::RedriveStuck(_)))
}

fn of(row: &StuckRow) -> Option<Of> {
    Some((LogId::mailbox(&row.user_id), LogId::from_wire(&row.log_id)?))
}

fn member(row: &StuckRow) -> Recipient {
    Recipient {
        user_id: row.user_id.clone(),
        since_seq: row.since_seq,
        until_seq: row.until_seq,
        since_ordinal: row.since_ordinal,
    }
}

/// The first seq of those that a row names which the mailbox lacks.
fn lacks(mailbox: &Mailbox, row: &StuckRow) -> Option<u64> {
    let member = member(row);
    let next_seq = mailbox.next_seq(&row.log_id, &member)?;
    (next_seq <= row.to_seq && !hole::is_over(&member, next_seq)).then_some(next_seq)
}

/// What is set aside of a fan-out, for one of its recipients, who lacks all from `from_seq` on.
fn row(
    fan_out: &FanOut,
    recipient: &Recipient,
    from_seq: u64,
    reason: &str,
    now_ms: u64,
) -> StuckRow {
    let due = |seq: &u64| *seq >= from_seq && !hole::is_over(recipient, *seq);
    let mut seqs = fan_out.events.iter().map(|event| event.seq).filter(due);
    let seq = seqs.next().unwrap_or(from_seq);
    StuckRow {
        log_id: fan_out.conversation_id.clone(),
        seq,
        reason: reason.to_owned(),
        user_id: recipient.user_id.clone(),
        from_seq,
        to_seq: seqs.last().unwrap_or(seq),
        time_ms: now_ms,
        since_seq: recipient.since_seq,
        until_seq: recipient.until_seq,
        since_ordinal: recipient.since_ordinal,
        direct: fan_out.direct,
    }
}

impl Aside {
    /// The row to store: the one that is there, if it is about the same membership, reaching
    /// further.
    fn put(&mut self, fresh: StuckRow) -> StuckRow {
        let Some(of) = of(&fresh) else {
            return fresh;
        };
        let is_full = self.0.len() >= REMEMBERED_MAX;
        match self.0.get_mut(&of) {
            Some(known) if known.since_seq == fresh.since_seq => {
                known.from_seq = fresh.from_seq;
                known.to_seq = fresh.to_seq.max(known.to_seq);
                known.until_seq = fresh.until_seq;
                known.reason = fresh.reason;
                known.clone()
            }
            Some(known) => {
                *known = fresh.clone();
                fresh
            }
            None if is_full => fresh,
            None => {
                self.0.insert(of, fresh.clone());
                fresh
            }
        }
    }

    /// A row as it is now: its owner may have made it reach further since it was read.
    fn newest(&self, row: StuckRow) -> StuckRow {
        let known = of(&row).and_then(|of| self.0.get(&of));
        match known.filter(|known| is_same(known, &row)) {
            Some(known) => known.clone(),
            None => row,
        }
    }

    fn forget(&mut self, row: &StuckRow) {
        if let Some(of) = of(row)
            && self.0.get(&of).is_some_and(|known| is_same(known, row))
        {
            self.0.remove(&of);
        }
    }
}

/// Whether two states of a row have the same key.
fn is_same(one: &StuckRow, other: &StuckRow) -> bool {
    one.time_ms == other.time_ms && one.since_seq == other.since_seq
}

impl Shard {
    /// What cannot be applied is set aside, where an operator finds it; the mailbox goes on.
    pub(super) fn set_aside(&mut self, piece: Piece, from_seq: u64, reason: &str) {
        let (now_ms, fan_out) = (self.now_ms(), &piece.0.fan_out);
        if let Some(recipient) = fan_out.recipients.get(piece.1 as usize) {
            let row = self
                .aside
                .put(row(fan_out, recipient, from_seq, reason, now_ms));
            let (mailbox, to_seq) = (LogId::mailbox(piece_user(&piece)), row.to_seq);
            tracing::error!(%mailbox, from_seq, to_seq, reason, "a fan-out is set aside");
            self.batch.cells([cells::stuck(self.index, &row)]);
        }
        self.measures.sets_aside();
        piece.0.stuck.store(true, Ordering::Release);
        self.batch.pieces.push(piece);
    }

    /// A hole was filled: if its mailbox has all that was set aside, the row goes with that.
    pub(super) fn no_longer_aside(&mut self, user: &str, conversation_id: &[u8]) {
        let Some(log) = LogId::from_wire(conversation_id).filter(|_| !self.aside.0.is_empty())
        else {
            return;
        };
        let of = (LogId::mailbox(user), log);
        let (Some(row), Some(MailboxSlot::Ready(live))) =
            (self.aside.0.get(&of), self.mailboxes.get(user))
        else {
            return;
        };
        let next_seq = live.mailbox.next_seq(conversation_id, &member(row));
        if next_seq.is_some_and(|next_seq| next_seq > row.to_seq) {
            let cell = cells::stuck(self.index, row);
            let gone = cells::no_stuck(cell.partition, cell.clustering);
            self.batch.cells([gone]);
            self.aside.0.remove(&of);
        }
    }

    /// An operator wants a mailbox, which is loaded, to take what was set aside. Reads on until it
    /// has all.
    pub(super) fn redrive_stuck(&mut self, edge: &Arc<Edge>, command: Box<Command>) {
        let Some(Op::RedriveStuck(ask)) = &command.op else {
            return;
        };
        if self.now_ms() < self.read_only_until_ms {
            return edge.refuse(command.id, &read_only("a write was refused a moment ago"));
        }
        let row = self.aside.newest(ask.row.clone().unwrap_or_default());
        let Some(log) = LogId::from_wire(&row.log_id).filter(|_| row.user_id == command.user_id)
        else {
            let fault = Fault::field("row", "is not one of this mailbox");
            return edge.refuse(command.id, &fault);
        };
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get(command.user_id.as_str()) else {
            return self.mailbox_command(edge, command);
        };
        let Some(from_seq) = lacks(&live.mailbox, &row) else {
            return self.redriven(edge, &command, &row);
        };
        if self.batch.is_full() {
            return self.room.push(edge, command);
        }
        self.held.block(&row.user_id);
        let query = range(&log, from_seq, row.to_seq);
        let waiting = (edge.clone(), command);
        self.read(query, Purpose::Stuck(Box::new(Redriving { row, waiting })));
    }

    pub(super) fn stuck_read(&mut self, reading: Redriving, read: &[Bytes]) {
        self.held.unblock(&reading.row.user_id);
        self.take_stuck(reading, read);
        self.apply_held();
    }

    fn take_stuck(&mut self, reading: Redriving, read: &[Bytes]) {
        let Redriving { row, waiting } = reading;
        let (edge, mut command) = waiting;
        let live = match self.mailboxes.get(row.user_id.as_str()) {
            Some(MailboxSlot::Ready(live)) => live,
            _ => return self.mailbox_command(&edge, command),
        };
        if let Some(from_seq) = lacks(&live.mailbox, &row) {
            let events: Vec<_> = read.iter().filter_map(fan_out_event).collect();
            if !hole::begins(&events, from_seq) {
                let answer = Outcome::Ready(Answer::Error(still_lacks(from_seq).to_wire()));
                return self.batch.answer(&edge, command.id, answer);
            }
            let fan_out = FanOut {
                conversation_id: row.log_id.clone(),
                direct: row.direct,
                ..Default::default()
            };
            let taken = self.take_read(&row.user_id, &fan_out, &events, &member(&row));
            if let Some(Op::RedriveStuck(ask)) = &mut command.op {
                ask.taken += taken;
            }
        }
        self.redrive_stuck(&edge, command);
    }

    /// The mailbox has all: in this commit, or before.
    fn redriven(&mut self, edge: &Arc<Edge>, command: &Command, row: &StuckRow) {
        let Some(Op::RedriveStuck(ask)) = &command.op else {
            return;
        };
        let (partition, clustering) = (ask.partition.clone(), ask.clustering.clone());
        self.batch.cells([cells::no_stuck(partition, clustering)]);
        self.aside.forget(row);
        let event_count = ask.taken;
        tracing::info!(
            to_seq = row.to_seq,
            event_count,
            "what was set aside is taken"
        );
        let answer = Answer::RedriveStuck(RedriveStuckResult { event_count });
        self.batch.answer(edge, command.id, Outcome::Ready(answer));
    }
}

fn still_lacks(seq: u64) -> Fault {
    let text = format!(
        "the conversation's log still does not give event {seq}, so the piece stays set aside"
    );
    Fault::new(ErrorReason::DataLoss, text)
}

#[cfg(test)]
#[path = "stuck_tests.rs"]
mod tests;
