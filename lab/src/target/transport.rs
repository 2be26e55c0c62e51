//! Heddle as a chat transport for the load driver: one connection and one session per user.
//!
//! Speaks the session's frames itself, so that the driver's CPU goes to the server's work and not
//! to an outbox; but behaves as the SDK does: acknowledges each 32 events or 50 ms, marks as read
//! at most each 50 ms, names a send's predecessor while that is unanswered, pings.
//!
//! Invariant: `next` is cancel-safe, and a hole in the mailbox fails the session.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use heddle_proto::ids::{LogId, MessageId};
use heddle_proto::v1::messaging_service_client::MessagingServiceClient;
use heddle_proto::v1::open_session_request::Frame as Up;
use heddle_proto::v1::open_session_response::Frame as Down;
use heddle_proto::v1::{self, event, message::Content, result::Outcome};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint as Address;

use super::{Target, TargetError, conversation};
use crate::load::{ChatTransport, Endpoint, Happening, Plan, Seat, TransportError};
use crate::relay::WINDOW_BYTES;

/// Events after which they are acknowledged at once.
const ACK_EVENTS: u64 = heddle_sdk::ACK_EVENTS;
/// How long an event waits for others to be acknowledged and marked together.
const ACK_DELAY: Duration = Duration::from_millis(heddle_sdk::ACK_INTERVAL_MS);
/// Frames that wait for the connection, at most; `send` waits beyond that.
const OUTGOING_MAX: usize = 1024;
/// How long connecting and being greeted may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Conversations that are made at once.
const PREPARING_MAX: usize = 32;

/// Sessions at one server, with the conversations of a plan.
#[derive(Clone, Debug)]
pub struct HeddleTransport {
    target: Target,
    /// Of each gateway.
    addresses: Vec<Address>,
    /// Sessions so far: they take the gateways in turns.
    opened: Arc<AtomicUsize>,
    rooms: Arc<HashMap<String, LogId>>,
}

impl HeddleTransport {
    /// Makes the plan's conversations: a room of two is direct, a larger one a group, one person's
    /// is none. Users have the names of their seats.
    pub async fn prepare(target: &Target, plan: &Plan) -> Result<HeddleTransport, TargetError> {
        let mut members: HashMap<&str, Vec<&str>> = HashMap::new();
        for seat in &plan.seats {
            let room = members.entry(&seat.seat.room).or_default();
            room.push(&seat.seat.name);
        }
        let rooms = stream::iter(members.into_iter().filter(|(_, names)| names.len() > 1))
            .map(|(room, names)| async move {
                Ok::<_, TargetError>((room.to_owned(), make_room(target, room, &names).await?))
            })
            .buffer_unordered(PREPARING_MAX)
            .try_collect()
            .await?;
        Ok(HeddleTransport {
            rooms: Arc::new(rooms),
            ..HeddleTransport::alone(target)?
        })
    }

    /// The same with another HTTP/2 window for each stream, in bytes.
    pub fn stream_window(mut self, bytes: u32) -> HeddleTransport {
        let all = self.addresses.into_iter();
        let set = all.map(|address| address.initial_stream_window_size(bytes));
        self.addresses = set.collect();
        self
    }

    /// The next gateway's address.
    fn address(&self) -> &Address {
        let turn = self.opened.fetch_add(1, Ordering::Relaxed);
        // A target has an address at least.
        &self.addresses[turn % self.addresses.len()]
    }

    /// The conversation that was made for a room.
    pub fn room(&self, name: &str) -> Option<LogId> {
        self.rooms.get(name).copied()
    }

    /// Sessions of people who are alone.
    pub fn alone(target: &Target) -> Result<HeddleTransport, TargetError> {
        Ok(HeddleTransport {
            target: target.clone(),
            addresses: target.urls().map(address).collect::<Result<_, _>>()?,
            opened: Arc::default(),
            rooms: Arc::default(),
        })
    }
}

async fn make_room(target: &Target, room: &str, names: &[&str]) -> Result<LogId, TargetError> {
    let client = target.client(names[0], "bench")?;
    let others: Vec<String> = names[1..].iter().map(|&name| name.to_owned()).collect();
    let refused = TargetError::refused("a conversation could not be made");
    let made = match others.as_slice() {
        [other] => client.create_direct(other).await,
        _ => client.create_group(room, others).await,
    };
    let made = made.map_err(refused)?;
    conversation::id_of(&made)
}

fn address(url: String) -> Result<Address, TargetError> {
    let address = Address::from_shared(url).map_err(|error| TargetError::Refused {
        what: "the target",
        error: heddle_sdk::Error::field("target", error.to_string()),
    })?;
    Ok(address
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES))
}

impl ChatTransport for HeddleTransport {
    type Endpoint = HeddleEndpoint;

    async fn connect(&self, seat: &Seat) -> Result<HeddleEndpoint, TransportError> {
        let opening = HeddleEndpoint::open(self, seat);
        let late = |_| TransportError::new("the server did not answer the hello in time");
        tokio::time::timeout(CONNECT_TIMEOUT, opening)
            .await
            .map_err(late)?
    }
}

/// One user's session.
#[derive(Debug)]
pub struct HeddleEndpoint {
    outgoing: mpsc::Sender<v1::OpenSessionRequest>,
    incoming: Streaming<v1::OpenSessionResponse>,
    user: String,
    room: Option<LogId>,
    position: u64,
    acknowledged: u64,
    read_seq: u64,
    marked_seq: u64,
    /// Due when something is received and not acknowledged.
    ack_timer: Pin<Box<Sleep>>,
    pings: Interval,
    /// The predecessor to name, and how many sends are unanswered.
    last_sent: Bytes,
    unanswered: VecDeque<u64>,
    clock_ahead_ms: i64,
}

impl HeddleEndpoint {
    async fn open(
        transport: &HeddleTransport,
        seat: &Seat,
    ) -> Result<HeddleEndpoint, TransportError> {
        let token = transport.target.tokens.mint(&seat.name);
        let hello = v1::Hello {
            token: token.map_err(TransportError::new)?,
            device_id: "bench".into(),
            app_version: "heddle-lab".into(),
            foreground: true,
            ..Default::default()
        };
        let channel = transport
            .address()
            .connect()
            .await
            .map_err(TransportError::new)?;
        let (outgoing, frames) = mpsc::channel(OUTGOING_MAX);
        let hello = frame(0, Up::Hello(hello));
        outgoing.send(hello).await.map_err(TransportError::new)?;
        let mut incoming = MessagingServiceClient::new(channel)
            .open_session(ReceiverStream::new(frames))
            .await
            .map_err(TransportError::new)?
            .into_inner();
        let first = incoming.message().await.map_err(TransportError::new)?;
        let opened = match first.and_then(|first| first.frame) {
            Some(Down::Opened(opened)) => opened,
            other => return Err(TransportError::new(format!("no `opened`, but {other:?}"))),
        };
        let position = opened.head.map_or(0, |head| head.position);
        let period = opened.heartbeat_interval.unwrap_or_default();
        let period = Duration::try_from(period).unwrap_or_default();
        let period = period.max(Duration::from_secs(1));
        let mut pings = interval_at(Instant::now() + period, period);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let server_ms = opened
            .server_time
            .as_ref()
            .map_or(0, heddle_proto::time::millis);
        Ok(HeddleEndpoint {
            outgoing,
            incoming,
            user: seat.name.clone(),
            room: transport.rooms.get(&seat.room).copied(),
            position,
            acknowledged: position,
            read_seq: 0,
            marked_seq: 0,
            ack_timer: Box::pin(sleep(ACK_DELAY)),
            pings,
            last_sent: Bytes::new(),
            unanswered: VecDeque::new(),
            clock_ahead_ms: server_ms as i64 - local_ms(),
        })
    }

    /// What a frame means for the driver, if anything.
    fn take(&mut self, down: Down) -> Result<Option<Happening>, TransportError> {
        match down {
            Down::Result(result) => Ok(self.answered(result)),
            Down::Event(delivery) => {
                self.advance(delivery.previous_position, delivery.cursor)?;
                Ok(self.delivered(delivery.event.unwrap_or_default()))
            }
            Down::State(delivery) => {
                self.advance(delivery.previous_position, delivery.cursor)?;
                Ok(None)
            }
            Down::GoAway(away) => Err(TransportError::new(format!("sent away: {away:?}"))),
            _ => Ok(None),
        }
    }

    fn answered(&mut self, result: v1::Result) -> Option<Happening> {
        let id = result.request_id.checked_sub(1)?;
        let happening = match result.outcome? {
            Outcome::Send(_) => Happening::Stored { id },
            Outcome::Error(error) => {
                tracing::warn!(?error, "a send was refused");
                Happening::Refused { id }
            }
            _ => return None,
        };
        let place = self.unanswered.iter().position(|&sent| sent == id)?;
        self.unanswered.remove(place);
        Some(happening)
    }

    fn advance(&mut self, previous: u64, cursor: Option<v1::Cursor>) -> Result<(), TransportError> {
        let position = cursor.map_or(0, |cursor| cursor.position);
        if previous != self.position {
            return Err(TransportError::new(format!(
                "{}: position {position} says it follows {previous}, but {} was the last",
                self.user, self.position
            )));
        }
        let now = Instant::now();
        if self.ack_timer.deadline() <= now {
            self.ack_timer.as_mut().reset(now + ACK_DELAY);
        }
        self.position = position;
        if self.position - self.acknowledged >= ACK_EVENTS {
            self.acknowledge();
        }
        Ok(())
    }

    fn delivered(&mut self, event: v1::Event) -> Option<Happening> {
        let Some(event::Kind::Message(message)) = event.kind else {
            return None;
        };
        if event.sender == self.user {
            return None;
        }
        self.read_seq = event.seq;
        match message.content {
            Some(Content::Text(text)) => Some(Happening::Delivered {
                body: Bytes::from(text),
            }),
            _ => None,
        }
    }

    /// Never waits: an acknowledgement that finds no room is in the next one, being cumulative.
    fn acknowledge(&mut self) {
        let position = self.position;
        let ack = v1::AckRequest {
            position,
            ..Default::default()
        };
        if self.outgoing.try_send(frame(0, Up::Ack(ack))).is_ok() {
            self.acknowledged = position;
        } else {
            self.ack_timer.as_mut().reset(Instant::now() + ACK_DELAY);
        }
    }

    /// As a person does who looks at the conversation all the time.
    fn mark(&mut self) {
        let Some(room) = self.room.filter(|_| self.read_seq > self.marked_seq) else {
            return;
        };
        let mark = v1::MarkRequest {
            conversation_id: room.to_bytes(),
            read_seq: self.read_seq,
        };
        if self.outgoing.try_send(frame(0, Up::Mark(mark))).is_ok() {
            self.marked_seq = self.read_seq;
        }
    }
}

impl Endpoint for HeddleEndpoint {
    async fn send(&mut self, id: u64, body: Bytes) -> Result<(), TransportError> {
        let room = self
            .room
            .ok_or_else(|| TransportError::new("nobody to send to"))?;
        let text = String::from_utf8(body.into()).map_err(TransportError::new)?;
        let now_ms = local_ms().saturating_add(self.clock_ahead_ms);
        let minted = MessageId::mint(u64::try_from(now_ms).unwrap_or(0), &rand::random());
        let client_message_id = minted.to_bytes();
        let last = std::mem::replace(&mut self.last_sent, client_message_id.clone());
        let predecessor_id = match self.unanswered.is_empty() {
            true => Bytes::new(),
            false => last,
        };
        let send = v1::SendMessageRequest {
            conversation_id: room.to_bytes(),
            client_message_id,
            predecessor_id,
            message: Some(heddle_sdk::text(text)),
        };
        self.unanswered.push_back(id);
        self.outgoing
            .send(frame(id + 1, Up::Send(send)))
            .await
            .map_err(TransportError::new)
    }

    async fn next(&mut self) -> Result<Happening, TransportError> {
        loop {
            let waits = self.position > self.acknowledged || self.read_seq > self.marked_seq;
            tokio::select! {
                biased;
                frame = self.incoming.message() => {
                    let frame = frame.map_err(TransportError::new)?;
                    let frame = frame.ok_or_else(|| TransportError::new("the session ended"))?;
                    if let Some(down) = frame.frame
                        && let Some(happening) = self.take(down)? {
                        return Ok(happening);
                    }
                }
                () = self.ack_timer.as_mut(), if waits => {
                    self.ack_timer.as_mut().reset(Instant::now() + ACK_DELAY);
                    self.mark();
                    if self.position > self.acknowledged {
                        self.acknowledge();
                    }
                }
                _ = self.pings.tick() => {
                    // A ping that finds no room goes with the next tick: the server has traffic.
                    let _ = self.outgoing.try_send(frame(0, Up::Ping(v1::PingRequest::default())));
                }
            }
        }
    }
}

fn frame(request_id: u64, frame: Up) -> v1::OpenSessionRequest {
    v1::OpenSessionRequest {
        request_id,
        frame: Some(frame),
    }
}

fn local_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
