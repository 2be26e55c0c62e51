//! Ledger: what became of each push, and who waits to hear of it.
//!
//! `pipeline` keeps it under a lock, asks it before sending and tells it afterwards. Pure: `W` is
//! whatever can be told (an intent's id and its stream).
//!
//! Invariant: a push id is open at most once, so that repeating an intent sends nothing twice; at
//! most `settled_max` settled ones are remembered, the oldest forgotten first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use heddle_proto::internal::DeadRegistration;

/// Repetitions of one open intent that are told of its end, the newest ones.
pub const WAITERS_MAX: usize = 8;

/// What became of a push, over all devices of its intent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Devices whose provider has taken it over.
    pub delivered: u32,
    /// Devices whose registration is dead.
    pub dead_tokens: u32,
    /// Devices that have a dead letter instead.
    pub dead_lettered: u32,
    /// Devices that nothing is known of yet. None are left once it is settled.
    pub open: u32,
    /// The last thing that went wrong, for people; empty if nothing did.
    pub detail: String,
    /// Registrations that are to be removed.
    pub dead_registrations: Vec<DeadRegistration>,
}

/// What became of the push to one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceOutcome {
    Delivered,
    TokenDead {
        reason: String,
        registration: Option<DeadRegistration>,
    },
    DeadLettered {
        reason: String,
    },
    /// Neither delivered nor kept: the intent must be sent again.
    Lost {
        reason: String,
    },
}

/// What to do with an intent.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<W> {
    /// Send it: its push id is open now.
    Send,
    /// It is being sent; the waiter will be told. An older waiter may have had to make room.
    Joined { displaced: Option<W> },
    /// It was settled before.
    Settled { waiter: W, report: PushReport },
    /// It is new, and there is no room.
    NoRoom { waiter: W },
}

/// Who to tell of the end of an intent.
#[derive(Debug, PartialEq, Eq)]
pub struct End<W> {
    pub waiters: Vec<W>,
    /// Whether it is settled; else it must be sent again.
    pub settled: bool,
    pub report: PushReport,
}

pub struct Ledger<W> {
    pushes: HashMap<Arc<str>, Entry<W>>,
    settled: VecDeque<Arc<str>>,
    settled_max: usize,
}

struct Entry<W> {
    report: PushReport,
    /// Empty once settled.
    waiters: Vec<W>,
    lost: bool,
}

impl<W> Ledger<W> {
    pub fn new(settled_max: usize) -> Self {
        Self {
            pushes: HashMap::new(),
            settled: VecDeque::new(),
            settled_max,
        }
    }

    /// An intent for `devices` devices (at least one) has come. `room`: it could be sent.
    pub fn admit(
        &mut self,
        push_id: &Arc<str>,
        devices: u32,
        waiter: W,
        room: bool,
    ) -> Admission<W> {
        let Some(entry) = self.pushes.get_mut(push_id) else {
            if !room {
                return Admission::NoRoom { waiter };
            }
            let report = PushReport {
                open: devices,
                ..PushReport::default()
            };
            let entry = Entry {
                report,
                waiters: vec![waiter],
                lost: false,
            };
            self.pushes.insert(push_id.clone(), entry);
            return Admission::Send;
        };
        if entry.report.open == 0 {
            return Admission::Settled {
                waiter,
                report: entry.report.clone(),
            };
        }
        let full = entry.waiters.len() >= WAITERS_MAX;
        let displaced = full.then(|| entry.waiters.remove(0));
        entry.waiters.push(waiter);
        Admission::Joined { displaced }
    }

    /// What became of one device's push. Answers with the end of the intent when it was the last.
    pub fn device_done(&mut self, push_id: &Arc<str>, outcome: DeviceOutcome) -> Option<End<W>> {
        let entry = self.pushes.get_mut(push_id)?;
        let report = &mut entry.report;
        report.open = report.open.saturating_sub(1);
        match outcome {
            DeviceOutcome::Delivered => report.delivered += 1,
            DeviceOutcome::TokenDead {
                reason,
                registration,
            } => {
                report.dead_tokens += 1;
                report.dead_registrations.extend(registration);
                report.detail = reason;
            }
            DeviceOutcome::DeadLettered { reason } => {
                report.dead_lettered += 1;
                report.detail = reason;
            }
            DeviceOutcome::Lost { reason } => {
                entry.lost = true;
                report.detail = reason;
            }
        }
        if report.open > 0 {
            return None;
        }
        let (report, settled) = (report.clone(), !entry.lost);
        let waiters = std::mem::take(&mut entry.waiters);
        if settled {
            self.remember(push_id.clone());
        } else {
            self.pushes.remove(push_id);
        }
        Some(End {
            waiters,
            settled,
            report,
        })
    }

    /// What is known of a push; `None` if it was never seen or is forgotten.
    pub fn report(&self, push_id: &str) -> Option<PushReport> {
        self.pushes.get(push_id).map(|entry| entry.report.clone())
    }

    fn remember(&mut self, push_id: Arc<str>) {
        self.settled.push_back(push_id);
        if self.settled.len() > self.settled_max {
            let oldest = self.settled.pop_front();
            oldest.and_then(|oldest| self.pushes.remove(&oldest));
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
