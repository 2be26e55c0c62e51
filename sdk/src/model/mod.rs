//! What the updates amount to: the state that a user sees, folded from snapshot, events and states.
//!
//! Pure; used by applications that show conversations, and by checkers as a second opinion on the
//! server. A [`MailboxView`] starts from a snapshot (or from nothing, at position 0) and applies
//! each delivery once.
//!
//! Invariant: unread is the difference of ordinals between head and read mark, less what was
//! deleted in between; a delivery at or below the view's position changes nothing.

mod conversation;
mod message;
#[cfg(test)]
mod tests;

pub use conversation::{ConversationView, Unread};
pub use message::MessageView;

use crate::{ConversationId, Snapshot};
use heddle_proto::v1::{self, state_change};
use std::collections::HashMap;

/// Messages kept per conversation, by default; the oldest leave first.
pub const MESSAGES_MAX: usize = 1_000;

/// Everything a user sees.
#[derive(Clone, Debug, PartialEq)]
pub struct MailboxView {
    user_id: String,
    position: u64,
    messages_max: usize,
    conversations: HashMap<ConversationId, ConversationView>,
}

impl MailboxView {
    /// Nothing yet, at the beginning of the mailbox.
    pub fn new(user_id: impl Into<String>) -> Self {
        Self {
            user_id: user_id.into(),
            position: 0,
            messages_max: MESSAGES_MAX,
            conversations: HashMap::new(),
        }
    }

    /// As a snapshot shows it.
    pub fn from_snapshot(user_id: impl Into<String>, snapshot: &Snapshot) -> Self {
        let mut view = Self::new(user_id);
        view.position = snapshot.position.position;
        for summary in &snapshot.conversations {
            let conversation = summary.conversation.clone().unwrap_or_default();
            if let Some(id) = ConversationId::from_wire(&conversation.conversation_id) {
                let one = ConversationView::from_summary(id, summary, &view.user_id);
                view.conversations.insert(id, one);
            }
        }
        view
    }

    /// Keeps at most so many messages of each conversation.
    pub fn messages_max(mut self, messages_max: usize) -> Self {
        self.messages_max = messages_max;
        self
    }

    /// The user.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The place in the mailbox that the view stands for.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// One conversation.
    pub fn conversation(&self, id: ConversationId) -> Option<&ConversationView> {
        self.conversations.get(&id)
    }

    /// All conversations, in no order; those left too.
    pub fn conversations(&self) -> impl Iterator<Item = &ConversationView> {
        self.conversations.values()
    }

    /// Unread messages over all conversations.
    pub fn unread(&self) -> u64 {
        self.conversations
            .values()
            .map(|one| one.unread().count)
            .sum()
    }

    /// Applies an event's delivery; false when the view has it already.
    pub fn apply_event(&mut self, delivery: &v1::EventDelivery) -> bool {
        if !self.advance(delivery.cursor) {
            return false;
        }
        if let Some(event) = &delivery.event
            && let Some(id) = ConversationId::from_wire(&event.conversation_id)
        {
            let fresh = || ConversationView::new(id);
            let one = self.conversations.entry(id).or_insert_with(fresh);
            one.apply_event(event, &self.user_id);
            one.forget_messages_beyond(self.messages_max);
        }
        true
    }

    /// Applies a state's delivery; false when the view has it already.
    pub fn apply_state(&mut self, delivery: &v1::StateDelivery) -> bool {
        use state_change::Kind;
        if !self.advance(delivery.cursor) {
            return false;
        }
        let Some(kind) = delivery
            .state
            .as_ref()
            .and_then(|state| state.kind.as_ref())
        else {
            return true;
        };
        let id = match kind {
            Kind::Mark(mark) => &mark.conversation_id,
            Kind::Membership(membership) => &membership.conversation_id,
            Kind::Settings(settings) => &settings.conversation_id,
            Kind::Hidden(hidden) => &hidden.conversation_id,
        };
        if let Some(id) = ConversationId::from_wire(id) {
            let fresh = || ConversationView::new(id);
            let one = self.conversations.entry(id).or_insert_with(fresh);
            one.apply_state(kind, &self.user_id);
        }
        true
    }

    /// Adds older messages, read from history.
    pub fn add_history(&mut self, events: &[v1::Event]) {
        for event in events {
            if let Some(id) = ConversationId::from_wire(&event.conversation_id)
                && let Some(one) = self.conversations.get_mut(&id)
            {
                one.add_history(event);
            }
        }
    }

    fn advance(&mut self, cursor: Option<v1::Cursor>) -> bool {
        let position = cursor.unwrap_or_default().position;
        let is_new = position > self.position;
        self.position = self.position.max(position);
        is_new
    }
}
