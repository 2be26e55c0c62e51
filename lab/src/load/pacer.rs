//! Tells each paced seat when its next send is due.
//!
//! A thread, not timers of the runtime: those are rounded to a millisecond, several times what a
//! message takes here, and a busy runtime would delay them.
//!
//! Invariant: the due instants depend on the plan alone; when the pacer or a seat is late, they
//! stay as they were, and the lateness counts as latency.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Due sends that a seat has not picked up, at most; then the pacer waits, and all are late.
pub const DUE_MAX: usize = 4096;

/// A seat that is paced.
#[derive(Debug)]
pub struct Paced {
    /// From one send to the next.
    pub interval: Duration,
    /// From the start to the first.
    pub offset: Duration,
    /// Where the seat hears of it.
    pub due: mpsc::Sender<Instant>,
}

/// Blocks its thread from `start` to `end`.
pub fn run(seats: &[Paced], start: Instant, end: Instant, stop: &CancellationToken) {
    let first = seats
        .iter()
        .enumerate()
        .map(|(index, seat)| Reverse((start + seat.offset, index)));
    let mut schedule: BinaryHeap<_> = first.collect();
    while let Some(Reverse((due, index))) = schedule.pop() {
        if due >= end || stop.is_cancelled() {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let seat = &seats[index];
        // A seat that is gone has failed, and its run with it.
        if seat.due.blocking_send(due).is_ok() {
            schedule.push(Reverse((
                due + seat.interval.max(Duration::from_nanos(1)),
                index,
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_instants_are_the_plans_however_late_it_is() {
        let (due, mut heard) = mpsc::channel(100);
        let ms = Duration::from_millis(1);
        let start = Instant::now().checked_sub(ms * 50).unwrap();
        let seat = Paced {
            interval: ms * 10,
            offset: ms * 3,
            due,
        };
        run(&[seat], start, start + ms * 40, &CancellationToken::new());
        let heard: Vec<_> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
        assert_eq!(heard, [3, 13, 23, 33].map(|late| start + ms * late));
    }
}
