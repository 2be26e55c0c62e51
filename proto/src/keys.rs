//! Keys: partitions that one service writes and another reads, or that outlive a number of shards.
//!
//! Invariant: what is written under one of them is found by everybody under the same.

use crate::time::DAY_MS;
use bytes::Bytes;
use std::ops::Range;

/// Shards of earlier starts that are looked at, at least: one process that is started with fewer
/// cores has fewer shards.
const SHARDS_EVER_MIN: u32 = 64;

/// All shards that may have written, where there are so many now.
pub fn shards_ever(shard_count: u32) -> Range<u32> {
    0..shard_count.max(SHARDS_EVER_MIN)
}

/// The partition of what a shard sets aside on a day (counted from 1970): 12 bytes.
pub fn of_day(day: u64, shard: u32) -> Bytes {
    let parts = [&day.to_be_bytes()[..], &shard.to_be_bytes()];
    parts.concat().into()
}

/// The same at a time, in milliseconds since the Unix epoch.
pub fn of_day_at(time_ms: u64, shard: u32) -> Bytes {
    of_day(time_ms / DAY_MS, shard)
}
