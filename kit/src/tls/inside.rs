//! Inside: TLS between the services of one deployment; [`outside`] is the door for clients.
//!
//! One certificate for a process, shown to those who connect and to those it connects to; both
//! sides check it against the deployment's own authority. Without certificates services speak in
//! the clear, on loopback only. What a caller may do once it is in, [`crate::layers::callers`]
//! says.
//!
//! Invariant: nobody without a certificate of the authority reaches a listener that another machine
//! can reach.

use std::net::SocketAddr;

use super::{ClientTls, FilesError, SECTION, ServerTls, TlsError, TlsOptions, files};
use crate::tasks::Tasks;

/// Both ends of a service's TLS; empty in the clear.
#[derive(Clone, Debug, Default)]
pub struct Inside {
    /// For those who connect.
    pub server: Option<ServerTls>,
    /// For those it connects to.
    pub client: Option<ClientTls>,
}

impl Inside {
    /// Checks the section `tls` of a service that listens on `listen`, without a look at the files.
    pub fn check(options: &TlsOptions, listen: SocketAddr) -> Result<(), TlsError> {
        let missing = match (&options.certificate, &options.ca) {
            (None, None) if listen.ip().is_loopback() => return Ok(()),
            (None, None) => return Err(TlsError::Exposed { listen }),
            (_, None) => FilesError::Missing("ca"),
            (None, _) => FilesError::Missing("certificate"),
            (Some(_), Some(_)) => return check(SECTION, options),
        };
        Err(TlsError::within(SECTION)(missing))
    }

    /// Reads the files of a service that listens on `listen`, and again when they change, until
    /// `tasks` drains.
    pub fn load(options: &TlsOptions, listen: SocketAddr, tasks: &Tasks) -> Result<Self, TlsError> {
        Self::check(options, listen)?;
        if options.ca.is_none() {
            return Ok(Self::default());
        }
        let options = TlsOptions {
            require_client_certificate: true,
            ..options.clone()
        };
        let server = ServerTls::load(&options, false)?;
        server.watch(tasks);
        Ok(Self {
            server: Some(server),
            client: links(SECTION, &options, tasks)?,
        })
    }
}

/// Checks the section of that name without a look at its files: certificate and key go together.
pub fn check(section: &'static str, options: &TlsOptions) -> Result<(), TlsError> {
    files::pair(options).map_err(TlsError::within(section))?;
    Ok(())
}

/// The certificate that clients from outside are shown, read again when it changes; none: in the
/// clear. HTTP/1.1 is offered too, for gRPC-Web.
pub fn outside(options: &TlsOptions, tasks: &Tasks) -> Result<Option<ServerTls>, TlsError> {
    if options.certificate.is_none() {
        return Ok(None);
    }
    let server = ServerTls::load(options, true)?;
    server.watch(tasks);
    Ok(Some(server))
}

/// What a process that only connects shows and checks, as the section of that name says; none
/// without an authority.
pub fn links(
    section: &'static str,
    options: &TlsOptions,
    tasks: &Tasks,
) -> Result<Option<ClientTls>, TlsError> {
    if options.ca.is_none() {
        return Ok(None);
    }
    let client = ClientTls::load_section(section, options)?;
    client.watch(tasks);
    Ok(Some(client))
}
