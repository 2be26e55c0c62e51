//! Keeper: renews this node's lease, and tells the shards what they should do.
//!
//! At a drain it says that the node leaves, waits until its shards are released and taken by
//! others, and only then lets the service end. What changes here is told to peers at once, so that
//! nobody waits for a renewal.
//!
//! Invariant: a node that could not renew for a whole lease serves nothing.

use super::{Placement, peers::Peers, placement, reach::Reach};
use crate::{config::ChatConfig, store_link};
use heddle_kit::AnyOf;
use heddle_proto::internal::{LeaseRequest, LiveNode};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// How soon a renewal that failed is tried again, in milliseconds.
const RETRY_MS: u64 = 200;
/// How often a node that leaves looks whether others have taken its shards, in milliseconds.
const LEAVING_POLL_MS: u64 = 20;

/// How this node describes itself to others.
pub struct Me {
    /// Its name.
    pub node: String,
    /// Greater with each start.
    pub incarnation: u64,
    /// Where others reach it.
    pub address: String,
}

/// The lease of this node.
pub struct Keeper {
    /// Settings.
    pub config: Arc<ChatConfig>,
    /// history-svc: any of its processes knows all leases.
    pub history: AnyOf,
    /// This node.
    pub me: Me,
    /// The others.
    pub peers: Peers,
    /// What the shards of this node hold.
    pub owned: watch::Receiver<BTreeSet<u32>>,
    /// How many gateways' streams there are.
    pub gateways: watch::Receiver<usize>,
    /// What the shards follow.
    pub placement: Arc<watch::Sender<Arc<Placement>>>,
    /// Somebody knows that a renewal would tell something new.
    pub renew: Arc<Notify>,
}

/// What changes from renewal to renewal.
struct Renewals {
    renewed: Instant,
    lapses: u64,
    version: u64,
    leaving: bool,
    reach: Reach,
    /// What the others were told last: the shards held, leaving, cut off.
    told: Option<(BTreeSet<u32>, bool, bool)>,
    /// Shards that belong here and that another still holds, and since when.
    waiting: HashMap<u32, Instant>,
}

impl Keeper {
    /// Renews until `stopping`, hands over, and cancels `ending`.
    pub async fn run(mut self, stopping: CancellationToken, ending: CancellationToken) {
        let _ending = ending.drop_guard();
        let mut state = Renewals {
            renewed: Instant::now(),
            lapses: 0,
            version: 1,
            leaving: false,
            reach: Reach::default(),
            told: None,
            waiting: HashMap::new(),
        };
        let interval = Duration::from_millis(self.config.lease_renewal_ms);
        loop {
            let renewed = self.renew(&mut state).await;
            let pause = match renewed {
                Ok(_) => interval,
                Err(_) => interval.min(Duration::from_millis(RETRY_MS)),
            };
            let due = Instant::now() + pause;
            let cut_off_at = state.reach.cut_off_at().filter(|at| *at > Instant::now());
            tokio::select! {
                () = stopping.cancelled() => break,
                () = self.renew.notified() => {}
                _ = self.owned.changed() => {}
                Ok(()) = self.gateways.changed() => {}
                () = sleep_until(cut_off_at.map_or(due, |at| at.min(due))) => {}
            }
        }
        let most = Duration::from_millis(self.config.leave_max_ms);
        if timeout(most, self.leave(&mut state)).await.is_err() {
            tracing::warn!("shards were not taken over in time; leaving all the same");
        }
        // Best effort: the lease would end by itself.
        let _ = self.ask(0, (true, false)).await;
    }

    /// Gives all shards to the others.
    async fn leave(&mut self, state: &mut Renewals) {
        state.leaving = true;
        let mut others = Vec::new();
        loop {
            if let Ok(nodes) = self.renew(state).await {
                others = nodes;
                others.retain(|node| node.node != self.me.node && !node.leaving);
            }
            let held: BTreeSet<u32> = others.iter().flat_map(|n| n.owned.clone()).collect();
            let all_held = held.len() as u32 == self.config.shard_count();
            if self.owned.borrow().is_empty() && (others.is_empty() || all_held) {
                return;
            }
            tokio::select! {
                _ = self.owned.changed() => {}
                () = sleep(Duration::from_millis(LEAVING_POLL_MS)) => {}
            }
        }
    }

    async fn ask(
        &self,
        ttl_ms: u32,
        (leaving, cut_off): (bool, bool),
    ) -> Result<Vec<LiveNode>, Status> {
        let request = LeaseRequest {
            node: self.me.node.clone(),
            incarnation: self.me.incarnation,
            address: self.me.address.clone(),
            ttl_ms,
            leaving,
            owned: self.owned.borrow().iter().copied().collect(),
            cut_off,
        };
        let mut client = store_link::client(self.history.current());
        let patience = Duration::from_millis(self.config.lease_renewal_ms);
        let answer = timeout(patience, client.lease(request)).await;
        let late = |_| {
            Err(Status::deadline_exceeded(
                "the lease was not renewed in time",
            ))
        };
        let answer = answer.unwrap_or_else(late);
        // Superseded is an answer; all else may be one process alone.
        if answer
            .as_ref()
            .is_err_and(|status| status.code() != Code::FailedPrecondition)
        {
            self.history.failed();
        }
        Ok(answer?.into_inner().nodes)
    }

    /// Renews, and tells the shards and the others what follows.
    async fn renew(&mut self, state: &mut Renewals) -> Result<Vec<LiveNode>, Status> {
        let asked = Instant::now();
        let owned = self.owned.borrow_and_update().clone();
        state.reach.see(*self.gateways.borrow_and_update(), asked);
        let cut_off = state.reach.is_cut_off(asked);
        let wishes = (state.leaving, cut_off);
        let answer = self.ask(self.config.lease_ms, wishes).await;
        state.version += 1;
        let shard_count = self.config.shard_count();
        let lease = Duration::from_millis(u64::from(self.config.lease_ms));
        let nodes = match answer {
            Ok(nodes) => nodes,
            Err(status) => {
                let superseded = status.code() == Code::FailedPrecondition;
                let ended = superseded || state.renewed.elapsed() >= lease;
                if ended && !self.placement.borrow().lost {
                    tracing::error!(%status, "no lease: this node serves nothing");
                    let nobody = Placement::nobody(state.version, shard_count, true);
                    self.placement.send_replace(Arc::new(nobody));
                }
                return Err(status);
            }
        };
        state.lapses += u64::from(asked.duration_since(state.renewed) >= lease);
        state.renewed = asked;
        self.peers.update(&nodes, &self.me.node);
        let (version, known) = (state.version, self.peers.nodes());
        let mut place = Placement::of(version, shard_count, &nodes, &self.me.node, known);
        state.force(&mut place, lease);
        place.valid_until = Some(asked + lease);
        place.lapses = state.lapses;
        self.placement.send_replace(Arc::new(place));
        let told = Some((owned, state.leaving, cut_off));
        if state.told != told {
            if cut_off {
                tracing::warn!("no gateway reaches this node: others get its shards");
            }
            state.told = told;
            self.peers.hint();
        }
        tracing::trace!(nodes = placement::staying(&nodes).len(), "lease renewed");
        Ok(nodes)
    }
}

impl Renewals {
    /// Who holds a shard longer than a lease is not asked any more.
    fn force(&mut self, place: &mut Placement, lease: Duration) {
        self.waiting.retain(|shard, _| place.waits.contains(shard));
        for shard in &place.waits {
            self.waiting.entry(*shard).or_insert_with(Instant::now);
        }
        let waiting = &self.waiting;
        let long = |shard: &u32| {
            waiting
                .get(shard)
                .is_some_and(|since| since.elapsed() >= lease)
        };
        place.waits.retain(|shard| !long(shard));
    }
}
