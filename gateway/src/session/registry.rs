//! Registry: the sessions that are attached, by id.
//!
//! Links look sessions up here for each delivery; `open` puts them in, their end takes them out.
//!
//! Invariant: a session is in the registry from before its attach is sent until it has ended.

use super::Session;
use foldhash::fast::RandomState;
use heddle_proto::ids::LogId;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Open sessions.
pub struct Registry {
    sessions: papaya::HashMap<u64, Arc<Session>, RandomState>,
    /// Part of each session's public name: tells gateways and their incarnations apart.
    gateway: u64,
    next_id: AtomicU64,
}

impl Registry {
    /// No sessions, on a gateway with this incarnation.
    pub fn new(gateway: u64) -> Self {
        Self {
            sessions: papaya::HashMap::with_hasher(RandomState::default()),
            gateway,
            next_id: AtomicU64::new(1),
        }
    }

    /// An id that no session of this gateway had.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The name of a session, as clients carry it.
    pub fn name(&self, id: u64) -> String {
        format!("{:016x}-{id:x}", self.gateway)
    }

    /// The session with a name, if it is open here and this user's.
    pub fn named(&self, name: &str, user_id: &str) -> Option<Arc<Session>> {
        let (gateway, id) = name.split_once('-')?;
        if u64::from_str_radix(gateway, 16).ok()? != self.gateway {
            return None;
        }
        let session = self.get(u64::from_str_radix(id, 16).ok()?)?;
        (session.who().user_id == user_id).then_some(session)
    }

    /// Puts a session in.
    pub fn insert(&self, session: Arc<Session>) {
        self.sessions.pin().insert(session.id(), session);
    }

    /// Takes a session out; says whether it was in.
    pub fn remove(&self, id: u64) -> bool {
        self.sessions.pin().remove(&id).is_some()
    }

    /// A session.
    pub fn get(&self, id: u64) -> Option<Arc<Session>> {
        self.sessions.pin().get(&id).cloned()
    }

    /// Does something with those of these sessions that are open.
    pub fn each_of(&self, ids: &[u64], mut act: impl FnMut(&Arc<Session>)) {
        let sessions = self.sessions.pin();
        ids.iter()
            .filter_map(|id| sessions.get(id))
            .for_each(&mut act);
    }

    /// Those sessions whose id is picked.
    pub fn picked(&self, pick: impl Fn(u64) -> bool) -> Vec<Arc<Session>> {
        let sessions = self.sessions.pin();
        let picked = sessions.iter().filter(|(id, _)| pick(**id));
        picked.map(|(_, session)| session.clone()).collect()
    }

    /// All sessions now.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.pin().values().cloned().collect()
    }

    /// Those whose mailbox is owned by one of these shards.
    pub fn of_shards(&self, shard_count: u32, shards: &[u32]) -> Vec<Arc<Session>> {
        let shard_count = shard_count.max(1);
        let mut owned = vec![false; shard_count as usize];
        for shard in shards {
            if let Some(owned) = owned.get_mut(*shard as usize) {
                *owned = true;
            }
        }
        let moved = |mailbox: &LogId| owned[mailbox.shard(shard_count) as usize];
        let sessions = self.sessions.pin();
        sessions
            .values()
            .filter(|session| moved(&session.who().mailbox))
            .cloned()
            .collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}
