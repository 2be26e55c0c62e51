//! Ids: of logs (conversations and mailboxes), of sends, and which shard owns a log.
//!
//! Derived ids are prefixes of SHA-256 over a named domain and length-prefixed parts, so that
//! concurrent creators agree and no two kinds of id meet.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fmt;

/// Most bytes of a user's or a device's id.
pub const NAME_BYTES_MAX: usize = 128;
/// How the ids of users begin that are Heddle's own: no token may be theirs, no request may name
/// them.
pub const RESERVED_PREFIX: &str = "heddle:";

/// What is said to those who name one.
pub const RESERVED_TEXT: &str = "must not begin with heddle:, as only Heddle's own users do";

/// Whether a user is Heddle's own.
pub fn is_reserved(user_id: &str) -> bool {
    user_id.starts_with(RESERVED_PREFIX)
}

/// Names a log: a conversation's, or a user's mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId([u8; 16]);

impl LogId {
    /// An id as it stands on the wire; `None` unless it has 16 bytes.
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The log of the direct conversation between two users, in whichever order they are named.
    pub fn direct(one: &str, other: &str) -> Self {
        let (low, high) = if one <= other {
            (one, other)
        } else {
            (other, one)
        };
        Self::derive(b"direct", &[low.as_bytes(), high.as_bytes()])
    }

    /// The log of the group that `creator` asked for with the id `request_id`.
    pub fn group(creator: &str, request_id: &[u8]) -> Self {
        Self::derive(b"group", &[creator.as_bytes(), request_id])
    }

    /// The log of a user's mailbox.
    pub fn mailbox(user_id: &str) -> Self {
        Self::derive(b"mailbox", &[user_id.as_bytes()])
    }

    /// The shard that owns this log, of `shard_count` shards.
    pub fn shard(&self, shard_count: u32) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d]) % shard_count.max(1)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The 16 bytes, to be put into a message.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    fn derive(domain: &[u8], parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"heddle/1/");
        hash.update(domain);
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The idempotency key of a call that makes something: a UUIDv7 (RFC 9562).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// An id as it stands on the wire; `None` unless it is a UUID of version 7.
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        let id: [u8; 16] = bytes.try_into().ok()?;
        (id[6] >> 4 == 7 && id[8] >> 6 == 0b10).then_some(Self(id))
    }

    /// A new id at a time, in milliseconds since the Unix epoch, with ten random bytes.
    pub fn mint(time_ms: u64, random: &[u8; 10]) -> Self {
        Self(
            uuid::Builder::from_unix_timestamp_millis(time_ms, random)
                .into_uuid()
                .into_bytes(),
        )
    }

    /// When the id was minted, in milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> u64 {
        let [a, b, c, d, e, f, ..] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The 16 bytes, to be put into a message.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_conversation_has_one_id_whoever_asks() {
        assert_eq!(LogId::direct("alice", "bob"), LogId::direct("bob", "alice"));
        assert_ne!(LogId::direct("a", "bc"), LogId::direct("ab", "c"));
    }

    #[test]
    fn a_minted_id_tells_its_time_and_its_version() {
        let id = MessageId::mint(1_700_000_000_123, &[0xff; 10]);
        assert_eq!(id.time_ms(), 1_700_000_000_123);
        assert_eq!(MessageId::from_wire(id.as_bytes()), Some(id));
    }

    #[test]
    fn what_is_no_uuid_of_version_7_is_refused() {
        assert_eq!(MessageId::from_wire(&[0; 16]), None);
        assert_eq!(MessageId::from_wire(b"short"), None);
    }

    #[test]
    fn only_ids_with_the_prefix_are_reserved() {
        assert!(is_reserved("heddle:") && is_reserved("heddle:canary:1:to"));
        assert!(!is_reserved("heddle") && !is_reserved("Heddle:x") && !is_reserved(""));
    }

    #[test]
    fn shards_are_within_their_count() {
        for name in ["a", "b", "c", "d"] {
            assert!(LogId::mailbox(name).shard(3) < 3);
        }
    }
}
