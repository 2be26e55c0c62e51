//! Bucket: a token bucket that is one point in time, and that may run into debt.
//!
//! Pure: the generic cell rate algorithm. A bucket is told by when it will be full again; what is
//! taken moves that further off. `users` keeps one for each user.
//!
//! Own code, since governor takes what fits or nothing: what a user has spent at another gateway is
//! spent, whether it fits here or not.
//!
//! Invariant: a call is let in only from a bucket that holds a token; a debt is never longer than
//! [`DEBT_MAX_NS`].

use std::num::NonZeroU32;

const NS_PER_S: u64 = 1_000_000_000;
/// How long a debt may take until it is paid: as many gateways as seconds can share a limit exactly
/// though a user floods all of them.
const DEBT_MAX_NS: u64 = 10 * NS_PER_S;

/// How fast buckets fill, and how much they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// In which time one token comes.
    token_ns: u64,
    /// In which time an empty bucket is full.
    burst_ns: u64,
}

impl Quota {
    /// So many tokens a second, and so many saved up.
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let token_ns = (NS_PER_S / u64::from(per_second.get())).max(1);
        Self {
            token_ns,
            burst_ns: token_ns * u64::from(burst.get()),
        }
    }

    /// Takes a token out of a bucket that will be full at `full_ns`: when it will be then. None: it
    /// is empty.
    pub fn take(&self, full_ns: u64, now_ns: u64) -> Option<u64> {
        let next_ns = full_ns.max(now_ns) + self.token_ns;
        (next_ns <= now_ns + self.burst_ns).then_some(next_ns)
    }

    /// Takes tokens whether they are there or not.
    pub fn debit(&self, full_ns: u64, now_ns: u64, tokens: u64) -> u64 {
        let taken_ns = tokens.saturating_mul(self.token_ns);
        let next_ns = full_ns.max(now_ns).saturating_add(taken_ns);
        let latest_ns = now_ns + self.burst_ns + DEBT_MAX_NS;
        next_ns.min(latest_ns).max(full_ns)
    }

    /// Whether it owes tokens.
    pub fn is_in_debt(&self, full_ns: u64, now_ns: u64) -> bool {
        full_ns > now_ns + self.burst_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quota(per_second: u32, burst: u32) -> Quota {
        let some = |number| NonZeroU32::new(number).unwrap();
        Quota::new(some(per_second), some(burst))
    }

    /// Takes what is there; how many those were.
    fn drain(quota: Quota, full_ns: &mut u64, now_ns: u64) -> u64 {
        let mut taken = 0;
        while let Some(next_ns) = quota.take(*full_ns, now_ns) {
            *full_ns = next_ns;
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_bucket_holds_its_burst_and_fills_at_its_rate() {
        let (quota, mut full_ns) = (quota(10, 5), 0);
        assert_eq!(drain(quota, &mut full_ns, NS_PER_S), 5);
        assert_eq!(drain(quota, &mut full_ns, NS_PER_S + NS_PER_S / 10), 1);
        assert_eq!(drain(quota, &mut full_ns, 3 * NS_PER_S), 5);
    }

    #[test]
    fn a_debt_is_paid_before_anything_is_taken() {
        let (quota, now_ns) = (quota(10, 5), NS_PER_S);
        let mut full_ns = quota.debit(0, now_ns, 5);
        assert!(!quota.is_in_debt(full_ns, now_ns) && quota.take(full_ns, now_ns).is_none());
        full_ns = quota.debit(full_ns, now_ns, 10);
        assert!(quota.is_in_debt(full_ns, now_ns));
        assert_eq!(drain(quota, &mut full_ns, now_ns + NS_PER_S), 0);
        assert_eq!(
            drain(quota, &mut full_ns, now_ns + NS_PER_S + NS_PER_S / 10),
            1
        );
    }

    #[test]
    fn a_debt_ends() {
        let (quota, now_ns) = (quota(10, 5), NS_PER_S);
        let full_ns = quota.debit(0, now_ns, u64::MAX);
        assert_eq!(quota.take(full_ns, now_ns + DEBT_MAX_NS), None);
        assert!(
            quota
                .take(full_ns, now_ns + DEBT_MAX_NS + NS_PER_S)
                .is_some()
        );
        assert_eq!(quota.debit(full_ns, now_ns, 1), full_ns, "nor does it grow");
    }

    proptest! {
        /// However calls and debits come: what is let in and debited is at most the burst and what
        /// came in the time, where debits fit.
        #[test]
        fn no_more_than_the_burst_and_the_rate(
            steps in prop::collection::vec((0..300_u64, 0..4_u64), 1..100)
        ) {
            let (quota, mut full_ns, mut now_ns, mut used) = (quota(10, 5), 0, 0, 0);
            for (ms, debit) in steps {
                now_ns += ms * 1_000_000;
                used += drain(quota, &mut full_ns, now_ns);
                full_ns = quota.debit(full_ns, now_ns, debit);
                used += debit;
                let debt_ns = full_ns.saturating_sub(now_ns + quota.burst_ns);
                let owed = debt_ns.div_ceil(quota.token_ns);
                prop_assert!(used <= 5 + now_ns / quota.token_ns + 1 + owed, "{used} {owed}");
            }
        }
    }
}
