//! One seat's loop: sends what is due, takes what comes, notes how long it took.
//!
//! Run by [`run`](super::run()), one task per seat.
//!
//! Invariant: each send is counted once as sent and ends as stored, refused or missing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Endpoint, Happening, TransportError, payload};
use crate::measure::Latency;

/// What all seats of a run share. Instants are of the same clock as the bodies'.
#[derive(Debug)]
pub struct Shared {
    /// The zero of the clock.
    pub epoch: Instant,
    /// What is due or answered from here on counts...
    pub measure_from: Instant,
    /// ...up to here; nothing is sent from here on.
    pub measure_to: Instant,
    /// Length of a body.
    pub payload_bytes: usize,
    /// Cancelled at `measure_to`.
    pub stop_sending: CancellationToken,
    /// Cancelled when nothing is missing, or the patience is over.
    pub done: CancellationToken,
    /// Sends made, by all.
    pub sent: AtomicU64,
    /// Sends stored or refused.
    pub answered: AtomicU64,
    /// Sends refused.
    pub refused: AtomicU64,
    /// Deliveries that are due for the sends made.
    pub expected: AtomicU64,
    /// Deliveries made.
    pub delivered: AtomicU64,
}

/// What one seat found; counts are of the measured time alone.
#[derive(Debug, Default)]
pub struct Tally {
    /// Sends stored.
    pub stored: u64,
    /// Deliveries received.
    pub delivered: u64,
    /// From due to stored.
    pub stored_latency: Latency,
    /// From due to delivered.
    pub delivered_latency: Latency,
    /// From due to handed over: the driver's own part of the above.
    pub pace_lag: Latency,
}

/// A seat at work.
pub struct SeatLoop<E> {
    /// Its session.
    pub endpoint: E,
    /// What all share.
    pub shared: Arc<Shared>,
    /// How many others get each send.
    pub peers: u32,
    /// Sends to keep unanswered; 0 for a paced or silent seat.
    pub in_flight_target: u32,
    /// When a send is due, for a paced seat.
    pub due: Option<mpsc::Receiver<Instant>>,
    /// Unanswered sends and when they were due.
    pub in_flight: HashMap<u64, Instant>,
    /// The next send's id.
    pub next_id: u64,
    /// What it found.
    pub tally: Tally,
}

impl<E: Endpoint> SeatLoop<E> {
    /// Works until the run is done.
    pub async fn run(mut self) -> Result<Tally, TransportError> {
        let shared = Arc::clone(&self.shared);
        let mut sending = true;
        loop {
            while sending && self.in_flight.len() < self.in_flight_target as usize {
                self.send(Instant::now()).await?;
            }
            tokio::select! {
                biased;
                () = shared.stop_sending.cancelled(), if sending => sending = false,
                () = shared.done.cancelled() => return Ok(self.tally),
                Some(due) = next_due(&mut self.due) => self.send(due).await?,
                happening = self.endpoint.next() => self.take(happening?),
            }
        }
    }

    async fn send(&mut self, due: Instant) -> Result<(), TransportError> {
        let due_ns = due.saturating_duration_since(self.shared.epoch).as_nanos() as u64;
        let id = self.next_id;
        self.next_id += 1;
        self.in_flight.insert(id, due);
        self.shared.sent.fetch_add(1, Ordering::Relaxed);
        self.shared
            .expected
            .fetch_add(u64::from(self.peers), Ordering::Relaxed);
        if self.is_measured(due) {
            self.tally.pace_lag.record(due.elapsed());
        }
        self.endpoint
            .send(id, payload::encode(due_ns, self.shared.payload_bytes))
            .await
    }

    fn take(&mut self, happening: Happening) {
        let now = Instant::now();
        match happening {
            Happening::Stored { id } => {
                let Some(due) = self.in_flight.remove(&id) else {
                    return;
                };
                self.shared.answered.fetch_add(1, Ordering::Relaxed);
                self.tally.stored += u64::from(self.is_measured(now));
                if self.is_measured(due) {
                    self.tally
                        .stored_latency
                        .record(now.saturating_duration_since(due));
                }
            }
            Happening::Refused { id } => {
                if self.in_flight.remove(&id).is_some() {
                    self.shared.answered.fetch_add(1, Ordering::Relaxed);
                    self.shared.refused.fetch_add(1, Ordering::Relaxed);
                    let peers = u64::from(self.peers);
                    self.shared.expected.fetch_sub(peers, Ordering::Relaxed);
                }
            }
            Happening::Delivered { body } => {
                let Some(due_ns) = payload::decode(&body) else {
                    return;
                };
                let due = self.shared.epoch + std::time::Duration::from_nanos(due_ns);
                self.shared.delivered.fetch_add(1, Ordering::Relaxed);
                self.tally.delivered += u64::from(self.is_measured(now));
                if self.is_measured(due) {
                    self.tally
                        .delivered_latency
                        .record(now.saturating_duration_since(due));
                }
            }
        }
    }

    fn is_measured(&self, instant: Instant) -> bool {
        (self.shared.measure_from..self.shared.measure_to).contains(&instant)
    }
}

/// The next due instant; never resolves for a seat that is not paced.
async fn next_due(due: &mut Option<mpsc::Receiver<Instant>>) -> Option<Instant> {
    match due {
        Some(due) => due.recv().await,
        None => std::future::pending().await,
    }
}

impl Shared {
    /// Every send is answered, and everything that is due was delivered.
    pub fn is_complete(&self) -> bool {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        load(&self.answered) >= load(&self.sent) && load(&self.delivered) >= load(&self.expected)
    }
}
