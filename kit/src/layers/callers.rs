//! Callers: which service of the deployment may call which method.
//!
//! Each service declares its table and gives it to [`super::Guarded::only`]. Who calls is told by
//! the SPIFFE id in the caller's certificate, `spiffe://TRUST-DOMAIN/.../SERVICE`, whose last part
//! is the service's name (`gateway`, `chat-svc`, ...); the trust domain is the authority's affair,
//! since only its certificates come this far.
//!
//! Invariant: a method in the table is called by the services named there and by nobody else who
//! has shown a certificate. Whoever has none came over loopback or from this process: listeners let
//! no one else in ([`crate::tls::Inside`]).

use super::Peer;

/// The scheme of ids in certificates.
const SCHEME: &str = "spiffe://";

/// A service's table: paths of methods (`/package.Service/Method`, or the service alone with a
/// slash at its end) and the services that may call them. What is not in it may be called by all:
/// health and reflection.
pub type CallerTable = &'static [(&'static str, &'static [&'static str])];

/// Why the peer may not call this path, if so.
pub(super) fn refusal(table: CallerTable, path: &str, peer: &Peer) -> Option<String> {
    let Peer::Remote {
        names: Some(names), ..
    } = peer
    else {
        return None;
    };
    let fits = |method: &str| match method.ends_with('/') {
        true => path.starts_with(method),
        false => path == method,
    };
    let (_, allowed) = table.iter().find(|(method, _)| fits(method))?;
    let mut services = names.iter().filter_map(|name| service(name));
    if services.any(|service| allowed.contains(&service)) {
        return None;
    }
    let names = names.join(", ");
    Some(format!(
        "{path} may be called by {}, and this certificate is for [{names}]",
        allowed.join(" and ")
    ))
}

/// The service that a name of a certificate stands for.
fn service(name: &str) -> Option<&str> {
    let (_trust_domain, path) = name.strip_prefix(SCHEME)?.split_once('/')?;
    path.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: CallerTable = &[
        ("/heddle.Store/Commit", &["chat-svc"]),
        ("/heddle.Store/", &["chat-svc", "gateway"]),
    ];

    fn certified(names: &[&str]) -> Peer {
        Peer::Remote {
            address: None,
            names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        }
    }

    fn may(path: &str, peer: &Peer) -> bool {
        refusal(TABLE, path, peer).is_none()
    }

    #[test]
    fn only_the_named_services_call_a_method() {
        let chat = certified(&["localhost", "spiffe://heddle/chat-svc"]);
        let gateway = certified(&["spiffe://cluster.local/ns/heddle/sa/gateway"]);
        assert!(may("/heddle.Store/Commit", &chat));
        assert!(!may("/heddle.Store/Commit", &gateway));
        assert!(may("/heddle.Store/Read", &gateway));
        assert!(!may(
            "/heddle.Store/Read",
            &certified(&["spiffe://heddle/notify-svc"])
        ));
        assert!(may("/grpc.health.v1.Health/Check", &certified(&[])));
    }

    #[test]
    fn a_name_that_is_not_an_id_stands_for_nobody() {
        for name in [
            "chat-svc",
            "https://heddle/chat-svc",
            "spiffe://chat-svc",
            "",
        ] {
            assert!(!may("/heddle.Store/Commit", &certified(&[name])), "{name}");
        }
    }

    #[test]
    fn local_and_plain_peers_are_the_listeners_affair() {
        assert!(may("/heddle.Store/Commit", &Peer::Local));
        assert!(may("/heddle.Store/Commit", &Peer::UNKNOWN));
    }
}
