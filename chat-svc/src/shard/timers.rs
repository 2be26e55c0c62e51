//! Timers: what a shard does now and then, from one tick.
//!
//! Marks whose interval is over, pushes whose grace time is over, cursors of devices, the heartbeat
//! of heads, logs that have been idle for long.

use super::{
    Shard,
    conversations::ConversationSlot,
    edges::Gathering,
    mailboxes::{MailboxSlot, SessionsOf},
};
use crate::cells;
use bytes::Bytes;
use heddle_proto::{ids::LogId, internal::MailboxHead};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
};

/// How often cursors of devices are stored, in milliseconds: what a crash may cost is a push sent
/// again.
const CURSORS_INTERVAL_MS: u64 = 5_000;
/// How often fan-outs that could not be stored are tried again, in milliseconds.
const HELD_INTERVAL_MS: u64 = 200;

/// How long a conversation is kept after its last use, in milliseconds, whatever the bound.
const IDLE_MIN_MS: u64 = 30_000;

/// No head is there: as if it had never been told.
const NOT_TOLD: [u64; 2] = [u64::MAX; 2];

/// When what is due.
#[derive(Default)]
pub(super) struct Timers {
    marks: BinaryHeap<Reverse<(u64, LogId, String)>>,
    pushes: BinaryHeap<Reverse<(u64, Arc<str>)>>,
    heads_ms: u64,
    cursors_ms: u64,
    held_ms: u64,
    /// The newest window of notes that was written.
    pub newest_window: u64,
    /// Notes in the store, by window: partition and log of each.
    pub notes: BTreeMap<u64, Vec<(Bytes, Bytes)>>,
}

impl Timers {
    pub fn mark(&mut self, due_ms: u64, log: LogId, user_id: String) {
        self.marks.push(Reverse((due_ms, log, user_id)));
    }

    /// What waits is tried again with the next tick.
    #[cfg(test)]
    pub fn held_at_once(&mut self) {
        self.held_ms = 0;
    }

    pub fn push(&mut self, due_ms: u64, user: Arc<str>) {
        self.pushes.push(Reverse((due_ms, user)));
    }
}

/// Takes what is due.
fn due<T: Ord>(heap: &mut BinaryHeap<Reverse<T>>, is_due: impl Fn(&T) -> bool) -> Option<T> {
    if heap.peek().is_some_and(|Reverse(first)| is_due(first)) {
        return heap.pop().map(|Reverse(first)| first);
    }
    None
}

impl Shard {
    pub(super) fn on_tick(&mut self) {
        self.turn_ms = self.around.clock.now_ms();
        let now_ms = self.now_ms();
        self.send_again();
        if self.ownership.is_none() || now_ms < self.read_only_until_ms {
            return;
        }
        while let Some((_, log, user_id)) = due(&mut self.timers.marks, |mark| mark.0 <= now_ms) {
            let pending = match self.conversations.get(&log) {
                Some(ConversationSlot::Ready(live)) => live
                    .marks
                    .get(&user_id)
                    .is_some_and(|progress| progress.is_pending()),
                _ => false,
            };
            if pending {
                self.store_marks(log, &user_id);
            }
        }
        // Each is a row or two: what does not fit into this commit is due with the next tick.
        while !self.batch.is_full()
            && let Some((due_ms, user)) = due(&mut self.timers.pushes, |push| push.0 <= now_ms)
        {
            self.push_due(&user, due_ms);
        }
        if now_ms >= self.timers.held_ms + HELD_INTERVAL_MS {
            self.timers.held_ms = now_ms;
            self.apply_held();
            self.take_held_marks();
            self.load_recovering();
        }
        if now_ms >= self.timers.cursors_ms + CURSORS_INTERVAL_MS {
            self.timers.cursors_ms = now_ms;
            self.erasures.forget(now_ms);
            self.store_cursors();
            self.forget_idle();
        }
        if now_ms >= self.timers.heads_ms + self.around.config.heads_interval_ms {
            self.timers.heads_ms = now_ms;
            self.tell_heads();
        }
    }

    /// Stores how far devices have acknowledged.
    pub(super) fn store_cursors(&mut self) {
        let now_ms = self.now_ms();
        for (user, device_id) in std::mem::take(&mut self.cursors_dirty) {
            let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(&user) else {
                continue;
            };
            let id = live.mailbox.id;
            let Some(device) = live.mailbox.devices.get_mut(&device_id) else {
                continue;
            };
            device.cursor.time_ms = now_ms;
            self.batch
                .cells([cells::device_cursor(&id, &device_id, &device.cursor)]);
        }
    }

    /// Tells gateways the heads of mailboxes with sessions: each change at least twice, so that
    /// neither a lost delivery nor a lost heartbeat leaves a session behind for long (P8).
    fn tell_heads(&mut self) {
        let nonce = self.nonce();
        let mut gathering = Gathering::default();
        let mut absent = Vec::new();
        for (user, of_user) in &mut self.sessions {
            let Some(MailboxSlot::Ready(live)) = self.mailboxes.get(user) else {
                absent.push(user.clone());
                continue;
            };
            let head = live.mailbox.cursor(nonce);
            let [last, before] = of_user.told;
            of_user.told = [head.position, last];
            if head.position == before {
                continue;
            }
            for session in &of_user.sessions {
                let session_ids = vec![session.session_id];
                let (position, nonce) = (head.position, head.nonce);
                gathering.head(
                    &session.edge,
                    MailboxHead {
                        session_ids,
                        position,
                        nonce,
                    },
                );
            }
        }
        let lacking = gathering.send();
        // Told anew with the next heartbeat, though nothing may move until then (P8).
        let missed = |of_user: &&mut SessionsOf| {
            let mut sessions = of_user.sessions.iter();
            sessions.any(|session| lacking.contains(&session.edge.id))
        };
        if !lacking.is_empty() {
            let missing = self.sessions.values_mut().filter(missed);
            missing.for_each(|of_user| of_user.told = NOT_TOLD);
        }
        for user in absent {
            if !self.mailboxes.contains_key(&user) {
                self.load_mailbox(user, Vec::new());
            }
        }
    }

    /// Over the bound, logs that nothing is under way for are forgotten, the longest idle first.
    fn forget_idle(&mut self) {
        let logs_max = self.around.config.logs_max;
        let over = self.conversations.len().saturating_sub(logs_max);
        // What was used a moment ago may have a commit under way, which a load would miss.
        let until_ms = self.now_ms().saturating_sub(IDLE_MIN_MS);
        let idle: HashMap<_, _> = self
            .conversations
            .iter()
            .filter_map(idle_conversation)
            .filter(|(_, used_ms)| *used_ms < until_ms)
            .collect();
        for log in oldest(idle, over) {
            self.conversations.remove(&log);
        }
        let over = self.mailboxes.len().saturating_sub(logs_max);
        if over == 0 {
            return;
        }
        let idle: HashMap<_, _> = self
            .mailboxes
            .iter()
            .filter(|(user, _)| !self.sessions.contains_key(*user))
            .filter_map(idle_mailbox)
            .collect();
        for user in oldest(idle, over) {
            let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(&user) else {
                continue;
            };
            if live.mailbox.is_dirty() {
                // It goes at a later tick, once its checkpoint is stored.
                self.batch.cells([live.mailbox.checkpoint()]);
            } else if live.mailbox.is_committed() {
                self.mailboxes.remove(&user);
            }
        }
    }
}

fn idle_conversation((log, slot): (&LogId, &ConversationSlot)) -> Option<(LogId, u64)> {
    match slot {
        ConversationSlot::Ready(live) if live.open.is_empty() => {
            let marks = live.marks.values().any(|progress| progress.is_pending());
            (!marks).then_some((*log, live.used_ms))
        }
        _ => None,
    }
}

fn idle_mailbox((user, slot): (&Arc<str>, &MailboxSlot)) -> Option<(Arc<str>, u64)> {
    match slot {
        MailboxSlot::Ready(live) if !live.owes => Some((user.clone(), live.used_ms)),
        _ => None,
    }
}

/// The `count` keys that were used the longest ago.
fn oldest<K: Ord + Clone>(used: HashMap<K, u64>, count: usize) -> Vec<K> {
    if count == 0 {
        return Vec::new();
    }
    let by_time: BTreeSet<_> = used
        .into_iter()
        .map(|(key, used_ms)| (used_ms, key))
        .collect();
    by_time
        .into_iter()
        .take(count)
        .map(|(_, key)| key)
        .collect()
}
