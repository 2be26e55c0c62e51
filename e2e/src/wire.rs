//! Wire: a device on the generated client, without the SDK, so that a scenario decides each frame
//! itself.
//!
//! [`Device`] makes unary calls; [`Stream`] is an open stream whose reading may stop. Nothing is
//! retried, acknowledged or resumed unless the scenario does it.

use crate::{
    wait::PATIENCE,
    world::{Failure, World},
};
use heddle_proto::v1::{
    self, OpenSessionRequest, OpenSessionResponse,
    conversation_service_client::ConversationServiceClient,
    history_service_client::HistoryServiceClient, messaging_service_client::MessagingServiceClient,
    open_session_request::Frame as Up, open_session_response::Frame, result::Outcome,
};
use heddle_sdk::{ConversationId, MessageId, text};
use serde_json::json;
use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// Puts a token on each call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A connection with a token.
pub type Line = InterceptedService<Channel, Bearer>;

/// A user's device without a session.
#[derive(Clone)]
pub struct Device {
    /// The user.
    pub user_id: String,
    /// The device.
    pub device_id: String,
    line: Line,
}

impl Device {
    /// A device with a connection of its own.
    pub async fn connect(world: &World, user_id: &str, device_id: &str) -> Result<Self, Failure> {
        let channel = Endpoint::from_shared(world.url())?.connect().await?;
        Self::over(channel, world, user_id, device_id)
    }

    /// A device whose streams take no more than so many unread bytes.
    pub async fn connect_windowed(
        world: &World,
        user_id: &str,
        device_id: &str,
        window_bytes: u32,
    ) -> Result<Self, Failure> {
        let endpoint = Endpoint::from_shared(world.url())?;
        let endpoint = endpoint.initial_stream_window_size(window_bytes);
        Self::over(endpoint.connect().await?, world, user_id, device_id)
    }

    /// A device on a connection that others use too.
    pub fn over(
        channel: Channel,
        world: &World,
        user_id: &str,
        device_id: &str,
    ) -> Result<Self, Failure> {
        let token = world.signer.token(user_id, json!({}));
        let bearer = Bearer(format!("Bearer {token}").parse()?);
        Ok(Self {
            user_id: user_id.to_owned(),
            device_id: device_id.to_owned(),
            line: InterceptedService::new(channel, bearer),
        })
    }

    /// Messages.
    pub fn messaging(&self) -> MessagingServiceClient<Line> {
        MessagingServiceClient::new(self.line.clone())
    }

    /// Conversations.
    pub fn conversations(&self) -> ConversationServiceClient<Line> {
        ConversationServiceClient::new(self.line.clone())
    }

    /// History.
    pub fn history(&self) -> HistoryServiceClient<Line> {
        HistoryServiceClient::new(self.line.clone())
    }

    /// Opens a session.
    pub async fn session(&self, resume: Option<v1::Cursor>) -> Result<Stream, Failure> {
        Stream::open(self, resume, |messaging| messaging).await
    }

    /// Opens a session whose stream is changed first: its windows, its sizes.
    pub async fn session_with(
        &self,
        resume: Option<v1::Cursor>,
        change: impl FnOnce(MessagingServiceClient<Line>) -> MessagingServiceClient<Line>,
    ) -> Result<Stream, Failure> {
        Stream::open(self, resume, change).await
    }
}

/// An open session.
pub struct Stream {
    /// What the server said first.
    pub opened: v1::SessionOpened,
    /// Frames that came while another was waited for.
    pub seen: Vec<Frame>,
    up: mpsc::Sender<OpenSessionRequest>,
    down: Streaming<OpenSessionResponse>,
}

impl Stream {
    async fn open(
        device: &Device,
        resume: Option<v1::Cursor>,
        change: impl FnOnce(MessagingServiceClient<Line>) -> MessagingServiceClient<Line>,
    ) -> Result<Self, Failure> {
        let (up, frames) = mpsc::channel(256);
        let hello = Up::Hello(v1::Hello {
            device_id: device.device_id.clone(),
            app_version: "wire".into(),
            resume,
            foreground: true,
            ..Default::default()
        });
        up.send(frame(0, hello)).await?;
        let mut messaging = change(device.messaging());
        let opening = messaging.open_session(ReceiverStream::new(frames));
        let mut down = timeout(PATIENCE, opening).await??.into_inner();
        match timeout(PATIENCE, down.message())
            .await??
            .and_then(|it| it.frame)
        {
            Some(Frame::Opened(opened)) => Ok(Self {
                opened,
                seen: Vec::new(),
                up,
                down,
            }),
            other => Err(format!("not opened but {other:?}").into()),
        }
    }

    /// Sends a frame.
    pub async fn send(&self, request_id: u64, up: Up) -> Result<(), Failure> {
        Ok(self.up.send(frame(request_id, up)).await?)
    }

    /// Says that everything up to a position is handled.
    pub async fn ack(&self, position: u64) -> Result<(), Failure> {
        let ack = v1::AckRequest {
            position,
            ..Default::default()
        };
        self.send(0, Up::Ack(ack)).await
    }

    /// The next frame from the wire; none: the stream ended, well or not.
    pub async fn next(&mut self) -> Option<Frame> {
        let next = timeout(PATIENCE, self.down.message()).await;
        let Ok(next) = next else {
            panic!("nothing came; before that {:#?}", self.seen)
        };
        next.ok().flatten().and_then(|response| response.frame)
    }

    /// The next frame if one comes within a time; the stream's end counts as none.
    pub async fn next_within(&mut self, patience: Duration) -> Option<Frame> {
        let next = timeout(patience, self.down.message()).await.ok()?;
        next.ok().flatten().and_then(|response| response.frame)
    }

    /// Waits for a frame that `wanted` picks; the others are kept.
    pub async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Frame) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().find_map(&mut wanted) {
            return found;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let next = timeout_at(deadline, self.down.message()).await;
            let Ok(Ok(Some(response))) = next else {
                panic!("waited for {what}, but {next:?}; saw {:#?}", self.seen)
            };
            let Some(frame) = response.frame else {
                continue;
            };
            let found = wanted(&frame);
            self.seen.push(frame);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// The answer to a request.
    pub async fn result(&mut self, request_id: u64) -> Result<Outcome, v1::Error> {
        let what = format!("the answer to request {request_id}");
        self.until(&what, |frame| match frame {
            Frame::Result(result) if result.request_id == request_id => {
                Some(match result.outcome.clone() {
                    Some(Outcome::Error(error)) => Err(error),
                    Some(outcome) => Ok(outcome),
                    None => panic!("a result without an outcome"),
                })
            }
            _ => None,
        })
        .await
    }

    /// The seq of a send that was answered well.
    pub async fn sent(&mut self, request_id: u64) -> Result<u64, v1::Error> {
        match self.result(request_id).await? {
            Outcome::Send(sent) => Ok(sent.seq),
            other => panic!("not the answer to a send: {other:?}"),
        }
    }

    /// Waits until all that was stored at the opening has come.
    pub async fn caught_up(&mut self) {
        self.until("caught up", |frame| {
            matches!(frame, Frame::CaughtUp(_)).then_some(())
        })
        .await;
    }
}

fn frame(request_id: u64, up: Up) -> OpenSessionRequest {
    OpenSessionRequest {
        request_id,
        frame: Some(up),
    }
}

/// A send of a text under an id.
pub fn send_of(to: ConversationId, id: &MessageId, words: &str) -> v1::SendMessageRequest {
    v1::SendMessageRequest {
        conversation_id: to.to_bytes(),
        client_message_id: id.to_bytes(),
        message: Some(text(words)),
        ..Default::default()
    }
}

/// The place in the mailbox that a frame names.
pub fn position_of(frame: &Frame) -> Option<u64> {
    match frame {
        Frame::Event(event) => event.cursor.map(|cursor| cursor.position),
        Frame::State(state) => state.cursor.map(|cursor| cursor.position),
        _ => None,
    }
}

/// The message of an event's frame, as (seq, text).
pub fn message_of(frame: &Frame) -> Option<(u64, String)> {
    let Frame::Event(delivery) = frame else {
        return None;
    };
    let event = delivery.event.as_ref()?;
    Some((event.seq, crate::people::text_of(event)?.to_owned()))
}

/// The name of the reason that a status carries, such as `NOT_FOUND`.
pub fn reason_of(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

/// A value that a status carries by name.
pub fn detail_of(status: &Status, name: &str) -> Option<String> {
    let details = status.get_error_details();
    details.error_info()?.metadata.get(name).cloned()
}

/// What a call was refused with; panics if it was not.
pub async fn refusal<T: std::fmt::Debug>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Status {
    match call.await {
        Err(status) => status,
        Ok(answer) => panic!("not refused but {:?}", answer.into_inner()),
    }
}

/// The time now, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// An id minted at a time; no two are alike within a process.
pub fn mint_at(time_ms: u64) -> MessageId {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut random = [0; 10];
    random[..8].copy_from_slice(&count.to_be_bytes());
    MessageId::mint(time_ms, &random)
}

/// An id minted now.
pub fn mint() -> MessageId {
    mint_at(now_ms())
}
