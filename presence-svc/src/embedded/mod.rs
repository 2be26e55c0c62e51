//! Embedded: presence in this process's memory, for a deployment with one presence process.
//!
//! Maps in stripes under short locks; `snapshot` writes down what outlives a restart, `spent`
//! counts what users spend. Lives and their rules are `rules`'; the law is [`PresenceStore`]'s.
//!
//! Invariant: at most `users_max` users are remembered; no lock is held across an await.

mod snapshot;
mod spent;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heddle_proto::internal::GatewayStatus;
use tokio::sync::broadcast;
use tonic::async_trait;

use crate::rules::{Facts, Life, Timing, UserId};
use crate::store::{
    GATEWAY_TTL_MS, GATEWAYS_MAX, Hint, PresenceStore, Session, Setting, Spending, StoreError,
    gateway_name,
};
pub use snapshot::OpenError;
use snapshot::SavedUser;
pub(crate) use snapshot::{SnapshotDir, keep};
use spent::SpentCounts;

/// Hints that may wait for a slow reader, which then looks everything up.
const HINTS_WAITING_MAX: usize = 1024;
/// Parts of the memory with a lock each.
const STRIPES: usize = 16;
/// A full stripe makes room for this share of it at once, so that it seldom has to.
const FORGET_DIVISOR: usize = 8;

pub struct EmbeddedStore {
    stripes: Vec<Mutex<HashMap<UserId, User>>>,
    stripe_users_max: usize,
    hasher: RandomState,
    timing: Timing,
    hints: broadcast::Sender<Hint>,
    /// Gateways by address, and until when they are known.
    gateways: Mutex<HashMap<String, (u64, GatewayStatus)>>,
    spent: Mutex<SpentCounts>,
    /// Counts changes, so that an idle store writes nothing.
    changed: AtomicU64,
}

#[derive(Default)]
struct User {
    life: Life,
    status: Arc<str>,
    hidden: bool,
}

impl User {
    fn facts(&self) -> Facts {
        Facts {
            online_until_ms: self.life.online_until_ms(),
            last_seen_ms: self.life.last_seen_ms(),
            status: self.status.clone(),
            hidden: self.hidden,
        }
    }

    fn has_settings(&self) -> bool {
        self.hidden || !self.status.is_empty()
    }
}

impl EmbeddedStore {
    pub fn new(users_max: usize, timing: Timing) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            stripe_users_max: users_max.div_ceil(STRIPES).max(1),
            hasher: RandomState::new(),
            timing,
            hints: broadcast::Sender::new(HINTS_WAITING_MAX),
            gateways: Mutex::default(),
            spent: Mutex::default(),
            changed: AtomicU64::new(0),
        }
    }

    fn stripe(&self, user: &str) -> MutexGuard<'_, HashMap<UserId, User>> {
        let at = self.hasher.hash_one(user) as usize % STRIPES;
        self.stripes[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a user, who is made room for if unknown. `None`: there is no room.
    fn change<R>(&self, id: &UserId, change: impl FnOnce(&mut User) -> R) -> Option<R> {
        let mut users = self.stripe(id);
        if !users.contains_key(id) {
            if users.len() >= self.stripe_users_max {
                forget_some(&mut users, self.stripe_users_max / FORGET_DIVISOR);
            }
            if users.len() >= self.stripe_users_max {
                return None;
            }
            users.insert(id.clone(), User::default());
        }
        users.get_mut(id).map(change)
    }

    fn announce(&self, users: Vec<UserId>, refused: usize) {
        self.changed.fetch_add(1, Ordering::Release);
        if refused > 0 {
            tracing::warn!(refused, "no room for more users; raise presence.users_max");
        }
        if !users.is_empty() {
            // Fails only while nobody listens.
            let _no_listener = self.hints.send(users.into());
        }
    }

    /// The gateways that are known now.
    fn known_gateways(&self, now_ms: u64) -> MutexGuard<'_, HashMap<String, (u64, GatewayStatus)>> {
        let mut known = self.gateways.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (until_ms, _)| *until_ms > now_ms);
        known
    }

    fn changed(&self) -> u64 {
        self.changed.load(Ordering::Acquire)
    }

    /// What is to be written down, stripe by stripe.
    fn saved(&self) -> impl Iterator<Item = Vec<SavedUser>> + '_ {
        self.stripes.iter().map(|stripe| {
            let users = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            users
                .iter()
                .map(|(id, user)| SavedUser::of(id, user.facts()))
                .collect()
        })
    }

    fn remember(&self, saved: SavedUser) {
        let user = User {
            life: Life::remembered(saved.online_until_ms, saved.last_seen_ms),
            status: saved.status.into(),
            hidden: saved.hidden,
        };
        self.change(&saved.user_id.into(), |known| *known = user);
    }
}

/// Forgets `count` of those who have no settings, longest unseen first: hence who is online goes
/// last, and is back with the next refresh.
fn forget_some(users: &mut HashMap<UserId, User>, count: usize) {
    let mut plain: Vec<_> = users
        .iter()
        .filter(|(_, user)| !user.has_settings())
        .map(|(id, user)| (user.life.last_seen_ms(), id.clone()))
        .collect();
    let count = count.clamp(1, users.len());
    if count < plain.len() {
        plain.select_nth_unstable(count);
        plain.truncate(count);
    }
    for (_, id) in plain {
        users.remove(&id);
    }
}

#[async_trait]
impl PresenceStore for EmbeddedStore {
    async fn refresh(&self, sessions: &[Session], now_ms: u64) -> Result<(), StoreError> {
        let (mut came, mut refused) = (Vec::new(), 0);
        for Session { user: id, key } in sessions {
            let was_online = self.change(id, |user| {
                let was_online = user.life.online_until_ms() > now_ms;
                user.life.refresh(key, now_ms, self.timing.ttl_ms);
                was_online
            });
            match was_online {
                Some(true) => {}
                Some(false) => came.push(id.clone()),
                None => refused += 1,
            }
        }
        self.announce(came, refused);
        Ok(())
    }

    async fn gone(&self, sessions: &[Session], now_ms: u64) -> Result<(), StoreError> {
        let mut left = Vec::new();
        for Session { user: id, key } in sessions {
            let mut users = self.stripe(id);
            if users
                .get_mut(id)
                .is_some_and(|user| user.life.gone(key, now_ms))
            {
                left.push(id.clone());
            }
        }
        self.announce(left, 0);
        Ok(())
    }

    async fn lookup(&self, users: &[UserId]) -> Result<Vec<Facts>, StoreError> {
        let facts = |id: &UserId| self.stripe(id).get(id).map(User::facts).unwrap_or_default();
        Ok(users.iter().map(facts).collect())
    }

    async fn set(&self, settings: &[Setting]) -> Result<(), StoreError> {
        let (mut changed, mut refused) = (Vec::new(), 0);
        for setting in settings {
            let taken = self.change(&setting.user, |user| {
                user.status = setting.status.clone();
                user.hidden = setting.hidden;
            });
            match taken {
                Some(()) => changed.push(setting.user.clone()),
                None => refused += 1,
            }
        }
        self.announce(changed, refused);
        Ok(())
    }

    async fn announce(&self, gateway: &GatewayStatus, now_ms: u64) -> Result<(), StoreError> {
        let (name, mut known) = (gateway_name(gateway), self.known_gateways(now_ms));
        if known.len() >= GATEWAYS_MAX && !known.contains_key(name) {
            return Err(StoreError("too many gateways".into()));
        }
        let until_ms = now_ms + GATEWAY_TTL_MS;
        known.insert(name.to_owned(), (until_ms, gateway.clone()));
        Ok(())
    }

    async fn gateways(&self, now_ms: u64) -> Result<Vec<GatewayStatus>, StoreError> {
        let known = self.known_gateways(now_ms);
        Ok(known.values().map(|(_, gateway)| gateway.clone()).collect())
    }

    async fn spend(&self, spending: &[Spending], now_ms: u64) -> Result<Vec<u64>, StoreError> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let added = spending.iter().map(|spending| spent.add(*spending, now_ms));
        Ok(added.collect())
    }

    fn changes(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
