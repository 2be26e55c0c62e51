//! One row of a log, as it lies on disk: some consecutive events of one owner.
//!
//! The embedded backend stores rows, the queries above the trait read them. Pure; knows no
//! engine.
//!
//! Invariant: what [`decode`] returns is what [`encode_into`] was given, under the same key; a row
//! with any bit changed, or found under another key, is an error and never a row.

use bytes::{BufMut, Bytes, BytesMut};
use heddle_proto::ids::LogId;

/// Events of one row at most; less than a bucket of Cassandra's, so that none stays empty between
/// others.
pub const ROW_EVENTS_MAX: usize = 1_024;
/// Bytes of one row at most; a mutation is bounded by half a segment of Cassandra's commit log.
pub const ROW_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Length of a row's key: the log and the first seq, big-endian, so that rows sort by seq.
pub const KEY_BYTES: usize = 24;

/// The only layout so far; a reader refuses others rather than guess.
const VERSION: u8 = 1;
/// Version, epoch, nonce, committed head, count of events.
const HEADER_BYTES: usize = 1 + 8 + 8 + 8 + 4;
const CHECKSUM_BYTES: usize = 4;
const LENGTH_BYTES: usize = 4;

/// Events that are stored, and survive, together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// seq of the first event.
    pub first_seq: u64,
    /// Greatest seq known to be committed when the row was written.
    pub committed_head: u64,
    /// The epoch under which it was written.
    pub epoch: u64,
    /// The incarnation of the owner that wrote it.
    pub nonce: u64,
    /// The events, as every wire carries them; never empty.
    pub events: Vec<Bytes>,
}

impl Row {
    /// seq of the last event.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.events.len() as u64 - 1
    }

    /// Where in the row the event with this seq is, if the row holds it.
    pub fn index(&self, seq: u64) -> Option<usize> {
        let index = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        (index < self.events.len()).then_some(index)
    }

    /// The event with this seq, if the row holds it.
    pub fn event(&self, seq: u64) -> Option<&Bytes> {
        self.events.get(self.index(seq)?)
    }
}

/// Everything of a row but its events and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowHeader {
    /// The epoch under which it was written.
    pub epoch: u64,
    /// The incarnation of the owner that wrote it.
    pub nonce: u64,
    /// Greatest seq known to be committed when the row was written.
    pub committed_head: u64,
}

/// A record on disk is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The checksum over key and value differs.
    #[error("its checksum does not match: bytes on the disk have changed")]
    Checksum,
    /// A layout that this version does not know.
    #[error("its layout is version {0}, which this version does not read: use a newer one")]
    Version(u8),
    /// The checksum holds but the content makes no sense.
    #[error("its {0} makes no sense")]
    Content(&'static str),
}

/// The key of a row.
pub fn key(log_id: &LogId, first_seq: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..16].copy_from_slice(log_id.as_bytes());
    key[16..].copy_from_slice(&first_seq.to_be_bytes());
    key
}

/// The log and the first seq that a key names.
pub fn parse_key(key: &[u8]) -> Result<(LogId, u64), Damage> {
    let (log_id, seq) = key.split_at_checked(16).ok_or(Damage::Content("key"))?;
    let log_id = LogId::from_wire(log_id).ok_or(Damage::Content("key"))?;
    let seq = <[u8; 8]>::try_from(seq).map_err(|_| Damage::Content("key"))?;
    Ok((log_id, u64::from_be_bytes(seq)))
}

/// How many bytes the value of these events takes.
pub fn encoded_len(events: &[Bytes]) -> usize {
    let bodies: usize = events.iter().map(Bytes::len).sum();
    HEADER_BYTES + events.len() * LENGTH_BYTES + bodies + CHECKSUM_BYTES
}

/// Appends the value of a row to a buffer that many rows share.
pub fn encode_into(buffer: &mut BytesMut, key: &[u8], header: RowHeader, events: &[Bytes]) {
    let start = buffer.len();
    buffer.put_u8(VERSION);
    buffer.put_u64(header.epoch);
    buffer.put_u64(header.nonce);
    buffer.put_u64(header.committed_head);
    buffer.put_u32(events.len() as u32);
    for event in events {
        buffer.put_u32(event.len() as u32);
    }
    for event in events {
        buffer.put_slice(event);
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(key), &buffer[start..]);
    buffer.put_u32(checksum);
}

/// Reads a row; the events are slices of `value`, not copies.
pub fn decode(key: &[u8], value: &Bytes) -> Result<Row, Damage> {
    let (_, first_seq) = parse_key(key)?;
    let header = verify(key, value)?;
    let count = read_u32(value, HEADER_BYTES - 4) as usize;
    let mut length_at = HEADER_BYTES;
    let mut body_at = HEADER_BYTES + count.saturating_mul(LENGTH_BYTES);
    let bodies_end = value.len() - CHECKSUM_BYTES;
    if count == 0 || body_at > bodies_end || first_seq.checked_add(count as u64).is_none() {
        return Err(Damage::Content("count of events"));
    }
    let mut events = Vec::with_capacity(count);
    for _ in 0..count {
        let end = body_at + read_u32(value, length_at) as usize;
        if end > bodies_end {
            return Err(Damage::Content("length of an event"));
        }
        events.push(value.slice(body_at..end));
        (length_at, body_at) = (length_at + LENGTH_BYTES, end);
    }
    if body_at != bodies_end {
        return Err(Damage::Content("length"));
    }
    let RowHeader {
        epoch,
        nonce,
        committed_head,
    } = header;
    Ok(Row {
        first_seq,
        committed_head,
        epoch,
        nonce,
        events,
    })
}

/// The last seq and the header of a row, without taking its events apart.
pub fn decode_head(key: &[u8], value: &[u8]) -> Result<(u64, RowHeader), Damage> {
    let (_, first_seq) = parse_key(key)?;
    let header = verify(key, value)?;
    let count = u64::from(read_u32(value, HEADER_BYTES - 4));
    let last_seq = first_seq
        .checked_add(count)
        .and_then(|end| end.checked_sub(1));
    Ok((last_seq.ok_or(Damage::Content("count of events"))?, header))
}

fn verify(key: &[u8], value: &[u8]) -> Result<RowHeader, Damage> {
    if value.len() < HEADER_BYTES + CHECKSUM_BYTES {
        return Err(Damage::Content("length"));
    }
    let (content, _) = value.split_at(value.len() - CHECKSUM_BYTES);
    let expected = read_u32(value, content.len());
    if crc32c::crc32c_append(crc32c::crc32c(key), content) != expected {
        return Err(Damage::Checksum);
    }
    if value[0] != VERSION {
        return Err(Damage::Version(value[0]));
    }
    Ok(RowHeader {
        epoch: read_u64(value, 1),
        nonce: read_u64(value, 9),
        committed_head: read_u64(value, 17),
    })
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(key: &[u8], header: RowHeader, events: &[Bytes]) -> Bytes {
        let mut buffer = BytesMut::from(&b"the row of another log"[..]);
        let start = buffer.len();
        encode_into(&mut buffer, key, header, events);
        assert_eq!(buffer.len() - start, encoded_len(events));
        buffer.freeze().slice(start..)
    }

    fn any_log() -> impl Strategy<Value = LogId> {
        any::<[u8; 16]>().prop_map(|bytes| LogId::from_wire(&bytes).unwrap())
    }

    fn any_row() -> impl Strategy<Value = (LogId, Row)> {
        let events = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..12);
        let numbers = (1..u64::MAX / 2, any::<u64>(), any::<u64>(), any::<u64>());
        (any_log(), numbers, events).prop_map(|(log_id, numbers, events)| {
            let (first_seq, committed_head, epoch, nonce) = numbers;
            let events = events.into_iter().map(Bytes::from).collect();
            (
                log_id,
                Row {
                    first_seq,
                    committed_head,
                    epoch,
                    nonce,
                    events,
                },
            )
        })
    }

    fn header_of(row: &Row) -> RowHeader {
        let Row {
            epoch,
            nonce,
            committed_head,
            ..
        } = *row;
        RowHeader {
            epoch,
            nonce,
            committed_head,
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read((log_id, row) in any_row()) {
            let key = key(&log_id, row.first_seq);
            let value = encoded(&key, header_of(&row), &row.events);
            prop_assert_eq!(decode(&key, &value), Ok(row.clone()));
            prop_assert_eq!(decode_head(&key, &value), Ok((row.last_seq(), header_of(&row))));
        }

        #[test]
        fn a_flipped_bit_is_never_a_row(
            (log_id, row) in any_row(), bit in any::<prop::sample::Index>()
        ) {
            let key = key(&log_id, row.first_seq);
            let mut value = encoded(&key, header_of(&row), &row.events).to_vec();
            let bit = bit.index(value.len() * 8);
            value[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&key, &Bytes::from(value)).is_err());
        }

        #[test]
        fn a_cut_or_misplaced_row_is_never_a_row((log_id, row) in any_row(), cut in 1usize..20) {
            let found = key(&log_id, row.first_seq);
            let value = encoded(&found, header_of(&row), &row.events);
            prop_assert!(decode(&found, &value.slice(..value.len().saturating_sub(cut))).is_err());
            prop_assert!(decode(&key(&log_id, row.first_seq + 1), &value).is_err());
        }

        #[test]
        fn garbage_is_refused(
            key in any::<[u8; KEY_BYTES]>(), value in prop::collection::vec(any::<u8>(), 0..80)
        ) {
            prop_assert!(decode(&key, &Bytes::from(value)).is_err());
        }
    }
}
