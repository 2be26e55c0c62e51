//! Open work: how far a conversation's events have reached the mailboxes.
//!
//! Each batch of a conversation is a range; it is done when every mailbox shard has stored its
//! part. Notes are written from this, so that a new owner knows from where to fan out again.
//!
//! Invariant: every event at or above [`OpenWork::from_seq`] may be missing in some mailbox; none
//! below is.

use std::collections::VecDeque;

struct Range {
    id: u64,
    first_seq: u64,
    sent: usize,
    done: usize,
    /// All parts have been sent.
    closed: bool,
}

/// The ranges of one conversation that are not done.
#[derive(Default)]
pub struct OpenWork {
    ranges: VecDeque<Range>,
    next_id: u64,
    /// The window of the last note; 0: none.
    pub noted_window: u64,
}

impl OpenWork {
    /// Nothing is open; ids of ranges come after `id`, so that none means another conversation's
    /// range that was dropped from memory in the middle of its work.
    pub fn after(id: u64) -> Self {
        Self {
            next_id: id,
            ..Self::default()
        }
    }

    /// Whether the range is not done.
    pub fn has(&self, id: u64) -> bool {
        self.ranges.iter().any(|range| range.id == id)
    }

    /// Begins a range at `first_seq`; its id.
    pub fn begin(&mut self, first_seq: u64) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.ranges.push_back(Range {
            id,
            first_seq,
            sent: 0,
            done: 0,
            closed: false,
        });
        id
    }

    /// A part of the range was sent.
    pub fn sent_one(&mut self, id: u64) {
        self.change(id, |range| range.sent += 1);
    }

    /// No more parts of the range will be sent.
    pub fn close(&mut self, id: u64) {
        self.change(id, |range| range.closed = true);
    }

    /// A part was stored.
    pub fn done_one(&mut self, id: u64) {
        self.change(id, |range| range.done += 1);
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Range)) {
        if let Some(range) = self.ranges.iter_mut().find(|range| range.id == id) {
            change(range);
        }
        let done = |range: &Range| range.closed && range.done >= range.sent;
        while self.ranges.front().is_some_and(done) {
            self.ranges.pop_front();
        }
    }

    /// Whether all is done.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The first seq that may be missing somewhere, given the next one.
    pub fn from_seq(&self, next_seq: u64) -> u64 {
        self.ranges
            .front()
            .map_or(next_seq, |range| range.first_seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_seq_moves_only_when_everything_before_is_done() {
        let mut open = OpenWork::default();
        let (first, second) = (open.begin(1), open.begin(5));
        for (range, parts) in [(first, 2), (second, 1)] {
            (0..parts).for_each(|_| open.sent_one(range));
            open.close(range);
        }
        open.done_one(second);
        assert_eq!(open.from_seq(9), 1);
        open.done_one(first);
        open.done_one(first);
        assert_eq!((open.is_empty(), open.from_seq(9)), (true, 9));
    }
}
