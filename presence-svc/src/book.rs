//! Book: whom one gateway watches, what it has been told of them, and whom to look up when.
//!
//! `link` owns one per gateway stream and does the looking up and the telling. Pure: time and
//! facts are arguments.
//!
//! Invariant: a gateway is told of a user it watches only what differs from what it was told
//! before; whatever hints are lost, every watched user falls due within `recheck_ms`.

use std::collections::HashMap;

use crate::rules::{Facts, Timing, UserId, View};

/// The whole book is searched at most this often (milliseconds), however much happens.
pub const SEARCH_PAUSE_MS: u64 = 500;

pub struct WatchBook {
    watched: HashMap<UserId, Watched>,
    /// Users who are due because of a watch or a hint, so that those need no search.
    hinted: Vec<UserId>,
    /// Nobody else is due before this time.
    next_search_ms: u64,
    searched_ms: u64,
    timing: Timing,
    recheck_ms: u64,
    watched_max: usize,
}

struct Watched {
    told: Option<View>,
    due_ms: u64,
}

impl WatchBook {
    pub fn new(timing: Timing, recheck_ms: u64, watched_max: usize) -> Self {
        Self {
            watched: HashMap::new(),
            hinted: Vec::new(),
            next_search_ms: u64::MAX,
            searched_ms: 0,
            timing,
            recheck_ms,
            watched_max,
        }
    }

    /// Watches a user, who is due at once: a gateway that says it again is told again. `false`:
    /// there is no room.
    pub fn watch(&mut self, user: UserId) -> bool {
        if self.watched.len() >= self.watched_max && !self.watched.contains_key(&user) {
            return false;
        }
        self.watched.insert(
            user.clone(),
            Watched {
                told: None,
                due_ms: 0,
            },
        );
        self.list(user);
        true
    }

    pub fn unwatch(&mut self, user: &str) {
        self.watched.remove(user);
    }

    /// Something of this user may have changed.
    pub fn hint(&mut self, user: &UserId) {
        if let Some(watched) = self.watched.get_mut(user) {
            // Who is due already stands in the list, or will be found by the search.
            if watched.due_ms > 0 {
                watched.due_ms = 0;
                self.list(user.clone());
            }
        }
    }

    /// Lists a user as due. A list that has grown longer than the book, by users who are watched
    /// and left again while there is no room to tell of them, is made anew by a search.
    fn list(&mut self, user: UserId) {
        self.hinted.push(user);
        if self.hinted.len() > 2 * self.watched.len() {
            self.hinted.clear();
            self.next_search_ms = 0;
        }
    }

    /// Hints were lost: anybody may have changed.
    pub fn hints_lost(&mut self) {
        self.watched
            .values_mut()
            .for_each(|watched| watched.due_ms = 0);
        self.next_search_ms = 0;
    }

    /// Up to `count_max` users to look up now. Give each to [`WatchBook::learn`], or all back to
    /// [`WatchBook::postpone`].
    pub fn take_due(&mut self, now_ms: u64, count_max: usize) -> Vec<UserId> {
        let search_ms = self
            .next_search_ms
            .max(self.searched_ms.saturating_add(SEARCH_PAUSE_MS));
        if now_ms >= search_ms {
            self.search(now_ms);
        }
        let rest = self.hinted.split_off(self.hinted.len().min(count_max));
        std::mem::replace(&mut self.hinted, rest)
    }

    /// Lists everybody who is due, and when the next one will be.
    fn search(&mut self, now_ms: u64) {
        self.hinted.clear();
        (self.searched_ms, self.next_search_ms) = (now_ms, u64::MAX);
        for (user, watched) in &self.watched {
            if watched.due_ms <= now_ms {
                self.hinted.push(user.clone());
            } else {
                self.next_search_ms = self.next_search_ms.min(watched.due_ms);
            }
        }
    }

    /// The store did not answer: they stay due.
    pub fn postpone(&mut self, due: Vec<UserId>) {
        self.hinted.extend(due);
    }

    /// Takes in what the store said of a user; what to tell the gateway, if it is news.
    pub fn learn(&mut self, user: &UserId, facts: &Facts, now_ms: u64) -> Option<View> {
        let watched = self.watched.get_mut(user)?;
        let view = facts.view(now_ms, self.timing);
        let recheck_ms = now_ms.saturating_add(self.recheck_ms).max(1);
        let turns_ms = facts.turns_ms(self.timing);
        watched.due_ms = if turns_ms > now_ms {
            recheck_ms.min(turns_ms)
        } else {
            recheck_ms
        };
        self.next_search_ms = self.next_search_ms.min(watched.due_ms);
        if watched.told.as_ref() == Some(&view) {
            return None;
        }
        watched.told = Some(view.clone());
        Some(view)
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
