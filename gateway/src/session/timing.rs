//! Timing: what happens to a session by the clock.
//!
//! Pings that do not come, tokens that end, heartbeats down, reads to be tried again. `timers`
//! visits.
//!
//! Invariant: an open session always has a visit to come.

use super::{
    Session, away, return_delay_ms,
    state::{Class, State},
    window::Window,
};
use crate::edge::Edge;
use heddle_proto::{
    internal::raw_open_session_response::Frame,
    time,
    v1::{self, Cursor, GoAwayReason},
};
use std::sync::Arc;

/// How long before its end the device is told that its token ends, in milliseconds.
const WARNING_MS: u64 = 60_000;
/// How long a session that is told to go may take, in milliseconds.
const LEAVE_MAX_MS: u64 = 10_000;
/// How much longer than it was told a device is served that was asked to go, in milliseconds.
const LEAVE_GRACE_MS: u64 = 1_000;
/// A token without a sensible end is looked at again after this, in milliseconds.
const VISIT_MAX_MS: u64 = 60 * 60 * 1000;

/// What a visit finds to do.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    TokenExpired,
    HeartbeatMissed,
    Leave,
    Old,
    Frames(Vec<FrameDue>),
}

#[derive(Debug, PartialEq, Eq)]
enum FrameDue {
    TokenExpiring,
    Heartbeat,
}

impl State {
    /// Takes a token's times in: when it ends, and when the device is warned.
    pub fn take_token(&mut self, issued_time_ms: u64, expire_time_ms: u64, now_ms: u64) {
        self.issued_time_ms = issued_time_ms;
        self.expire_time_ms = expire_time_ms;
        let left_ms = expire_time_ms.saturating_sub(now_ms);
        self.warn_time_ms = expire_time_ms - WARNING_MS.min(left_ms / 2);
    }

    fn due(&mut self, now_ms: u64, interval_ms: u64, mute: bool) -> Due {
        if now_ms >= self.expire_time_ms {
            return Due::TokenExpired;
        }
        // Two pings missed, and a quarter for the way.
        let silence_max_ms = interval_ms * 2 + interval_ms / 4;
        if self.foreground && !mute && now_ms >= self.heard_time_ms + silence_max_ms {
            return Due::HeartbeatMissed;
        }
        if now_ms >= self.leave_time_ms {
            return Due::Leave;
        }
        if now_ms >= self.old_time_ms {
            self.old_time_ms = now_ms + LEAVE_MAX_MS;
            return Due::Old;
        }
        let mut frames = Vec::new();
        if self.warn_time_ms > 0 && now_ms >= self.warn_time_ms {
            self.warn_time_ms = 0;
            frames.push(FrameDue::TokenExpiring);
        }
        if now_ms >= self.beat_time_ms {
            self.beat_time_ms = now_ms + interval_ms;
            if self.foreground {
                frames.push(FrameDue::Heartbeat);
            }
        }
        Due::Frames(frames)
    }

    /// When the next visit should be.
    fn next_visit(&self, now_ms: u64, interval_ms: u64) -> u64 {
        let warn = if self.warn_time_ms > 0 {
            self.warn_time_ms
        } else {
            u64::MAX
        };
        let next = self
            .expire_time_ms
            .min(warn)
            .min(self.old_time_ms)
            .min(self.leave_time_ms)
            .min(self.beat_time_ms.max(now_ms + 1));
        let missed = self.heard_time_ms + interval_ms * 2 + interval_ms / 4;
        let next = if self.foreground && missed > now_ms {
            next.min(missed)
        } else {
            next
        };
        next.clamp(now_ms + 1, now_ms + VISIT_MAX_MS)
    }
}

impl Session {
    /// The clock comes by.
    pub fn visit(self: &Arc<Self>, edge: &Edge, now_ms: u64) {
        let interval_ms = edge.options.heartbeat_interval_ms;
        let mute = self.who().mute;
        let due = {
            let mut state = self.lock();
            if !state.is_open() {
                return;
            }
            state.due(now_ms, interval_ms, mute)
        };
        match due {
            Due::TokenExpired => return self.go_away(edge, GoAwayReason::TokenExpired),
            Due::HeartbeatMissed => return self.go_away(edge, GoAwayReason::HeartbeatMissed),
            Due::Leave => self.finish_leaving(),
            Due::Old => self.end_of_age(edge),
            Due::Frames(frames) => frames.iter().for_each(|due| self.say(due, now_ms)),
        }
        self.plan_visit(edge, now_ms);
        self.read_on(edge);
    }

    /// Asks the device to come back; one that does not read what it is told is cut off later.
    fn end_of_age(self: &Arc<Self>, edge: &Edge) {
        if self.lock().leaving {
            return self.go_away(edge, GoAwayReason::MaxAge);
        }
        self.leave(edge, GoAwayReason::MaxAge);
    }

    /// The device is told to go. Where there is another gateway it is served until it goes, a
    /// moment longer than it was told at most, so that no send waits for its return; else its
    /// requests in flight are answered and the stream ends.
    pub fn leave(self: &Arc<Self>, edge: &Edge, reason: GoAwayReason) {
        let now_ms = edge.clock.now_ms();
        let delay_ms = return_delay_ms(edge, reason);
        let away = away(edge, reason, delay_ms);
        let waker = {
            let mut state = self.lock();
            if state.asked_to_go || !state.is_open() {
                return;
            }
            state.asked_to_go = true;
            state.leave_time_ms = match away.addresses.is_empty() {
                true => now_ms,
                false => now_ms + delay_ms + LEAVE_GRACE_MS,
            };
            state.push(Class::Control, Frame::GoAway(away))
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        self.visit(edge, now_ms);
    }

    /// Requests in flight are answered, and then the stream ends.
    fn finish_leaving(&self) {
        {
            let mut state = self.lock();
            state.leave_time_ms = u64::MAX;
            state.leaving = true;
        }
        self.finish();
    }

    fn say(&self, due: &FrameDue, now_ms: u64) {
        match due {
            FrameDue::TokenExpiring => {
                let expire_time = Some(time::timestamp(self.lock().expire_time_ms));
                let frame = v1::TokenExpiring { expire_time };
                self.push(Class::Control, Frame::TokenExpiring(frame));
            }
            FrameDue::Heartbeat => {
                let frame = v1::Heartbeat {
                    head: self.head_cursor(),
                    server_time: Some(time::timestamp(now_ms)),
                };
                self.push(Class::Notice, Frame::Heartbeat(frame));
            }
        }
    }

    /// The mailbox's head as far as this session knows it.
    pub fn head_cursor(&self) -> Option<Cursor> {
        self.lock().window.as_ref().map(Window::head)
    }

    /// Arranges the next visit, unless one comes early enough.
    pub fn plan_visit(&self, edge: &Edge, now_ms: u64) {
        let next_ms = {
            let mut state = self.lock();
            let next_ms = state.next_visit(now_ms, edge.options.heartbeat_interval_ms);
            if state.timer_ms > now_ms && state.timer_ms <= next_ms {
                return;
            }
            state.timer_ms = next_ms;
            next_ms
        };
        edge.timers.after(next_ms, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL_MS: u64 = 1_000;

    fn state() -> State {
        let mut state = State::new();
        state.foreground = true;
        state.beat_time_ms = u64::MAX;
        state.take_token(0, 1_000_000, 0);
        state
    }

    #[test]
    fn a_token_is_warned_of_a_minute_before_or_at_half_its_life() {
        let mut state = State::new();
        state.take_token(0, 1_000_000, 0);
        assert_eq!(state.warn_time_ms, 940_000);
        state.take_token(0, 10_000, 0);
        assert_eq!(state.warn_time_ms, 5_000);
    }

    #[test]
    fn a_token_is_warned_of_once_and_then_ends() {
        let mut state = state();
        state.heard_time_ms = 1_000_000;
        let warned = Due::Frames(vec![FrameDue::TokenExpiring]);
        assert_eq!(state.due(940_000, INTERVAL_MS, false), warned);
        assert_eq!(state.due(940_001, INTERVAL_MS, false), Due::Frames(vec![]));
        assert_eq!(state.due(1_000_000, INTERVAL_MS, false), Due::TokenExpired);
    }

    #[test]
    fn two_missed_pings_end_a_session_in_the_foreground_only() {
        let mut state = state();
        assert_eq!(state.due(2_249, INTERVAL_MS, false), Due::Frames(vec![]));
        assert_eq!(state.due(2_250, INTERVAL_MS, false), Due::HeartbeatMissed);
        assert_eq!(state.due(2_250, INTERVAL_MS, true), Due::Frames(vec![]));
        state.foreground = false;
        assert_eq!(state.due(2_250, INTERVAL_MS, false), Due::Frames(vec![]));
    }

    #[test]
    fn an_old_session_is_asked_to_go_and_cut_off_if_it_does_not() {
        let mut state = state();
        state.heard_time_ms = 500_000;
        state.old_time_ms = 500_000;
        assert_eq!(state.next_visit(499_000, INTERVAL_MS), 500_000);
        assert_eq!(state.due(499_999, INTERVAL_MS, true), Due::Frames(vec![]));
        assert_eq!(state.due(500_000, INTERVAL_MS, true), Due::Old);
        assert_eq!(state.due(500_001, INTERVAL_MS, true), Due::Frames(vec![]));
        assert_eq!(
            state.due(500_000 + LEAVE_MAX_MS, INTERVAL_MS, true),
            Due::Old
        );
    }

    #[test]
    fn who_was_asked_to_go_has_its_time() {
        let mut state = state();
        state.heard_time_ms = 500_000;
        state.leave_time_ms = 502_000;
        assert_eq!(state.next_visit(500_000, INTERVAL_MS), 502_000);
        assert_eq!(state.due(501_999, INTERVAL_MS, true), Due::Frames(vec![]));
        assert_eq!(state.due(502_000, INTERVAL_MS, true), Due::Leave);
    }

    #[test]
    fn there_is_always_a_visit_to_come() {
        let mut state = state();
        assert_eq!(state.next_visit(0, INTERVAL_MS), 2_250);
        state.beat_time_ms = 10;
        assert_eq!(state.next_visit(0, INTERVAL_MS), 10);
        assert!(state.next_visit(5_000_000, INTERVAL_MS) > 5_000_000);
    }
}
