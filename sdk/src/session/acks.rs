//! Acknowledgements, coalesced: at most one per [`ACK_INTERVAL_MS`], [`ACK_EVENTS`] events or
//! [`ACK_BYTES`] of them: the server gives a window of bytes, and large events fill it before many
//! are there.
//!
//! The engine tells what the application has taken and asks when to send. Pure; time in
//! milliseconds of any steady clock.
//!
//! Invariant: nothing is acknowledged that the application has not taken.

use std::collections::VecDeque;

/// Longest time that an acknowledgement waits for company.
pub const ACK_INTERVAL_MS: u64 = 50;
/// Events after which an acknowledgement does not wait.
pub const ACK_EVENTS: u64 = 32;
/// Bytes of events after which an acknowledgement does not wait: a quarter of the default window.
pub const ACK_BYTES: usize = 12 * 1024;

/// What was taken, and what of that the server knows.
#[derive(Clone, Debug, Default)]
pub struct Acks {
    taken: u64,
    sent: u64,
    due_at_ms: Option<u64>,
    /// Position and bytes of what came and is not acknowledged; the server's window bounds it.
    given: VecDeque<(u64, usize)>,
    given_bytes: usize,
    full_at: Option<u64>,
}

impl Acks {
    /// Something came at a position.
    pub fn given(&mut self, position: u64, bytes: usize) {
        self.given.push_back((position, bytes));
        self.count(position, bytes);
    }

    fn count(&mut self, position: u64, bytes: usize) {
        self.given_bytes += bytes;
        if self.given_bytes >= ACK_BYTES {
            self.full_at.get_or_insert(position);
        }
    }

    /// The position at which so many bytes are there that its acknowledgement does not wait.
    pub fn full_at(&self) -> Option<u64> {
        self.full_at
    }

    /// The application has taken everything up to a position.
    pub fn taken(&mut self, position: u64, now_ms: u64) {
        if position <= self.taken {
            return;
        }
        self.taken = position;
        let full = self.full_at.is_some_and(|full| full <= position);
        if full || self.taken - self.sent.min(self.taken) >= ACK_EVENTS {
            self.due_at_ms = Some(now_ms);
        } else if self.due_at_ms.is_none() {
            self.due_at_ms = Some(now_ms + ACK_INTERVAL_MS);
        }
    }

    /// When [`Acks::take_due`] has something.
    pub fn due_at_ms(&self) -> Option<u64> {
        self.due_at_ms
    }

    /// The position to acknowledge now, if it is time.
    pub fn take_due(&mut self, now_ms: u64) -> Option<u64> {
        if self.due_at_ms? > now_ms {
            return None;
        }
        self.take_all()
    }

    /// The position to acknowledge, due or not: when a session ends in peace.
    pub fn take_all(&mut self) -> Option<u64> {
        self.due_at_ms = None;
        if self.taken <= self.sent {
            return None;
        }
        self.sent = self.taken;
        self.forget_given();
        Some(self.taken)
    }

    fn forget_given(&mut self) {
        let mut given = std::mem::take(&mut self.given);
        given.retain(|(position, _)| *position > self.sent);
        (self.given_bytes, self.full_at) = (0, None);
        given
            .iter()
            .for_each(|(position, bytes)| self.count(*position, *bytes));
        self.given = given;
    }

    /// All that was taken and told.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// A new connection: the server may not have heard the last one.
    pub fn reconnected(&mut self, now_ms: u64) {
        self.sent = 0;
        // What was not taken comes again, or waits to be taken: either way it is few bytes.
        (self.given_bytes, self.full_at) = (0, None);
        self.given.clear();
        self.due_at_ms = (self.taken > 0).then_some(now_ms + ACK_INTERVAL_MS);
    }

    /// Positions start anew from a head: older ones mean nothing any more.
    pub fn reset(&mut self, head: u64) {
        *self = Self {
            taken: head,
            sent: head,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_event_waits_and_many_do_not() {
        let mut acks = Acks::default();
        acks.taken(1, 0);
        assert_eq!(acks.take_due(49), None);
        assert_eq!(acks.take_due(50), Some(1));
        acks.taken(1 + ACK_EVENTS, 60);
        assert_eq!(acks.take_due(60), Some(1 + ACK_EVENTS));
        assert_eq!(acks.due_at_ms(), None);
    }

    #[test]
    fn after_a_reconnect_the_last_one_is_told_again() {
        let mut acks = Acks::default();
        acks.taken(3, 0);
        acks.take_all();
        acks.reconnected(100);
        assert_eq!(acks.take_due(150), Some(3));
    }

    #[test]
    fn few_large_events_do_not_wait() {
        let mut acks = Acks::default();
        for position in 1..=3 {
            acks.given(position, ACK_BYTES / 2);
        }
        assert_eq!(acks.full_at(), Some(2));
        acks.taken(1, 0);
        assert_eq!(acks.take_due(0), None, "half of it");
        acks.taken(2, 0);
        assert_eq!(acks.take_due(0), Some(2));
        assert_eq!(acks.full_at(), None, "the third alone is half again");
    }

    proptest! {
        /// Acks rise, never exceed what was taken, come at most once per interval or 32 events,
        /// and the last one covers everything.
        #[test]
        fn acks_are_few_and_complete(steps in prop::collection::vec((1..9u64, 0..30u64), 1..200)) {
            let mut acks = Acks::default();
            let (mut position, mut now, mut last) = (0, 0, 0);
            let mut sent = 0u64;
            for (events, pause) in steps {
                position += events;
                now += pause;
                acks.taken(position, now);
                if let Some(ack) = acks.take_due(now) {
                    prop_assert!(ack > last && ack <= position);
                    last = ack;
                    sent += 1;
                }
            }
            prop_assert!(sent <= now / ACK_INTERVAL_MS + position / ACK_EVENTS + 1);
            acks.take_due(now + ACK_INTERVAL_MS);
            prop_assert_eq!(acks.sent(), position);
        }
    }
}
