//! Events of a log in a range of seqs, with what became of them.
//!
//! Invariant: the events answered are consecutive but for those hidden by the asker; an empty
//! answer with `more` never happens, so a reader always gets on.

use std::collections::BTreeSet;

use bytes::Bytes;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{RangeQuery, ReadOutcome, Table};

use super::overlay::{OverlayReads, Overlays, malformed, target};
use super::{Plan, Step, limits, parse_log_id};
use crate::event::{self, Outline};
use crate::row::Row;
use crate::store::{CellsRead, ReadError, RowsRead, StoreAnswer, StoreRead};

pub struct Range {
    read: RowsRead,
    with_overlays: bool,
    /// Whose hidden messages are left out.
    hidden_for: Option<Bytes>,
    state: State,
    /// Events to be answered, from `next`; before that, those already laid over.
    picked: Vec<(Outline, Bytes)>,
    next: usize,
    /// How many of them get their overlays at once.
    chunk: usize,
    bytes: usize,
    more: bool,
}

enum State {
    Start,
    Rows,
    Overlays(OverlayReads),
}

impl Range {
    pub fn new(query: RangeQuery) -> Result<Self, ReadError> {
        let log_id = parse_log_id("range.log_id", &query.log_id)?;
        if !query.hidden_for_log_id.is_empty() {
            parse_log_id("range.hidden_for_log_id", &query.hidden_for_log_id)?;
        }
        let events = (limits::RANGE_EVENTS_DEFAULT, limits::RANGE_EVENTS_MAX);
        let read = RowsRead {
            log_id,
            from_seq: query.from_seq.max(1),
            to_seq: query.to_seq,
            events_max: limits::clamp(query.events_max, events.0, events.1),
            bytes_max: limits::clamp(query.bytes_max, limits::BYTES_DEFAULT, limits::BYTES_MAX),
            descending: query.descending,
        };
        let hidden_for = Some(query.hidden_for_log_id).filter(|id| !id.is_empty());
        let with_overlays = query.with_overlays;
        let (state, picked) = (State::Start, Vec::new());
        Ok(Self {
            read,
            with_overlays,
            hidden_for,
            state,
            picked,
            next: 0,
            chunk: limits::CHUNK_FIRST,
            bytes: 0,
            more: false,
        })
    }

    fn start(&mut self) -> Step {
        self.state = State::Rows;
        let mut reads = vec![StoreRead::Rows(self.read.clone())];
        if let Some(mailbox) = &self.hidden_for {
            let RowsRead {
                log_id,
                from_seq,
                to_seq,
                ..
            } = &self.read;
            reads.push(StoreRead::Cells(hidden_read(
                mailbox, log_id, *from_seq, *to_seq,
            )));
        }
        Step::Read(reads)
    }

    /// Picks events out of rows; asks on if the asker has hidden all of them.
    fn pick(&mut self, results: Vec<StoreAnswer>) -> Result<Step, ReadError> {
        let (mut rows, mut more, mut hidden) = (Vec::new(), false, BTreeSet::new());
        for result in results {
            match result {
                StoreAnswer::Rows {
                    rows: found,
                    more: rest,
                } => (rows, more) = (found, rest),
                StoreAnswer::Cells { cells, .. } => hidden = hidden_seqs(&cells),
            }
        }
        let next = self.pick_rows(&rows, &hidden)?;
        self.more = more || next.is_some_and(|seq| self.within(seq));
        if let Some(next) = next.filter(|&next| self.picked.is_empty() && more && self.within(next))
        {
            let bound = if self.read.descending {
                &mut self.read.to_seq
            } else {
                &mut self.read.from_seq
            };
            *bound = next;
            return Ok(self.start());
        }
        if self.with_overlays {
            return self.next_chunk();
        }
        self.next = self.picked.len();
        Ok(self.done())
    }

    /// The seq after the last event looked at, in the direction of reading.
    fn pick_rows(
        &mut self,
        rows: &[Row],
        hidden: &BTreeSet<u64>,
    ) -> Result<Option<u64>, ReadError> {
        let (mut bytes, mut next) = (0, None);
        for row in rows {
            if next.is_some_and(|next| !self.follows(row, next)) {
                let (log_id, seq) = (self.read.log_id, next.unwrap_or_default());
                return Err(ReadError::DataLoss(format!(
                    "event {seq} of log {log_id} is missing"
                )));
            }
            let seqs = row.first_seq.max(self.read.from_seq)..=row.last_seq().min(self.read.to_seq);
            let count = seqs.clone().count() as u64;
            for offset in 0..count {
                let seq = if self.read.descending {
                    seqs.end() - offset
                } else {
                    seqs.start() + offset
                };
                let Some(event) = row.event(seq) else {
                    continue;
                };
                let full = self.picked.len() >= self.read.events_max
                    || bytes + event.len() > self.read.bytes_max;
                if full && !self.picked.is_empty() {
                    return Ok(Some(seq));
                }
                next = if self.read.descending {
                    seq.checked_sub(1)
                } else {
                    seq.checked_add(1)
                };
                if hidden.contains(&seq) {
                    continue;
                }
                let outline = self.outline(seq, event)?;
                bytes += event.len();
                self.picked.push((outline, event.clone()));
            }
        }
        Ok(next)
    }

    /// Only readers of overlays read conversations for sure; a mailbox's entries are no events.
    fn outline(&self, seq: u64, event: &[u8]) -> Result<Outline, ReadError> {
        if !self.with_overlays {
            return Ok(Outline {
                seq,
                ..Outline::default()
            });
        }
        let outline = event::outline(event).map_err(malformed)?;
        Ok(Outline { seq, ..outline })
    }

    fn follows(&self, row: &Row, next: u64) -> bool {
        if self.read.descending {
            row.last_seq() == next
        } else {
            row.first_seq == next
        }
    }

    fn within(&self, seq: u64) -> bool {
        (self.read.from_seq..=self.read.to_seq).contains(&seq)
    }

    /// Asks for the overlays of some more of the picked events, or answers.
    fn next_chunk(&mut self) -> Result<Step, ReadError> {
        if self.next == self.picked.len() {
            return Ok(self.done());
        }
        self.chunk = self.chunk.min(self.picked.len() - self.next);
        let chunk = &self.picked[self.next..self.next + self.chunk];
        let targets = chunk
            .iter()
            .filter_map(|(outline, _)| target(outline))
            .collect();
        self.overlays(OverlayReads::new(self.read.log_id, &targets))
    }

    fn overlays(&mut self, reads: OverlayReads) -> Result<Step, ReadError> {
        if reads.wants_len() == 0 {
            return self.apply(&reads.finish());
        }
        let wants = reads.wants().collect();
        self.state = State::Overlays(reads);
        Ok(Step::Read(wants))
    }

    /// Lays overlays over the chunk, up to the bound of bytes: an edit may be much longer than
    /// what it edits.
    fn apply(&mut self, overlays: &Overlays) -> Result<Step, ReadError> {
        let bytes_before = self.bytes;
        for index in self.next..self.next + self.chunk {
            let (outline, event) = &self.picked[index];
            let event = overlays.apply(event, outline)?;
            if self.bytes + event.len() > self.read.bytes_max && index > 0 {
                (self.next, self.more) = (index, true);
                return Ok(self.done());
            }
            self.bytes += event.len();
            self.picked[index].1 = event;
        }
        self.next += self.chunk;
        let chunk_bytes = self.bytes - bytes_before;
        self.chunk = limits::next_chunk(self.chunk, chunk_bytes, self.bytes, self.read.bytes_max);
        self.next_chunk()
    }

    fn done(&mut self) -> Step {
        let picked = std::mem::take(&mut self.picked).into_iter();
        let events = picked.take(self.next).map(|(_, event)| event).collect();
        Step::Done(ReadOutcome {
            events,
            more: self.more,
            ..ReadOutcome::default()
        })
    }
}

impl Plan for Range {
    fn step(&mut self, results: Vec<StoreAnswer>) -> Result<Step, ReadError> {
        match std::mem::replace(&mut self.state, State::Start) {
            State::Start => Ok(self.start()),
            State::Rows => self.pick(results),
            State::Overlays(mut reads) => {
                reads.take(results.into_iter())?;
                self.overlays(reads)
            }
        }
    }
}

/// Cells of the messages that a user has deleted for oneself.
fn hidden_read(mailbox: &Bytes, log_id: &LogId, from_seq: u64, to_seq: u64) -> CellsRead {
    let key = |seq: u64| Bytes::from([&log_id.as_bytes()[..], &seq.to_be_bytes()].concat());
    CellsRead {
        table: Table::Hidden as u8,
        partition: mailbox.clone(),
        prefix: log_id.to_bytes(),
        after: key(from_seq.saturating_sub(1)),
        until: to_seq.checked_add(1).map(key).unwrap_or_default(),
        rows_max: limits::RANGE_EVENTS_MAX,
    }
}

fn hidden_seqs(cells: &[(Bytes, Bytes)]) -> BTreeSet<u64> {
    let seq = |(clustering, _): &(Bytes, Bytes)| clustering.last_chunk::<8>().copied();
    cells
        .iter()
        .filter_map(seq)
        .map(u64::from_be_bytes)
        .collect()
}
