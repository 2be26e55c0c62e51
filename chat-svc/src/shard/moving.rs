//! Moving: a shard's commits go on through another history-svc, with all that the shard knows.
//!
//! An epoch lives in the history-svc that raised it (docs/adr/0011). When streams to another one
//! are there, the epoch is raised there, while commits still go on here. What was under way then
//! and is not confirmed is written again, as it was, under the new epoch: nobody hears of it.
//!
//! Invariant: what a shard knows counts on only if its new epoch is the very next one, since then
//! nobody can have owned it in between; otherwise it is dropped and read again.

use super::{
    Shard,
    batch::{Batch, Sent},
    input::StoreInput,
    owner_changing,
};
use crate::store_link::StoreOutboxes;
use heddle_kit::link::outbox::TrySendError;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where commits go as soon as the epoch is raised there; dropped, that ends.
pub(super) struct Moving {
    to: StoreOutboxes,
    _raising: DropGuard,
}

impl Shard {
    /// Streams to history-svc are there. Unless they are the first, what is owned moves to them,
    /// though they may lead to the same one: it may have been started again, or not have heard of
    /// what is under way.
    pub(super) fn connected(&mut self, outboxes: StoreOutboxes) {
        let before = std::mem::replace(&mut self.life, outboxes.life);
        let moves = before > 0 || outboxes.history != self.raised_at;
        if moves && self.place.yields(self.index) {
            // Its next owner is about to raise the epoch, or has: not against that.
            self.roll_back(owner_changing());
            self.give_up();
        }
        if self.ownership.is_some() && moves {
            return self.move_to(outboxes);
        }
        self.store = Some(outboxes);
        self.resend_reads();
    }

    /// The shard was taken at one history-svc, and the streams lead to another one meanwhile.
    pub(super) fn move_if_elsewhere(&mut self) {
        let elsewhere = |store: &mut StoreOutboxes| store.history != self.raised_at;
        if let Some(outboxes) = self.store.take_if(elsewhere) {
            self.move_to(outboxes);
        }
    }

    fn move_to(&mut self, to: StoreOutboxes) {
        let attempt = CancellationToken::new();
        let (history, life, nonce) = (to.history, to.life, self.nonce());
        self.raise("move-shard", attempt.clone(), |raising| async move {
            let epoch = raising.raise_at(history, nonce).await;
            StoreInput::Moved { epoch, life }
        });
        self.moving = Some(Moving {
            to,
            _raising: attempt.drop_guard(),
        });
    }

    /// Nothing is known any more that could move: commits go where the streams lead.
    pub(super) fn stop_moving(&mut self) {
        if let Some(moving) = self.moving.take() {
            self.store = Some(moving.to);
        }
    }

    /// The epoch was raised where streams number `life` lead.
    pub(super) fn moved(&mut self, epoch: u64, life: u64) {
        let Some(moving) = self.moving.take_if(|moving| moving.to.life == life) else {
            return;
        };
        self.raised_at = moving.to.history;
        self.store = Some(moving.to);
        let shard = self.index;
        match &mut self.ownership {
            Some(owner) if owner.epoch + 1 == epoch => {
                owner.epoch = epoch;
                tracing::info!(shard, epoch, "moved");
                self.read_again_under(epoch);
                self.repeat_unconfirmed();
            }
            Some(_) => {
                tracing::warn!(shard, epoch, "was another's in between: taken again");
                self.roll_back(owner_changing());
                self.give_up();
            }
            None => {}
        }
    }

    /// Streams number `life` ended.
    pub(super) fn lost(&mut self, life: u64) {
        self.moving.take_if(|moving| moving.to.life == life);
        self.store.take_if(|store| store.life == life);
        if self.sent().is_some_and(|sent| sent.life == life) {
            self.unconfirmed();
        }
    }

    /// Whether the commit under way went out under an epoch that this node has raised since, or
    /// is raising.
    pub(super) fn has_moved(&self) -> bool {
        let epoch = self.ownership.map(|owner| owner.epoch);
        let is_older = |sent: &Sent| Some(sent.commit.epoch) != epoch;
        self.moving.is_some() || self.sent().is_some_and(is_older)
    }

    /// What is under way.
    fn sent(&self) -> Option<&Sent> {
        self.in_flight.as_ref()?.sent.as_ref()
    }

    /// The commit under way is no promise, and will be none.
    pub(super) fn unconfirmed(&mut self) {
        if let Some(Batch {
            sent: Some(sent), ..
        }) = &mut self.in_flight
        {
            sent.unconfirmed = true;
        }
        self.repeat_unconfirmed();
    }

    /// Whether what is under way is no promise, and goes out again once that makes sense.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.sent().is_some_and(|sent| sent.unconfirmed)
    }

    /// Writes the same again, once there is an epoch under which that can be told. Its rows may be
    /// stored or not: under the new epoch they are the log's end, or a repetition of it.
    fn repeat_unconfirmed(&mut self) {
        if self.moving.is_some() || !self.is_unconfirmed() || !self.has_moved() {
            return;
        }
        let (Some(store), Some(owner)) = (&self.store, self.ownership) else {
            return;
        };
        let Some(batch) = &mut self.in_flight else {
            return;
        };
        let Some(sent) = &mut batch.sent else { return };
        self.next_id += 1;
        batch.id = self.next_id;
        (sent.commit.id, sent.commit.epoch) = (self.next_id, owner.epoch);
        (sent.life, sent.unconfirmed) = (store.life, false);
        match store.commits.try_send(sent.commit.clone()) {
            // The end of closed streams is about to be told.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.roll_back(owner_changing());
                self.give_up();
            }
        }
    }
}

#[cfg(test)]
#[path = "moving_tests.rs"]
mod tests;
