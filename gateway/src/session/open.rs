//! Open: from a hello to an open session.
//!
//! The hello names the device and carries or confirms the token; the mailbox's owner attaches the
//! session and says from where it goes on. The same happens again, silently, when the mailbox gets
//! a new owner.
//!
//! Invariant: no delivery reaches a session before its place is known.

use super::{
    Session, Who,
    state::{Class, Phase},
    window::Window,
};
use crate::{auth::Identity, edge::Edge, validate::At};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        AttachCommand, HeadResult, command::Op, command_result::Outcome,
        raw_open_session_response::Frame,
    },
    time,
    v1::{self, Cursor, ErrorReason, GoAwayReason, ResumeOutcome},
};
use std::sync::Arc;

const APP_VERSION_BYTES_MAX: usize = 64;

/// What a hello or a Subscribe call says.
#[derive(Debug, Default)]
pub struct Hello {
    /// The device; a subscription may have none.
    pub device_id: String,
    /// For the device's row.
    pub app_version: String,
    /// Where to go on.
    pub resume: Option<Cursor>,
    /// In the foreground.
    pub foreground: bool,
    /// Has no upward half.
    pub mute: bool,
    /// Which running client it is of; 0: unknown.
    pub client_incarnation: u64,
    /// Which of that client's sessions it is.
    pub client_attempt: u64,
}

impl Hello {
    /// Judges the bounds.
    pub fn check(&self, at: At) -> Result<(), Fault> {
        if !(self.mute && self.device_id.is_empty()) {
            at.name("device_id", &self.device_id)?;
        }
        at.bytes(
            "app_version",
            self.app_version.len(),
            0,
            APP_VERSION_BYTES_MAX,
        )?;
        match &self.resume {
            Some(cursor) => at.seq_or_none("resume.position", cursor.position),
            None => Ok(()),
        }
    }
}

/// When a session that opens now is old: the last tenth of its time is spread, so that those that
/// opened together do not end together.
fn old_at(now_ms: u64, age_max_ms: u64) -> u64 {
    match age_max_ms {
        0 => u64::MAX,
        _ => now_ms + age_max_ms - rand::random_range(0..=age_max_ms / 10),
    }
}

impl Session {
    /// Attaches the session to its user's mailbox.
    pub fn open(
        self: &Arc<Self>,
        edge: &Arc<Edge>,
        identity: &Identity,
        hello: Hello,
    ) -> Result<(), Fault> {
        if edge.is_draining() {
            let text = "the server is shutting down; connect again";
            return Err(Fault::new(ErrorReason::Draining, text));
        }
        let device_id = identity.device_named(hello.device_id)?;
        let user_id = identity.user_id.clone();
        let who = Who {
            mailbox: LogId::mailbox(&user_id),
            rate: edge.rates.key(&user_id, &device_id),
            user_id,
            device_id,
            app_version: hello.app_version,
            trusted: identity.service || identity.admin,
            mute: hello.mute,
            client_incarnation: hello.client_incarnation,
            client_attempt: hello.client_attempt,
        };
        edge.rates.check(who.rate)?;
        if self.who.set(who).is_err() {
            return Err(Fault::new(
                ErrorReason::OutOfOrder,
                "a session says hello once",
            ));
        }
        let now_ms = edge.clock.now_ms();
        {
            let mut state = self.lock();
            if state.is_ended() {
                return Ok(());
            }
            state.foreground = hello.foreground;
            state.heard_time_ms = now_ms;
            state.beat_time_ms = now_ms + edge.options.heartbeat_interval_ms;
            state.old_time_ms = old_at(now_ms, edge.options.session_age_max_ms);
            state.take_token(identity.issued_time_ms, identity.expire_time_ms, now_ms);
        }
        edge.sessions.insert(self.clone());
        edge.metrics.sessions.add(1, &[]);
        if self.is_ended() {
            // The stream was dropped in the meantime and found nothing to take out.
            self.end(edge, None, None);
            return Ok(());
        }
        self.attach(edge, hello.resume);
        Ok(())
    }

    /// Asks the mailbox's owner for this session's place.
    pub fn attach(self: &Arc<Self>, edge: &Arc<Edge>, resume: Option<Cursor>) {
        let (foreground, token_issued_time_ms) = {
            let state = self.lock();
            (state.foreground, state.issued_time_ms)
        };
        let attach = AttachCommand {
            session_id: self.id,
            resume,
            foreground,
            token_issued_time_ms,
            app_version: self.who().app_version.clone(),
            client_incarnation: self.who().client_incarnation,
            client_attempt: self.who().client_attempt,
        };
        edge.shards.attach(edge, self, Op::Attach(attach));
    }

    /// The mailbox has a new owner: attach again from where the device is.
    pub fn attach_again(self: &Arc<Self>, edge: &Arc<Edge>) {
        let cursor = self.lock().window.as_ref().map(Window::cursor);
        if let Some(cursor) = cursor {
            self.attach(edge, Some(cursor));
        }
    }

    /// The owner's word on an attach.
    pub fn attached(
        self: &Arc<Self>,
        edge: &Edge,
        resume: Option<Cursor>,
        word: Result<Outcome, Fault>,
    ) {
        match word {
            Ok(Outcome::Head(HeadResult { head, outcome })) => {
                let outcome =
                    ResumeOutcome::try_from(outcome).unwrap_or(ResumeOutcome::Unspecified);
                self.place(edge, resume, head.unwrap_or_default(), outcome);
            }
            Ok(Outcome::Error(error)) => self.refused(edge, Fault::from_wire(error)),
            Ok(_) => self.refused(edge, crate::answers::unexpected()),
            Err(fault) => self.refused(edge, fault),
        }
    }

    fn refused(self: &Arc<Self>, edge: &Edge, fault: Fault) {
        if !self.lock().is_open() {
            return self.fail(edge, fault);
        }
        let reason = match fault.reason {
            ErrorReason::DeviceRevoked => GoAwayReason::Revoked,
            _ => GoAwayReason::Resume,
        };
        self.go_away(edge, reason);
    }

    fn place(
        self: &Arc<Self>,
        edge: &Edge,
        resume: Option<Cursor>,
        head: Cursor,
        outcome: ResumeOutcome,
    ) {
        let resumed = outcome == ResumeOutcome::Resumed;
        let opened = Frame::Opened(self.opened(edge, head, outcome));
        let mut state = self.lock();
        match state.phase {
            Phase::Opening => {
                let cursor = if resumed {
                    resume.unwrap_or(head)
                } else {
                    head
                };
                let bytes_max = edge.options.limits.unacknowledged_bytes_max as usize;
                state.open_at(Window::new(cursor, head, bytes_max));
                state.catching_up_to = Some(head);
                let waker = state.push(Class::Control, opened);
                let waker = state.say_caught_up().or(waker);
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
                edge.presence.report(self);
                self.plan_visit(edge, edge.clock.now_ms());
            }
            Phase::Open if resumed => {
                if let Some(window) = state.window.as_mut() {
                    window.see_head(head);
                }
                drop(state);
            }
            Phase::Open => {
                drop(state);
                return self.go_away(edge, GoAwayReason::Resume);
            }
            Phase::Ended(_) => return,
        }
        self.read_on(edge);
    }

    fn opened(&self, edge: &Edge, head: Cursor, outcome: ResumeOutcome) -> v1::SessionOpened {
        let interval_ms = edge.options.heartbeat_interval_ms;
        v1::SessionOpened {
            session_id: edge.sessions.name(self.id),
            user_id: self.who().user_id.clone(),
            limits: Some(edge.options.limits.to_wire()),
            server_time: Some(time::timestamp(edge.clock.now_ms())),
            heartbeat_interval: Some(time::duration(interval_ms)),
            head: Some(head),
            outcome: outcome.into(),
        }
    }
}
