//! Conversations as everything that judges needs them: which one was made, and all that it holds.
//!
//! Invariant: read by the public API, page by page, to the end.

use heddle_sdk::{Client, ConversationId, Page, Update, v1};

use super::TargetError;

/// Events read at a time.
const PAGE_SIZE: i32 = 500;

/// The id of one that was made.
pub fn id_of(made: &v1::Conversation) -> Result<ConversationId, TargetError> {
    ConversationId::from_wire(&made.conversation_id).ok_or_else(|| TargetError::Refused {
        what: "a conversation's id",
        error: heddle_sdk::Error::field("conversation_id", "not 16 bytes"),
    })
}

/// All events that the client may see, by seq.
pub async fn read_log(client: &Client, id: ConversationId) -> Result<Vec<v1::Event>, TargetError> {
    let mut events: Vec<v1::Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let page = client.history(id, Page::After(after), PAGE_SIZE).await;
        let page = page.map_err(TargetError::refused("a log can't be read"))?;
        let is_end = !page.more_after || page.events.is_empty();
        events.extend(page.events);
        if is_end {
            return Ok(events);
        }
    }
}

/// Whether somebody says something in it.
pub fn is_message(event: &v1::Event) -> bool {
    matches!(event.kind, Some(v1::event::Kind::Message(_)))
}

/// Whether a session brings what somebody says.
pub fn brings_message(update: &Update) -> bool {
    match update {
        Update::Event(delivery) => delivery.event.as_ref().is_some_and(is_message),
        _ => false,
    }
}
