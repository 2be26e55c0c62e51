//! What all devices of a replay share: what stands where, what is in flight, how long it took.
//!
//! Invariant: the first to see a seq says what it is; whoever sees something else there is counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use heddle_sdk::MessageId;

use crate::measure::Latency;

/// The channel; the busiest speakers; two of them.
pub const ROOMS: usize = 3;

/// Shared by all devices and the director.
pub struct Ledger {
    seen: [Mutex<Vec<u64>>; ROOMS],
    sent_at: Mutex<HashMap<MessageId, Instant>>,
    send_latency: Mutex<Latency>,
    delivery_latency: Mutex<Latency>,
    /// Sends in flight, and over how many speakers, as each answer came.
    samples: Mutex<Vec<(u64, u64)>>,
    /// Sends on their way, and over how many speakers.
    in_flight: AtomicU64,
    speakers: AtomicU64,
    flying: Vec<AtomicU32>,
    /// By user: a member of the channel now.
    members: Vec<AtomicBool>,
    /// The day is over: nobody reads any further.
    pub is_over: AtomicBool,
    /// Sends answered.
    pub settled: AtomicU64,
    /// Events received, by all devices.
    pub deliveries: AtomicU64,
    problems: Mutex<Problems>,
}

/// What is wrong, by kind, with the first few examples.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Problems {
    /// How often.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
    /// In words.
    pub examples: Vec<String>,
}

/// Examples that are kept of each kind.
const EXAMPLES_MAX: u64 = 4;

impl Problems {
    /// Counts one more.
    pub fn add(&mut self, kind: &'static str, example: impl FnOnce() -> String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= EXAMPLES_MAX {
            self.examples.push(format!("{kind}: {}", example()));
        }
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// For so many users.
    pub fn new(users: usize) -> Ledger {
        Ledger {
            seen: Default::default(),
            sent_at: Mutex::default(),
            send_latency: Mutex::default(),
            delivery_latency: Mutex::default(),
            samples: Mutex::default(),
            in_flight: AtomicU64::new(0),
            speakers: AtomicU64::new(0),
            flying: (0..users).map(|_| AtomicU32::new(0)).collect(),
            members: (0..users).map(|_| AtomicBool::new(false)).collect(),
            is_over: AtomicBool::new(false),
            settled: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            problems: Mutex::default(),
        }
    }

    /// Somebody sees an event; false when another saw something else there.
    pub fn see(&self, room: usize, seq: u64, fingerprint: u64) -> bool {
        let mut seen = lock(&self.seen[room]);
        let index = seq as usize;
        if seen.len() <= index {
            seen.resize(index + 1, 0);
        }
        let fingerprint = fingerprint.max(1);
        if seen[index] == 0 {
            seen[index] = fingerprint;
        }
        seen[index] == fingerprint
    }

    /// The user's device has so many sends on their way.
    pub fn flying(&self, user: usize, count: usize) {
        let before = self.flying[user].swap(count as u32, Ordering::Relaxed);
        let (before, count) = (u64::from(before), count as u64);
        self.in_flight
            .fetch_add(count.wrapping_sub(before), Ordering::Relaxed);
        match (before, count) {
            (0, 1..) => drop(self.speakers.fetch_add(1, Ordering::Relaxed)),
            (1.., 0) => drop(self.speakers.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }

    /// Sends on their way, and over how many speakers.
    pub fn in_flight(&self) -> (u64, u64) {
        (
            self.in_flight.load(Ordering::Relaxed),
            self.speakers.load(Ordering::Relaxed),
        )
    }

    /// A send begins.
    pub fn sent(&self, id: MessageId) {
        lock(&self.sent_at).insert(id, Instant::now());
    }

    /// A send is answered OK.
    pub fn stored(&self, since: Instant) {
        lock(&self.send_latency).record(since.elapsed());
        lock(&self.samples).push(self.in_flight());
        self.settled.fetch_add(1, Ordering::Relaxed);
    }

    /// A sample of deliveries.
    pub fn delivered(&self, id: &[u8]) {
        let id = MessageId::from_wire(id);
        let sent = id.and_then(|id| lock(&self.sent_at).get(&id).copied());
        if let Some(sent) = sent {
            lock(&self.delivery_latency).record(sent.elapsed());
        }
    }

    /// Sends in flight, and over how many speakers, as each answer came.
    pub fn samples(&self) -> Vec<(u64, u64)> {
        lock(&self.samples).clone()
    }

    /// From sending to stored, and to delivered.
    pub fn latencies(&self) -> [crate::measure::Percentiles; 2] {
        [&self.send_latency, &self.delivery_latency].map(|latency| lock(latency).percentiles())
    }

    /// The user is a member of the channel from now on, or no more.
    pub fn set_member(&self, user: usize, member: bool) {
        self.members[user].store(member, Ordering::Relaxed);
    }

    /// Whether the user is a member of the channel now.
    pub fn is_member(&self, user: usize) -> bool {
        self.members[user].load(Ordering::Relaxed)
    }

    /// Something is wrong.
    pub fn problem(&self, kind: &'static str, example: impl FnOnce() -> String) {
        lock(&self.problems).add(kind, example);
    }

    /// All that is wrong so far.
    pub fn problems(&self) -> Problems {
        lock(&self.problems).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_something_else_is_told() {
        let ledger = Ledger::new(1);
        assert!(ledger.see(0, 3, 7) && ledger.see(0, 3, 7) && ledger.see(1, 3, 8));
        assert!(!ledger.see(0, 3, 8));
    }

    #[test]
    fn flights_are_counted_by_speaker() {
        let ledger = Ledger::new(2);
        ledger.flying(0, 3);
        ledger.flying(1, 1);
        assert_eq!(ledger.in_flight(), (4, 2));
        ledger.flying(0, 0);
        assert_eq!(ledger.in_flight(), (1, 1));
    }
}
