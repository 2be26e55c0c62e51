//! Serve: accepted connections to a tower service, over HTTP/2 (and HTTP/1 for gRPC-Web).
//!
//! In place of tonic's transport server, which spawns outside any tracker, has its own copy of the
//! layers and cannot be stopped by force. Takes what [`crate::accept`] lets in; the service is a
//! [`crate::layers::Guarded`], with gRPC-Web in front of it at the edge.
//!
//! Invariant: every connection and request is a task of the given [`Tasks`]; on drain each
//! connection is told GOAWAY, finishes its open calls, and is cut off when the grace is over.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::StreamExt;
use http::{Request, Response};
use hyper::body::Incoming as HyperBody;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::{BoxError, Service, ServiceExt};

use crate::accept::{AcceptOptions, Connection, Incoming, Protocol};
use crate::layers::Peer;
use crate::tasks::Tasks;
use crate::tls::ServerTls;

/// HTTP/2 window of a connection: h2 charges small unread frames against half of it.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// HTTP/2 window of a stream.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Header list of one request; h2's own default is 16 MiB.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Bytes that one stream may have written and not sent. hyper's own default is 400 KiB, and a
/// reader that stalls has them all.
pub const SEND_BUFFER_BYTES_MAX: usize = 32 * 1024;
/// Streams of one connection.
pub const STREAMS_MAX: u32 = 256;

crate::config! {
    /// How HTTP is spoken to those who connect.
    pub struct ServeOptions {
        /// HTTP/2 window of a connection (bytes).
        pub connection_window_bytes: u32 = CONNECTION_WINDOW_BYTES,
        /// HTTP/2 window of each stream (bytes).
        pub stream_window_bytes: u32 = STREAM_WINDOW_BYTES,
        /// Bytes that each stream may have written and not sent, and one frame on top.
        pub send_buffer_bytes_max: usize = SEND_BUFFER_BYTES_MAX,
        /// The largest header list of a request (bytes).
        pub header_list_bytes_max: u32 = HEADER_LIST_BYTES_MAX,
        /// Streams that one connection may have open.
        pub streams_max: u32 = STREAMS_MAX,
        /// A ping is sent after this much silence (milliseconds).
        pub keepalive_interval_ms: u64 = 20_000,
        /// A peer that does not answer a ping within this time is gone (milliseconds).
        pub keepalive_timeout_ms: u64 = 10_000,
    sections
        /// What the listener allows to those who connect.
        pub accept: AcceptOptions,
    }
}

impl ServeOptions {
    /// For a service that others link to: both ends find a dead link equally soon.
    pub fn as_soon_as(mut self, link: &crate::LinkOptions) -> Self {
        self.keepalive_interval_ms = self.keepalive_interval_ms.min(link.keepalive_interval_ms);
        self.keepalive_timeout_ms = self.keepalive_timeout_ms.min(link.keepalive_timeout_ms);
        self
    }
}

/// A service that connections can be served with.
pub trait HttpService:
    Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// Serves `service` on `listener` until `tasks` drains. Returns at once, with the address.
pub fn serve<S: HttpService>(
    listener: TcpListener,
    tls: Option<ServerTls>,
    options: &ServeOptions,
    service: S,
    tasks: &Tasks,
) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let mut incoming = Incoming::start(listener, &options.accept, tls, tasks);
    let engines = Engines::new(options, tasks);
    let serving = tasks.clone();
    tasks.spawn("serve", async move {
        while let Some(Ok(connection)) = incoming.next().await {
            let (engines, service, tasks) = (engines.clone(), service.clone(), serving.clone());
            serving.spawn_contained("connection", async move {
                engines.run(connection, service, tasks).await;
            });
        }
    });
    Ok(address)
}

/// The HTTP engines, configured.
#[derive(Clone)]
struct Engines {
    http1: http1::Builder,
    http2: http2::Builder<Executor>,
}

/// Runs the requests of HTTP/2 connections as tasks of the service.
#[derive(Clone)]
struct Executor(Tasks);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_contained("request", future);
    }
}

impl Engines {
    fn new(options: &ServeOptions, tasks: &Tasks) -> Self {
        let mut http2 = http2::Builder::new(Executor(tasks.clone()));
        http2
            .timer(TokioTimer::new())
            .initial_connection_window_size(options.connection_window_bytes)
            .initial_stream_window_size(options.stream_window_bytes)
            .max_send_buf_size(options.send_buffer_bytes_max)
            .max_header_list_size(options.header_list_bytes_max)
            .max_concurrent_streams(options.streams_max)
            .keep_alive_interval(Duration::from_millis(options.keepalive_interval_ms))
            .keep_alive_timeout(Duration::from_millis(options.keepalive_timeout_ms));
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(options.accept.handshake_timeout_ms))
            .max_buf_size(options.header_list_bytes_max as usize);
        Self { http1, http2 }
    }

    async fn run<S: HttpService>(&self, connection: Connection, service: S, tasks: Tasks) {
        let protocol = connection.protocol();
        let info = connection.info().clone();
        let peer = Peer::of(&info);
        let tcp = TcpConnectInfo {
            local_addr: info.local_addr(),
            remote_addr: Some(info.remote_addr()),
        };
        let service = hyper::service::service_fn(move |request: Request<HyperBody>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(info.clone());
            request.extensions_mut().insert(tcp.clone());
            let service = service.clone();
            async move {
                let answer = service.oneshot(request).await;
                Ok::<_, Infallible>(
                    answer.unwrap_or_else(|error| Status::from_error(error.into()).into_http()),
                )
            }
        });
        let io = TokioIo::new(connection);
        let ended = match protocol {
            Protocol::Http2 => {
                let served = pin!(self.http2.serve_connection(io, service));
                until_stopped(served, |served| served.graceful_shutdown(), &tasks).await
            }
            Protocol::Http1 => {
                // Boxed, so that the many connections of the other kind don't hold room for it.
                let mut served = Box::pin(self.http1.serve_connection(io, service));
                let served = served.as_mut();
                until_stopped(served, |served| served.graceful_shutdown(), &tasks).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }
}

/// Runs a connection to its end; when the service drains, tells the peer to make no new calls.
async fn until_stopped<C: Future<Output = hyper::Result<()>>>(
    mut served: Pin<&mut C>,
    say_goodbye: impl FnOnce(Pin<&mut C>),
    tasks: &Tasks,
) -> hyper::Result<()> {
    if let Some(ended) = tasks.until_stopping(served.as_mut()).await {
        return ended;
    }
    say_goodbye(served.as_mut());
    served.await
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
