//! TLS: certificates and keys from PEM files, for servers and for links.
//!
//! Files are read again when they change (certificates are renewed under a running process); new
//! connections use the new ones. Names the one crypto provider of the process.
//!
//! Invariant: a file that cannot be used never replaces one that could; it is logged and the old
//! certificate stays. Keys are in no log and no error.

mod files;
mod inside;
mod reload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tasks::Tasks;
pub use files::FilesError;
pub use inside::{Inside, check, links, outside};
use reload::Reloading;

/// How often the files are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// What the section is called in the settings, unless a process has more than one.
const SECTION: &str = "tls";

crate::config! {
    /// Certificates. All paths are PEM files and are read again when they change.
    pub struct TlsOptions {
        /// This process's certificate chain; none means no TLS for those who connect.
        pub certificate: Option<PathBuf> = None,
        /// The key of the certificate.
        pub key: Option<PathBuf> = None,
        /// The authority that peers' certificates must chain to. A server that has one checks
        /// the certificates of those who connect; links need one.
        pub ca: Option<PathBuf> = None,
        /// Whether a peer without a certificate is refused (where there is an authority).
        pub require_client_certificate: bool = false,
    }
}

/// Certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The files of a section cannot be used.
    #[error("{section}.{wrong}")]
    Files {
        /// The section's name.
        section: &'static str,
        /// What is wrong with them.
        wrong: FilesError,
    },
    /// Services would speak in the clear where other machines can listen.
    #[error(
        "listen: {listen} can be reached from other machines, and services speak in the clear on \
         loopback only; set tls.certificate, tls.key and tls.ca (`heddle certs` makes them)"
    )]
    Exposed {
        /// Where the service was to listen.
        listen: SocketAddr,
    },
}

impl TlsError {
    /// Says of a section's files which section it is.
    fn within(section: &'static str) -> impl FnOnce(FilesError) -> Self {
        move |wrong| Self::Files { section, wrong }
    }
}

/// Makes ring the crypto provider of this process. Call it first in `main`; more calls are
/// harmless.
pub fn install_crypto_provider() {
    if CryptoProvider::get_default().is_none() {
        // Loses only against another thread that installs the same.
        let _lost_race = ring::default_provider().install_default();
    }
}

/// The certificate that a server shows. Cheap to clone; clones change together.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<Reloading<ServerConfig>>);

/// What a link checks its peer with, and shows if asked. Cheap to clone; clones change together.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<Reloading<ClientConfig>>);

impl ServerTls {
    /// Reads the files. `http1` also offers HTTP/1.1, for gRPC-Web.
    pub fn load(options: &TlsOptions, http1: bool) -> Result<Self, TlsError> {
        let build = move |options: &TlsOptions| files::server_config(options, http1);
        let files = Reloading::new(SECTION, options, Box::new(build))?;
        Ok(Self(Arc::new(files)))
    }

    /// Reads the files again when they change, until `tasks` drains.
    pub fn watch(&self, tasks: &Tasks) {
        watch(self.0.clone(), tasks);
    }

    /// Reads the files again if they have changed. Returns whether the new ones are in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.0.reload()
    }

    /// For one handshake, with the certificate of now.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current())
    }
}

impl ClientTls {
    /// Reads the files; `ca` is needed, `certificate` and `key` are for peers that ask for them.
    pub fn load(options: &TlsOptions) -> Result<Self, TlsError> {
        Self::load_section(SECTION, options)
    }

    fn load_section(section: &'static str, options: &TlsOptions) -> Result<Self, TlsError> {
        let files = Reloading::new(section, options, Box::new(files::client_config))?;
        Ok(Self(Arc::new(files)))
    }

    /// Reads the files again when they change, until `tasks` drains.
    pub fn watch(&self, tasks: &Tasks) {
        watch(self.0.clone(), tasks);
    }

    /// For one handshake, with the certificates of now.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.0.current())
    }
}

fn watch<C: Send + Sync + 'static>(reloading: Arc<Reloading<C>>, tasks: &Tasks) {
    let stopping = tasks.stopping().clone();
    tasks.spawn("certificate watch", async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
            let files = reloading.clone();
            match tokio::task::spawn_blocking(move || files.reload()).await {
                Ok(Ok(true)) => tracing::info!("certificates were renewed"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::error!(%error, "keeping the old certificates"),
                Err(error) => tracing::error!(%error, "reading certificates panicked"),
            }
        }
    });
}

#[cfg(test)]
mod tests;
