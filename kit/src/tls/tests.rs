//! Tests of `tls`: links with and without client certificates, renewal, and bad files.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tonic::Code;
use tonic::service::Routes;

use super::*;
use crate::layers::{Guarded, LayerOptions, Peer};
use crate::link::{Link, LinkOptions};
use crate::serve::{ServeOptions, serve};
use crate::testing::{self, Probe, health_of, probe};

struct Authority {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            directory,
            issuer: Issuer::new(params, key),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `who`.pem and `who`.key, valid for localhost.
    fn issue(&self, who: &str) -> TlsOptions {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (pem, key_file) = (format!("{who}.pem"), format!("{who}.key"));
        std::fs::write(self.path(&pem), certificate.pem()).unwrap();
        std::fs::write(self.path(&key_file), key.serialize_pem()).unwrap();
        TlsOptions {
            certificate: Some(self.path(&pem)),
            key: Some(self.path(&key_file)),
            ca: Some(self.path("ca.pem")),
            require_client_certificate: false,
        }
    }

    fn only_ca(&self) -> TlsOptions {
        TlsOptions {
            ca: Some(self.path("ca.pem")),
            ..TlsOptions::default()
        }
    }
}

async fn served(tls: ServerTls, tasks: &Tasks) -> String {
    let service = Guarded::new(testing::routes("named").await, &LayerOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = serve(
        listener,
        Some(tls),
        &ServeOptions::default(),
        service,
        tasks,
    )
    .unwrap();
    format!("https://localhost:{}", address.port())
}

fn link(url: &str, options: &TlsOptions) -> Link {
    let tls = ClientTls::load(options).unwrap();
    Link::connect(url, &LinkOptions::default(), Some(&tls)).unwrap()
}

#[tokio::test]
async fn certificates_are_checked_on_both_sides() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let tasks = Tasks::new("test");
    let options = TlsOptions {
        require_client_certificate: true,
        ..ours.issue("server")
    };
    let url = served(ServerTls::load(&options, false).unwrap(), &tasks).await;
    assert_eq!(
        health_of(link(&url, &ours.issue("client")), "named").await,
        Ok(true)
    );
    // A peer without a certificate, with a foreign one, and one that does not trust us.
    assert!(
        health_of(link(&url, &ours.only_ca()), "named")
            .await
            .is_err()
    );
    let foreign = TlsOptions {
        ca: Some(ours.path("ca.pem")),
        ..theirs.issue("client")
    };
    assert!(health_of(link(&url, &foreign), "named").await.is_err());
    let untrusting = health_of(link(&url, &theirs.issue("client")), "named").await;
    assert_eq!(untrusting, Err(Code::Unavailable));
    tasks.drain(std::time::Duration::from_millis(100)).await;
}

#[tokio::test]
async fn handlers_see_the_names_of_a_certified_peer() {
    let certified = |request: &http::Request<tonic::body::Body>| {
        let Some(Peer::Remote {
            names: Some(names), ..
        }) = request.extensions().get()
        else {
            return false;
        };
        names.iter().any(|name| name == "localhost")
    };
    let tasks = Tasks::new("test");
    let authority = Authority::new();
    let service = Guarded::new(Routes::new(Probe(certified)), &LayerOptions::default());
    let tls = ServerTls::load(&authority.issue("server"), false).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = serve(
        listener,
        Some(tls),
        &ServeOptions::default(),
        service,
        &tasks,
    )
    .unwrap();
    let url = format!("https://localhost:{}", address.port());
    assert_eq!(
        probe(link(&url, &authority.issue("client"))).await,
        Code::Ok
    );
    assert_eq!(
        probe(link(&url, &authority.only_ca())).await,
        Code::PermissionDenied
    );
    tasks.drain(std::time::Duration::from_millis(100)).await;
}

#[tokio::test]
async fn a_silent_tls_peer_is_cut_off() {
    use tokio::io::AsyncReadExt;
    let tasks = Tasks::new("test");
    let authority = Authority::new();
    let tls = ServerTls::load(&authority.issue("server"), false).unwrap();
    let service = Guarded::new(testing::routes("named").await, &LayerOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = ServeOptions::default();
    options.accept.handshake_timeout_ms = 200;
    let address = serve(listener, Some(tls), &options, service, &tasks).unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let end = tokio::time::timeout(testing::SOON, socket.read(&mut [0; 8]))
        .await
        .unwrap();
    assert!(matches!(end, Ok(0) | Err(_)));
    tasks.drain(std::time::Duration::from_millis(100)).await;
}

fn current(tls: &ServerTls) -> *const ServerConfig {
    Arc::as_ptr(&tls.0.current())
}

#[test]
fn renewed_files_are_used_and_bad_ones_are_not() {
    let authority = Authority::new();
    let options = authority.issue("server");
    let tls = ServerTls::load(&options, false).unwrap();
    let first = current(&tls);
    assert!(!tls.reload().unwrap());

    write_later(options.certificate.as_deref().unwrap(), "not PEM");
    let error = tls.reload().unwrap_err();
    assert!(
        error.to_string().starts_with("tls.certificate: "),
        "{error}"
    );
    assert_eq!(current(&tls), first);
    assert!(!tls.reload().unwrap(), "a bad file is told once");

    authority.issue("server");
    assert!(tls.reload().unwrap());
    assert_ne!(current(&tls), first);
}

/// Writes a file whose time or length surely differs.
fn write_later(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[test]
fn missing_settings_are_named_and_keys_are_not_shown() {
    let authority = Authority::new();
    let options = authority.issue("server");
    let without_key = TlsOptions {
        key: None,
        ..options.clone()
    };
    let error = ServerTls::load(&without_key, false).unwrap_err();
    assert!(
        error.to_string().starts_with("tls.key is not set"),
        "{error}"
    );
    assert!(ClientTls::load(&TlsOptions::default()).is_err());

    let key = options.key.clone().unwrap();
    let text = std::fs::read_to_string(&key)
        .unwrap()
        .replace("-----END", "-----OND");
    std::fs::write(&key, &text).unwrap();
    let error = ServerTls::load(&options, false).unwrap_err().to_string();
    let secret = text.lines().nth(1).unwrap();
    assert!(
        error.starts_with("tls.key: ") && !error.contains(secret),
        "{error}"
    );
}

#[tokio::test]
async fn errors_name_the_section() {
    let tasks = Tasks::new("test");
    let options = TlsOptions {
        ca: Some("/no/such.pem".into()),
        ..TlsOptions::default()
    };
    let error = links("link_tls", &options, &tasks).unwrap_err().to_string();
    assert!(error.starts_with("link_tls.ca: /no/such.pem: "), "{error}");

    let without_key = TlsOptions {
        certificate: Some("/no/such.pem".into()),
        ..TlsOptions::default()
    };
    let error = check("link_tls", &without_key).unwrap_err().to_string();
    assert!(error.starts_with("link_tls.key is not set"), "{error}");
}

#[test]
fn services_are_checked_without_their_files() {
    let (everywhere, loopback) = ("0.0.0.0:1".parse().unwrap(), "[::1]:1".parse().unwrap());
    let none = TlsOptions::default();
    Inside::check(&none, loopback).unwrap();
    let error = Inside::check(&none, everywhere).unwrap_err().to_string();
    assert!(error.starts_with("listen: "), "{error}");

    let file = || Some("/no/such.pem".into());
    let whole = TlsOptions {
        certificate: file(),
        key: file(),
        ca: file(),
        ..TlsOptions::default()
    };
    Inside::check(&whole, everywhere).unwrap();
    let without = |field: &str| {
        let mut options = whole.clone();
        match field {
            "certificate" => options.certificate = None,
            "key" => options.key = None,
            _ => options.ca = None,
        }
        Inside::check(&options, loopback).unwrap_err().to_string()
    };
    for field in ["certificate", "key", "ca"] {
        let (error, said) = (without(field), format!("tls.{field} is not set"));
        assert!(error.starts_with(&said), "{error}");
    }
}
