//! Catch-up: sessions that are behind read on from the store.
//!
//! The window plans a read when something is missing and there is room; here it waits its turn, is
//! asked of history-svc, and its entries are given to the device.
//!
//! Invariant: at most `catch_up_reads_max` reads are under way on this gateway, one for each
//! session. The heads read up to were named by the owner, who names only what is committed.

use super::{
    Session, receipts,
    state::Class,
    window::{Markable, Offer, ReadPlan, Window},
};
use crate::edge::Edge;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    internal::{
        MailboxQuery, RawEvent, RawEventDelivery, RawStateDelivery, ReadOutcome, StoredDelivery,
        raw_event, raw_open_session_response::Frame, read::Query, stored_delivery::Body,
    },
    v1::{self, Cursor, GoAwayReason},
};
use prost::Message as _;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::Waker,
};

/// How long a session waits after a read that failed, in milliseconds.
const RETRY_MS: u64 = 250;

/// Whose turn it is to read.
pub struct CatchUp {
    turns: Mutex<Turns>,
    reads_max: usize,
}

struct Turns {
    reads: usize,
    waiting: VecDeque<(Arc<Session>, ReadPlan)>,
}

impl CatchUp {
    /// Nobody reads; at most so many will at once.
    pub fn new(reads_max: usize) -> Self {
        let turns = Turns {
            reads: 0,
            waiting: VecDeque::new(),
        };
        Self {
            turns: Mutex::new(turns),
            reads_max: reads_max.max(1),
        }
    }

    fn turns(&self) -> std::sync::MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a turn, or a place in the queue; a session has one at most.
    fn take_turn(&self, session: &Arc<Session>, plan: ReadPlan) -> bool {
        let mut turns = self.turns();
        if turns.reads < self.reads_max {
            turns.reads += 1;
            return true;
        }
        turns.waiting.push_back((session.clone(), plan));
        false
    }

    /// Lets the one whose turn it is read; who cannot tries later, and the turn goes on.
    fn run(&self, edge: &Edge, mut turn: Option<(Arc<Session>, ReadPlan)>) {
        while let Some((session, plan)) = turn {
            match session.ask(edge, plan) {
                Ok(()) => return,
                Err(fault) => session.read_failed(edge, &fault),
            }
            turn = self.next();
        }
    }

    /// Gives the turn back, or on to the next that still lives.
    fn next(&self) -> Option<(Arc<Session>, ReadPlan)> {
        let mut turns = self.turns();
        while let Some((session, plan)) = turns.waiting.pop_front() {
            if !session.is_ended() {
                return Some((session, plan));
            }
        }
        turns.reads -= 1;
        None
    }
}

impl Session {
    /// Reads from the store if something is missing and there is room.
    pub fn read_on(self: &Arc<Self>, edge: &Edge) {
        let plan = {
            let mut state = self.lock();
            let leaving = state.leaving;
            let window = state.window.as_mut().filter(|_| !leaving);
            window.and_then(Window::plan_read)
        };
        if let Some(plan) = plan
            && edge.catch_up.take_turn(self, plan)
        {
            edge.catch_up.run(edge, Some((self.clone(), plan)));
        }
    }

    fn ask(self: &Arc<Self>, edge: &Edge, plan: ReadPlan) -> Result<(), Fault> {
        let query = MailboxQuery {
            log_id: self.who().mailbox.to_bytes(),
            after_position: plan.after_position,
            head: plan.head,
            bytes_max: u32::try_from(plan.bytes_max).unwrap_or(u32::MAX),
            entries_max: plan.entries_max as u32,
        };
        edge.store.read_for(self, Query::Mailbox(query))
    }

    /// The store's answer to this session's read.
    pub fn read_done(self: &Arc<Self>, edge: &Edge, outcome: Result<ReadOutcome, Fault>) {
        match outcome {
            Ok(outcome) => self.take_entries(edge, outcome.deliveries),
            Err(fault) => self.read_failed(edge, &fault),
        }
        edge.catch_up.run(edge, edge.catch_up.next());
    }

    fn read_failed(&self, edge: &Edge, fault: &Fault) {
        tracing::debug!(%fault, "a session could not read its mailbox; it will again");
        let wakers = self.lock().end_read();
        wakers.into_iter().for_each(Waker::wake);
        edge.timers.after(edge.clock.now_ms() + RETRY_MS, self.id);
    }

    fn take_entries(self: &Arc<Self>, edge: &Edge, entries: Vec<StoredDelivery>) {
        let nothing = entries.is_empty();
        let mut wakers = Vec::new();
        let mut state = self.lock();
        for entry in entries {
            let Some(window) = state.window.as_mut() else {
                break;
            };
            let (offer, body) = entry_offer(&self.who().user_id, &entry);
            if let Some(previous) = window.take_read(&offer) {
                let frame = frame(&offer, previous, entry.previous_seq, body);
                wakers.extend(state.push(Class::Delivery, frame));
            }
        }
        // The owner named a head and the store has nothing up to it: what was there has expired.
        let lost = nothing && state.window.as_ref().is_some_and(Window::is_behind);
        wakers.extend(state.end_read());
        wakers.extend(state.say_caught_up());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if lost {
            self.go_away(edge, GoAwayReason::Resume);
        } else {
            self.read_on(edge);
        }
    }
}

impl super::State {
    /// A read has ended, well or not: what came live meanwhile follows, if it can.
    fn end_read(&mut self) -> Vec<Waker> {
        let Some(window) = self.window.as_mut() else {
            return Vec::new();
        };
        window.end_read();
        let frames = self.kept.release(window).into_iter();
        frames
            .filter_map(|frame| self.push(Class::Delivery, frame))
            .collect()
    }

    /// Tells the device once that all that was stored when it came has been sent.
    pub fn say_caught_up(&mut self) -> Option<Waker> {
        let (goal, window) = (self.catching_up_to?, self.window.as_ref()?);
        if window.cursor().position < goal.position {
            return None;
        }
        self.catching_up_to = None;
        let caught_up = v1::CaughtUp {
            cursor: Some(window.cursor()),
        };
        self.push(Class::Control, Frame::CaughtUp(caught_up))
    }
}

/// A stored entry as the window sees it. One of a kind unknown here is an empty change of state, so
/// that its position is not taken for a hole.
pub fn entry_offer(user_id: &str, entry: &StoredDelivery) -> (Offer, Body) {
    let body = entry
        .body
        .clone()
        .unwrap_or_else(|| Body::State(Bytes::new()));
    let (body_bytes, markable) = match &body {
        Body::Event(event) => (event.len(), markable(user_id, event)),
        Body::State(state) => (state.len(), None),
    };
    let cursor = Cursor {
        position: entry.position,
        nonce: entry.nonce,
    };
    (
        Offer {
            cursor,
            body_bytes,
            markable,
        },
        body,
    )
}

/// Messages of others are marked as delivered when they are acknowledged.
fn markable(user_id: &str, event: &Bytes) -> Option<Markable> {
    let event = RawEvent::decode(event.clone()).ok()?;
    let said = matches!(event.kind, Some(raw_event::Kind::Message(_)));
    let markable = said && event.sender != user_id;
    markable
        .then(|| receipts::markable(&event.conversation_id, event.seq))
        .flatten()
}

/// The frame of a stored entry.
pub fn frame(offer: &Offer, previous_position: u64, previous_seq: u64, body: Body) -> Frame {
    let cursor = Some(offer.cursor);
    match body {
        Body::Event(event) => Frame::Event(RawEventDelivery {
            cursor,
            previous_position,
            previous_seq,
            event,
        }),
        Body::State(state) => Frame::State(RawStateDelivery {
            cursor,
            previous_position,
            state,
        }),
    }
}
