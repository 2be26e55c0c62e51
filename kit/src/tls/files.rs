//! Files: PEM on disk to rustls configurations.
//!
//! Blocking; called at start and from the certificate watch's blocking task.
//!
//! Invariant: errors name the setting and the file, never what is in it.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{TlsError, TlsOptions};

/// What gRPC is called in the TLS handshake.
const ALPN_HTTP2: &[u8] = b"h2";
/// What gRPC-Web may be called.
const ALPN_HTTP1: &[u8] = b"http/1.1";

type Chain = Vec<CertificateDer<'static>>;

pub(super) fn server_config(
    options: &TlsOptions,
    http1: bool,
) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = identity(options)?.ok_or(TlsError::Missing("certificate"))?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(mismatch)?;
    let builder = match &options.ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let required = options.require_client_certificate;
            let verifier = if required {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            builder.with_client_cert_verifier(verifier.build().map_err(mismatch)?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(mismatch)?;
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
    if http1 {
        config.alpn_protocols.push(ALPN_HTTP1.to_vec());
    }
    Ok(Arc::new(config))
}

pub(super) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, TlsError> {
    let ca = options.ca.as_ref().ok_or(TlsError::Missing("ca"))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(mismatch)?
        .with_root_certificates(roots(ca)?);
    let mut config = match identity(options)? {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(mismatch)?,
    };
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(ring::default_provider()))
}

fn identity(options: &TlsOptions) -> Result<Option<(Chain, PrivateKeyDer<'static>)>, TlsError> {
    let (chain, key) = match (&options.certificate, &options.key) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(TlsError::Missing("key")),
        (None, Some(_)) => return Err(TlsError::Missing("certificate")),
        (Some(chain), Some(key)) => (chain, key),
    };
    let wrong = |error| unusable("key", key, error);
    let private = PrivateKeyDer::from_pem_file(key).map_err(wrong)?;
    Ok(Some((certificates("certificate", chain)?, private)))
}

fn roots(ca: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", ca)? {
        roots.add(certificate).map_err(mismatch)?;
    }
    Ok(roots)
}

fn certificates(field: &'static str, path: &Path) -> Result<Chain, TlsError> {
    let wrong = |error| unusable(field, path, error);
    let chain = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let chain = chain.collect::<Result<Chain, _>>().map_err(wrong)?;
    if chain.is_empty() {
        return Err(unusable(
            field,
            path,
            rustls_pki_types::pem::Error::NoItemsFound,
        ));
    }
    Ok(chain)
}

fn unusable(field: &'static str, path: &Path, error: rustls_pki_types::pem::Error) -> TlsError {
    use rustls_pki_types::pem::Error;
    // The other kinds quote the file, which may be a key.
    let reason = match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "there is no such item in this PEM file".to_owned(),
        _ => "this is not a PEM file".to_owned(),
    };
    TlsError::File {
        field,
        path: path.to_owned(),
        reason,
    }
}

fn mismatch(error: impl std::fmt::Display) -> TlsError {
    TlsError::Mismatch(error.to_string())
}
