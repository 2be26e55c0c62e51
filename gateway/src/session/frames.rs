//! Frames: what each frame of a device does.
//!
//! Called by `reader` for each frame after the hello, and by the unary twins that name a session.
//! Validates, counts, and passes on to owners; answers at once what needs no owner.
//!
//! Invariant: each frame with a request_id is answered once. A frame that cannot be taken changes
//! nothing.

use super::{Session, reader::out_of_order, receipts::When};
use crate::{
    answers::Kind,
    commands::{self, Ask},
    edge::Edge,
    validate::{At, Rules},
};
use heddle_kit::telemetry;
use heddle_proto::{
    errors::Fault,
    internal::{RawOpenSessionRequest, command::Op, raw_open_session_request::Frame},
    time,
    v1::{self, ErrorReason, result::Outcome},
};
use std::sync::Arc;

/// Users that one session may watch.
pub const WATCHED_MAX: usize = 500;
const STATUS_CHARS_MAX: usize = 200;

/// What a frame leads to.
enum Step {
    /// The owner of a log answers.
    Ask(Kind, Ask),
    /// The answer.
    Done(Outcome),
    /// Somebody has been asked and will answer.
    Pending,
}

impl Session {
    /// A frame arrives.
    pub fn frame(self: &Arc<Self>, edge: &Arc<Edge>, request: RawOpenSessionRequest) {
        let request_id = request.request_id;
        let now_ms = edge.clock.now_ms();
        let begun = {
            let mut state = self.lock();
            state.heard_time_ms = now_ms;
            let begun = match &request.frame {
                // Acknowledgements still count: they spare the next session a repetition.
                frame if state.leaving && !matches!(frame, Some(Frame::Ack(_))) => Err(leaving()),
                _ => state.begin(edge.options.limits.in_flight_max),
            };
            begun.map_err(|fault| state.refuse(request_id, fault))
        };
        if let Err(waker) = begun {
            if let Some(waker) = waker {
                waker.wake();
            }
            if self.is_ended() {
                self.end(edge, None, None);
            }
            return;
        }
        let span = sampled(request_id, &request);
        let _entered = span.as_ref().map(tracing::Span::enter);
        match self.step(edge, request, now_ms) {
            Ok(Step::Ask(kind, mut ask)) => {
                if span.is_some() {
                    trace(&mut ask);
                }
                edge.shards.ask(edge, self, request_id, kind, ask);
            }
            Ok(Step::Done(outcome)) => self.answer(request_id, Ok(outcome)),
            Ok(Step::Pending) => {}
            Err(fault) => self.answer(request_id, Err(fault)),
        }
    }

    fn step(
        self: &Arc<Self>,
        edge: &Arc<Edge>,
        request: RawOpenSessionRequest,
        now_ms: u64,
    ) -> Result<Step, Fault> {
        let who = self.who();
        edge.rates.check(who.rate)?;
        let rules = Rules {
            limits: &edge.options.limits,
            now_ms,
        };
        let ask = |kind, ask: Result<Ask, Fault>| ask.map(|ask| Step::Ask(kind, ask));
        let request_id = request.request_id;
        let Some(frame) = request.frame else {
            let text = "has no frame of a kind that this server knows; the session goes on";
            return Err(Fault::field("frame", text));
        };
        match frame {
            Frame::Send(send) => ask(
                Kind::Send,
                commands::send(At("send"), &rules, send, who.trusted),
            ),
            Frame::Ack(ack) => self.acknowledge(edge, At("ack"), ack.position),
            Frame::Mark(mark) => ask(Kind::Mark, commands::mark(At("mark"), mark)),
            Frame::Ping(_) => Ok(Step::Done(Outcome::Ping(self.pong(now_ms)))),
            Frame::Edit(edit) => ask(
                Kind::Edit,
                commands::edit(At("edit"), &rules, edit, who.trusted),
            ),
            Frame::Erase(erase) => ask(Kind::Erase, commands::erase(At("erase"), &rules, erase)),
            Frame::React(react) => ask(Kind::React, commands::react(At("react"), &rules, react)),
            Frame::Hide(hide) => ask(Kind::Hide, commands::hide(At("hide"), who.mailbox, hide)),
            Frame::Typing(typing) => ask(
                Kind::Typing,
                commands::typing(At("typing"), &who.user_id, typing),
            ),
            Frame::Signal(signal) => ask(
                Kind::Signal,
                commands::signal(At("signal"), &rules, &who.user_id, signal),
            ),
            Frame::Foreground(request) => Ok(Step::Ask(
                Kind::Foreground,
                self.set_foreground(edge, request.foreground),
            )),
            Frame::Authenticate(request) => {
                let taken = self.authenticate(edge, At("authenticate"), &request.token)?;
                Ok(Step::Done(Outcome::Authenticate(taken)))
            }
            Frame::Watch(request) => {
                At("watch").users("user_ids", &request.user_ids, WATCHED_MAX)?;
                edge.presence
                    .watch_frame(edge, self, request_id, request.user_ids);
                Ok(Step::Pending)
            }
            Frame::Status(request) => {
                check_status(At("status"), &request)?;
                edge.presence.set_status(&who.user_id, request);
                Ok(Step::Done(Outcome::Status(v1::SetStatusResponse {})))
            }
            Frame::Hello(_) => Err(out_of_order("the hello comes once; open a new session")),
        }
    }

    fn acknowledge(
        self: &Arc<Self>,
        edge: &Arc<Edge>,
        at: At,
        position: u64,
    ) -> Result<Step, Fault> {
        self.take_ack(edge, at, position)?;
        Ok(Step::Done(Outcome::Ack(v1::AckResponse {})))
    }

    /// The device has everything up to a position: makes room, and is told to owners soon.
    pub fn take_ack(self: &Arc<Self>, edge: &Edge, at: At, position: u64) -> Result<(), Fault> {
        let when = {
            let mut state = self.lock();
            let state = &mut *state;
            let Some(window) = state.window.as_mut() else {
                return Err(out_of_order("nothing was sent on this session yet"));
            };
            let receipts = &mut state.receipts;
            let events = window.acknowledge(position, |markable| receipts.deliver(markable));
            let events = events.map_err(|beyond| at.fault("position", beyond.to_string()))?;
            state.followed.acknowledged(edge, position);
            receipts.acknowledge(position, events)
        };
        match when {
            When::Now => {
                let (told, foreground) = {
                    let mut state = self.lock();
                    (state.receipts.take(), state.foreground)
                };
                self.tell(edge, told, foreground);
            }
            When::Schedule => edge.timers.receipts(self.clone()),
            When::Scheduled => {}
        }
        self.read_on(edge);
        Ok(())
    }

    /// The session goes to the foreground or the background; the mailbox's owner must know.
    pub fn set_foreground(self: &Arc<Self>, edge: &Edge, foreground: bool) -> Ask {
        self.lock().foreground = foreground;
        edge.presence.report(self);
        self.plan_visit(edge, edge.clock.now_ms());
        commands::foreground(self.who().mailbox, self.id, foreground)
    }

    /// A fresh token of the same user.
    pub fn authenticate(
        self: &Arc<Self>,
        edge: &Edge,
        at: At,
        token: &str,
    ) -> Result<v1::AuthenticateResponse, Fault> {
        let identity = edge.auth.token(token)?;
        if identity.user_id != self.who().user_id {
            return Err(at.fault("token", "is of another user; open a session of its own"));
        }
        identity.device_named(self.who().device_id.clone())?;
        let now_ms = edge.clock.now_ms();
        let expire_time_ms = identity.expire_time_ms;
        self.lock()
            .take_token(identity.issued_time_ms, expire_time_ms, now_ms);
        self.plan_visit(edge, now_ms);
        let expire_time = Some(time::timestamp(expire_time_ms));
        Ok(v1::AuthenticateResponse { expire_time })
    }

    /// The device lives: the mailbox's head and the server's time.
    pub fn pong(&self, now_ms: u64) -> v1::PingResponse {
        let server_time = Some(time::timestamp(now_ms));
        v1::PingResponse {
            head: self.head_cursor(),
            server_time,
        }
    }

    /// A unary call shows that the device lives.
    pub fn heard(&self, now_ms: u64) {
        self.lock().heard_time_ms = now_ms;
    }
}

fn leaving() -> Fault {
    let text = "the server is shutting down; connect again, then retry the same id";
    Fault::new(ErrorReason::Draining, text)
}

/// The bounds of a status.
pub fn check_status(at: At, request: &v1::SetStatusRequest) -> Result<(), Fault> {
    at.chars("status", &request.status, STATUS_CHARS_MAX)
}

/// A span for one send of many; most frames have none.
fn sampled(request_id: u64, request: &RawOpenSessionRequest) -> Option<tracing::Span> {
    let send = matches!(request.frame, Some(Frame::Send(_)));
    (send && telemetry::sample()).then(|| tracing::debug_span!("send", request_id))
}

/// The owner goes on with the trace of the current span.
fn trace(ask: &mut Ask) {
    if let Op::Append(append) = &mut ask.op {
        append.trace_parent = telemetry::trace_parent().unwrap_or_default();
    }
}
