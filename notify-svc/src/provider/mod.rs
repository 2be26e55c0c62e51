//! Provider: the seam to whoever carries pushes to devices; one file for each.
//!
//! `lane` calls it, bounds how many calls run at once and decides about another try.

mod apns;
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

/// Carries pushes to devices.
///
/// The law: `send` makes one try and says what the provider said. It may be called for many pushes
/// at once, and again for a push it has sent before (then with the same collapse key, so that the
/// device shows one). It may be dropped at any await. It logs no token, key or body.
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

/// Posts a push; `judge` says what the answer means.
async fn post(
    client: &Client,
    endpoint: &Endpoint,
    headers: HeaderMap,
    body: impl Into<Bytes>,
    judge: impl FnOnce(&Answer) -> Attempt,
) -> Attempt {
    match client.post(endpoint, headers, body.into()).await {
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
mod tests {
    //! What the tests of providers share.

    use super::*;
    use heddle_proto::ids::LogId;
    use heddle_proto::v1::PushRegistration;
    use std::sync::Arc;

    pub fn push(target: Option<Target>) -> Push {
        let registration = target.map(|target| PushRegistration {
            registration_id: "r".into(),
            device_id: "phone".into(),
            create_time: None,
            target: Some(target),
        });
        Push {
            push_id: "p".into(),
            user_id: "ann".into(),
            device_id: "phone".into(),
            conversation_id: LogId::direct("ann", "bob"),
            seq: 5,
            position: 9,
            count: 2,
            badge: 3,
            mentioned: false,
            registration: registration.map(Arc::new),
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
}
