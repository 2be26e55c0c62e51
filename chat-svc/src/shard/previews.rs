//! Previews: what a push shows of a message, read from the log as the push is made.
//!
//! `pushes` asks; mailboxes that are due at once share one reading. Nothing is kept: an erased
//! message is blank by the time it is read, and what is read leaves with the next commit.
//!
//! Invariant: a reading ends in [`Shard::push_messages`] for each mailbox that waits for it, or
//! makes it due again.

use super::{
    Shard,
    reads::{Purpose, decode, range},
};
use crate::mailbox::push::Key;
use bytes::Bytes;
use heddle_kit::FastMap;
use heddle_proto::{
    ids::LogId,
    internal::{ConversationRow, PartitionQuery, ReadOutcome, Table, UserRow, read::Query},
    v1::{ConversationKind, Event, Message, event, message::Content},
};
use prost::Message as _;
use std::sync::Arc;

/// Characters of a preview and of a title; providers take less.
const CHARS_MAX: usize = 1_000;

/// What a push shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Preview {
    /// The message that it is about; 0: none is known.
    pub seq: u64,
    /// The sender's name in a direct conversation, else the conversation's title.
    pub title: String,
    /// Who sent it.
    pub sender_name: String,
    /// What it says; empty: nothing that may be shown.
    pub text: String,
}

/// A message.
type Of = (Key, u64);

/// Mailboxes that wait for a reading.
#[derive(Default)]
pub(super) struct Previews(FastMap<Of, Vec<Arc<str>>>);

/// A reading: the message, then its sender, then its conversation.
pub(super) struct PreviewRead {
    of: Of,
    step: Step,
    preview: Preview,
}

#[derive(Clone, Copy)]
enum Step {
    Message,
    Sender,
    Conversation,
}

impl Shard {
    pub(super) fn read_preview(&mut self, user: &Arc<str>, conversation: Key, seq: u64) {
        let of = (conversation, seq);
        let waiting = self.previews.0.entry(of).or_default();
        waiting.push(user.clone());
        let Some(log) = LogId::from_wire(&conversation) else {
            return;
        };
        if waiting.len() == 1 {
            let reading = PreviewRead {
                of,
                step: Step::Message,
                preview: Preview {
                    seq,
                    ..Default::default()
                },
            };
            self.read(range(&log, seq, seq), Purpose::Preview(Box::new(reading)));
        }
    }

    pub(super) fn preview_read(&mut self, mut reading: PreviewRead, outcome: ReadOutcome) {
        let preview = &mut reading.preview;
        let (table, partition, next) = match reading.step {
            Step::Message => {
                let event = outcome.events.into_iter().next();
                let event = event.and_then(|event| Event::decode(event).ok());
                let Some(event) = event else {
                    return self.preview_done(&reading);
                };
                preview.text = text_of(&event);
                preview.sender_name.clone_from(&event.sender);
                let sender = Bytes::from(event.sender);
                (Table::Users, sender, Step::Sender)
            }
            Step::Sender => {
                let row: Option<UserRow> = outcome.cells.into_iter().next().and_then(decode);
                if let Some(row) = row.filter(|row| !row.name.is_empty()) {
                    preview.sender_name = row.name;
                }
                let log = Bytes::copy_from_slice(&reading.of.0);
                (Table::Conversations, log, Step::Conversation)
            }
            Step::Conversation => {
                let row: Option<ConversationRow> =
                    outcome.cells.into_iter().next().and_then(decode);
                preview.title = row.map_or_else(String::new, |row| title(row, preview));
                return self.preview_done(&reading);
            }
        };
        reading.step = next;
        let query = PartitionQuery {
            table: table as i32,
            partition,
            ..Default::default()
        };
        self.read(Query::Partition(query), Purpose::Preview(Box::new(reading)));
    }

    fn preview_done(&mut self, reading: &PreviewRead) {
        let preview = match self.around.config.push_titles {
            true => reading.preview.clone(),
            false => Preview {
                title: String::new(),
                sender_name: String::new(),
                ..reading.preview.clone()
            },
        };
        for user in self.previews.0.remove(&reading.of).unwrap_or_default() {
            self.push_messages(&user, reading.of.0, &preview);
        }
    }

    /// It could not be read: its pushes are due again.
    pub(super) fn preview_failed(&mut self, reading: &PreviewRead) {
        for user in self.previews.0.remove(&reading.of).unwrap_or_default() {
            if let Some(live) = self.live_mailbox(&user) {
                live.mailbox.pushes.again(&reading.of.0);
                self.push_later(&user);
            }
        }
    }
}

fn title(row: ConversationRow, preview: &Preview) -> String {
    let direct = row.kind() == ConversationKind::Direct || row.title.is_empty();
    match direct {
        true => preview.sender_name.clone(),
        false => cut(row.title),
    }
}

/// What a message may show: its text as it was edited last. Of one that is erased, encrypted or of
/// a kind that this build does not know: its fallback text, or nothing.
fn text_of(event: &Event) -> String {
    let Some(event::Kind::Message(message)) = &event.kind else {
        return String::new();
    };
    let overlay = event.overlay.as_ref();
    if overlay.is_some_and(|overlay| overlay.erased) {
        return String::new();
    }
    let edited = overlay.and_then(|overlay| overlay.edited.as_ref());
    let Message {
        content,
        fallback_text,
        ..
    } = edited.unwrap_or(message);
    match content {
        Some(Content::Text(text)) => cut(text.clone()),
        Some(Content::Erased(_) | Content::Encrypted(_)) | None => String::new(),
        Some(_) => cut(fallback_text.clone()),
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::v1::{Encrypted, Erased, EventOverlay};

    fn event(content: Option<Content>, overlay: Option<EventOverlay>) -> Event {
        Event {
            kind: Some(event::Kind::Message(Message {
                content,
                fallback_text: "fallback".into(),
                ..Default::default()
            })),
            overlay,
            ..Default::default()
        }
    }

    fn said(text: &str) -> Option<Content> {
        Some(Content::Text(text.into()))
    }

    #[test]
    fn what_may_be_shown_of_a_message() {
        let edited = EventOverlay {
            edited: Some(Message {
                content: said("second"),
                ..Default::default()
            }),
            ..Default::default()
        };
        let erased = EventOverlay {
            erased: true,
            ..edited.clone()
        };
        let encrypted = Some(Content::Encrypted(Encrypted::default()));
        let table = [
            ("as it is", event(said("first"), None), "first"),
            ("edited", event(said("first"), Some(edited)), "second"),
            ("erased", event(said("first"), Some(erased)), ""),
            ("blank", event(Some(Content::Erased(Erased {})), None), ""),
            ("encrypted", event(encrypted, None), ""),
            ("no message", Event::default(), ""),
        ];
        for (name, event, expected) in table {
            assert_eq!(text_of(&event), expected, "{name}");
        }
        assert_eq!(text_of(&event(said(&"ä".repeat(1_001)), None)).len(), 2_000);
    }
}
