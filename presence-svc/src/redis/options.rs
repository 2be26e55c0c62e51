//! Options: what the settings say about Redis, checked when presence starts.
//!
//! Made by the store of [`PresenceConfig`], used by `connection` and `keeper`.
//!
//! Invariant: the password of a URL goes to the client library and nowhere else: errors and logs
//! name addresses.

use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsCertificates};

use crate::config::PresenceConfig;

/// Users in one command at most, whatever the settings say: Lua takes some 8,000 arguments.
const USERS_AT_ONCE_LIMIT: usize = 2_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A setting about Redis is wrong.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// Not shown, since it may hold a password.
    #[error(
        "presence.redis_urls: number {number} is no Redis URL; write redis://HOST:PORT, or \
         rediss://USER:PASSWORD@HOST:PORT for TLS"
    )]
    Url {
        /// Which one, from 1.
        number: usize,
    },
    /// The authority's certificates cannot be read.
    #[error("presence.redis_ca: {path}: {error}; name a PEM file that this user may read")]
    Authority {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The client library refuses the whole.
    #[error("presence.redis_urls: {0}; all URLs must agree but for host and port")]
    Together(String),
}

/// How to reach Redis, and how much to ask of it at once.
pub struct RedisOptions {
    /// Where to try, in this order.
    pub nodes: Vec<ConnectionInfo>,
    pub is_cluster: bool,
    /// Whom to trust instead of the machine's authorities.
    pub authority: Option<TlsCertificates>,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    pub users_at_once_max: usize,
    /// How long a life is kept after it was last written (milliseconds).
    pub keep_ms: u64,
}

impl RedisOptions {
    pub fn of(config: &PresenceConfig) -> Result<Self, RedisError> {
        let urls = config.redis_urls.iter().enumerate();
        let nodes = urls.map(|(at, url)| {
            let wrong = RedisError::Url { number: at + 1 };
            node(url.expose()).ok_or(wrong)
        });
        let authority = config.redis_ca.as_ref().map(|path| {
            let read = std::fs::read(path).map_err(|error| RedisError::Authority {
                path: path.clone(),
                error,
            });
            read.map(|root_cert| TlsCertificates {
                client_tls: None,
                root_cert: Some(root_cert),
            })
        });
        let kept_ms = config.redis_last_seen_days.saturating_mul(DAY_MS);
        Ok(Self {
            nodes: nodes.collect::<Result<_, _>>()?,
            is_cluster: config.redis_cluster,
            authority: authority.transpose()?,
            connect_timeout: Duration::from_millis(config.redis_connect_timeout_ms.max(1)),
            response_timeout: Duration::from_millis(config.redis_response_timeout_ms.max(1)),
            users_at_once_max: config.redis_users_at_once_max.clamp(1, USERS_AT_ONCE_LIMIT),
            // However short: not before the session has ended and the grace is over.
            keep_ms: kept_ms.max(2 * (config.ttl_ms + config.offline_grace_ms)),
        })
    }

    /// The addresses, for people.
    pub fn addresses(&self) -> String {
        let addresses = self.nodes.iter().map(|node| node.addr().to_string());
        addresses.collect::<Vec<_>>().join(", ")
    }
}

/// RESP3, in which one connection takes both answers and hints.
fn node(url: &str) -> Option<ConnectionInfo> {
    let info = url.into_connection_info().ok()?;
    let settings = info.redis_settings().clone();
    Some(info.set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(urls: &[&str]) -> Result<RedisOptions, RedisError> {
        RedisOptions::of(&PresenceConfig {
            redis_urls: urls.iter().map(|url| (*url).to_owned().into()).collect(),
            ..PresenceConfig::default()
        })
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let urls = ["redis://ann:hunter2@one:7000", "rediss://:hunter2@two"];
        let addresses = options(&urls).unwrap().addresses();
        assert_eq!(addresses, "one:7000, two:6379");
        let error = options(&[urls[0], "http://:hunter2@x"]).err().unwrap();
        assert!(error.to_string().contains("number 2"), "{error}");
        let config = PresenceConfig {
            redis_urls: vec![urls[0].to_owned().into()],
            ..PresenceConfig::default()
        };
        for shown in [error.to_string(), format!("{error:?} {config:?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_missing_authority_is_named() {
        let config = PresenceConfig {
            redis_ca: Some("/nowhere/ca.pem".into()),
            ..PresenceConfig::default()
        };
        let error = RedisOptions::of(&config).err().unwrap();
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
