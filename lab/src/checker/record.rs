//! The vocabulary of histories: events, sends, marks and states as a client knows them.
//!
//! Kept by [`history`](super::history), read by every check. Users, devices and conversations are
//! `u32` indices into the history.
//!
//! Invariant: everything is plain data that can be compared; bodies are hashes, never texts.

use serde::{Deserialize, Serialize};

/// The body of a message that is shown as erased.
pub const BODY_ERASED: u64 = 0;
/// The body of a message that is shown edited, when the original can't be seen.
pub const BODY_OVERLAID: u64 = 1;

/// A body as the checker keeps it: FNV-1a of its bytes, never one of the reserved values.
pub fn body_hash(body: &[u8]) -> u64 {
    let hash = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    if hash > BODY_OVERLAID { hash } else { u64::MAX }
}

/// The reactions on a message as one number, in whatever order they are given: pairs of the
/// user's index and the reaction's `body_hash`. None is 0.
pub fn reaction_hash(reactions: impl IntoIterator<Item = (u32, u64)>) -> u64 {
    reactions.into_iter().fold(0, |sum, (user, reaction)| {
        let mixed = (reaction ^ (u64::from(user) << 32 | u64::from(user)))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(31);
        sum.wrapping_add(mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9))
    })
}

/// What an event is, as far as the checker must replay it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A message; `body` is its content's hash.
    Message,
    /// A new text for `target`; `body` is the new content's hash.
    Edit,
    /// `target` deleted for everyone; `body` is [`BODY_ERASED`].
    Erase,
    /// A reaction to `target`; `body` is the reaction's hash.
    React,
    /// A reaction taken back; `body` as when it was made.
    Unreact,
    /// Membership, settings and whatever else has a seq but no send to match.
    System,
}

/// One event as someone saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// Index of the conversation.
    pub conversation: u32,
    /// Index of the user who made it.
    pub sender: u32,
    /// What it is.
    pub kind: Kind,
    /// Its place in the conversation, from 1.
    pub seq: u64,
    /// The seq that it is about; 0 for a message.
    pub target: u64,
    /// Hash of its body, or one of the reserved values.
    #[serde(with = "super::file::hex64")]
    pub body: u64,
    /// The client_message_id, 0 where the observer is not shown it.
    #[serde(with = "super::file::hex128")]
    pub id: u128,
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Stored, at this seq.
    Ok(u64),
    /// Answered OK without an event of its own: it had nothing to change.
    NoChange,
    /// Refused for certain: it must never be seen.
    Failed,
    /// No answer: it may have been stored, or not.
    Unknown,
}

impl Outcome {
    /// Answered OK.
    pub fn is_ok(self) -> bool {
        matches!(self, Outcome::Ok(_) | Outcome::NoChange)
    }
}

/// One send, with all its retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Send {
    /// Index of the device that made it.
    pub device: u32,
    /// Index of the conversation.
    pub conversation: u32,
    /// What was sent; not `System`.
    pub kind: Kind,
    /// The seq that it is about; 0 for a message.
    pub target: u64,
    /// Hash of its body, as in [`Kind`].
    #[serde(with = "super::file::hex64")]
    pub body: u64,
    /// The client_message_id; not 0.
    #[serde(with = "super::file::hex128")]
    pub id: u128,
    /// When it was made, in microseconds of the run's clock.
    pub invoked_us: u64,
    /// When the outcome was known, in microseconds of the run's clock.
    pub answered_us: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// How far a user has received and read a conversation, as a device was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Index of the device that was told.
    pub device: u32,
    /// Index of the conversation.
    pub conversation: u32,
    /// Index of the user whose mark it is.
    pub user: u32,
    /// Received up to this seq.
    pub delivered: u64,
    /// Read up to this seq.
    pub read: u64,
}

/// A message as a device shows it in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MessageState {
    /// The message's seq.
    pub seq: u64,
    /// Hash of what is shown: the newest edit's, [`BODY_ERASED`] if erased.
    #[serde(with = "super::file::hex64")]
    pub body: u64,
    /// See [`reaction_hash`].
    #[serde(with = "super::file::hex64")]
    pub reactions: u64,
}

/// The state of one conversation on a device that has caught up and stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Final {
    /// Index of the device.
    pub device: u32,
    /// Index of the conversation.
    pub conversation: u32,
    /// The user's own read mark.
    pub read: u64,
    /// The number of unread messages, where the workload asks for it.
    pub unread: Option<u64>,
    /// Marks of members: index of the user, delivered, read. May be of some members only.
    pub marks: Vec<(u32, u64, u64)>,
    /// Visible messages: indices from
    /// [`History::message_state`](super::history::History::message_state). Erased ones may be left
    /// out.
    pub messages: Vec<u32>,
}
