//! Users: how much each may still call, and what is shared with other gateways about it.
//!
//! A call costs one look at one account. Who has spent much in a window of time is put on a list,
//! which `presence::rates` fetches and tells presence-svc; what that says all gateways have counted
//! comes back to [`Users::learn`].
//!
//! Invariant: no call waits for anybody. Without an answer each gateway goes by its own count; with
//! one, what others let in is taken from this gateway's bucket, once.

use super::bucket::Quota;
use foldhash::fast::RandomState;
use heddle_proto::{
    ids::LogId,
    internal::{Spent, SpentTotal},
};
use std::{
    cmp::Reverse,
    collections::BTreeSet,
    num::NonZeroU32,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// A user is told of who spends this part of the limit in a window, or more.
const TOLD_FROM_PART: u32 = 4;
/// Users told of in a window; those who spent less are left to each gateway's own count.
const TOLD_MAX: usize = 512;
/// What all gateways had counted is compared with what they count now for so many windows; after
/// that the user begins anew.
const SEEN_WINDOWS_MAX: u32 = 3;

/// All users who have called lately.
pub struct Users {
    quota: Quota,
    told_from: u32,
    accounts: papaya::HashMap<LogId, Account, RandomState>,
    /// Whom to tell of at the end of this window.
    due: Mutex<BTreeSet<LogId>>,
    /// Windows so far; a window ends when [`Users::spent`] is asked.
    window: AtomicU32,
    start: Instant,
}

/// One user.
#[derive(Default)]
struct Account {
    /// When the bucket will be full.
    full_ns: AtomicU64,
    /// Calls let in, and in which window: see [`Count`].
    count: AtomicU64,
    /// What all gateways had counted when they were last asked; 0: unknown.
    seen: AtomicU64,
    /// In which window that was.
    seen_window: AtomicU32,
}

/// Calls of one window, as one word.
#[derive(Clone, Copy)]
struct Count {
    window: u32,
    calls: u32,
}

impl Count {
    fn of(word: u64) -> Self {
        Self {
            window: (word >> 32) as u32,
            calls: word as u32,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.window) << 32 | u64::from(self.calls)
    }

    /// Calls of this window; an earlier one is over.
    fn within(self, window: u32) -> u32 {
        if self.window == window { self.calls } else { 0 }
    }
}

/// What other gateways have let in since all were asked last, when all had counted `seen`; `own` is
/// what this one has added since. Unknown, or counted anew elsewhere: nothing.
fn of_others(seen: u64, own: u32, total: u64) -> u64 {
    match seen {
        0 => 0,
        _ => total.saturating_sub(seen).saturating_sub(u64::from(own)),
    }
}

impl Users {
    /// All may spend their whole burst.
    pub fn new(quota: Quota, per_second: NonZeroU32) -> Self {
        Self {
            quota,
            told_from: (per_second.get() / TOLD_FROM_PART).max(1),
            accounts: papaya::HashMap::with_hasher(RandomState::default()),
            due: Mutex::default(),
            window: AtomicU32::new(1),
            start: Instant::now(),
        }
    }

    /// The time that all others are told, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn due(&self) -> std::sync::MutexGuard<'_, BTreeSet<LogId>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call in, or does not.
    pub fn take(&self, user: LogId, now_ns: u64) -> bool {
        let accounts = self.accounts.pin();
        let account = accounts.get_or_insert_with(user, Account::default);
        let take = |full_ns| self.quota.take(full_ns, now_ns);
        if account
            .full_ns
            .fetch_update(Relaxed, Relaxed, take)
            .is_err()
        {
            return false;
        }
        let window = self.window.load(Relaxed);
        let add = |word| {
            let calls = Count::of(word).within(window).saturating_add(1);
            Some(Count { window, calls }.word())
        };
        let before = account.count.fetch_update(Relaxed, Relaxed, add);
        let before = Count::of(before.unwrap_or_else(|word| word)).within(window);
        if before + 1 == self.told_from {
            self.due().insert(user);
        }
        true
    }

    /// What those have spent who spent much, and those in debt: the heaviest, if they are many.
    /// Ends the window.
    pub fn spent(&self) -> Vec<Spent> {
        let due = std::mem::take(&mut *self.due());
        let accounts = self.accounts.pin();
        let window = self.window.load(Relaxed);
        let count = |user: LogId| {
            let count = accounts.get(&user)?.count.swap(0, Relaxed);
            let calls = Count::of(count).within(window);
            Some((user, calls))
        };
        let mut spent: Vec<_> = due.into_iter().filter_map(count).collect();
        self.window.store(window.wrapping_add(1), Relaxed);
        if spent.len() > TOLD_MAX {
            spent.select_nth_unstable_by_key(TOLD_MAX, |(_, calls)| Reverse(*calls));
            spent.truncate(TOLD_MAX);
        }
        let told = |(user, calls): (LogId, u32)| Spent {
            user: user.to_bytes(),
            calls,
        };
        spent.into_iter().map(told).collect()
    }

    /// What all gateways have counted, told upon [`Users::spent`].
    pub fn learn(&self, total: &SpentTotal, now_ns: u64) {
        let accounts = self.accounts.pin();
        let user = LogId::from_wire(&total.user);
        let Some((user, account)) = user.and_then(|user| Some((user, accounts.get(&user)?))) else {
            return;
        };
        let window = self.window.load(Relaxed);
        let seen_window = account.seen_window.swap(window, Relaxed);
        let mut seen = account.seen.swap(total.total, Relaxed);
        if window.wrapping_sub(seen_window) > SEEN_WINDOWS_MAX {
            seen = 0;
        }
        let others = of_others(seen, total.calls, total.total);
        let debit = |full_ns| Some(self.quota.debit(full_ns, now_ns, others));
        let debited = account.full_ns.fetch_update(Relaxed, Relaxed, debit);
        let before_ns = debited.unwrap_or_else(|full_ns| full_ns);
        let full_ns = self.quota.debit(before_ns, now_ns, others);
        if self.quota.is_in_debt(full_ns, now_ns) {
            // Asked about again though it can't spend, so that what is seen stays young.
            self.due().insert(user);
        }
    }

    /// Forgets who has the whole burst again.
    pub fn sweep(&self, now_ns: u64) {
        let keep = |_: &LogId, account: &Account| account.full_ns.load(Relaxed) > now_ns;
        self.accounts.pin().retain(keep);
    }

    /// How many are known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.accounts.len()
    }
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
