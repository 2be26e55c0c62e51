//! Overlays: what became of messages, laid over their stored events.
//!
//! The fold of a message's overlay rows is appended to its bytes. Of an erased message, and of what
//! edited it, the body is cut out here too, whether or not the row has been blanked yet.
//!
//! Invariant: once an erasure is in the store, no event leaves here with the body of its target.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes, BytesMut};
use heddle_proto::ids::LogId;
use heddle_proto::internal::{OverlayRow, Table, overlay_row};
use heddle_proto::v1::{EventOverlay, ReactionState};
use prost::Message as _;

use super::limits;
use crate::event::{self, Kind, Outline};
use crate::store::{CellsRead, ReadError, StoreAnswer, StoreRead};

/// Messages whose overlays lie in one partition.
pub const BUCKET_SEQS: u64 = 1024;
/// Overlay rows per read; a partition with more is read in several.
const CELLS_MAX: usize = 10_000;
/// `heddle.v1.EventOverlay.edited`.
const EDITED: u32 = 1;

/// What became of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Erased for everyone.
    pub erased: bool,
    /// `EventOverlay`, encoded.
    pub bytes: Bytes,
}

/// What became of the messages of one conversation, as far as it was read.
#[derive(Debug, Default)]
pub struct Overlays(BTreeMap<u64, Overlay>);

/// The reads that bring the overlays of some messages, and what they have brought.
#[derive(Debug)]
pub struct OverlayReads {
    log_id: LogId,
    /// Still to be read.
    open: Vec<CellsRead>,
    rows: BTreeMap<u64, Vec<OverlayRow>>,
}

impl OverlayReads {
    /// Plans the reads for these targets; neighbouring ones share a read.
    pub fn new(log_id: LogId, targets: &BTreeSet<u64>) -> Self {
        let mut open = Vec::new();
        for (first, last) in limits::spans(targets) {
            for bucket in first / BUCKET_SEQS..=last / BUCKET_SEQS {
                open.push(CellsRead {
                    table: Table::Overlays as u8,
                    partition: partition(&log_id, bucket),
                    prefix: Bytes::new(),
                    after: be64(first),
                    until: last.checked_add(1).map(be64).unwrap_or_default(),
                    rows_max: CELLS_MAX,
                });
            }
        }
        Self {
            log_id,
            open,
            rows: BTreeMap::new(),
        }
    }

    /// What is to be read next; empty: all is there.
    pub fn wants(&self) -> impl Iterator<Item = StoreRead> + '_ {
        self.open.iter().cloned().map(StoreRead::Cells)
    }

    /// How many reads [`Self::wants`] names.
    pub fn wants_len(&self) -> usize {
        self.open.len()
    }

    /// Takes the results of what it wanted.
    pub fn take(&mut self, results: impl Iterator<Item = StoreAnswer>) -> Result<(), ReadError> {
        let asked = std::mem::take(&mut self.open);
        for (mut read, result) in asked.into_iter().zip(results) {
            let StoreAnswer::Cells { cells, more } = result else {
                continue;
            };
            if let Some((last, _)) = cells.last().filter(|_| more) {
                read.after = last.clone();
                self.open.push(read);
            }
            for (_, value) in cells {
                let row = OverlayRow::decode(value).map_err(|error| {
                    ReadError::DataLoss(format!("an overlay of log {}: {error}", self.log_id))
                })?;
                self.rows.entry(row.target_seq).or_default().push(row);
            }
        }
        Ok(())
    }

    /// Folds what was read.
    pub fn finish(self) -> Overlays {
        let fold = |(seq, rows): (u64, Vec<OverlayRow>)| (seq, fold(&rows));
        Overlays(self.rows.into_iter().map(fold).collect())
    }
}

impl Overlays {
    /// Adds what was read later.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The event as a reader may see it. Overlays of its target must have been read.
    pub fn apply(&self, event: &Bytes, outline: &Outline) -> Result<Bytes, ReadError> {
        let target_seq = match outline.kind {
            Kind::Message => outline.seq,
            Kind::Edit { target_seq } => target_seq,
            Kind::Other => return Ok(event.clone()),
        };
        let Some(overlay) = self.0.get(&target_seq) else {
            return Ok(event.clone());
        };
        let mut event = event.clone();
        if overlay.erased {
            event = event::blanked(&event).map_err(malformed)?.unwrap_or(event);
        }
        if outline.kind == Kind::Message {
            event = event::with_overlay(&event, &overlay.bytes);
        }
        Ok(event)
    }
}

/// The message whose overlay decides how this event is shown.
pub fn target(outline: &Outline) -> Option<u64> {
    match outline.kind {
        Kind::Message => Some(outline.seq),
        Kind::Edit { target_seq } => Some(target_seq),
        Kind::Other => None,
    }
}

/// An event in the store that is none.
pub fn malformed(error: event::Malformed) -> ReadError {
    ReadError::DataLoss(format!("a stored event is {error}"))
}

/// The partition of a conversation's overlays.
pub fn partition(log_id: &LogId, bucket: u64) -> Bytes {
    [&log_id.as_bytes()[..], &bucket.to_be_bytes()]
        .concat()
        .into()
}

fn be64(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// All that happened to one message, as a reader gets it. Nothing is left of an erased one.
fn fold(rows: &[OverlayRow]) -> Overlay {
    let mut overlay = EventOverlay::default();
    let (mut edited, mut edit_seq) = (None, 0);
    for row in rows {
        match &row.kind {
            Some(overlay_row::Kind::Erased(erased)) => overlay.erased |= erased,
            Some(overlay_row::Kind::Edited(message)) if row.seq >= edit_seq => {
                (edited, edit_seq) = (Some((message, row.time_ms)), row.seq);
            }
            Some(overlay_row::Kind::Reaction(reaction)) if !reaction.removed => {
                let (user_id, key) = (reaction.user_id.clone(), reaction.key.clone());
                overlay.reactions.push(ReactionState { user_id, key });
            }
            _ => {}
        }
    }
    if overlay.erased {
        let bytes = EventOverlay {
            erased: true,
            ..EventOverlay::default()
        }
        .encode_to_vec();
        return Overlay {
            erased: true,
            bytes: bytes.into(),
        };
    }
    let mut bytes = BytesMut::new();
    if let Some((message, time_ms)) = edited {
        overlay.edit_seq = edit_seq;
        overlay.edit_time = Some(heddle_proto::time::timestamp(time_ms));
        event::put_bytes(&mut bytes, EDITED, message.chunk());
    }
    bytes.extend_from_slice(&overlay.encode_to_vec());
    Overlay {
        erased: false,
        bytes: bytes.freeze(),
    }
}
