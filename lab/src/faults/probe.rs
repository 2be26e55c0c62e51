//! A raw client beside the workload: one message after the other through all gateways in turn, and
//! no call is ever repeated.
//!
//! The workload's SDK hides what a client can see during a fault; this shows it. Answers that were
//! OK are read back in the end.
//!
//! Invariant: what counts as an answer came from the server; a connection that broke is counted by
//! itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heddle_proto::ids::MessageId;
use heddle_proto::v1::messaging_service_client::MessagingServiceClient;
use heddle_proto::v1::{self, message::Content};
use heddle_sdk::{ConversationId, Page};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Error as Transport};
use tonic::{Code, Request, Status};

use crate::target::{Target, TargetError};

/// Between two messages.
const PACE: Duration = Duration::from_millis(50);
/// No call may take longer.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Events read back at a time.
const PAGE_SIZE: i32 = 500;

/// What a client that never repeats has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Sends answered OK, by seq.
    pub stored: BTreeSet<u64>,
    /// Refusals by their status.
    pub refused: BTreeMap<String, u64>,
    /// Connections that broke during a call, or could not be made.
    pub broken: u64,
    /// The longest time without an OK, in milliseconds.
    pub stall_max_ms: u64,
    last_ok: Option<Instant>,
}

impl Seen {
    /// Refusals that no client should ever see.
    pub fn forbidden(&self) -> u64 {
        let may = [Code::Unavailable, Code::ResourceExhausted].map(|code| format!("{code:?}"));
        let refused = self.refused.iter();
        let forbidden = refused.filter(|(code, _)| !may.contains(code));
        forbidden.map(|(_, count)| count).sum()
    }

    /// All that was not OK.
    pub fn errors(&self) -> u64 {
        self.broken + self.refused.values().sum::<u64>()
    }

    fn note(&mut self, answer: Result<u64, Status>) {
        let now = Instant::now();
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
            }
        }
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
        let lost = || TargetError::Refused {
            what: "the probe's conversation",
            error: heddle_sdk::Error::field("conversation_id", "not 16 bytes"),
        };
        let talk = ConversationId::from_wire(&made.conversation_id).ok_or_else(lost)?;
        let token = format!("Bearer {}", target.tokens.mint(&user)?);
        let channels = target.urls().map(channel).collect::<Result<Vec<_>, _>>()?;
        let seen = Arc::<Mutex<Seen>>::default();
        let sending = tokio::spawn(send_all(seen.clone(), channels, talk, token));
        Ok(Self {
            seen,
            sending,
            target: target.clone(),
            talk,
            user,
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

    /// Ends, and reads back; how many sends that were told OK are not there, or twice.
    pub async fn finish(self) -> Result<(Seen, u64), TargetError> {
        self.sending.abort();
        let seen = lock(&self.seen).clone();
        let client = self.target.client(&self.user, "setup")?;
        let (mut found, mut after) = (BTreeSet::new(), 0);
        loop {
            let page = client
                .history(self.talk, Page::After(after), PAGE_SIZE)
                .await;
            let page = page.map_err(TargetError::refused("the probe's conversation"))?;
            let Some(last) = page.events.last() else {
                break;
            };
            after = last.seq;
            found.extend(page.events.iter().map(|event| event.seq));
        }
        let lost = seen
            .stored
            .iter()
            .filter(|seq| !found.contains(seq))
            .count();
        Ok((seen, lost as u64))
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn channel(url: String) -> Result<Channel, TargetError> {
    let wrong = |error: Transport| TargetError::Refused {
        what: "the target",
        error: heddle_sdk::Error::field("target", error.to_string()),
    };
    let endpoint = Endpoint::from_shared(url).map_err(wrong)?;
    Ok(endpoint.connect_timeout(CALL_MAX).connect_lazy())
}

async fn send_all(
    seen: Arc<Mutex<Seen>>,
    channels: Vec<Channel>,
    talk: ConversationId,
    token: String,
) {
    for (number, channel) in (0u64..).zip(channels.iter().cycle()) {
        let message = v1::Message {
            content: Some(Content::Text(format!("probe {number}"))),
            ..Default::default()
        };
        let mut request = Request::new(v1::SendMessageRequest {
            conversation_id: talk.to_bytes(),
            client_message_id: mint().to_bytes(),
            message: Some(message),
            ..Default::default()
        });
        if let Ok(value) = token.parse() {
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = MessagingServiceClient::new(channel.clone());
        let sent = tokio::time::timeout(CALL_MAX, client.send_message(request)).await;
        let late = |_| Err(Status::deadline_exceeded("no answer in time"));
        let answer = sent.unwrap_or_else(late);
        lock(&seen).note(answer.map(|sent| sent.into_inner().seq));
        tokio::time::sleep(PACE).await;
    }
}

fn mint() -> MessageId {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = since.map_or(0, |since| since.as_millis() as u64);
    MessageId::mint(now_ms, &rand::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_may_not_see_is_told_apart() {
        let mut seen = Seen::default();
        seen.note(Ok(1));
        seen.note(Err(Status::unavailable("")));
        seen.note(Err(Status::resource_exhausted("")));
        assert_eq!((seen.forbidden(), seen.errors()), (0, 2));
        seen.note(Err(Status::internal("")));
        seen.note(Err(Status::deadline_exceeded("")));
        assert_eq!((seen.forbidden(), seen.errors()), (2, 4));
        assert_eq!(seen.stored.len(), 1);
    }
}
