//! Accept: from a listening socket to connections that have shown that they speak HTTP.
//!
//! tonic keeps a peer that says nothing for ever. Here each new socket has one deadline for its
//! TLS handshake and its first bytes, runs in a task of its own, and counts against three caps.
//! [`mod@crate::serve`] takes the connections; so could tonic's `serve_with_incoming`.
//!
//! Invariant: what is yielded has sent a whole HTTP/2 preface (or, where allowed, an HTTP/1
//! request line); everything else is closed within the handshake deadline, and counted.

mod caps;
mod connection;
mod preface;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use crate::tasks::Tasks;
use crate::telemetry;
use crate::tls::ServerTls;
pub use caps::ConnectionCaps;
use caps::Place;
pub use connection::{Connection, ConnectionInfo, Protocol};

/// How long a peer has to finish TLS and send its HTTP/2 preface, by default.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
/// Peers that may be in their handshake at once, by default.
pub const PENDING_HANDSHAKES_MAX: usize = 1_024;
/// Connections from one address, by default. High, since mobile networks share addresses.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 20_000;
/// Connections in total, by default.
pub const CONNECTIONS_MAX: usize = 100_000;
/// After a failed `accept` (too many open files, as a rule): time for something to be closed.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

crate::config! {
    /// What a listener allows to those who connect.
    pub struct AcceptOptions {
        /// Time for TLS and the first bytes of HTTP (milliseconds); then the peer is cut off.
        pub handshake_timeout_ms: u64 = HANDSHAKE_TIMEOUT_MS,
        /// Peers that may be in their handshake at once; more are closed at once.
        pub pending_handshakes_max: usize = PENDING_HANDSHAKES_MAX,
        /// Connections from one IPv4 address or IPv6 /64; more are closed at once.
        pub connections_per_address_max: usize = CONNECTIONS_PER_ADDRESS_MAX,
        /// Connections in total; more are closed at once.
        pub connections_max: usize = CONNECTIONS_MAX,
        /// Whether HTTP/1.1 may pass, as gRPC-Web needs.
        pub accept_http1: bool = false,
    }
}

/// The connections of one listener, ready to be served. Dropping it closes the listener.
pub struct Incoming {
    ready: mpsc::Receiver<Connection>,
}

impl Incoming {
    /// Starts accepting. Stops, and closes the port, when `tasks` drains.
    pub fn start(
        listener: TcpListener,
        options: &AcceptOptions,
        tls: Option<ServerTls>,
        tasks: &Tasks,
    ) -> Self {
        let pending_max = options
            .pending_handshakes_max
            .clamp(1, Semaphore::MAX_PERMITS);
        // A finished handshake keeps its permit until it is taken, so this never fills up.
        let (sender, ready) = mpsc::channel(pending_max);
        let door = Arc::new(Door {
            options: options.clone(),
            tls,
            caps: ConnectionCaps::new(options.connections_max, options.connections_per_address_max),
            pending: Arc::new(Semaphore::new(pending_max)),
            refused: telemetry::counter("heddle.accept.refused", "Connections not served, by why"),
            sender,
        });
        let accepting = tasks.clone();
        tasks.spawn("accept", async move {
            tokio::select! {
                () = door.clone().accept(listener, accepting.clone()) => {}
                () = accepting.stopping().cancelled() => {}
                () = door.sender.closed() => {}
            }
        });
        Self { ready }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready
            .poll_recv(context)
            .map(|connection| connection.map(Ok))
    }
}

/// Why a connection was not served; the label of its counter.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    TooManyPending,
    TooMany,
    TooManyFromAddress,
    TimedOut,
    Tls,
    NotHttp,
}

impl Refusal {
    fn label(self) -> &'static str {
        match self {
            Self::TooManyPending => "pending_handshakes",
            Self::TooMany => "connections",
            Self::TooManyFromAddress => "connections_per_address",
            Self::TimedOut => "handshake_timeout",
            Self::Tls => "tls",
            Self::NotHttp => "not_http",
        }
    }
}

struct Door {
    options: AcceptOptions,
    tls: Option<ServerTls>,
    caps: ConnectionCaps,
    pending: Arc<Semaphore>,
    refused: Counter<u64>,
    sender: mpsc::Sender<Connection>,
}

impl Door {
    async fn accept(self: Arc<Self>, listener: TcpListener, tasks: Tasks) {
        loop {
            let (socket, remote) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            match self.admit(remote) {
                Ok((permit, place)) => {
                    let (door, stopping) = (self.clone(), tasks.stopping().child_token());
                    tasks.spawn_contained("handshake", async move {
                        tokio::select! {
                            () = door.greet(socket, remote, permit, place) => {}
                            () = stopping.cancelled() => {}
                        }
                    });
                }
                Err(refusal) => self.refuse(remote, refusal),
            }
        }
    }

    fn admit(&self, remote: SocketAddr) -> Result<(OwnedSemaphorePermit, Place), Refusal> {
        let permit = self.pending.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::TooManyPending)?;
        Ok((permit, self.caps.enter(remote.ip())?))
    }

    fn refuse(&self, remote: SocketAddr, refusal: Refusal) {
        tracing::debug!(%remote, why = refusal.label(), "connection refused");
        self.refused
            .add(1, &[KeyValue::new("reason", refusal.label())]);
    }

    /// One peer's handshake, from the bare socket to a connection that can be served.
    async fn greet(
        &self,
        socket: TcpStream,
        remote: SocketAddr,
        permit: OwnedSemaphorePermit,
        place: Place,
    ) {
        let deadline = Duration::from_millis(self.options.handshake_timeout_ms);
        let handshake = self.handshake(socket, remote, place);
        match timeout(deadline, handshake)
            .await
            .unwrap_or(Err(Refusal::TimedOut))
        {
            Ok(mut connection) => {
                connection.hold_until_served(permit);
                // Fails only when nobody serves any more; the connection is closed by its drop.
                let _no_server = self.sender.send(connection).await;
            }
            Err(refusal) => self.refuse(remote, refusal),
        }
    }

    async fn handshake(
        &self,
        socket: TcpStream,
        remote: SocketAddr,
        place: Place,
    ) -> Result<Connection, Refusal> {
        socket.set_nodelay(true).map_err(|_| Refusal::NotHttp)?;
        let local = socket.local_addr().ok();
        let (mut io, certificates) = match &self.tls {
            None => (connection::Transport::Plain(socket), None),
            Some(tls) => {
                let stream = tls
                    .acceptor()
                    .accept(socket)
                    .await
                    .map_err(|_| Refusal::Tls)?;
                let chain = stream.get_ref().1.peer_certificates().map(Arc::from);
                (connection::Transport::Tls(Box::new(stream)), chain)
            }
        };
        let first = preface::read(&mut io, self.options.accept_http1);
        let (protocol, bytes) = first.await.ok_or(Refusal::NotHttp)?;
        let info = ConnectionInfo::new(remote, local, certificates);
        Ok(Connection::new(io, bytes, protocol, info, place))
    }
}

#[cfg(test)]
mod tests;
