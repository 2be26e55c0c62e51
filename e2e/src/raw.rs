//! Raw: a session in bytes, for what a well-behaved client never does.
//!
//! Frames go up as they are given and come down with the bytes in which they came; the hello may be
//! left out. [`crate::wire`] spells out ordinary sessions, [`crate::people`] behave.

use crate::{wait::PATIENCE, world::Failure};
use bytes::{Buf, BufMut, Bytes};
use heddle_sdk::{Error, v1};
use prost::Message;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use v1::{
    open_session_request::Frame as Up, open_session_response::Frame as Down, result::Outcome,
};

/// Frames that may wait to be written.
const FRAMES_MAX: usize = 256;

/// A frame down, and the bytes in which it came.
#[derive(Clone, Debug)]
pub struct Came {
    /// The whole `OpenSessionResponse`.
    pub bytes: Bytes,
    /// What it holds.
    pub frame: Down,
}

/// A stream of frames.
pub struct Raw {
    up: Option<mpsc::Sender<Bytes>>,
    down: Streaming<Bytes>,
    request_id: u64,
    /// All that came and was not asked for yet.
    pub seen: Vec<Came>,
}

/// A connection of its own.
pub async fn connect(url: &str) -> Result<Channel, Failure> {
    Ok(Endpoint::from_shared(url.to_owned())?.connect().await?)
}

/// A request with a token.
pub fn authorized<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    if let Ok(value) = format!("Bearer {token}").parse() {
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// Calls a method with bytes; the answer's bytes.
pub async fn call(
    channel: Channel,
    method: &'static str,
    message: Bytes,
    token: &str,
) -> Result<Bytes, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(unready)?;
    let path = PathAndQuery::from_static(method);
    let answer = client
        .unary(authorized(message, token), path, Passing)
        .await?;
    Ok(answer.into_inner())
}

fn unready(error: tonic::transport::Error) -> Status {
    Status::unavailable(error.to_string())
}

impl Raw {
    /// Opens a stream; nothing is said yet.
    pub async fn open(channel: Channel, token: &str) -> Result<Self, Status> {
        let (up, frames) = mpsc::channel(FRAMES_MAX);
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(unready)?;
        let path = PathAndQuery::from_static("/heddle.v1.MessagingService/OpenSession");
        let request = authorized(ReceiverStream::new(frames), token);
        let down = client.streaming(request, path, Passing).await?.into_inner();
        Ok(Self {
            up: Some(up),
            down,
            request_id: 0,
            seen: Vec::new(),
        })
    }

    /// Opens a session in the foreground, from the beginning of the mailbox.
    pub async fn session(url: &str, token: &str, device_id: &str) -> Result<Self, Failure> {
        let mut raw = Self::open(connect(url).await?, token).await?;
        let resume = Some(v1::Cursor::default());
        let device_id = device_id.to_owned();
        raw.hello(v1::Hello {
            device_id,
            resume,
            foreground: true,
            ..Default::default()
        })
        .await?;
        Ok(raw)
    }

    /// Says hello and waits for the answer.
    pub async fn hello(&mut self, hello: v1::Hello) -> Result<v1::SessionOpened, Status> {
        self.push(0, Up::Hello(hello)).await;
        loop {
            match self.next().await? {
                Some(Came {
                    frame: Down::Opened(opened),
                    ..
                }) => return Ok(opened),
                Some(came) => self.seen.push(came),
                None => return Err(Status::cancelled("the stream ended without an answer")),
            }
        }
    }

    /// Sends a frame.
    pub async fn push(&self, request_id: u64, frame: Up) {
        let request = v1::OpenSessionRequest {
            request_id,
            frame: Some(frame),
        };
        self.push_bytes(request.encode_to_vec()).await;
    }

    /// Sends whatever this is.
    pub async fn push_bytes(&self, frame: impl Into<Bytes>) {
        if let Some(up) = &self.up {
            // A stream that is over tells so when it is read.
            let _over = up.send(frame.into()).await;
        }
    }

    /// Sends a frame and waits for its answer.
    pub async fn ask(&mut self, frame: Up) -> Result<Outcome, Error> {
        self.request_id += 1;
        self.push(self.request_id, frame).await;
        self.answer(self.request_id).await
    }

    /// Waits for the answer to a request; answers may come in any order.
    pub async fn answer(&mut self, request_id: u64) -> Result<Outcome, Error> {
        let ours =
            |came: &Came| matches!(&came.frame, Down::Result(it) if it.request_id == request_id);
        let came = match self.seen.iter().position(ours) {
            Some(index) => self.seen.remove(index),
            None => loop {
                let came = self.next().await?.ok_or_else(Error::disconnected)?;
                if ours(&came) {
                    break came;
                }
                self.seen.push(came);
            },
        };
        match came.frame {
            Down::Result(v1::Result {
                outcome: Some(Outcome::Error(error)),
                ..
            }) => Err(error.into()),
            Down::Result(v1::Result {
                outcome: Some(outcome),
                ..
            }) => Ok(outcome),
            other => panic!("the answer to {request_id} says nothing: {other:?}"),
        }
    }

    /// Waits for a frame that `wanted` picks, among those that came and those to come.
    pub async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Came) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().find_map(&mut wanted) {
            return found;
        }
        loop {
            let came = match self.next().await {
                Ok(Some(came)) => came,
                ended => panic!("no {what} before the end: {ended:?}; saw {:#?}", self.seen),
            };
            let found = wanted(&came);
            self.seen.push(came);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// The next frame; none when the stream is over.
    pub async fn next(&mut self) -> Result<Option<Came>, Status> {
        let next = timeout(PATIENCE, self.down.message()).await;
        let late = |_| Status::deadline_exceeded("the test gave up waiting for a frame");
        let Some(bytes) = next.map_err(late)?? else {
            return Ok(None);
        };
        let response = v1::OpenSessionResponse::decode(bytes.clone());
        let response = response.map_err(|error| Status::data_loss(error.to_string()))?;
        let unknown = || Status::data_loss("a frame of a kind that the test does not know");
        Ok(Some(Came {
            bytes,
            frame: response.frame.ok_or_else(unknown)?,
        }))
    }

    /// Reads to the end of the stream; what it ended with.
    pub async fn ended(&mut self) -> Result<(), Error> {
        while let Some(came) = self.next().await? {
            self.seen.push(came);
        }
        Ok(())
    }

    /// Says that no frames follow.
    pub fn finish(&mut self) {
        self.up = None;
    }
}

/// The codec that leaves bytes as they are.
struct Passing;

impl Codec for Passing {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Passing {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Passing {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}
