//! Heddle through its own SDK as a chat transport for the load driver: sessions that come back.
//!
//! For loads during which gateways go away; [`super::transport`] costs less and ends with its
//! connection. Conversations are made by that one.
//!
//! Invariant: what a session does not survive ends the run.

use std::collections::VecDeque;

use bytes::Bytes;
use heddle_proto::v1::{event, message::Content};
use heddle_sdk::{AckMode, ConversationId, Session, Update};

use super::transport::HeddleTransport;
use super::{Target, TargetError};
use crate::load::{ChatTransport, Endpoint, Happening, Plan, Seat, TransportError};

/// Sessions of the SDK at all gateways, with the conversations of a plan.
#[derive(Clone, Debug)]
pub struct SdkTransport {
    target: Target,
    rooms: HeddleTransport,
}

impl SdkTransport {
    /// Makes the plan's conversations.
    pub async fn prepare(target: &Target, plan: &Plan) -> Result<SdkTransport, TargetError> {
        Ok(SdkTransport {
            target: target.clone(),
            rooms: HeddleTransport::prepare(target, plan).await?,
        })
    }
}

impl ChatTransport for SdkTransport {
    type Endpoint = SdkEndpoint;

    async fn connect(&self, seat: &Seat) -> Result<SdkEndpoint, TransportError> {
        let room = self.rooms.room(&seat.room);
        let client = self.target.client(&seat.name, "sdk");
        let opening = client.map_err(TransportError::new)?;
        let opening = opening.session().backoff(Target::backoff());
        let opening = opening.ack_mode(AckMode::Automatic).open();
        let session = opening.await.map_err(TransportError::new)?;
        session.connected().await.map_err(TransportError::new)?;
        Ok(SdkEndpoint {
            session,
            user: seat.name.clone(),
            room: room.ok_or_else(|| TransportError::new("nobody to send to"))?,
            unanswered: VecDeque::new(),
        })
    }
}

/// One user's session.
pub struct SdkEndpoint {
    session: Session,
    user: String,
    room: ConversationId,
    /// Answers come in the order of sending, there being one conversation.
    unanswered: VecDeque<u64>,
}

impl SdkEndpoint {
    fn take(&mut self, update: Update) -> Result<Option<Happening>, TransportError> {
        match update {
            Update::Sent(outcome) => {
                Ok(self.unanswered.pop_front().map(|id| match outcome.result {
                    Ok(_) => Happening::Stored { id },
                    Err(error) => {
                        tracing::warn!(%error, "a send was refused");
                        Happening::Refused { id }
                    }
                }))
            }
            Update::Event(delivery) => {
                let event = delivery.event.filter(|event| event.sender != self.user);
                let Some(event::Kind::Message(message)) = event.and_then(|event| event.kind) else {
                    return Ok(None);
                };
                Ok(match message.content {
                    Some(Content::Text(text)) => Some(Happening::Delivered { body: text.into() }),
                    _ => None,
                })
            }
            Update::Closed(error) => Err(TransportError::new(error)),
            _ => Ok(None),
        }
    }
}

impl Endpoint for SdkEndpoint {
    async fn send(&mut self, id: u64, body: Bytes) -> Result<(), TransportError> {
        let text = String::from_utf8(body.into()).map_err(TransportError::new)?;
        let handle = self.session.handle();
        let outgoing = handle.outgoing(self.room, heddle_sdk::text(text));
        self.unanswered.push_back(id);
        handle.send_nowait(outgoing).map_err(TransportError::new)
    }

    async fn next(&mut self) -> Result<Happening, TransportError> {
        loop {
            let update = self.session.next().await;
            let update = update.ok_or_else(|| TransportError::new("the session ended"))?;
            if let Some(happening) = self.take(update)? {
                return Ok(happening);
            }
        }
    }
}
