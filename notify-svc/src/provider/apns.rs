//! APNs: Apple's push service, over HTTP/2 with a signed token (ES256).
//!
//! The token is made anew each [`TOKEN_LIFE`] and whenever the key file changes. Invariant: a
//! device token that Apple disowns is dead; a key that Apple does not accept is an alarm.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heddle_kit::SharedClock;
use heddle_proto::v1::{ApnsTarget, push_registration::Target};
use http::{HeaderMap, StatusCode, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tonic::async_trait;

use super::credentials::Credentials;
use super::{Attempt, PushProvider, header_value, later, post, secret_value, wrong_target};
use super::{aps, code_word};
use crate::config::ApnsConfig;
use crate::http::{Answer, Client, endpoint::Endpoint};
use crate::payload::{self, Words};
use crate::push::Push;

/// Apple refuses tokens older than an hour, and too many fresh ones.
const TOKEN_LIFE: Duration = Duration::from_secs(40 * 60);

/// What Apple takes.
const PAYLOAD_BYTES_MAX: usize = 4_096;

/// Sends to Apple.
pub struct ApnsProvider {
    config: ApnsConfig,
    key: Credentials<EncodingKey>,
    token: Mutex<Option<Token>>,
    client: Client,
    clock: SharedClock,
}

struct Token {
    text: String,
    made_ms: u64,
    key: Arc<EncodingKey>,
}

impl ApnsProvider {
    /// As configured; the key file is read with the first push.
    pub fn new(config: ApnsConfig, client: Client, clock: SharedClock) -> Self {
        let path = config.key_file.clone().unwrap_or_default();
        let parse = |pem: &[u8]| {
            EncodingKey::from_ec_pem(pem).map_err(|_| "not the PEM of a P-256 key".to_owned())
        };
        Self {
            config,
            key: Credentials::new(path, parse),
            token: Mutex::default(),
            client,
            clock,
        }
    }

    async fn token(&self) -> Result<String, String> {
        let key = self.key.get().await.map_err(|error| error.to_string())?;
        let now_ms = self.clock.now_ms();
        let life_ms = TOKEN_LIFE.as_millis() as u64;
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let current = token.as_ref().filter(|token| {
            Arc::ptr_eq(&token.key, &key) && now_ms < token.made_ms.saturating_add(life_ms)
        });
        if let Some(current) = current {
            return Ok(current.text.clone());
        }
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.config.key_id.clone());
        let claims = json!({ "iss": self.config.team_id, "iat": now_ms / 1_000 });
        let text = encode(&header, &claims, &key).map_err(|error| error.to_string())?;
        *token = Some(Token {
            text: text.clone(),
            made_ms: now_ms,
            key,
        });
        Ok(text)
    }

    fn topic<'a>(&'a self, target: &'a ApnsTarget) -> Option<&'a str> {
        match target.topic.as_str() {
            "" => Some(&self.config.topic),
            own if own == self.config.topic => Some(own),
            other => self
                .config
                .topics
                .iter()
                .any(|it| it == other)
                .then_some(other),
        }
    }

    /// Everything but the token.
    fn headers(&self, push: &Push, topic: &str) -> Option<HeaderMap> {
        let expires_s = self.clock.now_ms() / 1_000 + payload::TTL_S;
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| {
            headers.insert(name, header_value(value)?);
            Some(())
        };
        set("apns-topic", topic)?;
        // Whatever sets a badge is an alert to Apple, shown or not: the others are throttled.
        set("apns-push-type", "alert")?;
        set("apns-priority", aps::priority(push))?;
        set("apns-id", &payload::id(push).to_string())?;
        set("apns-expiration", &expires_s.to_string())?;
        set("apns-collapse-id", &payload::collapse_key(push))?;
        set("content-type", "application/json")?;
        Some(headers)
    }
}

#[async_trait]
impl PushProvider for ApnsProvider {
    fn name(&self) -> &'static str {
        "apns"
    }

    async fn send(&self, push: &Push) -> Attempt {
        let Some(Target::Apns(target)) = push.target() else {
            return wrong_target();
        };
        let refused = |reason: &str| Attempt::Refused {
            reason: reason.into(),
        };
        let Some(topic) = self.topic(target) else {
            return refused("its topic is neither notify.apns.topic nor in notify.apns.topics");
        };
        let Some(mut headers) = self.headers(push, topic) else {
            return refused("its topic cannot be a header");
        };
        let base = match target.sandbox {
            true => &self.config.sandbox_url,
            false => &self.config.url,
        };
        let url = format!("{base}/3/device/{}", target.device_token);
        let endpoint = match Endpoint::configured(&url) {
            Ok(endpoint) => endpoint,
            Err(error) => return refused(&format!("notify.apns.url: {error}")),
        };
        let token = match self.token().await {
            Ok(token) => token,
            Err(reason) => return Attempt::CredentialsBad { reason },
        };
        let Some(bearer) = secret_value(&format!("bearer {token}")) else {
            return refused("the token cannot be a header");
        };
        headers.insert(header::AUTHORIZATION, bearer);
        let request = (headers, body(push).into());
        let attempt = post(&self.client, push, &endpoint, request, judge).await;
        if matches!(attempt, Attempt::CredentialsBad { .. }) {
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        attempt
    }
}

/// The notification, cut to fit. Pure.
fn body(push: &Push) -> String {
    let whole = |words: &Words| {
        json!({
            "aps": aps::aps(push, words, true),
            "heddle": payload::fields(push),
        })
    };
    payload::fitted(push, PAYLOAD_BYTES_MAX, whole)
}

/// What Apple's answer means. Pure.
fn judge(answer: &Answer) -> Attempt {
    let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let reason = said.as_ref().and_then(|said| said["reason"].as_str());
    let reason = code_word(reason).to_owned();
    let dead = [
        "BadDeviceToken",
        "DeviceTokenNotForTopic",
        "Unregistered",
        "ExpiredToken",
    ];
    match (answer.status, reason.as_str()) {
        (StatusCode::OK, _) => Attempt::Delivered,
        (StatusCode::GONE, _) => Attempt::TokenDead { reason },
        (StatusCode::BAD_REQUEST, it) if dead.contains(&it) => Attempt::TokenDead { reason },
        (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => Attempt::CredentialsBad { reason },
        (StatusCode::TOO_MANY_REQUESTS, _) => later(answer, reason),
        (status, _) if status.is_server_error() => later(answer, reason),
        (status, _) => Attempt::Refused {
            reason: format!("{status}: {reason}"),
        },
    }
}

#[cfg(test)]
#[path = "apns_tests.rs"]
mod tests;
