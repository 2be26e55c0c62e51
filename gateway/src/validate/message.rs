//! Message: the bounds of what is said, looked at in its bytes.
//!
//! The bytes go on as they are; nothing is encoded again. A plain text, which is nearly every
//! message, is judged without building a `Message` from it.
//!
//! Invariant: a message that passes decodes as `heddle.v1.Message` everywhere.

use super::{At, Rules};
use bytes::Buf;
use heddle_proto::{
    errors::Fault,
    ids::NAME_BYTES_MAX,
    v1::{self, ErrorReason, message::Content},
};
use prost::{
    Message as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

const FALLBACK_CHARS_MAX: usize = 1_000;
const METADATA_ENTRIES_MAX: usize = 32;
const METADATA_BYTES_MAX: usize = 4 * 1024;
const MENTIONS_MAX: usize = 100;
const CUSTOM_BYTES_MAX: usize = 64 * 1024;
const SYSTEM_ENTRIES_MAX: usize = 32;
/// What a message may have in all beside its text, in bytes; bounds fields that we do not know.
const BESIDE_TEXT_BYTES_MAX: usize = 128 * 1024;

/// Whom a message mentions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Users, each once.
    pub user_ids: Vec<String>,
    /// Everybody.
    pub all: bool,
}

impl Rules<'_> {
    /// Judges a `heddle.v1.Message` given as bytes; `trusted` callers may speak for the product.
    pub fn message(&self, at: At, bytes: &[u8], trusted: bool) -> Result<Mentions, Fault> {
        let bytes_max = self.limits.text_bytes_max as usize + BESIDE_TEXT_BYTES_MAX;
        at.bytes("message", bytes.len(), 1, bytes_max)?;
        if let Some(text) = plain_text(bytes) {
            self.text(at, text)?;
            return Ok(Mentions::default());
        }
        let message = v1::Message::decode(bytes)
            .map_err(|_| at.fault("message", "is not a heddle.v1.Message; texts must be UTF-8"))?;
        self.content(at, &message, trusted)?;
        at.chars(
            "message.fallback_text",
            &message.fallback_text,
            FALLBACK_CHARS_MAX,
        )?;
        map(
            at,
            "message.metadata",
            &message.metadata,
            METADATA_ENTRIES_MAX,
        )?;
        at.seq_or_none("message.reply_to_seq", message.reply_to_seq)?;
        at.seq_or_none("message.thread_root_seq", message.thread_root_seq)?;
        time(at, "message.expire_time", &message.expire_time)?;
        time(at, "message.client_time", &message.client_time)?;
        mentions(at, &message)
    }

    fn text(&self, at: At, text: &[u8]) -> Result<(), Fault> {
        const FIELD: &str = "message.text";
        at.bytes(FIELD, text.len(), 1, self.limits.text_bytes_max as usize)?;
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(at.fault(FIELD, "must be UTF-8"));
        };
        at.chars(FIELD, text, self.limits.text_chars_max as usize)
    }

    fn content(&self, at: At, message: &v1::Message, trusted: bool) -> Result<(), Fault> {
        match &message.content {
            Some(Content::Text(text)) => self.text(at, text.as_bytes()),
            Some(Content::Custom(custom)) => {
                at.bytes(
                    "message.custom.type",
                    custom.r#type.len(),
                    1,
                    NAME_BYTES_MAX,
                )?;
                at.bytes(
                    "message.custom.payload",
                    custom.payload.len(),
                    0,
                    CUSTOM_BYTES_MAX,
                )
            }
            Some(Content::System(system)) if trusted => {
                at.bytes(
                    "message.system.type",
                    system.r#type.len(),
                    1,
                    NAME_BYTES_MAX,
                )?;
                map(
                    at,
                    "message.system.arguments",
                    &system.arguments,
                    SYSTEM_ENTRIES_MAX,
                )
            }
            Some(Content::System(_)) => Err(at.fault(
                "message.system",
                "only services of the product may say this",
            )),
            Some(Content::Erased(_)) => {
                Err(at.fault("message.erased", "cannot be sent; use EraseMessage"))
            }
            Some(Content::Media(_)) => Err(later(at, "message.media")),
            Some(Content::Encrypted(_)) => Err(later(at, "message.encrypted")),
            None => Err(at.fault("message", "has no content of a kind that this server knows")),
        }
    }
}

fn later(at: At, field: &str) -> Fault {
    let fault = Fault::new(
        ErrorReason::Unimplemented,
        "this server does not take it yet",
    );
    Fault {
        field: at.path(field),
        ..fault
    }
}

fn map(
    at: At,
    field: &str,
    map: &std::collections::BTreeMap<String, String>,
    entries_max: usize,
) -> Result<(), Fault> {
    at.count(field, map.len(), 0, entries_max)?;
    let bytes = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    at.bytes(field, bytes, 0, METADATA_BYTES_MAX)
}

fn time(at: At, field: &str, time: &Option<prost_types::Timestamp>) -> Result<(), Fault> {
    let valid = |time: &prost_types::Timestamp| {
        (0..1_000_000_000).contains(&time.nanos) && (0..253_402_300_800).contains(&time.seconds)
    };
    if time.as_ref().is_none_or(valid) {
        return Ok(());
    }
    Err(at.fault(field, "must be a time between 1970 and 9999"))
}

/// Spans are checked against the text; other content has no characters, so its spans must be empty.
fn mentions(at: At, message: &v1::Message) -> Result<Mentions, Fault> {
    at.count("message.mentions", message.mentions.len(), 0, MENTIONS_MAX)?;
    let mut found = Mentions::default();
    if message.mentions.is_empty() {
        return Ok(found);
    }
    let length = match &message.content {
        Some(Content::Text(text)) => text.chars().count() as u64,
        _ => 0,
    };
    for (index, mention) in message.mentions.iter().enumerate() {
        let end = u64::from(mention.start) + u64::from(mention.length);
        if end > length {
            let text = format!("the span ends at {end}, the text has {length} characters");
            return Err(at.fault(&format!("message.mentions[{index}]"), text));
        }
        if mention.user_id.is_empty() {
            found.all = true;
        } else {
            at.user(
                &format!("message.mentions[{index}].user_id"),
                &mention.user_id,
            )?;
            if !found.user_ids.contains(&mention.user_id) {
                found.user_ids.push(mention.user_id.clone());
            }
        }
    }
    Ok(found)
}

/// The text of a message that holds one text and else only numbers that need no look: the fast way.
/// Anything unusual, broken or unknown is `None` and goes the slow way.
fn plain_text(bytes: &[u8]) -> Option<&[u8]> {
    const TEXT_TAG: u32 = 1;
    const REPLY_TAGS: [u32; 2] = [13, 14];
    let mut rest = bytes;
    let mut text = None;
    while rest.has_remaining() {
        match decode_key(&mut rest).ok()? {
            (TEXT_TAG, WireType::LengthDelimited) if text.is_none() => {
                let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                let (found, after) = rest.split_at_checked(length)?;
                (text, rest) = (Some(found), after);
            }
            (tag, WireType::Varint) if REPLY_TAGS.contains(&tag) => {
                let seq = decode_varint(&mut rest).ok()?;
                if seq > super::SEQ_MAX {
                    return None;
                }
            }
            (tag, WireType::LengthDelimited) if tag > MESSAGE_TAG_MAX => {
                let context = DecodeContext::default();
                skip_field(WireType::LengthDelimited, tag, &mut rest, context).ok()?;
            }
            _ => return None,
        }
    }
    text
}

/// The greatest tag of `heddle.v1.Message`; what lies beyond is a newer client's, and passes.
const MESSAGE_TAG_MAX: u32 = 16;

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
