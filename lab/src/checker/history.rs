//! What the clients of a run did and saw, compactly: the checker's input.
//!
//! Filled by workloads through [`Recorder`] or by [`file`](super::file). Users, devices and
//! conversations are `u32` indices in the order in which they were added.
//!
//! Invariant: what many devices see alike is stored once. A delivery takes 24 bytes (events are
//! interned), a message in a final state takes 4, so that millions of them fit in memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Refused for certain: it must never be seen.
    Failed,
    /// No answer: it may have been stored, or not.
    Unknown,
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
    /// Visible messages: indices from [`History::message_state`]. Erased ones may be left out.
    pub messages: Vec<u32>,
}

/// A device and what it saw.
#[derive(Clone, Debug)]
pub struct Device {
    /// The device's name in examples.
    pub name: String,
    /// Index of its user.
    pub user: u32,
    pub(super) stream: Vec<Seen>,
}

/// One entry of a device's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Index of the event, [`Seen::RESUMED`] for a resume.
    pub event: u32,
    /// Position in the mailbox; 0 for a history read.
    pub position: u64,
    /// Delivered at; of a history read or resume: asked at.
    pub at_us: u64,
}

impl Seen {
    /// Marks the begin of a session at `position`.
    pub const RESUMED: u32 = u32::MAX;
}

/// The seqs of a conversation that a user may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Window {
    pub user: u32,
    pub conversation: u32,
    pub since: u64,
    /// The first seq that is not for the user any more.
    pub until: Option<u64>,
}

/// A message that a user deleted for oneself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hidden {
    pub user: u32,
    pub conversation: u32,
    pub seq: u64,
    /// Answered OK; otherwise it may be visible or not.
    pub sure: bool,
}

/// Everything that was recorded of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub(super) users: Vec<String>,
    pub(super) devices: Vec<Device>,
    pub(super) conversations: Vec<String>,
    pub(super) windows: Vec<Window>,
    pub(super) sends: Vec<Send>,
    pub(super) events: Interned<Event>,
    pub(super) hidden: Vec<Hidden>,
    pub(super) marks: Vec<Mark>,
    pub(super) states: Interned<MessageState>,
    pub(super) finals: Vec<Final>,
}

impl History {
    /// Adds a user; the answer is its index.
    pub fn user(&mut self, name: impl Into<String>) -> u32 {
        push(&mut self.users, name.into())
    }

    /// Adds a device of a user; the answer is its index.
    pub fn device(&mut self, user: u32, name: impl Into<String>) -> u32 {
        push(
            &mut self.devices,
            Device {
                name: name.into(),
                user,
                stream: Vec::new(),
            },
        )
    }

    /// Adds a conversation; the answer is its index.
    pub fn conversation(&mut self, name: impl Into<String>) -> u32 {
        push(&mut self.conversations, name.into())
    }

    /// The user may see the seqs from `since` up to, but not with, `until`. May be said again for
    /// people who rejoin; who is not said to be a member is a stranger.
    pub fn member(&mut self, user: u32, conversation: u32, since: u64, until: Option<u64>) {
        self.windows.push(Window {
            user,
            conversation,
            since,
            until,
        });
    }

    /// Records a send as it is made (outcome `Unknown`); the answer is its index for
    /// [`answer`](Self::answer). A device's sends are recorded in its order.
    pub fn send(&mut self, send: Send) -> u32 {
        push(&mut self.sends, send)
    }

    /// The outcome of a send is known.
    pub fn answer(&mut self, send: u32, outcome: Outcome, answered_us: u64) {
        let send = &mut self.sends[send as usize];
        (send.outcome, send.answered_us) = (outcome, answered_us);
    }

    /// A device got an event on its session at a position of its mailbox.
    pub fn delivered(&mut self, device: u32, event: Event, position: u64, at_us: u64) {
        let event = self.events.intern(event);
        self.devices[device as usize].stream.push(Seen {
            event,
            position,
            at_us,
        });
    }

    /// A device read an event from history, by a request made at `asked_us`. Also what a device
    /// that was reset loads: events it skips on its session it must read, or they count as lost.
    pub fn read(&mut self, device: u32, event: Event, asked_us: u64) {
        self.delivered(device, event, 0, asked_us);
    }

    /// A device begins a session after `position`: what follows may come again from there.
    pub fn resumed(&mut self, device: u32, position: u64, at_us: u64) {
        let seen = Seen {
            event: Seen::RESUMED,
            position,
            at_us,
        };
        self.devices[device as usize].stream.push(seen);
    }

    /// A user deleted a message for oneself. `sure`: the answer was OK.
    pub fn hid(&mut self, user: u32, conversation: u32, seq: u64, sure: bool) {
        self.hidden.push(Hidden {
            user,
            conversation,
            seq,
            sure,
        });
    }

    /// A device was told of a mark.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// The index of a message's state, for [`Final::messages`].
    pub fn message_state(&mut self, state: MessageState) -> u32 {
        self.states.intern(state)
    }

    /// A device has caught up with a conversation and stopped.
    pub fn finished(&mut self, finished: Final) {
        self.finals.push(finished);
    }

    /// How many events were seen, over all devices.
    pub fn deliveries(&self) -> u64 {
        let seen = self.devices.iter().flat_map(|device| &device.stream);
        seen.filter(|seen| seen.event != Seen::RESUMED).count() as u64
    }
}

fn push<T>(items: &mut Vec<T>, item: T) -> u32 {
    items.push(item);
    items.len() as u32 - 1
}

/// Values, each stored once and named by its index.
#[derive(Clone, Debug)]
pub(super) struct Interned<T> {
    items: Vec<T>,
    indices: HashMap<T, u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Interned {
            items: Vec::new(),
            indices: HashMap::new(),
        }
    }
}

impl<T: Copy + Eq + Hash> Interned<T> {
    pub fn intern(&mut self, item: T) -> u32 {
        *self
            .indices
            .entry(item)
            .or_insert_with(|| push(&mut self.items, item))
    }

    pub fn get(&self, index: u32) -> &T {
        &self.items[index as usize]
    }

    pub fn items(&self) -> &[T] {
        &self.items
    }
}

/// A history that many tasks fill: each call holds the lock for well under a microsecond.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    /// The history, to be filled. Never hold it across an await.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the history out; what is recorded later goes into an empty one.
    pub fn take(&self) -> History {
        std::mem::take(&mut self.lock())
    }
}
