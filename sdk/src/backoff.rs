//! How long to wait before trying again: exponential, bounded, with full jitter.
//!
//! Used for connections, calls and the sends of the outbox. Knows no clock and no source of chance:
//! the caller gives a number in `0.0..1.0`.
//!
//! Invariant: a delay is never longer than `delay_max`, unless the server asked for longer.

use std::time::Duration;

/// The bounds of the delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// Greatest delay before the first retry.
    pub delay_base: Duration,
    /// Greatest delay ever.
    pub delay_max: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            delay_base: Duration::from_millis(100),
            delay_max: Duration::from_secs(20),
        }
    }
}

impl BackoffPolicy {
    /// The delay before try number `attempt + 1`, after `attempt` failures (from 1). What the
    /// server asked for is added in front: its delay carries its own jitter.
    pub fn delay(&self, attempt: u32, asked: Option<Duration>, chance: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let ceiling = self
            .delay_base
            .saturating_mul(1 << doublings)
            .min(self.delay_max);
        let jittered = ceiling.mul_f64(chance.clamp(0.0, 1.0));
        match asked {
            Some(asked) if asked > Duration::ZERO => asked.max(jittered),
            _ => jittered,
        }
    }
}

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
}

impl Backoff {
    /// Starts without failures.
    pub fn new(policy: BackoffPolicy) -> Self {
        Self {
            policy,
            failures: 0,
        }
    }

    /// Something failed: how long to wait.
    pub fn failed(&mut self, asked: Option<Duration>, chance: f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.policy.delay(self.failures, asked, chance)
    }

    /// Something worked: the next failure is the first.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// Failures since something worked.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_server_asks_for_is_waited() {
        let asked = Some(Duration::from_secs(60));
        let delay = BackoffPolicy::default().delay(1, asked, 0.5);
        assert_eq!(delay, Duration::from_secs(60));
    }

    #[test]
    fn ceilings_double_until_the_bound() {
        let policy = BackoffPolicy::default();
        let ceilings: Vec<_> = (1..12)
            .map(|n| policy.delay(n, None, 1.0).as_millis())
            .collect();
        assert_eq!(ceilings[..4], [100, 200, 400, 800]);
        assert_eq!(ceilings[10], 20_000);
    }

    proptest! {
        #[test]
        fn no_delay_exceeds_the_bound(attempt in any::<u32>(), chance in 0.0..1.0f64) {
            let policy = BackoffPolicy::default();
            prop_assert!(policy.delay(attempt, None, chance) <= policy.delay_max);
        }
    }
}
