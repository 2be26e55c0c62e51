//! FCM: Firebase Cloud Messaging, HTTP v1, with a service account.
//!
//! The account signs an assertion (RS256), Google's OAuth server gives an access token for it,
//! and that is used until shortly before it ends. Invariant: an access token that is refused is
//! fetched anew; a refused account is an alarm.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use heddle_kit::SharedClock;
use heddle_proto::internal::PushKind;
use heddle_proto::v1::push_registration::Target;
use http::{HeaderMap, StatusCode, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::async_trait;

use super::credentials::Credentials;
use super::{Attempt, PushProvider, later, post, secret_value, unreached, wrong_target};
use super::{aps, code_word};
use crate::config::FcmConfig;
use crate::http::{Answer, Client, endpoint::Endpoint};
use crate::payload::{self, Words};
use crate::push::Push;
use crate::text::json_bytes;

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// An assertion is good for this long, in seconds; Google takes an hour at most.
const ASSERTION_LIFE_S: u64 = 3_600;
/// An access token is given up this long before it ends.
const SPARE_MS: u64 = 60_000;

/// What Firebase takes, without the token.
const PAYLOAD_BYTES_MAX: usize = 4_096;
/// Where Android shows updates, if the app has made it; else they come where messages do. From
/// Android 8 on it is the channel that decides about sounds.
const SILENT_CHANNEL: &str = "heddle_silent";

/// Sends to Firebase.
pub struct FcmProvider {
    config: FcmConfig,
    account: Credentials<Account>,
    token: Mutex<Option<Token>>,
    client: Client,
    clock: SharedClock,
}

/// A service account's key file.
struct Account {
    email: String,
    project: String,
    token_url: String,
    key: EncodingKey,
}

struct Token {
    text: String,
    ends_ms: u64,
    account: Arc<Account>,
}

impl FcmProvider {
    /// As configured; the account's file is read with the first push.
    pub fn new(config: FcmConfig, client: Client, clock: SharedClock) -> Self {
        let path = config.service_account_file.clone().unwrap_or_default();
        Self {
            config,
            account: Credentials::new(path, account),
            token: Mutex::default(),
            client,
            clock,
        }
    }

    /// The account and an access token of it.
    async fn token(&self) -> Result<(Arc<Account>, String), Attempt> {
        let bad = |reason: String| Attempt::CredentialsBad { reason };
        let account = self.account.get().await.map_err(|it| bad(it.to_string()))?;
        let now_ms = self.clock.now_ms();
        {
            let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
            let current = token.as_ref().filter(|token| {
                Arc::ptr_eq(&token.account, &account) && now_ms + SPARE_MS < token.ends_ms
            });
            if let Some(current) = current {
                return Ok((account, current.text.clone()));
            }
        }
        let answer = self.ask_for_token(&account, now_ms / 1_000).await?;
        let granted = granted(&answer)?;
        let text = granted.access_token;
        let token = Token {
            text: text.clone(),
            ends_ms: now_ms + granted.expires_in.saturating_mul(1_000),
            account: account.clone(),
        };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok((account, text))
    }

    async fn ask_for_token(&self, account: &Account, now_s: u64) -> Result<Answer, Attempt> {
        let bad = |reason: String| Attempt::CredentialsBad { reason };
        let claims = json!({
            "iss": account.email,
            "scope": SCOPE,
            "aud": account.token_url,
            "iat": now_s,
            "exp": now_s + ASSERTION_LIFE_S,
        });
        let assertion = encode(&Header::new(Algorithm::RS256), &claims, &account.key);
        let assertion = assertion.map_err(|error| bad(error.to_string()))?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT)
            .append_pair("assertion", &assertion)
            .finish();
        let url = self.config.token_url.as_ref().unwrap_or(&account.token_url);
        let endpoint = Endpoint::configured(url);
        let endpoint =
            endpoint.map_err(|error| bad(format!("the account's token_uri: {error}")))?;
        let mut headers = HeaderMap::new();
        let form_type = http::HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form_type);
        let posted = self
            .client
            .post(&endpoint, headers, Bytes::from(form), None);
        posted.await.map_err(|error| unreached(&error))
    }
}

#[async_trait]
impl PushProvider for FcmProvider {
    fn name(&self) -> &'static str {
        "fcm"
    }

    async fn send(&self, push: &Push) -> Attempt {
        let Some(Target::Fcm(target)) = push.target() else {
            return wrong_target();
        };
        let (account, token) = match self.token().await {
            Ok(both) => both,
            Err(attempt) => return attempt,
        };
        let base = &self.config.url;
        let url = format!("{base}/v1/projects/{}/messages:send", account.project);
        let (Ok(endpoint), Some(bearer)) = (
            Endpoint::configured(&url),
            secret_value(&format!("Bearer {token}")),
        ) else {
            let reason = "notify.fcm.url is no URL, or the access token no header".into();
            return Attempt::CredentialsBad { reason };
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, bearer);
        let json = http::HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let request = (headers, body(push, &target.token).into());
        let attempt = post(&self.client, push, &endpoint, request, judge).await;
        if matches!(attempt, Attempt::CredentialsBad { .. }) {
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        attempt
    }
}

/// The message, cut to fit. The token is not of the payload, and does not count. Pure.
fn body(push: &Push, token: &str) -> String {
    let bytes_max = PAYLOAD_BYTES_MAX + json_bytes(token);
    payload::fitted(push, bytes_max, |words| message(push, token, words))
}

/// What shows something is a notification message, with the data beside it: the system itself
/// shows it although the app does not run, and replaces by tag what it shows, so that nothing
/// depends on the app's being woken; that is also how the text of an erased message goes away.
/// What takes away or sets a badge is a data message alone, since there is nothing to be shown.
///
/// A text stands once, in the notification that both platforms share; keys to be localised must
/// stand in each platform's own block.
fn message(push: &Push, token: &str, words: &Words) -> Value {
    let key = payload::collapse_key(push);
    let urgent = payload::is_urgent(push);
    let body = words.body();
    let mut message = json!({
        "token": token,
        "data": payload::fields(push),
        "android": {
            "collapse_key": key,
            "priority": if urgent { "HIGH" } else { "NORMAL" },
            "ttl": format!("{}s", payload::TTL_S),
        },
        "apns": {
            "headers": {
                "apns-collapse-id": key,
                "apns-push-type": "alert",
                "apns-priority": aps::priority(push),
            },
            "payload": { "aps": aps::aps(push, words, body.is_none()) },
        },
    });
    if payload::is_shown(push) {
        message["android"]["notification"] = notification(push, words, body.is_none());
    }
    if let Some(body) = body {
        message["notification"] = json!({ "body": body });
        if let Some(title) = words.title() {
            message["notification"]["title"] = title.into();
        }
    }
    json!({ "message": message })
}

/// What Android shows. `localised`: by keys, else by the shared notification.
fn notification(push: &Push, words: &Words, localised: bool) -> Value {
    let mut shown = json!({ "tag": payload::collapse_key(push) });
    if localised {
        shown["body_loc_key"] = payload::text_key(push).into();
        shown["body_loc_args"] = json!([push.count.to_string()]);
        if let Some(title) = words.title() {
            shown["title"] = title.into();
        }
    }
    if push.kind != PushKind::Test {
        shown["notification_count"] = push.badge.min(i32::MAX as u64).into();
    }
    match (push.kind, &*push.sound) {
        (PushKind::Update, _) => {
            shown["channel_id"] = SILENT_CHANNEL.into();
            shown["notification_priority"] = "PRIORITY_LOW".into();
        }
        (_, "") => shown["default_sound"] = true.into(),
        (_, sound) => shown["sound"] = sound.into(),
    }
    shown
}

/// What Firebase's answer means. Pure.
fn judge(answer: &Answer) -> Attempt {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let details = said["error"]["details"].as_array();
    let code = details
        .into_iter()
        .flatten()
        .find_map(|it| it["errorCode"].as_str());
    let code = code_word(code.or(said["error"]["status"].as_str()));
    let reason = format!("{} {code}", answer.status.as_u16());
    match (answer.status, code) {
        (status, _) if status.is_success() => Attempt::Delivered,
        (_, "UNREGISTERED" | "SENDER_ID_MISMATCH") => Attempt::TokenDead { reason },
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Attempt::CredentialsBad { reason },
        (StatusCode::TOO_MANY_REQUESTS, _) => later(answer, reason),
        (status, _) if status.is_server_error() => later(answer, reason),
        _ => Attempt::Refused { reason },
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

/// What the OAuth server's answer means. Pure.
fn granted(answer: &Answer) -> Result<Granted, Attempt> {
    let status = answer.status;
    let reason = format!("the OAuth server answers {status}");
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(later(answer, reason));
    }
    let granted = serde_json::from_slice(&answer.body);
    granted.map_err(|_| Attempt::CredentialsBad { reason })
}

fn account(file: &[u8]) -> Result<Account, String> {
    #[derive(Deserialize)]
    struct File {
        client_email: String,
        project_id: String,
        token_uri: String,
        private_key: String,
    }
    let wrong = |_| "not the JSON of a service account".to_owned();
    let file: File = serde_json::from_slice(file).map_err(wrong)?;
    let key = EncodingKey::from_rsa_pem(file.private_key.as_bytes());
    Ok(Account {
        email: file.client_email,
        project: file.project_id,
        token_url: file.token_uri,
        key: key.map_err(|_| "its private_key is not the PEM of an RSA key".to_owned())?,
    })
}

#[cfg(test)]
#[path = "fcm_tests.rs"]
mod tests;
