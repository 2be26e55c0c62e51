//! Provider: the seam to whoever carries pushes to devices; one file for each.
//!
//! `lane` calls it, bounds how many calls run at once and decides about another try.

mod apns;
mod aps;
mod credentials;
mod encrypt;
mod fcm;
mod log;
mod unconfigured;
mod web_push;
mod webhook;

use std::time::Duration;

use bytes::Bytes;
use heddle_proto::v1::push_registration::Target;
use http::{HeaderMap, HeaderValue, StatusCode};
use tonic::async_trait;

use crate::http::dial::DialError;
use crate::http::{Answer, Client, PostError, endpoint::Endpoint};
use crate::push::Push;
pub use apns::ApnsProvider;
pub use fcm::FcmProvider;
pub use log::LogProvider;
pub use unconfigured::Unconfigured;
pub use web_push::WebPushProvider;
pub use webhook::WebhookProvider;

/// Bytes of a provider's code for what is wrong; the longest known have half of that.
const CODE_BYTES_MAX: usize = 64;

/// Through whom a push goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Apple.
    Apns,
    /// Firebase.
    Fcm,
    /// Browsers' push services.
    WebPush,
    /// UnifiedPush distributors.
    UnifiedPush,
    /// Servers of the product's own.
    Webhook,
    /// Nobody: it is logged.
    Log,
}

impl Kind {
    /// The kind of a push's registration; of one without, and of one that a newer gateway made and
    /// this process does not know, the log.
    pub fn of(push: &Push) -> Self {
        match push.target() {
            Some(Target::Apns(_)) => Self::Apns,
            Some(Target::Fcm(_)) => Self::Fcm,
            Some(Target::WebPush(_)) => Self::WebPush,
            Some(Target::UnifiedPush(_)) => Self::UnifiedPush,
            Some(Target::Webhook(_)) => Self::Webhook,
            Some(Target::Log(_)) | None => Self::Log,
        }
    }
}

/// The origin (`host:port`) of an endpoint that a device registered; `None` where the operator
/// configures whom to post to, and of what is no URL, which is refused without a post. Pure.
pub fn origin(push: &Push) -> Option<String> {
    let url = match push.target()? {
        Target::WebPush(target) | Target::UnifiedPush(target) => &target.endpoint,
        Target::Webhook(target) => &target.url,
        Target::Apns(_) | Target::Fcm(_) | Target::Log(_) => return None,
    };
    let url = url::Url::parse(url).ok()?;
    // A name with a dot at its end is the same name.
    let host = url.host_str()?.trim_end_matches('.');
    Some(format!("{host}:{}", url.port_or_known_default()?))
}

/// Carries pushes to devices.
///
/// The law: `send` makes one try and says what the provider said. It may be called for many pushes
/// at once, and again for a push it has sent before (then with the same collapse key, so that the
/// device shows one). It may be dropped at any await. It logs no token, key or body, and what it
/// gives as a reason holds no text of a message: of an answer it takes the status and a code.
#[async_trait]
pub trait PushProvider: Send + Sync + 'static {
    /// Its name, in metrics and dead letters.
    fn name(&self) -> &'static str;

    /// Tries once.
    async fn send(&self, push: &Push) -> Attempt;
}

/// What became of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The provider has taken it over.
    Delivered,
    /// Not now: it may work later. Counts as a try.
    RetryLater {
        /// For people.
        reason: String,
        /// The provider asked for at least this pause.
        after: Option<Duration>,
    },
    /// The device is not reachable under its registration any more, which should be removed.
    TokenDead {
        /// For people.
        reason: String,
    },
    /// The provider does not accept us. A person must act; does not count as a try.
    CredentialsBad {
        /// For people.
        reason: String,
    },
    /// The provider will never take this push.
    Refused {
        /// For people.
        reason: String,
    },
}

impl Attempt {
    /// How metrics name it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::RetryLater { .. } => "retry_later",
            Self::TokenDead { .. } => "token_dead",
            Self::CredentialsBad { .. } => "credentials_bad",
            Self::Refused { .. } => "refused",
        }
    }
}

/// A push came over another's lane: an error of this process.
fn wrong_target() -> Attempt {
    Attempt::Refused {
        reason: "its registration is of another provider".into(),
    }
}

/// The provider asks for another try.
fn later(answer: &Answer, reason: String) -> Attempt {
    Attempt::RetryLater {
        reason,
        after: answer.retry_after(),
    }
}

/// The provider was not reached. An address that is not public is none tomorrow either, unless the
/// name is given another; its tries are bounded as any.
fn unreached(error: &PostError) -> Attempt {
    let reason = error.to_string();
    match error {
        PostError::Dial(DialError::NotPublic | DialError::Name) | PostError::Request(_) => {
            Attempt::Refused { reason }
        }
        _ => Attempt::RetryLater {
            reason,
            after: None,
        },
    }
}

/// Posts a push; `judge` says what the answer means. With a preview it leaves in time or not.
async fn post(
    client: &Client,
    push: &Push,
    endpoint: &Endpoint,
    request: (HeaderMap, Bytes),
    judge: impl FnOnce(&Answer) -> Attempt,
) -> Attempt {
    let (headers, body) = request;
    match client.post(endpoint, headers, body, push.leave_by).await {
        Ok(answer) => judge(&answer),
        Err(error) => unreached(&error),
    }
}

/// What the answer of a registered endpoint means, which is called `who` and says by the statuses
/// in `ended` that the registration is no more. It is never a reason for an alarm: anybody can
/// register one. Pure.
fn endpoint_said(answer: &Answer, who: &str, ended: &[StatusCode]) -> Attempt {
    let reason = format!("the {who} answers {}", answer.status);
    match answer.status {
        status if status.is_success() => Attempt::Delivered,
        status if ended.contains(&status) => Attempt::TokenDead { reason },
        StatusCode::TOO_MANY_REQUESTS => later(answer, reason),
        status if status.is_server_error() => later(answer, reason),
        _ => Attempt::Refused { reason },
    }
}

/// A word of an answer that may stand in a reason: one of a provider's own codes by its looks.
/// What is none could be text of the message, which answers are free to echo.
fn code_word(text: Option<&str>) -> &str {
    let is_code = |text: &&str| {
        let letters = text
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_');
        letters && (1..=CODE_BYTES_MAX).contains(&text.len())
    };
    text.filter(is_code).unwrap_or("no reason given")
}

/// A header that is logged nowhere.
fn secret_value(text: &str) -> Option<HeaderValue> {
    let mut value = header_value(text)?;
    value.set_sensitive(true);
    Some(value)
}

fn header_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
pub mod tests {
    //! What the tests of providers share, and what holds for all of them.

    use super::*;
    use heddle_proto::ids::LogId;
    use heddle_proto::internal::PushKind;
    use heddle_proto::v1::{PushRegistration, WebPushTarget, WebhookTarget};
    use std::sync::Arc;

    pub fn push(target: Option<Target>) -> Push {
        let registration = target.map(|target| PushRegistration {
            registration_id: "r".into(),
            device_id: "phone".into(),
            create_time: None,
            target: Some(target),
        });
        Push {
            kind: PushKind::Message,
            push_id: "p".into(),
            user_id: "ann".into(),
            device_id: "phone".into(),
            conversation_id: LogId::direct("ann", "bob"),
            seq: 5,
            position: 9,
            count: 2,
            badge: 3,
            mentioned: false,
            sound: "".into(),
            title: "Bob".into(),
            sender_name: "Bob".into(),
            preview: None,
            leave_by: None,
            registration: registration.map(Arc::new),
        }
    }

    pub fn of_kind(kind: PushKind) -> Push {
        Push { kind, ..push(None) }
    }

    pub fn with_preview(title: &str, preview: &str) -> Push {
        Push {
            title: title.into(),
            preview: Some(preview.into()),
            ..push(None)
        }
    }

    pub fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let pair = |(name, value): &(&'static str, &str)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        };
        Answer {
            status: http::StatusCode::from_u16(status).unwrap(),
            headers: headers.iter().map(pair).collect(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn an_origin_is_that_of_a_stranger_s_endpoint() {
        let web = |endpoint: &str| {
            origin(&push(Some(Target::WebPush(WebPushTarget {
                endpoint: endpoint.into(),
                ..Default::default()
            }))))
        };
        assert_eq!(
            web("https://Push.Example/a?b").as_deref(),
            Some("push.example:443")
        );
        assert_eq!(
            web("https://push.example.:443/c").as_deref(),
            Some("push.example:443")
        );
        assert_eq!(
            web("http://push.example:81/").as_deref(),
            Some("push.example:81")
        );
        assert_eq!(web("no url"), None);
        let hook = WebhookTarget {
            url: "https://[2001:db8::1]/".into(),
            ..Default::default()
        };
        let hook = push(Some(Target::Webhook(hook)));
        assert_eq!(origin(&hook).as_deref(), Some("[2001:db8::1]:443"));
        assert_eq!(origin(&push(Some(Target::Apns(Default::default())))), None);
        assert_eq!(origin(&push(None)), None);
    }

    #[test]
    fn only_what_looks_like_a_code_is_repeated() {
        for code in ["BadDeviceToken", "UNREGISTERED", "SENDER_ID_MISMATCH"] {
            assert_eq!(code_word(Some(code)), code);
        }
        let long = "x".repeat(CODE_BYTES_MAX + 1);
        for other in ["", "see you at eight", "n\u{f6}", "{\"a\":1}", &long] {
            assert_eq!(code_word(Some(other)), "no reason given");
        }
    }
}
