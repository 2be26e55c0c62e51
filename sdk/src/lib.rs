//! The Rust client of Heddle: sessions that come back by themselves, an outbox that loses and
//! doubles nothing, typed updates and errors.
//!
//! ```no_run
//! # async fn example() -> Result<(), heddle_sdk::Error> {
//! use heddle_sdk::{Client, ConversationId, Update, text};
//!
//! let client = Client::builder()
//!     .address("http://localhost:7447")
//!     .token(std::env::var("HEDDLE_TOKEN").unwrap_or_default())
//!     .device_id("laptop")
//!     .connect()
//!     .await?;
//! let mut session = client.session().open().await?;
//! session.connected().await?;
//! let with_bob = client.create_direct("bob").await?;
//! let id = ConversationId::from_wire(&with_bob.conversation_id).unwrap();
//! let sent = session.send(id, text("hello")).await?;
//! println!("stored as number {}", sent.seq);
//! while let Some(update) = session.next().await {
//!     if let Update::Event(delivery) = update {
//!         println!("{:?}", delivery.event);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Depends on the protocol only. Decisions are pure (`outbox`, `backoff`, what lies under
//! `session`); [`model`] shows what the updates amount to.

mod backoff;
mod client;
mod clock;
#[cfg(test)]
mod double;
mod error;
pub mod model;
pub mod outbox;
mod session;
mod token;

pub use backoff::{Backoff, BackoffPolicy};
pub use client::{Client, ClientBuilder, Page, Snapshot};
pub use error::{Error, Reason};
pub use heddle_proto::ids::{LogId as ConversationId, MessageId};
pub use heddle_proto::v1;
pub use outbox::store::{FileOutbox, OutboxStore, StoreFuture};
pub use outbox::{Outgoing, Ticket};
pub use session::{
    ACK_BYTES, ACK_EVENTS, ACK_INTERVAL_MS, AckMode, MARK_INTERVAL_MS, OUTBOX_LEN_MAX, SendOutcome,
    Sending, Sent, Session, SessionBuilder, SessionHandle, UPDATES_LEN_MAX, Update, WhenFull,
};
pub use token::{TokenFuture, TokenProvider};

/// A message of plain text.
pub fn text(text: impl Into<String>) -> v1::Message {
    v1::Message {
        content: Some(v1::message::Content::Text(text.into())),
        ..Default::default()
    }
}
