//! Files: PEM on disk to rustls configurations.
//!
//! Blocking; called at start and from the certificate watch's blocking task.
//!
//! Invariant: errors name the setting within its section and the file, never what is in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsOptions;

/// What gRPC is called in the TLS handshake.
const ALPN_HTTP2: &[u8] = b"h2";
/// What gRPC-Web may be called.
const ALPN_HTTP1: &[u8] = b"http/1.1";

type Chain = Vec<CertificateDer<'static>>;

/// What is wrong with a section's files, without the section's name.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file is missing, or is not PEM.
    #[error("{field}: {path}: {reason}")]
    File {
        /// The setting that names it.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting is missing that another one needs.
    #[error("{0} is not set, but needed; name a PEM file")]
    Missing(&'static str),
    /// The files do not go together.
    #[error("certificate, key and ca do not go together: {0}")]
    Mismatch(String),
}

pub(super) fn server_config(
    options: &TlsOptions,
    http1: bool,
) -> Result<Arc<ServerConfig>, FilesError> {
    let (chain, key) = identity(options)?.ok_or(FilesError::Missing("certificate"))?;
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

pub(super) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, FilesError> {
    let ca = options.ca.as_ref().ok_or(FilesError::Missing("ca"))?;
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

/// Where certificate and key are: neither is set without the other.
pub(super) fn pair(options: &TlsOptions) -> Result<Option<(&Path, &Path)>, FilesError> {
    match (options.certificate.as_deref(), options.key.as_deref()) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(FilesError::Missing("key")),
        (None, Some(_)) => Err(FilesError::Missing("certificate")),
        (Some(chain), Some(key)) => Ok(Some((chain, key))),
    }
}

fn identity(options: &TlsOptions) -> Result<Option<(Chain, PrivateKeyDer<'static>)>, FilesError> {
    let Some((chain, key)) = pair(options)? else {
        return Ok(None);
    };
    let wrong = |error| unusable("key", key, error);
    let private = PrivateKeyDer::from_pem_file(key).map_err(wrong)?;
    Ok(Some((certificates("certificate", chain)?, private)))
}

fn roots(ca: &Path) -> Result<RootCertStore, FilesError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", ca)? {
        roots.add(certificate).map_err(mismatch)?;
    }
    Ok(roots)
}

fn certificates(field: &'static str, path: &Path) -> Result<Chain, FilesError> {
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

fn unusable(field: &'static str, path: &Path, error: rustls_pki_types::pem::Error) -> FilesError {
    use rustls_pki_types::pem::Error;
    // The other kinds quote the file, which may be a key.
    let reason = match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "there is no such item in this PEM file".to_owned(),
        _ => "this is not a PEM file".to_owned(),
    };
    FilesError::File {
        field,
        path: path.to_owned(),
        reason,
    }
}

fn mismatch(error: impl std::fmt::Display) -> FilesError {
    FilesError::Mismatch(error.to_string())
}
