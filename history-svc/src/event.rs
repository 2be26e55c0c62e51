//! Looks into stored events, and blanks them, without decoding their content.
//!
//! Works on the protobuf wire of `heddle.v1.Event`, so that fields of newer versions survive.
//! Pure.
//!
//! Invariant: blanking changes nothing but the body. Ids, seq, ordinal, time and sender stay as
//! they were, to the byte.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use heddle_proto::ERASED_MESSAGE;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};

/// Fields of `heddle.v1.Event`; a test holds them to the generated type.
const SEQ: u32 = 2;
const CREATE_TIME: u32 = 4;
const MESSAGE: u32 = 10;
const EDIT: u32 = 11;
const OVERLAY: u32 = 20;
/// Field of `heddle.v1.Edit`.
const EDIT_TARGET_SEQ: u32 = 1;
const EDIT_MESSAGE: u32 = 2;

/// The bytes are not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf of heddle.v1.Event")]
pub struct Malformed;

/// What of an event decides how it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Its seq.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What kind, as far as reading cares.
    pub kind: Kind,
}

/// Kinds of event, as far as reading cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A message: it may have been edited, reacted to, erased.
    Message,
    /// An edit: its body goes when its target is erased.
    Edit {
        /// The message.
        target_seq: u64,
    },
    /// Anything else.
    #[default]
    Other,
}

/// Reads seq, time and kind.
pub fn outline(event: &[u8]) -> Result<Outline, Malformed> {
    let mut outline = Outline::default();
    for field in Fields(event) {
        let (tag, value) = field?;
        match (tag, value) {
            (SEQ, Value::Varint(seq)) => outline.seq = seq,
            (CREATE_TIME, Value::Bytes(time)) => outline.time_ms = timestamp_ms(time)?,
            (MESSAGE, _) => outline.kind = Kind::Message,
            (EDIT, Value::Bytes(edit)) => {
                let target_seq = varint_field(edit, EDIT_TARGET_SEQ)?;
                outline.kind = Kind::Edit { target_seq };
            }
            _ => {}
        }
    }
    Ok(outline)
}

/// The event with an erased body; `None` if it has no body that could be erased.
pub fn blanked(event: &[u8]) -> Result<Option<Bytes>, Malformed> {
    let mut kept = BytesMut::with_capacity(event.len());
    let mut body = None;
    let mut rest = event;
    while !rest.is_empty() {
        let before = rest;
        let (tag, value) = next_field(&mut rest)?;
        match (tag, value) {
            (MESSAGE, Value::Bytes(_)) => {
                body = Some((MESSAGE, Bytes::from_static(&ERASED_MESSAGE)))
            }
            (EDIT, Value::Bytes(edit)) => body = Some((EDIT, blanked_edit(edit)?)),
            _ => kept.put_slice(&before[..before.len() - rest.len()]),
        }
    }
    let Some((tag, body)) = body else {
        return Ok(None);
    };
    put_bytes(&mut kept, tag, &body);
    Ok(Some(kept.freeze()))
}

/// The event with `heddle.v1.EventOverlay` bytes appended; concatenation is merging in protobuf.
pub fn with_overlay(event: &[u8], overlay: &[u8]) -> Bytes {
    let mut buffer = BytesMut::with_capacity(event.len() + overlay.len() + 8);
    buffer.put_slice(event);
    put_bytes(&mut buffer, OVERLAY, overlay);
    buffer.freeze()
}

/// Appends a length-delimited field.
pub fn put_bytes(buffer: &mut BytesMut, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(bytes.len() as u64, buffer);
    buffer.put_slice(bytes);
}

fn blanked_edit(edit: &[u8]) -> Result<Bytes, Malformed> {
    let mut kept = BytesMut::with_capacity(edit.len().min(64));
    let mut rest = edit;
    while !rest.is_empty() {
        let before = rest;
        let (tag, _) = next_field(&mut rest)?;
        if tag != EDIT_MESSAGE {
            kept.put_slice(&before[..before.len() - rest.len()]);
        }
    }
    put_bytes(&mut kept, EDIT_MESSAGE, &ERASED_MESSAGE);
    Ok(kept.freeze())
}

fn timestamp_ms(time: &[u8]) -> Result<u64, Malformed> {
    let (seconds, nanos) = (varint_field(time, 1)?, varint_field(time, 2)?);
    Ok(seconds
        .saturating_mul(1000)
        .saturating_add(nanos / 1_000_000))
}

fn varint_field(message: &[u8], wanted: u32) -> Result<u64, Malformed> {
    let mut found = 0;
    for field in Fields(message) {
        if let (tag, Value::Varint(value)) = field?
            && tag == wanted
        {
            found = value;
        }
    }
    Ok(found)
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = next_field(&mut self.0);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Value<'a>), Malformed> {
    let (tag, wire_type) = decode_key(rest).map_err(|_| Malformed)?;
    let value = match wire_type {
        WireType::Varint => Value::Varint(decode_varint(rest).map_err(|_| Malformed)?),
        WireType::LengthDelimited => {
            let length = decode_varint(rest).map_err(|_| Malformed)?;
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed)?;
            *rest = after;
            Value::Bytes(bytes)
        }
        other => {
            skip_field(other, tag, rest, DecodeContext::default()).map_err(|_| Malformed)?;
            Value::Fixed
        }
    };
    debug_assert!(rest.remaining() <= isize::MAX as usize);
    Ok((tag, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::v1::{
        Edit, Erased, Event, EventOverlay, Message, Reaction, event::Kind as EventKind,
        message::Content,
    };
    use prost::Message as _;

    fn message(text: &str) -> Message {
        let metadata = [("secret".to_owned(), text.to_owned())].into();
        Message {
            content: Some(Content::Text(text.to_owned())),
            fallback_text: text.to_owned(),
            metadata,
            ..Message::default()
        }
    }

    fn event(kind: EventKind) -> Event {
        Event {
            conversation_id: Bytes::from_static(&[7; 16]),
            seq: 42,
            ordinal: 40,
            create_time: Some(heddle_proto::time::timestamp(1_700_000_000_123)),
            sender: "alice".to_owned(),
            client_message_id: Bytes::from_static(&[9; 16]),
            kind: Some(kind),
            ..Event::default()
        }
    }

    /// A newer version's field, number 99.
    fn encoded_with_unknown_field(event: &Event) -> Vec<u8> {
        let mut bytes = event.encode_to_vec();
        let mut unknown = BytesMut::new();
        put_bytes(&mut unknown, 99, b"from the future");
        bytes.extend_from_slice(&unknown);
        bytes
    }

    #[test]
    fn outlines_tell_seq_time_and_kind() {
        let of = |kind| outline(&encoded_with_unknown_field(&event(kind))).unwrap();
        let said = of(EventKind::Message(message("hello")));
        assert_eq!((said.seq, said.time_ms), (42, 1_700_000_000_123));
        assert_eq!(said.kind, Kind::Message);
        let edit = Edit {
            target_seq: 41,
            message: Some(message("better")),
        };
        assert_eq!(
            of(EventKind::Edit(edit)).kind,
            Kind::Edit { target_seq: 41 }
        );
        assert_eq!(
            of(EventKind::Reaction(Reaction::default())).kind,
            Kind::Other
        );
    }

    #[test]
    fn a_blanked_message_keeps_all_but_its_body() {
        let said = event(EventKind::Message(message("canary")));
        let blank = blanked(&encoded_with_unknown_field(&said))
            .unwrap()
            .unwrap();
        assert!(!blank.windows(6).any(|window| window == b"canary"));
        assert!(blank.windows(15).any(|window| window == b"from the future"));
        let erased = Message {
            content: Some(Content::Erased(Erased {})),
            ..Message::default()
        };
        let expected = Event {
            kind: Some(EventKind::Message(erased)),
            ..said
        };
        assert_eq!(Event::decode(blank.clone()).unwrap(), expected);
        assert_eq!(blanked(&blank).unwrap().unwrap(), blank, "twice is as once");
    }

    #[test]
    fn a_blanked_edit_keeps_its_target() {
        let edit = Edit {
            target_seq: 41,
            message: Some(message("canary")),
        };
        let bytes = event(EventKind::Edit(edit)).encode_to_vec();
        let blank = blanked(&bytes).unwrap().unwrap();
        assert!(!blank.windows(6).any(|window| window == b"canary"));
        let Some(EventKind::Edit(edit)) = Event::decode(blank).unwrap().kind else {
            panic!("still an edit")
        };
        assert_eq!(edit.target_seq, 41);
        assert_eq!(
            edit.message.unwrap().content,
            Some(Content::Erased(Erased {}))
        );
    }

    #[test]
    fn what_has_no_body_stays() {
        let reaction = event(EventKind::Reaction(Reaction::default())).encode_to_vec();
        assert_eq!(blanked(&reaction), Ok(None));
    }

    #[test]
    fn an_overlay_is_merged_by_concatenation() {
        let overlay = EventOverlay {
            edit_seq: 50,
            ..EventOverlay::default()
        };
        let said = event(EventKind::Message(message("hello")));
        let both = with_overlay(&said.encode_to_vec(), &overlay.encode_to_vec());
        let expected = Event {
            overlay: Some(overlay),
            ..said
        };
        assert_eq!(Event::decode(both).unwrap(), expected);
    }

    #[test]
    fn cut_events_are_malformed_or_shorter_never_a_panic() {
        let bytes = event(EventKind::Message(message("hello"))).encode_to_vec();
        for end in 0..bytes.len() {
            let _any_answer_will_do = (outline(&bytes[..end]), blanked(&bytes[..end]));
        }
    }
}
