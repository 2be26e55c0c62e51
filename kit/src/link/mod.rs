//! Link: the transport of generated tonic clients from one service to another.
//!
//! `XClient::new(link)` works for a peer across the network ([`Link::connect`]) and for one in the
//! same process ([`Link::local`]), where the call is a function call through the same protobuf.
//! Beside it, [`mod@outbox`] is the writer's end of a multiplexed stream, and [`Told`] what the log
//! says of a link that is kept open.
//!
//! Invariant: both ways pass the same [`Guarded`] layers; a local slot that nobody has filled yet
//! answers UNAVAILABLE, as an unreachable peer does.

mod any_of;
mod connect;
pub mod outbox;
mod told;
mod urls;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Status, transport};
use tower::{BoxError, Service};

pub use any_of::AnyOf;
pub use connect::{ConnectError, LinkOptions};
pub use outbox::{
    LINK_FRAME_BYTES_MAX, LINK_ITEMS_MAX, Outbox, OutboxOptions, TrySendError, outbox,
};
pub use told::{Opened, Told};
pub use urls::{UrlsError, check_urls, connect_urls};

use crate::layers::{Guarded, GuardedFuture, LayerOptions, Peer};
use crate::telemetry;
use crate::tls::ClientTls;

/// The way to another service. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub enum Link {
    /// Across the network, over one HTTP/2 connection that reconnects by itself.
    Remote(Channel),
    /// Within the process.
    Local(LocalSlot),
}

impl Link {
    /// A link to a service of this process, behind layers of its own.
    pub fn local(routes: Routes) -> Self {
        Self::guarded(Guarded::new(routes, &LayerOptions::default()))
    }

    /// A link to a service that also serves a socket: one limit for both ways.
    pub fn guarded(service: Guarded) -> Self {
        let slot = LocalSlot::default();
        slot.fill(service);
        Self::Local(slot)
    }

    /// A link to `url` (`http://` or `https://`). It connects at the first call.
    pub fn connect(
        url: &str,
        options: &LinkOptions,
        tls: Option<&ClientTls>,
    ) -> Result<Self, ConnectError> {
        connect::channel(url, options, tls).map(Self::Remote)
    }
}

impl From<LocalSlot> for Link {
    fn from(slot: LocalSlot) -> Self {
        Self::Local(slot)
    }
}

/// The place of a service of this process that may start later than those who call it.
#[derive(Clone, Default)]
pub struct LocalSlot(Arc<OnceLock<Guarded>>);

impl LocalSlot {
    /// Puts the service in. The first one stays; the answer says whether this was it.
    pub fn fill(&self, service: Guarded) -> bool {
        self.0.set(service).is_ok()
    }

    /// The link to whatever is, or will be, in this slot.
    pub fn link(&self) -> Link {
        Link::Local(self.clone())
    }

    fn call(&self, mut request: Request<Body>) -> GuardedFuture {
        let Some(service) = self.0.get() else {
            let absent = Status::unavailable("this service has not started yet; retry");
            return Box::pin(async move { Ok(absent.into_http()) });
        };
        request.extensions_mut().insert(Peer::Local);
        service.clone().call(request)
    }
}

impl fmt::Debug for LocalSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LocalSlot")
            .field("filled", &self.0.get().is_some())
            .finish()
    }
}

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = LinkFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Remote(channel) => channel.poll_ready(context).map_err(Into::into),
            Self::Local(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> LinkFuture {
        telemetry::propagate(request.headers_mut());
        match self {
            Self::Remote(channel) => LinkFuture::Remote(Box::pin(channel.call(request))),
            Self::Local(slot) => LinkFuture::Local(slot.call(request)),
        }
    }
}

/// The response to come.
pub enum LinkFuture {
    /// From the network.
    Remote(Pin<Box<dyn Future<Output = Result<Response<Body>, transport::Error>> + Send>>),
    /// From a service of this process.
    Local(GuardedFuture),
}

impl Future for LinkFuture {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Remote(response) => response.as_mut().poll(context).map_err(Into::into),
            Self::Local(response) => response
                .as_mut()
                .poll(context)
                .map_err(|never: Infallible| match never {}),
        }
    }
}

#[cfg(test)]
mod tests;
