//! The sends of one conversation, oldest first.
//!
//! The outbox keeps one lane per conversation that has something unanswered. Pure.
//!
//! Invariant: the sends transmitted in this connection and not refused since are behind their
//! predecessors on the wire, so the server can hold their order by the ids they name.

use super::{Outgoing, Settled, Ticket};
use crate::Error;
use bytes::Bytes;
use heddle_proto::ids::MessageId;
use heddle_proto::v1;
use std::collections::VecDeque;

#[derive(Debug)]
struct Entry<T> {
    ticket: Ticket,
    outgoing: Outgoing,
    /// The request that waits for an answer; `None`: to be transmitted.
    request_id: Option<u64>,
    tries: u32,
    /// Refused because the try of the predecessor that was under way had failed: (its ticket, its
    /// tries). Not transmitted again before the predecessor is.
    refused_behind: Option<(Ticket, u32)>,
    tag: T,
}

/// The sends of one conversation.
#[derive(Debug)]
pub(super) struct Lane<T> {
    entries: VecDeque<Entry<T>>,
    scheduled: bool,
    delayed_until_ms: Option<u64>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            scheduled: false,
            delayed_until_ms: None,
        }
    }
}

impl<T> Lane<T> {
    pub(super) fn push(&mut self, ticket: Ticket, outgoing: Outgoing, tag: T) {
        self.entries.push_back(Entry {
            ticket,
            outgoing,
            request_id: None,
            tries: 0,
            refused_behind: None,
            tag,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// In the outbox's list of lanes that are ready.
    pub(super) fn is_scheduled(&self) -> bool {
        self.scheduled || self.is_delayed()
    }

    pub(super) fn schedule(&mut self) {
        self.scheduled = true;
    }

    pub(super) fn unschedule(&mut self) {
        self.scheduled = false;
    }

    pub(super) fn is_delayed(&self) -> bool {
        self.delayed_until_ms.is_some()
    }

    pub(super) fn delayed_until_ms(&self) -> u64 {
        self.delayed_until_ms.unwrap_or(0)
    }

    pub(super) fn undelay(&mut self) {
        self.delayed_until_ms = None;
    }

    pub(super) fn can_transmit(&self) -> bool {
        !self.is_delayed() && self.first_waiting().is_some()
    }

    /// The oldest send that is not on its way, unless it must wait for its predecessor's next try.
    fn first_waiting(&self) -> Option<usize> {
        let index = self.entries.iter().position(|e| e.request_id.is_none())?;
        let behind = self.entries[index].refused_behind;
        (behind.is_none() || behind != self.predecessor(index)).then_some(index)
    }

    pub(super) fn transmit(&mut self, request_id: u64) -> Option<v1::SendMessageRequest> {
        if self.is_delayed() {
            return None;
        }
        let index = self.first_waiting()?;
        let predecessor_id = match index.checked_sub(1) {
            Some(before) => self.entries[before].outgoing.client_message_id.to_bytes(),
            None => Bytes::new(),
        };
        let entry = &mut self.entries[index];
        entry.request_id = Some(request_id);
        entry.tries += 1;
        entry.refused_behind = None;
        Some(v1::SendMessageRequest {
            conversation_id: entry.outgoing.conversation_id.to_bytes(),
            client_message_id: entry.outgoing.client_message_id.to_bytes(),
            predecessor_id,
            message: Some(entry.outgoing.message.clone()),
        })
    }

    pub(super) fn position(&self, request_id: u64) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.request_id == Some(request_id))
    }

    pub(super) fn tries(&self, index: usize) -> u32 {
        self.entries[index].tries
    }

    pub(super) fn refused_behind(&mut self, index: usize) {
        let predecessor = self.predecessor(index);
        let entry = &mut self.entries[index];
        entry.request_id = None;
        entry.refused_behind = predecessor;
    }

    fn predecessor(&self, index: usize) -> Option<(Ticket, u32)> {
        let entry = &self.entries[index.checked_sub(1)?];
        Some((entry.ticket, entry.tries))
    }

    pub(super) fn remint(&mut self, index: usize, id: MessageId) -> (MessageId, Outgoing) {
        let entry = &mut self.entries[index];
        entry.request_id = None;
        entry.tries = 0;
        let old = std::mem::replace(&mut entry.outgoing.client_message_id, id);
        (old, entry.outgoing.clone())
    }

    /// Back to waiting, and the lane with it; says until when it was delayed before.
    pub(super) fn requeue(&mut self, index: usize, until_ms: u64) -> Option<u64> {
        self.entries[index].request_id = None;
        let before = self.delayed_until_ms;
        self.delayed_until_ms = Some(before.map_or(until_ms, |at| at.max(until_ms)));
        before
    }

    pub(super) fn settle(
        &mut self,
        index: usize,
        result: Result<v1::SendMessageResponse, Error>,
    ) -> Option<Settled<T>> {
        let entry = self.entries.remove(index)?;
        Some(entry.settled(result))
    }

    /// Everything waits again; the ticket of the oldest.
    pub(super) fn disconnected(&mut self) -> Ticket {
        self.scheduled = true;
        self.delayed_until_ms = None;
        for entry in &mut self.entries {
            entry.request_id = None;
            entry.refused_behind = None;
        }
        self.entries.front().map_or(0, |entry| entry.ticket)
    }

    pub(super) fn into_settled(self, error: &Error) -> Vec<Settled<T>> {
        let entries = self.entries.into_iter();
        entries
            .map(|entry| entry.settled(Err(error.clone())))
            .collect()
    }
}

impl<T> Entry<T> {
    fn settled(self, result: Result<v1::SendMessageResponse, Error>) -> Settled<T> {
        Settled {
            ticket: self.ticket,
            client_message_id: self.outgoing.client_message_id,
            conversation_id: self.outgoing.conversation_id,
            result,
            tag: self.tag,
        }
    }
}
