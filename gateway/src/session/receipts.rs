//! Receipts: what a device has acknowledged and the owners have not been told yet.
//!
//! Pure. Coalesces: one position for the mailbox, one seq for each conversation.
//!
//! Invariant: a greater receipt covers the smaller ones, so losing this costs nothing but a later
//! repetition.

use super::window::Markable;
use heddle_proto::ids::LogId;

/// So many events are told at once, without waiting.
const EVENTS_MAX: u32 = 32;

/// Receipts that wait to be told.
#[derive(Debug, Default)]
pub struct Receipts {
    position: Option<u64>,
    events: u32,
    delivered: Vec<Markable>,
    /// Somebody will come and tell them.
    scheduled: bool,
}

/// What to tell, and to whom.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// To the mailbox: the position acknowledged.
    pub position: Option<u64>,
    /// To each conversation: the greatest seq delivered.
    pub delivered: Vec<Markable>,
}

/// When receipts go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// Soon: somebody must come and fetch them.
    Schedule,
    /// Somebody comes already.
    Scheduled,
}

impl Receipts {
    /// An event of a conversation was delivered.
    pub fn deliver(&mut self, markable: Markable) {
        let known = |known: &&mut Markable| known.conversation == markable.conversation;
        match self.delivered.iter_mut().find(known) {
            Some(known) => known.seq = known.seq.max(markable.seq),
            None => self.delivered.push(markable),
        }
    }

    /// So many events were acknowledged, up to a position.
    pub fn acknowledge(&mut self, position: u64, events: u32) -> When {
        self.position = self.position.max(Some(position));
        self.events += events;
        match () {
            () if self.events >= EVENTS_MAX => When::Now,
            () if self.scheduled => When::Scheduled,
            () => {
                self.scheduled = true;
                When::Schedule
            }
        }
    }

    /// The appointed time has come.
    pub fn due(&mut self) -> Told {
        self.scheduled = false;
        self.take()
    }

    /// What waits, to be told now.
    pub fn take(&mut self) -> Told {
        self.events = 0;
        Told {
            position: self.position.take(),
            delivered: std::mem::take(&mut self.delivered),
        }
    }

    /// Owners could not be told of these: they wait again, and somebody must come for them.
    pub fn put_back(&mut self, untold: Told) -> When {
        for markable in untold.delivered {
            self.deliver(markable);
        }
        self.position = self.position.max(untold.position);
        match std::mem::replace(&mut self.scheduled, true) {
            true => When::Scheduled,
            false => When::Schedule,
        }
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.position.is_none() && self.delivered.is_empty()
    }
}

/// A receipt for one conversation.
pub fn markable(conversation: &[u8], seq: u64) -> Option<Markable> {
    let conversation = LogId::from_wire(conversation).filter(|_| seq > 0)?;
    Some(Markable { conversation, seq })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, seq: u64) -> Markable {
        Markable {
            conversation: LogId::mailbox(name),
            seq,
        }
    }

    #[test]
    fn receipts_coalesce_by_conversation() {
        let mut receipts = Receipts::default();
        for markable in [of("a", 1), of("b", 7), of("a", 3), of("a", 2)] {
            receipts.deliver(markable);
        }
        assert_eq!(receipts.acknowledge(9, 4), When::Schedule);
        assert_eq!(receipts.acknowledge(8, 1), When::Scheduled);
        let told = receipts.due();
        assert_eq!(
            told,
            Told {
                position: Some(9),
                delivered: vec![of("a", 3), of("b", 7)]
            }
        );
        assert!(receipts.is_empty());
    }

    #[test]
    fn what_could_not_be_told_waits_and_is_fetched() {
        let mut receipts = Receipts::default();
        receipts.deliver(of("a", 3));
        receipts.acknowledge(9, 1);
        let untold = receipts.due();
        receipts.deliver(of("a", 4));
        assert_eq!(receipts.put_back(untold), When::Schedule);
        assert_eq!(receipts.acknowledge(10, 1), When::Scheduled);
        let told = receipts.due();
        assert_eq!(
            (told.position, told.delivered),
            (Some(10), vec![of("a", 4)])
        );
    }

    #[test]
    fn many_events_do_not_wait() {
        let mut receipts = Receipts::default();
        assert_eq!(receipts.acknowledge(31, 31), When::Schedule);
        assert_eq!(receipts.acknowledge(32, 1), When::Now);
        receipts.take();
        assert_eq!(receipts.acknowledge(33, 1), When::Scheduled);
        assert_eq!(receipts.due().position, Some(33));
        assert_eq!(receipts.acknowledge(34, 1), When::Schedule);
    }
}
