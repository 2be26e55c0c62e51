//! The one cell of a batch row: under which epoch it stands, the row itself, and what is to be
//! done again if its commit was cut short.
//!
//! One cell, since Cassandra repairs and merges cell by cell: two would let parts of two writes
//! stand beside each other. Pure.
//!
//! The row keeps the header of the owner that made it, for its nonce is in devices' resume tokens;
//! `ballot` is the epoch under which it was last written, and is what a take-over compares.
//!
//! Invariant: what [`decode`] returns is what [`encode`] was given under the same key, or it is an
//! error.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use heddle_proto::internal::Commit;
use prost::Message as _;

use crate::row::{self, Damage, Row, RowHeader};

const VERSION: u8 = 1;
/// Version, ballot, stamp, length of the row.
const HEADER_BYTES: usize = 1 + 8 + 8 + 4;
const CHECKSUM_BYTES: usize = 4;

/// A batch row as it lies in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The epoch under which it was last written as the log's end.
    pub ballot: u64,
    /// The write timestamp that its commit gave to the cells in `after`.
    pub stamp: i64,
    /// The row.
    pub row: Row,
    /// What its commit wrote to other rows once this one was committed: cells and blanks of this
    /// log. Done again by a take-over that finds this row last.
    pub after: Commit,
}

/// The value of a record.
pub fn encode(key: &[u8], record: &Record) -> Bytes {
    let Row {
        epoch,
        nonce,
        committed_head,
        ref events,
        ..
    } = record.row;
    let header = RowHeader {
        epoch,
        nonce,
        committed_head,
    };
    let row_len = row::encoded_len(events);
    let after_len = record.after.encoded_len();
    let mut buffer = BytesMut::with_capacity(HEADER_BYTES + row_len + after_len + CHECKSUM_BYTES);
    buffer.put_u8(VERSION);
    buffer.put_u64(record.ballot);
    buffer.put_i64(record.stamp);
    buffer.put_u32(row_len as u32);
    row::encode_into(&mut buffer, key, header, events);
    // Into memory: cannot fail.
    let _ = record.after.encode(&mut buffer);
    let checksum = crc32c::crc32c(&buffer[..HEADER_BYTES]);
    let checksum = crc32c::crc32c_append(checksum, &buffer[HEADER_BYTES + row_len..]);
    buffer.put_u32(checksum);
    buffer.freeze()
}

/// Reads a record; its events are slices of `value`.
pub fn decode(key: &[u8], value: &Bytes) -> Result<Record, Damage> {
    if value.len() < HEADER_BYTES + CHECKSUM_BYTES {
        return Err(Damage::Content("length"));
    }
    let (content, mut checksum) = value.split_at(value.len() - CHECKSUM_BYTES);
    let mut header = &content[..HEADER_BYTES];
    let version = header.get_u8();
    let (ballot, stamp) = (header.get_u64(), header.get_i64());
    let row_end = HEADER_BYTES.checked_add(header.get_u32() as usize);
    let row_end = row_end.filter(|&end| end <= content.len());
    let row_end = row_end.ok_or(Damage::Content("length of the row"))?;
    let found = crc32c::crc32c(&content[..HEADER_BYTES]);
    let found = crc32c::crc32c_append(found, &content[row_end..]);
    if found != checksum.get_u32() {
        return Err(Damage::Checksum);
    }
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let row = row::decode(key, &value.slice(HEADER_BYTES..row_end))?;
    let after = value.slice(row_end..content.len());
    let after = Commit::decode(after).map_err(|_| Damage::Content("list of cells"))?;
    Ok(Record {
        ballot,
        stamp,
        row,
        after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::ids::LogId;
    use heddle_proto::internal::{Blank, Cell};
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = (LogId, Record)> {
        let events = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6);
        let numbers = (1..u64::MAX / 2, any::<u64>(), any::<i64>(), any::<u64>());
        let parts = (any::<[u8; 16]>(), numbers, events, any::<bool>());
        parts.prop_map(|(log, (first_seq, ballot, stamp, nonce), events, cells)| {
            let log = LogId::from_wire(&log).unwrap();
            let row = Row {
                first_seq,
                committed_head: first_seq - 1,
                epoch: ballot / 2,
                nonce,
                events: events.into_iter().map(Bytes::from).collect(),
            };
            let mut after = Commit::default();
            if cells {
                after.cells.push(Cell {
                    table: 3,
                    value: Bytes::from_static(b"value"),
                    ..Cell::default()
                });
                after.blanks.push(Blank::default());
            }
            let record = Record {
                ballot,
                stamp,
                row,
                after,
            };
            (log, record)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read((log, record) in any_record()) {
            let key = row::key(&log, record.row.first_seq);
            prop_assert_eq!(decode(&key, &encode(&key, &record)), Ok(record));
        }

        #[test]
        fn a_flipped_bit_or_another_place_is_never_a_record(
            (log, record) in any_record(), bit in any::<prop::sample::Index>()
        ) {
            let key = row::key(&log, record.row.first_seq);
            let value = encode(&key, &record);
            let other = row::key(&log, record.row.first_seq + 1);
            prop_assert!(decode(&other, &value).is_err());
            let mut changed = value.to_vec();
            let bit = bit.index(changed.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&key, &changed.into()).is_err());
        }

        #[test]
        fn garbage_is_refused(value in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(decode(&[0; row::KEY_BYTES], &Bytes::from(value)).is_err());
        }
    }
}
