//! One cell of a projection table, as it lies on disk.
//!
//! Key: table, length of the partition, partition, clustering key; so that the cells of one
//! partition lie together, ordered by clustering key, byte by byte. Table 0 is the store's own:
//! the count of commits and the epochs.
//!
//! Invariant: two different (table, partition, clustering) never share a key, and no partition's
//! prefix is the prefix of another's.

use bytes::{BufMut, Bytes, BytesMut};

use crate::row::Damage;

/// Keys of engines end at 64 KiB; ours stay far below.
pub const KEY_BYTES_MAX: usize = 4096;
/// Table and length of the partition.
const PREFIX_BYTES: usize = 1 + 2;
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// Where a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellKey<'a> {
    /// The table's number in the protocol; 0: the store's own.
    pub table: u8,
    /// What is read together.
    pub partition: &'a [u8],
    /// The place within the partition.
    pub clustering: &'a [u8],
}

impl CellKey<'_> {
    /// How many bytes the key takes.
    pub fn encoded_len(&self) -> usize {
        PREFIX_BYTES + self.partition.len() + self.clustering.len()
    }

    /// Appends the key to a buffer that many records share.
    pub fn encode_into(&self, buffer: &mut BytesMut) {
        buffer.put_u8(self.table);
        buffer.put_u16(self.partition.len() as u16);
        buffer.put_slice(self.partition);
        buffer.put_slice(self.clustering);
    }

    /// The key in a buffer of its own.
    pub fn to_bytes(&self) -> Bytes {
        let mut buffer = BytesMut::with_capacity(self.encoded_len());
        self.encode_into(&mut buffer);
        buffer.freeze()
    }
}

/// Takes a key apart.
pub fn parse_key(key: &[u8]) -> Result<CellKey<'_>, Damage> {
    let (prefix, rest) = key
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or(Damage::Content("key"))?;
    let partition_len = usize::from(u16::from_be_bytes([prefix[1], prefix[2]]));
    let split = rest
        .split_at_checked(partition_len)
        .ok_or(Damage::Content("key"))?;
    Ok(CellKey {
        table: prefix[0],
        partition: split.0,
        clustering: split.1,
    })
}

/// How many bytes a value takes on disk.
pub fn value_len(value: &[u8]) -> usize {
    1 + value.len() + CHECKSUM_BYTES
}

/// Appends a value to a buffer whose end, from `key_at`, is its key; the checksum covers both.
pub fn encode_value(buffer: &mut BytesMut, key_at: usize, value: &[u8]) {
    buffer.put_u8(VERSION);
    buffer.put_slice(value);
    let checksum = crc32c::crc32c(&buffer[key_at..]);
    buffer.put_u32(checksum);
}

/// Reads a value; a slice of `stored`, not a copy.
pub fn decode_value(key: &[u8], stored: &Bytes) -> Result<Bytes, Damage> {
    let end = stored
        .len()
        .checked_sub(CHECKSUM_BYTES)
        .filter(|&end| end >= 1);
    let end = end.ok_or(Damage::Content("length"))?;
    let (content, checksum) = stored.split_at(end);
    let found = crc32c::crc32c_append(crc32c::crc32c(key), content);
    if checksum != found.to_be_bytes() {
        return Err(Damage::Checksum);
    }
    if content[0] != VERSION {
        return Err(Damage::Version(content[0]));
    }
    Ok(stored.slice(1..end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..24)
    }

    proptest! {
        #[test]
        fn keys_and_values_come_back(
            table in any::<u8>(), partition in bytes(), clustering in bytes(), value in bytes()
        ) {
            let key = CellKey { table, partition: &partition, clustering: &clustering };
            let encoded = key.to_bytes();
            prop_assert_eq!(encoded.len(), key.encoded_len());
            prop_assert_eq!(parse_key(&encoded), Ok(key));
            let mut buffer = BytesMut::from(&encoded[..]);
            encode_value(&mut buffer, 0, &value);
            let stored = buffer.freeze().slice(encoded.len()..);
            prop_assert_eq!(stored.len(), value_len(&value));
            prop_assert_eq!(decode_value(&encoded, &stored), Ok(Bytes::from(value)));
        }

        #[test]
        fn a_flipped_bit_is_never_a_value(value in bytes(), bit in any::<prop::sample::Index>()) {
            let mut buffer = BytesMut::from(&b"key"[..]);
            encode_value(&mut buffer, 0, &value);
            let bit = bit.index(buffer.len() * 8);
            buffer[bit / 8] ^= 1 << (bit % 8);
            let key = buffer.split_to(3);
            prop_assert!(decode_value(&key, &buffer.freeze()).is_err());
        }

        #[test]
        fn partitions_never_overlap(a in bytes(), b in bytes(), clustering in bytes()) {
            prop_assume!(a != b);
            let prefix = CellKey { table: 3, partition: &a, clustering: &[] }.to_bytes();
            let other = CellKey { table: 3, partition: &b, clustering: &clustering }.to_bytes();
            prop_assert!(!other.starts_with(&prefix));
        }
    }
}
