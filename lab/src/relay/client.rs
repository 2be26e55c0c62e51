//! The relay as a chat transport: one connection per participant, as devices have.
//!
//! Driven by [`load`](crate::load). Acknowledges what it receives as Heddle's SDK does: each 32
//! deliveries or 50 ms, whichever comes first.
//!
//! Invariant: `next` is cancel-safe, so that a driver may select over it.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint as Address;

use super::WINDOW_BYTES;
use super::wire::relay_service_client::RelayServiceClient;
use super::wire::{Hello, OpenSessionRequest, OpenSessionResponse, Send};
use super::wire::{open_session_request, open_session_response};
use crate::load::{ChatTransport, Endpoint, Happening, Seat, TransportError};

/// Deliveries after which they are acknowledged at once.
const ACK_EVENTS: u64 = 32;
/// How long a delivery waits for others to be acknowledged together.
const ACK_DELAY: Duration = Duration::from_millis(50);
/// Frames that wait for the connection, at most; `send` waits beyond that.
const OUTGOING_MAX: usize = 1024;
/// How long connecting and being let into the room may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Sessions at one relay.
#[derive(Clone, Debug)]
pub struct RelayTransport {
    address: Address,
}

impl RelayTransport {
    /// Sessions at the relay under this URL (`http://127.0.0.1:PORT`).
    pub fn new(url: &str) -> Result<RelayTransport, TransportError> {
        let address = Address::from_shared(url.to_owned())
            .map_err(|cause| TransportError::new(format!("{url} is no URL: {cause}")))?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES);
        Ok(RelayTransport { address })
    }
}

impl ChatTransport for RelayTransport {
    type Endpoint = RelayEndpoint;

    async fn connect(&self, seat: &Seat) -> Result<RelayEndpoint, TransportError> {
        let opening = RelayEndpoint::open(&self.address, seat);
        let late = |_| TransportError::new("the relay did not answer in time");
        tokio::time::timeout(CONNECT_TIMEOUT, opening)
            .await
            .map_err(late)?
    }
}

/// One participant's session.
#[derive(Debug)]
pub struct RelayEndpoint {
    outgoing: mpsc::Sender<OpenSessionRequest>,
    incoming: Streaming<OpenSessionResponse>,
    received: u64,
    acknowledged: u64,
    /// Due when something is received and not acknowledged.
    ack_timer: Pin<Box<Sleep>>,
}

impl RelayEndpoint {
    async fn open(address: &Address, seat: &Seat) -> Result<RelayEndpoint, TransportError> {
        let channel = address.connect().await.map_err(TransportError::new)?;
        let (outgoing, frames) = mpsc::channel(OUTGOING_MAX);
        let (name, room) = (seat.name.clone(), seat.room.clone());
        let hello = open_session_request::Kind::Hello(Hello { name, room });
        outgoing
            .send(frame(hello))
            .await
            .map_err(TransportError::new)?;
        let incoming = RelayServiceClient::new(channel)
            .open_session(ReceiverStream::new(frames))
            .await
            .map_err(TransportError::new)?
            .into_inner();
        let ack_timer = Box::pin(sleep(ACK_DELAY));
        let mut endpoint = RelayEndpoint {
            outgoing,
            incoming,
            received: 0,
            acknowledged: 0,
            ack_timer,
        };
        match endpoint.frame().await? {
            open_session_response::Kind::Ready(_) => Ok(endpoint),
            other => Err(TransportError::new(format!(
                "expected `ready`, got {other:?}"
            ))),
        }
    }

    async fn frame(&mut self) -> Result<open_session_response::Kind, TransportError> {
        let frame = self.incoming.message().await.map_err(TransportError::new)?;
        let frame = frame.ok_or_else(|| TransportError::new("the relay ended the session"))?;
        frame
            .kind
            .ok_or_else(|| TransportError::new("the relay sent an empty frame"))
    }

    fn receive(&mut self, body: Bytes) -> Happening {
        if self.received == self.acknowledged {
            self.ack_timer.as_mut().reset(Instant::now() + ACK_DELAY);
        }
        self.received += 1;
        if self.received - self.acknowledged >= ACK_EVENTS {
            self.acknowledge();
        }
        Happening::Delivered { body }
    }

    /// Never waits: an acknowledgement that finds no room is in the next one, being cumulative.
    fn acknowledge(&mut self) {
        let received = open_session_request::Kind::Received(self.received);
        if self.outgoing.try_send(frame(received)).is_ok() {
            self.acknowledged = self.received;
        } else {
            self.ack_timer.as_mut().reset(Instant::now() + ACK_DELAY);
        }
    }
}

impl Endpoint for RelayEndpoint {
    async fn send(&mut self, id: u64, body: Bytes) -> Result<(), TransportError> {
        let send = open_session_request::Kind::Send(Send { id, body });
        self.outgoing
            .send(frame(send))
            .await
            .map_err(TransportError::new)
    }

    async fn next(&mut self) -> Result<Happening, TransportError> {
        loop {
            let has_unacknowledged = self.received > self.acknowledged;
            tokio::select! {
                biased;
                frame = self.incoming.message() => {
                    let frame = frame.map_err(TransportError::new)?;
                    match frame.and_then(|frame| frame.kind) {
                        Some(open_session_response::Kind::Stored(id)) => {
                            return Ok(Happening::Stored { id });
                        }
                        Some(open_session_response::Kind::Delivery(body)) => {
                            return Ok(self.receive(body));
                        }
                        Some(open_session_response::Kind::Ready(_)) => {}
                        None => return Err(TransportError::new("the relay ended the session")),
                    }
                }
                () = self.ack_timer.as_mut(), if has_unacknowledged => self.acknowledge(),
            }
        }
    }
}

fn frame(kind: open_session_request::Kind) -> OpenSessionRequest {
    OpenSessionRequest { kind: Some(kind) }
}
