//! How far the application has come: told by its side, read by the engine.
//!
//! Between the two sides of a session, so that handling an event costs the engine no wake-up of its
//! own: it is woken for the first one after an acknowledgement, for each 32nd, and where it asked
//! to be.
//!
//! Invariant: a position of a line of history before the last reset is never reported.

use super::acks::ACK_EVENTS;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct State {
    position: u64,
    told: u64,
    /// Resets that the engine has announced and the application not yet handled.
    resets: u32,
    waiting: bool,
    /// The engine wants to know at once when this position is passed; 0: it does not.
    wake_at: u64,
}

/// The application's progress.
#[derive(Debug, Default)]
pub(super) struct Taken {
    state: Mutex<State>,
    notify: Notify,
}

impl Taken {
    /// The application has handled everything up to a position.
    pub(super) fn advance(&self, position: u64) {
        let wake = self.with(|state| {
            if state.resets > 0 || position <= state.position {
                return false;
            }
            // A batch may step over the 32nd event: what counts is that it was passed.
            let passed = |position: u64| position.saturating_sub(state.told) / ACK_EVENTS;
            let asked = state.position < state.wake_at && state.wake_at <= position;
            let full = asked || passed(position) > passed(state.position);
            state.position = position;
            let first = !std::mem::replace(&mut state.waiting, true);
            first || full
        });
        if wake {
            self.notify.notify_one();
        }
    }

    /// The engine will hand over a reset: what is handled before it does not count.
    pub(super) fn announce_reset(&self) {
        self.with(|state| state.resets += 1);
    }

    /// The application has handled a reset to a head.
    pub(super) fn reset(&self, head: u64) {
        self.with(|state| {
            state.resets = state.resets.saturating_sub(1);
            state.position = head;
            state.told = head;
        });
    }

    /// The engine wants to be woken when a position is taken, if it is not yet.
    pub(super) fn wake_at(&self, position: Option<u64>) {
        self.with(|state| state.wake_at = position.unwrap_or(0));
    }

    /// Waits until there is something to acknowledge. Safe to cancel.
    pub(super) async fn changed(&self) {
        self.notify.notified().await;
    }

    /// Where the application is; `None` while it has a reset before it.
    pub(super) fn position(&self) -> Option<u64> {
        self.with(|state| (state.resets == 0).then_some(state.position))
    }

    /// The engine has acknowledged up to a position: the next advance wakes it again.
    pub(super) fn told(&self, position: u64) {
        let behind = self.with(|state| {
            state.told = position;
            state.waiting = state.resets == 0 && state.position > position;
            state.waiting
        });
        if behind {
            self.notify.notify_one();
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn the_engine_is_woken_for_the_first_and_each_32nd() {
        let taken = Taken::default();
        let mut wakes = 0;
        for position in 1..=64 {
            taken.advance(position);
            wakes += u32::from(taken.changed().now_or_never().is_some());
        }
        assert_eq!(wakes, 3);
        assert_eq!(taken.position(), Some(64));
    }

    #[test]
    fn a_batch_that_steps_over_the_32nd_wakes_the_engine() {
        let taken = Taken::default();
        let woken = |position| {
            taken.advance(position);
            taken.changed().now_or_never().is_some()
        };
        assert!(woken(20), "the first");
        assert!(!woken(30), "less than 32");
        assert!(woken(50), "the 32nd was among them");
        assert!(!woken(60), "told already");
    }

    #[test]
    fn the_engine_is_woken_where_it_asked_to_be() {
        let taken = Taken::default();
        let woken = |position| {
            taken.advance(position);
            taken.changed().now_or_never().is_some()
        };
        assert!(woken(1), "the first");
        taken.wake_at(Some(4));
        assert!(!woken(3));
        assert!(woken(5), "the fourth was among them");
        assert!(!woken(6));
    }

    #[test]
    fn positions_before_a_reset_do_not_count() {
        let taken = Taken::default();
        taken.advance(9);
        taken.announce_reset();
        taken.advance(10);
        assert_eq!(taken.position(), None);
        taken.reset(3);
        taken.advance(4);
        assert_eq!(taken.position(), Some(4));
    }
}
