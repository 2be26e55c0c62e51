//! Endpoint: a URL to post to, taken apart and judged. Pure.
//!
//! `client` posts to endpoints, `dial` connects to them. Invariant: a registered endpoint is https
//! on port 443 and carries no credentials, unless the operator has named its host and port.

use std::net::IpAddr;

use url::{Host, Url};

use super::address::is_public;

/// Where to post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host's name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Path and query.
    pub path: String,
    /// An address that is not public may be dialled.
    pub inside: bool,
}

/// A URL that is not posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// It is none.
    #[error("it is not a URL")]
    NoUrl,
    /// It is not https.
    #[error("it is not https")]
    Scheme,
    /// It names another port.
    #[error("its port is not 443")]
    Port,
    /// It carries a user or a password.
    #[error("it carries a user or a password")]
    Credentials,
    /// Its address is not public.
    #[error("its address is not public")]
    Address,
}

impl Endpoint {
    /// An endpoint that the operator has configured.
    pub fn configured(url: &str) -> Result<Self, BadEndpoint> {
        let url = Url::parse(url).map_err(|_| BadEndpoint::NoUrl)?;
        Self::taken_apart(&url, true)
    }

    /// An endpoint that a device has registered. `allowed`: hosts with ports (`host:port`) that
    /// may be reached whatever the scheme, the port and the address.
    pub fn registered(url: &str, allowed: &[String]) -> Result<Self, BadEndpoint> {
        let url = Url::parse(url).map_err(|_| BadEndpoint::NoUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadEndpoint::Credentials);
        }
        let endpoint = Self::taken_apart(&url, false)?;
        let name = format!("{}:{}", endpoint.host, endpoint.port);
        if allowed.contains(&name) {
            return Ok(Self {
                inside: true,
                ..endpoint
            });
        }
        if !endpoint.tls {
            return Err(BadEndpoint::Scheme);
        }
        if endpoint.port != 443 {
            return Err(BadEndpoint::Port);
        }
        if let Ok(address) = endpoint.host.parse::<IpAddr>()
            && !is_public(address)
        {
            return Err(BadEndpoint::Address);
        }
        Ok(endpoint)
    }

    fn taken_apart(url: &Url, inside: bool) -> Result<Self, BadEndpoint> {
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(BadEndpoint::Scheme),
        };
        let host = match url.host().ok_or(BadEndpoint::NoUrl)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let query = url.query().map(|query| format!("?{query}"));
        Ok(Self {
            host,
            port: url.port_or_known_default().ok_or(BadEndpoint::Port)?,
            tls,
            path: format!("{}{}", url.path(), query.unwrap_or_default()),
            inside,
        })
    }

    /// Scheme, host and port, as a browser's origin: 443 is not said.
    pub fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Host and port; the scheme's own port is not said.
    pub fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        if self.port == usual {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}
