//! Holes: events of a conversation that a mailbox misses are read from the conversation's log.
//!
//! `mailboxes` comes upon them as it applies a piece, `mailbox::hole` says where they begin; what
//! the log does not fill goes to `stuck`.
//!
//! Invariant: each reading takes the mailbox on, or its piece is set aside: nothing is read again
//! and again, and no piece holds up its mailbox for good.

use super::{
    Shard,
    batch::Piece,
    mailboxes::{MailboxSlot, piece_user},
    reads::{Purpose, range},
    recover::fan_out_event,
};
use crate::mailbox::hole;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{FanOut, FanOutEvent, Recipient},
    v1::ErrorReason,
};

impl Shard {
    /// Reads what a mailbox misses of a conversation.
    pub(super) fn fill_hole(&mut self, user: &str, from_seq: u64, to_seq: u64, piece: Piece) {
        let Some(log) = LogId::from_wire(&piece.0.fan_out.conversation_id) else {
            return;
        };
        tracing::info!(%log, from_seq, to_seq, "a mailbox misses events; reading them");
        self.held.block(user);
        self.read(
            range(&log, from_seq, to_seq),
            Purpose::Hole(user.into(), piece),
        );
    }

    pub(super) fn hole_read(&mut self, user: &str, piece: Piece, read: &[Bytes]) {
        self.held.unblock(user);
        self.fill(user, piece, read);
        self.apply_held();
    }

    /// The log was not read. Where it is damaged it will be so at the next try.
    pub(super) fn hole_unread(&mut self, user: &str, piece: Piece, fault: &Fault) {
        self.held.unblock(user);
        match self.hole_of(&piece) {
            Some(from_seq) if fault.reason == ErrorReason::DataLoss => {
                self.set_aside(piece, from_seq, &fault.message);
                self.apply_held();
            }
            _ => self.held.push(piece),
        }
    }

    fn fill(&mut self, user: &str, piece: Piece, read: &[Bytes]) {
        let (job, index) = piece.clone();
        let (Some(from_seq), Some(recipient)) = (
            self.hole_of(&piece),
            job.fan_out.recipients.get(index as usize),
        ) else {
            return self.apply_or_hold(piece);
        };
        let events: Vec<_> = read.iter().filter_map(fan_out_event).collect();
        if !hole::begins(&events, from_seq) {
            let reason = format!("the conversation's log does not give event {from_seq}");
            return self.set_aside(piece, from_seq, &reason);
        }
        self.take_read(user, &job.fan_out, &events, recipient);
        self.apply_or_hold(piece);
        self.no_longer_aside(user, &job.fan_out.conversation_id);
    }

    /// The first seq that the mailbox lacks before a piece, if it is loaded and lacks any.
    fn hole_of(&self, piece: &Piece) -> Option<u64> {
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get(piece_user(piece)) else {
            return None;
        };
        let fan_out = &piece.0.fan_out;
        let recipient = fan_out.recipients.get(piece.1 as usize)?;
        live.mailbox
            .hole_before(&fan_out.conversation_id, &fan_out.events, recipient)
    }

    /// A mailbox takes events that were read, as far as the batch has room; how many it took. Of
    /// `fan_out` only which conversation it is of.
    pub(super) fn take_read(
        &mut self,
        user: &str,
        fan_out: &FanOut,
        events: &[FanOutEvent],
        recipient: &Recipient,
    ) -> u64 {
        let before = self.batch.due.len();
        for event in events {
            if self.lacks_room() {
                break;
            }
            self.take_event(user, fan_out, event, recipient);
        }
        (self.batch.due.len() - before) as u64
    }
}
