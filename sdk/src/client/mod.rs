//! The client: where the server is, who the user is, and unary calls.
//!
//! Cheap to clone. Sessions are opened from it and share its clock and its token provider, each
//! over a connection of its own. The calls are in the files beside, by service.

mod builder;
mod conversations;
mod messages;
mod operations;
mod people;
mod pushes;

pub use builder::ClientBuilder;
pub use conversations::Snapshot;
pub use messages::Page;

use crate::clock::ServerClock;
use crate::session::SessionBuilder;
use crate::{Backoff, BackoffPolicy, Error, token::TokenProvider};
use heddle_proto::ids::MessageId;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Bytes of the greatest message that the client takes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// How long a token provider may take.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one deployment, for one user and device.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

/// What a client and its sessions have in common.
pub(crate) struct Shared {
    pub(crate) places: Vec<Place>,
    pub(crate) current: AtomicUsize,
    pub(crate) template: builder::Template,
    pub(crate) provider: Arc<dyn TokenProvider>,
    pub(crate) token: Mutex<Option<MetadataValue<Ascii>>>,
    pub(crate) device_id: String,
    pub(crate) app_version: String,
    /// Tells the sessions of this client apart from those of another on the same device.
    pub(crate) incarnation: u64,
    pub(crate) sessions: AtomicU64,
    pub(crate) clock: Arc<ServerClock>,
    pub(crate) call_timeout: Duration,
    pub(crate) call_tries_max: u32,
    pub(crate) tasks: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

/// An address, and the connection for unary calls to it.
pub(crate) struct Place {
    endpoint: Endpoint,
    channel: OnceLock<Channel>,
}

impl Client {
    /// Starts to describe a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Starts to describe a session.
    pub fn session(&self) -> SessionBuilder {
        SessionBuilder::new(self.clone())
    }

    /// A new id, minted on the server's time as far as it is known.
    pub fn mint(&self) -> MessageId {
        self.shared.clock.mint()
    }

    /// The connection for unary calls, for services that the client does not wrap; calls over it
    /// need `authorization` metadata.
    pub fn channel(&self) -> Channel {
        self.shared.channel()
    }

    /// Ends all sessions and waits for them.
    pub async fn shutdown(&self) {
        self.shared.cancel.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Makes a call, with the token, and again while it may help: every call is a read, or carries
    /// an id.
    pub(crate) async fn call<M, R, F, Fut>(&self, message: M, invoke: F) -> Result<R, Error>
    where
        M: Clone,
        F: Fn(Channel, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        let mut tokens_refused = 0;
        loop {
            let error = match self.try_call(message.clone(), &invoke).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if let Some(server_time_ms) = error.server_time_ms {
                self.shared.clock.learn(server_time_ms);
            }
            if error.needs_token() {
                tokens_refused += 1;
                self.shared.forget_token();
            } else if !error.is_retryable() {
                return Err(error);
            }
            if error.code == tonic::Code::Unavailable {
                self.shared.next_address();
            }
            let delay = backoff.failed(error.retry_delay, rand::random());
            if tokens_refused > 1 || backoff.failures() >= self.shared.call_tries_max {
                return Err(error);
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn try_call<M, R, F, Fut>(&self, message: M, invoke: &F) -> Result<R, Error>
    where
        F: Fn(Channel, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(self.shared.call_timeout);
        let authorization = self.shared.authorization().await?;
        request
            .metadata_mut()
            .insert("authorization", authorization);
        // A name that no header may carry goes unsaid: the call is then the user's, not a device's.
        if let Ok(device_id) = self.shared.device_id.parse() {
            request.metadata_mut().insert("heddle-device-id", device_id);
        }
        let call = invoke(self.shared.channel(), request);
        match tokio::time::timeout(self.shared.call_timeout, call).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => {
                let text = "no answer in time; whether it was done is unknown";
                Err(Error::local(tonic::Code::DeadlineExceeded, text))
            }
        }
    }
}

impl Shared {
    /// A fresh token from the provider; unary calls use it from now on.
    pub(crate) async fn fresh_token(&self) -> Result<String, Error> {
        let token = tokio::time::timeout(TOKEN_TIMEOUT, self.provider.token()).await;
        let token = token.map_err(|_| {
            let text = "the token provider did not answer in time";
            Error::local(tonic::Code::DeadlineExceeded, text)
        })??;
        let value = format!("Bearer {token}").parse().map_err(|_| {
            let text = "the token has characters that no header may carry";
            Error::local(tonic::Code::Unauthenticated, text)
        })?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(token)
    }

    async fn authorization(&self) -> Result<MetadataValue<Ascii>, Error> {
        let known = |shared: &Self| {
            let token = shared.token.lock().unwrap_or_else(PoisonError::into_inner);
            token.clone()
        };
        if let Some(value) = known(self) {
            return Ok(value);
        }
        self.fresh_token().await?;
        known(self).ok_or_else(|| Error::local(tonic::Code::Unauthenticated, "no token"))
    }

    fn forget_token(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// From now on the next of the addresses is tried first.
    pub(crate) fn next_address(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    fn place(&self) -> &Place {
        let index = self.current.load(Ordering::Relaxed) % self.places.len();
        &self.places[index]
    }

    fn channel(&self) -> Channel {
        let place = self.place();
        let connect = || place.endpoint.connect_lazy();
        place.channel.get_or_init(connect).clone()
    }

    /// A connection of its own for a session: to one of the addresses that the server named, or
    /// else to the client's own.
    pub(crate) async fn session_channel(&self, named: &[String]) -> Result<Channel, Error> {
        for address in named {
            let endpoint = self.template.endpoint(address)?;
            if let Ok(channel) = endpoint.connect().await {
                return Ok(channel);
            }
        }
        let connected = self.place().endpoint.connect().await;
        connected.map_err(|error| {
            self.next_address();
            error.into()
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
