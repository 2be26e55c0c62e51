//! Timers: one clock for all sessions.
//!
//! Sessions ask to be visited at a time of day, or to have their receipts told soon; one task
//! visits them. It also drives what the links and the presence client do now and then.
//!
//! Invariant: no session has a timer or a task of its own. A visit that is no longer wanted does no
//! harm.

use crate::{edge::Edge, session::Session};
use heddle_kit::Tasks;
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Receipts wait between one and two of these, so 25 to 50 ms.
const TICK: Duration = Duration::from_millis(25);
/// Ticks between two looks at presence, and at what users have spent.
const TICKS_PER_SECOND: u64 = 40;
/// Ticks between two words of this gateway about itself.
const TICKS_PER_ANNOUNCEMENT: u64 = 5 * TICKS_PER_SECOND;
/// Ticks between two sweeps of the rate limits.
const TICKS_PER_SWEEP: u64 = 10 * TICKS_PER_SECOND;

/// Who wants to be visited when.
#[derive(Default)]
pub struct Timers {
    visits: Mutex<BinaryHeap<Reverse<(u64, u64)>>>,
    receipts: Mutex<Vec<Arc<Session>>>,
}

impl Timers {
    /// Visits a session at a time, in milliseconds since the Unix epoch.
    pub fn after(&self, time_ms: u64, session_id: u64) {
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        visits.push(Reverse((time_ms, session_id)));
    }

    /// Tells a session's receipts soon.
    pub fn receipts(&self, session: Arc<Session>) {
        self.receipts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(session);
    }

    fn due(&self, now_ms: u64) -> Vec<u64> {
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while let Some(Reverse((time_ms, id))) = visits.peek().copied() {
            if time_ms > now_ms {
                break;
            }
            visits.pop();
            due.push(id);
        }
        due
    }

    fn take_receipts(&self) -> Vec<Arc<Session>> {
        std::mem::take(&mut *self.receipts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs the clock until `stop`.
pub fn start(edge: &Arc<Edge>, tasks: &Tasks, stop: CancellationToken) {
    let edge = edge.clone();
    tasks.spawn("timers", async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut tick = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tick += 1;
            turn(&edge, tick);
        }
    });
}

/// What happens at each tick.
fn turn(edge: &Arc<Edge>, tick: u64) {
    let now_ms = edge.clock.now_ms();
    for session in edge.timers.take_receipts() {
        session.tell_receipts(edge);
    }
    for id in edge.timers.due(now_ms) {
        if let Some(session) = edge.sessions.get(id) {
            session.visit(edge, now_ms);
        }
    }
    edge.shards.turn(edge, now_ms);
    if tick.is_multiple_of(TICKS_PER_SECOND) {
        edge.presence.refresh(edge, tick / TICKS_PER_SECOND);
        edge.presence.share_rates(edge);
        edge.standing.sweep();
    }
    if tick.is_multiple_of(TICKS_PER_ANNOUNCEMENT) {
        edge.presence.announce(edge);
    }
    if tick.is_multiple_of(TICKS_PER_SWEEP) {
        edge.rates.sweep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_come_in_time_and_only_then() {
        let timers = Timers::default();
        for (time_ms, id) in [(30, 3), (10, 1), (20, 2)] {
            timers.after(time_ms, id);
        }
        assert_eq!(timers.due(9), [0u64; 0]);
        assert_eq!(timers.due(20), [1, 2]);
        assert_eq!(timers.due(100), [3]);
    }
}
