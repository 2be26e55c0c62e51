//! Read back: whether what a raw client was told is in the log and in the other's mailbox, whole.
//!
//! [`super::probe`] says what is due. Everything is read with its content opaque, so that a field
//! that nobody here knows is seen where it is.
//!
//! Invariant: read by the public API alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use heddle_proto::edge::history_service_client::HistoryServiceClient;
use heddle_proto::edge::messaging_service_client::MessagingServiceClient;
use heddle_proto::internal::{RawEvent, raw_open_session_response::Frame};
use heddle_sdk::{ConversationId, v1};
use prost::Message as _;
use tokio::time::sleep;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::probe::UNKNOWN_FIELD;
use crate::target::TargetError;

/// Events read at a time.
const PAGE_SIZE: i32 = 500;
/// A page of long messages.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// How long a fan-out may go on behind its OK when an owner has died, and calls be refused.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(200);

/// What was missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Told OK, and not in the log or not in the other's mailbox.
    pub lost: u64,
    /// There without the field that nobody knows.
    pub fields_lost: u64,
}

impl Found {
    /// What is due and is not in one reading, or not whole.
    fn compare(due: &BTreeSet<u64>, read: &BTreeMap<u64, bool>) -> Self {
        let mut found = Self::default();
        for seq in due {
            match read.get(seq) {
                None => found.lost += 1,
                Some(whole) => found.fields_lost += u64::from(!whole),
            }
        }
        found
    }
}

/// Reads the log as the one, and the mailbox as the other; what is due is in the log at once.
pub async fn read(
    channel: Channel,
    talk: ConversationId,
    [one, other]: [AsciiMetadataValue; 2],
    due: &BTreeSet<u64>,
) -> Result<Found, TargetError> {
    let end = Instant::now() + PATIENCE;
    let log = answered(end, "the probe's conversation", || {
        read_log(channel.clone(), talk, &one)
    });
    let in_log = Found::compare(due, &log.await?);
    loop {
        let mailbox = answered(end, "the mailbox of the probe's other", || {
            read_mailbox(channel.clone(), talk, &other)
        });
        let in_mailbox = Found::compare(due, &mailbox.await?);
        if in_mailbox == Found::default() || Instant::now() >= end {
            return Ok(Found {
                lost: in_log.lost + in_mailbox.lost,
                fields_lost: in_log.fields_lost + in_mailbox.fields_lost,
            });
        }
        sleep(RETRY).await;
    }
}

/// Asks until there is an answer, as the SDK would.
async fn answered<T, F: Future<Output = Result<T, Status>>>(
    end: Instant,
    what: &'static str,
    ask: impl Fn() -> F,
) -> Result<T, TargetError> {
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(status) => heddle_sdk::Error::from(status),
        };
        if !error.is_retryable() || Instant::now() >= end {
            return Err(TargetError::refused(what)(error));
        }
        sleep(RETRY).await;
    }
}

fn signed<T>(message: T, token: &AsciiMetadataValue) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", token.clone());
    request
}

/// By seq, whether it has the field that nobody knows.
async fn read_log(
    channel: Channel,
    talk: ConversationId,
    token: &AsciiMetadataValue,
) -> Result<BTreeMap<u64, bool>, Status> {
    let mut client = HistoryServiceClient::new(channel).max_decoding_message_size(PAGE_BYTES_MAX);
    let mut read = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = v1::ListHistoryRequest {
            conversation_id: talk.to_bytes(),
            anchor: Some(v1::list_history_request::Anchor::AfterSeq(after)),
            page_size: PAGE_SIZE,
        };
        let page = client.list_history(signed(page, token)).await?.into_inner();
        read.extend(page.events.iter().filter_map(|bytes| whole(bytes)));
        let last = read.last_key_value().map_or(0, |(seq, _)| *seq);
        if !page.more_after || last == after {
            return Ok(read);
        }
        after = last;
    }
}

async fn read_mailbox(
    channel: Channel,
    talk: ConversationId,
    token: &AsciiMetadataValue,
) -> Result<BTreeMap<u64, bool>, Status> {
    let mut client = MessagingServiceClient::new(channel).max_decoding_message_size(PAGE_BYTES_MAX);
    let mut read = BTreeMap::new();
    let mut after = None;
    loop {
        let ask = v1::ListEventsRequest {
            after,
            page_size: PAGE_SIZE,
        };
        let page = client.list_events(signed(ask, token)).await?.into_inner();
        for delivery in page.deliveries {
            if let Some(Frame::Event(event)) = delivery.frame {
                read.extend(whole(&event.event).filter(|_| is_of(&event.event, talk)));
            }
        }
        if !page.more || page.next == after {
            return Ok(read);
        }
        after = page.next;
    }
}

fn is_of(event: &[u8], talk: ConversationId) -> bool {
    RawEvent::decode(event).is_ok_and(|event| event.conversation_id == talk.to_bytes())
}

fn whole(event: &[u8]) -> Option<(u64, bool)> {
    let seq = RawEvent::decode(event).ok()?.seq;
    let field = UNKNOWN_FIELD.as_bytes();
    Some((seq, event.windows(field.len()).any(|part| part == field)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_not_whole_is_told_apart() {
        let read = BTreeMap::from([(1, true), (2, false), (4, true)]);
        let found = Found::compare(&BTreeSet::from([1, 2, 3]), &read);
        assert_eq!(
            found,
            Found {
                lost: 1,
                fields_lost: 1
            }
        );
    }
}
