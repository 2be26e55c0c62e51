//! Marks: how far each member has received and read (the conversation's side of DESIGN 4).
//!
//! The shard passes reports in, stores the member's row at most once a second, and tells the
//! others what [`Conversation::mark_states`] says.
//!
//! Invariant: `read <= delivered <= head`, and neither ever goes back; a late or repeated
//! report changes nothing.

use super::{Conversation, MARKS_MEMBERS_MAX, append::NeedsFact};
use crate::cells;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    internal::{Cell, FanOutState, MarkCommand, MemberRow},
    time, v1,
};
use prost::Message as _;

/// What a report changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Nothing new.
    Not,
    /// The delivered mark alone.
    Delivered,
    /// The read mark.
    Read,
    /// An old event must be read first; then ask again.
    Needs(NeedsFact),
}

impl Conversation {
    /// Takes a member's report in.
    pub fn mark(&mut self, user_id: &str, report: &MarkCommand) -> Result<Moved, Fault> {
        let member = self.member_or_not_found(user_id)?;
        let named = report.delivered_seq.max(report.read_seq);
        if named > self.head_seq {
            let text = format!(
                "mark {named} is beyond the conversation's head {}; resume the session and try \
                 again",
                self.head_seq
            );
            let field = if report.read_seq == named {
                "read_seq"
            } else {
                "delivered_seq"
            };
            return Err(Fault::field(field, text));
        }
        let reads = report.read_seq > member.read_seq;
        let ordinal = if reads {
            self.ordinal_at(report.read_seq)
        } else {
            Some(0)
        };
        let Some(ordinal) = ordinal else {
            return Ok(Moved::Needs(NeedsFact::Event(report.read_seq)));
        };
        let keeps_delivered = self.roster.member_count() <= MARKS_MEMBERS_MAX;
        let delivered = if keeps_delivered {
            named
        } else {
            report.read_seq
        };
        let Some(member) = self.roster.member_mut(user_id) else {
            return Ok(Moved::Not);
        };
        let delivers = delivered > member.delivered_seq;
        member.delivered_seq = member.delivered_seq.max(delivered);
        if reads {
            member.read_seq = report.read_seq;
            member.read_ordinal = ordinal;
        }
        debug_assert!(member.read_seq <= member.delivered_seq);
        Ok(match (reads, delivers) {
            (true, _) => Moved::Read,
            (false, true) => Moved::Delivered,
            (false, false) => Moved::Not,
        })
    }

    /// One's own message is read by oneself; the others see that from the event.
    pub(super) fn move_own_mark(&mut self, sender: &str, seq: u64, ordinal: u64) {
        if let Some(member) = self.roster.member_mut(sender) {
            member.delivered_seq = member.delivered_seq.max(seq);
            if seq > member.read_seq {
                member.read_seq = seq;
                member.read_ordinal = ordinal;
            }
        }
    }

    /// The member's row with its marks, to be stored.
    pub fn mark_cell(&self, user_id: &str) -> Option<Cell> {
        let row = self.roster.member(user_id)?;
        Some(cells::member(&self.id, row))
    }

    /// What a member's marks tell to whom: to the other members up to [`MARKS_MEMBERS_MAX`] of
    /// them, and to the member's own other devices where the read mark moved.
    pub fn mark_states(&self, user_id: &str, read: bool, now_ms: u64) -> Vec<FanOutState> {
        let Some(row) = self.roster.member(user_id) else {
            return Vec::new();
        };
        let state = self.mark_state(row, now_ms);
        let tells_others = self.roster.member_count() <= MARKS_MEMBERS_MAX;
        let hears = |who: &str| if who == user_id { read } else { tells_others };
        let hearers = self
            .roster
            .members()
            .filter(|(member, _)| hears(&member.user_id));
        hearers
            .map(|(member, _)| FanOutState {
                user_id: member.user_id.clone(),
                state: state.clone(),
            })
            .collect()
    }

    fn mark_state(&self, row: &MemberRow, now_ms: u64) -> Bytes {
        let mark = v1::MarkState {
            conversation_id: self.id.to_bytes(),
            user_id: row.user_id.clone(),
            delivered_seq: row.delivered_seq,
            read_seq: row.read_seq,
            read_ordinal: row.read_ordinal,
        };
        let change = v1::StateChange {
            create_time: Some(time::timestamp(now_ms)),
            kind: Some(v1::state_change::Kind::Mark(mark)),
        };
        Bytes::from(change.encode_to_vec())
    }
}
