//! Rules: when a user is online, and what others may see of it.
//!
//! Stores keep [`Life`]s and hand out [`Facts`]; the book turns them into [`View`]s for watchers.
//! Knows no clock, no store and no wire.
//!
//! A user is online while a session in the foreground is alive, and for a grace after the last one
//! ended. So an absence shorter than the grace (a lift, a change of networks) is never seen by
//! anyone, and no announcement has to be held back or taken back.
//!
//! Invariant: [`Facts::online_until_ms`] of a life depends on its reports alone, not on when it is
//! looked at; forgetting an expired session changes nothing.

use std::sync::Arc;

/// A user's id.
pub type UserId = Arc<str>;

/// Sessions of one user that are kept; past it, the one that ends first is dropped.
pub const SESSIONS_PER_USER_MAX: usize = 64;

/// The times that the rules go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a report keeps a session alive (milliseconds).
    pub ttl_ms: u64,
    /// How long a user without live sessions still counts as online (milliseconds).
    pub grace_ms: u64,
}

/// A session: unique on its gateway, which is named by its incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    pub gateway: Arc<str>,
    pub session: u64,
}

/// The sessions of one user that are in the foreground, and what is left of those that were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Each with the time at which it ends unless it is reported again.
    sessions: Vec<(SessionKey, u64)>,
    /// When the last of the sessions that are no more ended.
    ended_ms: u64,
    last_seen_ms: u64,
}

impl Life {
    /// A life known only from what was written down.
    pub fn remembered(online_until_ms: u64, last_seen_ms: u64) -> Self {
        Self {
            sessions: Vec::new(),
            ended_ms: online_until_ms,
            last_seen_ms,
        }
    }

    /// A life as [`Life::sessions`], [`Life::ended_ms`] and [`Life::last_seen_ms`] told it.
    pub fn restored(sessions: Vec<(SessionKey, u64)>, ended_ms: u64, last_seen_ms: u64) -> Self {
        Self {
            sessions,
            ended_ms,
            last_seen_ms,
        }
    }

    /// The session is alive and in the foreground.
    pub fn refresh(&mut self, key: &SessionKey, now_ms: u64, ttl_ms: u64) {
        self.forget_expired(now_ms);
        self.last_seen_ms = self.last_seen_ms.max(now_ms);
        let end_ms = now_ms.saturating_add(ttl_ms);
        if let Some((_, end)) = self.sessions.iter_mut().find(|(known, _)| known == key) {
            *end = end_ms.max(*end);
            return;
        }
        if self.sessions.len() >= SESSIONS_PER_USER_MAX {
            let first = (0..self.sessions.len()).min_by_key(|&at| self.sessions[at].1);
            first.map(|at| self.sessions.swap_remove(at));
        }
        self.sessions.push((key.clone(), end_ms));
    }

    /// The session is closed, or in the background. Says whether it was alive.
    pub fn gone(&mut self, key: &SessionKey, now_ms: u64) -> bool {
        self.forget_expired(now_ms);
        let Some(at) = self.sessions.iter().position(|(known, _)| known == key) else {
            return false;
        };
        self.sessions.swap_remove(at);
        self.ended_ms = self.ended_ms.max(now_ms);
        self.last_seen_ms = self.last_seen_ms.max(now_ms);
        true
    }

    /// When the user stops being online unless something is reported (milliseconds; 0: never was).
    pub fn online_until_ms(&self) -> u64 {
        let ends = self.sessions.iter().map(|(_, end)| *end);
        ends.fold(self.ended_ms, u64::max)
    }

    /// The last time a session in the foreground showed itself (milliseconds; 0: never).
    pub fn last_seen_ms(&self) -> u64 {
        self.last_seen_ms
    }

    /// Each session that is kept, with the time at which it ends (milliseconds).
    pub fn sessions(&self) -> &[(SessionKey, u64)] {
        &self.sessions
    }

    /// When the last of the sessions that are kept no more ended (milliseconds; 0: none has).
    pub fn ended_ms(&self) -> u64 {
        self.ended_ms
    }

    fn forget_expired(&mut self, now_ms: u64) {
        let ended = &mut self.ended_ms;
        self.sessions.retain(|(_, end)| {
            let alive = *end > now_ms;
            if !alive {
                *ended = (*ended).max(*end);
            }
            alive
        });
    }
}

/// What a store knows of a user. The default is what it knows of one it never heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// When the last session in the foreground ends unless it is reported again (milliseconds).
    pub online_until_ms: u64,
    /// The last time one showed itself (milliseconds; 0: never).
    pub last_seen_ms: u64,
    /// The user's own text.
    pub status: Arc<str>,
    /// Whether the user hides from others.
    pub hidden: bool,
}

/// What others see of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub online: bool,
    /// Only of those who are offline (milliseconds).
    pub last_seen_ms: Option<u64>,
    pub status: Arc<str>,
}

impl Facts {
    /// What others see. Who hides looks like somebody never heard of.
    pub fn view(&self, now_ms: u64, timing: Timing) -> View {
        if self.hidden {
            return Facts::default().view(now_ms, timing);
        }
        let online = now_ms < self.turns_ms(timing);
        View {
            online,
            last_seen_ms: (!online && self.last_seen_ms > 0).then_some(self.last_seen_ms),
            status: self.status.clone(),
        }
    }

    /// When the view turns from online to offline by itself (milliseconds).
    pub fn turns_ms(&self, timing: Timing) -> u64 {
        match self.online_until_ms {
            0 => 0,
            until_ms => until_ms.saturating_add(timing.grace_ms),
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
