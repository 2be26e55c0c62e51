//! The sending side of a session: cheap to clone, used from anywhere.

use super::command::{Command, Reply, Tag};
use super::core::REQUESTS_IN_FLIGHT_MAX;
use super::engine::Standing;
use super::taken::Taken;
use super::update::Sent;
use crate::Error;
use crate::client::Shared;
use crate::outbox::{Outgoing, store::OutboxStore};
use heddle_proto::ids::{LogId, MessageId};
use heddle_proto::v1::{self, open_session_request as up, result::Outcome};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// What to do when the outbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Wait for room.
    Wait,
    /// Fail at once.
    Fail,
}

/// A message on its way.
#[derive(Debug)]
pub struct Sending {
    /// What the server will know it by, unless this machine's clock was ahead.
    pub client_message_id: MessageId,
    answer: oneshot::Receiver<Result<Sent, Error>>,
}

impl Sending {
    /// Waits until it is stored, or refused for good. The message is sent whether or not anybody
    /// waits.
    pub async fn done(self) -> Result<Sent, Error> {
        self.answer.await.unwrap_or_else(|_| Err(Error::closed()))
    }
}

/// Sends, marks and asks, over one session.
#[derive(Clone)]
pub struct SessionHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) outbox_room: Arc<Semaphore>,
    pub(super) outbox_len_max: usize,
    pub(super) request_room: Arc<Semaphore>,
    pub(super) taken: Arc<Taken>,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) store: Option<Arc<dyn OutboxStore>>,
}

impl SessionHandle {
    /// A message with an id minted on the server's time, to be sent by this session.
    pub fn outgoing(&self, conversation_id: LogId, message: v1::Message) -> Outgoing {
        Outgoing {
            conversation_id,
            client_message_id: self.shared.clock.mint(),
            message,
        }
    }

    /// Sends and waits until it is stored; waits for room and for connections as long as it takes.
    pub async fn send(&self, to: LogId, message: v1::Message) -> Result<Sent, Error> {
        let outgoing = self.outgoing(to, message);
        self.enqueue(outgoing, WhenFull::Wait).await?.done().await
    }

    /// Queues a message. Messages to one conversation keep the order of queueing. With a store, the
    /// message survives the process once this has answered.
    pub async fn enqueue(&self, outgoing: Outgoing, full: WhenFull) -> Result<Sending, Error> {
        let (reply, answer) = oneshot::channel();
        let client_message_id = outgoing.client_message_id;
        self.queue(outgoing, full, Some(reply)).await?;
        Ok(Sending {
            client_message_id,
            answer,
        })
    }

    /// Queues a message as [`Self::enqueue`] does; what becomes of it comes as `Update::Sent`, in
    /// turn with what else the session tells.
    pub async fn post(&self, outgoing: Outgoing, full: WhenFull) -> Result<(), Error> {
        self.queue(outgoing, full, None).await
    }

    /// Queues a message without waiting; what becomes of it comes as `Update::Sent`. For load
    /// drivers: such a message is in no store.
    pub fn send_nowait(&self, outgoing: Outgoing) -> Result<(), Error> {
        let room = self.outbox_room.clone().try_acquire_owned();
        let permit = room.map_err(|_| Error::outbox_full(self.outbox_len_max))?;
        let tag = Tag {
            reply: None,
            permit,
            stored: false,
        };
        let command = Command::Send { outgoing, tag };
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Error::outbox_full(self.outbox_len_max),
                mpsc::error::TrySendError::Closed(_) => Error::closed(),
            })
    }

    /// Waits until every message queued so far, and until now, is settled.
    pub async fn flush(&self) -> Result<(), Error> {
        let all = u32::try_from(self.outbox_len_max).unwrap_or(u32::MAX);
        let room = self.outbox_room.acquire_many(all).await;
        room.map(drop).map_err(|_| Error::closed())
    }

    /// Says that the user has read a conversation up to a seq. Told soon, together with others, and
    /// again until the server has it.
    pub async fn mark_read(&self, conversation: LogId, seq: u64) -> Result<(), Error> {
        let command = Command::Read { conversation, seq };
        self.commands
            .send(command)
            .await
            .map_err(|_| Error::closed())
    }

    /// Acknowledges all positions up to one, in `AckMode::Manual`.
    pub fn ack(&self, position: u64) {
        self.taken.advance(position);
    }

    /// Says whether the app is in the foreground.
    pub async fn foreground(&self, foreground: bool) -> Result<(), Error> {
        let command = Command::Foreground(foreground);
        self.commands
            .send(command)
            .await
            .map_err(|_| Error::closed())
    }

    /// Shows the others that the user types, or no more.
    pub async fn typing(&self, conversation: LogId, active: bool) -> Result<(), Error> {
        let request = v1::SendTypingRequest {
            conversation_id: conversation.to_bytes(),
            active,
        };
        self.request(up::Frame::Typing(request)).await.map(drop)
    }

    /// Sends a signal that is never stored.
    pub async fn signal(&self, signal: v1::SendSignalRequest) -> Result<(), Error> {
        self.request(up::Frame::Signal(signal)).await.map(drop)
    }

    /// Sets the user's own status, and whether others see it.
    pub async fn set_status(&self, status: String, presence_hidden: bool) -> Result<(), Error> {
        let request = v1::SetStatusRequest {
            status,
            presence_hidden,
        };
        self.request(up::Frame::Status(request)).await.map(drop)
    }

    /// Chooses whose presence comes as updates, now and after each reconnect; answers as they are
    /// now.
    pub async fn watch_presence(&self, user_ids: Vec<String>) -> Result<Vec<v1::Presence>, Error> {
        let request = v1::WatchPresenceRequest {
            user_ids,
            ..Default::default()
        };
        match self.request(up::Frame::Watch(request)).await? {
            Outcome::Watch(watch) => Ok(watch.presences),
            _ => Ok(Vec::new()),
        }
    }

    /// Sends any frame once and waits for its answer. Fails with a retryable error while
    /// disconnected, or when the connection ends first; calls that carry an id may then be repeated
    /// as they were.
    pub async fn request(&self, frame: up::Frame) -> Result<Outcome, Error> {
        let permit = self.request_permit().await?;
        let (answer, answered) = oneshot::channel();
        let reply = Reply::Caller {
            answer,
            _permit: permit,
        };
        let command = Command::Request { frame, reply };
        self.commands
            .send(command)
            .await
            .map_err(|_| Error::closed())?;
        answered.await.unwrap_or_else(|_| Err(Error::closed()))
    }

    /// Waits until the session is connected; fails when it is closed for good.
    pub async fn connected(&self) -> Result<(), Error> {
        let mut standing = self.standing.clone();
        let reached = |standing: &Standing| !matches!(standing, Standing::Connecting(_));
        match standing.wait_for(reached).await.as_deref() {
            Ok(Standing::Closed(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(Error::closed()),
        }
    }

    /// Waits until the session is over: nothing more is sent by it, nor taken from its store. The
    /// next session on that store opens after this.
    pub async fn closed(&self) {
        let mut standing = self.standing.clone();
        let closed = |standing: &Standing| matches!(standing, Standing::Closed(_));
        // An engine that is gone has closed.
        let _ = standing.wait_for(closed).await;
    }

    /// Why the last try to connect failed, while the session is not connected.
    pub fn trouble(&self) -> Option<Error> {
        match &*self.standing.borrow() {
            Standing::Connecting(error) => error.clone(),
            Standing::Connected => None,
            Standing::Closed(error) => Some(error.clone()),
        }
    }

    /// Queues what a store kept; what becomes of it comes as `Update::Sent`.
    pub(super) async fn requeue(&self, outgoing: Outgoing) -> Result<(), Error> {
        let room = self.outbox_room.clone().acquire_owned().await;
        let tag = Tag {
            reply: None,
            permit: room.map_err(|_| Error::closed())?,
            stored: true,
        };
        self.hand_in(outgoing, tag).await
    }

    async fn queue(
        &self,
        outgoing: Outgoing,
        full: WhenFull,
        reply: Option<oneshot::Sender<Result<Sent, Error>>>,
    ) -> Result<(), Error> {
        let permit = match full {
            WhenFull::Wait => self.outbox_room.clone().acquire_owned().await.ok(),
            WhenFull::Fail => self.outbox_room.clone().try_acquire_owned().ok(),
        };
        let permit = permit.ok_or_else(|| Error::outbox_full(self.outbox_len_max))?;
        let stored = self.keep(&outgoing).await?;
        let tag = Tag {
            reply,
            permit,
            stored,
        };
        self.hand_in(outgoing, tag).await
    }

    async fn hand_in(&self, outgoing: Outgoing, tag: Tag) -> Result<(), Error> {
        let command = Command::Send { outgoing, tag };
        let sent = self.commands.send(command).await;
        sent.map_err(|_| Error::closed())
    }

    async fn request_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        let room = self.request_room.clone().acquire_owned().await;
        room.map_err(|_| Error::closed())
    }

    async fn keep(&self, outgoing: &Outgoing) -> Result<bool, Error> {
        let Some(store) = &self.store else {
            return Ok(false);
        };
        store.put(outgoing).await.map_err(|error| {
            let text = format!("the outbox store could not keep the message: {error}");
            Error::local(tonic::Code::Internal, text)
        })?;
        Ok(true)
    }
}

/// Room for requests other than sends and marks.
pub(super) fn request_room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX))
}
