//! Ownership: taking a shard, serving it, giving it to another node, losing it.
//!
//! `nodes` says where shards belong; the epoch says whose they are. `take` raises it.
//!
//! Invariant: a shard that is not its own answers OWNER_CHANGING and keeps nothing of what it knew;
//! one that hands over serves on until it is fenced, or finishes what it has accepted.

use super::{
    Shard, conversations::ConversationSlot, input::StoreInput, input::Taken, owner_changing, take,
    timers::Timers,
};
use tokio_util::sync::CancellationToken;

/// Under what a shard writes.
#[derive(Clone, Copy)]
pub(super) struct Ownership {
    /// Its epoch.
    pub epoch: u64,
    /// The nonce of what it knows.
    pub nonce: u64,
    /// The epoch under which it was taken, all that it knows since. Other shards know it by that.
    pub since: u64,
}

/// What a shard is doing about being owned.
#[derive(Default)]
pub(super) enum Phase {
    /// It belongs elsewhere.
    #[default]
    Away,
    /// It belongs here, and is taken once the placement is newer than this version.
    Wanted(u64),
    /// Its epoch is being raised; dropped, that ends.
    Taking(CancellationToken),
    /// It is served.
    Serving,
    /// What was accepted is being finished; then it goes elsewhere.
    Releasing,
}

impl Shard {
    /// Whether commands and fan-outs are for this node.
    pub(super) fn belongs_here(&self) -> bool {
        !matches!(self.phase, Phase::Away | Phase::Releasing)
    }

    /// Whether commands are served now.
    pub(super) fn serves(&self) -> bool {
        self.ownership.is_some() && matches!(self.phase, Phase::Serving)
    }

    /// Follows the newest placement.
    pub(super) fn follow(&mut self) {
        self.mind_lease();
        let place = self.around.placement.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.place, place);
        self.turn_ms = self.around.clock.now_ms();
        for (shard, now) in (0..).zip(&self.place.targets) {
            let was = before.targets.get(shard as usize);
            if !was.is_some_and(|was| was.is(now)) {
                self.outbound.moved(shard, self.turn_ms);
            }
        }
        if self.place.yields(self.index) {
            // Served on, but not taken any more. What is only here is stored before it is fenced.
            if !self.serves() {
                self.release();
            } else if !before.yields(self.index) {
                self.store_pending_marks();
                self.store_cursors();
            }
        } else if self.place.is_here(self.index) {
            if let Phase::Away = self.phase {
                self.phase = Phase::Wanted(0);
            }
            self.take_if_due();
        } else if self.place.lost {
            self.roll_back(owner_changing());
            self.released();
        } else {
            self.release();
        }
    }

    /// A process that was halted for longer than its lease wakes up as a former owner and does not
    /// know it yet: before anything else it forgets what it has, pieces of fan-outs that it holds
    /// for mailboxes among it. Those were sent again to the owner in between, and marks among them
    /// would go back. Commits are fenced by the epoch; what goes from shard to shard is not.
    pub(super) fn mind_lease(&mut self) {
        if self.place.alone {
            return;
        }
        let newest = self.around.placement.borrow();
        let lapsed = newest.has_lapsed() || newest.lapses != self.place.lapses;
        drop(newest);
        if lapsed && !matches!(self.phase, Phase::Away) {
            tracing::warn!(
                shard = self.index,
                "the lease has ended unnoticed: given up"
            );
            self.roll_back(owner_changing());
            self.released();
            self.around.renew.notify_one();
        }
    }

    fn take_if_due(&mut self) {
        if let Phase::Wanted(seen) = self.phase
            && (self.place.alone || self.place.version > seen)
            && self.place.may_take(self.index)
        {
            self.take();
        }
    }

    fn take(&mut self) {
        let cancelled = CancellationToken::new();
        self.phase = Phase::Taking(cancelled.clone());
        self.raise("take-shard", cancelled.clone(), |taking| async move {
            StoreInput::Taken(taking.run().await, cancelled)
        });
    }

    /// Has the epoch raised beside the shard, which hears of it in its own queue; that ends when it
    /// is cancelled or the service ends.
    pub(super) fn raise<F>(
        &self,
        task: &'static str,
        cancelled: CancellationToken,
        raising: impl FnOnce(take::Taking) -> F,
    ) where
        F: Future<Output = StoreInput> + Send + 'static,
    {
        let raised = raising(take::Taking {
            index: self.index,
            config: self.around.config.clone(),
            history: self.around.history.clone(),
        });
        let (own, ending) = (self.around.own.clone(), self.around.ending.clone());
        self.around.tasks.spawn(task, async move {
            tokio::select! {
                () = ending.cancelled() => {}
                () = cancelled.cancelled() => {}
                input = raised => drop(own.send(input).await),
            }
        });
    }

    pub(super) fn taken(&mut self, taken: Taken, attempt: &CancellationToken) {
        if attempt.is_cancelled() || !matches!(self.phase, Phase::Taking(_)) {
            return;
        }
        let (shard, epoch, notes) = (self.index, taken.epoch, taken.notes.len());
        tracing::info!(shard, epoch, notes, "taken");
        self.phase = Phase::Serving;
        self.ownership = Some(Ownership {
            epoch: taken.epoch,
            nonce: taken.nonce,
            since: taken.epoch,
        });
        self.raised_at = taken.history;
        self.move_if_elsewhere();
        for (window, partition, log) in taken.found {
            let notes = self.timers.notes.entry(window).or_default();
            notes.push((partition, log));
        }
        self.recover(taken.notes);
        self.around.announcements.set(self.index, true);
    }

    /// Drops all state and takes the shard again if it still belongs here; sessions stay attached.
    /// Commands that waited are refused, fan-outs are held: nobody is left without an answer.
    pub(super) fn give_up(&mut self) {
        if let Phase::Releasing = self.phase {
            return self.released();
        }
        if self.place.yields(self.index) {
            tracing::info!(shard = self.index, "the next owner has it");
            self.released();
            return self.around.renew.notify_one();
        }
        self.drop_state();
        self.phase = Phase::Wanted(self.place.version);
        if !self.place.alone {
            // Perhaps somebody else has it, rightly: that is what a renewal tells.
            self.around.renew.notify_one();
        }
        self.take_if_due();
    }

    /// It belongs elsewhere: what was accepted is finished, then it goes.
    fn release(&mut self) {
        match &self.phase {
            Phase::Away | Phase::Releasing => {}
            Phase::Wanted(_) | Phase::Taking(_) => self.released(),
            Phase::Serving => {
                self.phase = Phase::Releasing;
                self.refuse_reads();
                self.store_pending_marks();
                self.store_cursors();
            }
        }
    }

    /// Whether everything accepted is committed, so that the shard can go.
    pub(super) fn release_if_done(&mut self) {
        let done = self.in_flight.is_none() && self.batch.is_empty() && self.room.is_empty();
        if matches!(self.phase, Phase::Releasing) && done {
            tracing::info!(shard = self.index, "released");
            self.released();
        }
    }

    fn released(&mut self) {
        if let Phase::Taking(attempt) = std::mem::take(&mut self.phase) {
            attempt.cancel();
        }
        self.drop_state();
        self.batch = super::batch::Batch::default();
        self.sessions.clear();
        self.held = Default::default();
        self.forget_intents();
        self.cursors_dirty.clear();
        self.origins = Default::default();
        self.timers = Timers::default();
        self.around.announcements.set(self.index, false);
    }

    fn drop_state(&mut self) {
        self.ownership = None;
        self.stop_moving();
        self.refuse_reads();
        self.refuse_what_waits_for_room();
        self.drop_conversations(&owner_changing());
        self.mailboxes.clear();
        self.previews = Default::default();
        self.outbound = Default::default();
        self.unsent.retain(|(_, input)| input.outlives_owner());
        self.recovering = Default::default();
        self.aside = Default::default();
    }

    fn refuse_reads(&mut self) {
        let fault = owner_changing();
        for purpose in self.reads.take_all() {
            self.refuse_waiting(purpose, &fault);
        }
    }

    fn store_pending_marks(&mut self) {
        let mut pending = Vec::new();
        for (log, slot) in &self.conversations {
            if let ConversationSlot::Ready(live) = slot {
                let marks = live.marks.iter().filter(|(_, marks)| marks.is_pending());
                pending.extend(marks.map(|(user_id, _)| (*log, user_id.clone())));
            }
        }
        for (log, user_id) in pending {
            self.store_marks(log, &user_id);
        }
    }

    /// What an input is sent to.
    pub(super) fn target(&self, shard: u32) -> crate::nodes::Target {
        let target = self.place.targets.get(shard as usize);
        target.cloned().unwrap_or(crate::nodes::Target::Nowhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nodes::{Placement, Target},
        shard::{
            bare,
            batch::{Job, Told},
            input::Reply,
        },
    };
    use heddle_proto::internal::{FanOut, FanOutState};
    use std::sync::Arc;
    use tokio::{sync::watch, time::Instant};

    const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

    /// The shard is here under a lease that ends so.
    fn held(valid_until: Instant, lapses: u64) -> Arc<Placement> {
        let mut place = Placement::nobody(1, 1, false);
        place.targets = vec![Target::Here];
        (place.valid_until, place.lapses) = (Some(valid_until), lapses);
        Arc::new(place)
    }

    /// A shard that is served for a minute, and who says where it is.
    fn leased() -> (Shard, watch::Sender<Arc<Placement>>) {
        let mut shard = bare::shard();
        let (places, placement) = watch::channel(held(Instant::now() + MINUTE, 0));
        shard.around.placement = placement;
        bare::take(&mut shard);
        (shard, places)
    }

    /// As after SIGSTOP for longer than a lease, and SIGCONT.
    #[tokio::test]
    async fn who_slept_through_its_lease_forgets_what_it_had() {
        let (mut shard, places) = leased();
        let log = heddle_proto::ids::LogId::mailbox("ann");
        shard.batch.told.insert(log, Told::default());
        let state = FanOutState {
            user_id: "bob".into(),
            ..Default::default()
        };
        let fan_out = Arc::new(FanOut {
            states: vec![state],
            ..Default::default()
        });
        shard.held.push((Job::new(fan_out, Reply::Here, 1), 0));
        shard.mind_lease();
        assert!(shard.serves(), "the lease runs");
        places.send_replace(held(Instant::now(), 0));
        shard.mind_lease();
        assert!(!shard.serves());
        assert!(shard.ownership.is_none() && shard.batch.told.is_empty());
        assert!(
            !shard.held.blocks("bob"),
            "its sender sends it to the owner"
        );
        assert!(matches!(shard.phase, Phase::Away) && !shard.belongs_here());
    }

    /// The shard had no turn before the node had its lease again: what it had is no less over.
    #[tokio::test]
    async fn a_lease_that_was_renewed_too_late_counts_as_ended() {
        let (mut shard, places) = leased();
        places.send_replace(held(Instant::now() + MINUTE, 1));
        shard.follow();
        assert!(!shard.serves());
    }
}
