//! Keeper: renews this node's lease, and tells the shards what they should do.
//!
//! At a drain it says that the node leaves, waits until its shards are released and taken by
//! others, and only then lets the service end. What changes here is told to peers at once, so that
//! nobody waits for a renewal. What is given away is told so first and served on meanwhile: the
//! next owner's epoch says when that is over (`yields`).
//!
//! Invariant: a node that could not renew for a whole lease serves nothing.

use super::{
    Placement, Target, peers::Peers, placement, reach::Reach, turns::Turns, yields::Yields,
};
use crate::{config::ChatConfig, store_link};
use heddle_kit::AnyOf;
use heddle_proto::internal::{LeaseRequest, LiveNode};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, watch},
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
    /// What other nodes say of themselves before their leases do.
    pub heard: mpsc::Receiver<LiveNode>,
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
    /// In whose turn shards are given away, once the node leaves.
    leaving: Option<Turns>,
    reach: Reach,
    /// What the others were told last: the shards held, leaving, cut off.
    told: Option<(BTreeSet<u32>, bool, bool)>,
    /// Who has a lease, and what was heard of it since.
    nodes: Vec<LiveNode>,
    /// What was heard, by node, and when.
    said: HashMap<String, (LiveNode, Instant)>,
    /// Renewals that failed, one after the other.
    failed: usize,
    /// Shards that belong here and that another still holds, and since when.
    waiting: HashMap<u32, Instant>,
    /// Shards given away that are served until others have them.
    yields: Yields,
}

impl Keeper {
    /// Renews until `stopping`, hands over, and cancels `ending`.
    pub async fn run(mut self, stopping: CancellationToken, ending: CancellationToken) {
        let _ending = ending.drop_guard();
        let mut state = Renewals {
            renewed: Instant::now(),
            lapses: 0,
            version: 1,
            leaving: None,
            reach: Reach::default(),
            told: None,
            nodes: Vec::new(),
            said: HashMap::new(),
            failed: 0,
            waiting: HashMap::new(),
            yields: Yields::default(),
        };
        let interval = Duration::from_millis(self.config.lease_renewal_ms);
        loop {
            let pause = match self.renew(&mut state).await {
                Ok(_) => interval,
                // Another history-svc may know.
                Err(_) if state.failed < self.history.count() => Duration::ZERO,
                Err(_) => interval.min(Duration::from_millis(RETRY_MS)),
            };
            if !self.idle(&mut state, pause, &stopping).await {
                break;
            }
        }
        let most = Duration::from_millis(self.config.leave_max_ms);
        if timeout(most, self.leave(&mut state)).await.is_err() {
            tracing::warn!("shards were not taken over in time; leaving all the same");
        }
        // Best effort: the lease would end by itself.
        let _ = self.ask(0, (true, false)).await;
    }

    /// Waits for a reason to renew, `pause` at most; false: the node is to leave. What others say
    /// is none: it is looked at by itself, since a renewal takes longer than that may wait.
    async fn idle(
        &mut self,
        state: &mut Renewals,
        pause: Duration,
        stopping: &CancellationToken,
    ) -> bool {
        let due = Instant::now() + pause;
        loop {
            let now = Instant::now();
            let cut_off_at = state.reach.cut_off_at().filter(|at| *at > now);
            let earlier = [cut_off_at, state.yields.next_end(now)];
            let due = earlier.into_iter().flatten().fold(due, Instant::min);
            tokio::select! {
                biased;
                () = stopping.cancelled() => return false,
                Some(standing) = self.heard.recv() => self.hear(state, standing),
                () = self.renew.notified() => return true,
                _ = self.owned.changed() => return true,
                Ok(()) = self.gateways.changed() => return true,
                () = sleep_until(due) => return true,
            }
        }
    }

    /// Gives all shards to the others.
    async fn leave(&mut self, state: &mut Renewals) {
        let now = Instant::now();
        let half = Duration::from_millis(self.config.leave_max_ms / 2);
        state.leaving = Some(Turns::new(now, now + half));
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
            shard_count: self.config.shard_count(),
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
        let leaving = state.leaving.is_some();
        let wishes = (leaving, cut_off);
        let answer = self.ask(self.config.lease_ms, wishes).await;
        let lease = self.lease();
        let nodes = match answer {
            Ok(nodes) => nodes,
            Err(status) => {
                state.failed += 1;
                let superseded = status.code() == Code::FailedPrecondition;
                let ended = superseded || state.renewed.elapsed() >= lease;
                if ended && !self.placement.borrow().lost {
                    tracing::error!(%status, "no lease: this node serves nothing");
                    state.version += 1;
                    let shard_count = self.config.shard_count();
                    let nobody = Placement::nobody(state.version, shard_count, true);
                    self.placement.send_replace(Arc::new(nobody));
                }
                return Err(status);
            }
        };
        state.failed = 0;
        state.lapses += u64::from(asked.duration_since(state.renewed) >= lease);
        state.renewed = asked;
        state.nodes.clone_from(&nodes);
        state.apply_said(Duration::from_millis(self.config.lease_renewal_ms));
        self.place(state);
        let told = Some((owned, leaving, cut_off));
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

    /// The shards follow what is known of all nodes.
    fn place(&mut self, state: &mut Renewals) {
        self.peers.update(&state.nodes, &self.me.node);
        state.version += 1;
        let (shard_count, known) = (self.config.shard_count(), self.peers.nodes());
        let me = &self.me.node;
        let mut place = Placement::of(state.version, shard_count, &state.nodes, me, known);
        let owned = self.owned.borrow().clone();
        if let Some(turns) = &mut state.leaving {
            for shard in turns.kept(&state.nodes, &owned, shard_count, Instant::now()) {
                place.targets[shard as usize] = Target::Here;
            }
        }
        let lease = self.lease();
        state.force(&mut place, lease);
        place.valid_until = Some(state.renewed + lease);
        place.lapses = state.lapses;
        state.yield_to_others(&mut place, &owned, me);
        let stays = owned.iter().copied();
        let stays = stays.filter(|shard| place.is_here(*shard) && !place.yields(*shard));
        let standing = LiveNode {
            node: self.me.node.clone(),
            incarnation: self.me.incarnation,
            leaving: state.leaving.is_some(),
            owned: stays.collect(),
            ..Default::default()
        };
        self.placement.send_replace(Arc::new(place));
        let gives = standing.owned.len() < owned.len();
        self.peers.say(gives.then_some(standing));
    }

    /// Another node holds less than its lease says.
    fn hear(&mut self, state: &mut Renewals, standing: LiveNode) {
        let said = (standing.clone(), Instant::now());
        state.said.insert(standing.node, said);
        state.apply_said(Duration::from_millis(self.config.lease_renewal_ms));
        if state.renewed.elapsed() < self.lease() && !self.placement.borrow().lost {
            self.place(state);
        }
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(u64::from(self.config.lease_ms))
    }
}

impl Renewals {
    /// What a node gave away it does not hold, though a lease that is as old says so.
    fn apply_said(&mut self, within: Duration) {
        self.said.retain(|_, (_, when)| when.elapsed() < within);
        for known in &mut self.nodes {
            let said = self.said.get(&known.node);
            let said = said.filter(|(said, _)| said.incarnation == known.incarnation);
            if let Some((said, _)) = said {
                known.owned.retain(|shard| said.owned.contains(shard));
                known.leaving |= said.leaving;
            }
        }
    }

    /// What goes to another node is served here until that has it, and before its turn.
    fn yield_to_others(&mut self, place: &mut Placement, owned: &BTreeSet<u32>, me: &str) {
        let now = Instant::now();
        let goes = |shard: &u32| matches!(place.targets[*shard as usize], Target::There(_));
        let going = owned.iter().copied().filter(goes).collect();
        let others = self.nodes.iter().filter(|node| node.node != me);
        let taken = others.flat_map(|node| node.owned.iter().copied()).collect();
        let is_over = self
            .leaving
            .as_ref()
            .is_some_and(|turns| turns.are_over(now));
        let at_once = is_over || self.reach.is_cut_off(now);
        let served = self.yields.serve(&going, &taken, at_once, now);
        for shard in served.yielded.iter().chain(&served.kept) {
            place.targets[*shard as usize] = Target::Here;
        }
        place.yields = served.yielded;
    }

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
