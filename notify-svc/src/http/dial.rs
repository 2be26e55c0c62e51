//! Dial: a connection to an endpoint: resolved once, judged, and that very address dialled.
//!
//! `client` calls it. Nothing of the environment is read: no proxy, no other resolver.
//!
//! Invariant: no packet goes to an address that is not public, unless the endpoint is the
//! operator's own or was allowed by name.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::async_trait;

use super::address::is_public;
use super::endpoint::Endpoint;

/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// Finds the addresses of a name.
///
/// The law: asked once per connection; the answer is judged and dialled as it is.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of `host`.
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The machine's own resolver.
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        let found = lookup_host((host, 0)).await?;
        Ok(found.take(ADDRESSES_MAX).map(|it| it.ip()).collect())
    }
}

/// There is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address, or none that may be dialled.
    #[error("the host has no public address")]
    NotPublic,
    /// The network, or the other side, does not.
    #[error("cannot connect: {0}")]
    Network(#[from] std::io::Error),
    /// A name that no certificate can have.
    #[error("the host's name cannot be that of a certificate")]
    Name,
}

/// A connection, before HTTP is spoken.
pub enum Dialled {
    /// As it is.
    Plain(TcpStream),
    /// Over TLS; ALPN has chosen the protocol.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Makes connections.
pub struct Dialer {
    resolver: Arc<dyn Resolver>,
    tls: TlsConnector,
}

impl Dialer {
    /// Over this resolver, trusting `roots`.
    pub fn new(resolver: Arc<dyn Resolver>, roots: RootCertStore) -> Self {
        heddle_kit::tls::install_crypto_provider();
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            resolver,
            tls: TlsConnector::from(Arc::new(tls)),
        }
    }

    /// Connects to an endpoint.
    pub async fn dial(&self, endpoint: &Endpoint) -> Result<Dialled, DialError> {
        let addresses = match endpoint.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.resolve(&endpoint.host).await?,
        };
        let mut failure = DialError::NotPublic;
        for address in dialable(endpoint, &addresses) {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.secured(endpoint, stream).await,
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    async fn secured(&self, endpoint: &Endpoint, tcp: TcpStream) -> Result<Dialled, DialError> {
        tcp.set_nodelay(true)?;
        if !endpoint.tls {
            return Ok(Dialled::Plain(tcp));
        }
        let name = ServerName::try_from(endpoint.host.clone()).map_err(|_| DialError::Name)?;
        let stream = self.tls.connect(name, tcp).await?;
        Ok(Dialled::Tls(Box::new(stream)))
    }
}

/// Which of a name's addresses may be dialled, in the resolver's order. Pure.
pub fn dialable(endpoint: &Endpoint, addresses: &[IpAddr]) -> Vec<SocketAddr> {
    let good = |address: &&IpAddr| endpoint.inside || is_public(**address);
    let good = addresses.iter().take(ADDRESSES_MAX).filter(good);
    good.map(|address| SocketAddr::new(*address, endpoint.port))
        .collect()
}

/// The machine's roots, and those of one more PEM file. Blocks.
pub fn roots(more: Option<&std::path::Path>) -> std::io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    let Some(more) = more else { return Ok(roots) };
    let bad = |error: rustls_pki_types::pem::Error| std::io::Error::other(error.to_string());
    for certificate in rustls_pki_types::CertificateDer::pem_file_iter(more).map_err(bad)? {
        let added = roots.add(certificate.map_err(bad)?);
        added.map_err(std::io::Error::other)?;
    }
    Ok(roots)
}
