//! Reads under way: what was asked of the store, and what to do with the answer.
//!
//! What a send waits for goes first. A shard that was just taken loads the mailboxes of all its
//! sessions, thousands of reads, and an OK needs none of them.
//!
//! Invariant: a read is registered until its answer has come; a lost link sends it again.

use super::{
    Shard,
    batch::Piece,
    edges::Edge,
    hide::HideRead,
    load::{ConversationPart, MailboxPart},
    lookups::IdsRead,
    previews::PreviewRead,
    recover::Recover,
    stuck::Redriving,
};
use crate::cells;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        Command, PartitionQuery, RangeQuery, RawEvent, Read, ReadOutcome, Table, read::Query,
    },
    v1::ErrorReason,
};
use prost::Message as _;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Reads that no send waits for, at most, while there are others.
const PATIENT_MAX: usize = 2;

/// How often failed reads are told of, in milliseconds.
const FAILED_READS_INTERVAL_MS: u64 = 1_000;

/// What a read is for.
pub(super) enum Purpose {
    /// A part of a conversation to be loaded.
    Conversation(LogId, ConversationPart),
    /// A part of a mailbox to be loaded.
    Mailbox(Arc<str>, MailboxPart),
    /// A fact about an old event, for a command.
    Fact(Box<FactRead>),
    /// Ids of old events, for all commands that ask for some of a log.
    Ids(Box<IdsRead>),
    /// What stands at the seqs that a user deletes for oneself.
    Hide(Box<HideRead>),
    /// Events of a conversation that a mailbox misses.
    Hole(Arc<str>, Piece),
    /// Events of a conversation that were set aside, for an operator.
    Stuck(Box<Redriving>),
    /// Events of a log with open work.
    Recover(Recover),
    /// What pushes about a message show.
    Preview(Box<PreviewRead>),
}

impl Purpose {
    /// No send and no other command of a conversation waits for it.
    fn is_patient(&self) -> bool {
        match self {
            Self::Mailbox(..) | Self::Hole(..) | Self::Stuck(_) => true,
            Self::Recover(_) | Self::Preview(_) => true,
            Self::Conversation(..) | Self::Fact(_) | Self::Ids(_) | Self::Hide(_) => false,
        }
    }
}

/// A command that waits for a read, and who is told.
pub(super) type Asking = (Arc<Edge>, Box<Command>);

/// An old event and what became of it.
pub(super) struct FactRead {
    pub log: LogId,
    pub seq: u64,
    pub event: Option<RawEvent>,
    pub waiting: Asking,
}

/// The reads of a shard.
pub(super) struct Reads {
    under_way: HashMap<u64, (Read, Purpose)>,
    /// How many of them are patient.
    patient: usize,
    queued: VecDeque<(Query, Purpose)>,
    queued_patient: VecDeque<(Query, Purpose)>,
    max: usize,
    /// Those that failed and were not told of yet, and when that was done last.
    failed: u32,
    told_ms: u64,
}

impl Reads {
    pub fn new(max: usize) -> Self {
        Self {
            under_way: HashMap::new(),
            patient: 0,
            queued: VecDeque::new(),
            queued_patient: VecDeque::new(),
            max,
            failed: 0,
            told_ms: 0,
        }
    }

    /// Ids of those under way.
    #[cfg(test)]
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.under_way.keys().copied()
    }

    /// The first seq of a log that is being fanned out again.
    #[cfg(test)]
    pub fn recovers_from(&self) -> Option<u64> {
        let mut purposes = self.under_way.values().map(|(_, purpose)| purpose);
        purposes.find_map(|purpose| match purpose {
            Purpose::Recover(recover) => Some(recover.next_seq),
            _ => None,
        })
    }

    /// The lookup of ids of a log that is under way, or waits for room.
    pub fn lookup_of(&mut self, log: &LogId) -> Option<&mut IdsRead> {
        let under_way = self.under_way.values_mut().map(|(_, purpose)| purpose);
        let queued = self.queued.iter_mut().map(|(_, purpose)| purpose);
        let mut ids = under_way.chain(queued).filter_map(|purpose| match purpose {
            Purpose::Ids(ids) => Some(&mut **ids),
            _ => None,
        });
        ids.find(|ids| ids.log == *log)
    }

    /// Forgets all: the state that they were for is gone. What they were for comes back.
    pub fn take_all(&mut self) -> Vec<Purpose> {
        self.patient = 0;
        let under_way = std::mem::take(&mut self.under_way).into_values();
        let queued = std::mem::take(&mut self.queued).into_iter();
        let queued = queued.chain(std::mem::take(&mut self.queued_patient));
        let purposes = under_way.map(|(_, purpose)| purpose);
        purposes.chain(queued.map(|(_, purpose)| purpose)).collect()
    }

    /// Whether one more may be under way.
    fn has_room(&self, patient: bool) -> bool {
        let alone = self.under_way.len() == self.patient && self.queued.is_empty();
        let most = if alone { self.max } else { PATIENT_MAX };
        self.under_way.len() < self.max && (!patient || self.patient < most)
    }

    /// The next that waits and may go.
    fn next(&mut self) -> Option<(Query, Purpose)> {
        if self.has_room(false)
            && let Some(next) = self.queued.pop_front()
        {
            return Some(next);
        }
        self.has_room(true)
            .then(|| self.queued_patient.pop_front())
            .flatten()
    }
}

impl Shard {
    /// Asks the store; at most so many reads are under way, the others wait.
    pub(super) fn read(&mut self, query: Query, purpose: Purpose) {
        let patient = purpose.is_patient();
        if !self.reads.has_room(patient) {
            let queued = match patient {
                true => &mut self.reads.queued_patient,
                false => &mut self.reads.queued,
            };
            return queued.push_back((query, purpose));
        }
        self.reads.patient += usize::from(patient);
        self.next_id += 1;
        let read = Read {
            id: self.next_id,
            query: Some(query),
        };
        if let Some(store) = &self.store {
            // A closed link sends it again once it is up.
            let _closed = store.reads.try_send(read.clone());
        }
        self.reads.under_way.insert(read.id, (read, purpose));
    }

    pub(super) fn resend_reads(&mut self) {
        let Some(store) = &self.store else { return };
        let reads = self.reads.under_way.values().map(|(read, _)| read.clone());
        let refused = store.reads.try_send_all(reads);
        debug_assert!(
            refused.is_empty() || store.reads.is_closed(),
            "a new link has room for all reads of a shard"
        );
    }

    /// Asks again for all that is under way, or will be, under an epoch that was raised meanwhile;
    /// late answers to what was asked before are nobody's.
    pub(super) fn read_again_under(&mut self, epoch: u64) {
        for (mut read, purpose) in std::mem::take(&mut self.reads.under_way).into_values() {
            self.next_id += 1;
            read.id = self.next_id;
            self.reads.under_way.insert(read.id, (read, purpose));
        }
        let under_way = self.reads.under_way.values_mut();
        let queries = under_way.filter_map(|(read, _)| read.query.as_mut());
        let queued = self.reads.queued.iter_mut();
        let queued = queued.chain(&mut self.reads.queued_patient);
        for query in queries.chain(queued.map(|(query, _)| query)) {
            if let Query::Tail(tail) = query {
                tail.epoch = epoch;
            }
        }
        self.resend_reads();
    }

    pub(super) fn on_read(&mut self, outcome: ReadOutcome) {
        let superseded = outcome.code == i32::from(tonic::Code::Aborted);
        if superseded && self.moving.is_some() {
            // By this very node, at another history-svc: it is asked again there.
            return;
        }
        let Some((_, purpose)) = self.reads.under_way.remove(&outcome.id) else {
            return;
        };
        self.reads.patient -= usize::from(purpose.is_patient());
        while let Some((query, purpose)) = self.reads.next() {
            self.read(query, purpose);
        }
        if outcome.code != 0 {
            self.note_failed_read(&outcome.message);
            let fault = fault_of(&outcome);
            self.refuse_waiting(purpose, &fault);
            // The log was to be taken over, and the store knows of another owner.
            if superseded {
                self.roll_back(super::owner_changing());
                self.give_up();
            }
            return;
        }
        match purpose {
            Purpose::Conversation(log, part) => self.conversation_part(log, part, outcome),
            Purpose::Mailbox(user, part) => self.mailbox_part(user, part, outcome),
            Purpose::Fact(fact) => self.fact_read(*fact, outcome),
            Purpose::Ids(ids) => self.ids_read(*ids, outcome),
            Purpose::Hide(hide) => self.hide_read(*hide, &outcome.events),
            Purpose::Hole(user, piece) => self.hole_read(&user, piece, &outcome.events),
            Purpose::Stuck(reading) => self.stuck_read(*reading, &outcome.events),
            Purpose::Recover(recover) => self.recover_read(recover, outcome),
            Purpose::Preview(preview) => self.preview_read(*preview, outcome),
        }
    }

    /// Says so, once a second at most: many fail together.
    fn note_failed_read(&mut self, reason: &str) {
        self.reads.failed += 1;
        let now_ms = self.now_ms();
        if now_ms >= self.reads.told_ms + FAILED_READS_INTERVAL_MS {
            let (shard, reads) = (self.index, std::mem::take(&mut self.reads.failed));
            tracing::error!(shard, reads, reason, "reads failed");
            self.reads.told_ms = now_ms;
        }
    }

    pub(super) fn read_fact(&mut self, log: LogId, seq: u64, waiting: Asking) {
        let fact = FactRead {
            log,
            seq,
            event: None,
            waiting,
        };
        self.read(range(&log, seq, seq), Purpose::Fact(Box::new(fact)));
    }

    fn fact_read(&mut self, mut fact: FactRead, outcome: ReadOutcome) {
        if fact.event.is_none() {
            fact.event = events(&outcome.events).pop();
            let query = PartitionQuery {
                table: Table::Overlays as i32,
                partition: cells::overlay_partition(&fact.log, fact.seq),
                clustering_prefix: Bytes::copy_from_slice(&fact.seq.to_be_bytes()),
                ..Default::default()
            };
            return self.read(Query::Partition(query), Purpose::Fact(Box::new(fact)));
        }
        let overlays: Vec<_> = outcome.cells.into_iter().filter_map(decode).collect();
        if let Some(conversation) = self.conversation_mut(&fact.log)
            && let Some(event) = &fact.event
        {
            conversation.remember(event, &overlays);
        }
        self.conversation_command(&fact.waiting.0, fact.waiting.1);
    }
}

/// Events of a log, as they stand.
pub(super) fn range(log: &LogId, from_seq: u64, to_seq: u64) -> Query {
    Query::Range(RangeQuery {
        log_id: log.to_bytes(),
        from_seq,
        to_seq,
        ..Default::default()
    })
}

/// Events as read; what does not decode was refused by the store's own checks before.
pub(super) fn events(bytes: &[Bytes]) -> Vec<RawEvent> {
    bytes
        .iter()
        .filter_map(|event| RawEvent::decode(event.clone()).ok())
        .collect()
}

/// A cell's row.
pub(super) fn decode<M: prost::Message + Default>(cell: heddle_proto::internal::Cell) -> Option<M> {
    M::decode(cell.value).ok()
}

fn fault_of(outcome: &ReadOutcome) -> Fault {
    let reason = match tonic::Code::from_i32(outcome.code) {
        tonic::Code::DataLoss => ErrorReason::DataLoss,
        tonic::Code::ResourceExhausted => ErrorReason::Overloaded,
        _ => ErrorReason::OwnerChanging,
    };
    Fault::new(reason, outcome.message.clone())
}

#[cfg(test)]
#[path = "reads_tests.rs"]
mod tests;
