//! Entries of a mailbox with the bodies they point to, ready for a device.
//!
//! Bodies are read from the conversations' logs, some entries at a time: neighbouring seqs of a
//! conversation in one read, overlays beside them. How many at a time follows from how large the
//! events turn out to be, so that an answer of 1 MiB never needs much more memory than that.
//!
//! Invariant: positions are answered without a gap; a pointer whose event is missing is DATA_LOSS.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use bytes::Bytes;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{
    MailboxEntry, MailboxQuery, Pointer, ReadOutcome, StoredDelivery, mailbox_entry,
    stored_delivery,
};
use prost::Message as _;

use super::overlay::{OverlayReads, Overlays, malformed, target};
use super::{Plan, Step, limits, parse_log_id};
use crate::event::{self, Outline};
use crate::row::Row;
use crate::store::{ReadError, RowsRead, StoreAnswer, StoreRead};

pub struct Mailbox {
    read: RowsRead,
    bytes_max: usize,
    /// Still to be answered, oldest first, from `next`.
    entries: Vec<Entry>,
    next: usize,
    chunk: usize,
    state: State,
    deliveries: Vec<StoredDelivery>,
    bytes: usize,
    more: bool,
}

struct Entry {
    position: u64,
    nonce: u64,
    body: mailbox_entry::Body,
}

enum State {
    Start,
    Entries,
    Events(Chunk),
    Overlays(Chunk),
}

/// Some entries whose events are being read.
struct Chunk {
    len: usize,
    /// Of which conversation each answer to a read of rows is, and the seqs wanted of it.
    rows_of: Vec<(LogId, RangeInclusive<u64>)>,
    events: HashMap<(LogId, u64), (Outline, Bytes)>,
    overlay_reads: Vec<(LogId, OverlayReads)>,
    overlays: HashMap<LogId, Overlays>,
}

impl Mailbox {
    pub fn new(query: MailboxQuery) -> Result<Self, ReadError> {
        let log_id = parse_log_id("mailbox.log_id", &query.log_id)?;
        let entries = (limits::MAILBOX_ENTRIES_DEFAULT, limits::MAILBOX_ENTRIES_MAX);
        let read = RowsRead {
            log_id,
            from_seq: query.after_position.saturating_add(1),
            to_seq: query.head,
            events_max: limits::clamp(query.entries_max, entries.0, entries.1),
            bytes_max: limits::BYTES_MAX,
            descending: false,
        };
        Ok(Self {
            read,
            bytes_max: limits::clamp(query.bytes_max, limits::BYTES_DEFAULT, limits::BYTES_MAX),
            entries: Vec::new(),
            next: 0,
            chunk: limits::CHUNK_FIRST,
            state: State::Start,
            deliveries: Vec::new(),
            bytes: 0,
            more: false,
        })
    }

    /// Takes the entries in; they must begin where asked and have no gap.
    fn take_entries(&mut self, rows: &[Row]) -> Result<(), ReadError> {
        let RowsRead {
            log_id,
            from_seq,
            to_seq,
            events_max,
            ..
        } = self.read;
        let mut position = from_seq;
        for row in rows {
            while position <= to_seq && self.entries.len() < events_max {
                let Some(bytes) = row.event(position) else {
                    break;
                };
                let entry = MailboxEntry::decode(bytes.clone()).ok();
                let body = entry.filter(|entry| entry.position == position);
                let body = body.and_then(|entry| entry.body).ok_or_else(|| {
                    ReadError::DataLoss(format!("entry {position} of mailbox {log_id} is none"))
                })?;
                self.entries.push(Entry {
                    position,
                    nonce: row.nonce,
                    body,
                });
                position += 1;
            }
        }
        self.more = position <= to_seq;
        if self.entries.is_empty() && self.more {
            let missing = format!("entry {position} of mailbox {log_id} is missing");
            return Err(ReadError::DataLoss(missing));
        }
        Ok(())
    }

    /// Asks for the events of the next entries, or answers.
    fn next_chunk(&mut self) -> Result<Step, ReadError> {
        let len = self.chunk.min(self.entries.len() - self.next);
        let mut wanted: BTreeMap<LogId, BTreeSet<u64>> = BTreeMap::new();
        for entry in &self.entries[self.next..self.next + len] {
            if let mailbox_entry::Body::Pointer(pointer) = &entry.body {
                let log_id = parse_log_id("pointer.conversation_id", &pointer.conversation_id)?;
                wanted.entry(log_id).or_default().insert(pointer.seq);
            }
        }
        let mut chunk = Chunk::new(len);
        let mut reads = Vec::new();
        for (log_id, seqs) in &wanted {
            for (from_seq, to_seq) in limits::spans(seqs) {
                chunk.rows_of.push((*log_id, from_seq..=to_seq));
                reads.push(StoreRead::Rows(whole(*log_id, from_seq, to_seq)));
            }
            chunk
                .overlay_reads
                .push((*log_id, OverlayReads::new(*log_id, seqs)));
        }
        reads.extend(
            chunk
                .overlay_reads
                .iter()
                .flat_map(|(_, reads)| reads.wants()),
        );
        if reads.is_empty() {
            return self.deliver(&chunk);
        }
        self.state = State::Events(chunk);
        Ok(Step::Read(reads))
    }

    /// Takes events and overlays in; edits may need overlays of older messages.
    fn take_events(
        &mut self,
        mut chunk: Chunk,
        results: Vec<StoreAnswer>,
    ) -> Result<Step, ReadError> {
        let mut results = results.into_iter();
        for (log_id, wanted) in std::mem::take(&mut chunk.rows_of) {
            let Some(StoreAnswer::Rows { rows, .. }) = results.next() else {
                continue;
            };
            chunk.take_rows(log_id, wanted, &rows)?;
        }
        chunk.take_overlays(results)?;
        let mut targets: BTreeMap<LogId, BTreeSet<u64>> = BTreeMap::new();
        for ((log_id, seq), (outline, _)) in &chunk.events {
            if let Some(target) = target(outline).filter(|target| target != seq) {
                targets.entry(*log_id).or_default().insert(target);
            }
        }
        for (log_id, seqs) in targets {
            chunk
                .overlay_reads
                .push((log_id, OverlayReads::new(log_id, &seqs)));
        }
        self.overlays(chunk)
    }

    fn overlays(&mut self, chunk: Chunk) -> Result<Step, ReadError> {
        let reads: Vec<_> = chunk
            .overlay_reads
            .iter()
            .flat_map(|(_, reads)| reads.wants())
            .collect();
        if reads.is_empty() {
            return self.deliver(&chunk);
        }
        self.state = State::Overlays(chunk);
        Ok(Step::Read(reads))
    }

    /// Turns the chunk's entries into deliveries, up to the bound of bytes.
    fn deliver(&mut self, chunk: &Chunk) -> Result<Step, ReadError> {
        let bytes_before = self.bytes;
        for entry in &self.entries[self.next..self.next + chunk.len] {
            let delivery = chunk.delivery(entry)?;
            let bytes = delivery.encoded_len();
            if self.bytes + bytes > self.bytes_max && !self.deliveries.is_empty() {
                self.more = true;
                return Ok(self.done());
            }
            self.bytes += bytes;
            self.deliveries.push(delivery);
        }
        self.next += chunk.len;
        let chunk_bytes = self.bytes - bytes_before;
        self.chunk = limits::next_chunk(chunk.len, chunk_bytes, self.bytes, self.bytes_max);
        if self.next == self.entries.len() {
            return Ok(self.done());
        }
        self.next_chunk()
    }

    fn done(&mut self) -> Step {
        let (deliveries, more) = (std::mem::take(&mut self.deliveries), self.more);
        Step::Done(ReadOutcome {
            deliveries,
            more,
            ..ReadOutcome::default()
        })
    }
}

impl Plan for Mailbox {
    fn step(&mut self, results: Vec<StoreAnswer>) -> Result<Step, ReadError> {
        match std::mem::replace(&mut self.state, State::Start) {
            State::Start if self.read.from_seq > self.read.to_seq => Ok(self.done()),
            State::Start => {
                self.state = State::Entries;
                Ok(Step::Read(vec![StoreRead::Rows(self.read.clone())]))
            }
            State::Entries => {
                let rows = match results.into_iter().next() {
                    Some(StoreAnswer::Rows { rows, .. }) => rows,
                    _ => Vec::new(),
                };
                self.take_entries(&rows)?;
                self.next_chunk()
            }
            State::Events(chunk) => self.take_events(chunk, results),
            State::Overlays(mut chunk) => {
                chunk.take_overlays(results.into_iter())?;
                self.overlays(chunk)
            }
        }
    }
}

impl Chunk {
    fn new(len: usize) -> Self {
        Self {
            len,
            rows_of: Vec::new(),
            events: HashMap::with_capacity(len),
            overlay_reads: Vec::new(),
            overlays: HashMap::new(),
        }
    }

    /// Rows are whole batches: what lies in one beside the wanted seqs is not looked at.
    fn take_rows(
        &mut self,
        log_id: LogId,
        wanted: RangeInclusive<u64>,
        rows: &[Row],
    ) -> Result<(), ReadError> {
        for row in rows {
            let events = (row.first_seq..).zip(&row.events);
            for (seq, bytes) in events.filter(|(seq, _)| wanted.contains(seq)) {
                let outline = event::outline(bytes).map_err(malformed)?;
                self.events.insert((log_id, seq), (outline, bytes.clone()));
            }
        }
        Ok(())
    }

    fn take_overlays(
        &mut self,
        mut results: impl Iterator<Item = StoreAnswer>,
    ) -> Result<(), ReadError> {
        for (log_id, mut reads) in std::mem::take(&mut self.overlay_reads) {
            let wanted = reads.wants_len();
            reads.take(results.by_ref().take(wanted))?;
            if reads.wants_len() > 0 {
                self.overlay_reads.push((log_id, reads));
            } else {
                self.overlays
                    .entry(log_id)
                    .or_default()
                    .extend(reads.finish());
            }
        }
        Ok(())
    }

    fn delivery(&self, entry: &Entry) -> Result<StoredDelivery, ReadError> {
        let (previous_seq, body) = match &entry.body {
            mailbox_entry::Body::State(state) => (0, stored_delivery::Body::State(state.clone())),
            mailbox_entry::Body::Pointer(pointer) => {
                let event = self.event(entry.position, pointer)?;
                (pointer.previous_seq, stored_delivery::Body::Event(event))
            }
        };
        let Entry {
            position, nonce, ..
        } = *entry;
        Ok(StoredDelivery {
            position,
            nonce,
            previous_seq,
            body: Some(body),
        })
    }

    fn event(&self, position: u64, pointer: &Pointer) -> Result<Bytes, ReadError> {
        let log_id = parse_log_id("pointer.conversation_id", &pointer.conversation_id)?;
        let seq = pointer.seq;
        let (outline, bytes) = self.events.get(&(log_id, seq)).ok_or_else(|| {
            ReadError::DataLoss(format!(
                "mailbox position {position} points to event {seq} of conversation {log_id}, \
                 which is missing"
            ))
        })?;
        match self.overlays.get(&log_id) {
            Some(overlays) => overlays.apply(bytes, outline),
            None => Ok(bytes.clone()),
        }
    }
}

/// A read without limits: the span is bounded by the chunk.
fn whole(log_id: LogId, from_seq: u64, to_seq: u64) -> RowsRead {
    let (events_max, bytes_max) = (usize::MAX, usize::MAX);
    RowsRead {
        log_id,
        from_seq,
        to_seq,
        events_max,
        bytes_max,
        descending: false,
    }
}
