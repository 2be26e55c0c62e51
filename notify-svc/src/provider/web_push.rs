//! Web Push: to browsers and UnifiedPush distributors, signed (VAPID) and encrypted (`encrypt`).
//!
//! Endpoints come from devices, so each is judged before every post, and what one answers is about
//! that endpoint alone. Invariant: no endpoint can raise an alarm or be tried without end.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use heddle_kit::SharedClock;
use heddle_proto::v1::{WebPushTarget, push_registration::Target};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use serde_json::{Value, json};
use tonic::async_trait;

use super::credentials::Credentials;
use super::encrypt::encrypt;
use super::{Attempt, PushProvider, endpoint_said, header_value, post, secret_value, wrong_target};
use crate::config::WebPushConfig;
use crate::http::{Answer, Client, endpoint::Endpoint};
use crate::payload;
use crate::push::Push;

/// A signature is good for this long, in seconds; push services take a day at most.
const SIGNATURE_LIFE_S: u64 = 12 * 3_600;

/// What can be encrypted: 4,096 bytes that push services take, less the header and the seal.
const PLAIN_BYTES_MAX: usize = 3_993;

/// Sends to endpoints of browsers and distributors.
pub struct WebPushProvider {
    name: &'static str,
    config: WebPushConfig,
    endpoints_allowed: Vec<String>,
    key: Option<Credentials<VapidKey>>,
    client: Client,
    clock: SharedClock,
}

/// The key that subscriptions were made for.
struct VapidKey {
    signing: EncodingKey,
    /// As it goes into the header.
    public: String,
}

impl WebPushProvider {
    /// Called `name`. Without a key nothing is signed, which only UnifiedPush takes.
    pub fn new(
        name: &'static str,
        config: WebPushConfig,
        endpoints_allowed: Vec<String>,
        client: Client,
        clock: SharedClock,
    ) -> Self {
        let path = config.vapid_key_file.clone();
        let key = path.map(|path| Credentials::new(path, vapid_key));
        Self {
            name,
            config,
            endpoints_allowed,
            key,
            client,
            clock,
        }
    }

    async fn signature(&self, endpoint: &Endpoint) -> Result<Option<HeaderValue>, String> {
        let Some(key) = &self.key else {
            return Ok(None);
        };
        let key: Arc<VapidKey> = key.get().await.map_err(|error| error.to_string())?;
        let claims = json!({
            "aud": endpoint.origin(),
            "exp": self.clock.now_ms() / 1_000 + SIGNATURE_LIFE_S,
            "sub": self.config.subject,
        });
        let token = encode(&Header::new(Algorithm::ES256), &claims, &key.signing);
        let token = token.map_err(|error| error.to_string())?;
        let value = secret_value(&format!("vapid t={token}, k={}", key.public));
        Ok(Some(value.ok_or("the signature cannot be a header")?))
    }
}

#[async_trait]
impl PushProvider for WebPushProvider {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn send(&self, push: &Push) -> Attempt {
        let Some(Target::WebPush(target) | Target::UnifiedPush(target)) = push.target() else {
            return wrong_target();
        };
        let refused = |reason: String| Attempt::Refused { reason };
        let endpoint = match Endpoint::registered(&target.endpoint, &self.endpoints_allowed) {
            Ok(endpoint) => endpoint,
            Err(error) => return refused(format!("its endpoint is not posted to: {error}")),
        };
        let Some(body) = body(push, target) else {
            return refused("it cannot be encrypted for its subscription".into());
        };
        let mut headers = headers(push);
        match self.signature(&endpoint).await {
            Ok(Some(signature)) => {
                headers.insert(header::AUTHORIZATION, signature);
            }
            Ok(None) => {}
            Err(reason) => return Attempt::CredentialsBad { reason },
        }
        post(&self.client, push, &endpoint, (headers, body), judge).await
    }
}

/// Everything but the signature. Pure.
fn headers(push: &Push) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("ttl", payload::TTL_S.into());
    let urgency = match payload::is_urgent(push) {
        true => "high",
        false => "normal",
    };
    headers.insert("urgency", HeaderValue::from_static(urgency));
    // A topic has at most 32 characters of base64url: the hexadecimal key of a conversation has 32.
    let topic = payload::collapse_key(push);
    headers
        .extend(header_value(&topic).map(|topic| (http::HeaderName::from_static("topic"), topic)));
    let encoding = HeaderValue::from_static("aes128gcm");
    headers.insert(header::CONTENT_ENCODING, encoding);
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, octets);
    headers
}

/// What the service worker reads, cut to fit. Pure.
fn plain(push: &Push) -> String {
    payload::fitted(push, PLAIN_BYTES_MAX, |words| {
        Value::Object(payload::worded(push, words))
    })
}

fn body(push: &Push, target: &WebPushTarget) -> Option<Bytes> {
    let plain = plain(push);
    // Nearly every 32 bytes are a key; one in 2^32 is not.
    let own = std::iter::repeat_with(|| SecretKey::from_slice(&rand::random::<[u8; 32]>()));
    let own = own.take(4).find_map(Result::ok)?;
    let salt = rand::random();
    let body = encrypt(plain.as_bytes(), &target.p256dh, &target.auth, &own, &salt);
    body.ok().map(Bytes::from)
}

/// What a push service's answer means. Pure.
fn judge(answer: &Answer) -> Attempt {
    let ended = [StatusCode::NOT_FOUND, StatusCode::GONE];
    endpoint_said(answer, "endpoint", &ended)
}

fn vapid_key(pem: &[u8]) -> Result<VapidKey, String> {
    use p256::pkcs8::DecodePrivateKey;
    let wrong = "not the PEM (PKCS #8) of a P-256 key";
    let text = std::str::from_utf8(pem).map_err(|_| wrong)?;
    let key = SecretKey::from_pkcs8_pem(text).map_err(|_| wrong)?;
    let public = key.public_key().to_encoded_point(false);
    Ok(VapidKey {
        signing: EncodingKey::from_ec_pem(pem).map_err(|_| wrong)?,
        public: URL_SAFE_NO_PAD.encode(public.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::tests::{any_push, is_well_cut};
    use crate::provider::tests::{answer, of_kind, with_preview};
    use heddle_proto::internal::PushKind;
    use proptest::prelude::*;

    #[test]
    fn each_answer_of_an_endpoint_has_its_meaning() {
        let table = [
            (201, "delivered"),
            (202, "delivered"),
            (301, "refused"),
            (400, "refused"),
            // An endpoint's word is no reason for an alarm: anybody can register one.
            (401, "refused"),
            (403, "refused"),
            (404, "token_dead"),
            (410, "token_dead"),
            (413, "refused"),
            (429, "retry_later"),
            (500, "retry_later"),
            (502, "retry_later"),
        ];
        for (status, expected) in table {
            let attempt = judge(&answer(status, &[], ""));
            assert_eq!(attempt.label(), expected, "{status}");
        }
    }

    #[test]
    fn a_topic_is_short_enough_and_the_same_for_a_conversation() {
        use PushKind::{Badge, Clear, Message, Test, Update};
        let topic = |kind| {
            headers(&of_kind(kind))["topic"]
                .to_str()
                .unwrap()
                .to_owned()
        };
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        for kind in [Message, Update, Clear, Badge, Test] {
            let topic = topic(kind);
            assert!((1..=32).contains(&topic.len()), "{topic}");
            assert!(topic.bytes().all(good), "{topic}");
        }
        assert_eq!(
            [topic(Update), topic(Clear)],
            [topic(Message), topic(Message)]
        );
        assert_ne!(topic(Badge), topic(Message));
    }

    #[test]
    fn only_what_shows_something_new_is_urgent() {
        let urgency = |kind| {
            headers(&of_kind(kind))["urgency"]
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(urgency(PushKind::Message), "high");
        assert_eq!(urgency(PushKind::Update), "normal");
        assert_eq!(urgency(PushKind::Clear), "normal");
    }

    #[test]
    fn a_service_worker_is_told_what_to_show_and_what_to_take_away() {
        let plain = |push: &Push| -> Value { serde_json::from_str(&plain(push)).unwrap() };
        let shown = plain(&with_preview("Hiking", "see you at eight"));
        assert_eq!(shown["action"], "message");
        assert_eq!(
            (&shown["title"], &shown["body"]),
            (&"Hiking".into(), &"Bob: see you at eight".into())
        );
        assert_eq!(plain(&of_kind(PushKind::Update))["silent"], "true");
        let clear = plain(&of_kind(PushKind::Clear));
        assert_eq!(
            (&clear["action"], &clear["badge"]),
            (&"clear".into(), &"3".into())
        );
        assert!(clear.get("title").is_none() && clear.get("text_key").is_none());
    }

    proptest! {
        #[test]
        fn whatever_a_shard_sends_can_be_encrypted(push in any_push()) {
            let plain = plain(&push);
            prop_assert!(plain.len() <= PLAIN_BYTES_MAX);
            let own = SecretKey::from_slice(&[7; 32]).unwrap();
            let key = own.public_key().to_encoded_point(false);
            let sealed = encrypt(plain.as_bytes(), key.as_bytes(), &[1; 16], &own, &[0; 16]);
            prop_assert!(sealed.unwrap().len() <= 4_096);
            let said: Value = serde_json::from_str(&plain).unwrap();
            is_well_cut(&push, said["title"].as_str(), said["body"].as_str())?;
        }
    }
}
