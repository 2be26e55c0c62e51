//! What a session tells the application, in the order in which it is to be believed.

use crate::{Error, outbox::Ticket};
use heddle_proto::ids::{LogId, MessageId};
use heddle_proto::v1;
use std::time::Duration;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Update {
    /// A connection stands; sends flow.
    Connected(Box<v1::SessionOpened>),
    /// The connection is gone; the session comes back by itself.
    Disconnected {
        /// Why.
        error: Error,
        /// When the next try is.
        retry_in: Duration,
    },
    /// An event of a conversation, at its place in the mailbox.
    Event(Box<v1::EventDelivery>),
    /// A change of the user's own state, at its place in the mailbox.
    State(Box<v1::StateDelivery>),
    /// A signal; never stored.
    Signal(Box<v1::Signal>),
    /// Somebody watched is online, or no more.
    Presence(Box<v1::Presence>),
    /// Somebody types.
    Typing(Box<v1::Typing>),
    /// All that was stored when the connection was made has been told.
    CaughtUp(v1::Cursor),
    /// The place kept is lost: load a snapshot. What comes after `head` follows.
    Reset {
        /// The mailbox's head when the connection was made.
        head: v1::Cursor,
    },
    /// What became of a message given to `post` or `send_nowait`, or found in the store.
    Sent(Box<SendOutcome>),
    /// The server wants the device elsewhere, or gone.
    GoAway(Box<v1::GoAway>),
    /// The session is over and does not come back; nothing follows.
    Closed(Error),
}

impl Update {
    /// The place in the mailbox that is reached when this is handled.
    pub fn cursor(&self) -> Option<v1::Cursor> {
        match self {
            Self::Event(delivery) => delivery.cursor,
            Self::State(delivery) => delivery.cursor,
            Self::Reset { head } => Some(*head),
            _ => None,
        }
    }
}

/// A stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What the server knows it by.
    pub client_message_id: MessageId,
    /// The place in the conversation.
    pub seq: u64,
    /// The server's time, in milliseconds since the Unix epoch.
    pub create_time_ms: u64,
}

/// What became of a send.
#[derive(Clone, Debug)]
pub struct SendOutcome {
    /// Which, in the order of sending.
    pub ticket: Ticket,
    /// Where it was said.
    pub conversation_id: LogId,
    /// What the server knows it by.
    pub client_message_id: MessageId,
    /// Stored, or why never.
    pub result: Result<Sent, Error>,
}
