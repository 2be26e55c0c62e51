//! Bounds of what one query may bring, whatever it asks for.

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
