//! Peer: who is on the other end, as far as the transport knows.
//!
//! [`mod@crate::serve`] inserts it for each connection and [`crate::link::Link::Local`] for each
//! call; handlers read it from the request's extensions. Users are not its business: they are told
//! by tokens, which the gateway checks.
//!
//! Invariant: only a certificate that chains to the configured authority gives names.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Extensions;
use rustls_pki_types::CertificateDer;

use crate::accept::ConnectionInfo;

/// The other end of a call. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Another service of this process, over a local link.
    Local,
    /// A peer on a socket.
    Remote {
        /// Its address, as the socket shows it; behind a load balancer that is the balancer's.
        address: Option<SocketAddr>,
        /// The DNS and URI names of its verified client certificate; `None` if it showed none.
        names: Option<Arc<[String]>>,
    },
}

impl Peer {
    /// A peer of whom nothing is known.
    pub const UNKNOWN: Self = Self::Remote {
        address: None,
        names: None,
    };

    /// The peer of one accepted connection.
    pub fn of(info: &ConnectionInfo) -> Self {
        let names = info
            .certificates()
            .and_then(|chain| chain.first())
            .map(names);
        Self::Remote {
            address: Some(info.remote_addr()),
            names,
        }
    }

    /// Whether this peer belongs to the deployment: in the same process, or with a certificate
    /// of the deployment's authority.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::Local | Self::Remote { names: Some(_), .. })
    }

    /// Its address, if it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Local => None,
            Self::Remote { address, .. } => *address,
        }
    }
}

/// Gives a request that came through some other server than ours the peer that it can have.
pub(super) fn ensure(extensions: &mut Extensions) -> Peer {
    if let Some(peer) = extensions.get::<Peer>() {
        return peer.clone();
    }
    let peer = extensions
        .get::<ConnectionInfo>()
        .map_or(Peer::UNKNOWN, Peer::of);
    extensions.insert(peer.clone());
    peer
}

fn names(certificate: &CertificateDer<'static>) -> Arc<[String]> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else {
        return Arc::default();
    };
    parsed
        .valid_dns_names()
        .chain(parsed.valid_uri_names())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_certificate() {
        let made = rcgen::generate_simple_self_signed(vec!["gateway.heddle".into()]).unwrap();
        assert_eq!(&*names(made.cert.der()), ["gateway.heddle".to_owned()]);
    }

    #[test]
    fn only_local_and_certified_peers_are_trusted() {
        assert!(Peer::Local.is_trusted());
        assert!(!Peer::UNKNOWN.is_trusted());
        assert!(
            Peer::Remote {
                address: None,
                names: Some(Arc::default())
            }
            .is_trusted()
        );
    }
}
