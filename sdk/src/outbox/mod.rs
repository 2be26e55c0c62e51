//! Sends on their way: in order per conversation, each with one id, until the server has answered.
//!
//! The session's engine owns one and asks what to transmit; `store` keeps sends across restarts of
//! the process. Pure: no clock, no wire; time in milliseconds of any steady clock.
//!
//! Invariants: a send is settled exactly once; a retry carries the same id and body; a send is
//! transmitted only behind its predecessor in the conversation, which it names while that is
//! unanswered.

mod lane;
pub mod store;
#[cfg(test)]
mod tests;

use crate::{BackoffPolicy, Error, error::Reason};
use heddle_proto::ids::{LogId, MessageId};
use heddle_proto::v1;
use lane::Lane;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// Tries of a send that fails with INTERNAL; all other retryable failures are tried for ever.
pub const INTERNAL_TRIES_MAX: u32 = 5;

/// Names a send within its session, in the order of sending.
pub type Ticket = u64;

/// A message to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// To where.
    pub conversation_id: LogId,
    /// The id that a retry carries too.
    pub client_message_id: MessageId,
    /// What is said.
    pub message: v1::Message,
}

/// What to put on the wire.
#[derive(Debug)]
pub struct Transmission {
    /// Under this request id.
    pub request_id: u64,
    /// The frame.
    pub send: v1::SendMessageRequest,
}

/// A send with its answer.
#[derive(Debug)]
pub struct Settled<T> {
    /// Which.
    pub ticket: Ticket,
    /// What the server knows it by.
    pub client_message_id: MessageId,
    /// Where it was said.
    pub conversation_id: LogId,
    /// Stored, or why never.
    pub result: Result<v1::SendMessageResponse, Error>,
    /// What the sender gave along.
    pub tag: T,
}

/// What an answer means.
#[derive(Debug)]
pub enum Answered<T> {
    /// The request was no send of this outbox.
    Unknown,
    /// It is tried again, as it was.
    Again,
    /// It is tried again under a new id, since the old one was ahead of the server's clock.
    Reminted {
        /// The id that the server refused.
        old: MessageId,
        /// The send as it is now.
        outgoing: Outgoing,
    },
    /// It is done.
    Settled(Settled<T>),
}

/// The sends of one session.
#[derive(Debug)]
pub struct Outbox<T> {
    lanes: HashMap<LogId, Lane<T>>,
    ready: VecDeque<LogId>,
    delayed: BTreeSet<(u64, LogId)>,
    in_flight: HashMap<u64, LogId>,
    in_flight_max: usize,
    backoff: BackoffPolicy,
    next_ticket: Ticket,
    len: usize,
}

impl<T> Outbox<T> {
    /// Empty; `backoff` spaces retries of sends that the server could not take.
    pub fn new(backoff: BackoffPolicy) -> Self {
        Self {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            delayed: BTreeSet::new(),
            in_flight: HashMap::new(),
            in_flight_max: 1,
            backoff,
            next_ticket: 1,
            len: 0,
        }
    }

    /// The server takes so many unanswered sends.
    pub fn set_in_flight_max(&mut self, in_flight_max: usize) {
        self.in_flight_max = in_flight_max.max(1);
    }

    /// Whether no send waits for its answer.
    pub fn is_answered(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Sends that are not settled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether every send is settled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a send in.
    pub fn push(&mut self, outgoing: Outgoing, tag: T) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.len += 1;
        let conversation = outgoing.conversation_id;
        let lane = self.lanes.entry(conversation).or_default();
        lane.push(ticket, outgoing, tag);
        if !lane.is_scheduled() {
            lane.schedule();
            self.ready.push_back(conversation);
        }
        ticket
    }

    /// What to transmit next, under the request id given; conversations take turns.
    pub fn next(&mut self, request_id: u64, now_ms: u64) -> Option<Transmission> {
        self.wake(now_ms);
        while self.in_flight.len() < self.in_flight_max {
            let conversation = self.ready.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&conversation) else {
                continue;
            };
            lane.unschedule();
            let Some(send) = lane.transmit(request_id) else {
                continue;
            };
            if lane.can_transmit() {
                lane.schedule();
                self.ready.push_back(conversation);
            }
            self.in_flight.insert(request_id, conversation);
            return Some(Transmission { request_id, send });
        }
        None
    }

    /// When a delayed conversation may be tried again.
    pub fn wake_at_ms(&self) -> Option<u64> {
        self.delayed.first().map(|(at_ms, _)| *at_ms)
    }

    /// The server answered. `chance` in `0.0..1.0` is for jitter, `mint` makes an id on the
    /// server's time.
    pub fn answer(
        &mut self,
        request_id: u64,
        result: Result<v1::SendMessageResponse, Error>,
        now_ms: u64,
        chance: f64,
        mint: impl FnOnce() -> MessageId,
    ) -> Answered<T> {
        let Some(conversation) = self.in_flight.remove(&request_id) else {
            return Answered::Unknown;
        };
        let Some(lane) = self.lanes.get_mut(&conversation) else {
            return Answered::Unknown;
        };
        let Some(index) = lane.position(request_id) else {
            return Answered::Unknown;
        };
        let tries = lane.tries(index);
        let answered = match result {
            Err(error) if error.reason == Reason::PredecessorFailed => {
                lane.refused_behind(index);
                Answered::Again
            }
            // Refused at its only try, so it was never stored: another id doubles nothing.
            Err(error) if error.reason == Reason::IdAhead && tries == 1 => {
                let (old, outgoing) = lane.remint(index, mint());
                Answered::Reminted { old, outgoing }
            }
            Err(error) if is_final(&error, tries) => self.settle(conversation, index, Err(error)),
            Err(error) => {
                let delay = self.backoff.delay(tries, error.retry_delay, chance);
                self.delay(conversation, index, now_ms, delay);
                Answered::Again
            }
            Ok(response) => self.settle(conversation, index, Ok(response)),
        };
        self.reschedule(conversation);
        answered
    }

    /// The connection ended: what was not answered is transmitted again, in order.
    pub fn disconnected(&mut self) {
        self.in_flight.clear();
        self.ready.clear();
        self.delayed.clear();
        let mut order: Vec<_> = self
            .lanes
            .iter_mut()
            .map(|(conversation, lane)| (lane.disconnected(), *conversation))
            .collect();
        order.sort_unstable();
        self.ready.extend(order.into_iter().map(|(_, id)| id));
    }

    /// Gives everything up: the session is closed for good.
    pub fn drain(&mut self, error: &Error) -> Vec<Settled<T>> {
        let lanes = std::mem::take(&mut self.lanes);
        self.disconnected();
        self.len = 0;
        let mut settled: Vec<_> = lanes
            .into_values()
            .flat_map(|lane| lane.into_settled(error))
            .collect();
        settled.sort_by_key(|one| one.ticket);
        settled
    }

    fn settle(
        &mut self,
        conversation: LogId,
        index: usize,
        result: Result<v1::SendMessageResponse, Error>,
    ) -> Answered<T> {
        let Some(lane) = self.lanes.get_mut(&conversation) else {
            return Answered::Unknown;
        };
        let Some(settled) = lane.settle(index, result) else {
            return Answered::Unknown;
        };
        self.len -= 1;
        Answered::Settled(settled)
    }

    fn delay(&mut self, conversation: LogId, index: usize, now_ms: u64, delay: Duration) {
        let Some(lane) = self.lanes.get_mut(&conversation) else {
            return;
        };
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let until_ms = now_ms.saturating_add(delay_ms);
        if let Some(before) = lane.requeue(index, until_ms) {
            self.delayed.remove(&(before, conversation));
        }
        self.delayed.insert((lane.delayed_until_ms(), conversation));
    }

    fn wake(&mut self, now_ms: u64) {
        while let Some(&(at_ms, conversation)) = self.delayed.first() {
            if at_ms > now_ms {
                return;
            }
            self.delayed.pop_first();
            if let Some(lane) = self.lanes.get_mut(&conversation) {
                lane.undelay();
            }
            self.reschedule(conversation);
        }
    }

    fn reschedule(&mut self, conversation: LogId) {
        let Some(lane) = self.lanes.get_mut(&conversation) else {
            return;
        };
        if lane.is_empty() {
            if lane.is_delayed() {
                self.delayed
                    .remove(&(lane.delayed_until_ms(), conversation));
            }
            self.lanes.remove(&conversation);
        } else if !lane.is_scheduled() && lane.can_transmit() {
            lane.schedule();
            self.ready.push_back(conversation);
        }
    }
}

fn is_final(error: &Error, tries: u32) -> bool {
    let tried_enough = error.reason == Reason::Internal && tries >= INTERNAL_TRIES_MAX;
    !error.is_retryable() || tried_enough
}
