//! Read marks, coalesced: the newest of each conversation, a few at a time, until the server has
//! them.
//!
//! The engine sends what [`Marks::next`] gives and tells the answers. Pure; time in milliseconds of
//! any steady clock.
//!
//! Invariant: a mark is kept until it is answered; of two marks of a conversation the greater one
//! wins.

use heddle_proto::ids::LogId;
use std::collections::{BTreeMap, HashMap};

/// Longest time that a mark waits for a greater one.
pub const MARK_INTERVAL_MS: u64 = 50;
/// Marks that may wait for an answer.
pub const MARKS_IN_FLIGHT_MAX: usize = 8;
/// Pause after the server could not take one.
pub const MARK_RETRY_MS: u64 = 1_000;

/// Read marks on their way.
#[derive(Debug, Default)]
pub struct Marks {
    waiting: BTreeMap<LogId, u64>,
    in_flight: HashMap<u64, (LogId, u64)>,
    due_at_ms: Option<u64>,
}

impl Marks {
    /// The user has read a conversation up to a seq.
    pub fn read(&mut self, conversation: LogId, seq: u64, now_ms: u64) {
        let mark = self.waiting.entry(conversation).or_default();
        *mark = seq.max(*mark);
        self.due_at_ms.get_or_insert(now_ms + MARK_INTERVAL_MS);
    }

    /// When [`Marks::next`] may have something. While the most are in flight an answer comes first.
    pub fn due_at_ms(&self) -> Option<u64> {
        self.due_at_ms
            .filter(|_| self.in_flight.len() < MARKS_IN_FLIGHT_MAX)
    }

    /// The next mark to send, under the request id given.
    pub fn next(&mut self, request_id: u64, now_ms: u64) -> Option<(LogId, u64)> {
        if self.due_at_ms()? > now_ms {
            return None;
        }
        let mark = self.waiting.pop_first();
        if self.waiting.is_empty() {
            self.due_at_ms = None;
        }
        self.in_flight.insert(request_id, mark?);
        mark
    }

    /// An answer came; false when the request was no mark.
    pub fn answered(&mut self, request_id: u64, retry: bool, now_ms: u64) -> bool {
        let Some((conversation, seq)) = self.in_flight.remove(&request_id) else {
            return false;
        };
        if retry {
            self.read(conversation, seq, now_ms + MARK_RETRY_MS);
        }
        true
    }

    /// The connection ended: what was not answered waits again.
    pub fn disconnected(&mut self, now_ms: u64) {
        for (_, (conversation, seq)) in std::mem::take(&mut self.in_flight) {
            self.read(conversation, seq, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(n: u8) -> LogId {
        LogId::from_wire(&[n; 16]).unwrap()
    }

    #[test]
    fn the_greatest_mark_of_a_conversation_is_sent_once() {
        let mut marks = Marks::default();
        for seq in [3, 9, 5] {
            marks.read(conversation(1), seq, 0);
        }
        assert_eq!(marks.next(1, 49), None);
        assert_eq!(marks.next(1, 50), Some((conversation(1), 9)));
        assert_eq!(marks.next(2, 50), None);
        assert!(marks.answered(1, false, 60));
        assert_eq!(marks.due_at_ms(), None);
    }

    #[test]
    fn a_mark_survives_a_disconnect_unless_a_greater_one_came() {
        let mut marks = Marks::default();
        marks.read(conversation(1), 3, 0);
        marks.next(1, 50);
        marks.read(conversation(1), 7, 60);
        marks.disconnected(70);
        assert_eq!(marks.next(2, 200), Some((conversation(1), 7)));
        assert_eq!(marks.next(3, 200), None);
    }

    #[test]
    fn few_are_in_flight_at_a_time() {
        let mut marks = Marks::default();
        for n in 0..20 {
            marks.read(conversation(n), 1, 0);
        }
        let sent = (0..20).filter_map(|id| marks.next(id, 100)).count();
        assert_eq!((sent, marks.due_at_ms()), (MARKS_IN_FLIGHT_MAX, None));
        marks.answered(0, false, 100);
        assert!(marks.next(30, 100).is_some());
    }
}
