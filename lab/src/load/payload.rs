//! A message's body: who sent it when, readable by any recipient in the same process.
//!
//! Invariant: ASCII without control characters, so that it passes as text; of exactly the
//! planned length.

use bytes::Bytes;

/// The instant's hex digits, and one to tell a body of ours from another.
pub const PAYLOAD_BYTES_MIN: usize = 17;

const MARK: u8 = b'@';
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A body of `length` bytes that carries an instant, in nanoseconds of the run's clock.
pub fn encode(due_ns: u64, length: usize) -> Bytes {
    let mut body = vec![b'.'; length.max(PAYLOAD_BYTES_MIN)];
    body[0] = MARK;
    for (index, digit) in body[1..PAYLOAD_BYTES_MIN].iter_mut().enumerate() {
        *digit = HEX[(due_ns >> (60 - 4 * index)) as usize & 15];
    }
    body.into()
}

/// The instant, or none for a body that is not from this driver.
pub fn decode(body: &[u8]) -> Option<u64> {
    let digits = body.strip_prefix(&[MARK])?.get(..PAYLOAD_BYTES_MIN - 1)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(due_ns in any::<u64>(), length in 0..200usize) {
            let body = encode(due_ns, length);
            prop_assert_eq!(decode(&body), Some(due_ns));
            prop_assert_eq!(body.len(), length.max(PAYLOAD_BYTES_MIN));
            prop_assert!(body.iter().all(u8::is_ascii_graphic));
        }

        #[test]
        fn anything_else_is_refused_without_panic(
            body in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let _ = decode(&body);
        }
    }
}
