//! What tells a retry from another body under the same id.
//!
//! A fingerprint is taken of the message as bytes, so that fields unknown to this binary count.
//! Maps are the one thing that clients may write in another order when they retry; their entries
//! are summed rather than chained.

use bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

/// The tag of `heddle.v1.Message.metadata`, the only map of a message that clients fill.
const METADATA_TAG: u32 = 11;

/// FNV-1a, 64 bits: stable across releases; the only one to fool is the sender itself.
fn fnv(seed: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

/// The fingerprint of a `heddle.v1.Message` given as bytes; `kind` keeps other calls apart.
pub fn message(kind: u8, bytes: &[u8]) -> u64 {
    let mut rest = bytes;
    let mut chained = u64::from(kind);
    let mut summed = 0u64;
    while rest.has_remaining() {
        let field = rest;
        let Ok((tag, wire_type)) = decode_key(&mut rest) else {
            return fnv(chained, bytes);
        };
        if skip_field(wire_type, tag, &mut rest, DecodeContext::default()).is_err() {
            return fnv(chained, bytes);
        }
        let taken = &field[..field.len() - rest.len()];
        if tag == METADATA_TAG && wire_type == WireType::LengthDelimited {
            summed = summed.wrapping_add(fnv(0, taken));
        } else {
            chained = fnv(chained, taken);
        }
    }
    chained ^ summed.rotate_left(1)
}

/// The fingerprint of any other body.
pub fn opaque(kind: u8, bytes: &[u8]) -> u64 {
    fnv(u64::from(kind), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;
    use prost::Message as _;

    fn entry(key: &str) -> Vec<u8> {
        let message = v1::Message {
            metadata: [(key.into(), key.into())].into(),
            ..Default::default()
        };
        message.encode_to_vec()
    }

    #[test]
    fn the_order_of_a_map_does_not_matter() {
        let (a, b) = (entry("a"), entry("b"));
        assert_eq!(
            message(1, &[a.clone(), b.clone()].concat()),
            message(1, &[b, a].concat())
        );
    }

    #[test]
    fn another_text_or_another_kind_is_another_body() {
        let said = |text: &str| {
            let content = Some(v1::message::Content::Text(text.into()));
            v1::Message {
                content,
                ..Default::default()
            }
            .encode_to_vec()
        };
        assert_ne!(message(1, &said("a")), message(1, &said("b")));
        assert_ne!(message(1, &said("a")), message(2, &said("a")));
    }
}
