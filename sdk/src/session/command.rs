//! What the application's side of a session asks of its engine.

use super::update::Sent;
use crate::{Error, outbox::Outgoing};
use heddle_proto::ids::LogId;
use heddle_proto::v1::{open_session_request as up, result::Outcome};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// One wish.
pub(super) enum Command {
    /// Say something.
    Send { outgoing: Outgoing, tag: Tag },
    /// The user has read up to here.
    Read { conversation: LogId, seq: u64 },
    /// The app came to the foreground, or left it.
    Foreground(bool),
    /// Any other frame, once.
    Request { frame: up::Frame, reply: Reply },
}

/// What a send carries through the outbox.
pub(super) struct Tag {
    /// Who waits; `None`: told as an update.
    pub(super) reply: Option<oneshot::Sender<Result<Sent, Error>>>,
    /// Room in the outbox; given back when the send is settled.
    pub(super) permit: OwnedSemaphorePermit,
    /// Whether a store keeps it.
    pub(super) stored: bool,
}

/// Who waits for a request's answer.
pub(super) enum Reply {
    /// A caller.
    Caller {
        answer: oneshot::Sender<Result<Outcome, Error>>,
        /// Room among the requests in flight; given back with the answer.
        _permit: OwnedSemaphorePermit,
    },
    /// Nobody: the engine repeated a watch after a reconnect.
    Watch,
}

impl Reply {
    pub(super) fn answer(self, outcome: Result<Outcome, Error>) {
        if let Self::Caller { answer, .. } = self {
            // A caller that waits no longer has chosen so.
            let _ = answer.send(outcome);
        }
    }

    pub(super) fn fail(self, error: Error) {
        self.answer(Err(error));
    }
}
