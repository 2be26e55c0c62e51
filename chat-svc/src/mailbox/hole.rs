//! Holes, pure: what a mailbox lacks of a conversation.
//!
//! [`Mailbox::take_event`] names a hole as it comes upon one. Once the conversation's log has been
//! read the shard asks again here, since the mailbox may have taken events meanwhile.
//!
//! Invariant: what is said to be next is what [`Mailbox::take_event`] would take next.

use super::Mailbox;
use heddle_proto::internal::{FanOutEvent, Recipient};

impl Mailbox {
    /// The seq of a conversation that the mailbox takes next under this membership; `None`: a newer
    /// one has begun, and nothing of this one is taken any more.
    pub fn next_seq(&self, conversation_id: &[u8], member: &Recipient) -> Option<u64> {
        let since_seq = member.since_seq.max(1);
        match self.list.get(conversation_id) {
            Some(entry) if entry.since_seq > member.since_seq => None,
            Some(entry) if entry.since_seq == member.since_seq => {
                Some(since_seq.max(entry.last_seq + 1))
            }
            _ => Some(since_seq),
        }
    }

    /// The first seq that is missing before the first of `events` that is due and was not taken.
    pub fn hole_before(
        &self,
        conversation_id: &[u8],
        events: &[FanOutEvent],
        member: &Recipient,
    ) -> Option<u64> {
        let next_seq = self.next_seq(conversation_id, member)?;
        let due = |seq: &u64| *seq >= next_seq && !is_over(member, *seq);
        let first = events.iter().map(|event| event.seq).find(due)?;
        (first > next_seq).then_some(next_seq)
    }
}

/// Whether a membership has ended at a seq.
pub fn is_over(member: &Recipient, seq: u64) -> bool {
    member.until_seq > 0 && seq >= member.until_seq
}

/// Whether events that were read fill a hole from its first seq on. What begins later, or not at
/// all, fills nothing: read again it would be no better.
pub fn begins(read: &[FanOutEvent], first_missing_seq: u64) -> bool {
    read.iter().any(|event| event.seq == first_missing_seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Taken;
    use heddle_proto::{ids::LogId, internal::FanOut};
    use proptest::prelude::*;

    const TALK: [u8; 16] = [5; 16];

    fn events(seqs: impl IntoIterator<Item = u64>) -> Vec<FanOutEvent> {
        let event = |seq| FanOutEvent {
            seq,
            ordinal: seq,
            ..Default::default()
        };
        seqs.into_iter().map(event).collect()
    }

    fn member(since_seq: u64, until_seq: u64) -> Recipient {
        Recipient {
            user_id: "bob".into(),
            since_seq,
            until_seq,
            since_ordinal: since_seq - 1,
        }
    }

    fn take(mailbox: &mut Mailbox, event: &FanOutEvent, member: &Recipient) -> Taken {
        let fan_out = FanOut {
            conversation_id: TALK.to_vec().into(),
            ..Default::default()
        };
        mailbox.take_event(&fan_out, event, member, 7, 0)
    }

    #[test]
    fn only_what_begins_at_the_first_missing_seq_fills_a_hole() {
        assert!(begins(&events(3..5), 3));
        assert!(begins(&events(2..5), 3), "what it has does no harm");
        for read in [events([]), events(4..6), events(1..3)] {
            assert!(!begins(&read, 3), "{read:?}");
        }
    }

    #[test]
    fn a_newer_membership_ends_the_holes_of_an_older_one() {
        let mut bob = Mailbox::load(LogId::mailbox("bob"), "bob", None);
        let (old, new) = (member(2, 6), member(9, 0));
        assert_eq!(bob.hole_before(&TALK, &events(4..7), &old), Some(2));
        assert_eq!(bob.hole_before(&TALK, &events(6..7), &old), None, "not due");
        take(&mut bob, &events(9..10)[0], &new);
        assert_eq!(bob.next_seq(&TALK, &old), None);
        assert_eq!(bob.hole_before(&TALK, &events(4..7), &old), None);
        assert_eq!(bob.next_seq(&TALK, &new), Some(10));
    }

    proptest! {
        /// Asking changes nothing, and says what taking says.
        #[test]
        fn a_hole_is_the_one_that_taking_names(
            steps in prop::collection::vec((1..12u64, 1..6u64, 0..10u64), 1..40),
        ) {
            let mut bob = Mailbox::load(LogId::mailbox("bob"), "bob", None);
            for (seq, since_seq, until_seq) in steps {
                let member = member(since_seq, until_seq);
                let event = events([seq]);
                let asked = bob.hole_before(&TALK, &event, &member);
                let told = match take(&mut bob, &event[0], &member) {
                    Taken::Hole(from_seq) => Some(from_seq),
                    Taken::Entry(_) | Taken::Not => None,
                };
                prop_assert_eq!(asked, told);
            }
        }
    }
}
