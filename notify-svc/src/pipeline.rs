//! Pipeline: from intents to settled outcomes.
//!
//! `service` submits, lanes send, the ledger knows. What cannot be taken in is answered "send
//! again later" at once, so that no reader ever waits here.
//!
//! Invariant: on a living stream each intent has one outcome. A stream that does not take its
//! outcomes is closed, whereupon its shard sends again what it has not heard of.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use heddle_kit::link::{Outbox, TrySendError};
use heddle_proto::internal::{IntentOutcome, PushIntent};
use heddle_proto::v1::PushResult;

use crate::lane::{Entrance, Places};
use crate::ledger::{Admission, End, Ledger, Outcome, detail};
use crate::provider::Kind;
use crate::push::Push;

const NO_ROOM: &str = "too many pushes wait; send it again later";
const REPEATED: &str = "repeated too often while it is being sent; wait for the newest repetition";
const STOPPING: &str = "this process is stopping; send it again to another";

/// Whom to tell of an intent: a stream, and the intent's id on it.
pub struct Waiter {
    pub id: u64,
    pub outbox: Outbox<IntentOutcome>,
}

impl Waiter {
    fn settled(self, results: Vec<PushResult>) {
        self.tell(true, detail(&results), results);
    }

    /// No result is told of: the intent comes again, and so do they.
    fn again(self, why: &str) {
        self.tell(false, why.to_owned(), Vec::new());
    }

    fn tell(self, settled: bool, detail: String, results: Vec<PushResult>) {
        let outcome = IntentOutcome {
            id: self.id,
            settled,
            detail,
            results,
        };
        if let Err(TrySendError::Full(_)) = self.outbox.try_send(outcome) {
            tracing::warn!("a shard does not read its outcomes; its stream ends");
            self.outbox.close();
        }
    }
}

pub struct Pipeline {
    lanes: HashMap<Kind, Entrance>,
    ledger: Mutex<Ledger<Waiter>>,
}

impl Pipeline {
    /// A lane for each kind.
    pub fn new(lanes: HashMap<Kind, Entrance>, settled_max: usize) -> Self {
        Self {
            lanes,
            ledger: Mutex::new(Ledger::new(settled_max)),
        }
    }

    /// Takes an intent in; its outcome goes to `outbox`. Never waits.
    pub fn submit(&self, intent: PushIntent, outbox: &Outbox<IntentOutcome>) {
        let waiter = Waiter {
            id: intent.id,
            outbox: outbox.clone(),
        };
        let pushes = match Push::all_of(intent) {
            Ok(pushes) => pushes,
            Err(invalid) => {
                // Sent again it would be no better, and hold up the mailbox for ever.
                tracing::error!(%invalid, "a push intent is refused");
                return waiter.tell(true, invalid.to_string(), Vec::new());
            }
        };
        let Some(push_id) = pushes.first().map(|push| push.push_id.clone()) else {
            return waiter.tell(true, "no devices".into(), Vec::new());
        };
        let count = u32::try_from(pushes.len()).unwrap_or(u32::MAX);
        let places = self.reserve(&pushes);
        let admission = self
            .ledger()
            .admit(&push_id, count, waiter, places.is_some());
        match (admission, places) {
            (Admission::Send, Some(places)) => self.send(pushes, places),
            (Admission::Send, None) => {}
            (Admission::Joined { displaced }, _) => {
                displaced
                    .into_iter()
                    .for_each(|older| older.again(REPEATED));
            }
            (Admission::Settled { waiter, results }, _) => waiter.settled(results),
            (Admission::NoRoom { waiter }, _) => waiter.again(NO_ROOM),
        }
    }

    /// Room in every lane that these need, or none in any.
    fn reserve(&self, pushes: &[Push]) -> Option<HashMap<Kind, Places>> {
        let mut counts = HashMap::<Kind, u32>::new();
        for push in pushes {
            *counts.entry(Kind::of(push)).or_default() += 1;
        }
        let reserved = counts.into_iter().map(|(kind, count)| {
            let lane = self.lanes.get(&kind)?;
            Some((kind, lane.reserve(count)?))
        });
        reserved.collect()
    }

    fn send(&self, pushes: Vec<Push>, mut places: HashMap<Kind, Places>) {
        for push in pushes {
            let kind = Kind::of(&push);
            let put = match (self.lanes.get(&kind), places.get_mut(&kind)) {
                (Some(lane), Some(places)) => lane.put(push, places),
                _ => Err(Box::new(push)),
            };
            if let Err(push) = put {
                let reason = STOPPING.into();
                self.done(&push, Outcome::Lost { reason });
            }
        }
    }

    /// A lane has finished with a push.
    pub fn done(&self, push: &Push, outcome: Outcome) {
        let end = self.ledger().done(&push.push_id, outcome);
        let Some(End { waiters, settled }) = end else {
            return;
        };
        for waiter in waiters {
            match &settled {
                Ok(results) => waiter.settled(results.clone()),
                Err(reason) => waiter.again(reason),
            }
        }
    }

    /// Whether anybody waits to hear of it. A shard whose stream is gone sends its intents again,
    /// through another process perhaps, and what is tried here then would come after what is newer
    /// there.
    pub fn is_awaited(&self, push: &Push) -> bool {
        let ledger = self.ledger();
        let mut waiters = ledger.waiters(&push.push_id).iter();
        waiters.any(|waiter| !waiter.outbox.is_closed())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger<Waiter>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
