//! How a client is described.

use super::{Client, Place, Shared};
use crate::{Error, token::TokenProvider};
use heddle_proto::ids::NAME_BYTES_MAX;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a unary call may take, by default.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Tries of a unary call, by default.
const CALL_TRIES_MAX: u32 = 6;
/// Keeps what lies between from forgetting an idle connection.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Bytes that a stream and a connection may have under way: readers always drain.
const WINDOW_BYTES: u32 = 1 << 20;

/// How connections are made.
#[derive(Clone, Default)]
pub(crate) struct Template {
    ca_certificate_pem: Option<Vec<u8>>,
    domain_name: Option<String>,
}

impl Template {
    /// An endpoint for `http://host:port`, `https://host:port` or `host:port`.
    pub(crate) fn endpoint(&self, address: &str) -> Result<Endpoint, Error> {
        let address = match address.contains("://") {
            true => address.to_owned(),
            false => format!("http://{address}"),
        };
        let secure = address.starts_with("https://");
        let endpoint = Endpoint::from_shared(address).map_err(|error| {
            let text = format!("not an address such as http://localhost:7447: {error}");
            Error::field("address", text)
        })?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(TCP_KEEPALIVE))
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        if !secure {
            return Ok(endpoint);
        }
        let mut tls = ClientTlsConfig::new();
        if let Some(pem) = &self.ca_certificate_pem {
            tls = tls.ca_certificate(Certificate::from_pem(pem));
        }
        if let Some(name) = &self.domain_name {
            tls = tls.domain_name(name);
        }
        endpoint.tls_config(tls).map_err(|error| {
            let text = format!("TLS cannot be set up: {error}; is the CA certificate PEM?");
            Error::field("ca_certificate_pem", text)
        })
    }
}

/// Describes a client; see [`Client::builder`].
#[must_use]
pub struct ClientBuilder {
    addresses: Vec<String>,
    template: Template,
    token: Option<Arc<dyn TokenProvider>>,
    device_id: String,
    app_version: String,
    call_timeout: Duration,
    call_tries_max: u32,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            template: Template::default(),
            token: None,
            device_id: String::new(),
            app_version: concat!("heddle-sdk/", env!("CARGO_PKG_VERSION")).to_owned(),
            call_timeout: CALL_TIMEOUT,
            call_tries_max: CALL_TRIES_MAX,
        }
    }
}

impl ClientBuilder {
    /// Where the server is: `http://host:port`, `https://host:port` or `host:port`. Several are
    /// tried in turns.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Several addresses at once.
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = String>) -> Self {
        self.addresses.extend(addresses);
        self
    }

    /// Who the user is: a token, or a closure that gives fresh ones.
    pub fn token(mut self, provider: impl TokenProvider) -> Self {
        self.token = Some(Arc::new(provider));
        self
    }

    /// Names this device among the user's, for ever: at most 128 bytes.
    pub fn device_id(mut self, device_id: impl Into<String>) -> Self {
        self.device_id = device_id.into();
        self
    }

    /// The app's version, for diagnosis; at most 64 bytes.
    pub fn app_version(mut self, app_version: impl Into<String>) -> Self {
        self.app_version = app_version.into();
        self
    }

    /// Whom to trust with `https` addresses, as PEM.
    pub fn ca_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.template.ca_certificate_pem = Some(pem.into());
        self
    }

    /// The name that the server's certificate carries, if it is not the address's.
    pub fn domain_name(mut self, name: impl Into<String>) -> Self {
        self.template.domain_name = Some(name.into());
        self
    }

    /// How long one try of a unary call may take.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// How often a unary call is tried in all.
    pub fn call_tries_max(mut self, tries: u32) -> Self {
        self.call_tries_max = tries.max(1);
        self
    }

    /// The client, without a connection yet: calls and sessions connect by themselves.
    pub fn build(self) -> Result<Client, Error> {
        if self.addresses.is_empty() {
            return Err(Error::field(
                "address",
                "where is the server? name an address",
            ));
        }
        if self.device_id.is_empty() || self.device_id.len() > NAME_BYTES_MAX {
            let text = format!("a device id has 1 to {NAME_BYTES_MAX} bytes");
            return Err(Error::field("device_id", text));
        }
        let provider = self.token.ok_or_else(|| {
            let text = "who is the user? give a token or a provider of tokens";
            Error::field("token", text)
        })?;
        let places: Result<Vec<_>, Error> = self
            .addresses
            .iter()
            .map(|address| {
                let endpoint = self.template.endpoint(address)?;
                let channel = OnceLock::new();
                Ok(Place { endpoint, channel })
            })
            .collect();
        let shared = Shared {
            places: places?,
            current: Default::default(),
            template: self.template,
            provider,
            token: Default::default(),
            device_id: self.device_id,
            app_version: self.app_version,
            incarnation: rand::random_range(1..=u64::MAX),
            sessions: Default::default(),
            clock: Default::default(),
            call_timeout: self.call_timeout,
            call_tries_max: self.call_tries_max,
            tasks: Default::default(),
            cancel: Default::default(),
        };
        Ok(Client {
            shared: Arc::new(shared),
        })
    }

    /// The client, once one of the addresses answers.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.build()?;
        let mut connected = Err(Error::disconnected());
        for _ in 0..client.shared.places.len() {
            connected = client.shared.session_channel(&[]).await;
            if connected.is_ok() {
                break;
            }
        }
        connected.map(|_| client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(builder: ClientBuilder) -> String {
        builder.build().err().unwrap().field
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = || {
            let token = "token".to_owned();
            Client::builder()
                .address("localhost:1")
                .device_id("d")
                .token(token)
        };
        assert!(whole().build().is_ok());
        assert_eq!(refused(Client::builder()), "address");
        assert_eq!(refused(whole().device_id("")), "device_id");
        assert_eq!(refused(whole().address("http://a b")), "address");
        let nobody = Client::builder().address("localhost:1").device_id("d");
        assert_eq!(refused(nobody), "token");
    }
}
