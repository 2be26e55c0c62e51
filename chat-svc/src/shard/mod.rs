//! A shard: the unit of ownership, of ordering, of batching and of fencing (DESIGN 4 and 5).
//!
//! One task owns the conversations and mailboxes whose ids hash to it. It takes what waits in its
//! queues as one batch, makes one commit of it, and forms the next while the store works. The
//! decisions are in `conversation` and `mailbox`; here is only what moves between them, the store,
//! gateways and other shards.
//!
//! Invariant: nothing is told to anybody before the batch that says it is committed under an epoch
//! verified after that; a shard that cannot know writes it again under its very next epoch, or
//! drops its state and takes itself again.

#[cfg(test)]
mod bare;
pub mod batch;
mod commands;
mod conversations;
pub mod edges;
mod effects;
mod erasures;
mod fan_out;
mod held;
mod hide;
mod holes;
pub mod input;
mod load;
mod lookups;
mod mailbox_commands;
mod mailbox_user;
mod mailboxes;
mod marks;
mod measure;
mod moving;
pub mod open;
mod origins;
mod outbound;
mod ownership;
mod previews;
mod push_commands;
mod push_outcomes;
mod pushes;
mod reads;
mod recover;
mod registrations;
mod room;
mod sending;
mod stuck;
mod take;
mod timers;

use crate::{
    config::ChatConfig,
    nodes::{Announcements, Placement},
    store_link::{self, StoreOutboxes},
};
use batch::Batch;
use conversations::ConversationSlot;
use erasures::Erasures;
use heddle_kit::{
    AnyOf, FastMap, SharedClock, Tasks,
    link::{Outbox, outbox::TrySendError},
};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{CommitOutcome, CommitStatus, PeerMark, PushIntent},
    v1::ErrorReason,
};
use held::Held;
use input::{PeerInput, ShardInputs, StoreInput};
use mailboxes::{MailboxSlot, SessionsOf};
use measure::Measures;
use moving::Moving;
use origins::Origins;
use outbound::{Outbound, UNACKNOWLEDGED_MAX};
use ownership::{Ownership, Phase};
use previews::Previews;
use pushes::Intent;
use reads::Reads;
use recover::Recovering;
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use stuck::Aside;
use timers::Timers;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How often a shard looks at what is due, in milliseconds.
const TICK_MS: u64 = 50;
/// Messages to other shards that may wait here; beyond it no more commands are taken.
const UNSENT_MAX: usize = 4096;
/// How long writes are refused at once after the store refused one, in milliseconds.
const READ_ONLY_MS: u64 = 1_000;

/// What a shard needs around it.
pub struct Surroundings {
    /// Settings.
    pub config: Arc<ChatConfig>,
    /// The time.
    pub clock: SharedClock,
    /// Tasks of the service.
    pub tasks: Tasks,
    /// history-svc, as the link to it uses it.
    pub history: AnyOf,
    /// Queues of all shards of this node, by number.
    pub peers: Vec<mpsc::Sender<PeerInput>>,
    /// This shard's own store queue, for what it waits for elsewhere.
    pub own: mpsc::Sender<StoreInput>,
    /// Where shards are.
    pub placement: watch::Receiver<Arc<Placement>>,
    /// Asks for a newer placement.
    pub renew: Arc<Notify>,
    /// Tells gateways what is owned here.
    pub announcements: Arc<Announcements>,
    /// The service ends: what was to be handed over has been.
    pub ending: CancellationToken,
}

/// The owner of some conversations and mailboxes.
pub struct Shard {
    index: u32,
    around: Surroundings,
    phase: Phase,
    place: Arc<Placement>,
    ownership: Option<Ownership>,
    raised_at: usize,
    life: u64,
    store: Option<StoreOutboxes>,
    moving: Option<Moving>,
    notify: Option<Outbox<PushIntent>>,
    conversations: FastMap<LogId, ConversationSlot>,
    mailboxes: FastMap<Arc<str>, MailboxSlot>,
    sessions: FastMap<Arc<str>, SessionsOf>,
    batch: Batch,
    in_flight: Option<Batch>,
    reads: Reads,
    next_id: u64,
    unsent: VecDeque<(u32, PeerInput)>,
    late: Vec<(u32, PeerMark)>,
    outbound: Outbound,
    origins: Origins,
    erasures: Erasures,
    held: Held,
    aside: Aside,
    arrivals: u64,
    held_marks: FastMap<(LogId, String), u64>,
    intents: FastMap<u64, Intent>,
    previews: Previews,
    cursors_dirty: HashSet<(Arc<str>, String)>,
    recovering: Recovering,
    room: room::Room,
    timers: Timers,
    measures: Measures,
    read_only_until_ms: u64,
    turn_ms: u64,
}

impl Shard {
    /// Shard number `index`; it is taken over once it is placed here.
    pub fn new(index: u32, around: Surroundings) -> Self {
        let reads = Reads::new(around.config.reads_per_shard());
        let turn_ms = around.clock.now_ms();
        let place = Arc::new(Placement::nobody(0, around.peers.len() as u32, false));
        Self {
            index,
            around,
            phase: Phase::Away,
            place,
            ownership: None,
            raised_at: 0,
            life: 0,
            store: None,
            moving: None,
            notify: None,
            conversations: FastMap::default(),
            mailboxes: FastMap::default(),
            sessions: FastMap::default(),
            batch: Batch::default(),
            in_flight: None,
            reads,
            next_id: store_link::first_id(index),
            unsent: VecDeque::new(),
            late: Vec::new(),
            outbound: Outbound::default(),
            origins: Origins::default(),
            erasures: Erasures::default(),
            held: Held::default(),
            aside: Aside::default(),
            arrivals: 0,
            held_marks: FastMap::default(),
            intents: FastMap::default(),
            previews: Previews::default(),
            cursors_dirty: HashSet::new(),
            recovering: Recovering::default(),
            room: room::Room::default(),
            timers: Timers::default(),
            measures: Measures::new(),
            read_only_until_ms: 0,
            turn_ms,
        }
    }

    /// Runs until the service stops and what was accepted is committed.
    pub async fn run(mut self, mut inputs: ShardInputs) {
        self.follow();
        let mut placement = self.around.placement.clone();
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let ending = self.around.ending.clone();
        loop {
            tokio::select! {
                biased;
                Some(input) = inputs.store.recv() => {
                    self.mind_lease();
                    self.on_store(input);
                    while let Ok(input) = inputs.store.try_recv() {
                        self.on_store(input);
                    }
                }
                Some(input) = inputs.peer.recv(), if !self.batch.is_full() => {
                    self.mind_lease();
                    self.on_peer(input);
                }
                Some(input) = inputs.edge.recv(), if self.takes_commands() => {
                    self.mind_lease();
                    self.on_edge(input);
                }
                _ = tick.tick(), if self.needs_ticks() => {
                    self.mind_lease();
                    self.on_tick();
                }
                Ok(()) = placement.changed() => self.follow(),
                () = ending.cancelled() => break,
            }
            self.take_what_waits(&mut inputs);
            self.flush();
            self.release_if_done();
        }
        self.drain(&mut inputs).await;
    }

    /// Takes in what else has come, so that one commit serves it all.
    fn take_what_waits(&mut self, inputs: &mut ShardInputs) {
        self.use_room();
        while !self.batch.is_full() {
            let Ok(input) = inputs.peer.try_recv() else {
                break;
            };
            self.on_peer(input);
        }
        while self.takes_commands() {
            let Ok(input) = inputs.edge.try_recv() else {
                break;
            };
            self.on_edge(input);
        }
    }

    fn takes_commands(&self) -> bool {
        let unsent = self.unsent.len() < UNSENT_MAX;
        let room = !self.batch.is_full() && self.room.is_empty();
        room && unsent && self.outbound.len() < UNACKNOWLEDGED_MAX
    }

    /// Finishes what was accepted; the drain's bounded grace ends it at worst.
    async fn drain(&mut self, inputs: &mut ShardInputs) {
        self.store_cursors();
        self.flush();
        while self.in_flight.is_some() || !self.batch.is_empty() || !self.room.is_empty() {
            let Some(input) = inputs.store.recv().await else {
                return;
            };
            self.on_store(input);
            if self.is_unconfirmed() {
                // No epoch is raised any more under which it could be told.
                self.roll_back(owner_changing());
            }
            while let Ok(input) = inputs.peer.try_recv() {
                self.on_peer(input);
            }
            self.use_room();
            self.flush();
        }
    }

    fn on_store(&mut self, input: StoreInput) {
        self.turn_ms = self.around.clock.now_ms();
        match input {
            StoreInput::Connected(outboxes) => self.connected(outboxes),
            StoreInput::Lost(life) => self.lost(life),
            StoreInput::Moved { epoch, life } => self.moved(epoch, life),
            StoreInput::Taken(taken, attempt) => self.taken(taken, &attempt),
            StoreInput::Committed(outcome) => self.committed(outcome),
            StoreInput::Read(outcome) => self.on_read(*outcome),
            StoreInput::Notify(outbox) => self.notify_link(outbox),
            StoreInput::Push(outcome) => self.push_settled(outcome),
        }
    }

    fn committed(&mut self, outcome: CommitOutcome) {
        if self
            .in_flight
            .as_ref()
            .is_none_or(|batch| batch.id != outcome.id)
        {
            return;
        }
        match outcome.status() {
            status if status != CommitStatus::Committed && self.has_moved() => self.unconfirmed(),
            CommitStatus::Committed => {
                if let Some(batch) = self.in_flight.take() {
                    self.carry_out(batch);
                }
            }
            CommitStatus::Refused => {
                if self.now_ms() >= self.read_only_until_ms {
                    let (shard, reason) = (self.index, &outcome.message);
                    tracing::error!(shard, reason, "commits are refused: read-only");
                }
                self.read_only_until_ms = self.now_ms() + READ_ONLY_MS;
                self.roll_back(read_only(&outcome.message));
            }
            status => {
                if !self.place.yields(self.index) {
                    let (shard, reason) = (self.index, &outcome.message);
                    let text = "commit not confirmed: the shard is given up";
                    tracing::error!(shard, ?status, reason, "{text}");
                }
                self.roll_back(owner_changing());
                self.give_up();
            }
        }
    }

    /// Sends the batch, unless one is under way.
    fn flush(&mut self) {
        self.send_unsent();
        let (Some(store), Some(owner)) = (&self.store, self.ownership) else {
            return;
        };
        if self.in_flight.is_some() || self.batch.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.next_id += 1;
        self.measures.leaves(&mut batch);
        let commit = batch.commit((self.next_id, self.index, store.life), &owner);
        let sent = store.commits.try_send(commit);
        self.in_flight = Some(batch);
        // The end of closed streams is about to be told, and the commit goes on others then.
        if let Err(TrySendError::Full(_)) = sent {
            self.roll_back(owner_changing());
        }
    }

    /// The time as this turn of the loop began; asking the clock for each event would cost more
    /// than deciding.
    fn now_ms(&self) -> u64 {
        self.turn_ms
    }

    fn nonce(&self) -> u64 {
        self.ownership.map_or(0, |own| own.nonce)
    }
}

/// The fault while a shard has no owner, or has just lost it.
fn owner_changing() -> Fault {
    let text = "the owner of this conversation or mailbox is changing; retry the same id";
    Fault::new(ErrorReason::OwnerChanging, text).retry_after(100)
}

fn read_only(reason: &str) -> Fault {
    let text = format!("the store does not write now ({reason}); retry the same id later");
    Fault::new(ErrorReason::StoreReadOnly, text).retry_after(READ_ONLY_MS)
}

fn overloaded() -> Fault {
    let text = "too much waits for this conversation or mailbox; retry the same id";
    Fault::new(ErrorReason::Overloaded, text).retry_after(100)
}
