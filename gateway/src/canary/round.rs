//! Round: one message of the canary, from its send to its delivery.
//!
//! Opens a session for each of the two users, says a word in one and waits for it in the other, and
//! ends both: by the code that serves devices, from a session's frame through the owner of the
//! conversation, the store and the owner of the mailbox to the other session's stream. Only the
//! socket and the token are missing, and the turn at the door: in a crowd that comes back, a canary
//! must not take the place of a device.
//!
//! Invariant: each step has an end. A round leaves no session behind.

use super::pair::Pair;
use crate::{
    answers,
    auth::Identity,
    commands,
    edge::Edge,
    session::{Session, down::Down, open::Hello},
};
use bytes::Bytes;
use futures_util::StreamExt;
use heddle_proto::{
    errors::Fault,
    ids::MessageId,
    internal::{
        Command, RawEvent, RawOpenSessionRequest, RawSendMessageRequest, append_command::Kind,
        command_result, raw_open_session_request, raw_open_session_response::Frame,
    },
    v1::{self, ConversationKind, MembershipAction, MembershipChange, message::Content},
};
use prost::Message as _;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// What is said: as short as can be, since it stays.
const WORD: &str = ".";
/// The one request of the session that sends.
const REQUEST_ID: u64 = 1;

/// How far a round came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The conversation is there.
    Conversation,
    /// Both sessions are open.
    Session,
    /// The message is taken, and so stored.
    Send,
    /// The other user has it.
    Delivery,
}

/// A round came to nothing at a step.
#[derive(Debug, thiserror::Error)]
#[error("{step:?}: {why}")]
pub struct Lost {
    /// The step that failed.
    pub step: Step,
    /// Why, for people.
    pub why: String,
}

/// Sends and hears for one gateway.
pub struct Canary {
    edge: Arc<Edge>,
    pair: Pair,
    /// The conversation is known to be there.
    has_conversation: bool,
}

impl Canary {
    /// Nothing is said yet.
    pub fn new(edge: Arc<Edge>) -> Self {
        // A gateway without a public address is another one after each start.
        let name = edge.options.public_url.as_ref();
        let pair = Pair::of(name.unwrap_or(&edge.gateway_id));
        Self {
            edge,
            pair,
            has_conversation: false,
        }
    }

    /// One message; how long it took from the send to the delivery.
    pub async fn round(&mut self) -> Result<Duration, Lost> {
        if !self.has_conversation {
            self.within(Step::Conversation, self.converse()).await?;
        }
        // Asked for again after a failure: the store may be another one now.
        self.has_conversation = false;
        let mut to = self.open(&self.pair.to).await?;
        let mut from = self.open(&self.pair.from).await?;
        let (began, id) = (Instant::now(), self.mint());
        from.say(self.word(id.clone()));
        self.within(Step::Send, from.taken()).await?;
        self.within(Step::Delivery, to.heard(&id)).await?;
        self.has_conversation = true;
        Ok(began.elapsed())
    }

    async fn within<T>(
        &self,
        step: Step,
        doing: impl Future<Output = Result<T, String>>,
    ) -> Result<T, Lost> {
        let limit_ms = self.edge.options.canary_timeout_ms;
        let ended = timeout(Duration::from_millis(limit_ms), doing).await;
        let ended = ended.unwrap_or_else(|_| Err(format!("nothing came within {limit_ms} ms")));
        ended.map_err(|why| Lost { step, why })
    }

    /// Makes the conversation, or finds that it is there.
    async fn converse(&self) -> Result<(), String> {
        let Pair { from, to } = self.pair.clone();
        let created = MembershipChange {
            action: MembershipAction::Created.into(),
            user_ids: vec![from.clone(), to],
            conversation_kind: ConversationKind::Direct.into(),
            ..Default::default()
        };
        let log = self.pair.conversation();
        let ask = commands::append(log, self.mint(), Kind::Membership(created));
        let command = Command {
            user_id: from,
            op: Some(ask.op),
            ..Default::default()
        };
        match self.edge.shards.call(&self.edge, log, command).await {
            Ok(command_result::Outcome::Append(_)) => Ok(()),
            Ok(_) => Err(answers::unexpected().to_string()),
            Err(fault) => Err(fault.to_string()),
        }
    }

    async fn open(&self, user_id: &str) -> Result<Device, Lost> {
        self.within(Step::Session, Device::open(&self.edge, user_id))
            .await
    }

    fn mint(&self) -> Bytes {
        MessageId::mint(self.edge.clock.now_ms(), &rand::random()).to_bytes()
    }

    fn word(&self, client_message_id: Bytes) -> RawSendMessageRequest {
        let message = v1::Message {
            content: Some(Content::Text(WORD.into())),
            ..Default::default()
        };
        RawSendMessageRequest {
            conversation_id: self.pair.conversation().to_bytes(),
            client_message_id,
            message: message.encode_to_vec().into(),
            ..Default::default()
        }
    }
}

/// A session of one of the pair; it ends when this is dropped, as a device's does with its stream.
struct Device {
    edge: Arc<Edge>,
    session: Arc<Session>,
    down: Down,
}

impl Device {
    /// Attaches to the user's mailbox, from its end on.
    async fn open(edge: &Arc<Edge>, user_id: &str) -> Result<Self, String> {
        let session = Session::new(edge.sessions.next_id());
        let mut device = Self {
            edge: edge.clone(),
            down: Down::new(edge.clone(), session.clone()),
            session,
        };
        let hello = Hello {
            mute: true,
            ..Default::default()
        };
        let identity = identity(user_id, edge.clock.now_ms());
        let opening = device.session.open(edge, &identity, hello);
        opening.map_err(|fault| fault.to_string())?;
        device
            .until(|frame| matches!(frame, Frame::Opened(_)).then_some(()))
            .await?;
        Ok(device)
    }

    /// The first frame in which `pick` finds something.
    async fn until<T>(&mut self, pick: impl Fn(Frame) -> Option<T>) -> Result<T, String> {
        while let Some(response) = self.down.next().await {
            let response = response.map_err(|status| status.message().to_owned())?;
            if let Some(found) = response.frame.and_then(&pick) {
                return Ok(found);
            }
        }
        Err("the session was sent away".to_owned())
    }

    fn say(&self, send: RawSendMessageRequest) {
        let request = RawOpenSessionRequest {
            request_id: REQUEST_ID,
            frame: Some(raw_open_session_request::Frame::Send(send)),
        };
        self.session.frame(&self.edge, request);
    }

    /// What was said is stored.
    async fn taken(&mut self) -> Result<(), String> {
        let outcome = self.until(|frame| match frame {
            Frame::Result(result) if result.request_id == REQUEST_ID => result.outcome,
            _ => None,
        });
        match outcome.await? {
            v1::result::Outcome::Error(error) => Err(Fault::from_wire(error).to_string()),
            _ => Ok(()),
        }
    }

    /// The event with this id is here.
    async fn heard(&mut self, id: &Bytes) -> Result<(), String> {
        let is_it = |event: Bytes| {
            let event = RawEvent::decode(event).ok()?;
            (event.client_message_id == *id).then_some(())
        };
        self.until(|frame| match frame {
            Frame::Event(delivery) => is_it(delivery.event),
            _ => None,
        })
        .await
    }
}

/// What a token of the user would say; its session ends with the round.
fn identity(user_id: &str, now_ms: u64) -> Identity {
    Identity {
        user_id: user_id.to_owned(),
        device_id: None,
        actor: None,
        admin: false,
        service: false,
        issued_time_ms: now_ms,
        expire_time_ms: u64::MAX,
    }
}
