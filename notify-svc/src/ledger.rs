//! Ledger: what became of each push, and who waits to hear of it.
//!
//! `pipeline` keeps it under a lock, asks it before sending and tells it afterwards. Pure: `W` is
//! whatever can be told (an intent's id and its stream).
//!
//! Invariant: a push id is open at most once, so that repeating an intent sends nothing twice; at
//! most `settled_max` results of settled ones are remembered, the oldest intents forgotten first.

use heddle_proto::v1::{PushOutcome, PushResult};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Repetitions of one open intent that are told of its end, the newest ones.
pub const WAITERS_MAX: usize = 8;

/// What became of the push to one registration.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It has come to this, whatever it is.
    Settled(PushResult),
    /// To nothing: the intent must be sent again.
    Lost {
        /// For people.
        reason: String,
    },
}

/// What to do with an intent.
#[derive(Debug, PartialEq)]
pub enum Admission<W> {
    /// Send it: its push id is open now.
    Send,
    /// It is being sent; the waiter will be told. An older waiter may have had to make room.
    Joined { displaced: Option<W> },
    /// It was settled before.
    Settled { waiter: W, results: Vec<PushResult> },
    /// It is new, and there is no room.
    NoRoom { waiter: W },
}

/// Who to tell of the end of an intent.
#[derive(Debug, PartialEq)]
pub struct End<W> {
    pub waiters: Vec<W>,
    /// What it has come to, one for each push; else why it must be sent again.
    pub settled: Result<Vec<PushResult>, String>,
}

pub struct Ledger<W> {
    pushes: HashMap<Arc<str>, Entry<W>>,
    settled: VecDeque<Arc<str>>,
    /// Results of those.
    results: usize,
    settled_max: usize,
}

struct Entry<W> {
    /// Pushes that nothing is known of yet. None are left once it is settled.
    open: u32,
    results: Vec<PushResult>,
    /// Empty once settled.
    waiters: Vec<W>,
    lost: Option<String>,
}

impl<W> Ledger<W> {
    pub fn new(settled_max: usize) -> Self {
        Self {
            pushes: HashMap::new(),
            settled: VecDeque::new(),
            results: 0,
            settled_max,
        }
    }

    /// An intent for so many pushes (at least one) has come. `room`: it could be sent.
    pub fn admit(
        &mut self,
        push_id: &Arc<str>,
        pushes: u32,
        waiter: W,
        room: bool,
    ) -> Admission<W> {
        let Some(entry) = self.pushes.get_mut(push_id) else {
            if !room {
                return Admission::NoRoom { waiter };
            }
            let entry = Entry {
                open: pushes,
                results: Vec::new(),
                waiters: vec![waiter],
                lost: None,
            };
            self.pushes.insert(push_id.clone(), entry);
            return Admission::Send;
        };
        if entry.open == 0 {
            let results = entry.results.clone();
            return Admission::Settled { waiter, results };
        }
        let full = entry.waiters.len() >= WAITERS_MAX;
        let displaced = full.then(|| entry.waiters.remove(0));
        entry.waiters.push(waiter);
        Admission::Joined { displaced }
    }

    /// What became of one push. Answers with the end of the intent when it was the last.
    pub fn done(&mut self, push_id: &Arc<str>, outcome: Outcome) -> Option<End<W>> {
        let entry = self.pushes.get_mut(push_id)?;
        entry.open = entry.open.saturating_sub(1);
        match outcome {
            Outcome::Settled(result) => entry.results.push(result),
            Outcome::Lost { reason } => entry.lost = Some(reason),
        }
        if entry.open > 0 {
            return None;
        }
        let waiters = std::mem::take(&mut entry.waiters);
        let settled = match entry.lost.take() {
            Some(reason) => {
                self.pushes.remove(push_id);
                Err(reason)
            }
            None => {
                let results = entry.results.clone();
                self.remember(push_id.clone(), results.len());
                Ok(results)
            }
        };
        Some(End { waiters, settled })
    }

    /// Who waits to hear of a push.
    pub fn waiters(&self, push_id: &Arc<str>) -> &[W] {
        self.pushes.get(push_id).map_or(&[], |entry| &entry.waiters)
    }

    fn remember(&mut self, push_id: Arc<str>, results: usize) {
        self.settled.push_back(push_id);
        self.results += results;
        while self.results > self.settled_max {
            let Some(oldest) = self.settled.pop_front() else {
                return;
            };
            let forgotten = self.pushes.remove(&oldest);
            let results = forgotten.map_or(0, |entry| entry.results.len());
            self.results = self.results.saturating_sub(results);
        }
    }
}

/// The last thing that went wrong, for people; empty if nothing did.
pub fn detail(results: &[PushResult]) -> String {
    let bad = |result: &&PushResult| {
        let outcome = result.outcome();
        matches!(outcome, PushOutcome::TokenDead | PushOutcome::DeadLetter)
    };
    let last = results.iter().rev().find(bad);
    last.map(|result| result.detail.clone()).unwrap_or_default()
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
