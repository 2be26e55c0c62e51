//! One connection of a session: dialled, greeted, answered.

use super::core::End;
use crate::{Error, client::Shared};
use heddle_proto::v1;
use heddle_proto::v1::messaging_service_client::MessagingServiceClient;
use heddle_proto::v1::{open_session_request as up, open_session_response as down};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Frames that wait for the transport; the outbox waits when there are more.
const OUTBOUND_LEN_MAX: usize = 128;
/// How long dialling and the answer to the hello may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What the hello says.
pub(super) struct Opening {
    pub(super) resume: Option<v1::Cursor>,
    pub(super) foreground: bool,
    /// Greater than that of each opening before it.
    pub(super) attempt: u64,
    /// Where the server sent the device; empty: the client's own addresses.
    pub(super) addresses: Vec<String>,
}

/// An open stream, both ways.
pub(super) struct Connection {
    pub(super) outbound: mpsc::Sender<v1::OpenSessionRequest>,
    pub(super) inbound: Streaming<v1::OpenSessionResponse>,
}

impl Connection {
    /// Dials, says hello and waits for the answer.
    pub(super) async fn open(
        shared: &Shared,
        opening: Opening,
    ) -> Result<(Self, v1::SessionOpened), End> {
        match tokio::time::timeout(OPEN_TIMEOUT, Self::dial(shared, opening)).await {
            Ok(opened) => opened,
            Err(_) => {
                shared.next_address();
                let text = "the server did not answer the hello in time";
                Err(End::Lost(Error::local(tonic::Code::DeadlineExceeded, text)))
            }
        }
    }

    async fn dial(shared: &Shared, opening: Opening) -> Result<(Self, v1::SessionOpened), End> {
        let token = shared.fresh_token().await.map_err(End::Lost)?;
        let channel = shared
            .session_channel(&opening.addresses)
            .await
            .map_err(End::Lost)?;
        let hello = v1::Hello {
            token,
            device_id: shared.device_id.clone(),
            app_version: shared.app_version.clone(),
            resume: opening.resume,
            foreground: opening.foreground,
            client_incarnation: shared.incarnation,
            client_attempt: opening.attempt,
        };
        let (outbound, frames) = mpsc::channel(OUTBOUND_LEN_MAX);
        let first = v1::OpenSessionRequest {
            request_id: 0,
            frame: Some(up::Frame::Hello(hello)),
        };
        // The queue is new: there is room.
        let _ = outbound.try_send(first);
        let mut client = MessagingServiceClient::new(channel)
            .max_decoding_message_size(crate::client::MESSAGE_BYTES_MAX);
        let opened = client.open_session(ReceiverStream::new(frames)).await;
        let mut inbound = opened
            .map_err(|status| End::Lost(status.into()))?
            .into_inner();
        let first = inbound.message().await;
        let first = first.map_err(|status| End::Lost(status.into()))?;
        match first.and_then(|frame| frame.frame) {
            Some(down::Frame::Opened(opened)) => Ok((Self { outbound, inbound }, opened)),
            Some(down::Frame::GoAway(go_away)) => Err(End::GoAway(Box::new(go_away))),
            Some(down::Frame::Result(v1::Result {
                outcome: Some(v1::result::Outcome::Error(error)),
                ..
            })) => Err(End::Lost(error.into())),
            Some(_) => {
                let text = "the server's first frame does not answer the hello";
                Err(End::Lost(Error::local(tonic::Code::Internal, text)))
            }
            None => Err(End::Lost(Error::disconnected())),
        }
    }
}
