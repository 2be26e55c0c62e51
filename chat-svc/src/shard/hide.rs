//! Hiding: a mailbox looks at what stands at a seq before its user deletes it for oneself.
//!
//! Called by `mailbox_commands` as a hide arrives, which comes back there once it is checked.
//!
//! Invariant: only messages that have come to this mailbox are hidden, so that unread, a difference
//! of ordinals less what is hidden, stays exact.

use super::{
    Shard,
    edges::Edge,
    mailboxes::MailboxSlot,
    reads::{self, Purpose},
};
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{Command, HideCommand, command::Op, raw_event::Kind},
};
use std::{collections::BTreeSet, sync::Arc};

/// Seqs looked at, one after the other.
pub(super) struct HideRead {
    log: LogId,
    left: Vec<u64>,
    messages: Vec<u64>,
    pub waiting: (Arc<Edge>, Box<Command>),
}

/// Whether a command hides what nobody has looked at.
pub(super) fn is_unchecked(command: &Command) -> bool {
    matches!(&command.op, Some(Op::Hide(hide)) if !hide.checked)
}

impl Shard {
    /// Looks at all that is to be hidden, then serves the command.
    pub(super) fn check_hide(&mut self, edge: &Arc<Edge>, command: Box<Command>) {
        let Some(Op::Hide(HideCommand {
            conversation_id,
            seqs,
            ..
        })) = &command.op
        else {
            return;
        };
        let last_seq = match self.mailboxes.get(command.user_id.as_str()) {
            Some(MailboxSlot::Ready(live)) => live.mailbox.list.get(conversation_id),
            _ => None,
        }
        .map(|entry| entry.last_seq);
        let (Some(last_seq), Some(log)) = (last_seq, LogId::from_wire(conversation_id)) else {
            return edge.refuse(command.id, &Fault::not_found("conversation"));
        };
        if let Some(beyond) = seqs.iter().find(|seq| **seq > last_seq) {
            let text =
                format!("{beyond} has not come to this mailbox yet; wait for it, then retry");
            return edge.refuse(command.id, &Fault::field("seqs", text));
        }
        let left: BTreeSet<u64> = seqs.iter().copied().collect();
        self.look_on(HideRead {
            log,
            left: left.into_iter().collect(),
            messages: Vec::new(),
            waiting: (edge.clone(), command),
        });
    }

    /// The event at a seq to be hidden, if it is still there.
    pub(super) fn hide_read(&mut self, mut hide: HideRead, found: &[Bytes]) {
        let found = reads::events(found).pop();
        if let Some(event) = found.filter(|event| matches!(event.kind, Some(Kind::Message(_)))) {
            hide.messages.push(event.seq);
        }
        self.look_on(hide);
    }

    fn look_on(&mut self, mut hide: HideRead) {
        if let Some(seq) = hide.left.pop() {
            let query = reads::range(&hide.log, seq, seq);
            return self.read(query, Purpose::Hide(Box::new(hide)));
        }
        let (edge, mut command) = hide.waiting;
        if let Some(Op::Hide(asked)) = &mut command.op {
            asked.checked = true;
            asked.seqs = hide.messages;
        }
        self.mailbox_command(&edge, command);
    }
}
