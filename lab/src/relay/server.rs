//! The relay's server: sessions in, frames out.
//!
//! A frame's way: `Session::run` reads it; bare, it fans out at once; durable, it goes to the
//! [`disk_log`], which fans out after the sync.
//!
//! Invariant: a session's reader never waits for another session or for the disk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::hub::{Hub, Outgoing, Participant, Room};
use super::wire::relay_service_server::{RelayService, RelayServiceServer};
use super::wire::{
    Hello, OpenSessionRequest, Ready, Send, open_session_request, open_session_response,
};
use super::{WINDOW_BYTES, disk_log, disk_log::Pending};

/// A message's size, at most, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What the relay does before it acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Bare,
    /// Appends to a file and syncs it, many messages at once.
    Durable,
}

/// Why the relay ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The log can't be opened.
    #[error("the relay's log can't be opened in its directory: {0}")]
    Log(#[from] io::Error),
    /// The transport failed.
    #[error("the relay's server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `stop`. `dir` takes the log in durable mode, and is not touched in bare mode.
pub async fn serve(
    listener: TcpListener,
    mode: Mode,
    dir: &Path,
    stop: CancellationToken,
) -> Result<(), RelayError> {
    let (log, log_thread) = match mode {
        Mode::Bare => (None, None),
        Mode::Durable => {
            let (queue, thread) = disk_log::start(dir)?;
            (Some(queue), Some(thread))
        }
    };
    let tasks = TaskTracker::new();
    let relay = Relay {
        hub: Arc::default(),
        log,
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    let service = RelayServiceServer::new(relay).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let served = Server::builder()
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(16 * 1024)
        .add_service(service)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.clone().cancelled_owned(),
        )
        .await;
    // If the transport failed by itself, sessions do not know yet.
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    if let Some(thread) = log_thread {
        // All senders of its queue are gone, so that it ends after the batch in hand.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
    Ok(served?)
}

struct Relay {
    hub: Arc<Hub>,
    log: Option<mpsc::Sender<Pending>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[tonic::async_trait]
impl RelayService for Relay {
    type OpenSessionStream = ReceiverStream<Outgoing>;

    /// Answers at once and reads the hello inside: a client may wait for the response first.
    async fn open_session(
        &self,
        request: Request<Streaming<OpenSessionRequest>>,
    ) -> Result<Response<Self::OpenSessionStream>, Status> {
        let (participant, frames) = Participant::new(&self.stop);
        let (hub, log) = (Arc::clone(&self.hub), self.log.clone());
        let session = Session {
            participant,
            hub,
            log,
            inbound: request.into_inner(),
        };
        self.tasks.spawn(session.run());
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}

struct Session {
    participant: Participant,
    hub: Arc<Hub>,
    log: Option<mpsc::Sender<Pending>>,
    inbound: Streaming<OpenSessionRequest>,
}

impl Session {
    async fn run(mut self) {
        let Some(hello) = self.hello().await else {
            return self
                .participant
                .fail(Status::invalid_argument("the first frame is `hello`"));
        };
        let room = self.hub.join(&hello.room, &self.participant);
        self.participant
            .put(open_session_response::Kind::Ready(Ready {}));
        while let Some(kind) = self.next().await {
            match kind {
                open_session_request::Kind::Send(send) => self.relay(&room, send),
                open_session_request::Kind::Received(_) => {}
                open_session_request::Kind::Hello(_) => {
                    self.participant
                        .fail(Status::invalid_argument("`hello` comes once"));
                }
            }
        }
        self.hub.leave(&hello.room, &self.participant);
    }

    async fn hello(&mut self) -> Option<Hello> {
        match self.next().await? {
            open_session_request::Kind::Hello(hello) => Some(hello),
            _ => None,
        }
    }

    /// The next frame; none when either side is done. `Streaming::message` is cancel-safe.
    async fn next(&mut self) -> Option<open_session_request::Kind> {
        tokio::select! {
            biased;
            frame = self.inbound.message() => frame.ok()??.kind,
            () = self.participant.is_cut() => None,
        }
    }

    fn relay(&self, room: &Arc<Room>, send: Send) {
        let Some(log) = &self.log else {
            self.participant
                .put(open_session_response::Kind::Stored(send.id));
            return room.relay(&self.participant, &send.body);
        };
        let (sender, room) = (self.participant.clone(), Arc::clone(room));
        let pending = Pending {
            id: send.id,
            body: send.body,
            sender,
            room,
        };
        if log.try_send(pending).is_err() {
            let status = Status::resource_exhausted("the relay's log is behind; send more slowly");
            self.participant.fail(status);
        }
    }
}
