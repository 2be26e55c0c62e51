//! A raw client beside the workload: one message after the other through all gateways in turn, and
//! no call is ever repeated.
//!
//! The workload's SDK hides what a client can see during a fault; this shows it. Each message names
//! the one before as its predecessor and has a field that no server knows. Answers that were OK are
//! read back in the end ([`super::readback`]).
//!
//! Invariant: what counts as an answer came from the server; a connection that broke is counted by
//! itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use heddle_proto::edge::messaging_service_client::MessagingServiceClient;
use heddle_proto::ids::MessageId;
use heddle_proto::internal::RawSendMessageRequest;
use heddle_sdk::{ConversationId, Error, text, v1::ErrorReason};
use prost::{Message as _, encoding};
use tokio::task::JoinHandle;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint, Error as Transport};
use tonic::{Code, Request, Status};

use super::readback::{self, Found};
use crate::target::{Target, TargetError, conversation};

/// A field that no server knows.
pub(super) const UNKNOWN_FIELD: &str = "unknown to every server";
/// Between two messages.
const PACE: Duration = Duration::from_millis(50);
/// No call may take longer.
const CALL_MAX: Duration = Duration::from_secs(10);

/// What a client that never repeats has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Sends answered OK, by seq.
    pub stored: BTreeSet<u64>,
    /// Refusals by their status.
    pub refused: BTreeMap<String, u64>,
    /// Connections that broke during a call, or could not be made.
    pub broken: u64,
    /// Refusals that no client should ever see, in words.
    pub forbidden: Vec<String>,
    /// All that was not OK, in words, in order.
    pub said: Vec<String>,
    /// The longest time without an OK, in milliseconds.
    pub stall_max_ms: u64,
    last_ok: Option<Instant>,
}

impl Seen {
    fn note(&mut self, answer: Result<u64, Status>) {
        let now = Instant::now();
        self.said
            .extend(answer.as_ref().err().map(Status::to_string));
        match answer {
            Ok(seq) => {
                let since = self.last_ok.replace(now).unwrap_or(now);
                let stall_ms = now.duration_since(since).as_millis() as u64;
                self.stall_max_ms = self.stall_max_ms.max(stall_ms);
                self.stored.insert(seq);
            }
            Err(status) if is_broken(&status) => self.broken += 1,
            Err(status) => {
                let code = format!("{:?}", status.code());
                *self.refused.entry(code).or_default() += 1;
                if !is_allowed(&status) {
                    self.forbidden.push(status.to_string());
                }
            }
        }
    }
}

/// What a client may see while services fail.
fn is_allowed(status: &Status) -> bool {
    let error = Error::from(status.clone());
    match status.code() {
        Code::Unavailable => true,
        Code::ResourceExhausted => error.retry_delay.is_some(),
        Code::Aborted => error.reason == ErrorReason::PredecessorFailed,
        _ => false,
    }
}

/// A connection's end is told by the client's own transport.
fn is_broken(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<Transport>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The client at work.
pub struct Probe {
    seen: Arc<Mutex<Seen>>,
    sending: JoinHandle<()>,
    target: Target,
    talk: ConversationId,
    user: String,
    other: String,
}

impl Probe {
    /// Makes two people of this name, and begins to send.
    pub async fn begin(target: &Target, name: &str) -> Result<Self, TargetError> {
        let (user, other) = (format!("{name}-probe"), format!("{name}-other"));
        // The other has to exist.
        let refused = TargetError::refused("the probe's people");
        target
            .client(&other, "setup")?
            .snapshot()
            .await
            .map_err(refused)?;
        let made = target.client(&user, "setup")?.create_direct(&other).await;
        let made = made.map_err(TargetError::refused("the probe's conversation"))?;
        let talk = conversation::id_of(&made)?;
        let token = bearer(target, &user)?;
        let channels = target.urls().map(channel).collect::<Result<Vec<_>, _>>()?;
        let seen = Arc::<Mutex<Seen>>::default();
        let sending = tokio::spawn(send_all(seen.clone(), channels, talk, token));
        Ok(Self {
            seen,
            sending,
            target: target.clone(),
            talk,
            user,
            other,
        })
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Waits for an answer that is OK; how long that took.
    pub async fn heals(&self, within: Duration) -> Option<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if lock(&self.seen).last_ok.is_some_and(|last| last > begun) {
                return Some(begun.elapsed());
            }
            tokio::time::sleep(PACE).await;
        }
        None
    }

    /// Ends, and reads back.
    pub async fn finish(self) -> Result<(Seen, Found), TargetError> {
        self.sending.abort();
        let seen = lock(&self.seen).clone();
        let url = self.target.url.clone();
        let tokens = [
            bearer(&self.target, &self.user)?,
            bearer(&self.target, &self.other)?,
        ];
        let found = readback::read(channel(url)?, self.talk, tokens, &seen.stored).await?;
        Ok((seen, found))
    }
}

/// What a call is signed in with.
pub(super) fn bearer(target: &Target, user: &str) -> Result<AsciiMetadataValue, TargetError> {
    let text = format!("Bearer {}", target.tokens.mint(user)?);
    let wrong = |error: tonic::metadata::errors::InvalidMetadataValue| TargetError::Refused {
        what: "a token",
        error: Error::field("token", error.to_string()),
    };
    text.parse().map_err(wrong)
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connected when it is used.
pub(super) fn channel(url: String) -> Result<Channel, TargetError> {
    let wrong = |error: Transport| TargetError::Refused {
        what: "the target",
        error: Error::field("target", error.to_string()),
    };
    let endpoint = Endpoint::from_shared(url).map_err(wrong)?;
    Ok(endpoint.connect_timeout(CALL_MAX).connect_lazy())
}

async fn send_all(
    seen: Arc<Mutex<Seen>>,
    channels: Vec<Channel>,
    talk: ConversationId,
    token: AsciiMetadataValue,
) {
    let mut predecessor = None;
    for (number, channel) in (0u64..).zip(channels.iter().cycle()) {
        let id = mint();
        let mut request = Request::new(RawSendMessageRequest {
            conversation_id: talk.to_bytes(),
            client_message_id: id.to_bytes(),
            predecessor_id: predecessor
                .map_or_else(Default::default, |id: MessageId| id.to_bytes()),
            message: of_tomorrow(&format!("probe {number}")),
        });
        request
            .metadata_mut()
            .insert("authorization", token.clone());
        let mut client = MessagingServiceClient::new(channel.clone());
        let sent = tokio::time::timeout(CALL_MAX, client.send_message(request)).await;
        let late = |_| Err(Status::deadline_exceeded("no answer in time"));
        let answer = sent.unwrap_or_else(late);
        // What names one that failed is refused for certain, and the next begins anew.
        let is_refused = answer.as_ref().is_err_and(|it| it.code() == Code::Aborted);
        predecessor = (!is_refused).then_some(id);
        lock(&seen).note(answer.map(|sent| sent.into_inner().seq));
        tokio::time::sleep(PACE).await;
    }
}

/// A message of a newer client.
fn of_tomorrow(words: &str) -> Bytes {
    let mut bytes = text(words).encode_to_vec();
    encoding::string::encode(100, &UNKNOWN_FIELD.to_owned(), &mut bytes);
    bytes.into()
}

/// An id on this machine's time.
pub(super) fn mint() -> MessageId {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = since.map_or(0, |since| since.as_millis() as u64);
    MessageId::mint(now_ms, &rand::random())
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::errors::Fault;

    #[test]
    fn what_a_client_may_not_see_is_told_apart() {
        let mut seen = Seen::default();
        seen.note(Ok(1));
        seen.note(Err(Status::unavailable("")));
        let later = Fault::new(ErrorReason::Overloaded, "later").retry_after(5);
        seen.note(Err(later.into()));
        let order = Fault::new(ErrorReason::PredecessorFailed, "order");
        seen.note(Err(order.into()));
        assert_eq!((seen.forbidden.len(), seen.said.len()), (0, 3));
        seen.note(Err(Status::internal("")));
        seen.note(Err(Status::aborted("")));
        seen.note(Err(Status::resource_exhausted("without a time")));
        seen.note(Err(Status::deadline_exceeded("")));
        assert_eq!((seen.forbidden.len(), seen.said.len()), (4, 7));
        assert_eq!(seen.stored.len(), 1);
    }
}
