//! Canary: a message through this gateway's own path now and then, to see that it arrives.
//!
//! Sent as a device sends, from one user of Heddle's own to another (`pair`), and heard as a device
//! hears (`round`); `record` counts what came of it. `server` starts it; `docs/operations.md` says
//! what its alarm means.
//!
//! Its users are of a fixed number of pairs, so that gateways that come and go leave no more
//! behind. A pair's logs grow by one short message a round, since nothing in Heddle expires yet
//! (`docs/capacity.md`). To erase it would add an event, and to hide or acknowledge it a change of
//! state, each larger than the two words that it would blank, and none takes a row away: so what
//! was said stays, as small as can be. When conversations and mailboxes end by age, these do too.
//!
//! Invariant: it never decides whether the gateway is ready: an owner or a store that is away must
//! not take all gateways out. At most one round is under way.

mod pair;
mod record;
pub mod round;

use crate::edge::Edge;
use heddle_kit::Tasks;
use record::Record;
use round::Canary;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Sends now and then until `tasks` drains; never, if the settings say so.
pub fn start(edge: &Arc<Edge>, tasks: &Tasks) {
    let interval = Duration::from_millis(edge.options.canary_interval_ms);
    if interval.is_zero() {
        return;
    }
    let mut canary = Canary::new(edge.clone());
    let stopping = tasks.stopping().clone();
    tasks.spawn("canary", async move {
        let mut record = Record::new(Instant::now());
        // Gateways that start together do not all send at once.
        let first = Instant::now() + interval.mul_f64(rand::random());
        let mut turns = interval_at(first, interval);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let round = async {
                turns.tick().await;
                canary.round().await
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                ended = round => record.take(ended, Instant::now()),
            }
        }
    });
}
