//! Connect: the network side of a link.
//!
//! Called by [`super::Link::connect`]. Certificates come from [`ClientTls`] at each new connection,
//! so a renewed one is used without a restart; tonic's own TLS settings would keep the first.
//!
//! Invariant: the connection window is 1 MiB, since h2 charges small unread frames against it.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::serve::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::tls::ClientTls;

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

crate::config! {
    /// How a link across the network behaves.
    pub struct LinkOptions {
        /// The longest a connection attempt may take, TLS included (milliseconds).
        pub connect_timeout_ms: u64 = 2_000,
        /// A ping is sent after this much silence (milliseconds); chat-svc pings those who
        /// connect as often.
        pub keepalive_interval_ms: u64 = 1_000,
        /// A peer that does not answer a ping within this time is gone (milliseconds).
        pub keepalive_timeout_ms: u64 = 2_000,
        /// HTTP/2 window of the connection (bytes).
        pub connection_window_bytes: u32 = CONNECTION_WINDOW_BYTES,
        /// HTTP/2 window of each stream (bytes).
        pub stream_window_bytes: u32 = STREAM_WINDOW_BYTES,
    }
}

/// A link's address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a URL with a host.
    #[error("{url:?} is not a link address; write http://host:port or https://host:port")]
    Address {
        /// What was given.
        url: String,
    },
    /// Services speak in the clear on loopback only.
    #[error(
        "{url:?} leads to another machine in the clear; write https:// and set the link's \
         certificate, key and ca (`heddle certs` makes them)"
    )]
    Plain {
        /// What was given.
        url: String,
    },
    /// TLS asked for, and no authority to check the peer with.
    #[error(
        "{url:?} asks for TLS, but no certificate authority is configured; set tls.ca (in a \
         gateway link_tls.ca)"
    )]
    NoAuthority {
        /// What was given.
        url: String,
    },
    /// A setting is empty that must name at least one.
    #[error("there is no address; write at least one, http://host:port or https://host:port")]
    Missing,
}

/// What an address says.
struct Address {
    uri: Uri,
    host: String,
    /// Whom the peer's certificate must be for; none in the clear.
    name: Option<ServerName<'static>>,
}

/// Whether [`channel`] takes this address; `has_authority`: there is one to check the peer with.
pub(super) fn check(url: &str, has_authority: bool) -> Result<(), ConnectError> {
    read(url, has_authority)?;
    Ok(())
}

/// A channel that connects when first used, and again when its connection is lost.
pub(super) fn channel(
    url: &str,
    options: &LinkOptions,
    tls: Option<&ClientTls>,
) -> Result<Channel, ConnectError> {
    let Address { uri, host, name } = read(url, tls.is_some())?;
    let secure = tls.cloned().zip(name);
    let port = uri.port_u16().unwrap_or(if secure.is_some() {
        HTTPS_PORT
    } else {
        HTTP_PORT
    });
    let address = || ConnectError::Address {
        url: url.to_owned(),
    };
    // tonic refuses https:// without its own TLS, so it is told http:// and sends https:// as the
    // requests' origin.
    let plain = format!("http://{}", uri.authority().ok_or_else(address)?);
    let endpoint = endpoint(plain, options).map_err(|_| address())?.origin(uri);
    Ok(
        endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let (host, secure) = (host.clone(), secure.clone());
            async move { open(&host, port, secure).await.map(TokioIo::new) }
        })),
    )
}

fn read(url: &str, has_authority: bool) -> Result<Address, ConnectError> {
    let address = || ConnectError::Address {
        url: url.to_owned(),
    };
    let uri: Uri = url.parse().map_err(|_| address())?;
    let host = uri
        .host()
        .ok_or_else(address)?
        .trim_matches(['[', ']'])
        .to_owned();
    let name = match uri.scheme_str() {
        Some("http") if is_loopback(&host) => None,
        Some("http") => {
            let url = url.to_owned();
            return Err(ConnectError::Plain { url });
        }
        Some("https") if !has_authority => {
            let url = url.to_owned();
            return Err(ConnectError::NoAuthority { url });
        }
        Some("https") => Some(ServerName::try_from(host.clone()).map_err(|_| address())?),
        _ => return Err(address()),
    };
    Ok(Address { uri, host, name })
}

/// Whether a host is this machine, by its name alone.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn endpoint(plain: String, options: &LinkOptions) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(plain)?
        .connect_timeout(Duration::from_millis(options.connect_timeout_ms))
        .http2_keep_alive_interval(Duration::from_millis(options.keepalive_interval_ms))
        .keep_alive_timeout(Duration::from_millis(options.keepalive_timeout_ms))
        .keep_alive_while_idle(true)
        .initial_connection_window_size(options.connection_window_bytes)
        .initial_stream_window_size(options.stream_window_bytes))
}

/// A byte stream, encrypted or not.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn open(
    host: &str,
    port: u16,
    secure: Option<(ClientTls, ServerName<'static>)>,
) -> io::Result<Box<dyn Io>> {
    let socket = TcpStream::connect((host, port)).await?;
    socket.set_nodelay(true)?;
    Ok(match secure {
        None => Box::new(socket),
        Some((tls, name)) => Box::new(tls.connector().connect(name, socket).await?),
    })
}
