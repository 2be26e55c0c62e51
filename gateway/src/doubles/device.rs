//! Device: a session as a phone has it.

use super::{World, soon};
use bytes::Bytes;
use heddle_proto::v1::{
    self, Cursor, OpenSessionRequest, OpenSessionResponse, SessionOpened,
    messaging_service_client::MessagingServiceClient, open_session_request::Frame as Up,
    open_session_response::Frame, result::Outcome,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// An open stream.
pub struct Device {
    up: Option<mpsc::Sender<OpenSessionRequest>>,
    down: Streaming<OpenSessionResponse>,
}

impl Device {
    /// A stream on which nothing has been said.
    pub async fn connect(world: &World) -> Self {
        let (up, frames) = mpsc::channel(1024);
        let mut client = MessagingServiceClient::new(world.link.clone());
        let opening = client.open_session(ReceiverStream::new(frames));
        let down = soon("the stream", opening).await.unwrap().into_inner();
        Self { up: Some(up), down }
    }

    /// The status with which a stream is refused.
    pub async fn refused(world: &World) -> Status {
        let mut client = MessagingServiceClient::new(world.link.clone());
        let opening = client.open_session(tokio_stream::empty());
        soon("the refusal", opening).await.unwrap_err()
    }

    /// A session of a user's phone that goes on from a place.
    pub async fn open_from(world: &World, user: &str, resume: Option<Cursor>) -> (Self, u64) {
        let mut device = Self::connect(world).await;
        device.send(0, hello(world.token(user), resume)).await;
        let opened = device.opened().await;
        (device, session_id(&opened))
    }

    /// A fresh session that has caught up.
    pub async fn open(world: &World, user: &str) -> (Self, u64) {
        let (mut device, id) = Self::open_from(world, user, None).await;
        let Some(Frame::CaughtUp(_)) = device.next().await else {
            panic!("not caught up")
        };
        (device, id)
    }

    /// Sends a frame.
    pub async fn send(&self, request_id: u64, frame: Up) {
        let request = OpenSessionRequest {
            request_id,
            frame: Some(frame),
        };
        self.up.as_ref().unwrap().send(request).await.unwrap();
    }

    /// Sends a frame of a kind that nobody knows.
    pub async fn send_unknown(&self, request_id: u64) {
        let request = OpenSessionRequest {
            request_id,
            frame: None,
        };
        self.up.as_ref().unwrap().send(request).await.unwrap();
    }

    /// Sends no more.
    pub fn finish(&mut self) {
        self.up = None;
    }

    /// The next frame; none: the stream has ended well.
    pub async fn next(&mut self) -> Option<Frame> {
        self.receive()
            .await
            .unwrap()
            .map(|response| response.frame.unwrap())
    }

    /// The next frame or the status with which the stream ends.
    pub async fn receive(&mut self) -> Result<Option<OpenSessionResponse>, Status> {
        soon("a frame", self.down.message()).await
    }

    /// The answer to the hello.
    pub async fn opened(&mut self) -> SessionOpened {
        match self.next().await {
            Some(Frame::Opened(opened)) => opened,
            other => panic!("not opened: {other:?}"),
        }
    }

    /// The next result, its request_id and its error if it is one.
    pub async fn result(&mut self) -> (u64, Result<Outcome, v1::Error>) {
        match self.next().await {
            Some(Frame::Result(v1::Result {
                request_id,
                outcome: Some(outcome),
            })) => {
                let outcome = match outcome {
                    Outcome::Error(error) => Err(error),
                    other => Ok(other),
                };
                (request_id, outcome)
            }
            other => panic!("no result: {other:?}"),
        }
    }

    /// The position of the next event.
    pub async fn event(&mut self) -> (u64, u64) {
        match self.next().await {
            Some(Frame::Event(event)) => (event.cursor.unwrap().position, event.previous_position),
            other => panic!("no event: {other:?}"),
        }
    }

    /// Acknowledges.
    pub async fn ack(&self, position: u64) {
        let ack = v1::AckRequest {
            position,
            ..Default::default()
        };
        self.send(0, Up::Ack(ack)).await;
    }

    /// Why the stream ends.
    pub async fn gone(&mut self) -> v1::GoAwayReason {
        self.gone_away().await.reason()
    }

    /// The GoAway that ends the stream.
    pub async fn gone_away(&mut self) -> v1::GoAway {
        loop {
            match self.next().await {
                Some(Frame::GoAway(go_away)) => return go_away,
                Some(_) => {}
                None => panic!("ended without a word"),
            }
        }
    }
}

/// A hello of the phone.
pub fn hello(token: String, resume: Option<Cursor>) -> Up {
    Up::Hello(v1::Hello {
        token,
        device_id: "phone".into(),
        app_version: "1".into(),
        resume,
        foreground: true,
        ..Default::default()
    })
}

/// A send of a text.
pub fn text(world: &World, text: &str) -> v1::SendMessageRequest {
    v1::SendMessageRequest {
        conversation_id: Bytes::from_static(&[9; 16]),
        client_message_id: world.message_id(),
        predecessor_id: Bytes::new(),
        message: Some(v1::Message {
            content: Some(v1::message::Content::Text(text.into())),
            ..Default::default()
        }),
    }
}

/// The number in a session's name.
pub fn session_id(opened: &SessionOpened) -> u64 {
    let (_, id) = opened.session_id.split_once('-').unwrap();
    u64::from_str_radix(id, 16).unwrap()
}
