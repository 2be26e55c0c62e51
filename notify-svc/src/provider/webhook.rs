//! Webhook: a signed POST to a server of the product's own.
//!
//! The signature is HMAC-SHA256 over the time, a dot and the body, with the registration's secret.
//! Invariant: as with `web_push`, what an endpoint answers is about that endpoint alone.

use std::fmt::Write as _;

use heddle_kit::SharedClock;
use heddle_proto::v1::push_registration::Target;
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use tonic::async_trait;

use super::{Attempt, PushProvider, endpoint_said, header_value, post, wrong_target};
use crate::http::{Answer, Client, endpoint::Endpoint};
use crate::payload;
use crate::push::Push;

/// What a server is given at most.
const PAYLOAD_BYTES_MAX: usize = 16_384;

/// Posts to servers.
pub struct WebhookProvider {
    endpoints_allowed: Vec<String>,
    client: Client,
    clock: SharedClock,
}

impl WebhookProvider {
    /// With nothing to configure but which inner endpoints are allowed.
    pub fn new(endpoints_allowed: Vec<String>, client: Client, clock: SharedClock) -> Self {
        Self {
            endpoints_allowed,
            client,
            clock,
        }
    }
}

#[async_trait]
impl PushProvider for WebhookProvider {
    fn name(&self) -> &'static str {
        "webhook"
    }

    async fn send(&self, push: &Push) -> Attempt {
        let Some(Target::Webhook(target)) = push.target() else {
            return wrong_target();
        };
        let endpoint = match Endpoint::registered(&target.url, &self.endpoints_allowed) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                let reason = format!("its URL is not posted to: {error}");
                return Attempt::Refused { reason };
            }
        };
        let body = body(push);
        let time_s = self.clock.now_ms() / 1_000;
        let signature = signature(&target.secret, time_s, body.as_bytes());
        let headers: HeaderMap = [
            ("content-type", "application/json".to_owned()),
            ("heddle-push-id", payload::id(push).to_string()),
            ("heddle-timestamp", time_s.to_string()),
            ("heddle-signature", format!("v1={signature}")),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), header_value(&value)?)))
        .collect();
        post(&self.client, push, &endpoint, (headers, body.into()), judge).await
    }
}

/// What is posted, cut to fit. Pure.
fn body(push: &Push) -> String {
    payload::fitted(push, PAYLOAD_BYTES_MAX, |words| {
        let mut fields = payload::worded(push, words);
        fields.insert("device_id".into(), json!(&*push.device_id));
        Value::Object(fields)
    })
}

/// Hexadecimal. Pure.
fn signature(secret: &[u8], time_s: u64, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(format!("{time_s}.").as_bytes());
    mac.update(body);
    let mut text = String::new();
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What the server's answer means. Pure.
fn judge(answer: &Answer) -> Attempt {
    endpoint_said(answer, "server", &[StatusCode::GONE])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::tests::{any_push, is_well_cut};
    use crate::provider::tests::{answer, of_kind};
    use heddle_proto::internal::PushKind;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_a_shard_sends_fits(push in any_push()) {
            let body = body(&push);
            prop_assert!(body.len() <= PAYLOAD_BYTES_MAX);
            let said: Value = serde_json::from_str(&body).unwrap();
            is_well_cut(&push, said["title"].as_str(), said["body"].as_str())?;
        }
    }

    #[test]
    fn a_server_is_told_what_is_to_be_done_at_which_device() {
        let said = |kind| -> Value { serde_json::from_str(&body(&of_kind(kind))).unwrap() };
        let clear = said(PushKind::Clear);
        assert_eq!(
            (&clear["action"], &clear["device_id"]),
            (&"clear".into(), &"phone".into())
        );
        assert_eq!(said(PushKind::Badge)["action"], "badge");
        assert_eq!(said(PushKind::Test)["text_key"], "HEDDLE_TEST");
    }

    /// By `printf '7.{}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn the_signature_is_that_of_other_tools() {
        let expected = "77bc83bd1f40422311e47918b203449aecf84b02c1568bb1b570ac2a474cc2d8";
        assert_eq!(signature(b"key", 7, b"{}"), expected);
    }

    #[test]
    fn a_redirect_is_refused_and_only_gone_is_the_end() {
        let table = [
            (204, "delivered"),
            (302, "refused"),
            (404, "refused"),
            (410, "token_dead"),
            (429, "retry_later"),
            (503, "retry_later"),
        ];
        for (status, expected) in table {
            assert_eq!(
                judge(&answer(status, &[], "")).label(),
                expected,
                "{status}"
            );
        }
    }
}
