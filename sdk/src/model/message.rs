//! A message as it stands: what was said, and what became of it.

use heddle_proto::v1;
use std::collections::BTreeSet;

/// A message as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageView {
    /// The place in the conversation.
    pub seq: u64,
    /// Which message of the conversation it is, counted from 1.
    pub ordinal: u64,
    /// Who said it.
    pub sender: String,
    /// The id that the sender minted.
    pub client_message_id: bytes::Bytes,
    /// The server's time, in milliseconds since the Unix epoch.
    pub create_time_ms: u64,
    /// The content as it is now; empty once erased.
    pub content: v1::Message,
    /// seq of the last edit; 0: none.
    pub edit_seq: u64,
    /// Deleted for everyone.
    pub erased: bool,
    /// Deleted for this user.
    pub hidden: bool,
    /// Who gave which reaction.
    pub reactions: BTreeSet<(String, String)>,
}

impl MessageView {
    /// A message as an event tells it, with what became of it if it was read from the store.
    pub(super) fn new(event: &v1::Event, message: &v1::Message) -> Self {
        let mut view = Self {
            seq: event.seq,
            ordinal: event.ordinal,
            sender: event.sender.clone(),
            client_message_id: event.client_message_id.clone(),
            create_time_ms: event
                .create_time
                .as_ref()
                .map_or(0, heddle_proto::time::millis),
            content: message.clone(),
            edit_seq: 0,
            erased: matches!(message.content, Some(v1::message::Content::Erased(_))),
            hidden: false,
            reactions: BTreeSet::new(),
        };
        if let Some(overlay) = &event.overlay {
            view.overlay(overlay);
        }
        view
    }

    fn overlay(&mut self, overlay: &v1::EventOverlay) {
        if let Some(edited) = &overlay.edited {
            self.edit(overlay.edit_seq, edited);
        }
        let reactions = overlay.reactions.iter();
        self.reactions = reactions
            .map(|reaction| (reaction.user_id.clone(), reaction.key.clone()))
            .collect();
        if overlay.erased {
            self.erase();
        }
    }

    /// Takes another content, unless a later edit is known.
    pub(super) fn edit(&mut self, edit_seq: u64, content: &v1::Message) {
        if edit_seq > self.edit_seq && !self.erased {
            self.edit_seq = edit_seq;
            self.content = content.clone();
        }
    }

    /// Forgets the content.
    pub(super) fn erase(&mut self) {
        self.erased = true;
        self.content = v1::Message {
            content: Some(v1::message::Content::Erased(v1::Erased {})),
            ..Default::default()
        };
        self.reactions.clear();
    }

    /// Gives a reaction or takes it back.
    pub(super) fn react(&mut self, user_id: &str, reaction: &v1::Reaction) {
        let one = (user_id.to_owned(), reaction.key.clone());
        match reaction.removed {
            true => self.reactions.remove(&one),
            false => !self.erased && self.reactions.insert(one),
        };
    }
}
