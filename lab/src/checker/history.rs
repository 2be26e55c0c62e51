//! What the clients of a run did and saw, compactly: the checker's input.
//!
//! Filled by workloads through [`Recorder`] or by [`file`](super::file). Users, devices and
//! conversations are `u32` indices in the order in which they were added.
//!
//! Invariant: what many devices see alike is stored once. A delivery takes 24 bytes (events are
//! interned), a message in a final state takes 4, so that millions of them fit in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::interned::{Interned, push};
use super::record::{Event, Final, Mark, MessageState, Outcome, Send};

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

/// A leave that was answered OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub user: u32,
    pub conversation: u32,
    pub seq: u64,
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
    pub(super) leaves: Vec<Left>,
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

    /// How long each send took that was answered OK, in microseconds.
    pub fn call_times_us(&self) -> impl Iterator<Item = u64> {
        let answered = self.sends.iter().filter(|send| send.outcome.is_ok());
        answered.map(|send| send.answered_us.saturating_sub(send.invoked_us))
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

    /// A user left, and was answered with the seq at which that stands.
    pub fn left(&mut self, user: u32, conversation: u32, seq: u64) {
        self.leaves.push(Left {
            user,
            conversation,
            seq,
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
