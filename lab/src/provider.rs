//! A provider of our own, for the push suite and the push bench: a webhook receiver on loopback
//! that can be in any mood.
//!
//! Invariant: a push counts as arrived only if its answer was to be a good one; whatever else the
//! sender makes of a bad mood, it has to send it again.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use heddle_proto::v1::{WebhookTarget, push_registration::Target as Registered};
use heddle_sdk::Client;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::target::TargetError;

/// How long an answer takes in the mood [`Mood::Slow`].
const SLOW: Duration = Duration::from_secs(2);
/// Connections at once; more are not accepted.
const CONNECTIONS_MAX: usize = 1_024;

/// Makes a phone known, says that its pushes go to `webhook`, and leaves.
pub async fn register_away(phone: &Client, webhook: &str) -> Result<(), TargetError> {
    let refused = || TargetError::refused("a phone that is away");
    let session = phone.session().open().await.map_err(refused())?;
    session.handle().connected().await.map_err(refused())?;
    let hook = WebhookTarget {
        url: webhook.to_owned(),
        secret: vec![7; 32].into(),
    };
    let registered = phone
        .register_push("phone", Registered::Webhook(hook))
        .await;
    registered.map_err(refused())?;
    session.close().await;
    Ok(())
}

/// How the provider is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mood {
    /// Takes everything at once
    #[default]
    Well,
    /// Takes no connection
    Down,
    /// Takes everything, late
    Slow,
    /// 429, with Retry-After: 1
    Busy,
    /// 500
    Broken,
    /// Bytes that are no TLS, and no HTTP
    Garbled,
    /// Half an answer, then nothing
    HalfWritten,
}

impl Mood {
    /// All but the good one.
    pub const BAD: [Self; 6] = [
        Self::Down,
        Self::Slow,
        Self::Busy,
        Self::Broken,
        Self::Garbled,
        Self::HalfWritten,
    ];
}

/// A push as it arrived: what a webhook gets, all of it strings.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Arrived {
    /// message, update, clear, badge, test.
    pub action: String,
    /// Names the push.
    pub push_id: String,
    /// Whose device.
    pub user_id: String,
    /// What it collapses by.
    pub conversation_id: String,
    /// The newest message.
    pub seq: String,
    /// Unread over all conversations.
    pub badge: String,
}

#[derive(Default)]
struct State {
    mood: Mutex<Mood>,
    arrived: Mutex<Vec<Arrived>>,
}

/// The receiver; it goes with its value.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate that it shows, PEM; empty: it speaks in the clear.
    pub certificate: String,
    state: Arc<State>,
    stop: CancellationToken,
    _tasks: TaskTracker,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    /// Listens on a port of its own, in the clear.
    pub async fn start() -> std::io::Result<Self> {
        Self::listen(None).await
    }

    /// The same behind TLS, with a certificate of its own.
    pub async fn start_tls() -> std::io::Result<Self> {
        let broken = std::io::Error::other::<rcgen::Error>;
        let names = vec!["127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(broken)?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let key = key.map_err(std::io::Error::other)?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .map_err(std::io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut receiver = Self::listen(Some(acceptor)).await?;
        receiver.certificate = made.cert.pem();
        Ok(receiver)
    }

    async fn listen(tls: Option<TlsAcceptor>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let ends = (state.clone(), tls);
        let accepting = accept(listener, ends, stop.clone(), tasks.clone());
        tasks.spawn(accepting);
        Ok(Self {
            address,
            certificate: String::new(),
            state,
            stop,
            _tasks: tasks,
        })
    }

    /// From now on.
    pub fn set(&self, mood: Mood) {
        *lock(&self.state.mood) = mood;
    }

    /// How much has arrived so far.
    pub fn count(&self) -> usize {
        lock(&self.state.arrived).len()
    }

    /// What has arrived so far, in order.
    pub fn arrived(&self) -> Vec<Arrived> {
        lock(&self.state.arrived).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    (state, tls): (Arc<State>, Option<TlsAcceptor>),
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        if tasks.len() < CONNECTIONS_MAX {
            let (state, tls, stop) = (state.clone(), tls.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = greet(stream, tls, state) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    }
}

/// Through TLS, or not: what is no good before that.
async fn greet(mut stream: TcpStream, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mood = *lock(&state.mood);
    match (mood, tls) {
        // A connection that is reset at once looks like none that was taken.
        (Mood::Down, _) => {}
        (Mood::Garbled, _) => {
            let _gone = stream.write_all(b"\x16\x03\x03 not a word of it").await;
        }
        (_, Some(tls)) => match tls.accept(stream).await {
            Ok(stream) => serve(stream, state).await,
            Err(error) => tracing::debug!(%error, "no TLS came about"),
        },
        (_, None) => serve(stream, state).await,
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    if *lock(&state.mood) == Mood::HalfWritten {
        let _read = stream.read(&mut [0; 4096]).await;
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
        let _gone = stream.write_all(half).await;
        return;
    }
    let answer = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(request, &state).await) }
    });
    // A connection that breaks is the sender's to notice.
    let _broken = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

async fn answer(request: Request<Incoming>, state: &State) -> Response<Full<Bytes>> {
    let mood = *lock(&state.mood);
    if mood == Mood::Slow {
        tokio::time::sleep(SLOW).await;
    }
    let status = match mood {
        Mood::Well | Mood::Slow => StatusCode::OK,
        Mood::Busy => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let body = request.into_body().collect().await;
    let arrived = body.ok().and_then(|body| {
        let arrived = serde_json::from_slice::<Arrived>(&body.to_bytes());
        arrived
            .inspect_err(|error| tracing::warn!(%error, "a push cannot be read"))
            .ok()
    });
    if let (StatusCode::OK, Some(arrived)) = (status, arrived) {
        lock(&state.arrived).push(arrived);
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    if mood == Mood::Busy {
        let second = http::HeaderValue::from_static("1");
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, second);
    }
    response
}
