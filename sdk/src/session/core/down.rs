//! What the server's frames change.

use super::{Core, End, StoreChange};
use crate::Error;
use crate::outbox::Answered;
use crate::session::command::Reply;
use crate::session::track::Step;
use crate::session::update::Update;
use heddle_proto::time;
use heddle_proto::v1::{self, open_session_response::Frame, result::Outcome};
use prost::Message as _;

/// Updates that wait for the application, beyond which hints are dropped.
const HINTS_BEHIND_MAX: usize = 128;

impl Core {
    /// A frame came.
    pub(in crate::session) fn frame(&mut self, frame: Frame, now_ms: u64) -> Result<(), End> {
        match frame {
            Frame::Event(delivery) => {
                let step = self.place(delivery.previous_position, delivery.cursor)?;
                let bytes = delivery.encoded_len();
                self.deliver(step, bytes, Update::Event(Box::new(delivery)));
            }
            Frame::State(delivery) => {
                let step = self.place(delivery.previous_position, delivery.cursor)?;
                let bytes = delivery.encoded_len();
                self.deliver(step, bytes, Update::State(Box::new(delivery)));
            }
            Frame::Result(result) => return self.result(result, now_ms),
            Frame::Signal(signal) => self.hint(Update::Signal(Box::new(signal))),
            Frame::Presence(presence) => self.hint(Update::Presence(Box::new(presence))),
            Frame::Typing(typing) => self.hint(Update::Typing(Box::new(typing))),
            Frame::CaughtUp(caught_up) => {
                let cursor = caught_up.cursor.unwrap_or_default();
                self.updates.push_back((Update::CaughtUp(cursor), None));
            }
            Frame::Heartbeat(heartbeat) => {
                return self.head(heartbeat.head, heartbeat.server_time);
            }
            Frame::TokenExpiring(_) => self.token_expiring = true,
            Frame::GoAway(go_away) => return Err(End::GoAway(Box::new(go_away))),
            // A second answer to the hello makes no sense and does no harm.
            Frame::Opened(_) => {}
        }
        Ok(())
    }

    fn place(&mut self, previous: u64, cursor: Option<v1::Cursor>) -> Result<Step, End> {
        match self.track.take(previous, cursor.unwrap_or_default()) {
            Step::Hole => Err(End::Resume("a delivery was missing")),
            step => Ok(step),
        }
    }

    fn deliver(&mut self, step: Step, bytes: usize, update: Update) {
        if step != Step::Next {
            return;
        }
        if let Some(cursor) = update.cursor() {
            let full = self.acks.full_at();
            self.acks.given(cursor.position, bytes);
            if self.acks.full_at() != full {
                self.taken.wake_at(self.acks.full_at());
            }
        }
        self.updates.push_back((update, None));
    }

    fn hint(&mut self, update: Update) {
        if self.updates.len() < HINTS_BEHIND_MAX {
            self.updates.push_back((update, None));
        }
    }

    fn head(
        &mut self,
        head: Option<v1::Cursor>,
        server_time: Option<prost_types::Timestamp>,
    ) -> Result<(), End> {
        if let Some(server_time) = &server_time {
            self.clock.learn(time::millis(server_time));
        }
        let head = head.unwrap_or_default();
        if self.track.head(head, self.acks.sent()) {
            return Err(End::Resume("the mailbox is ahead and nothing came"));
        }
        Ok(())
    }

    fn result(&mut self, result: v1::Result, now_ms: u64) -> Result<(), End> {
        let request_id = result.request_id;
        if request_id == self.ping_id && self.pong_due_ms.is_some() {
            self.pong_due_ms = None;
            if let Some(Outcome::Ping(pong)) = result.outcome {
                return self.head(pong.head, pong.server_time);
            }
            return Ok(());
        }
        let outcome = match result.outcome {
            Some(Outcome::Error(error)) => Err(Error::from(error)),
            Some(outcome) => Ok(outcome),
            None => Err(Error::local(
                tonic::Code::Internal,
                "an answer without outcome",
            )),
        };
        if let Some(reply) = self.requests.remove(&request_id) {
            if let (Reply::Watch, Ok(Outcome::Watch(watch))) = (&reply, &outcome) {
                for presence in &watch.presences {
                    self.hint(Update::Presence(Box::new(presence.clone())));
                }
            }
            reply.answer(outcome);
            return Ok(());
        }
        let retry = outcome.as_ref().is_err_and(Error::is_retryable);
        if self.marks.answered(request_id, retry, now_ms) {
            return Ok(());
        }
        self.sent(request_id, outcome, now_ms);
        Ok(())
    }

    fn sent(&mut self, request_id: u64, outcome: Result<Outcome, Error>, now_ms: u64) {
        let result = outcome.and_then(|outcome| match outcome {
            Outcome::Send(response) => Ok(response),
            _ => Err(Error::local(
                tonic::Code::Internal,
                "an answer of another kind",
            )),
        });
        if let Err(error) = &result {
            if let Some(server_time_ms) = error.server_time_ms {
                self.clock.learn(server_time_ms);
            }
            tracing::debug!(request_id, %error, "a request was refused");
        }
        let clock = self.clock.clone();
        let chance = rand::random();
        let answered = self
            .outbox
            .answer(request_id, result, now_ms, chance, || clock.mint());
        match answered {
            Answered::Settled(settled) => self.settled(settled, true),
            Answered::Reminted { old, outgoing } => {
                self.store_changes
                    .push(StoreChange::Replace(old, Box::new(outgoing)));
            }
            Answered::Again | Answered::Unknown => {}
        }
    }
}
