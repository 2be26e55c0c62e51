//! People: a user's device with an open session, and what it has seen.

use crate::{wait::PATIENCE, world::Failure};
use heddle_sdk::{Client, ConversationId, Page, Session, Update, text, v1};
use tokio::time::{Instant, timeout_at};

/// A device in use.
pub struct Person {
    /// The user.
    pub user_id: String,
    /// Unary calls.
    pub client: Client,
    /// The session.
    pub session: Session,
    /// Everything that came, in order.
    pub seen: Vec<Update>,
}

impl Person {
    /// Opens a session from the beginning of the mailbox.
    pub async fn open(client: Client, user_id: &str) -> Result<Self, Failure> {
        Self::resume(client, user_id, Some(v1::Cursor::default())).await
    }

    /// Opens a session from a resume token.
    pub async fn resume(
        client: Client,
        user_id: &str,
        from: Option<v1::Cursor>,
    ) -> Result<Self, Failure> {
        let session = client
            .session()
            .resume(from)
            .foreground(true)
            .open()
            .await?;
        session.connected().await?;
        Ok(Self {
            user_id: user_id.to_owned(),
            client,
            session,
            seen: Vec::new(),
        })
    }

    /// Says something; its seq.
    pub async fn say(&self, to: ConversationId, words: &str) -> Result<u64, Failure> {
        Ok(self.session.send(to, text(words)).await?.seq)
    }

    /// Waits for an update that `wanted` picks; all that comes is kept.
    pub async fn until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Update) -> Option<T>,
    ) -> T {
        if let Some(found) = self.seen.iter().find_map(&mut wanted) {
            return found;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let next = timeout_at(deadline, self.session.next()).await;
            let Ok(Some(update)) = next else {
                panic!(
                    "{} gave up waiting for {what}; saw {:#?}",
                    self.user_id, self.seen
                )
            };
            let found = wanted(&update);
            self.seen.push(update);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Waits for a message with this text; its seq.
    pub async fn hears(&mut self, words: &str) -> u64 {
        self.until(&format!("the message {words:?}"), |update| {
            let event = event_of(update)?;
            (text_of(event)? == words).then_some(event.seq)
        })
        .await
    }

    /// Waits for a member's mark in a conversation.
    pub async fn hears_mark(&mut self, user_id: &str, delivered: u64, read: u64) {
        self.until(&format!("{user_id}'s mark {delivered}/{read}"), |update| {
            let Update::State(state) = update else {
                return None;
            };
            let Some(v1::state_change::Kind::Mark(mark)) = state.state.as_ref()?.kind.as_ref()
            else {
                return None;
            };
            let far = mark.delivered_seq >= delivered && mark.read_seq >= read;
            (mark.user_id == user_id && far).then_some(())
        })
        .await
    }

    /// The texts of all messages that came, in order.
    pub fn texts(&self) -> Vec<String> {
        let events = self.seen.iter().filter_map(event_of);
        events.filter_map(text_of).map(str::to_owned).collect()
    }

    /// The summary of a conversation in this user's list.
    pub async fn summary(&self, of: ConversationId) -> Result<v1::ConversationSummary, Failure> {
        let page = self.client.snapshot().await?.conversations;
        let same = |summary: &v1::ConversationSummary| {
            let conversation = summary.conversation.as_ref();
            conversation.is_some_and(|it| it.conversation_id.as_ref() == of.as_bytes().as_slice())
        };
        Ok(page
            .into_iter()
            .find(same)
            .ok_or("the conversation is not in the list")?)
    }
}

impl Person {
    /// A whole conversation as history tells it, in small pages, from either end.
    pub async fn pages(
        &self,
        of: ConversationId,
        forward: bool,
    ) -> Result<Vec<v1::Event>, Failure> {
        let mut events: Vec<v1::Event> = Vec::new();
        loop {
            let page = match (forward, events.first(), events.last()) {
                (true, _, last) => Page::After(last.map_or(0, |event| event.seq)),
                (false, None, _) => Page::Newest,
                (false, Some(first), _) => Page::Before(first.seq),
            };
            let page = self.client.history(of, page, 3).await?;
            let more = if forward {
                page.more_after
            } else {
                page.more_before
            };
            let at = if forward { events.len() } else { 0 };
            events.splice(at..at, page.events);
            if !more {
                return Ok(events);
            }
        }
    }

    /// Every event that ListEvents tells from the beginning of the mailbox.
    pub async fn listed(&self) -> Result<Vec<v1::Event>, Failure> {
        let mut after = Some(v1::Cursor::default());
        let mut events = Vec::new();
        loop {
            let page = self.client.events(after, 4).await?;
            for delivery in page.deliveries {
                if let Some(v1::open_session_response::Frame::Event(it)) = delivery.frame {
                    events.extend(it.event);
                }
            }
            if !page.more {
                return Ok(events);
            }
            after = page.next;
        }
    }
}

/// The event of an update.
pub fn event_of(update: &Update) -> Option<&v1::Event> {
    match update {
        Update::Event(delivery) => delivery.event.as_ref(),
        _ => None,
    }
}

/// The text of a message.
pub fn text_of(event: &v1::Event) -> Option<&str> {
    let Some(v1::event::Kind::Message(message)) = &event.kind else {
        return None;
    };
    match &message.content {
        Some(v1::message::Content::Text(text)) => Some(text),
        _ => None,
    }
}

/// The id of a conversation as the server named it.
pub fn id_of(conversation: &v1::Conversation) -> Result<ConversationId, Failure> {
    let id = ConversationId::from_wire(&conversation.conversation_id);
    Ok(id.ok_or("the server named a conversation id that has not 16 bytes")?)
}
