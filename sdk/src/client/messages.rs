//! Messages by unary call: send, change, read back. For what needs no session, and for edits and
//! the like.

use super::Client;
use crate::{Error, Sent, outbox::Outgoing};
use heddle_proto::ids::LogId;
use heddle_proto::v1::history_service_client::HistoryServiceClient;
use heddle_proto::v1::messaging_service_client::MessagingServiceClient as Stub;
use heddle_proto::{time, v1};

/// Which page of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The newest.
    Newest,
    /// Just before a seq.
    Before(u64),
    /// Just after a seq.
    After(u64),
    /// With a seq in the middle.
    Around(u64),
    /// From a time on, in milliseconds since the Unix epoch.
    FromTime(u64),
}

impl Client {
    /// Sends one message and waits until it is stored. A session's outbox does the same and keeps
    /// the order.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Sent, Error> {
        let client_message_id = outgoing.client_message_id;
        let request = v1::SendMessageRequest {
            conversation_id: outgoing.conversation_id.to_bytes(),
            client_message_id: client_message_id.to_bytes(),
            message: Some(outgoing.message),
            ..Default::default()
        };
        let call = |channel, request| async move { Stub::new(channel).send_message(request).await };
        let response = self.call(request, call).await?;
        Ok(Sent {
            client_message_id,
            seq: response.seq,
            create_time_ms: response.create_time.as_ref().map_or(0, time::millis),
        })
    }

    /// Gives a message another content; the seq of the event that says so.
    pub async fn edit(&self, id: LogId, seq: u64, message: v1::Message) -> Result<u64, Error> {
        let request = v1::EditMessageRequest {
            conversation_id: id.to_bytes(),
            client_message_id: self.mint().to_bytes(),
            target_seq: seq,
            message: Some(message),
        };
        let call = |channel, request| async move { Stub::new(channel).edit_message(request).await };
        Ok(self.call(request, call).await?.seq)
    }

    /// Deletes a message for everyone; the seq of the event that says so.
    pub async fn erase(&self, id: LogId, seq: u64) -> Result<u64, Error> {
        let request = v1::EraseMessageRequest {
            conversation_id: id.to_bytes(),
            client_message_id: self.mint().to_bytes(),
            target_seq: seq,
        };
        let call =
            |channel, request| async move { Stub::new(channel).erase_message(request).await };
        Ok(self.call(request, call).await?.seq)
    }

    /// Gives a reaction, or takes it back; the seq of the event that says so.
    pub async fn react(&self, id: LogId, seq: u64, key: &str, remove: bool) -> Result<u64, Error> {
        let request = v1::ReactRequest {
            conversation_id: id.to_bytes(),
            client_message_id: self.mint().to_bytes(),
            target_seq: seq,
            key: key.to_owned(),
            remove,
        };
        let call = |channel, request| async move { Stub::new(channel).react(request).await };
        Ok(self.call(request, call).await?.seq)
    }

    /// Deletes messages for oneself, on all of one's devices.
    pub async fn hide(&self, id: LogId, seqs: Vec<u64>) -> Result<(), Error> {
        let request = v1::HideMessagesRequest {
            conversation_id: id.to_bytes(),
            seqs,
        };
        let call =
            |channel, request| async move { Stub::new(channel).hide_messages(request).await };
        self.call(request, call).await.map(drop)
    }

    /// Says how far the user has read; the mark as it is now.
    pub async fn mark(&self, id: LogId, read_seq: u64) -> Result<u64, Error> {
        let request = v1::MarkRequest {
            conversation_id: id.to_bytes(),
            read_seq,
        };
        let call = |channel, request| async move { Stub::new(channel).mark(request).await };
        Ok(self.call(request, call).await?.read_seq)
    }

    /// A page of a conversation.
    pub async fn history(
        &self,
        id: LogId,
        page: Page,
        page_size: i32,
    ) -> Result<v1::ListHistoryResponse, Error> {
        use v1::list_history_request::Anchor;
        let anchor = match page {
            Page::Newest => None,
            Page::Before(seq) => Some(Anchor::BeforeSeq(seq)),
            Page::After(seq) => Some(Anchor::AfterSeq(seq)),
            Page::Around(seq) => Some(Anchor::AroundSeq(seq)),
            Page::FromTime(at_ms) => Some(Anchor::FromTime(time::timestamp(at_ms))),
        };
        let request = v1::ListHistoryRequest {
            conversation_id: id.to_bytes(),
            anchor,
            page_size,
        };
        let call = |channel, request| async move {
            HistoryServiceClient::new(channel)
                .max_decoding_message_size(super::MESSAGE_BYTES_MAX)
                .list_history(request)
                .await
        };
        self.call(request, call).await
    }

    /// A page of the mailbox, for callers that cannot hold a session.
    pub async fn events(
        &self,
        after: Option<v1::Cursor>,
        page_size: i32,
    ) -> Result<v1::ListEventsResponse, Error> {
        let request = v1::ListEventsRequest { after, page_size };
        let call = |channel, request| async move {
            Stub::new(channel)
                .max_decoding_message_size(super::MESSAGE_BYTES_MAX)
                .list_events(request)
                .await
        };
        self.call(request, call).await
    }

    /// Acknowledges all positions up to one, as this device.
    pub async fn ack(&self, position: u64) -> Result<(), Error> {
        let request = v1::AckRequest {
            position,
            device_id: self.shared.device_id.clone(),
            ..Default::default()
        };
        let call = |channel, request| async move { Stub::new(channel).ack(request).await };
        self.call(request, call).await.map(drop)
    }
}
