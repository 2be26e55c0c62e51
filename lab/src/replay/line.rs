//! Lines of the log as messages, and events as what the judge compares.
//!
//! Invariant: a line that is made a message and read back is the same line, the empty ones too,
//! which no server takes as text.

use std::hash::{DefaultHasher, Hash, Hasher};

use heddle_proto::v1::{self, event, message::Content};

use crate::irc::What;

/// Metadata that tells an act from a line.
const ACT: (&str, &str) = ("irc", "act");
/// What stands for a line without text.
const EMPTY: &str = "irc.empty";

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `* nick acts`.
    pub act: bool,
    /// To the byte.
    pub text: String,
}

impl Line {
    /// Of a step; none for joins and leaves.
    pub fn of(what: &What) -> Option<Line> {
        let act = matches!(what, What::Act(_));
        let text = what.text()?.to_owned();
        Some(Line { act, text })
    }

    /// To be sent.
    pub fn to_message(&self) -> v1::Message {
        let mut message = match self.text.is_empty() {
            false => heddle_sdk::text(self.text.clone()),
            true => v1::Message {
                content: Some(Content::Custom(v1::Custom {
                    r#type: EMPTY.to_owned(),
                    ..Default::default()
                })),
                ..Default::default()
            },
        };
        if self.act {
            let (key, value) = ACT;
            message.metadata.insert(key.to_owned(), value.to_owned());
        }
        message
    }

    /// As received; none for a content that no line has.
    pub fn from_message(message: &v1::Message) -> Option<Line> {
        let text = match &message.content {
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Custom(custom)) if custom.r#type == EMPTY => String::new(),
            _ => return None,
        };
        let act = message
            .metadata
            .get(ACT.0)
            .is_some_and(|value| value == ACT.1);
        Some(Line { act, text })
    }
}

/// Everything about an event that must be the same for all who see it.
pub fn fingerprint(event: &v1::Event) -> u64 {
    let mut hasher = DefaultHasher::new();
    (event.ordinal, &event.sender, &event.sender_device_id).hash(&mut hasher);
    event.client_message_id.hash(&mut hasher);
    let time = event.create_time.unwrap_or_default();
    (time.seconds, time.nanos).hash(&mut hasher);
    match &event.kind {
        Some(event::Kind::Message(message)) => match &message.content {
            Some(Content::Text(text)) => (1, text, message.metadata.len()).hash(&mut hasher),
            Some(Content::Custom(custom)) => (2, &custom.r#type).hash(&mut hasher),
            _ => 3.hash(&mut hasher),
        },
        Some(event::Kind::Membership(change)) => {
            (4, change.action, &change.user_ids).hash(&mut hasher);
        }
        _ => 5.hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_being_messages() {
        for (act, text) in [
            (false, "hi"),
            (true, "waves "),
            (false, ""),
            (true, ""),
            (false, " "),
        ] {
            let text = text.to_owned();
            let line = Line { act, text };
            assert_eq!(Line::from_message(&line.to_message()), Some(line));
        }
    }

    #[test]
    fn a_fingerprint_tells_texts_and_senders_apart() {
        let event = |sender: &str, text: &str| v1::Event {
            sender: sender.into(),
            kind: Some(event::Kind::Message(heddle_sdk::text(text))),
            ..Default::default()
        };
        let first = fingerprint(&event("a", "x"));
        assert_eq!(first, fingerprint(&event("a", "x")));
        assert_ne!(first, fingerprint(&event("a", "y")));
        assert_ne!(first, fingerprint(&event("b", "x")));
    }
}
