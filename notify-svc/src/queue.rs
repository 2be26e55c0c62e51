//! Queue: what waits in a lane, and what may leave it next. Pure; the time is an argument.
//!
//! `lane` puts in, takes out and says what has ended. A push waits for its turn, for another try,
//! for the end of the one with its key that is being sent, or for a place at its origin.
//!
//! Invariant: of one key at most one waits, the newest, and at most one is being sent; none leaves
//! after a newer one. So what a provider that is down holds up is bounded by devices and
//! conversations, and what it is told last is what is true.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use crate::config::LaneConfig;
use crate::newest::{Key, Newest};
use crate::origins::Origins;
use crate::rate::Rate;

/// What a queue must know of what it holds.
pub trait Item {
    /// What it takes the place of, and is replaced by; `None`: nothing.
    fn key(&self) -> Option<Key>;
    /// How new it is among those of its key.
    fn position(&self) -> u64;
    /// Where it goes (`host:port`), if places there are counted.
    fn origin(&self) -> Option<&Arc<str>>;
    /// Until when it may hold what it must not keep; `None`: it holds none.
    fn perishes_at(&self) -> Option<Instant>;
    /// Drops that.
    fn perish(&mut self);
    /// An older one, which has not been delivered, makes way for this one.
    fn replaces(&mut self, older: &Self);
}

/// What waits, and an account of what is being sent.
pub struct Queue<T> {
    slots: HashMap<u64, Slot<T>>,
    next_id: u64,
    /// In the order in which they leave.
    ready: VecDeque<u64>,
    delayed: BTreeSet<(Instant, u64)>,
    perishing: BTreeSet<(Instant, u64)>,
    keys: HashMap<Key, Held>,
    newest: Newest,
    origins: Origins,
    rate: Rate,
}

struct Slot<T> {
    item: T,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Delayed(Instant),
    BehindKey,
    BehindOrigin,
}

/// Where those of one key are.
#[derive(Clone, Copy, Default)]
struct Held {
    waiting: Option<u64>,
    sending: Option<u64>,
}

impl<T: Item> Queue<T> {
    /// An empty one, with the bounds of a lane.
    pub fn new(config: &LaneConfig) -> Self {
        Self {
            slots: HashMap::new(),
            next_id: 0,
            ready: VecDeque::new(),
            delayed: BTreeSet::new(),
            perishing: BTreeSet::new(),
            keys: HashMap::new(),
            newest: Newest::new(config.positions_max),
            origins: Origins::new(config.per_origin_max),
            rate: Rate::new(config.rate_per_second_max),
        }
    }

    /// Takes one in. Answers with the one that is superseded by that: an older one that waits, or
    /// this one, if a newer one waits, is being sent or has left.
    pub fn put(&mut self, item: T) -> Option<T> {
        let Some(key) = item.key() else {
            self.insert(item, State::Ready);
            return None;
        };
        let held = self.keys.get(&key).copied().unwrap_or_default();
        let left = held.sending.max(self.newest.position(&key));
        if left.is_some_and(|left| item.position() < left) {
            return Some(item);
        }
        match held.waiting {
            Some(id) => self.replace(id, item),
            None => {
                self.insert(item, State::Ready);
                None
            }
        }
    }

    /// What has ended without success waits until then, unless a newer one does: then it is
    /// answered with, superseded.
    pub fn put_back(&mut self, item: T, until: Instant) -> Option<T> {
        let waiting = item.key().and_then(|key| self.keys.get(&key)?.waiting);
        if let Some(slot) = waiting.and_then(|id| self.slots.get_mut(&id)) {
            slot.item.replaces(&item);
            return Some(item);
        }
        self.insert(item, State::Delayed(until));
        None
    }

    /// What time brings about: delays end, and what perishes does.
    pub fn advance(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.delayed.first().filter(|(at, _)| *at <= now) {
            self.delayed.remove(&(at, id));
            self.make_ready(Some(id));
        }
        while let Some(&(at, id)) = self.perishing.first().filter(|(at, _)| *at <= now) {
            self.perishing.remove(&(at, id));
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.item.perish();
            }
        }
    }

    /// The next one, to be sent now; its end must be told to [`Self::ended`].
    pub fn take(&mut self, now: Instant) -> Option<T> {
        if self.rate.wait_until(now).is_some() {
            return None;
        }
        while let Some(id) = self.ready.pop_front() {
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            let held = slot.item.key().and_then(|key| self.keys.get(&key));
            if held.is_some_and(|held| held.sending.is_some()) {
                slot.state = State::BehindKey;
                continue;
            }
            let origin = slot.item.origin();
            if origin.is_some_and(|origin| !self.origins.enter(origin, id)) {
                slot.state = State::BehindOrigin;
                continue;
            }
            self.rate.spend(now);
            return self.remove(id);
        }
        None
    }

    /// Sending it has ended, well or not: who waited for that may be next.
    pub fn ended(&mut self, item: &T) {
        if let Some(key) = item.key()
            && let Some(held) = self.keys.get_mut(&key)
        {
            held.sending = None;
            match held.waiting {
                Some(id) => {
                    let slot = self.slots.get(&id);
                    let held_up = slot.is_some_and(|slot| slot.state == State::BehindKey);
                    self.make_ready(Some(id).filter(|_| held_up));
                }
                None => {
                    self.keys.remove(&key);
                }
            }
        }
        let next = item.origin().and_then(|origin| self.origins.leave(origin));
        self.make_ready(next);
    }

    /// When to look again, if nothing else happens. `room`: one could leave at once.
    pub fn wake_at(&self, now: Instant, room: bool) -> Option<Instant> {
        let by_rate = match room && !self.ready.is_empty() {
            true => self.rate.wait_until(now),
            false => None,
        };
        let first = |set: &BTreeSet<(Instant, u64)>| set.first().map(|(at, _)| *at);
        [by_rate, first(&self.delayed), first(&self.perishing)]
            .into_iter()
            .flatten()
            .min()
    }

    fn insert(&mut self, item: T, state: State) {
        let id = self.next_id;
        self.next_id += 1;
        if let Some(key) = item.key() {
            self.keys.entry(key).or_default().waiting = Some(id);
        }
        self.perishing.extend(item.perishes_at().map(|at| (at, id)));
        match state {
            State::Delayed(until) => {
                self.delayed.insert((until, id));
            }
            _ => self.ready.push_back(id),
        }
        self.slots.insert(id, Slot { item, state });
    }

    /// Puts a newer one in the place of one that waits; if that waits for another try, the newer
    /// one, which has failed in nothing, need not.
    fn replace(&mut self, id: u64, mut item: T) -> Option<T> {
        let Some(slot) = self.slots.get_mut(&id) else {
            self.insert(item, State::Ready);
            return None;
        };
        if item.position() < slot.item.position() {
            return Some(item);
        }
        item.replaces(&slot.item);
        let older = std::mem::replace(&mut slot.item, item);
        if let Some(at) = older.perishes_at() {
            self.perishing.remove(&(at, id));
        }
        self.perishing
            .extend(slot.item.perishes_at().map(|at| (at, id)));
        if let State::Delayed(until) = slot.state {
            slot.state = State::Ready;
            self.delayed.remove(&(until, id));
            self.ready.push_back(id);
        }
        Some(older)
    }

    /// Takes out what is about to be sent.
    fn remove(&mut self, id: u64) -> Option<T> {
        let item = self.slots.remove(&id)?.item;
        if let Some(at) = item.perishes_at() {
            self.perishing.remove(&(at, id));
        }
        if let Some(key) = item.key() {
            let sending = Some(item.position());
            let waiting = None;
            self.keys.insert(key, Held { waiting, sending });
            self.newest.left(key, item.position());
        }
        Some(item)
    }

    fn make_ready(&mut self, id: Option<u64>) {
        let Some(id) = id else { return };
        if let Some(slot) = self.slots.get_mut(&id) {
            let retry = matches!(slot.state, State::Delayed(_));
            slot.state = State::Ready;
            match retry {
                true => self.ready.push_back(id),
                // It has waited its turn before.
                false => self.ready.push_front(id),
            }
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
