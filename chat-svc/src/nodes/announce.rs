//! Announcements: gateways hear which shards this node owns, whenever that changes.
//!
//! Shards tell it what they own once their epoch is raised; many changes at once make one frame.
//!
//! Invariant: each gateway's last map is the newest one: its first is sent under the same lock as
//! all others.

use crate::shard::edges::Edge;
use heddle_proto::internal::{EdgeResponse, ShardMap};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What is owned here, and who is told.
pub struct Announcements {
    shard_count: u32,
    owned: watch::Sender<BTreeSet<u32>>,
    edges: Mutex<Vec<Weak<Edge>>>,
}

impl Announcements {
    /// Nothing is owned yet.
    pub fn new(shard_count: u32) -> Arc<Self> {
        Arc::new(Self {
            shard_count,
            owned: watch::Sender::new(BTreeSet::new()),
            edges: Mutex::default(),
        })
    }

    /// A shard is owned from now on, or no more. One that is taken again is told as lost first:
    /// somebody else may have had it, and said so, in between, and what is only said again counts
    /// for nothing against that.
    pub fn set(&self, shard: u32, owned: bool) {
        if owned && self.owned.borrow().contains(&shard) {
            let edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
            let mut without = self.owned.borrow().clone();
            without.remove(&shard);
            self.tell(&edges, &without);
        }
        self.owned.send_if_modified(|shards| match owned {
            true => {
                shards.insert(shard);
                true
            }
            false => shards.remove(&shard),
        });
    }

    /// What is owned, and its changes.
    pub fn watch(&self) -> watch::Receiver<BTreeSet<u32>> {
        self.owned.subscribe()
    }

    /// A new gateway: gets the map now, and each change.
    pub fn add(&self, edge: &Arc<Edge>) {
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        edges.retain(|known| known.strong_count() > 0);
        edges.push(Arc::downgrade(edge));
        edge.send(self.frame(&self.owned.borrow()));
    }

    /// Tells all gateways each change, until `ending`.
    pub async fn run(self: Arc<Self>, ending: CancellationToken) {
        let mut changes = self.owned.subscribe();
        loop {
            tokio::select! {
                _ = changes.changed() => {}
                () = ending.cancelled() => return,
            }
            let edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
            changes.mark_unchanged();
            self.tell(&edges, &self.owned.borrow());
        }
    }

    fn tell(&self, edges: &[Weak<Edge>], owned: &BTreeSet<u32>) {
        for edge in edges.iter().filter_map(Weak::upgrade) {
            edge.send(self.frame(owned));
        }
    }

    fn frame(&self, owned: &BTreeSet<u32>) -> EdgeResponse {
        let map = ShardMap {
            shard_count: self.shard_count,
            owned: owned.iter().copied().collect(),
        };
        EdgeResponse {
            shard_map: Some(map),
            ..Default::default()
        }
    }
}
