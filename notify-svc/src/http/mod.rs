//! HTTP towards providers: posts, over HTTP/2 where it is spoken, else over HTTP/1.1.
//!
//! Providers build requests; `endpoint` judges URLs, `dial` connects. One HTTP/2 connection per
//! origin is kept and shared; HTTP/1.1 ones serve a single post. Redirects are answers like any.
//!
//! Invariant: at most `connections_max` connections are kept, an answer is read to
//! [`ANSWER_BYTES_MAX`], and no body, header or URL is logged.

pub mod address;
pub mod dial;
pub mod endpoint;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use heddle_kit::Tasks;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use dial::{DialError, Dialer, Dialled};
use endpoint::Endpoint;

/// What is read of an answer's body; what is longer counts as broken.
pub const ANSWER_BYTES_MAX: usize = 16_384;
/// How often a connection with posts under way is asked whether it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The pause that it asks for, where it says seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        text.trim().parse().ok().map(Duration::from_secs)
    }
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It broke, or what came is no HTTP.
    #[error("no answer: {0}")]
    Broken(#[from] hyper::Error),
    /// The request cannot be made.
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
    /// The answer's body broke off or is too long.
    #[error("the answer broke off, or is too long")]
    Body,
    /// It was not to leave any more when a connection was there.
    #[error("it took too long to connect for what may not be sent late")]
    Late,
}

type Sender = http2::SendRequest<Full<Bytes>>;
type Slot = Arc<OnceCell<Sender>>;

/// Posts to providers. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    dialer: Arc<Dialer>,
    kept: Arc<Mutex<HashMap<String, Slot>>>,
    connections_max: usize,
    tasks: Tasks,
}

/// A fresh connection.
enum Spoken {
    Http2(Sender),
    Http1(http1::SendRequest<Full<Bytes>>),
}

impl Client {
    /// Connections are tasks of `tasks`.
    pub fn new(dialer: Dialer, connections_max: usize, tasks: Tasks) -> Self {
        Self {
            dialer: Arc::new(dialer),
            kept: Arc::default(),
            connections_max: connections_max.max(1),
            tasks,
        }
    }

    /// Posts a body, unless it is `leave_by` before there is a connection. Dropping the future
    /// gives the post up.
    pub async fn post(
        &self,
        endpoint: &Endpoint,
        headers: HeaderMap,
        body: Bytes,
        leave_by: Option<Instant>,
    ) -> Result<Answer, PostError> {
        let slot = self.slot(endpoint);
        if let Some(sender) = slot.get() {
            return over_http2(sender.clone(), endpoint, headers, body, leave_by).await;
        }
        // Who comes while another dials waits for its connection, so that a burst makes one.
        let mut single = None;
        let sender = slot
            .get_or_try_init(|| async {
                match self.connect(endpoint).await? {
                    Spoken::Http2(sender) => Ok(sender),
                    Spoken::Http1(sender) => {
                        single = Some(sender);
                        Err(None)
                    }
                }
            })
            .await
            .cloned();
        match (sender, single) {
            (Ok(sender), _) => over_http2(sender, endpoint, headers, body, leave_by).await,
            (Err(_), Some(mut sender)) => {
                let uri = endpoint.path.clone();
                let mut request = request(&uri, headers, body)?;
                let host = endpoint.authority().parse().map_err(http::Error::from)?;
                request.headers_mut().insert(header::HOST, host);
                in_time(leave_by)?;
                answer(sender.send_request(request).await?).await
            }
            (Err(error), None) => Err(error.unwrap_or(PostError::Body)),
        }
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Spoken, PostError> {
        match self.dialer.dial(endpoint).await? {
            Dialled::Plain(stream) => self.http1(TokioIo::new(stream)).await,
            Dialled::Tls(stream) => {
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let io = TokioIo::new(*stream);
                if !h2 {
                    return self.http1(io).await;
                }
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .keep_alive_interval(KEEP_ALIVE_INTERVAL)
                    .handshake(io)
                    .await?;
                self.keep(connection);
                Ok(Spoken::Http2(sender))
            }
        }
    }

    async fn http1<T>(&self, io: T) -> Result<Spoken, PostError>
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(io).await?;
        self.keep(connection);
        Ok(Spoken::Http1(sender))
    }

    /// Drives a connection until it ends: once the service stops, when its last post is answered.
    fn keep(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let stopping = self.tasks.stopping().clone();
        let kept = self.kept.clone();
        self.tasks
            .spawn_contained("provider connection", async move {
                let mut connection = std::pin::pin!(connection);
                let ended = tokio::select! {
                    ended = &mut connection => ended,
                    () = stopping.cancelled() => {
                        kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
                        connection.await
                    }
                };
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to a provider ended");
                }
            });
    }

    /// The place of an origin's connection; an ended one is forgotten first. When there are too
    /// many, any other one makes room: its posts go on, the next opens it again.
    fn slot(&self, endpoint: &Endpoint) -> Slot {
        let origin = format!("{} {}", endpoint.origin(), endpoint.inside);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = kept.get(&origin) {
            if !slot.get().is_some_and(Sender::is_closed) {
                return slot.clone();
            }
            kept.remove(&origin);
        }
        if self.tasks.stopping().is_cancelled() {
            return Slot::default();
        }
        if kept.len() >= self.connections_max {
            let other = kept.keys().next().cloned();
            other.and_then(|other| kept.remove(&other));
        }
        kept.entry(origin).or_default().clone()
    }
}

async fn over_http2(
    mut sender: Sender,
    endpoint: &Endpoint,
    headers: HeaderMap,
    body: Bytes,
    leave_by: Option<Instant>,
) -> Result<Answer, PostError> {
    let uri = format!("{}{}", endpoint.origin(), endpoint.path);
    let request = request(&uri, headers, body)?;
    sender.ready().await?;
    in_time(leave_by)?;
    answer(sender.send_request(request).await?).await
}

fn in_time(leave_by: Option<Instant>) -> Result<(), PostError> {
    match leave_by.is_some_and(|by| by <= Instant::now()) {
        true => Err(PostError::Late),
        false => Ok(()),
    }
}

fn request(
    uri: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::post(uri).body(Full::new(body))?;
    *request.headers_mut() = headers;
    Ok(request)
}

async fn answer(response: http::Response<Incoming>) -> Result<Answer, PostError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: body.map_err(|_| PostError::Body)?.to_bytes(),
    })
}
