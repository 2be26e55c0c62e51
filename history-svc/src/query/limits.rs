//! Bounds of what one query may bring, and hold in memory meanwhile, whatever it asks for.

use std::collections::BTreeSet;

/// Events of a range when the query does not say.
pub const RANGE_EVENTS_DEFAULT: usize = 1_000;
/// Events of a range at most.
pub const RANGE_EVENTS_MAX: usize = 10_000;
/// Bytes of an answer when the query does not say.
pub const BYTES_DEFAULT: usize = 1 << 20;
/// Bytes of an answer at most; an event is brought whole, however large.
pub const BYTES_MAX: usize = 8 << 20;
/// Entries of a mailbox when the query does not say.
pub const MAILBOX_ENTRIES_DEFAULT: usize = 1_000;
/// Entries of a mailbox at most.
pub const MAILBOX_ENTRIES_MAX: usize = 10_000;
/// Rows of a partition when the query does not say, and at most.
pub const PARTITION_ROWS_MAX: usize = 10_000;
/// Events of a tail at most.
pub const TAIL_EVENTS_MAX: usize = 100_000;

/// What was asked for, or the default for 0, within the bound.
pub fn clamp(asked: u32, default: usize, max: usize) -> usize {
    match asked {
        0 => default,
        asked => usize::try_from(asked).unwrap_or(max).min(max),
    }
}

/// Events whose bodies and overlays are read at once, while nothing is known of their size.
pub const CHUNK_FIRST: usize = 32;
/// Events whose bodies and overlays are read at once at most.
pub const CHUNK_MAX: usize = 256;
/// How much larger the next chunk may be.
const CHUNK_GROWTH: usize = 4;
/// Events between two wanted ones that are read rather than skipped.
const GAP_MAX: u64 = 2;

/// How many events to read next, when `bytes` of `bytes_max` are there, of which the last `chunk`
/// events were `chunk_bytes`.
pub fn next_chunk(chunk: usize, chunk_bytes: usize, bytes: usize, bytes_max: usize) -> usize {
    let average = chunk_bytes / chunk.max(1) + 1;
    let fitting = bytes_max.saturating_sub(bytes) / average;
    fitting.clamp(1, CHUNK_MAX.min(chunk.max(1) * CHUNK_GROWTH))
}

/// Ranges that cover the seqs, without long stretches that nobody wants.
pub fn spans(seqs: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for &seq in seqs {
        match spans.last_mut() {
            Some((_, end)) if seq - *end <= GAP_MAX + 1 => *end = seq,
            _ => spans.push((seq, seq)),
        }
    }
    spans
}
