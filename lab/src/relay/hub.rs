//! Who is in which room, and each participant's queue of outgoing frames.
//!
//! Filled by sessions ([`server`](super::server)), used by whoever fans a message out.
//!
//! Invariant: nobody waits for a slow reader. A participant whose queue is full is cut.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::wire::{OpenSessionResponse, open_session_response::Kind};

/// Frames that wait for one participant's connection, at most; beyond that it is cut.
pub const OUTBOUND_FRAMES_MAX: usize = 8192;

/// A frame on its way out.
pub type Outgoing = Result<OpenSessionResponse, Status>;

/// One participant's way out.
#[derive(Clone, Debug)]
pub struct Participant {
    frames: mpsc::Sender<Outgoing>,
    cut: CancellationToken,
}

impl Participant {
    /// A participant, and the queue that its connection drains.
    pub fn new(stop: &CancellationToken) -> (Participant, mpsc::Receiver<Outgoing>) {
        let (frames, queue) = mpsc::channel(OUTBOUND_FRAMES_MAX);
        (
            Participant {
                frames,
                cut: stop.child_token(),
            },
            queue,
        )
    }

    /// Queues a frame, or cuts the participant.
    pub fn put(&self, kind: Kind) {
        if self
            .frames
            .try_send(Ok(OpenSessionResponse { kind: Some(kind) }))
            .is_err()
        {
            self.cut.cancel();
        }
    }

    /// Ends the session with a status.
    pub fn fail(&self, status: Status) {
        // If there is no room for the reason, the connection just ends.
        let _ = self.frames.try_send(Err(status));
        self.cut.cancel();
    }

    /// Resolves when the session must end.
    pub async fn is_cut(&self) {
        self.cut.cancelled().await;
    }

    fn is_same(&self, other: &Participant) -> bool {
        self.frames.same_channel(&other.frames)
    }
}

/// Those who hear each other.
#[derive(Debug, Default)]
pub struct Room {
    participants: RwLock<Arc<[Participant]>>,
}

impl Room {
    /// Queues the message for all but its sender.
    pub fn relay(&self, sender: &Participant, body: &Bytes) {
        let participants = self.participants();
        for other in participants.iter().filter(|other| !other.is_same(sender)) {
            other.put(Kind::Delivery(body.clone()));
        }
    }

    fn participants(&self) -> Arc<[Participant]> {
        Arc::clone(
            &self
                .participants
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Participant>)) -> usize {
        let mut participants = self
            .participants
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut changed = participants.to_vec();
        change(&mut changed);
        *participants = changed.into();
        participants.len()
    }
}

/// All rooms that anyone is in.
#[derive(Debug, Default)]
pub struct Hub {
    rooms: Mutex<HashMap<String, Arc<Room>>>,
}

impl Hub {
    /// Puts the participant into a room.
    pub fn join(&self, name: &str, participant: &Participant) -> Arc<Room> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Arc::clone(rooms.entry(name.to_owned()).or_default());
        room.change(|all| all.push(participant.clone()));
        room
    }

    /// Takes the participant out again; an empty room is forgotten.
    pub fn leave(&self, name: &str, participant: &Participant) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(room) = rooms.get(name) else { return };
        if room.change(|all| all.retain(|other| !other.is_same(participant))) == 0 {
            rooms.remove(name);
        }
    }
}
