//! Where the session is in the mailbox: what comes next, what is a repetition, what is missing.
//!
//! The engine asks for each delivery. Pure.
//!
//! Invariant: the position never goes back, save by [`Track::opened_at`], and each delivery that is
//! [`Step::Next`] follows the one before without a hole.

use heddle_proto::v1::Cursor;

/// What a delivery is to this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next one: hand it over.
    Next,
    /// Had already: drop it.
    Duplicate,
    /// Something is missing before it: resume.
    Hole,
}

/// The session's place in the mailbox.
#[derive(Clone, Debug, Default)]
pub struct Track {
    cursor: Option<Cursor>,
    head_seen: u64,
}

impl Track {
    /// Starts at a place kept from an earlier session, or nowhere.
    pub fn new(resume: Option<Cursor>) -> Self {
        Self {
            cursor: resume,
            head_seen: 0,
        }
    }

    /// The resume token: all up to here was received.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// The position; 0 before anything.
    pub fn position(&self) -> u64 {
        self.cursor.map_or(0, |cursor| cursor.position)
    }

    /// The server starts this session anew from its head.
    pub fn opened_at(&mut self, head: Cursor) {
        self.cursor = Some(head);
        self.head_seen = 0;
    }

    /// A new connection goes on from here: what the old one promised is void.
    pub fn reconnected(&mut self) {
        self.head_seen = 0;
    }

    /// Takes a delivery in.
    pub fn take(&mut self, previous_position: u64, cursor: Cursor) -> Step {
        let mine = self.position();
        if cursor.position <= mine {
            return Step::Duplicate;
        }
        if previous_position != mine {
            return Step::Hole;
        }
        self.cursor = Some(cursor);
        Step::Next
    }

    /// The server tells the mailbox's head. True when what it told the last time has still not
    /// come, though all that came is acknowledged (`acknowledged` is the position up to which):
    /// resume.
    pub fn head(&mut self, head: Cursor, acknowledged: u64) -> bool {
        let mine = self.position();
        let missing = mine < self.head_seen && acknowledged >= mine;
        self.head_seen = head.position;
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(position: u64) -> Cursor {
        Cursor { position, nonce: 1 }
    }

    #[test]
    fn a_head_that_does_not_come_is_missed_at_the_second_telling() {
        let mut track = Track::new(Some(at(5)));
        assert!(!track.head(at(7), 5));
        assert!(track.head(at(7), 5));
        let mut stalled = Track::new(Some(at(5)));
        assert!(!stalled.head(at(7), 3));
        assert!(!stalled.head(at(7), 3), "the server waits for our acks");
    }

    proptest! {
        /// Whatever is lost, repeated or reordered, what is handed over is a run without a hole.
        #[test]
        fn what_is_handed_over_has_no_hole(order in prop::collection::vec(1..40u64, 0..200)) {
            let mut track = Track::new(Some(at(0)));
            let mut taken = Vec::new();
            for position in order {
                let before = track.position();
                match track.take(position - 1, at(position)) {
                    Step::Next => taken.push(position),
                    Step::Duplicate => prop_assert!(position <= before),
                    Step::Hole => prop_assert!(position > before + 1),
                }
            }
            let run: Vec<_> = (1..=taken.len() as u64).collect();
            prop_assert_eq!(taken, run);
        }
    }
}
