//! Store link: reads of history-svc, over one stream to one of its processes.
//!
//! Sessions read their mailboxes (`session::catch_up`), unary calls read history after a grant.
//! Answers come in any order and are matched by id.
//!
//! Invariant: each read gets one answer, a fault when the stream breaks; the reader task never
//! waits.

use crate::{connect, edge::Edge, session::Session};
use futures_util::StreamExt;
use heddle_kit::{
    AnyOf, Tasks,
    link::{Opened, Outbox, OutboxOptions, TrySendError, outbox},
};
use heddle_proto::{
    errors::Fault,
    internal::{
        Read, ReadOutcome, ReadRequest, read::Query, store_service_client::StoreServiceClient,
    },
    v1::ErrorReason,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// A frame of answers has at most a read's bytes and something around them.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// When a failed read makes sense again, in milliseconds.
const RETRY_DELAY_MS: u64 = 200;

/// Whom an answer is for.
enum Reader {
    Session(Arc<Session>),
    Waiter(oneshot::Sender<Result<ReadOutcome, Fault>>),
}

/// The way to history-svc.
pub struct StoreLink {
    history: AnyOf,
    outbox: RwLock<Option<Outbox<Read>>>,
    readers: Mutex<HashMap<u64, Reader>>,
    next_id: AtomicU64,
}

impl StoreLink {
    /// Not connected yet.
    pub fn new(history: AnyOf) -> Self {
        let (outbox, readers) = (RwLock::new(None), Mutex::default());
        Self {
            history,
            outbox,
            readers,
            next_id: AtomicU64::new(1),
        }
    }

    /// Connects, and stays connected until `stop`.
    pub fn start(edge: &Arc<Edge>, tasks: &Tasks, stop: CancellationToken) {
        let edge = edge.clone();
        tasks.spawn("store link", async move {
            let connection = |opened| edge.store.connection(&edge, opened);
            connect::keep("history", stop, connection).await;
        });
    }

    fn readers(&self) -> MutexGuard<'_, HashMap<u64, Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads for a session, which is told by [`Session::read_done`] unless this fails at once.
    pub fn read_for(&self, session: &Arc<Session>, query: Query) -> Result<(), Fault> {
        self.send(query, Reader::Session(session.clone()))
    }

    /// Reads for a unary call.
    pub async fn read(&self, query: Query) -> Result<ReadOutcome, Fault> {
        let (answer, answered) = oneshot::channel();
        self.send(query, Reader::Waiter(answer))?;
        answered.await.unwrap_or_else(|_| Err(lost()))
    }

    fn send(&self, query: Query, reader: Reader) -> Result<(), Fault> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.readers().insert(id, reader);
        let read = Read {
            id,
            query: Some(query),
        };
        let outbox = self.outbox.read().unwrap_or_else(PoisonError::into_inner);
        let sent = match outbox.as_ref() {
            Some(outbox) => outbox.try_send(read).map_err(|error| match error {
                TrySendError::Full(_) => {
                    let text = "too many reads wait; retry after the delay";
                    Fault::new(ErrorReason::Overloaded, text).retry_after(RETRY_DELAY_MS)
                }
                TrySendError::Closed(_) => lost(),
            }),
            None => Err(lost()),
        };
        drop(outbox);
        // Whoever has taken the reader out in the meantime tells it.
        match sent {
            Err(fault) if self.readers().remove(&id).is_some() => Err(fault),
            _ => Ok(()),
        }
    }

    async fn connection(&self, edge: &Arc<Edge>, opened: Opened) -> Result<(), Status> {
        let build = |reads| ReadRequest { reads };
        let (outbox, frames) = outbox(OutboxOptions::default(), build);
        *self.outbox.write().unwrap_or_else(PoisonError::into_inner) = Some(outbox);
        let ended = self.answers(edge, frames, opened).await;
        self.history.failed();
        self.disconnected(edge);
        ended
    }

    async fn answers(
        &self,
        edge: &Arc<Edge>,
        frames: impl futures_util::Stream<Item = ReadRequest> + Send + 'static,
        opened: Opened,
    ) -> Result<(), Status> {
        let mut client = StoreServiceClient::new(self.history.current())
            .max_decoding_message_size(FRAME_BYTES_MAX);
        let mut answers = client.read(frames).await?.into_inner();
        opened.tell();
        while let Some(frame) = answers.next().await {
            for outcome in frame?.outcomes {
                let reader = self.readers().remove(&outcome.id);
                if let Some(reader) = reader {
                    reader.tell(edge, judge(outcome));
                }
            }
        }
        Ok(())
    }

    fn disconnected(&self, edge: &Edge) {
        let outbox = self
            .outbox
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(outbox) = outbox {
            outbox.close();
        }
        let readers = std::mem::take(&mut *self.readers());
        for (_, reader) in readers {
            reader.tell(edge, Err(lost()));
        }
    }
}

impl Reader {
    fn tell(self, edge: &Edge, outcome: Result<ReadOutcome, Fault>) {
        match self {
            Self::Session(session) => session.read_done(edge, outcome),
            // A caller that has gone needs no answer.
            Self::Waiter(waiter) => drop(waiter.send(outcome)),
        }
    }
}

fn lost() -> Fault {
    let text = "the event store cannot be reached; retry after the delay";
    Fault::new(ErrorReason::OwnerChanging, text).retry_after(RETRY_DELAY_MS)
}

fn judge(outcome: ReadOutcome) -> Result<ReadOutcome, Fault> {
    let reason = match Code::from_i32(outcome.code) {
        Code::Ok => return Ok(outcome),
        Code::DataLoss => ErrorReason::DataLoss,
        Code::ResourceExhausted => ErrorReason::Overloaded,
        Code::Unavailable => ErrorReason::OwnerChanging,
        Code::OutOfRange => ErrorReason::PositionLost,
        _ => ErrorReason::Internal,
    };
    Err(Fault::new(reason, outcome.message).retry_after(RETRY_DELAY_MS))
}
